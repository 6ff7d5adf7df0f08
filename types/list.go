package types

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"sett/storage"
)

// ListValue is a list, opened to be read (Open) or changed (Edit … Save). Its elements are datums, in the meta record or in the leaves of a tree.
//
// It is also a cursor, which stands between two elements: MoveTo, then Next or Prev. Whatever it returns is valid until the next call.
type ListValue struct {
	c      collection
	tree   tree
	record *Record // to be changed

	at     int64 // the cursor stands before this element
	datum  datum // the one it passed last
	run    []byte
	runAt  int64 // run are the elements from this one on, up to the end of the packed record or of the leaf; -1: none
	walked int64 // leaves that the cursor came to since MoveTo
	halted bool  // what lies apart of the element was not in memory

	starts []int // where the elements begin in the leaf [back, back + len(starts)), for Prev
	backOf []byte
	back   int64
	value  []byte // an element that lies apart
	insert []byte // elements on their way into the list
	packed []byte
	shape  []byte
}

// listTree is how the tree of a list looks.
var listTree = treeKind{leafBytes: 2<<10 + 16} // two elements of 1 KiB fit into a leaf

// Open points it at a list, or at none.
func (s *ListValue) Open(m *Meta) error {
	s.c, s.record = collection{}, nil
	s.MoveTo(0)
	if !m.Exists {
		return nil
	}
	s.c = m.collection()
	if s.c.id != 0 && !s.tree.open(&listTree, s.c.id, s.c.shape, s.c.treeBytes()) {
		return s.tree.corrupt(0, 0)
	}
	s.tree.total = s.c.treeCount()
	return nil
}

// Edit points it at a list, or at none, in order to change it: Save writes its meta record.
func (s *ListValue) Edit(r *Record) error {
	err := s.Open(&r.Meta)
	s.record = r
	return err
}

// Save writes the meta record. A list that has become empty goes.
func (s *ListValue) Save(l *Ledger) {
	if s.c.id != 0 {
		s.shape = s.tree.appendShape(s.shape[:0])
		s.c.shape, s.c.bytes = s.shape, s.tree.bytes+s.tree.apart-s.c.taken[leftEnd].bytes-s.c.taken[rightEnd].bytes
	}
	l.putCollection(s.record, List, &s.c)
}

// Len is the number of elements.
func (s *ListValue) Len() int64 { return s.c.count }

// Bytes is about how many bytes they have.
func (s *ListValue) Bytes() int64 { return s.c.valueBytes() }

// MoveTo moves the cursor before element i, or behind the last one.
func (s *ListValue) MoveTo(i int64) {
	s.at, s.runAt, s.walked, s.halted = i, -1, 0, false
	s.starts, s.backOf = s.starts[:0], nil
}

// Next passes an element; ok is false if there is none.
func (s *ListValue) Next(g Getter) (ok bool, err error) {
	if s.at >= s.c.count {
		return false, nil
	}
	if s.runAt != s.at || len(s.run) == 0 {
		if err := s.load(g, s.at); err != nil {
			return false, err
		}
	}
	if s.datum, s.run, ok = takeDatum(s.run, false); !ok {
		return false, s.corrupt()
	}
	s.at++
	s.runAt = s.at
	return true, nil
}

// load makes run the elements from the one at i on.
func (s *ListValue) load(g Getter, i int64) error {
	entries, first, err := s.leaf(g, i)
	if err != nil {
		return err
	}
	skipped, ok := int(s.c.taken[leftEnd].bytes), true
	if i > 0 || first != -s.inTree(0) {
		skipped, ok = listTree.skip(entries, i-first)
	}
	if !ok || skipped > len(entries) {
		return s.corrupt()
	}
	s.run, s.runAt = entries[skipped:], i
	s.tree.offset = elementOffset{i - first, skipped}
	s.walked++
	return nil
}

