package types

import "bytes"

// A page's record holds the page as it is, without the zeros at its end, or, if that is shorter, what of it is not zero: each place with its
// byte, in ascending order, and a zero behind them, in which a page as it is never ends. {0x2a, 0x80, 0} is a page whose byte 42 is 0x80,
// and {0} one of zeros. So a bitmap of which few bits are set takes few bytes (docs/decisions/026-sparse-pages.md).

// packPage appends a page's record.
func packPage(dst, page []byte) []byte {
	page = bytes.TrimRight(page, "\x00")
	if set := len(page) - bytes.Count(page, zeros[:1]); set > 0 && 2*set+1 >= len(page) {
		return append(dst, page...)
	}
	for at, b := range page {
		if b != 0 {
			dst = append(dst, byte(at), b)
		}
	}
	return append(dst, 0)
}

// unpackPage returns the page that a record holds, without zeros at its end: the record itself, or what is made of it in buf. ok is false if
// the record holds none.
func unpackPage(buf, record []byte) (page []byte, ok bool) {
	n := len(record)
	switch {
	case n == 0 || n > PageBytes:
		return nil, false
	case record[n-1] != 0:
		return record, true
	case n%2 == 0:
		return nil, false
	}
	page = buf[:0]
	for i := 0; i < n-1; i += 2 {
		at, b := int(record[i]), record[i+1]
		if at < len(page) || b == 0 {
			return nil, false
		}
		page = append(grow(page, at), b)
	}
	return page, true
}
