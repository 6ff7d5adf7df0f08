package types

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"sett/storage"
)

// How a tree changes: every change is a splice, which replaces a range of elements by others, on its way down from the root and up again.

// treeEdit is one splice.
type treeEdit struct {
	insert   []byte
	count    int64 // elements in insert
	behind   bool
	parted   bool // what lies apart of the old elements was seen to
	push     int  // +1: insert goes behind all elements, -1: before all
	atEnds   bool // it changes the first or the last elements: small leaves are left alone
	left     bool // insert is still to be placed
	found    bool // what was read last is the way to the first element that changes, as far as it was gone
	dropped  bool // a leaf went with all its elements
	smallest int  // bytes of the smallest node that was written of the level below
}

// nodeChange is what becomes of a node: removed bytes of its entries give way to others.
type nodeChange struct {
	node        []byte // its record, nil: it has none yet, or is the root
	entries     []byte // in it
	at, removed int
	inserted    []byte
}

func (c *nodeChange) size() int { return len(c.entries) - c.removed + len(c.inserted) }

// splice replaces the elements [i, j) of total by count others, which are in insert, one behind the other. Between two children new elements
// go to the one before, or to the one behind. What lies apart of the old ones is removed; what of the new ones lies apart the caller adds to t.apart.
func (t *tree) splice(l *Ledger, total, i, j int64, insert []byte, count int64, behind bool) error {
	t.edit = treeEdit{insert: insert, count: count, behind: behind}
	return t.run(l, total, i, j)
}

// rewrite is splice for elements of one leaf of which some stay: whoever calls it has removed what lies apart of the others.
func (t *tree) rewrite(l *Ledger, total, i, j int64, kept []byte, count int64) error {
	t.edit = treeEdit{insert: kept, count: count, parted: true}
	return t.run(l, total, i, j)
}

func (t *tree) run(l *Ledger, total, i, j int64) error {
	t.edit.left, t.edit.found = t.edit.count > 0, true
	t.edit.atEnds = i == 0 || j == total
	t.edit.smallest = t.kind.leafBytes
	if i == j {
		switch i {
		case total:
			t.edit.push = 1
		case 0:
			t.edit.push = -1
		}
	}
	t.total = total
	err := t.spliceRoot(l, total+t.edit.count-(j-i), i, j)
	t.forget()
	t.slim()
	if err == storage.ErrMiss {
		return cmp.Or(t.need(l.txn, max(0, i-1), j+1, t.apart > 0), err)
	}
	return err
}

// slim gives up scratch that only an unusually large splice needs.
func (t *tree) slim() {
	if cap(t.offsets) <= 4<<10 {
		return
	}
	t.offsets = nil
	for i := range t.levels {
		t.levels[i].out, t.levels[i].body = nil, nil
	}
}

func (t *tree) spliceRoot(l *Ledger, total, i, j int64) error {
	change, err := t.spliceInner(l, t.height, nil, t.root, i, j)
	if err != nil {
		return err
	}
	t.rootBuf = append(t.rootBuf[:0], t.whole(t.height, &change)...)
	for len(t.rootBuf) > treeRootBytes && t.splits(t.height, t.rootBuf) {
		level := t.height
		t.setHeight(level + 1)
		above := &t.levels[t.height]
		above.out = above.out[:0]
		whole := nodeChange{inserted: t.rootBuf}
		if err := t.finish(l, level, &child{node: t.newNode(), count: total, bytes: t.bytes}, &whole); err != nil {
			return err
		}
		t.rootBuf = append(t.rootBuf[:0], above.out...)
	}
	t.root, t.total = t.rootBuf, total
	return t.collapse(l)
}

// collapse has the only child of the root take its place, if it has become small.
func (t *tree) collapse(l *Ledger) error {
	for t.height > 1 {
		if len(t.root) == 0 {
			t.height = 1
			return nil
		}
		c, size := t.kind.takeChild(t.root)
		if size == 0 {
			return t.corruptAbove(t.height)
		}
		if size < len(t.root) {
			return nil
		}
		entries, err := t.load(l.txn, c.node, t.height-1)
		if err != nil || len(entries) > treeRootBytes/2 {
			return err
		}
		t.rootBuf = append(t.rootBuf[:0], entries...)
		t.root = t.rootBuf
		t.remove(l, c.node)
		t.height--
	}
	return nil
}