// leaf returns the elements among which i is, and the number of the first.
func (s *ListValue) leaf(g Getter, i int64) (entries []byte, first int64, err error) {
	if s.c.id == 0 {
		return s.c.packed, 0, nil
	}
	err = s.tree.seek(g, s.inTree(i))
	return s.tree.levels[0].entries, s.tree.levels[0].first - s.inTree(0), err
}

// inTree is the place of element i in the tree: those that were taken come before it.
func (s *ListValue) inTree(i int64) int64 { return i + s.c.taken[leftEnd].count }

// Prev passes the element before the cursor; ok is false if there is none.
func (s *ListValue) Prev(g Getter) (ok bool, err error) {
	if s.at <= 0 {
		return false, nil
	}
	i := s.at - 1
	if i < s.back || i >= s.back+int64(len(s.starts)) {
		if err := s.loadBack(g, i); err != nil {
			return false, err
		}
	}
	if s.datum, _, ok = takeDatum(s.backOf[s.starts[i-s.back]:], false); !ok {
		return false, s.corrupt()
	}
	s.at = i
	return true, nil
}

func (s *ListValue) loadBack(g Getter, i int64) error {
	s.starts = s.starts[:0]
	entries, first, err := s.leaf(g, i)
	if err != nil {
		return err
	}
	for at := 0; at < len(entries); {
		size := listTree.elementSize(entries[at:])
		if size == 0 {
			return s.corrupt()
		}
		s.starts = append(s.starts, at)
		at += size
	}
	s.back, s.backOf = first, entries
	s.walked++
	if i-first >= int64(len(s.starts)) {
		return s.corrupt()
	}
	return nil
}

func (s *ListValue) corrupt() error {
	if s.c.id != 0 {
		return s.tree.corruptAbove(0)
	}
	return corruptCollection(nil, "a packed list is damaged")
}

// Index is the place of the element that was passed last by Next.
func (s *ListValue) Index() int64 { return s.at - 1 }

// Value is the element that was passed last.
func (s *ListValue) Value(g Getter) (value []byte, err error) {
	if s.datum.serial == 0 {
		return s.datum.bytes, nil
	}
	s.value, err = s.datum.appendTo(s.value[:0], g, s.c.id)
	return s.value, err
}

// Is tells whether the element that was passed last is this one.
func (s *ListValue) Is(g Getter, value []byte) (bool, error) {
	if s.datum.length != len(value) {
		return false, nil
	}
	own, err := s.Value(g)
	s.halted = err != nil
	return err == nil && string(own) == string(value), err
}

// At returns element i, which there must be.
func (s *ListValue) At(g Getter, i int64) ([]byte, error) {
	s.MoveTo(i)
	if ok, err := s.Next(g); !ok {
		return nil, cmp.Or(err, s.corrupt())
	}
	return s.Value(g)
}

// Fetch asks for all records that hold the elements [i, j), if err is that one of them is not in memory, and returns err.
func (s *ListValue) Fetch(r Reader, err error, i, j int64) error {
	if err != storage.ErrMiss || s.c.id == 0 || j-i == 1 && s.tree.apart == 0 { // who came to the leaf of one element has asked for it
		return err
	}
	if err := s.tree.need(r, s.inTree(i), s.inTree(j), true); err != nil || s.tree.apart == 0 {
		return cmp.Or(err, storage.ErrMiss)
	}
	var keys [][]byte
	for s.MoveTo(i); s.at < j; {
		if _, err := s.Next(r); err != nil {
			return err
		}
		keys = s.datum.needs(keys, s.c.id)
	}
	return cmp.Or(r.Need(keys...), storage.ErrMiss)
}

// FetchAhead asks for what a walk will need next, if err is that the cursor came to something that is not in memory, and returns err. Nobody
// knows where the walk will end, so it asks for more each time: 64 leaves (some 10,000 short elements), then 16 times those that it has
// seen. A command has four rounds, of which the meta record and inner nodes may take two: a walk through more than a hundred thousand elements
// or so that are not in memory reads on with the lock held, leaf by leaf, so only MULTI goes that far.
func (s *ListValue) FetchAhead(r Reader, err error, backward bool) error {
	if err != storage.ErrMiss || s.c.id == 0 {
		return err
	}
	if s.halted {
		return cmp.Or(r.Need(s.datum.needs(nil, s.c.id)...), err)
	}
	ahead := max(64, 16*s.walked) * s.perLeaf()
	from, to := s.at, min(s.c.count, s.at+ahead)
	if backward {
		from, to = max(0, s.at-ahead), s.at
	}
	return cmp.Or(s.tree.need(r, s.inTree(from), s.inTree(to), true), err)
}

