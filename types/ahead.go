package types

import (
	"bytes"
	"slices"

	"sett/storage"
)

// A queue that is longer than memory is taken off leaf by leaf, and each leaf has to be read from Badger once. Who comes to the end of one has those
// read that come next, by somebody else: then no pop waits.
const (
	aheadLeaves     = 128 // are asked for,
	aheadNear       = 64  // … as soon as the one behind so many is not in memory; both times Txn.Pace
	apartAhead      = 192 // the same of elements that lie apart, which are records of their own
	apartNear       = 64
	apartAheadBytes = 1 << 20 // of them at most
)

// peek reads what is in memory, and notes what is not, without giving up the round.
type peek struct {
	Reader
	txn     *storage.Txn
	unknown [][]byte
}

func (p *peek) Get(key []byte) ([]byte, error) {
	if !p.txn.Has(key) {
		p.unknown = append(p.unknown, bytes.Clone(key))
		return nil, storage.ErrMiss
	}
	return p.txn.Get(key)
}

// ReadAhead sees to it that what lies at an end is in memory when pops come to it.
func (s *ListValue) ReadAhead(l *Ledger, left bool) {
	if s.c.id != 0 {
		s.leavesAhead(l, left, true)
		s.partsAhead(l, left)
	}
}

func (s *ListValue) leavesAhead(l *Ledger, left, late bool) {
	pace, free := l.txn.Pace(s.c.id, late)
	perLeaf := s.perLeaf()
	if !free || !late && s.c.count/perLeaf%int64(pace) != 0 { // who goes far ahead need not look at each leaf
		return
	}
	each := perLeaf * int64(pace)
	near, far := aheadNear*each, min(aheadLeaves*each, s.c.count)
	if near >= s.c.count {
		if pace == 1 {
			return
		}
		near = s.c.count - 1 // which was not asked for yet, if the pace is new
	}
	at, from, to := near, int64(0), far
	if !left {
		at, from, to = s.c.count-1-near, s.c.count-far, s.c.count
	}
	p := &peek{Reader: l.txn, txn: l.txn}
	if s.tree.holds(p, s.inTree(at)) {
		return
	}
	l.txn.Ahead(func() [][]byte {
		p.unknown = p.unknown[:0]
		// Of what is damaged those are told who come to it.
		keys, _ := s.tree.gather(make([][]byte, 0, 2*aheadLeaves*pace), p, s.tree.height, s.tree.root, -s.inTree(0), from, to, true)
		keys = append(keys, p.unknown...)
		slices.SortFunc(keys, bytes.Compare)
		return keys
	})
}

// partsAhead is leavesAhead for elements that lie apart. It moves the cursor.
func (s *ListValue) partsAhead(l *Ledger, left bool) {
	if s.tree.apart == 0 || s.c.count <= apartNear {
		return
	}
	p := &peek{Reader: l.txn, txn: l.txn}
	at, step := int64(apartNear), s.Next
	if !left {
		at, step = s.c.count-apartNear, s.Prev
	}
	s.MoveTo(at)
	if _, err := step(p); err != nil || s.datum.serial == 0 || l.txn.Has(appendPart(nil, s.c.id, s.datum.serial, 0)) {
		return
	}
	l.txn.Ahead(func() (keys [][]byte) {
		s.MoveTo(oneEnd(s.c.count, left))
		for n, size := 0, 0; n < apartAhead && size < apartAheadBytes; n++ {
			if ok, err := step(p); !ok || err != nil {
				break
			}
			keys, size = s.datum.needs(keys, s.c.id), size+s.datum.length
		}
		return keys
	})
}

// oneEnd is before the first of some elements, or behind the last one.
func oneEnd(count int64, left bool) int64 {
	if left {
		return 0
	}
	return count
}

// holds tells whether the leaf of element i, and what lies above it, is in memory.
func (t *tree) holds(p *peek, i int64) bool {
	entries, count := t.root, t.total
	for level := t.height; ; level-- {
		c, w, err := t.childAt(level, entries, i, count)
		if err != nil {
			return false
		}
		if level == 1 {
			t.key = appendNode(t.key[:0], t.collection, c.node)
			return p.txn.Has(t.key)
		}
		if entries, err = t.load(p, c.node, level-1); err != nil {
			return false
		}
		i, count = i-w.first, c.count
	}
}
