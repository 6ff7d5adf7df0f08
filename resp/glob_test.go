package resp

import (
	"bytes"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, s string
		nocase     bool
		want       bool
	}{
		{"", "", false, true},
		{"", "a", false, false},
		{"*", "", false, false},
		{"**", "", false, false},
		{"*", "a", false, true},
		{"a*", "a", false, true},
		{"a**", "a", false, true},
		{"*a", "ba", false, true},
		{"*a*b", "xaab", false, true},
		{"a?c", "abc", false, true},
		{"a?", "a", false, false},
		{"user:*:name", "user:1:2:name", false, true},
		{"user:*:name", "user::names", false, false},
		{"[abc]", "b", false, true},
		{"[^abc]", "b", false, false},
		{"[^a-c]", "d", false, true},
		{"[c-a]", "b", false, true},
		{"[a-]", "]", false, true}, // a range from a down to ], and no end
		{"[a-", "-", false, true},
		{"[abc", "c", false, true},
		{"[", "[", false, false},
		{"[]", "]", false, false},
		{"[]a]", "a", false, false},
		{"[^]", "x", false, true},
		{"[^", "x", false, true},
		{`[\]]`, "]", false, true},
		{`[\-x]`, "-", false, true},
		{`[\`, `\`, false, true},
		{`\*`, "*", false, true},
		{`\*`, "a", false, false},
		{`\a`, "a", false, true},
		{`\`, `\`, false, true},
		{`a\`, `a\`, false, true},
		{"[a-\xff]", "b", false, false}, // \xff is -1
		{"[a-\xff]", "A", false, true},
		{"[\x80-\xff]", "\x90", false, true},

		{"MAXmem*", "maxmemory", true, true},
		{"MAXmem*", "maxmemory", false, false},
		{"[M-O]ax", "max", true, true},
		{`\Max`, "max", true, true},
		{`[\M]ax`, "max", true, false},
		{"[Z-a]x", "ax", true, false}, // z to a, once turned and lowered
		{"[mn]ax", "MAX", true, true},
		{"\xc0", "\xe0", true, false},
	}
	for _, test := range tests {
		if got := Glob([]byte(test.pattern), []byte(test.s), test.nocase); got != test.want {
			t.Errorf("Glob(%q, %q, nocase %v) = %v", test.pattern, test.s, test.nocase, got)
		}
		if got := naiveGlob(test.pattern, test.s, test.nocase); got != test.want {
			t.Errorf("naiveGlob(%q, %q, nocase %v) = %v", test.pattern, test.s, test.nocase, got)
		}
	}
}

// With one retry per star and length this would take longer than the universe has.
func TestGlobIsNotExponential(t *testing.T) {
	s := []byte(strings.Repeat("a", 10_000))
	for _, pattern := range []string{
		strings.Repeat("a*", 500) + "b",
		strings.Repeat("*a", 500) + "*b",
		strings.Repeat("*[a]?", 500) + "b*",
	} {
		if Glob([]byte(pattern), s, false) {
			t.Errorf("%.20q matches", pattern)
		}
	}
}

// naiveGlob says what a match is: every star tries every length.
func naiveGlob(pattern, s string, nocase bool) bool {
	if s == "" {
		return pattern == ""
	}
	return naiveRest(pattern, s, nocase)
}

func naiveRest(pattern, s string, nocase bool) bool {
	if s == "" {
		return strings.Trim(pattern, "*") == ""
	}
	if pattern == "" {
		return false
	}
	if pattern[0] == '*' {
		return naiveRest(pattern[1:], s, nocase) || naiveRest(pattern, s[1:], nocase)
	}
	set, rest := naiveElement(pattern, nocase)
	return set[s[0]] && naiveRest(rest, s[1:], nocase)
}

// naiveElement lists the characters that the first element of a pattern stands for.
func naiveElement(pattern string, nocase bool) (set [256]bool, rest string) {
	fold := func(c byte) byte {
		if nocase && c < 0x80 {
			return strings.ToLower(string(rune(c)))[0]
		}
		return c
	}
	add := func(first, last byte) {
		for c := range 256 {
			x := fold(byte(c))
			set[c] = set[c] || int8(first) <= int8(x) && int8(x) <= int8(last)
		}
	}
	first, rest := pattern[0], pattern[1:]
	switch {
	case first == '?':
		add(0x80, 0x7f)
		return set, rest
	case first == '\\' && rest != "":
		first, rest = rest[0], rest[1:]
		fallthrough
	case first != '[':
		add(fold(first), fold(first))
		return set, rest
	}
	rest, not := strings.CutPrefix(rest, "^")
	for rest != "" && rest[0] != ']' {
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			set[rest[1]] = true
			rest = rest[2:]
		case len(rest) > 2 && rest[1] == '-':
			low, high := rest[0], rest[2]
			if int8(low) > int8(high) {
				low, high = high, low
			}
			add(fold(low), fold(high))
			rest = rest[3:]
		default:
			add(fold(rest[0]), fold(rest[0]))
			rest = rest[1:]
		}
	}
	for c := range set {
		set[c] = set[c] != not
	}
	return set, strings.TrimPrefix(rest, "]")
}

func FuzzGlob(f *testing.F) {
	f.Add("user:*:[a-z]?", "user:1:xy", false)
	f.Add("a*a*a*b", "aaaaaab", true)
	f.Add(`[^\]a-`, "]", true)
	f.Add("\xd8", "\xd8", true)
	f.Fuzz(func(t *testing.T, pattern, s string, nocase bool) {
		if len(pattern) > 30 || len(s) > 15 || strings.Count(pattern, "*") > 4 {
			Glob([]byte(pattern), []byte(s), nocase)
			return
		}
		want := naiveGlob(pattern, s, nocase)
		if got := Glob([]byte(pattern), []byte(s), nocase); got != want {
			t.Fatalf("Glob(%q, %q, nocase %v) = %v", pattern, s, nocase, got)
		}
	})
}

// Redis gives up at a depth of recursion; a last star does not count.
func TestGlobGivesUpWhereRedisDoes(t *testing.T) {
	for _, test := range []struct {
		stars int
		end   string
		want  bool
	}{{1000, "", true}, {1001, "", false}, {1000, "*", true}, {1001, "*", false}, {50000, "", false}} {
		pattern := strings.Repeat("*?", test.stars) + test.end
		if got := Glob([]byte(pattern), bytes.Repeat([]byte("a"), 50000), false); got != test.want {
			t.Errorf("%d stars and %q: %v", test.stars, test.end, got)
		}
	}
}