// perLeaf is about how many elements are in a leaf.
func (s *ListValue) perLeaf() int64 {
	return 1 + s.c.count*int64(listTree.leafBytes)/max(1, s.tree.bytes)
}

// Push puts elements before the first or behind the last one, one after the other.
func (s *ListValue) Push(l *Ledger, values [][]byte, left bool) error {
	if left {
		return s.change(l, 0, 0, values, true)
	}
	return s.change(l, s.c.count, s.c.count, values, false)
}

// Splice replaces the elements [i, j) by others.
func (s *ListValue) Splice(l *Ledger, i, j int64, values ...[]byte) error {
	return s.change(l, i, j, values, false)
}

// change is splice for all that may add to the list: it knows which end is the newest, and keeps to the cap.
func (s *ListValue) change(l *Ledger, i, j int64, values [][]byte, reversed bool) error {
	switch {
	case len(values) == 0 || i != j:
	case i == s.c.count:
		s.c.newestLast = !reversed
	case i == 0:
		s.c.newestLast = false
	}
	if err := s.splice(l, i, j, values, reversed); err != nil || len(values) == 0 {
		return err
	}
	return s.trim(l)
}

func (s *ListValue) splice(l *Ledger, i, j int64, values [][]byte, reversed bool) error {
	s.MoveTo(0)
	switch {
	case len(values) == 0 && i == j:
		return nil
	case len(values) == 0 && j-i == s.c.count:
		s.c.count = 0
		return nil
	case s.c.id == 0:
		return s.splicePacked(l, i, j, values, reversed)
	}
	apart := s.encode(l, s.insert[:0], values, reversed)
	from, to := s.inTree(i), s.inTree(j)
	if i == 0 { // what was taken there goes, too
		from, s.c.taken[leftEnd] = 0, taken{}
	}
	if j == s.c.count {
		to, s.c.taken[rightEnd] = s.tree.total, taken{}
	}
	err := s.tree.splice(l, s.tree.total, from, to, s.insert, int64(len(values)), false)
	s.tree.apart += apart
	s.c.count += int64(len(values)) - (j - i)
	s.slim()
	return err
}

// Pop removes the elements [i, j), which are at an end of the list, and which the cursor has passed.
func (s *ListValue) Pop(l *Ledger, i, j int64) error {
	if s.take(i, j) {
		return nil
	}
	if err := s.splice(l, i, j, nil, false); err != nil || s.c.id == 0 || s.c.count == 0 {
		return err
	}
	if s.tree.edit.dropped {
		s.leavesAhead(l, i == 0, false)
	}
	s.partsAhead(l, i == 0)
	return nil
}

// take is Pop for elements in whose leaf others stay. What lies apart has to go at once, so there must be none of it.
func (s *ListValue) take(i, j int64) bool {
	if s.c.id == 0 || s.tree.apart > 0 || j-i == s.c.count {
		return false
	}
	leaf, from, to := &s.tree.levels[0], s.inTree(i), s.inTree(j)
	switch {
	case i == 0 && leaf.first == 0 && to < leaf.count: // else there is none, or all of it goes
		size, ok := s.sizeBefore(leaf, to)
		if ok {
			s.c.taken[leftEnd], s.c.count = taken{to, int64(size)}, s.c.count-j
			s.MoveTo(0)
		}
		return ok
	case j == s.c.count && leaf.first < from && leaf.first+leaf.count == s.tree.total:
		size, ok := s.sizeBefore(leaf, from-leaf.first)
		if ok {
			s.c.taken[rightEnd], s.c.count = taken{s.tree.total - from, int64(len(leaf.entries) - size)}, i
			s.MoveTo(0)
		}
		return ok
	}
	return false
}

