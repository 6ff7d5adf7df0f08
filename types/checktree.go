package types

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// checkedTree is what the nodes of a collection said, and what was said of them. It is nil for one that has none.
type checkedTree struct {
	kind  *treeKind
	apart int64 // bytes of elements that lie apart, as the shape says

	asked  map[uint64]nodeSums // what the parents of nodes say
	nodes  map[uint64]nodeSums // what the nodes are
	twice  int                 // nodes with two parents
	length int64               // bytes of the elements that lie apart, as they say themselves
	rows   uint64              // the sum of the hashes of all elements
	parts  map[uint64]int64    // of each of those how many bytes were not met yet
}

// nodeSums are what is beneath a node, itself included.
type nodeSums struct {
	level        int
	count, bytes int64
}

// newCheckedTree takes in a meta record whose collection has a tree. What is wrong with it is said at once.
func newCheckedTree(m *Meta) (t *checkedTree, wrong string) {
	if m.Type != List && m.Type != ZSet && m.FieldsExpireAtMs() == 0 || m.Format != formatSpread {
		return nil, ""
	}
	c := m.collection()
	if m.Type == Hash {
		return newCheckedTimes(&c)
	}
	kind, shape := &listTree, c.shape
	if m.Type == ZSet {
		kind = &zsetRows
		_, shape, _ = takeTable(shape) // whoever looks at the table says what is wrong with that
	}
	var tr tree
	if !tr.open(kind, c.id, shape, c.treeBytes()) {
		return nil, "the root of its tree is malformed; reading it answers -CORRUPT"
	}
	t = newCheckedNodes(&tr)
	sums, ok := t.children(tr.height, tr.root)
	if !ok || sums.count != c.treeCount() || sums.bytes != tr.bytes {
		wrong = fmt.Sprintf("the root of its tree has %d elements of %d bytes, its meta record says %d of %d", sums.count, sums.bytes, c.treeCount(), tr.bytes)
	}
	return t, wrong
}

// newCheckedTimes is newCheckedTree for a hash with fields that die.
func newCheckedTimes(c *collection) (t *checkedTree, wrong string) {
	var tr tree
	if _, ok := openFieldTimes(&tr, c); !ok {
		return nil, "the root of the tree of its fields' times is malformed; writing to it answers -CORRUPT"
	}
	t = newCheckedNodes(&tr)
	t.children(tr.height, tr.root)
	return t, ""
}

func newCheckedNodes(t *tree) *checkedTree {
	return &checkedTree{
		kind: t.kind, apart: t.apart,
		asked: make(map[uint64]nodeSums), nodes: make(map[uint64]nodeSums), parts: make(map[uint64]int64),
	}
}

// children takes in the entries of an inner node.
func (t *checkedTree) children(level int, entries []byte) (sums nodeSums, ok bool) {
	sums.level = level
	for len(entries) > 0 {
		c, size := t.kind.takeChild(entries)
		if size == 0 {
			return sums, false
		}
		if _, known := t.asked[c.node]; known {
			t.twice++
		}
		t.asked[c.node] = nodeSums{level - 1, c.count, c.bytes}
		sums.count += c.count
		sums.bytes += c.bytes
		entries = entries[size:]
	}
	return sums, true
}

// elements takes in the entries of a leaf.
func (t *checkedTree) elements(entries []byte) (sums nodeSums, ok bool) {
	sums.bytes = int64(len(entries))
	if t.kind == &zsetRows && !inOrder(entries) || t.kind == &fieldTimes && !timesInOrder(entries) {
		return sums, false
	}
	for len(entries) > 0 {
		d, rest, ok := t.kind.takeElement(entries)
		if !ok || t.kind.elementSize(entries) != len(entries)-len(rest) {
			return sums, false
		}
		if d.serial != 0 {
			t.parts[d.serial] = int64(d.length)
			t.length += int64(d.length)
		}
		t.rows += xxhash.Sum64(entries[:len(entries)-len(rest)])
		sums.count++
		entries = rest
	}
	return sums, true
}

func (t *checkedTree) addNode(node uint64, value []byte) string {
	if len(value) < 2 {
		return "malformed node of a tree"
	}
	level, take := int(value[0]), t.children
	if level == 0 {
		take = func(_ int, entries []byte) (nodeSums, bool) { return t.elements(entries) }
	}
	sums, ok := take(level, value[1:])
	if !ok {
		return "malformed node of a tree; reading it answers -CORRUPT"
	}
	t.nodes[node] = sums
	return ""
}

// addPart takes in a part of an element; nodes came before it.
func (t *checkedTree) addPart(serial uint64, n int, value []byte) string {
	left, known := t.parts[serial]
	if !known || len(value) == 0 || int64(len(value)) > left || n*partBytes+len(value) > maxStringBytes {
		return "a part of an element that is in no leaf, or is shorter"
	}
	t.parts[serial] = left - int64(len(value))
	return ""
}

// leave returns what is wrong with the tree as a whole, "" if nothing is.
func (t *checkedTree) leave() string {
	lost, other, strays := 0, 0, 0
	for node, asked := range t.asked {
		if found, ok := t.nodes[node]; !ok {
			lost++
		} else if found != asked {
			other++
		}
	}
	for node := range t.nodes {
		if _, ok := t.asked[node]; !ok {
			strays++
		}
	}
	parts := 0
	for _, left := range t.parts {
		if left != 0 {
			parts++
		}
	}
	switch {
	case lost > 0:
		return fmt.Sprintf("has lost %d nodes; reading them answers -CORRUPT", lost)
	case other > 0 || t.twice > 0:
		return fmt.Sprintf("has %d nodes that are not what their parents say, and %d with two parents", other, t.twice)
	case strays > 0:
		return fmt.Sprintf("has %d nodes that no other refers to", strays)
	case parts > 0:
		return fmt.Sprintf("has %d elements whose bytes are not all there; reading them answers -CORRUPT", parts)
	case t.length != t.apart:
		return fmt.Sprintf("has elements of %d bytes beside its leaves, its root says %d", t.length, t.apart)
	}
	return ""
}

// plant notes the tree, or the table, that a meta record has, if it has one.
func (k *checkedCollection) plant(keys *Keys, m *Meta) (wrong string) {
	if k.tree, wrong = newCheckedTree(m); wrong == "" {
		k.table, wrong = newCheckedTable(keys, m)
	}
	return wrong
}

// treeRecord takes in a node, or a part of an element, of a collection.
func (k *checkedCollection) treeRecord(key, value []byte) string {
	switch {
	case k.dead || !k.owned:
		return "" // that will be said of all of it
	case k.tree == nil:
		return "an element of a list in a collection that is none"
	case key[9] == elementNode:
		return k.tree.addNode(binary.BigEndian.Uint64(key[10:]), value)
	}
	return k.tree.addPart(binary.BigEndian.Uint64(key[10:]), int(binary.BigEndian.Uint32(key[18:])), value)
}
