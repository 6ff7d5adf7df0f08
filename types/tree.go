package types

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"sett/storage"
)

// A tree keeps the elements of a spread collection in an order, that of their places (a list) or one of their own (a sorted set's rows):
// a B+tree whose inner nodes count what is beneath them. Each node is a record that its parent names, so whatever is looked for is found
// by a few point reads, and a change writes one leaf and one node of each level above it:
//
//	node   level(1) · entries, one behind the other
//	leaf   level 0; an entry is an element: prefix · datum
//	inner  level 1 and up; an entry is a child, of the level below: node(uvarint) elements(uvarint) bytes(uvarint), in an ordered
//	       tree also low(uvarint length, bytes)
//	shape  height(uvarint) next node(uvarint) bytes that lie apart(uvarint) · entries of the root
//
// The root is an inner node of level height that lies in the meta record, which is written with each change anyway. bytes are those of the
// elements in the leaves. A low is a row: no element of the child comes before it, all of the children before it do; that of a node's first
// child means nothing. Nodes are numbered as they come, and no number is used twice.
//
// Leaves are split in the middle, but one that elements are pushed onto stays full; one that elements are taken off at either end of the
// tree goes when it is empty. Elsewhere two neighbours become one when both fit into half of one.
type tree struct {
	kind       *treeKind
	collection uint64
	height     int
	next       uint64
	total      int64  // elements: kept by who opens a list's tree, and by splice
	apart      int64  // bytes of elements that lie apart
	bytes      int64  // of all leaves: kept by who opens the tree, and by splice
	root       []byte // entries

	offset  elementOffset
	levels  []treeLevel // by level, the root's included
	key     []byte      // scratch
	offsets []int       // scratch of a split
	pair    []byte      // scratch of a merge
	rootBuf []byte      // root, once it was changed
	edit    treeEdit

	held map[uint64][]byte // nodes that are written when their changes are over, by number; empty: they go. Nil: each is written at once
}

// elementOffset is where an element was found in the leaf that was read last.
type elementOffset struct {
	element int64 // its place in the leaf, -1: nobody has looked
	at      int
}

// treeKind is how the elements of a tree look.
type treeKind struct {
	leafBytes int  // of a leaf's elements, at most, unless they are very few
	prefix    int  // bytes of an element before its datum
	name      bool // the datum is a name
	ordered   bool // by prefix and name

	compared func(row []byte) // makes a row what it is compared as, nil: it is that already
}

const (
	innerBytes    = 1 << 10 // of the entries of an inner node, at most, unless they are very few
	treeRootBytes = 512     // … and of the root
	fewEntries    = 4       // fewer do not make two inner nodes, however long their lows are

	maxTreeHeight = 64

	maxLowBytes   = 4 << 10  // of a low, less than a part: few of them fit into a record of the LSM, which may not reach 32 KiB
	maxAlikeBytes = 24 << 10 // of a leaf that cannot be divided
	serialBytes   = 8        // of a datum that lies apart
)

// ErrAlike says that more names than a leaf can hold begin with the same maxLowBytes.
var ErrAlike = errors.New("types: too many long names begin alike")

// treeLevel is what was read last of a level: the elements [first, first + count) are beneath it. Its scratch is of an edit.
type treeLevel struct {
	node         []byte // the record that the entries are in; nil: the root
	entries      []byte
	first, count int64 // count 0: nothing was read
	way          way   // to the node that was read last of the level below

	out  []byte // the children that take the place of those which changed
	body []byte // the entries of the node as it becomes, if somebody has to see them whole
}

// way is where a child stands in its node. A splice of what a seek has found need not look for it again.
type way struct {
	known      bool
	at, before int   // offsets of its entry and of the one before it, -1: there is none
	first      int64 // elements of the node before it
}

// child is an entry of an inner node.
type child struct {
	node  uint64
	count int64
	bytes int64
	low   []byte
}