func (t *tree) newNode() uint64 {
	t.next++
	return t.next - 1
}

// spliceInner is splice beneath an inner node. What it returns lies in scratch of its level.
func (t *tree) spliceInner(l *Ledger, level int, node, entries []byte, i, j int64) (change nodeChange, err error) {
	s := &t.levels[level]
	s.out = s.out[:0]
	if len(entries) == 0 && t.edit.left { // the first elements of all
		t.edit.left = false
		t.bytes += int64(len(t.edit.insert))
		leaf := nodeChange{inserted: t.edit.insert}
		err := t.finish(l, level-1, &child{node: t.newNode(), count: t.edit.count, bytes: t.bytes}, &leaf)
		return nodeChange{inserted: s.out}, err
	}
	w, err := t.firstChild(level, entries, i, j)
	if err != nil {
		return change, err
	}
	first, at := w.first, w.at
	for at < len(entries) && (at == w.at || first < j) {
		c, size := t.kind.takeChild(entries[at:])
		if size == 0 {
			return change, t.corruptAbove(level)
		}
		end := first + c.count
		if err := t.spliceChild(l, level-1, &c, max(i-first, 0), min(j-first, c.count)); err != nil {
			return change, err
		}
		first, at, t.edit.found = end, at+size, false
	}
	change = nodeChange{node, entries, w.at, at - w.at, s.out}
	small := t.edit.smallest < t.nodeBytes(level-1)/4
	t.edit.smallest = innerBytes // from here on, of this level's
	if t.edit.atEnds || !small {
		return change, nil
	}
	if w.before < 0 {
		w.before = w.at
	}
	s.body = append(s.body[:0], t.whole(level, &change)...)
	err = t.merge(l, level, w.before, w.at+len(s.out))
	return nodeChange{node, entries, 0, len(entries), s.body}, err
}

// firstChild finds the first child of a node that a splice changes.
func (t *tree) firstChild(level int, entries []byte, i, j int64) (w way, err error) {
	w = t.levels[level].way
	if t.edit.found = t.edit.found && w.known && t.leads(w.first, t.levels[level-1].count, i, j); t.edit.found {
		return w, nil
	}
	if t.edit.push > 0 && !t.kind.ordered {
		if _, w = t.kind.lastChild(entries, i); w.known {
			return w, nil
		}
	}
	w = way{before: -1}
	for w.at < len(entries) {
		size, count, _ := t.kind.skipChild(entries[w.at:])
		if size == 0 {
			return w, t.corruptAbove(level)
		}
		if t.concerns(i, j, w.first+count, w.at+size == len(entries)) {
			break
		}
		w.first += count
		w.before, w.at = w.at, w.at+size
	}
	return w, nil
}

// leads tells whether a child of count elements is the first of those that a splice changes, unless it is the last one, which may be as well.
func (t *tree) leads(first, count, i, j int64) bool {
	if i < j || t.edit.behind {
		return i >= first && i < first+count
	}
	return i > first && i <= first+count
}

// concerns tells whether the child that ends before element end is the first of those that a splice changes.
func (t *tree) concerns(i, j, end int64, last bool) bool {
	if i < j || t.edit.behind {
		return i < end || last
	}
	return i <= end || last
}

// spliceChild is splice for one child: what takes its place is appended to the entries of the level above.
func (t *tree) spliceChild(l *Ledger, level int, c *child, i, j int64) error {
	if i == 0 && j == c.count && !t.edit.left {
		return t.drop(l, level, c)
	}
	node, err := t.levels[level].node, error(nil)
	if !t.edit.found {
		node, err = t.loadNode(l.txn, c.node, level)
	}
	if err != nil {
		return err
	}
	bytes, count := t.bytes, int64(0)
	if t.edit.left {
		count = t.edit.count
	}
	var change nodeChange
	if level == 0 {
		change, err = t.spliceLeaf(l, node, i, j, c.count)
	} else {
		change, err = t.spliceInner(l, level, node, node[1:], i, j)
	}
	if err != nil {
		return err
	}
	c.count += count - (j - i)
	c.bytes += t.bytes - bytes
	return t.finish(l, level, c, &change)
}

