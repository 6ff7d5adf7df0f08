package resp

// ParseInt reads a number the way Redis does everywhere, lengths and arguments alike: what it would print itself and nothing else. No plus, no
// leading zero, no "-0", no blanks, within int64.
func ParseInt(digits []byte) (int64, bool) {
	if len(digits) == 1 && digits[0] == '0' {
		return 0, true
	}
	negative := len(digits) > 0 && digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' {
		return 0, false
	}
	var v uint64 // 19 digits fit
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	if negative {
		return -int64(v), v <= 1<<63
	}
	return int64(v), v < 1<<63
}
