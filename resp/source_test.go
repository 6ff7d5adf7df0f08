package resp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// fakeSource gives its pieces, then an error if it has one.
type fakeSource struct {
	pieces []string
	err    error
	closed int
}

func (s *fakeSource) Next() ([]byte, error) {
	if s.closed > 0 {
		return nil, errors.New("read after Close")
	}
	if len(s.pieces) == 0 {
		return nil, s.err
	}
	piece := s.pieces[0]
	s.pieces = s.pieces[1:]
	return []byte(piece), nil
}

func (s *fakeSource) Close() { s.closed++ }

// sources makes sources and remembers them.
type sources []*fakeSource

func (s *sources) write(w *Writer, pieces ...string) {
	src := &fakeSource{pieces: pieces}
	*s = append(*s, src)
	w.BulkFrom(len(strings.Join(pieces, "")), src)
}

// closed tells of each source how often it was closed.
func (s sources) closed() string {
	var text strings.Builder
	for _, src := range s {
		fmt.Fprint(&text, src.closed)
	}
	return text.String()
}

// sent is what the replies of a Writer are on the wire.
func sent(w *Writer) (string, error) {
	var all []byte
	for out := w.Outgoing(); ; {
		piece, err := out.Next()
		if err != nil || len(piece) == 0 {
			return string(all), err
		}
		all = append(all, piece...)
	}
}

func wantSent(t *testing.T, w *Writer, want string) {
	t.Helper()
	if got, err := sent(w); err != nil || got != want {
		t.Fatalf("sent %q, %v; want %q", got, err, want)
	}
}

func TestBulkFrom(t *testing.T) {
	var w Writer
	var srcs sources
	w.Status("OK")
	srcs.write(&w, "ab", "c")
	w.Array(3)
	srcs.write(&w)
	w.Int(1)
	srcs.write(&w, "xyz")
	if got := string(w.Bytes()); got != "+OK\r\n$3\r\n\r\n*3\r\n$0\r\n\r\n:1\r\n$3\r\n\r\n" || w.Len() != len(got) || !w.Streams() {
		t.Fatalf("in memory: %q", got)
	}
	wantSent(t, &w, "+OK\r\n$3\r\nabc\r\n*3\r\n$0\r\n\r\n:1\r\n$3\r\nxyz\r\n")
	if w.Streams() || srcs.closed() != "111" {
		t.Fatalf("closed %s times", srcs.closed())
	}
	w.Reset()
	srcs.write(&w, "again")
	wantSent(t, &w, "$5\r\nagain\r\n")
	w.Reset()
	if srcs.closed() != "1111" {
		t.Fatalf("closed %s times", srcs.closed())
	}
}

// TestPieceIsValidUntilNext: a source is closed when the next bytes are asked for, not while its last piece is being sent.
func TestPieceIsValidUntilNext(t *testing.T) {
	var w Writer
	var srcs sources
	srcs.write(&w, "abc")
	out := w.Outgoing()
	out.Next()
	if piece, err := out.Next(); string(piece) != "abc" || err != nil || srcs.closed() != "0" {
		t.Fatalf("%q, %v, closed %s", piece, err, srcs.closed())
	}
	if rest, _ := out.Next(); string(rest) != "\r\n" || srcs.closed() != "1" {
		t.Fatalf("%q, closed %s", rest, srcs.closed())
	}
}

func TestTruncateClosesSources(t *testing.T) {
	var w Writer
	var srcs sources
	srcs.write(&w, "a")
	mark := w.Len()
	w.Status("OK")
	srcs.write(&w, "b")
	srcs.write(&w, "c")
	w.Truncate(mark)
	if srcs.closed() != "011" {
		t.Fatalf("closed %s times", srcs.closed())
	}
	srcs.write(&w, "d")
	wantSent(t, &w, "$1\r\na\r\n$1\r\nd\r\n")
	w.Reset()
	srcs.write(&w, "e")
	srcs.write(&w, "f")
	w.Reset()
	if srcs.closed() != "111111" {
		t.Fatalf("closed %s times", srcs.closed())
	}
}

func TestArrayAtMovesSources(t *testing.T) {
	var w Writer
	var srcs sources
	srcs.write(&w, "before")
	at := w.Len()
	srcs.write(&w, "one")
	w.Int(2)
	srcs.write(&w, "three")
	w.ArrayAt(at, 3)
	wantSent(t, &w, "$6\r\nbefore\r\n*3\r\n$3\r\none\r\n:2\r\n$5\r\nthree\r\n")
}

func TestCutAndMove(t *testing.T) {
	var w Writer
	var srcs sources
	w.Status("first")
	srcs.write(&w, "a")
	mark := w.Len()
	srcs.write(&w, "b")
	w.Status("dropped")
	srcs.write(&w, "c")
	rest := w.Cut(mark)
	w.Status("between")
	end := rest.Skip(0)
	w.Move(&rest, 0, end)
	w.Move(&rest, rest.Skip(end), rest.Len())
	rest.Reset()
	if srcs.closed() != "000" {
		t.Fatalf("closed %s times", srcs.closed())
	}
	wantSent(t, &w, "+first\r\n$1\r\na\r\n+between\r\n$1\r\nb\r\n$1\r\nc\r\n")
	if srcs.closed() != "111" {
		t.Fatalf("closed %s times", srcs.closed())
	}
	srcs.write(&w, "d")
	srcs.write(&w, "e")
	rest = w.Cut(w.Skip(w.Len()))
	rest = w.Cut(0)
	var other Writer
	other.Move(&rest, rest.Len(), rest.Len())
	rest.Reset()
	if other.Streams() || srcs.closed() != "11111" {
		t.Fatalf("closed %s times", srcs.closed())
	}
}

