package resp

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Writer appends replies to a buffer. The zero Writer is ready and speaks RESP2.
//
// A type that only RESP3 has is written in RESP2 as Redis does, so a handler writes the richest type and never asks for the
// version.
type Writer struct {
	Proto int // 3 is RESP3, anything else RESP2; set by HELLO, between two replies

	buf     []byte
	streams []stream // in the order of their places; usually none
}

// Bytes are the replies written so far, without what is read while they leave (BulkFrom), valid until the next call of any method but Len.
func (w *Writer) Bytes() []byte { return w.buf }

// Len is the number of those bytes: a place that Truncate or ArrayAt can come back to.
func (w *Writer) Len() int { return len(w.buf) }

// Truncate forgets everything behind the first n bytes.
func (w *Writer) Truncate(n int) {
	w.buf = w.buf[:n]
	if len(w.streams) > 0 {
		w.closeFrom(n)
	}
}

// Reset forgets everything and keeps the memory.
func (w *Writer) Reset() { w.Truncate(0) }

// Raw appends bytes that are RESP already.
func (w *Writer) Raw(reply []byte) { w.buf = append(w.buf, reply...) }

// Status writes a simple string such as OK.
func (w *Writer) Status(text string) { w.line('+', text) }

// Error writes an error. The text starts with its code: "ERR syntax error". Line ends behind it are dropped.
func (w *Writer) Error(text string) { w.line('-', strings.TrimRight(text, "\r\n")) }

// Int writes an integer.
func (w *Writer) Int(v int64) { w.number(':', v) }

// Uint writes an unsigned integer; Redis has no other type for one beyond 2⁶³-1 either.
func (w *Writer) Uint(v uint64) {
	w.buf = append(w.buf, ':')
	w.buf = strconv.AppendUint(w.buf, v, 10)
	w.end()
}

// Bulk writes a string of bytes. A nil slice is the empty string; what does not exist is Null.
func (w *Writer) Bulk(b []byte) {
	w.number('$', int64(len(b)))
	w.buf = append(w.buf, b...)
	w.end()
}

// BulkFill is Bulk for n bytes that fill appends to what it gets. After an error nothing is written.
func (w *Writer) BulkFill(n int, fill func(dst []byte) ([]byte, error)) error {
	start := len(w.buf)
	w.buf = slices.Grow(w.buf, n+32)
	w.number('$', int64(n))
	out, err := fill(w.buf)
	if err != nil {
		w.buf = w.buf[:start]
		return err
	}
	w.buf = out
	w.end()
	return nil
}

// BulkString is Bulk for a string.
func (w *Writer) BulkString(s string) {
	w.number('$', int64(len(s)))
	w.buf = append(w.buf, s...)
	w.end()
}

// BulkInt writes a number as a string of bytes.
func (w *Writer) BulkInt(v int64) {
	var digits [20]byte
	w.Bulk(strconv.AppendInt(digits[:0], v, 10))
}

// Null writes the absence of a value.
func (w *Writer) Null() { w.null("$-1\r\n") }

// NullArray writes the absence of an array; only RESP2 tells it from Null.
func (w *Writer) NullArray() { w.null("*-1\r\n") }

// Array opens an array: n replies follow.
func (w *Writer) Array(n int) { w.number('*', int64(n)) }

// SetAt is ArrayAt for a set.
func (w *Writer) SetAt(at, n int) {
	w.ArrayAt(at, n)
	if w.Proto >= 3 {
		w.buf[at] = '~'
	}
}

// ArrayAt opens an array in front of the n replies written since Len() was at. It moves them once, so it is for those who
// learn n only at the end.
func (w *Writer) ArrayAt(at, n int) {
	end := len(w.buf)
	w.Array(n)
	var header [24]byte
	size := copy(header[:], w.buf[end:])
	copy(w.buf[at+size:], w.buf[at:end])
	copy(w.buf[at:], header[:size])
	for i := w.streamAt(at); i < len(w.streams); i++ {
		w.streams[i].at += size
	}
}

// Map opens a map: n times a key and its value follow. RESP2: an array of 2n.
func (w *Writer) Map(n int) {
	if w.Proto == 3 {
		w.number('%', int64(n))
	} else {
		w.Array(2 * n)
	}
}

