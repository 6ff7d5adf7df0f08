package commands

import (
	"bytes"
	"strconv"

	"sett/resp"
)

// intArg is resp.ParseInt with the usual error.
func intArg(b []byte) (int64, error) {
	n, ok := resp.ParseInt(b)
	if !ok {
		return 0, ErrNotInteger
	}
	return n, nil
}

// is compares an argument with a word in lower case, without regard to case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, c := range arg {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// parseCursor reads SCAN's cursor as C's strtoul does, signs included and up to the first zero byte; Redis refuses only spaces, what follows
// the digits, and overflow.
func parseCursor(b []byte) (uint64, bool) {
	b, _, _ = bytes.Cut(b, []byte{0})
	digits := b
	negative := false
	if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	if len(digits) == 0 {
		return 0, len(b) == 0
	}
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

// oneIf is 1 if b is true, and 0 if not.
func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}
