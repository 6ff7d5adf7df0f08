package types

import (
	"bytes"
	"encoding/binary"

	"sett/storage"
)

// A field of a hash may die by itself: its entry says when (table.go). The meta record says when the first one does (soonest), and there is an
// expiry row of that time (ttl.KindFields). A spread hash that has such fields keeps an ordered tree besides its table, so that those
// which are due are found without looking at the others:
//
//	row    expireAt ms(8) · hash(4) · 0
//	shape  that of a table, and behind it that of the tree
//
// A row stands for all fields of one hash that die in one millisecond: of two whose hashes are the same the first that goes leaves it to the
// other. It ends as an empty datum, which is how the elements of a tree look. A hash without such fields has neither tree nor row.
var fieldTimes = treeKind{leafBytes: 1 << 10, prefix: fieldRowBytes, name: true, ordered: true}

const fieldRowBytes = timeBytes + 4

func appendFieldRow(dst []byte, expireAtMs int64, hash uint32) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(expireAtMs))
	return append(binary.BigEndian.AppendUint32(dst, hash), 0)
}

// ends tells whether an element is past its time. Who reads as of 0 sees all that is there.
func (e *Elements) ends(el *Element) bool {
	return el.expireAtMs != 0 && e.nowMs > el.expireAtMs
}

// Ending tells whether some of the elements may be past their time.
func (e *Elements) Ending() bool { return e.soonest != 0 && e.nowMs > e.soonest }

// Mortal tells whether fields of the hash die by themselves.
func (e *Elements) Mortal() bool { return e.soonest != 0 }

// Live is the number of elements that are not past their time. If some may be, all are looked at.
func (e *Elements) Live() (n int64, err error) {
	if !e.Ending() {
		return e.count, nil
	}
	err = e.Each(func(*Element) error {
		n++
		return nil
	})
	return n, err
}

// sumRows takes the number of rows, and what they take, from the root: both are the sums of its children.
func (t *tree) sumRows() (rows int64, ok bool) {
	t.bytes = 0
	for rest := t.root; len(rest) > 0; {
		c, size := t.kind.takeChild(rest)
		if size == 0 {
			return 0, false
		}
		rows, t.bytes, rest = rows+c.count, t.bytes+c.bytes, rest[size:]
	}
	return rows, t.apart == 0 && t.bytes == rows*(fieldRowBytes+1)
}

// openFieldTimes opens the tree of a hash that has one.
func openFieldTimes(t *tree, c *collection) (rows int64, ok bool) {
	_, shape, ok := takeTable(c.shape)
	if !ok || c.soonest == 0 || !t.open(&fieldTimes, c.id, shape, 0) {
		return 0, false
	}
	rows, ok = t.sumRows()
	return rows, ok && rows > 0
}

// openTimes opens the tree of a hash that has one.
func (e *Edit) openTimes() error {
	e.timeRows, e.rows.held = 0, nil
	if e.id == 0 || e.soonest == 0 {
		return nil
	}
	var ok bool
	if e.timeRows, ok = openFieldTimes(&e.rows, &e.collection); !ok {
		return e.corrupt()
	}
	return nil
}

// findTime looks for a row.
func (e *Edit) findTime(expireAtMs int64, hash uint32) (rank int64, found, behind bool, err error) {
	if e.timeRows == 0 {
		return 0, false, false, nil
	}
	e.target = appendFieldRow(e.target[:0], expireAtMs, hash)[:fieldRowBytes]
	return e.rows.find(e.l.txn, e.target, func(row []byte) (int, error) {
		return bytes.Compare(row[:fieldRowBytes], e.target), nil
	})
}

// Foresee asks for what changing the times of some fields to another will need: the way to each row. Of several fields, each would
// otherwise be met in a round of its own.
func (e *Edit) Foresee(fields [][]byte, expireAtMs int64) error {
	if e.timeRows == 0 || len(fields) < 2 {
		return nil
	}
	var missed error
	for _, field := range fields {
		n := e.keys.elementName(field)
		entries, err := e.entriesOf(n.hash)
		if err != nil {
			return err
		}
		el, _, _, ok := find(e.of, entries, &n)
		if !ok {
			return e.corrupt()
		}
		for _, at := range [2]int64{el.expireAtMs, expireAtMs} {
			if at == 0 {
				continue
			}
			if _, _, _, err = e.findTime(at, n.hash); err == storage.ErrMiss {
				missed = err
			} else if err != nil {
				return err
			}
		}
	}
	return missed
}

// retime moves the row of a spread hash's field from one time to another; 0: none. The entry at p still has the old one.
func (e *Edit) retime(p *place, hash uint32, to int64) error {
	if p.expireAtMs == to {
		return nil
	}
	if to != 0 {
		if err := e.addTime(to, hash); err != nil {
			return err
		}
	}
	if p.expireAtMs == 0 || e.shared(p, hash) {
		return nil
	}
	return e.dropTime(p.expireAtMs, hash)
}