// takeChild splits an entry off; size 0: it is malformed.
func (k *treeKind) takeChild(b []byte) (c child, size int) {
	node, n := binary.Uvarint(b)
	if n <= 0 {
		return c, 0
	}
	size = n
	count, n := binary.Uvarint(b[size:])
	if n <= 0 || count == 0 || count > 1<<62 {
		return c, 0
	}
	size += n
	bytes, n := binary.Uvarint(b[size:])
	if n <= 0 || bytes == 0 || bytes > 1<<62 {
		return c, 0
	}
	size += n
	c = child{node: node, count: int64(count), bytes: int64(bytes)}
	if k.ordered {
		length, n := binary.Uvarint(b[size:])
		if n <= 0 || length > uint64(len(b)-size-n) {
			return c, 0
		}
		size += n
		c.low = b[size : size+int(length)]
		size += int(length)
	}
	return c, size
}

// skipChild is takeChild for those who pass a child by: how many bytes its entry has, how many elements are beneath it, and its low. It is done
// for half a node's entries at each level, so it decodes what it needs by hand.
func (k *treeKind) skipChild(b []byte) (size int, count int64, low []byte) {
	at := 0
	for at < len(b) && b[at] >= 0x80 {
		at++
	}
	at++
	shift := 0
	for at < len(b) && b[at] >= 0x80 && shift < 56 {
		count |= int64(b[at]&0x7f) << shift
		shift += 7
		at++
	}
	if at >= len(b) || shift == 56 && b[at] > 0x3f {
		return 0, 0, nil
	}
	count |= int64(b[at]) << shift
	at++
	for at < len(b) && b[at] >= 0x80 {
		at++
	}
	at++
	if at > len(b) || count == 0 {
		return 0, 0, nil
	}
	if !k.ordered {
		return at, count, nil
	}
	length, n := uint64(0), 1
	if at < len(b) && b[at] < 0x80 {
		length = uint64(b[at])
	} else if length, n = binary.Uvarint(b[at:]); n <= 0 {
		return 0, 0, nil
	}
	at += n
	if length > uint64(len(b)-at) {
		return 0, 0, nil
	}
	return at + int(length), count, b[at : at+int(length)]
}

func (k *treeKind) appendChild(dst []byte, c *child) []byte {
	dst = binary.AppendUvarint(dst, c.node)
	dst = binary.AppendUvarint(dst, uint64(c.count))
	dst = binary.AppendUvarint(dst, uint64(c.bytes))
	if k.ordered {
		dst = append(binary.AppendUvarint(dst, uint64(len(c.low))), c.low...)
	}
	return dst
}

// elementSize is the length of the element that b begins with, 0 if it is malformed.
func (k *treeKind) elementSize(b []byte) int {
	if len(b) <= k.prefix {
		return 0
	}
	head, size := uint64(b[k.prefix]), 1
	if head >= 0x80 {
		if head, size = binary.Uvarint(b[k.prefix:]); size <= 0 {
			return 0
		}
	}
	size += k.prefix
	switch {
	case head&1 == 0 && head>>1 > inlineMaxBytes || head>>1 > maxStringBytes:
		return 0
	case head&1 == 0:
		size += int(head >> 1)
	case k.name:
		size += serialBytes + sha256.Size
	default:
		size += serialBytes
	}
	if size > len(b) {
		return 0
	}
	return size
}

// entrySize is the length of the first entry of a node's, and how many elements and bytes it stands for.
func (k *treeKind) entrySize(level int, b []byte) (size int, count, bytes int64) {
	if level == 0 {
		size = k.elementSize(b)
		return size, 1, int64(size)
	}
	c, size := k.takeChild(b)
	return size, c.count, c.bytes
}