func (t *tree) spliceLeaf(l *Ledger, node []byte, i, j, count int64) (change nodeChange, err error) {
	entries := node[1:]
	from := len(entries)
	switch {
	case t.edit.found && i == t.offset.element:
		from = t.offset.at
	case i < count:
		var ok bool
		if from, ok = t.kind.skip(entries, i); !ok {
			return change, t.corruptAbove(0)
		}
	}
	size, ok := t.kind.skip(entries[from:], j-i)
	if !ok {
		return change, t.corruptAbove(0)
	}
	if err := t.dropParts(l, entries[from:from+size]); err != nil {
		return change, err
	}
	t.bytes -= int64(size)
	change = nodeChange{node: node, entries: entries, at: from, removed: size}
	if t.edit.left {
		t.edit.left = false
		change.inserted = t.edit.insert
		t.bytes += int64(len(t.edit.insert))
	}
	return change, nil
}

// skip returns how many bytes the first n elements have.
func (k *treeKind) skip(b []byte, n int64) (size int, ok bool) {
	for ; n > 0; n-- {
		// Short elements, hundreds of them in a leaf, are what makes this long.
		if at := size + k.prefix; at < len(b) && b[at]&0x81 == 0 {
			size = at + 1 + int(b[at]>>1)
			continue
		}
		if size > len(b) {
			return 0, false
		}
		one := k.elementSize(b[size:])
		if one == 0 {
			return 0, false
		}
		size += one
	}
	return size, size <= len(b)
}

// dropParts removes what lies apart of elements.
func (t *tree) dropParts(l *Ledger, elements []byte) error {
	for t.apart > 0 && !t.edit.parted && len(elements) > 0 {
		d, rest, ok := t.kind.takeElement(elements)
		if !ok || d.serial != 0 && int64(d.length) > t.apart {
			return t.corruptAbove(0)
		}
		if d.serial != 0 {
			t.apart -= int64(d.length)
			l.dropDatum(t.collection, &d)
		}
		elements = rest
	}
	return nil
}

// drop removes a node and all beneath it. Leaves are not read, unless elements of theirs may lie apart.
func (t *tree) drop(l *Ledger, level int, c *child) error {
	switch {
	case level == 0 && t.apart > 0:
		entries, err := t.load(l.txn, c.node, 0)
		if err == nil {
			err = t.dropParts(l, entries)
		}
		if err != nil {
			return err
		}
	case level > 0:
		entries, err := t.load(l.txn, c.node, level)
		for err == nil && len(entries) > 0 {
			below, size := t.kind.takeChild(entries)
			if size == 0 {
				return t.corruptAbove(level)
			}
			entries = entries[size:]
			err = t.drop(l, level-1, &below)
		}
		if err != nil {
			return err
		}
	}
	if level == 0 {
		t.bytes -= c.bytes
		t.edit.dropped = true
	}
	t.remove(l, c.node)
	return nil
}

// nodeBytes is how many bytes of entries a node of a level has, at most.
func (t *tree) nodeBytes(level int) int {
	if level == 0 {
		return t.kind.leafBytes
	}
	return innerBytes
}

// finish writes a node that has changed, in pieces if its entries are too many, and appends it to the children of the level above.
func (t *tree) finish(l *Ledger, level int, c *child, change *nodeChange) error {
	s, size := &t.levels[level+1], change.size()
	t.edit.smallest = min(t.edit.smallest, size)
	switch {
	case size == 0:
		t.remove(l, c.node)
		return nil
	case size <= t.nodeBytes(level) && change.node != nil && t.held == nil:
		t.key = appendNode(t.key[:0], t.collection, c.node)
		l.txn.Splice(t.key, change.node, 1+change.at, change.removed, change.inserted)
		s.out = t.kind.appendChild(s.out, c)
		return nil
	}
	entries := t.whole(level, change)
	if size <= t.nodeBytes(level) || !t.splits(level, entries) {
		t.put(l, c.node, level, entries)
		s.out = t.kind.appendChild(s.out, c)
		return nil
	}
	if !t.cut(level, entries) {
		return t.corruptAbove(level)
	}
	if t.kind.ordered && t.apart > 0 && level == 0 {
		if err := t.keepAlike(l, entries); err != nil {
			return err
		}
	}
	for n, from := range t.offsets {
		to := len(entries)
		if n+1 < len(t.offsets) {
			to = t.offsets[n+1]
		}
		piece, err := t.piece(l, level, entries, from, to)
		if err != nil {
			return err
		}
		if n == 0 {
			piece.low = c.low
		}
		if keeps := n == 0; keeps != (t.edit.push < 0) && (keeps || n == len(t.offsets)-1) {
			piece.node = c.node
		} else {
			piece.node = t.newNode()
		}
		t.put(l, piece.node, level, entries[from:to])
		s.out = t.kind.appendChild(s.out, &piece)
	}
	return nil
}

