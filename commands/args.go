package commands

import (
	"math"
	"math/big"
	"strconv"
)

// parseInt reads a number the way Redis does everywhere: no plus sign, no spaces, no leading zeros, within int64.
func parseInt(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	switch {
	case len(digits) == 0 || len(digits) > 19:
		return 0, false
	case digits[0] == '0':
		return 0, len(b) == 1
	}
	n := uint64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0') // 19 digits fit into 64 bits
	}
	switch {
	case !negative && n <= math.MaxInt64:
		return int64(n), true
	case negative && n <= 1<<63:
		return -int64(n), true
	}
	return 0, false
}

// intArg is parseInt with the usual error.
func intArg(b []byte) (int64, error) {
	n, ok := parseInt(b)
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

// parseCursor reads SCAN's cursor as C's strtoul does, signs included; Redis refuses only spaces, what follows the digits, and overflow.
func parseCursor(b []byte) (uint64, bool) {
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

// INCRBYFLOAT computes with C's long double, which on the processors Redis runs on has a mantissa of 64 bits.
const (
	longDoubleBits   = 64
	longDoubleMaxExp = 16384
	longDoubleMinExp = -16444 // of the smallest denormal
	maxFloatChars    = 5 * 1024
)

// parseFloat reads a long double as strtold does. Redis lets infinity pass at this point.
func parseFloat(b []byte) (f *big.Float, ok bool) {
	if len(b) == 0 || len(b) >= maxFloatChars {
		return nil, false
	}
	text := b
	negative := false
	if text[0] == '-' || text[0] == '+' {
		negative = text[0] == '-'
		text = text[1:]
	}
	if is(text, "inf") || is(text, "infinity") {
		return new(big.Float).SetInf(negative), true
	}
	if !isNumber(text) {
		return nil, false
	}
	f, _, err := big.ParseFloat(string(text), 0, longDoubleBits, big.ToNearestEven)
	if err != nil || f.IsInf() {
		return nil, false
	}
	if f.Sign() != 0 {
		if exp := f.MantExp(nil); exp > longDoubleMaxExp || exp < longDoubleMinExp {
			return nil, false
		}
	} else if !allZero(text) {
		return nil, false
	}
	if negative {
		f.Neg(f)
	}
	return f, true
}

// isNumber tells whether b is a decimal or hexadecimal number in C, without sign.
func isNumber(b []byte) bool {
	digit, mark := isDecimal, byte('e')
	if len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x' {
		b, digit, mark = b[2:], isHex, 'p'
	}
	n, dots := 0, 0
	for len(b) > 0 && (digit(b[0]) || b[0] == '.' && dots == 0) {
		if b[0] == '.' {
			dots++
		} else {
			n++
		}
		b = b[1:]
	}
	if n == 0 || len(b) == 0 {
		return n > 0
	}
	if b[0]|0x20 != mark {
		return false
	}
	b = b[1:]
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	for _, c := range b {
		if !isDecimal(c) {
			return false
		}
	}
	return len(b) > 0 && len(b) < 10
}

// allZero tells whether the mantissa of a number is zero, so that its value is not what underflowed.
func allZero(b []byte) bool {
	if len(b) > 2 && b[1]|0x20 == 'x' {
		b = b[2:]
	}
	for _, c := range b {
		if c >= '1' && c <= '9' {
			return false
		}
		if c != '0' && c != '.' {
			return true
		}
	}
	return true
}

func isDecimal(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDecimal(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// addFloat adds as the processor does; ok is false if the sum is no number.
func addFloat(a, b *big.Float) (sum *big.Float, ok bool) {
	if a.IsInf() || b.IsInf() {
		return nil, false
	}
	sum = new(big.Float).SetPrec(longDoubleBits).Add(a, b)
	if sum.Sign() != 0 && sum.MantExp(nil) > longDoubleMaxExp {
		return nil, false
	}
	return sum, true
}

// appendFloat writes a sum as INCRBYFLOAT answers it: %.17Lf without the zeros at its end.
func appendFloat(dst []byte, f *big.Float) []byte {
	start := len(dst)
	dst = f.Append(dst, 'f', 17)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if dst[len(dst)-1] == '.' {
		dst = dst[:len(dst)-1]
	}
	if string(dst[start:]) == "-0" {
		dst = append(dst[:start], '0')
	}
	return dst
}