// shared tells whether another field of the bucket has the same row.
func (e *Edit) shared(p *place, hash uint32) bool {
	for rest := p.bucket.entries; len(rest) > 0; {
		at := len(p.bucket.entries) - len(rest)
		el, after, ok := takeElement(e.of, rest)
		if !ok {
			return false // whoever loaded the bucket has seen that it is well-formed
		}
		if el.expireAtMs == p.expireAtMs && at != p.at && e.keys.hashOf(&el) == hash {
			return true
		}
		rest = after
	}
	return false
}

func (e *Edit) addTime(expireAtMs int64, hash uint32) error {
	rank, found, behind, err := e.findTime(expireAtMs, hash)
	if err != nil || found {
		return err
	}
	if e.timeRows == 0 {
		e.rows.begin(&fieldTimes, e.id)
	}
	e.holdTimes()
	row := appendFieldRow(nil, expireAtMs, hash)
	if err := e.rows.splice(e.l, e.timeRows, rank, rank, row, 1, behind); err != nil {
		return err
	}
	e.timeRows++
	if e.soonest == 0 || expireAtMs < e.soonest {
		e.soonest = expireAtMs
	}
	return nil
}

func (e *Edit) dropTime(expireAtMs int64, hash uint32) error {
	rank, found, _, err := e.findTime(expireAtMs, hash)
	if err != nil {
		return err
	}
	if !found {
		return e.corrupt()
	}
	return e.dropTimes(rank, rank+1)
}

// dropTimes removes the rows [i, j), and finds the first one anew if it was among them.
func (e *Edit) dropTimes(i, j int64) error {
	e.holdTimes()
	if err := e.rows.splice(e.l, e.timeRows, i, j, nil, 0, false); err != nil {
		return err
	}
	e.timeRows -= j - i
	switch {
	case e.timeRows == 0:
		e.soonest = 0
		return nil
	case i > 0:
		return nil
	}
	if err := e.rows.seek(e.l.txn, 0); err != nil {
		return err
	}
	first := e.rows.levels[0].entries
	if len(first) < timeBytes {
		return e.corrupt()
	}
	e.soonest = int64(binary.BigEndian.Uint64(first))
	return nil
}

// holdTimes has the nodes written by Save.
func (e *Edit) holdTimes() {
	if e.rows.held == nil {
		e.rows.hold(true)
	}
}

// spreadTimes gives the fields of a hash that was packed a tree.
func (e *Edit) spreadTimes() error {
	if e.soonest == 0 {
		return nil
	}
	e.soonest = 0
	for i := range e.open {
		for rest := e.open[i].entries; len(rest) > 0; {
			el, after, ok := takeElement(e.of, rest)
			if !ok {
				return e.corrupt()
			}
			if el.expireAtMs != 0 {
				if err := e.addTime(el.expireAtMs, e.keys.hashOf(&el)); err != nil {
					return err
				}
			}
			rest = after
		}
	}
	return nil
}

// settleTimes finds out when the first field of a packed hash dies.
func (e *Edit) settleTimes() {
	if e.id != 0 || e.soonest == 0 {
		return
	}
	e.soonest = 0
	for rest := e.packed; len(rest) > 0; {
		el, after, ok := takeElement(e.of, rest)
		if !ok {
			return // whoever changed it has seen that it is well-formed
		}
		if el.expireAtMs != 0 && (e.soonest == 0 || el.expireAtMs < e.soonest) {
			e.soonest = el.expireAtMs
		}
		rest = after
	}
}

// saveTimes writes what has changed of the tree, and appends its shape if there is one.
func (e *Edit) saveTimes(shape []byte) []byte {
	if e.rows.held != nil {
		e.rows.release(e.l, e.count > 0)
	}
	if e.timeRows == 0 {
		return shape
	}
	return e.rows.appendShape(shape)
}

// Expire changes nothing of a field, which there must be, but when it dies; 0: never.
func (e *Edit) Expire(field []byte, expireAtMs int64) error {
	n := e.keys.elementName(field)
	if e.id == 0 {
		old, at, found, ok := find(e.of, e.packed, &n)
		if !ok || !found {
			return e.corrupt()
		}
		e.entry = append(appendMortal(e.entry[:0], expireAtMs), old.unmarked()...)
		return e.exchange(at, len(old.raw), expireAtMs)
	}
	old, found, err := e.look(&n)
	if err == nil && !found {
		err = e.corrupt()
	}
	if err == nil {
		err = e.retime(&old, n.hash, expireAtMs)
	}
	if err != nil {
		return err
	}
	e.entry = append(appendMortal(e.entry[:0], expireAtMs), old.unmarked()...)
	return e.write(&old, e.entry)
}

// exchange has e.entry take the place of what is at an offset of a packed hash or set, which spreads if it is too much.
func (e *Edit) exchange(at, size int, expireAtMs int64) error {
	e.packed = splice(e.packed, at, size, e.entry)
	e.changed = true
	if expireAtMs != 0 && (e.soonest == 0 || expireAtMs < e.soonest) {
		e.soonest = expireAtMs // or later, which settleTimes finds out
	}
	if e.count <= int64(e.l.options.PackedMaxEntries) && len(e.packed) <= e.l.options.PackedMaxBytes {
		return nil
	}
	return e.spread()
}

