package types

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0: a new one")

func newDice(t testing.TB, stream uint64) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", s)
	return rand.New(rand.NewPCG(s, stream))
}

// grove is a tree in a store, and what must be in it.
type grove struct {
	*desk
	kind  *treeKind
	tree  tree
	shape []byte
	bytes int64
	want  [][]byte // the elements, with their prefixes
}

func newGrove(t testing.TB, kind *treeKind) *grove {
	g := &grove{desk: newDesk(t, Options{}), kind: kind}
	g.tree.begin(kind, 5)
	g.shape = g.tree.appendShape(nil)
	return g
}

func (g *grove) open() {
	if !g.tree.open(g.kind, 5, g.shape, g.bytes) {
		g.t.Fatalf("shape %x does not open", g.shape)
	}
	g.tree.total = int64(len(g.want))
}

func (g *grove) splice(i, j int64, behind bool, elements ...[]byte) {
	g.t.Helper()
	total := int64(len(g.want))
	var shape []byte
	var size int64
	g.update(func(l *Ledger) error {
		g.open()
		var insert []byte
		apart := int64(0)
		for _, e := range elements {
			insert = append(insert, e[:g.kind.prefix]...)
			if len(e)-g.kind.prefix > inlineMaxBytes {
				apart += int64(len(e) - g.kind.prefix)
			}
			insert = l.appendDatum(insert, 5, e[g.kind.prefix:], inlineMaxBytes, g.kind.name)
		}
		if err := g.tree.splice(l, total, i, j, insert, int64(len(elements)), behind); err != nil {
			return err
		}
		g.tree.apart += apart
		shape, size = g.tree.appendShape(nil), g.tree.bytes+g.tree.apart
		return nil
	})
	g.shape, g.bytes = shape, size
	g.want = slices.Replace(g.want, int(i), int(j), elements...)
}

// check compares all elements, and the rules of the tree.
func (g *grove) check() {
	g.t.Helper()
	v, err := g.store.View()
	if err != nil {
		g.t.Fatal(err)
	}
	defer v.Close()
	g.open()
	var got [][]byte
	records := map[string]bool{}
	var apart int64
	type sum struct{ count, bytes int64 }
	var below func(level int, entries []byte, low []byte) sum
	below = func(level int, entries []byte, low []byte) (s sum) {
		first := true
		for len(entries) > 0 {
			if level == 0 {
				size := g.kind.elementSize(entries)
				d, rest, ok := takeDatum(entries[g.kind.prefix:], g.kind.name)
				if size == 0 || !ok || len(rest) != len(entries)-size {
					g.t.Fatalf("element %x", entries)
				}
				for _, key := range d.needs(nil, 5) {
					records[string(key)] = true
				}
				if d.serial != 0 {
					apart += int64(d.length)
				}
				row, err := d.appendTo(bytes.Clone(entries[:g.kind.prefix]), v, 5)
				if err != nil {
					g.t.Fatal(err)
				}
				if first && bytes.Compare(row, low) < 0 {
					g.t.Fatalf("low %q of a leaf that begins with %q", low, row)
				}
				got = append(got, row)
				s.count++
				s.bytes += int64(size)
				entries = entries[size:]
				first = false
				continue
			}
			c, size := g.kind.takeChild(entries)
			if size == 0 {
				g.t.Fatalf("child %x", entries)
			}
			records[string(appendNode(nil, 5, c.node))] = true
			node, err := g.tree.load(v, c.node, level-1)
			if err != nil {
				g.t.Fatal(err)
			}
			if limit := g.tree.nodeBytes(level - 1); len(node) > limit+limit/2+inlineMaxBytes && !g.kind.ordered {
				g.t.Errorf("node of level %d has %d bytes", level-1, len(node))
			}
			if !first {
				if bytes.Compare(c.low, low) < 0 || g.kind.ordered && bytes.Compare(got[len(got)-1], c.low) >= 0 {
					g.t.Fatalf("low %q after %q", c.low, got[len(got)-1])
				}
				low = c.low
			}
			if found := below(level-1, node, low); found != (sum{c.count, c.bytes}) {
				g.t.Fatalf("node %d of level %d: %v, its parent says %d, %d", c.node, level-1, found, c.count, c.bytes)
			}
			s.count += c.count
			s.bytes += c.bytes
			entries = entries[size:]
			first = false
		}
		return s
	}
	all := below(g.tree.height, g.tree.root, nil)
	if all.count != int64(len(g.want)) || all.bytes != g.tree.bytes || apart != g.tree.apart {
		g.t.Fatalf("%v elements, %d; bytes %d; apart %d, %d", all, len(g.want), g.tree.bytes, apart, g.tree.apart)
	}
	if !slices.EqualFunc(got, g.want, bytes.Equal) {
		g.t.Fatal("the elements differ")
	}
	it := v.Iterate(appendElement(nil, 5, 0), appendElement(nil, 5, 255))
	defer it.Close()
	for ok := it.Seek(appendElement(nil, 5, 0)); ok; ok = it.Next() {
		if !records[string(it.Key())] {
			g.t.Fatalf("record %x is nobody's", it.Key())
		}
		delete(records, string(it.Key()))
	}
	if len(records) > 0 {
		g.t.Fatalf("%d records are missing", len(records))
	}
}