// open points the tree at a shape. bytes are those of its leaves and of what lies apart.
func (t *tree) open(kind *treeKind, collection uint64, shape []byte, bytes int64) bool {
	height, n := binary.Uvarint(shape)
	if n <= 0 || height == 0 || height > maxTreeHeight {
		return false
	}
	shape = shape[n:]
	next, n := binary.Uvarint(shape)
	if n <= 0 {
		return false
	}
	shape = shape[n:]
	apart, n := binary.Uvarint(shape)
	if n <= 0 || apart > uint64(bytes) {
		return false
	}
	t.begin(kind, collection)
	t.setHeight(int(height))
	t.next, t.apart, t.bytes, t.root = next, int64(apart), bytes-int64(apart), shape[n:]
	return true
}

// begin makes it the empty tree of a new collection.
func (t *tree) begin(kind *treeKind, collection uint64) {
	t.kind, t.collection, t.next, t.total, t.apart, t.bytes, t.root = kind, collection, 1, 0, 0, 0, nil
	t.setHeight(1)
	t.forget()
}

func (t *tree) setHeight(height int) {
	t.height = height
	for len(t.levels) <= height {
		t.levels = append(t.levels, treeLevel{})
	}
}

// forget drops what was read: the nodes have changed.
func (t *tree) forget() {
	t.offset.element = -1
	for i := range t.levels {
		t.levels[i].node, t.levels[i].entries, t.levels[i].count, t.levels[i].way = nil, nil, 0, way{}
	}
}

func (t *tree) appendShape(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(t.height))
	dst = binary.AppendUvarint(dst, t.next)
	dst = binary.AppendUvarint(dst, uint64(t.apart))
	return append(dst, t.root...)
}

// load reads the entries of a node.
func (t *tree) load(g Getter, node uint64, level int) ([]byte, error) {
	value, err := t.loadNode(g, node, level)
	if err != nil {
		return nil, err
	}
	return value[1:], nil
}

func (t *tree) loadNode(g Getter, node uint64, level int) ([]byte, error) {
	value, held := t.held[node]
	if !held {
		t.key = appendNode(t.key[:0], t.collection, node)
		var err error
		if value, err = g.Get(t.key); err != nil {
			return nil, err
		}
	}
	if len(value) < 2 || int(value[0]) != level {
		return nil, t.corrupt(node, level)
	}
	return value, nil
}

func (t *tree) corrupt(node uint64, level int) error {
	return corruptCollection(appendNode(nil, t.collection, node), fmt.Sprintf("node %d of level %d of collection %d is missing, or is none", node, level, t.collection))
}

// corruptAbove is for entries that do not say what they must: nobody knows any more which node they were of.
func (t *tree) corruptAbove(level int) error {
	return corruptCollection(appendNode(nil, t.collection, 0), fmt.Sprintf("a node of level %d of collection %d is damaged", level, t.collection))
}

