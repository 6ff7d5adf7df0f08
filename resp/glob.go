package resp

// Glob tells whether s matches a pattern of KEYS, SCAN, PSUBSCRIBE or CONFIG GET: * ? [abc] [a-z] [^a-z] and \ for the
// character itself. It answers as Redis' stringmatchlen does, oddities included:
//   - an empty s matches the empty pattern only, not "*" (KEYS and SCAN treat "*" alone as "everything" before they ask);
//   - a class that is not closed ends with the pattern, "[]" matches nothing and "[^]" anything;
//   - a range may stand either way round, its ends being C's signed chars; nocase lowers its ends after they were turned;
//   - nocase does not reach an escaped character in a class;
//   - what needs more than globStars stars to match does not.
//
// When something fails behind a star, only the last star can help by taking more: earlier ones could but lead to the same
// place. So the time is at most len(pattern) × len(s), whatever the pattern.
func Glob(pattern, s []byte, nocase bool) bool {
	if len(s) == 0 {
		return len(pattern) == 0
	}
	p, i := 0, 0
	star, from := -1, 0 // behind the last star, and where in s what follows it was tried
	stars := 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p = skipStars(pattern, p)
			if p == len(pattern) {
				return true
			}
			if stars++; stars > globStars {
				return false
			}
			star, from = p, i
		}
		if p < len(pattern) {
			if next, ok := globOne(pattern, p, s[i], nocase); ok {
				p = next
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star, from
	}
	return skipStars(pattern, p) == len(pattern)
}

// globStars is how deep Redis recurses.
const globStars = 1000

func skipStars(pattern []byte, p int) int {
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p
}

// globOne matches one character with what stands at p, which is no star, and returns where that ends.
func globOne(pattern []byte, p int, c byte, nocase bool) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globClass(pattern, p+1, c, nocase)
	case '\\':
		if p+1 < len(pattern) { // at the very end it stands for itself
			p++
		}
	}
	return p + 1, pattern[p] == c || nocase && lower(pattern[p]) == lower(c)
}

// globClass matches one character with the class that begins at p, behind its bracket.
func globClass(pattern []byte, p int, c byte, nocase bool) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	match := false
	for p < len(pattern) && pattern[p] != ']' {
		left := len(pattern) - p
		switch {
		case left >= 2 && pattern[p] == '\\':
			match = match || pattern[p+1] == c
			p += 2
		case left >= 3 && pattern[p+1] == '-':
			match = match || inRange(pattern[p], pattern[p+2], c, nocase)
			p += 3
		default:
			match = match || pattern[p] == c || nocase && lower(pattern[p]) == lower(c)
			p++
		}
	}
	return min(p+1, len(pattern)), match != not
}

func inRange(first, last, c byte, nocase bool) bool {
	if int8(first) > int8(last) {
		first, last = last, first
	}
	if nocase {
		first, last, c = lower(first), lower(last), lower(c)
	}
	return int8(first) <= int8(c) && int8(c) <= int8(last)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
