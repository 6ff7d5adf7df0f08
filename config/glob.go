package config

// matchName is Redis' glob, without regard to case: * ? [a-z] [^a] \x. It goes back only to the last star, which is
// enough for globs, so that a pattern full of stars costs no more than pattern × name.
func matchName(pattern, name string) bool {
	p, n := 0, 0
	starP, starN := -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			starP, starN = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if width, ok := matchOne(pattern[p:], lower(name[n])); ok {
				p += width
				n++
				continue
			}
		}
		if starP < 0 {
			return false
		}
		starN++
		p, n = starP+1, starN
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches c with the first element of the pattern, and tells how long that is.
func matchOne(p string, c byte) (width int, ok bool) {
	switch p[0] {
	case '?':
		return 1, true
	case '[':
		return matchClass(p, c)
	case '\\':
		if len(p) > 1 {
			return 2, lower(p[1]) == c
		}
	}
	return 1, lower(p[0]) == c
}

// matchClass matches a [class]; one that is never closed ends with the pattern.
func matchClass(p string, c byte) (width int, ok bool) {
	i := 1
	not := i < len(p) && p[i] == '^'
	if not {
		i++
	}
	for ; i < len(p) && p[i] != ']'; i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			i++
			ok = ok || lower(p[i]) == c
		case i+2 < len(p) && p[i+1] == '-':
			from, to := lower(p[i]), lower(p[i+2])
			ok = ok || min(from, to) <= c && c <= max(from, to)
			i += 2
		default:
			ok = ok || lower(p[i]) == c
		}
	}
	return min(i+1, len(p)), ok != not
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