// whole is the entries of a node of a level after a change, in scratch.
func (t *tree) whole(level int, c *nodeChange) []byte {
	if c.removed == len(c.entries) {
		return c.inserted
	}
	s := &t.levels[level]
	s.body = append(append(append(s.body[:0], c.entries[:c.at]...), c.inserted...), c.entries[c.at+c.removed:]...)
	return s.body
}

func (t *tree) put(l *Ledger, node uint64, level int, entries []byte) {
	if t.held != nil {
		t.held[node] = append(append(t.held[node][:0], byte(level)), entries...)
		return
	}
	t.key = appendNode(t.key[:0], t.collection, node)
	l.value = append(append(l.value[:0], byte(level)), entries...)
	l.txn.Put(t.key, l.value)
}

func (t *tree) remove(l *Ledger, node uint64) {
	if t.held != nil {
		t.held[node] = t.held[node][:0]
		return
	}
	t.key = appendNode(t.key[:0], t.collection, node)
	l.txn.Delete(t.key)
}

// hold has the nodes that change kept back until release, for those who change many elements one by one.
func (t *tree) hold(back bool) {
	t.held = nil
	if back {
		t.held = make(map[uint64][]byte)
	}
}

// release writes what was held back, unless the whole tree goes.
func (t *tree) release(l *Ledger, stays bool) {
	held := t.held
	t.held = nil
	for _, node := range slices.Sorted(maps.Keys(held)) {
		switch value := held[node]; {
		case !stays:
		case len(value) == 0:
			t.remove(l, node)
		default:
			t.put(l, node, int(value[0]), value[1:])
		}
	}
}

// splits tells whether a node has enough entries to become two.
func (t *tree) splits(level int, entries []byte) bool {
	least := 2
	if level > 0 {
		least = fewEntries
	}
	for ; len(entries) > 0 && least > 0; least-- {
		size, _, _ := t.kind.entrySize(level, entries)
		if size == 0 {
			return true // cut will tell
		}
		entries = entries[size:]
	}
	return least == 0
}

// cut makes t.offsets those at which the pieces of a node begin.
func (t *tree) cut(level int, entries []byte) bool {
	limit, starts := t.nodeBytes(level), t.offsets[:0]
	least := 1 // entries of a piece. Of inner nodes, however long their entries are, each level above has fewer.
	if level > 0 {
		least = fewEntries / 2
	}
	for at := 0; at < len(entries); {
		size, _, _ := t.kind.entrySize(level, entries[at:])
		if size == 0 {
			return false
		}
		starts = append(starts, at)
		at += size
	}
	// The pieces' offsets take the place of the entries' from the end that is looked at first.
	switch t.edit.push {
	case 1:
		n := 1
		for i, first, end := 1, 0, len(entries); i < len(starts); i++ {
			next := end
			if i+1 < len(starts) {
				next = starts[i+1]
			}
			if next-starts[n-1] > limit && i-first >= least {
				starts[n] = starts[i]
				first = i
				n++
			}
		}
		t.offsets = starts[:n]
	case -1:
		n, end, behind := len(starts), len(entries), len(starts)
		for i := len(starts) - 1; i > 0; i-- {
			if end-starts[i-1] > limit && behind-i >= least {
				end, behind = starts[i], i
				n--
				starts[n] = end
			}
		}
		n--
		starts[n] = 0
		t.offsets = append(starts[:0], starts[n:]...)
	default:
		pieces := min((len(entries)+limit-1)/limit, len(starts)/least)
		n := 1
		for i := 1; i < len(starts) && n < pieces; i++ {
			target := len(entries) * n / pieces
			if i+1 == len(starts) || starts[i+1]-target > target-starts[i] {
				starts[n] = starts[i]
				n++
			}
		}
		t.offsets = starts[:n]
	}
	return true
}

