package resp

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// Source gives the bytes of a bulk string while it leaves, for what is too long to lie in memory meanwhile.
type Source interface {
	// Next returns the next bytes, none at the end. They are valid until the next call of Next or Close.
	Next() ([]byte, error)
	// Close is called once: when the string has left, or when nobody wants it any more.
	Close()
}

// stream is a bulk string that is not in the buffer.
type stream struct {
	at     int // it belongs in front of buf[at]
	length int // as announced
	src    Source
}

// BulkFrom writes a string of n bytes that are read from src while the reply leaves. The Writer closes src once they have left (Outgoing), or
// when the reply is forgotten (Truncate, Reset).
func (w *Writer) BulkFrom(n int, src Source) {
	w.number('$', int64(n))
	w.streams = append(w.streams, stream{len(w.buf), n, src})
	w.end()
}

// Streams tells whether bytes are to be read while the replies leave.
func (w *Writer) Streams() bool { return len(w.streams) > 0 }

// StreamCount is the number of strings that are to be read.
func (w *Writer) StreamCount() int { return len(w.streams) }

// closeFrom closes and forgets the sources at or behind buf[n].
func (w *Writer) closeFrom(n int) {
	first := w.streamAt(n)
	for _, s := range w.streams[first:] {
		s.src.Close()
	}
	clear(w.streams[first:])
	w.streams = w.streams[:first]
}

// streamAt is the index of the first stream at or behind buf[n].
func (w *Writer) streamAt(n int) int {
	i := len(w.streams)
	for i > 0 && w.streams[i-1].at >= n {
		i--
	}
	return i
}

// Cut takes everything behind the first n bytes away, sources included, and returns it as a Writer of its own.
func (w *Writer) Cut(n int) Writer {
	rest := Writer{Proto: w.Proto, buf: bytes.Clone(w.buf[n:])}
	rest.take(w, n, len(w.buf), -n)
	w.buf = w.buf[:n]
	return rest
}

// Move appends the bytes [start, end) of another Writer, which hands their sources over and keeps the bytes. Both ends lie between replies.
func (w *Writer) Move(from *Writer, start, end int) {
	shift := len(w.buf) - start
	w.buf = append(w.buf, from.buf[start:end]...)
	w.take(from, start, end, shift)
}

// take takes the sources in [start, end) of another Writer over.
func (w *Writer) take(from *Writer, start, end, shift int) {
	if !from.Streams() {
		return
	}
	first, last := from.streamAt(start), from.streamAt(end)
	for _, s := range from.streams[first:last] {
		s.at += shift
		w.streams = append(w.streams, s)
	}
	from.streams = slices.Delete(from.streams, first, last)
}

// Skip returns where the reply ends that begins at buf[at]. It is for replies of our own making: at the end of the buffer, or at what is no
// reply, it stays where it is.
func (w *Writer) Skip(at int) int {
	end := at + bytes.IndexByte(w.buf[at:], '\n') + 1
	if end < at+3 {
		return at
	}
	kind := w.buf[at]
	n, _ := strconv.Atoi(string(w.buf[at+1 : end-2])) // 0 in lines that have none
	switch kind {
	case '$', '=', '!':
		switch {
		case n < 0:
			return end
		case w.streamsAt(end):
			return end + 2
		}
		return min(end+n+2, len(w.buf))
	case '%', '|':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for ; n > 0 && end < len(w.buf); n-- {
			end = w.Skip(end)
		}
	}
	return end
}

// streamsAt tells whether a stream belongs in front of buf[n].
func (w *Writer) streamsAt(n int) bool {
	i := w.streamAt(n)
	return i < len(w.streams) && w.streams[i].at == n
}

// Outgoing walks over a Writer's replies as they leave: memory up to a source, the source's pieces, and so on. The Writer must not be
// written to meanwhile. After the walk, or when it is given up, Reset forgets the replies.
type Outgoing struct {
	w       *Writer
	at      int  // w.buf[:at] has been returned
	reading bool // the first source is at hand,
	left    int  // … and so many bytes of it are to come
}

// Outgoing begins the walk.
func (w *Writer) Outgoing() Outgoing { return Outgoing{w: w} }

// Next returns the next bytes to send, none at the end. They are valid until the next call. An error leaves the client with half a reply,
// so that nothing can follow.
func (o *Outgoing) Next() ([]byte, error) {
	w := o.w
	if o.reading && o.left > 0 {
		return o.piece()
	}
	if o.reading {
		w.streams[0].src.Close()
		w.streams[0] = stream{}
		w.streams = w.streams[1:]
	}
	start, end := o.at, len(w.buf)
	if o.reading = w.Streams(); o.reading {
		end, o.left = w.streams[0].at, w.streams[0].length
	}
	o.at = end
	return w.buf[start:end], nil
}

func (o *Outgoing) piece() ([]byte, error) {
	s := &o.w.streams[0]
	piece, err := s.src.Next()
	if err != nil {
		return nil, err
	}
	if len(piece) == 0 || len(piece) > o.left {
		return nil, fmt.Errorf("a string of %d bytes was announced, %d were sent, and its source gave %d", s.length, s.length-o.left, len(piece))
	}
	o.left -= len(piece)
	return piece, nil
}
