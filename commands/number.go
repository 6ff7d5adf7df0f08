package commands

import (
	"math"
	"math/big"
	"strconv"

	"sett/types"
)

// The commands that see a string as a number. Their rows are in string.go.

func incr(u *Update) error { return u.add(1) }

func decr(u *Update) error { return u.add(-1) }

func incrBy(u *Update) error {
	by, err := intArg(u.Args[2])
	if err != nil {
		return err
	}
	return u.add(by)
}

func decrBy(u *Update) error {
	by, err := intArg(u.Args[2])
	if err != nil {
		return err
	}
	if by == math.MinInt64 {
		return ErrDecrementOverflow
	}
	return u.add(-by)
}

// maxIntChars is the length of the lowest integer.
const maxIntChars = 20

func (u *Update) add(by int64) error {
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	n := int64(0)
	if r.Exists {
		if r.StringLen() > maxIntChars {
			return ErrNotInteger
		}
		value, err := u.stringBytes(&r.Meta, 0, r.StringLen())
		if err != nil {
			return err
		}
		if n, err = intArg(value); err != nil {
			return err
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		return ErrOverflow
	}
	u.value = strconv.AppendInt(u.value[:0], n+by, 10)
	u.ledger.PutString(&r, u.value, r.ExpireAtMs)
	u.W.Int(n + by)
	return nil
}

func incrByFloat(u *Update) error {
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	n := new(big.Float).SetPrec(longDoubleBits)
	if r.Exists {
		if r.StringLen() >= maxFloatChars {
			return ErrNotFloat
		}
		value, err := u.stringBytes(&r.Meta, 0, r.StringLen())
		if err != nil {
			return err
		}
		var ok bool
		if n, ok = parseFloat(value); !ok {
			return ErrNotFloat
		}
	}
	by, ok := parseFloat(u.Args[2])
	if !ok {
		return ErrNotFloat
	}
	sum, ok := addFloat(n, by)
	if !ok {
		return ErrNaN
	}
	u.value = appendFloat(u.value[:0], sum)
	u.ledger.PutEncoded(&r, u.value, r.ExpireAtMs, types.Embstr)
	u.W.Bulk(u.value)
	return nil
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