// sizeBefore is how many bytes the first elements of a leaf have. The cursor, which has come by, knows most often.
func (s *ListValue) sizeBefore(leaf *treeLevel, elements int64) (int, bool) {
	switch {
	case s.tree.offset.element == elements:
		return s.tree.offset.at, true
	case s.runAt == leaf.first+elements-s.inTree(0):
		return len(leaf.entries) - len(s.run), true
	}
	return listTree.skip(leaf.entries, elements)
}

// slim gives up scratch that only an unusually large change needs.
func (s *ListValue) slim() {
	if cap(s.insert) > 64<<10 {
		s.insert = nil
	}
	if cap(s.value) > 64<<10 {
		s.value = nil
	}
}

// encode makes insert the elements, and returns how many bytes of them lie apart.
func (s *ListValue) encode(l *Ledger, insert []byte, values [][]byte, reversed bool) (apart int64) {
	for n := range values {
		value := values[n]
		if reversed {
			value = values[len(values)-1-n]
		}
		if len(value) > inlineMaxBytes {
			apart += int64(len(value))
		}
		insert = l.appendDatum(insert, s.c.id, value, inlineMaxBytes, false)
	}
	s.insert = insert
	return apart
}

// splicePacked is splice for a packed list: what it becomes is packed too, or spread once and for all.
func (s *ListValue) splicePacked(l *Ledger, i, j int64, values [][]byte, reversed bool) error {
	old := s.c.packed
	from, ok := len(old), true
	if i < s.c.count {
		from, ok = listTree.skip(old, i)
	}
	size, ok2 := listTree.skip(old[from:], j-i)
	if !ok || !ok2 {
		return s.corrupt()
	}
	to := from + size
	count, bytes := s.c.count+int64(len(values))-(j-i), len(old)-size
	fits := true
	for _, value := range values {
		bytes += datumBytes(len(value))
		fits = fits && len(value) <= inlineMaxBytes
	}
	if !fits || count > int64(l.options.PackedMaxEntries) || bytes > l.options.PackedMaxBytes {
		return s.spread(l, old[:from], old[to:], count, values, reversed)
	}
	s.c.count = count
	switch {
	case len(values) == 0 && from == 0:
		s.c.packed = old[to:]
	case len(values) == 0 && to == len(old):
		s.c.packed = old[:from]
	default: // into the scratch that does not hold what the list was
		s.encode(l, append(s.insert[:0], old[:from]...), values, reversed)
		s.packed, s.insert = append(s.insert, old[to:]...), s.packed
		s.c.packed = s.packed
	}
	return nil
}

// spread makes a packed list one of records: head, values and tail are its elements.
func (s *ListValue) spread(l *Ledger, head, tail []byte, count int64, values [][]byte, reversed bool) error {
	s.c.id = l.txn.NewID()
	s.tree.begin(&listTree, s.c.id)
	apart := s.encode(l, append(s.insert[:0], head...), values, reversed)
	s.insert = append(s.insert, tail...)
	err := s.tree.splice(l, 0, 0, 0, s.insert, count, false)
	s.tree.apart = apart
	s.c.packed, s.c.count = nil, count
	s.slim()
	return err
}

// keptShare is how much larger what goes must be than what stays for a list to be made anew from what stays, and at least rebuiltBytes.
const (
	keptShare    = 16
	rebuiltBytes = 64 << 10
)

// Keep removes all elements but [i, j). If that is nearly all of a long list, what stays moves to a collection of its own, and the old one is
// left to the reclaimer.
func (s *ListValue) Keep(l *Ledger, i, j int64) error {
	if i >= j {
		s.c.count = 0
		return nil
	}
	kept := j - i
	if s.c.id != 0 && s.c.bytes > rebuiltBytes && (s.c.count-kept)/keptShare > kept {
		return s.rebuild(l, i, j)
	}
	if err := s.Splice(l, j, s.c.count); err != nil {
		return err
	}
	return s.Splice(l, 0, i)
}