// keepAlike drops the offsets of pieces that nothing short divides from the one before: long names that begin alike stay in one leaf, as far as
// a record may hold them.
func (t *tree) keepAlike(l *Ledger, entries []byte) error {
	kept := t.offsets[:1]
	for _, at := range t.offsets[1:] {
		low, err := t.lowOf(l, 0, entries, at)
		if err != nil {
			return err
		}
		if len(low) <= maxLowBytes {
			kept = append(kept, at)
		}
	}
	t.offsets = kept
	for n, from := range kept {
		to := len(entries)
		if n+1 < len(kept) {
			to = kept[n+1]
		}
		if to-from > maxAlikeBytes {
			return ErrAlike
		}
	}
	return nil
}

// piece is the child that the entries [from, to) of a node become.
func (t *tree) piece(l *Ledger, level int, entries []byte, from, to int) (c child, err error) {
	if t.kind.ordered && from > 0 {
		if c.low, err = t.lowOf(l, level, entries, from); err != nil {
			return c, err
		}
	}
	for at := from; at < to; {
		size, count, bytes := t.kind.entrySize(level, entries[at:])
		c.count += count
		c.bytes += bytes
		at += size
	}
	return c, nil
}

// lowOf is the low of a node that begins with the entry at an offset: of elements the shortest row that is not after it, and after the one
// before it.
func (t *tree) lowOf(l *Ledger, level int, entries []byte, at int) ([]byte, error) {
	if level > 0 {
		c, _ := t.kind.takeChild(entries[at:])
		return c.low, nil
	}
	last := 0
	for next := 0; next < at; next += t.kind.elementSize(entries[next:]) {
		last = next
	}
	var rows [2][]byte
	for i, b := range [][]byte{entries[last:], entries[at:]} {
		d, _, ok := takeDatum(b[t.kind.prefix:], t.kind.name)
		if !ok {
			return nil, t.corruptAbove(0)
		}
		var err error
		if rows[i], err = d.appendHead(bytes.Clone(b[:t.kind.prefix]), l.txn, t.collection); err != nil {
			return nil, err
		}
		if t.kind.compared != nil {
			t.kind.compared(rows[i])
		}
	}
	same := 0
	for same < len(rows[0]) && same < len(rows[1]) && rows[0][same] == rows[1][same] {
		same++
	}
	return rows[1][:min(same+1, len(rows[1]))], nil
}

// merge makes neighbours among the children of a level one, from the one at an offset of its new entries up to the one at the offset end,
// if both fit into half of one.
func (t *tree) merge(l *Ledger, level, at, end int) error {
	s := &t.levels[level]
	for at < end {
		x, size := t.kind.takeChild(s.body[at:])
		if size == 0 {
			return t.corruptAbove(level)
		}
		next := at + size
		if next == len(s.body) {
			return nil
		}
		y, behind := t.kind.takeChild(s.body[next:])
		if behind == 0 {
			return t.corruptAbove(level)
		}
		merged, err := t.mergePair(l, level-1, &x, &y)
		if err != nil {
			return err
		}
		if !merged {
			at = next
			continue
		}
		t.pair = t.kind.appendChild(t.pair[:0], &x)
		s.body = slices.Replace(s.body, at, next+behind, t.pair...)
		end -= size + behind - len(t.pair)
	}
	return nil
}

// mergePair makes y part of x, if they are small.
func (t *tree) mergePair(l *Ledger, level int, x, y *child) (merged bool, err error) {
	if level == 0 && x.bytes+y.bytes > int64(t.nodeBytes(0)/2) {
		return false, nil
	}
	first, err := t.load(l.txn, x.node, level)
	if err != nil {
		return false, err
	}
	second, err := t.load(l.txn, y.node, level)
	if err != nil || len(first)+len(second) > t.nodeBytes(level)/2 {
		return false, err
	}
	t.pair = append(t.pair[:0], first...)
	if level > 0 && t.kind.ordered { // the low of its first child meant nothing so far
		c, size := t.kind.takeChild(second)
		if size == 0 {
			return false, t.corruptAbove(level)
		}
		c.low = y.low
		t.pair, second = t.kind.appendChild(t.pair, &c), second[size:]
	}
	t.pair = append(t.pair, second...)
	t.remove(l, y.node)
	t.put(l, x.node, level, t.pair)
	x.count += y.count
	x.bytes += y.bytes
	return true, nil
}