// seek reads the leaf that holds element i, which there must be, into levels[0].
func (t *tree) seek(g Getter, i int64) error {
	level := 0
	for level < t.height && (i < t.levels[level].first || i >= t.levels[level].first+t.levels[level].count) {
		level++
	}
	for ; level > 0; level-- {
		entries, first, count := t.levels[level].entries, t.levels[level].first, t.levels[level].count
		if level == t.height {
			entries, first, count = t.root, 0, t.total
		}
		c, w, err := t.childAt(level, entries, i-first, count)
		if err == nil {
			err = t.descend(g, level-1, &c, first+w.first, w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// descend reads a child into its level.
func (t *tree) descend(g Getter, level int, c *child, first int64, w way) (err error) {
	s := &t.levels[level]
	s.count, t.levels[level+1].way = 0, w
	t.offset.element = -1
	if s.node, err = t.loadNode(g, c.node, level); err == nil {
		s.entries, s.first, s.count = s.node[1:], first, c.count
	}
	return err
}

// childAt finds the child of a node of count elements that holds its element i.
func (t *tree) childAt(level int, entries []byte, i, count int64) (c child, w way, err error) {
	if i > count/2 && !t.kind.ordered {
		if c, w = t.kind.lastChild(entries, count); w.known && i >= w.first {
			return c, w, nil
		}
	}
	w = way{known: true, before: -1}
	for w.at < len(entries) {
		size, count, _ := t.kind.skipChild(entries[w.at:])
		if size == 0 {
			break
		}
		if i < w.first+count {
			if c, size = t.kind.takeChild(entries[w.at:]); size == 0 {
				break
			}
			return c, w, nil
		}
		w.first += count
		w.before, w.at = w.at, w.at+size
	}
	return c, w, t.corruptAbove(level)
}

// lastChild is the last child of a node of a list's tree that has count elements, found from the node's end: an entry is three varints there.
// Pops and pushes at the far end are spared the way through all entries. The way is not known if the entry is none.
func (k *treeKind) lastChild(entries []byte, count int64) (c child, w way) {
	w.at = entryBefore(entries, len(entries))
	if w.at < 0 {
		return c, w
	}
	c, size := k.takeChild(entries[w.at:])
	w.before, w.first = entryBefore(entries, w.at), count-c.count
	w.known = size == len(entries)-w.at && w.first >= 0 && (w.before >= 0 || w.at == 0)
	return c, w
}

// entryBefore is where the entry of three varints begins that ends at an offset, -1 if there is none.
func entryBefore(entries []byte, end int) int {
	at := end
	for range 3 {
		if at--; at < 0 || entries[at] >= 0x80 {
			return -1
		}
		for at > 0 && entries[at-1] >= 0x80 {
			at--
		}
	}
	return at
}

// find reads the leaf in which an element is, or would be, into levels[0]. target is the row that is looked for, as lows are compared with it;
// compare says whether an element comes before it (-1), is it (0), or comes after it. rank is the number of elements before it; behind tells that one that
// is put there belongs to the child behind that place rather than to the one before it. A splice at rank need not look for its way again.
func (t *tree) find(g Getter, target []byte, compare func(row []byte) (int, error)) (rank int64, found, behind bool, err error) {
	entries, first := t.root, int64(0)
	for level := t.height; level > 0; level-- {
		c, w, err := t.childOf(level, entries, target)
		if err == nil {
			first += w.first
			err = t.descend(g, level-1, &c, first, w)
		}
		if err != nil {
			return 0, false, false, err
		}
		entries = t.levels[level-1].entries
	}
	at := 0
	for rank = first; at < len(entries); rank++ {
		size := t.kind.elementSize(entries[at:])
		if size == 0 {
			return 0, false, false, t.corruptAbove(0)
		}
		order, err := compare(entries[at : at+size])
		if err != nil {
			return rank, false, false, err
		}
		if order >= 0 {
			found = order == 0
			break
		}
		at += size
	}
	t.offset = elementOffset{rank - first, at}
	return rank, found, rank == first, nil
}

// childOf finds the last child whose low is not after what is looked for.
func (t *tree) childOf(level int, entries, target []byte) (c child, w way, err error) {
	w = way{known: true, before: -1}
	for at, first := 0, int64(0); at < len(entries); {
		size, count, low := t.kind.skipChild(entries[at:])
		if size == 0 {
			return c, w, t.corruptAbove(level)
		}
		if at > 0 {
			if bytes.Compare(low, target) > 0 {
				break
			}
			w.before, w.at, w.first = w.at, at, first
		}
		first += count
		at += size
	}
	c, size := t.kind.takeChild(entries[w.at:])
	if size == 0 {
		return c, w, t.corruptAbove(level)
	}
	return c, w, nil
}

// need asks for the nodes that hold the elements [i, j), as many as are known. Leaves that lie in it whole are asked for only if whole says so.
func (t *tree) need(r Reader, i, j int64, whole bool) error {
	keys, err := t.gather(nil, r, t.height, t.root, 0, i, j, whole)
	if err != nil {
		return err
	}
	return r.Need(keys...)
}

func (t *tree) gather(keys [][]byte, r Reader, level int, entries []byte, first, i, j int64, whole bool) ([][]byte, error) {
	for len(entries) > 0 && first < j {
		size, count, _ := t.kind.skipChild(entries)
		from, to := first, first+count
		if size > 0 && to <= i {
			entries, first = entries[size:], to
			continue
		}
		c, size := t.kind.takeChild(entries)
		if size == 0 {
			return nil, t.corruptAbove(level)
		}
		entries, first = entries[size:], to
		if level == 1 {
			if whole || from < i || to > j {
				keys = append(keys, appendNode(nil, t.collection, c.node))
			}
			continue
		}
		below, err := t.load(r, c.node, level-1)
		if err == storage.ErrMiss {
			continue
		}
		if err == nil {
			keys, err = t.gather(keys, r, level-1, below, from, i, j, whole)
		}
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// around appends the nodes that a change at some places beneath a node reads; goes is how many bytes each place loses.
func (t *tree) around(nodes []uint64, g Getter, level int, entries []byte, first int64, places []int64, goes int64) ([]uint64, error) {
	var last child // with the bytes that stay of it
	lastChanges, lastListed := false, true
	for len(entries) > 0 && (len(places) > 0 || lastChanges) {
		c, size := t.kind.takeChild(entries)
		if size == 0 {
			return nil, t.corruptAbove(level)
		}
		entries = entries[size:]
		n, _ := slices.BinarySearch(places, first+c.count)
		changes := n > 0
		c.bytes -= int64(n) * goes
		merges := level > 1 || last.bytes+c.bytes <= int64(t.kind.leafBytes/2)
		if changes && merges && !lastListed {
			nodes = append(nodes, last.node)
		}
		listed := changes || lastChanges && merges
		if listed {
			nodes = append(nodes, c.node)
		}
		if changes && level > 1 {
			below, err := t.load(g, c.node, level-1)
			if err == nil {
				nodes, err = t.around(nodes, g, level-1, below, first, places[:n], goes)
			}
			if err != nil {
				return nil, err
			}
		}
		first += c.count
		last, lastChanges, lastListed, places = c, changes, listed, places[n:]
	}
	return nodes, nil
}

// walk calls f for every node and its level, parents first; entries are those of the node.
func (t *tree) walk(g Getter, f func(node uint64, level int, entries []byte) error) error {
	return t.walkBelow(g, t.height, t.root, f)
}

func (t *tree) walkBelow(g Getter, level int, entries []byte, f func(node uint64, level int, entries []byte) error) error {
	for len(entries) > 0 {
		c, size := t.kind.takeChild(entries)
		if size == 0 {
			return t.corruptAbove(level)
		}
		entries = entries[size:]
		below, err := t.load(g, c.node, level-1)
		if err == nil {
			err = f(c.node, level-1, below)
		}
		if err == nil && level > 1 {
			err = t.walkBelow(g, level-1, below, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTo writes all nodes, and what lies apart, under another collection.
func (t *tree) copyTo(l *Ledger, collection uint64) error {
	return t.walk(l.txn, func(node uint64, level int, entries []byte) error {
		t.key = appendNode(t.key[:0], collection, node)
		l.value = append(append(l.value[:0], byte(level)), entries...)
		l.txn.Put(t.key, l.value)
		for level == 0 && t.apart > 0 && len(entries) > 0 {
			d, rest, ok := t.kind.takeElement(entries)
			if !ok {
				return t.corruptAbove(0)
			}
			if err := l.copyParts(&d, t.collection, collection); err != nil {
				return err
			}
			entries = rest
		}
		return nil
	})
}

// takeElement splits an element off and returns its datum.
func (k *treeKind) takeElement(b []byte) (d datum, rest []byte, ok bool) {
	if len(b) < k.prefix {
		return d, nil, false
	}
	return takeDatum(b[k.prefix:], k.name)
}
