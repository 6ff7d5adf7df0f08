package resp

import "bytes"

// Frames finds where replies end in a stream that arrives in pieces. It looks at the framing alone, of RESP2 and RESP3 alike, and keeps nothing of
// what it has seen but how much is still to come: so a reply of any size and depth can be passed on as it arrives. The zero Frames is at the
// beginning of a reply.
type Frames struct {
	want  int  // elements to come until the reply is whole; 0: it has not begun
	skip  int  // bytes to come of the string at hand, with its line end
	kind  byte // of the element whose line is at hand; 0: none is
	minus bool // … its number is negative,
	size  int  // … and this, as far as it has arrived
}

// Begun tells whether part of a reply has arrived.
func (f *Frames) Begun() bool { return f.want > 0 }

// Next takes in the bytes of p that belong to the reply at hand, and tells how many they are. whole: the reply ends there.
func (f *Frames) Next(p []byte) (n int, whole bool) {
	if f.want == 0 {
		f.want = 1
	}
	for f.want > 0 && n < len(p) {
		switch {
		case f.skip > 0:
			step := min(f.skip, len(p)-n)
			n, f.skip = n+step, f.skip-step
			if f.skip == 0 {
				f.want--
			}
		case f.kind == 0:
			f.kind, f.minus, f.size = p[n], false, 0
			n++
		default:
			n += f.line(p[n:])
		}
	}
	return n, f.want == 0
}

// line takes in bytes of an element's first line, whose kind is known.
func (f *Frames) line(p []byte) (n int) {
	end := bytes.IndexByte(p, '\n')
	if end >= 0 {
		p = p[:end]
	}
	switch f.kind {
	case '$', '=', '!', '*', '~', '>', '%', '|':
		for _, c := range p {
			switch {
			case c == '-':
				f.minus = true
			case c >= '0' && c <= '9':
				f.size = f.size*10 + int(c-'0')
			}
		}
	}
	if end < 0 {
		return len(p)
	}
	f.element()
	return end + 1
}

// element is the end of an element's first line.
func (f *Frames) element() {
	kind := f.kind
	f.kind = 0
	if f.minus {
		f.size = 0
		if kind != '|' && kind != ':' {
			f.want-- // a null
			return
		}
	}
	switch kind {
	case '$', '=', '!':
		f.skip = f.size + len("\r\n")
	case '*', '~', '>':
		f.want += f.size - 1
	case '%':
		f.want += 2*f.size - 1
	case '|': // what it says is about the element that follows
		f.want += 2 * f.size
	default:
		f.want--
	}
}