// Set opens a set: n replies follow. RESP2: an array.
func (w *Writer) Set(n int) { w.resp3('~', n) }

// Push opens a message outside the order of replies: n replies follow. RESP2: an array.
func (w *Writer) Push(n int) { w.resp3('>', n) }

// Attribute opens what is said about the reply behind it: n times a key and its value follow. RESP2 has none: write nothing there.
func (w *Writer) Attribute(n int) { w.number('|', int64(n)) }

// Bool writes a truth value. RESP2: 1 or 0.
func (w *Writer) Bool(v bool) {
	switch {
	case w.Proto == 3 && v:
		w.buf = append(w.buf, "#t\r\n"...)
	case w.Proto == 3:
		w.buf = append(w.buf, "#f\r\n"...)
	case v:
		w.Int(1)
	default:
		w.Int(0)
	}
}

// Double writes a floating point number with C's %.17g, as Redis 7.0 does. RESP2: as a bulk string. Of NaN's signs, which C
// shows and which depend on the processor, we know only one.
func (w *Writer) Double(v float64) {
	var digits [32]byte
	w.double(AppendDouble(digits[:0], v))
}

// double writes the digits of a floating point number; RESP2 has no type for it.
func (w *Writer) double(digits []byte) {
	if w.Proto != 3 {
		w.Bulk(digits)
		return
	}
	w.buf = append(w.buf, ',')
	w.buf = append(w.buf, digits...)
	w.end()
}

// Decimal writes a floating point number as Redis writes those that people read: with C's %.17f, without the zeros at its end. RESP2: as a bulk
// string.
func (w *Writer) Decimal(v float64) {
	var digits [340]byte
	b := strconv.AppendFloat(digits[:0], v, 'f', 17, 64)
	if bytes.IndexByte(b, '.') >= 0 {
		b = bytes.TrimRight(bytes.TrimRight(b, "0"), ".")
	}
	w.double(b)
}

// BulkDouble writes a floating point number as a string of bytes.
func (w *Writer) BulkDouble(v float64) {
	var digits [32]byte
	w.Bulk(AppendDouble(digits[:0], v))
}

// Verbatim writes text in a format of three letters ("txt", "mkd"). RESP2: a bulk string.
func (w *Writer) Verbatim(format string, text []byte) {
	if w.Proto != 3 {
		w.Bulk(text)
		return
	}
	prefix := [4]byte{' ', ' ', ' ', ':'}
	copy(prefix[:3], format)
	w.number('=', int64(len(prefix)+len(text)))
	w.buf = append(w.buf, prefix[:]...)
	w.buf = append(w.buf, text...)
	w.end()
}

// BigNumber writes an integer of any size, given in decimal. RESP2: a bulk string.
func (w *Writer) BigNumber(digits string) {
	if w.Proto == 3 {
		w.line('(', digits)
	} else {
		w.BulkString(digits)
	}
}

func (w *Writer) end() { w.buf = append(w.buf, '\r', '\n') }

func (w *Writer) number(kind byte, v int64) {
	w.buf = append(w.buf, kind)
	w.buf = strconv.AppendInt(w.buf, v, 10)
	w.end()
}

func (w *Writer) null(resp2 string) {
	if w.Proto == 3 {
		resp2 = "_\r\n"
	}
	w.buf = append(w.buf, resp2...)
}

func (w *Writer) resp3(kind byte, n int) {
	if w.Proto != 3 {
		kind = '*'
	}
	w.number(kind, int64(n))
}

// line writes text that must stay on one line: a client could otherwise smuggle a reply of its own into an error that quotes
// it. As in Redis, CR and LF become spaces.
func (w *Writer) line(kind byte, text string) {
	w.buf = append(w.buf, kind)
	start := len(w.buf)
	w.buf = append(w.buf, text...)
	for i, c := range w.buf[start:] {
		if c == '\r' || c == '\n' {
			w.buf[start+i] = ' '
		}
	}
	w.end()
}

// AppendDouble appends what Double writes of a number.
func AppendDouble(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "nan"...)
	case math.IsInf(v, 1):
		return append(dst, "inf"...)
	case math.IsInf(v, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, v, 'g', 17, 64)
}
