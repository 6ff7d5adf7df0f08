package commands

import (
	"math"
	"math/bits"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// LCS finds the longest common subsequence of two strings. Let L(y, x) be its length for the first y bytes of the shorter string and the first x of
// the longer one. Redis keeps L in a table of four bytes a cell; here a cell is one bit, L(y, x) - L(y, x-1), and a row of them is made
// from the one before 64 at a time (Hyyrö, "Bit-parallel LCS-length computation revisited"). The bits are enough to walk back as Redis does,
// so that the same one of several answers is found.

// lcsState is what Read leaves to Long.
type lcsState struct {
	a, b     types.Meta
	len, idx bool
	withLen  bool
	minMatch int64
}

// maxLCSBytes is Redis' limit for the length of a string.
const maxLCSBytes = math.MaxUint32 - 1

func lcsStart(q *Query) error {
	var s lcsState
	for i, m := range []*types.Meta{&s.a, &s.b} {
		var err error
		if *m, err = q.lookupOf(q.Args[i+1], types.String); err == ErrWrongType {
			return ErrLCSType
		} else if err != nil {
			return err
		}
		m.Payload = append([]byte(nil), m.Payload...)
	}
	if err := s.parse(q.Args[3:]); err != nil {
		return err
	}
	a, b := uint64(s.a.StringLen()), uint64(s.b.StringLen())
	switch {
	case s.len && s.idx:
		return ErrLCSOptions
	case max(a, b) >= maxLCSBytes:
		return ErrLCSTooLong
	case (a+1)*(b+1)*4 > uint64(q.set.maxBulk.Load()):
		return ErrLCSTooLarge
	}
	q.lcs = s
	return nil
}

func (s *lcsState) parse(args [][]byte) error {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "idx"):
			s.idx = true
		case is(arg, "len"):
			s.len = true
		case is(arg, "withmatchlen"):
			s.withLen = true
		case is(arg, "minmatchlen") && i+1 < len(args):
			i++
			n, err := intArg(args[i])
			if err != nil {
				return err
			}
			s.minMatch = max(0, n)
		default:
			return ErrSyntax
		}
	}
	return nil
}

// lcsView is Long of LCS.
func lcsView(q *Query, v *storage.View) error {
	s := &q.lcs
	t := lcsTable{swapped: s.a.StringLen() > s.b.StringLen()}
	short, long := &s.a, &s.b
	if t.swapped {
		short, long = long, short
	}
	var err error
	if t.short, err = appendAll(nil, q, v, short); err != nil {
		return err
	}
	need := t.size(long.StringLen())
	limit := q.set.store.Budget().Clients
	defer q.set.lcs.Add(-need)
	if q.set.lcs.Add(need) > limit {
		return ErrLCSNoMemory
	}
	if err := t.readLong(types.NewPieces(q.over(v, long, asIs), long, 0, t.n)); err != nil {
		return err
	}
	t.fill()
	s.reply(q, &t)
	return nil
}

func appendAll(dst []byte, q *Query, v *storage.View, m *types.Meta) ([]byte, error) {
	pieces := types.NewPieces(q.over(v, m, asIs), m, 0, m.StringLen())
	for {
		piece, err := pieces.Next()
		if len(piece) == 0 {
			return dst, err
		}
		dst = append(dst, piece...)
	}
}

// lcsTable is the table of one LCS.
type lcsTable struct {
	swapped bool // the longer string is the first
	short   []byte
	n       int // length of the longer one

	words int           // of a row: a bit for each byte of the longer string
	where [256][]uint64 // where in the longer string each byte of the shorter one is
	rows  []uint64      // row y begins at (y-1)·words; row 0 would be all zeros
}

// size is the memory that the table takes for a longer string of n bytes.
func (t *lcsTable) size(n int) int64 {
	t.n, t.words = n, (n+63)/64
	if len(t.short) == 0 {
		t.words = 0 // nothing is in common, whatever the other is
	}
	for _, c := range t.short {
		if t.where[c] == nil {
			t.where[c] = []uint64{}
		}
	}
	rows := len(t.short)
	for _, bits := range t.where {
		if bits != nil {
			rows++
		}
	}
	return int64(rows) * int64(t.words) * 8
}

// readLong notes where in the longer string the bytes are that matter.
func (t *lcsTable) readLong(pieces *types.Pieces) error {
	if len(t.short) == 0 {
		return nil
	}
	for c, bits := range t.where {
		if bits != nil {
			t.where[c] = make([]uint64, t.words)
		}
	}
	for at := 0; ; {
		piece, err := pieces.Next()
		if len(piece) == 0 {
			return err
		}
		for _, c := range piece {
			if bits := t.where[c]; bits != nil {
				bits[at>>6] |= 1 << (at & 63)
			}
			at++
		}
	}
}