// TestBadSources: an error, too little or too much ends the walk; Reset still closes everything.
func TestBadSources(t *testing.T) {
	for name, src := range map[string]*fakeSource{
		"error":    {pieces: []string{"ab"}, err: errors.New("damage")},
		"short":    {pieces: []string{"ab", "c"}},
		"long":     {pieces: []string{"ab", "cdef"}},
		"at once":  {err: errors.New("damage")},
		"nothing":  {},
		"too much": {pieces: []string{"abcdefgh"}},
	} {
		var w Writer
		w.Status("OK")
		w.BulkFrom(5, src)
		if got, err := sent(&w); err == nil || !strings.HasPrefix("+OK\r\n$5\r\nabc", got) {
			t.Errorf("%s: sent %q, %v", name, got, err)
		}
		if w.Reset(); src.closed != 1 {
			t.Errorf("%s: closed %d times", name, src.closed)
		}
	}
}

// TestSkip compares with the places where replies were really begun.
func TestSkip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var w Writer
	var element func(depth int)
	element = func(depth int) {
		switch n := r.IntN(12); {
		case n < 2 && depth < 4:
			n = r.IntN(4)
			w.Array(n)
			for range n {
				element(depth + 1)
			}
		case n == 2 && depth < 4:
			n = r.IntN(3)
			w.Map(n)
			for range 2 * n {
				element(depth + 1)
			}
		case n == 3:
			w.Null()
		case n == 4:
			w.NullArray()
		case n == 5:
			w.Int(-12)
		case n == 6:
			w.Error("ERR 3 of 4")
		case n == 7:
			w.Verbatim("txt", []byte("a\r\n"))
		case n == 8:
			w.Bulk(nil)
		case n == 9:
			w.Bulk([]byte("$3\r\nx"))
		case n == 10:
			w.Double(1.5)
		default:
			w.BulkFrom(r.IntN(3), &fakeSource{})
		}
	}
	for _, w.Proto = range []int{2, 3} {
		w.Reset()
		var starts []int
		for range 2000 {
			starts = append(starts, w.Len())
			element(0)
		}
		at := 0
		for i, want := range starts {
			if at != want {
				t.Fatalf("RESP%d: reply %d begins at %d, want %d", w.Proto, i, at, want)
			}
			at = w.Skip(at)
		}
		if at != w.Len() || w.Skip(at) != at {
			t.Fatalf("RESP%d: ends at %d of %d", w.Proto, at, w.Len())
		}
	}
	for _, text := range []string{"", "\n", "x\n", "+\r", "$5\r\nab", "*3\r\n:1\r\n"} {
		w := Writer{buf: []byte(text)}
		if at := w.Skip(0); at > len(text) {
			t.Errorf("%q: skipped to %d", text, at)
		}
	}
}

// TestSourcesAgainstModel does random things to two Writers and to plain texts.
func TestSourcesAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for round := range 300 {
		var w Writer
		var srcs sources
		var replies []string // one text per reply
		var starts []int
		for range r.IntN(20) {
			switch n := r.IntN(10); {
			case n < 4:
				starts, replies = append(starts, w.Len()), append(replies, fmt.Sprintf(":%d\r\n", n))
				w.Int(int64(n))
			case n < 7:
				text := strings.Repeat("x", r.IntN(30))
				starts, replies = append(starts, w.Len()), append(replies, fmt.Sprintf("$%d\r\n%s\r\n", len(text), text))
				var pieces []string
				for p := range slices.Chunk([]byte(text), 7) {
					pieces = append(pieces, string(p))
				}
				srcs.write(&w, pieces...)
			case len(starts) == 0:
			case n == 7:
				i := r.IntN(len(starts))
				w.Truncate(starts[i])
				starts, replies = starts[:i], replies[:i]
			case n == 8:
				i := r.IntN(len(starts))
				w.ArrayAt(starts[i], len(starts)-i)
				replies[i] = fmt.Sprintf("*%d\r\n%s", len(starts)-i, strings.Join(replies[i:], ""))
				starts, replies = starts[:i+1], replies[:i+1]
			default:
				i := r.IntN(len(starts))
				rest := w.Cut(starts[i])
				w.Int(7)
				w.Move(&rest, 0, rest.Len())
				for k := i; k < len(starts); k++ {
					starts[k] += len(":7\r\n")
				}
				starts, replies = slices.Insert(starts, i, starts[i]-len(":7\r\n")), slices.Insert(replies, i, ":7\r\n")
			}
		}
		if round%3 == 0 {
			wantSent(t, &w, strings.Join(replies, ""))
		}
		w.Reset()
		if got := srcs.closed(); got != strings.Repeat("1", len(srcs)) {
			t.Fatalf("round %d: sources were closed %s times", round, got)
		}
	}
}