// leaves are the bytes of all leaves.
func (g *grove) leaves() (sizes []int) {
	g.update(func(l *Ledger) error {
		g.open()
		sizes = nil
		return g.tree.walk(l.txn, func(_ uint64, level int, entries []byte) error {
			if level == 0 {
				sizes = append(sizes, len(entries))
			}
			return nil
		})
	})
	return sizes
}

func letters(d *rand.Rand, limit int) []byte {
	b := make([]byte, d.IntN(limit))
	for i := range b {
		b[i] = byte('a' + d.IntN(4))
	}
	return b
}

// TestTreeByPlace splices a list at random, large and small, and compares it with a slice.
func TestTreeByPlace(t *testing.T) {
	d := newDice(t, 21)
	g := newGrove(t, &treeKind{leafBytes: 2 << 10})
	limit := 12
	for step := range 3000 {
		total := int64(len(g.want))
		switch d.IntN(200) {
		case 0:
			limit = []int{3, 12, 60, 3000}[d.IntN(4)]
		case 1:
			g.store.DropCache()
		}
		var elements [][]byte
		many := 1 + d.IntN(4)
		if d.IntN(60) == 0 && total < 50_000 {
			many = 1 + d.IntN(30_000/limit)
		}
		for range many {
			elements = append(elements, letters(d, limit))
		}
		i := d.Int64N(total + 1)
		j := min(total, i+d.Int64N(1<<d.IntN(9)))
		switch d.IntN(9) {
		case 0:
			g.splice(0, 0, false, elements...)
		case 1:
			g.splice(total, total, false, elements...)
		case 2:
			g.splice(0, min(total, int64(many)), false)
		case 3:
			g.splice(max(0, total-int64(many)), total, false)
		case 4:
			g.splice(i, i, d.IntN(2) == 0, elements...)
		case 5:
			g.splice(i, j, false)
		case 6:
			g.splice(i, j, d.IntN(2) == 0, elements...)
		case 7:
			if i < total {
				g.splice(i, i+1, false, elements[0])
			}
		case 8:
			if d.IntN(40) == 0 {
				g.splice(i, i+d.Int64N(total-i+1), false)
			}
		}
		if step%100 == 99 {
			g.check()
		}
	}
	g.splice(0, int64(len(g.want)), false)
	g.check()
}

// TestTreeInOrder keeps rows in their order by find, as a sorted set does.
func TestTreeInOrder(t *testing.T) {
	d := newDice(t, 22)
	g := newGrove(t, &treeKind{leafBytes: 256, prefix: 8, name: true, ordered: true})
	row := func() []byte {
		b := binary.BigEndian.AppendUint64(nil, d.Uint64N(20))
		limit := 30
		if d.IntN(50) == 0 {
			limit = 3000
		}
		return append(b, letters(d, limit)...)
	}
	for step := range 12_000 {
		r := row()
		if n := len(g.want); n > 0 && d.IntN(3) == 0 {
			r = g.want[d.IntN(n)]
		}
		want, exists := sort.Find(len(g.want), func(i int) int { return bytes.Compare(r, g.want[i]) })
		var rank int64
		var found, behind bool
		g.update(func(l *Ledger) (err error) {
			g.open()
			rank, found, behind, err = g.tree.find(l.txn, r, func(b []byte) (int, error) {
				d, _, _ := takeDatum(b[8:], true)
				other, err := d.appendTo(bytes.Clone(b[:8]), l.txn, 5)
				return bytes.Compare(other, r), err
			})
			if len(g.want) == 0 {
				return nil // an empty tree is none
			}
			return err
		})
		if rank != int64(want) || found != exists {
			t.Fatalf("row %q: rank %d %v, want %d %v", r, rank, found, want, exists)
		}
		switch {
		case !exists && (step < 8000 || d.IntN(4) == 0):
			g.splice(rank, rank, behind, r)
		case exists && (step >= 8000 || d.IntN(4) == 0):
			g.splice(rank, rank+1, false)
		case d.IntN(40) == 0 && step >= 8000:
			g.splice(rank, min(int64(len(g.want)), rank+d.Int64N(200)), false)
		}
		if step%500 == 499 {
			g.check()
		}
	}
	g.check()
}