func (s *ListValue) rebuild(l *Ledger, i, j int64) error {
	s.packed = s.packed[:0]
	id, apart := l.txn.NewID(), int64(0)
	for s.MoveTo(i); s.at < j; {
		_, err := s.Next(l.txn)
		var value []byte
		if err == nil {
			value, err = s.Value(l.txn)
		}
		if err != nil {
			return s.Fetch(l.txn, err, i, j)
		}
		if len(value) > inlineMaxBytes {
			apart += int64(len(value))
		}
		s.packed = l.appendDatum(s.packed, id, value, inlineMaxBytes, false)
	}
	s.c.id, s.c.count, s.c.taken = id, j-i, [2]taken{}
	s.tree.begin(&listTree, id)
	err := s.tree.splice(l, 0, 0, 0, s.packed, s.c.count, false)
	s.tree.apart = apart
	s.packed = nil
	return err
}

// Finding is a search through a list for elements that are Value, from one end.
type Finding struct {
	Value    []byte
	Limit    int64   // how many more are wanted; below 0: all
	Backward bool    // from the last element on
	Places   []int64 // of those found, in the order in which they were
}

// Begin moves the cursor to where a search begins.
func (s *ListValue) Begin(f *Finding) {
	s.MoveTo(0)
	if f.Backward {
		s.MoveTo(s.c.count)
	}
}

// Search goes on with a search: past n elements at most. over tells that there is nothing more to be found.
func (s *ListValue) Search(g Getter, f *Finding, n int64) (over bool, err error) {
	needle, n := s.needle(f.Value), min(n, s.c.count)
	step, pass, end, to := s.Next, s.passOthers, s.c.count, min(s.c.count, s.at+n)
	if f.Backward {
		step, pass, end, to = s.Prev, s.passOthersBack, 0, max(0, s.at-n)
	}
	for f.Limit != 0 {
		pass(needle, to)
		if s.at == to {
			break
		}
		found := false
		if _, err = step(g); err == nil {
			found, err = s.Is(g, f.Value)
		}
		if err != nil {
			return false, err
		}
		if found {
			place := s.at
			if !f.Backward {
				place--
			}
			f.Places = append(f.Places, place)
			f.Limit--
		}
	}
	return f.Limit == 0 || s.at == end, nil
}

// needle is how an element lies inline that is this value, nil if it lies apart.
func (s *ListValue) needle(value []byte) []byte {
	if len(value) > inlineMaxBytes {
		return nil
	}
	s.insert = appendInline(s.insert[:0], value)
	return s.insert
}

// passOthers passes what is left of the leaf, or of the packed list, up to an element that is the needle, or to the one at to: a search through a
// long list is this.
func (s *ListValue) passOthers(needle []byte, to int64) {
	if s.runAt != s.at || needle == nil {
		return
	}
	run := s.run
	for len(run) > 0 && s.at < to && !bytes.HasPrefix(run, needle) {
		size := 1 + int(run[0]>>1)
		if run[0]&0x81 != 0 {
			size = listTree.elementSize(run)
		}
		if size == 0 || size > len(run) {
			break // Next says so
		}
		run = run[size:]
		s.at++
	}
	s.run, s.runAt = run, s.at
}

// passOthersBack is passOthers for Prev.
func (s *ListValue) passOthersBack(needle []byte, to int64) {
	if needle == nil || s.at > s.back+int64(len(s.starts)) {
		return
	}
	for s.at > max(to, s.back) && !bytes.HasPrefix(s.backOf[s.starts[s.at-1-s.back]:], needle) {
		s.at--
	}
}

