package commands

import (
	"strconv"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// What the commands of hashes and sets share: both find their elements by name.

// scanInline is how many elements a command looks at under the lock. One that wants more reads them from a view.
const scanInline = 1000

// elements looks a hash or a set up; a key that is not there has none.
func (q *Query) elements(name []byte, of types.Type) (e types.Elements, err error) {
	m, err := q.lookup(name)
	if err == nil && m.Exists && m.Type != of {
		err = ErrWrongType
	}
	if err != nil {
		return e, err
	}
	return types.OpenElements(q.data, &q.set.keys, q.key, &m, of)
}

// elementsAt is elements for the second half of a row: what was looked up before is read from the view taken then.
func (q *Query) elementsAt(v *storage.View, name []byte, of types.Type) (e types.Elements, err error) {
	key, err := q.metaKey(name)
	if err != nil {
		return e, err
	}
	record, err := v.Get(key)
	if err != nil {
		return e, err
	}
	var m types.Meta
	if record != nil {
		if m, err = types.DecodeMeta(key, record); err != nil {
			return e, err
		}
		if m.ExpiredAt(q.Now) {
			m = types.Meta{}
		}
	}
	return types.ViewElements(v, &q.set.keys, key, &m, of)
}

// atOnce tells whether a row looks at so many elements in its first half. Within a transaction a view would not show what it has done itself.
func (q *Query) atOnce(elements int64) bool { return elements <= scanInline || q.txn != nil }

// edit opens a hash or a set in order to change its elements.
func (u *Update) edit(name []byte, of types.Type) (*types.Edit, error) {
	r, err := u.open(name)
	if err == nil && r.Exists && r.Type != of {
		err = ErrWrongType
	}
	if err != nil {
		return nil, err
	}
	u.record = r
	return u.ledger.EditElements(&u.record, of)
}

// elementScan is what HSCAN and SSCAN ask for.
type elementScan struct {
	cursor  uint64
	count   int
	pattern []byte // nil: everything
}

func (s *elementScan) parse(args [][]byte) error {
	s.count = defaultScanCount
	for ; len(args) > 0; args = args[2:] {
		if len(args) == 1 {
			return ErrSyntax
		}
		switch option, value := args[0], args[1]; {
		case is(option, "count"):
			n, err := intArg(value)
			if err != nil {
				return err
			}
			if n < 1 {
				return ErrSyntax
			}
			s.count = int(min(n, 1<<30))
		case is(option, "match"):
			if s.pattern = value; string(value) == "*" {
				s.pattern = nil
			}
		default:
			return ErrSyntax
		}
	}
	return nil
}

// scanElements is HSCAN and SSCAN.
func (q *Query) scanElements(of types.Type) error {
	var s elementScan
	var ok bool
	if s.cursor, ok = parseCursor(q.Args[2]); !ok {
		return ErrInvalidCursor
	}
	e, err := q.elements(q.Args[1], of)
	if err != nil {
		return err
	}
	if e.Len() > 0 {
		if err := s.parse(q.Args[3:]); err != nil {
			return err
		}
	}
	// The cursor comes before the elements and is known behind them: they go to the end of the reply, and are moved.
	start := q.W.Len()
	n := 0
	next, err := e.Scan(s.cursor, s.count, func(el *types.Element) error {
		name, err := e.Name(el)
		if err != nil || s.pattern != nil && !resp.Glob(s.pattern, name, false) {
			return err
		}
		q.W.Bulk(name)
		n++
		if of == types.Hash {
			n++
			return q.bulkValue(&e, el)
		}
		return nil
	})
	if err != nil {
		return err
	}
	shown := append([]byte(nil), q.W.Bytes()[start:]...)
	q.W.Truncate(start)
	q.W.Array(2)
	q.W.BulkString(strconv.FormatUint(next, 10))
	q.W.Array(n)
	q.W.Raw(shown)
	return nil
}

func (q *Query) bulkName(e *types.Elements, el *types.Element) error {
	name, err := e.Name(el)
	if err == nil {
		q.W.Bulk(name)
	}
	return err
}

func (q *Query) bulkValue(e *types.Elements, el *types.Element) error {
	value, err := e.Value(el)
	if err == nil {
		q.W.Bulk(value)
	}
	return err
}

// sample is what SRANDMEMBER and HRANDFIELD with a number ask for.
type sample struct {
	count      int64 // negative: as many, and any of them more than once
	withValues bool
	pairs      bool // a name and its value are an array of their own
}

// takeAllShare: who wants more than one of so many gets them by leaving others out.
const takeAllShare = 3

func (q *Query) replySample(e *types.Elements, s sample) error {
	switch {
	case s.count < 0:
		return q.replyRepeated(e, s)
	case s.count*takeAllShare > e.Len():
		return q.replyMost(e, s)
	}
	q.sampleHead(s, s.count)
	drawn := make(map[string]struct{}, s.count)
	for int64(len(drawn)) < s.count {
		el, err := e.Random(q.Random, int(s.count)-len(drawn))
		if err != nil {
			return err
		}
		name, err := e.Name(&el)
		if err != nil {
			return err
		}
		if _, again := drawn[string(name)]; again {
			continue
		}
		drawn[string(name)] = struct{}{}
		if err := q.replySampled(e, &el, s); err != nil {
			return err
		}
	}
	return nil
}

func (q *Query) replyRepeated(e *types.Elements, s sample) error {
	q.sampleHead(s, -s.count)
	for left := -s.count; left > 0; left-- {
		el, err := e.Random(q.Random, int(left))
		if err == nil {
			err = q.replySampled(e, &el, s)
		}
		if err != nil {
			return err
		}
		if int64(q.W.Len()) > q.set.maxBulk.Load() {
			return ErrReplyTooLong
		}
	}
	return nil
}

// replyMost passes all elements, and takes each with the chance that the right number of them is taken.
func (q *Query) replyMost(e *types.Elements, s sample) error {
	left, wanted := e.Len(), min(s.count, e.Len())
	q.sampleHead(s, wanted)
	return e.Each(func(el *types.Element) error {
		take := q.Random()%uint64(left) < uint64(wanted)
		left--
		if !take {
			return nil
		}
		wanted--
		return q.replySampled(e, el, s)
	})
}

func (q *Query) sampleHead(s sample, n int64) {
	if s.withValues && !s.pairs {
		n *= 2
	}
	q.W.Array(int(n))
}

func (q *Query) replySampled(e *types.Elements, el *types.Element, s sample) error {
	if s.pairs && s.withValues {
		q.W.Array(2)
	}
	if err := q.bulkName(e, el); err != nil || !s.withValues {
		return err
	}
	return q.bulkValue(e, el)
}

// sampleCount reads the number of elements that are asked for.
func sampleCount(arg []byte) (int64, error) {
	n, err := intArg(arg)
	if err == nil && n == -1<<63 {
		err = ErrSampleRange
	}
	return n, err
}