// TestTreeFill: leaves that elements are pushed onto are full, at either end, and neighbours that have become small are one.
func TestTreeFill(t *testing.T) {
	g := newGrove(t, &treeKind{leafBytes: 2 << 10})
	for n := range 3000 {
		g.splice(0, 0, false, fmt.Appendf(nil, "before %d", n))
		g.splice(int64(len(g.want)), int64(len(g.want)), false, fmt.Appendf(nil, "behind %d", n))
	}
	sizes := g.leaves()
	for n, size := range sizes[1 : len(sizes)-1] {
		if size < 2000 && n != len(sizes)/2-1 && n != len(sizes)/2 && n != len(sizes)/2-2 {
			t.Errorf("leaf %d of %d has %d bytes", n+1, len(sizes), size)
		}
	}
	full := len(sizes)
	for i := int64(1); i < int64(len(g.want))-3; i++ {
		g.splice(i, i+3, false) // three of four go
	}
	if n := len(g.leaves()); n > full*2/3 {
		t.Errorf("%d leaves are left of %d", n, full)
	}
	g.check()
}

// FuzzTree reads trees of arbitrary bytes: every answer but a panic will do.
func FuzzTree(f *testing.F) {
	k := &treeKind{leafBytes: 256}
	root := k.appendChild(nil, &child{node: 1, count: 2, bytes: 6})
	f.Add(append([]byte{1, 2, 0}, root...), []byte{0, 8, 'a', 'b', 8, 'c', 'd'}, int64(1), false)
	k = &treeKind{leafBytes: 256, prefix: 8, name: true, ordered: true}
	root = k.appendChild(nil, &child{node: 1, count: 1, bytes: 11, low: []byte("low")})
	f.Add(append([]byte{2, 2, 0}, root...), append([]byte{1}, root...), int64(0), true)
	f.Fuzz(func(t *testing.T, shape, node []byte, i int64, ordered bool) {
		var tr tree
		kind := &treeKind{leafBytes: 256}
		if ordered {
			kind = &treeKind{leafBytes: 256, prefix: 8, name: true, ordered: true}
		}
		if !tr.open(kind, 5, shape, 1<<40) {
			return
		}
		r := &records{values: map[string][]byte{}}
		for n := range uint64(300) {
			r.values[string(appendNode(nil, 5, n))] = node
		}
		tr.total = i + 1 // it is looked for from the end
		if tr.seek(r, i) == nil {
			if s := tr.levels[0]; i >= 0 && (i < s.first || i >= s.first+s.count) {
				t.Fatalf("element %d is not among [%d, %d)", i, s.first, s.first+s.count)
			}
		}
		if i < 1<<10 {
			tr.need(r, i, i+10, true)
		}
		if ordered {
			tr.find(r, node, func(b []byte) (int, error) { return bytes.Compare(b, node), nil })
		}
		last := way{at: -1, before: -1}
		var lastChild child
		for b := node; len(b) > 0; {
			c, size := kind.takeChild(b)
			if passed, count, low := kind.skipChild(b); size > 0 && (passed != size || count != c.count || !bytes.Equal(low, c.low)) {
				t.Fatalf("%x: a child of %d bytes and %d elements, passed by as %d, %d", b, size, c.count, passed, count)
			}
			if size == 0 {
				last.at = -1
				break
			}
			last.before, last.at, lastChild = last.at, len(node)-len(b), c
			b = b[size:]
		}
		if c, w := kind.lastChild(node, 1<<62); !ordered && last.at >= 0 && (c.node != lastChild.node || w.at != last.at || w.before != last.before) {
			t.Fatalf("%x: the last child is that at %d behind one at %d, not %d behind %d", node, last.at, last.before, w.at, w.before)
		}
		for b := node; len(b) > 0; {
			size := kind.elementSize(b)
			if size == 0 {
				break
			}
			if size > len(b) {
				t.Fatalf("an element of %d bytes in %d", size, len(b))
			}
			d, rest, ok := takeDatum(b[kind.prefix:], kind.name)
			if ok && len(b)-len(rest) != size {
				t.Fatalf("%x: %d bytes, the datum %v ends at %d", b, size, d, len(b)-len(rest))
			}
			b = b[size:]
		}
	})
}