// RemoveEnded removes fields that are past their time, the oldest ones first, and not many more than limit of them.
func (e *Edit) RemoveEnded(limit int) (removed int, err error) {
	if !e.Ending() {
		return 0, nil
	}
	before := e.count
	if e.id == 0 {
		err = e.removeEndedPacked()
	} else {
		err = e.removeEndedSpread(limit)
	}
	return int(before - e.count), err
}

func (e *Edit) removeEndedPacked() error {
	kept, n := e.packed[:0], int64(0)
	for rest := e.packed; len(rest) > 0; {
		el, after, ok := takeElement(e.of, rest)
		if !ok {
			return e.corrupt()
		}
		if !e.ends(&el) {
			kept = append(kept, el.raw...)
			n++
		}
		rest = after
	}
	e.packed, e.count, e.changed = kept, n, true
	e.settleTimes()
	return nil
}

func (e *Edit) removeEndedSpread(limit int) error {
	rows, err := e.endedRows(limit)
	if err != nil {
		return err
	}
	keys := make([][]byte, len(rows))
	for i, row := range rows {
		keys[i] = appendBucket(nil, e.id, e.bucketOf(row.hash))
	}
	e.announced = len(rows)
	if err := e.round.Need(keys...); err != nil {
		return err
	}
	for _, row := range rows {
		if err := e.removeRowOf(row); err != nil {
			return err
		}
	}
	return e.dropTimes(0, int64(len(rows)))
}

// fieldRow is a row taken apart.
type fieldRow struct {
	expireAtMs int64
	hash       uint32
}

// endedRows are the first rows of the tree that are past their time.
func (e *Edit) endedRows(limit int) (rows []fieldRow, err error) {
	most := min(int64(limit), e.timeRows)
	for int64(len(rows)) < most {
		if err := e.rows.seek(e.l.txn, int64(len(rows))); err != nil {
			if err == storage.ErrMiss {
				err = e.needRows(most)
			}
			return nil, err
		}
		leaf := &e.rows.levels[0]
		const size = fieldRowBytes + 1
		if int64(len(leaf.entries)) != leaf.count*size {
			return nil, e.corrupt()
		}
		for rest := leaf.entries[(int64(len(rows))-leaf.first)*size:]; len(rest) > 0 && int64(len(rows)) < most; rest = rest[size:] {
			at := int64(binary.BigEndian.Uint64(rest))
			if e.nowMs <= at {
				return rows, nil
			}
			rows = append(rows, fieldRow{at, binary.BigEndian.Uint32(rest[timeBytes:])})
		}
	}
	return rows, nil
}

// needRows asks for the first rows of the tree at once.
func (e *Edit) needRows(n int64) error {
	if err := e.rows.need(e.l.txn, 0, n, true); err != nil {
		return err
	}
	return storage.ErrMiss
}

// removeRowOf removes the fields that a row stands for. The row itself stays.
func (e *Edit) removeRowOf(row fieldRow) error {
	removed := false
	for {
		p, found, err := e.lookTime(row)
		if err != nil || !found {
			if err == nil && !removed {
				err = e.corrupt() // a row of no field
			}
			return err
		}
		e.l.dropDatum(e.id, &p.name)
		e.l.dropDatum(e.id, &p.value)
		e.bytes -= p.bytes()
		if err := e.erase(&p); err != nil {
			return err
		}
		removed = true
	}
}

// lookTime finds a field that a row stands for.
func (e *Edit) lookTime(row fieldRow) (p place, found bool, err error) {
	if p.bucket, err = e.load(e.bucketOf(row.hash)); err != nil {
		return p, false, err
	}
	for rest := p.bucket.entries; len(rest) > 0; {
		p.at = len(p.bucket.entries) - len(rest)
		var ok bool
		if p.Element, rest, ok = takeElement(e.of, rest); !ok {
			return p, false, e.corrupt()
		}
		if p.expireAtMs == row.expireAtMs && e.keys.hashOf(&p.Element) == row.hash {
			return p, true, nil
		}
	}
	return p, false, nil
}

// drawsOfEnded is how many fields past their time are drawn before those that are not are looked for one by one.
const drawsOfEnded = 64

// RandomLive is Random for a hash some of whose fields may be past their time; found is false if all are. Those that a walk finds are kept for
// who draws again, until ForgetLive.
func (e *Elements) RandomLive(next func() uint64, picks int) (el Element, found bool, err error) {
	for tries := 0; e.live == nil && tries < drawsOfEnded; tries++ {
		if el, err = e.Random(next, picks); err != nil || !e.ends(&el) {
			return el, err == nil, err
		}
	}
	if e.live == nil {
		var live [][]byte
		err := e.Each(func(shown *Element) error {
			live = append(live, bytes.Clone(shown.raw)) // the walk goes on
			return nil
		})
		if err != nil || len(live) == 0 {
			return Element{}, false, err
		}
		e.live = live
	}
	el, _, _ = takeElement(e.of, e.live[next()%uint64(len(e.live))])
	return el, true, nil
}

// ForgetLive is for who has drawn enough.
func (e *Elements) ForgetLive() { e.live = nil }
