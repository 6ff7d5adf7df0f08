package commands

import (
	"math"
	"strconv"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// What the commands of hashes, sets and sorted sets share: all find their elements by name.

// What a command looks at under the lock: so many elements, of so many bytes. One that wants more reads them from a view.
const (
	scanInline      = 1000
	scanInlineBytes = 1 << 20
)

// elements looks a hash or a set up; a key that is not there has none. They are valid until the next call.
func (q *Query) elements(name []byte, of types.Type) (*types.Elements, error) {
	return &q.found, q.lookUpElements(&q.found, name, of)
}

func (q *Query) lookUpElements(e *types.Elements, name []byte, of types.Type) error {
	m, err := q.lookupOf(name, of)
	if err != nil {
		return err
	}
	return e.Open(q.data, &q.set.keys, q.key, &m, of, q.Now)
}

// elementsAt is elements for the second half of a row: what was looked up before is read from the view taken then.
func (q *Query) elementsAt(v *storage.View, name []byte, of types.Type) (*types.Elements, error) {
	return &q.found, q.viewElements(&q.found, v, name, of)
}

func (q *Query) viewElements(e *types.Elements, v *storage.View, name []byte, of types.Type) error {
	m, err := q.metaAt(v, name)
	if err != nil {
		return err
	}
	return e.OpenView(v, &q.set.keys, q.key, &m, of, q.Now)
}

// metaAt reads the live meta record of a name from a view, and leaves its key in q.key.
func (q *Query) metaAt(v *storage.View, name []byte) (m types.Meta, err error) {
	key, err := q.metaKey(name)
	if err != nil {
		return m, err
	}
	record, err := v.Get(key)
	if err != nil || record == nil {
		return m, err
	}
	if m, err = types.DecodeMeta(key, record); err != nil || m.ExpiredAt(q.Now) {
		return types.Meta{}, err
	}
	return m, nil
}

// atOnce tells whether a row looks at so many elements in its first half. Within a transaction a view would not show what it has done itself.
func (q *Query) atOnce(elements int64) bool { return elements <= scanInline || q.txn != nil }

// someAtOnce is atOnce for so many of some elements, which may be long.
func (q *Query) someAtOnce(e *types.Elements, n int64) bool {
	n = min(n, e.Len())
	return q.txn != nil || q.atOnce(n) && n*(e.Bytes()/max(1, e.Len())) <= scanInlineBytes
}

// endedMetMax is how many fields past their time a command removes that comes to change their hash; the sweeper finds the rest.
const endedMetMax = 16

// edit opens a hash or a set in order to change its elements.
func (u *Update) edit(name []byte, of types.Type) (*types.Edit, error) {
	r, err := u.openOf(name, of)
	if err != nil {
		return nil, err
	}
	u.record = r
	e, err := u.ledger.EditElements(&u.record, of)
	if err == nil && e.Ending() {
		// They are gone before the command begins, which may find that there is nothing for it to change.
		if _, err = u.removeEnded(e, endedMetMax); err == nil {
			u.record, err = u.ledger.Open(r.Key, name)
		}
		if err == nil {
			e, err = u.ledger.EditElements(&u.record, of)
		}
	}
	return e, err
}

// removeEnded removes fields that are past their time, for good. Nobody can see that, so it is quiet, and no change.
func (u *Update) removeEnded(e *types.Edit, limit int) (removed int, err error) {
	changes, effects := u.ledger.Changes, u.txn.Len()
	if removed, err = e.RemoveEnded(limit); err != nil {
		return 0, err
	}
	e.Save()
	u.ledger.Changes = changes
	u.ledger.ExpiredFields += removed
	u.ledger.Hush(effects)
	return removed, nil
}

// scanElements is the first half of HSCAN, SSCAN and ZSCAN.
func (q *Query) scanElements(of types.Type) error {
	cursor, ok := parseCursor(q.Args[2])
	if !ok {
		return ErrInvalidCursor
	}
	q.state = scanState{cursor: cursor, count: defaultScanCount}
	e, err := q.elements(q.Args[1], of)
	if err != nil {
		return err
	}
	if e.Len() > 0 {
		if err := q.state.parse(q.Args[3:], false); err != nil {
			return err
		}
	}
	if !e.Converted() {
		q.state.count = max(1, e.Len())
	}
	if q.replied = q.someAtOnce(e, q.state.count); q.replied {
		return q.replyElementScan(e, of)
	}
	return nil
}

// scanElementsAt is the second half.
func (q *Query) scanElementsAt(v *storage.View, of types.Type) error {
	e, err := q.elementsAt(v, q.Args[1], of)
	if err != nil {
		return err
	}
	return q.replyElementScan(e, of)
}

func (q *Query) replyElementScan(e *types.Elements, of types.Type) error {
	// The cursor comes before the elements and is known behind them: they go to the end of the reply, and are moved.
	start, n := q.W.Len(), 0
	next, err := e.Scan(q.state.cursor, q.state.count, func(el *types.Element) error {
		name, err := e.Name(el)
		if err != nil || q.state.pattern != nil && !resp.Glob(q.state.pattern, name, false) {
			return err
		}
		q.W.Bulk(name)
		n++
		switch of {
		case types.Hash:
			n++
			return q.bulkValue(e, el)
		case types.ZSet:
			n++
			q.bulkScore(el.Score(), e.Converted())
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

// bulkScore shows a score as ZSCAN does. A listpack has whole numbers as such.
func (q *Query) bulkScore(score float64, converted bool) {
	if whole := int64(score); !converted && math.Abs(score) <= 1<<62 && float64(whole) == score {
		q.W.BulkInt(whole)
		return
	}
	q.W.BulkDouble(score)
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
	scores     bool // … which are the scores of a sorted set's members
	pairs      bool // a name and its value are an array of their own
}

// sampleAtOnce replies in the first half of a row, if that looks at few elements.
func (q *Query) sampleAtOnce(e *types.Elements, s sample) error {
	wanted := s.count
	switch {
	case wanted < 0:
		wanted = min(-wanted, scanInline+1)
	case takesAll(e.Len(), wanted):
		wanted = e.Len()
	}
	if q.replied = q.someAtOnce(e, wanted) && q.atOnce(wanted); q.replied {
		return q.replySample(e, s)
	}
	return nil
}

func (q *Query) replySample(e *types.Elements, s sample) error {
	defer e.ForgetLive()
	live, err := e.Live()
	switch {
	case err != nil:
		return err
	case live == 0:
		q.W.Array(0)
		return nil
	case s.count < 0:
		return q.replyRepeated(e, s)
	}
	s.count = min(s.count, live)
	q.sampleHead(s, s.count)
	return q.takeSample(e, live, s.count, func(el *types.Element) error { return q.replySampled(e, el, s) })
}

// bulkLeast is what a bulk string takes at least in a reply.
const bulkLeast = 6

func (q *Query) replyRepeated(e *types.Elements, s sample) error {
	limit := q.set.maxBulk.Load()
	if -s.count > limit/bulkLeast {
		return ErrReplyTooLong
	}
	q.sampleHead(s, -s.count)
	var missed error
	for left := -s.count; left > 0; left-- {
		el, err := q.draw(e, int(left))
		if err != nil {
			return err
		}
		switch err = q.replySampled(e, &el, s); {
		case err == storage.ErrMiss:
			missed = err // what lies apart is asked for together
		case err != nil:
			return err
		case int64(q.W.Len()) > limit:
			return ErrReplyTooLong
		}
	}
	return missed
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
	if s.scores {
		q.W.Double(el.Score())
		return nil
	}
	return q.bulkValue(e, el)
}

// takesAll tells whether who wants so many of the elements gets them by leaving others out.
func takesAll(live, count int64) bool { return count >= (live+2)/3 }

// draw returns one of the elements that are not past their time. Whoever asks has counted them.
func (q *Query) draw(e *types.Elements, picks int) (types.Element, error) {
	el, found, err := e.RandomLive(q.Random, picks)
	if err == nil && !found {
		panic("commands: a random element of none")
	}
	return el, err
}

// takeSample calls f for count of the live elements: each is among them with the same chance. There are as many.
func (q *Query) takeSample(e *types.Elements, live, count int64, f func(el *types.Element) error) error {
	if takesAll(live, count) {
		left := live
		return e.Each(func(el *types.Element) error {
			take := q.Random()%uint64(left) < uint64(count)
			if left--; !take {
				return nil
			}
			count--
			return f(el)
		})
	}
	var missed error
	drawn := make(map[string]struct{}, count)
	for int64(len(drawn)) < count {
		el, err := q.draw(e, int(count)-len(drawn))
		if err != nil {
			return err
		}
		if _, again := drawn[string(el.Entry())]; again {
			continue
		}
		drawn[string(el.Entry())] = struct{}{}
		if err := f(&el); err == storage.ErrMiss {
			missed = err // what lies apart is asked for together
		} else if err != nil {
			return err
		}
	}
	return missed
}

// sampleCount reads the number of elements that are asked for.
func sampleCount(arg []byte) (int64, error) {
	n, err := intArg(arg)
	if err == nil && n == -1<<63 {
		err = ErrSampleRange
	}
	return n, err
}