// NodesAround returns the numbers of the nodes that a change at some places, in ascending order, reads: the ways to these, and neighbours with which
// what is left of a node may become one. goes is the element that is removed at each place, nil if none is.
func (s *ListValue) NodesAround(g Getter, places []int64, goes []byte) ([]uint64, error) {
	size := 0
	switch {
	case s.c.id == 0:
		return nil, nil
	case goes == nil:
	case len(goes) > inlineMaxBytes:
		size = serialBytes
	default:
		size = datumBytes(len(goes))
	}
	return s.tree.around(nil, g, s.tree.height, s.tree.root, -s.inTree(0), places, int64(size))
}

// Need asks for nodes.
func (s *ListValue) Need(r Reader, nodes []uint64) error {
	keys := make([][]byte, len(nodes))
	for i, node := range nodes {
		keys[i] = appendNode(nil, s.c.id, node)
	}
	return r.Need(keys...)
}

// RemoveAt removes the elements at some places, in ascending order.
func (s *ListValue) RemoveAt(l *Ledger, places []int64) (err error) {
	if int64(len(places)) == s.c.count {
		s.c.count = 0
		return nil
	}
	for err == nil && len(places) > 0 { // from the last one on, so that the places of the others stay what they are
		places, err = s.removeFromLeaf(l, places)
	}
	return err
}

// removeFromLeaf removes the elements at those places that are in the same leaf as the last one, all at once, and returns the other places.
func (s *ListValue) removeFromLeaf(l *Ledger, places []int64) (others []int64, err error) {
	last := len(places) - 1
	_, first, err := s.leaf(l.txn, places[last])
	if err != nil {
		return nil, err
	}
	n := last
	for n > 0 && places[n-1] >= first {
		n--
	}
	others = places[:n]
	i, j := places[n], places[last]+1
	s.insert = s.insert[:0]
	kept := int64(0)
	for s.MoveTo(i); s.at < j; {
		at, before := s.at, s.run
		if s.runAt != at || len(before) == 0 {
			if err := s.load(l.txn, at); err != nil {
				return nil, err
			}
			before = s.run
		}
		if _, err := s.Next(l.txn); err != nil {
			return nil, err
		}
		if places[n] == at {
			n++
			s.dropDatum(l)
			continue
		}
		s.insert = append(s.insert, before[:len(before)-len(s.run)]...)
		kept++
	}
	return others, s.replace(l, i, j, kept)
}

func (s *ListValue) dropDatum(l *Ledger) {
	if s.datum.serial != 0 {
		l.dropDatum(s.c.id, &s.datum)
		s.tree.apart -= int64(s.datum.length)
	}
}

// replace puts the kept elements in s.insert in the place of [i, j). What lies apart of them stays.
func (s *ListValue) replace(l *Ledger, i, j, kept int64) error {
	s.MoveTo(0)
	if s.c.id != 0 {
		err := s.tree.rewrite(l, s.tree.total, s.inTree(i), s.inTree(j), s.insert, kept)
		s.c.count -= j - i - kept
		return err
	}
	from, _ := listTree.skip(s.c.packed, i)
	size, _ := listTree.skip(s.c.packed[from:], j-i)
	s.packed = append(append(append(s.packed[:0], s.c.packed[:from]...), s.insert...), s.c.packed[from+size:]...)
	s.c.packed = s.packed
	s.c.count -= j - i - kept
	return nil
}

// datumBytes is how many bytes a datum has that is inline.
func datumBytes(length int) int {
	var scratch [binary.MaxVarintLen64]byte
	return binary.PutUvarint(scratch[:], uint64(length)<<1) + length
}

// CopyList makes a copy of the list from the value of to.
func (l *Ledger) CopyList(s *ListValue, from, to *Record) error {
	if err := s.Edit(from); err != nil {
		return err
	}
	if s.c.id != 0 {
		id := l.txn.NewID()
		if err := s.tree.copyTo(l, id); err != nil {
			return s.Fetch(l.txn, err, 0, s.c.count)
		}
		s.c.id, s.tree.collection = id, id
	}
	expireAtMs := from.ExpireAtMs
	s.record = to
	s.Save(l)
	if to.ExpireAtMs != expireAtMs {
		l.SetExpire(to, expireAtMs)
	}
	return nil
}