// fill makes the rows. In Hyyrö's words V has a zero where the length grows: V' = (V + (V & M)) | (V & ^M), M being where the row's byte is.
func (t *lcsTable) fill() {
	t.rows = make([]uint64, len(t.short)*t.words)
	v := make([]uint64, t.words)
	for i := range v {
		v[i] = ^uint64(0)
	}
	for y, c := range t.short {
		row, carry := t.rows[y*t.words:(y+1)*t.words], uint64(0)
		for i, m := range t.where[c] {
			var sum uint64
			sum, carry = bits.Add64(v[i], v[i]&m, carry)
			v[i] = sum | v[i]&^m
			row[i] = ^v[i]
		}
	}
	for y := range t.short {
		t.clip(t.rows[y*t.words : (y+1)*t.words])
	}
}

// clip clears the bits behind the end of the longer string.
func (t *lcsTable) clip(row []uint64) {
	if rest := t.n & 63; rest != 0 {
		row[len(row)-1] &= 1<<rest - 1
	}
}

// grows is L(y, x) - L(y, x-1).
func (t *lcsTable) grows(y, x int) int {
	if y == 0 {
		return 0
	}
	return int(t.rows[(y-1)*t.words+(x-1)>>6] >> ((x - 1) & 63) & 1)
}

// length is L(y, x).
func (t *lcsTable) length(y, x int) (n int) {
	if y == 0 {
		return 0
	}
	row := t.rows[(y-1)*t.words : y*t.words]
	for _, word := range row[:x>>6] {
		n += bits.OnesCount64(word)
	}
	if rest := x & 63; rest != 0 {
		n += bits.OnesCount64(row[x>>6] & (1<<rest - 1))
	}
	return n
}

// equal tells whether byte y of the shorter string is byte x of the longer one; both count from 1.
func (t *lcsTable) equal(y, x int) bool {
	return t.where[t.short[y-1]][(x-1)>>6]>>((x-1)&63)&1 != 0
}

// walk goes back from the ends of both strings, as Redis does, and calls f at each step with how many bytes of a and of b are left, and whether the
// last of them match.
//
// Without a match Redis takes a byte off a if L without it is longer than L without b's, else off b. L itself is the longer of the two. So if
// b is the longer string, a loses a byte exactly where the row grows; if a is, then exactly where L rises from the row before.
func (t *lcsTable) walk(f func(i, j int, match bool)) {
	y, x := len(t.short), t.n
	rise := t.rise(y, x)
	for y > 0 && x > 0 {
		match := t.equal(y, x)
		if t.swapped {
			f(x, y, match)
		} else {
			f(y, x, match)
		}
		switch {
		case match:
			y, x = y-1, x-1
			rise = t.rise(y, x)
		case t.swapped && rise == 1, !t.swapped && t.grows(y, x) == 0:
			rise += t.grows(y-1, x) - t.grows(y, x)
			x--
		default:
			y--
			rise = t.rise(y, x)
		}
	}
}

// rise is L(y, x) - L(y-1, x), for a walk that needs it.
func (t *lcsTable) rise(y, x int) int {
	if !t.swapped || y == 0 {
		return 0
	}
	return t.length(y, x) - t.length(y-1, x)
}

func (s *lcsState) reply(q *Query, t *lcsTable) {
	total := t.length(len(t.short), t.n)
	switch {
	case s.idx:
		s.replyMatches(q.W, t, total)
	case s.len:
		q.W.Int(int64(total))
	default:
		common := make([]byte, total)
		t.walk(func(i, j int, match bool) {
			if !match {
				return
			}
			if t.swapped {
				i = j
			}
			total--
			common[total] = t.short[i-1]
		})
		q.W.Bulk(common)
	}
}

// replyMatches writes the ranges in which the strings match, from the last to the first.
func (s *lcsState) replyMatches(w *resp.Writer, t *lcsTable, total int) {
	w.Map(2)
	w.BulkString("matches")
	mark, n := w.Len(), 0
	var r lcsRange
	t.walk(func(i, j int, match bool) {
		if match {
			r.a, r.b, r.length = i-1, j-1, r.length+1
		}
		if r.length == 0 || match && r.a > 0 && r.b > 0 {
			return
		}
		if int64(r.length) >= s.minMatch {
			r.reply(w, s.withLen)
			n++
		}
		r.length = 0
	})
	w.ArrayAt(mark, n)
	w.BulkString("len")
	w.Int(int64(total))
}

// lcsRange is where a and b match, and how far.
type lcsRange struct{ a, b, length int }

func (r lcsRange) reply(w *resp.Writer, withLen bool) {
	if withLen {
		w.Array(3)
	} else {
		w.Array(2)
	}
	for _, from := range []int{r.a, r.b} {
		w.Array(2)
		w.Int(int64(from))
		w.Int(int64(from + r.length - 1))
	}
	if withLen {
		w.Int(int64(r.length))
	}
}
