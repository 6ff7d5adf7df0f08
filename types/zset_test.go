package types

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
)

type scored struct {
	score  float64
	member string
}

func compareScored(a, b scored) int {
	return cmp.Or(cmp.Compare(a.score+0, b.score+0), cmp.Compare(a.member, b.member))
}

// league is a sorted set in a store, and what must be in it.
type league struct {
	*desk
	dice    *rand.Rand
	key     []byte
	want    []scored
	scores  map[string]float64
	longest int
}

func newLeague(t *testing.T, stream uint64, options Options) *league {
	g := &league{desk: newDesk(t, options), dice: newDice(t, stream), scores: map[string]float64{}, longest: 12}
	g.desk.options.Keys = &g.keys
	g.key = g.keys.AppendMeta(nil, 0, []byte("league"))
	return g
}

func (g *league) edit(changes int, change func(e ZSetEdit) error) {
	g.t.Helper()
	g.update(func(l *Ledger) error {
		r, err := l.Open(g.key, []byte("league"))
		if err != nil {
			return err
		}
		e, err := l.EditZSet(&r, changes)
		if err == nil {
			err = change(e)
		}
		if err == nil {
			err = e.Save()
		}
		return err
	})
}

// read runs within a round, or on a view.
func (g *league) read(f func(z *Ranking) error) {
	g.t.Helper()
	var z Ranking
	if g.dice.IntN(4) > 0 {
		g.update(func(l *Ledger) error {
			m, err := Lookup(l.txn, g.key, 1)
			if err == nil {
				err = z.Open(l.txn, &g.keys, g.key, &m)
			}
			if err == nil {
				err = f(&z)
			}
			return err
		})
		return
	}
	v, err := g.store.View()
	if err != nil {
		g.t.Fatal(err)
	}
	defer v.Close()
	record, err := v.Get(g.key)
	if err != nil {
		g.t.Fatal(err)
	}
	var m Meta
	if record != nil {
		m, err = DecodeMeta(g.key, record)
	}
	if err == nil {
		err = z.OpenView(v, &g.keys, g.key, &m)
	}
	if err == nil {
		err = f(&z)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *league) rank(s scored) (int, bool) {
	return slices.BinarySearchFunc(g.want, s, compareScored)
}

func (g *league) score() float64 {
	switch g.dice.IntN(12) {
	case 0:
		return math.Inf(1 - 2*g.dice.IntN(2))
	case 1:
		return math.Copysign(0, -1)
	case 2:
		return math.SmallestNonzeroFloat64 * float64(g.dice.IntN(5)-2)
	case 3:
		return g.dice.NormFloat64() * 1e300
	}
	return float64(g.dice.IntN(20) - 10)
}

func (g *league) member() string {
	if len(g.want) > 0 && g.dice.IntN(3) == 0 {
		return g.want[g.dice.IntN(len(g.want))].member
	}
	n := g.longest
	if g.dice.IntN(100) == 0 {
		n = 3000
	}
	return string(letters(g.dice, n))
}

func (g *league) put(entries ...scored) {
	g.t.Helper()
	var added []bool
	g.edit(len(entries), func(e ZSetEdit) error {
		added = added[:0]
		for _, s := range entries {
			is, err := e.Put([]byte(s.member), s.score)
			if err != nil {
				e.Foresee([]byte(s.member), s.score)
				return err
			}
			added = append(added, is)
		}
		return nil
	})
	for i, s := range entries {
		old, exists := g.scores[s.member]
		if exists == added[i] {
			g.t.Fatalf("%.40q: added %v", s.member, added[i])
		}
		if exists {
			at, _ := g.rank(scored{old, s.member})
			g.want = slices.Delete(g.want, at, at+1)
		}
		at, _ := g.rank(s)
		g.want = slices.Insert(g.want, at, s)
		g.scores[s.member] = s.score
	}
}

func (g *league) remove(members ...string) {
	g.t.Helper()
	g.edit(len(members), func(e ZSetEdit) error {
		gone := map[string]bool{}
		for _, member := range members {
			_, exists := g.scores[member]
			removed, err := e.Remove([]byte(member))
			if err != nil {
				return err
			}
			if removed != (exists && !gone[member]) {
				g.t.Fatalf("%.40q: removed %v", member, removed)
			}
			gone[member] = true
		}
		return nil
	})
	for _, member := range members {
		if score, exists := g.scores[member]; exists {
			at, _ := g.rank(scored{score, member})
			g.want = slices.Delete(g.want, at, at+1)
			delete(g.scores, member)
		}
	}
}

func (g *league) removeRange(i, j int) {
	g.t.Helper()
	g.edit(j-i, func(e ZSetEdit) error { return e.RemoveRange(int64(i), int64(j)) })
	for _, s := range g.want[i:j] {
		delete(g.scores, s.member)
	}
	g.want = slices.Delete(g.want, i, j)
}

// look asks for a member, its rank, and ranges around it.
func (g *league) look() {
	g.t.Helper()
	member := g.member()
	score, exists := g.scores[member]
	low, high := ScoreBound{g.score(), g.dice.IntN(2) == 0}, ScoreBound{g.score(), g.dice.IntN(2) == 0}
	reverse := g.dice.IntN(2) == 0
	g.read(func(z *Ranking) error {
		if z.Len() != int64(len(g.want)) {
			return fmt.Errorf("%d of %d members", z.Len(), len(g.want))
		}
		rank, found, ok, err := z.Rank([]byte(member))
		if err != nil {
			return err
		}
		if at, _ := g.rank(scored{score, member}); ok != exists || ok && (int(rank) != at || found != score) {
			return fmt.Errorf("%.40q: rank %d, score %v, %v; want %d, %v, %v", member, rank, found, ok, at, score, exists)
		}
		i, j, err := z.ScoreRange(low, high)
		if err != nil {
			return err
		}
		if from, to := g.scoreRange(low, high); int(j-i) != to-from || j > i && int(i) != from {
			return fmt.Errorf("[%d, %d) between %v and %v, want [%d, %d)", i, j, low, high, from, to)
		}
		if n := int64(len(g.want)); n > 0 {
			i = g.dice.Int64N(n)
			j = min(n, i+g.dice.Int64N(1<<g.dice.IntN(12)))
		}
		return g.compare(z, i, j, reverse)
	})
}

func (g *league) scoreRange(low, high ScoreBound) (from, to int) {
	from = sort.Search(len(g.want), func(i int) bool {
		return g.want[i].score > low.Score || !low.Exclusive && g.want[i].score == low.Score
	})
	to = sort.Search(len(g.want), func(i int) bool {
		return g.want[i].score > high.Score || high.Exclusive && g.want[i].score == high.Score
	})
	return from, max(from, to)
}

func (g *league) compare(z *Ranking, i, j int64, reverse bool) error {
	want := slices.Clone(g.want[i:j])
	if reverse {
		slices.Reverse(want)
	}
	var got []scored
	err := z.Range(i, j, reverse, func(el *Element) error {
		member, err := z.Name(el)
		got = append(got, scored{el.Score(), string(member)})
		return err
	})
	if err == nil && !slices.EqualFunc(got, want, func(a, b scored) bool { return compareScored(a, b) == 0 }) {
		err = fmt.Errorf("the members [%d, %d) differ: %d, want %d", i, j, len(got), len(want))
	}
	return err
}

// check compares everything, in both structures.
func (g *league) check() {
	g.t.Helper()
	g.read(func(z *Ranking) error {
		if err := g.compare(z, 0, int64(len(g.want)), false); err != nil {
			return err
		}
		n := 0
		err := z.Each(func(el *Element) error {
			member, err := z.Name(el)
			if score, exists := g.scores[string(member)]; err == nil && (!exists || math.Float64bits(score) != math.Float64bits(el.Score())) {
				err = fmt.Errorf("%.40q has the score %v, want %v %v", member, el.Score(), score, exists)
			}
			n++
			return err
		})
		if err == nil && n != len(g.want) {
			err = fmt.Errorf("the table has %d of %d members", n, len(g.want))
		}
		return err
	})
}

// TestZSetModel changes a sorted set at random and compares it with a sorted slice.
func TestZSetModel(t *testing.T) {
	for n, options := range []Options{{}, {PackedMaxEntries: 4, PackedMaxBytes: 64}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := newLeague(t, 31+uint64(n), options)
			for step := range 4000 {
				g.step(step)
				if step%200 == 199 {
					g.check()
				}
			}
			g.removeRange(0, len(g.want))
			g.check()
		})
	}
}

func (g *league) step(step int) {
	g.t.Helper()
	total := len(g.want)
	switch g.dice.IntN(300) {
	case 0:
		g.longest = []int{2, 12, 12, 80}[g.dice.IntN(4)]
	case 1, 2:
		g.store.DropCache()
	case 3:
		if total < 30_000 {
			g.grow(g.dice.IntN(6000))
		}
	case 4:
		g.removeRange(g.dice.IntN(total+1), total)
	case 5:
		g.removeRange(0, g.dice.IntN(total+1))
	}
	total = len(g.want)
	switch g.dice.IntN(8) {
	case 0, 1, 2:
		var entries []scored
		for range 1 + g.dice.IntN(1<<g.dice.IntN(6)) {
			entries = append(entries, scored{g.score(), g.member()})
		}
		g.put(entries...)
	case 3:
		var members []string
		for range 1 + g.dice.IntN(4) {
			members = append(members, g.member())
		}
		g.remove(members...)
	case 4:
		i := g.dice.IntN(total + 1)
		g.removeRange(i, min(total, i+g.dice.IntN(20)))
	case 5:
		g.removeRange(0, min(total, 1))
	default:
		g.look()
	}
}

func (g *league) grow(n int) {
	g.t.Helper()
	entries := make([]scored, 0, n)
	for range n {
		entries = append(entries, scored{float64(g.dice.IntN(1000)), fmt.Sprint("m", g.dice.IntN(40_000))})
	}
	seen := map[string]bool{}
	entries = slices.DeleteFunc(entries, func(s scored) bool {
		again := seen[s.member]
		seen[s.member] = true
		return again
	})
	g.put(entries...)
}

// TestZSetLex: with one score, the order is that of the members.
func TestZSetLex(t *testing.T) {
	for n, options := range []Options{{}, {PackedMaxEntries: 4}} {
		g := newLeague(t, 41+uint64(n), options)
		for range 100 {
			g.put(scored{7, string(letters(g.dice, 5))})
		}
		for range 500 {
			low := LexBound{Member: letters(g.dice, 5), Exclusive: g.dice.IntN(2) == 0, End: max(-1, g.dice.IntN(10)-8)}
			high := LexBound{Member: letters(g.dice, 5), Exclusive: g.dice.IntN(2) == 0, End: max(-1, g.dice.IntN(10)-8)}
			var want []string
			for _, s := range g.want {
				if m := []byte(s.member); !low.below(m) && !high.above(m) {
					want = append(want, s.member)
				}
			}
			reverse := g.dice.IntN(2) == 0
			g.read(func(z *Ranking) error {
				i, j, err := z.LexRange(low, high, reverse)
				if err != nil {
					return err
				}
				if int(j-i) != len(want) || j > i && g.want[i].member != want[0] {
					return fmt.Errorf("[%d, %d) between %v and %v, want %q", i, j, low, high, want)
				}
				return nil
			})
		}
	}
}

// TestZSetOfLikeMembers: long members that begin alike make long entries above the leaves, few of which fill a node.
func TestZSetOfLikeMembers(t *testing.T) {
	for _, order := range []int{1, 0, -1} {
		g := newLeague(t, 45, Options{})
		for n := range 400 {
			score := float64(n / 2 * order) // so that what divides two leaves is short and long by turns
			if order == 0 {
				score = float64(g.dice.IntN(20))
			}
			g.put(scored{score, strings.Repeat("x", 1000) + fmt.Sprintf("%03d", 500+n*order)})
		}
		for range 50 {
			g.look()
		}
		g.check()
		for len(g.want) > 0 {
			i := g.dice.IntN(len(g.want))
			g.removeRange(i, min(len(g.want), i+30))
		}
		g.check()
	}
}

// TestZSetOfAlikeMembers: those that have thousands of bytes in common share a leaf, until that is full.
func TestZSetOfAlikeMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and of one goroutine")
	}
	g := newLeague(t, 46, Options{})
	alike := strings.Repeat("x", 20_000)
	for n := range 200 {
		g.put(scored{1, alike + fmt.Sprint(n)}, scored{float64(n), fmt.Sprint(n, alike)})
	}
	g.check()
	refused := error(nil)
	for n := 200; n < 2000 && refused == nil; n++ {
		refused = g.try(func(l *Ledger) error {
			r, err := l.Open(g.key, []byte("league"))
			if err != nil {
				return err
			}
			e, err := l.EditZSet(&r, 1)
			if err == nil {
				_, err = e.Put([]byte(alike+fmt.Sprint(n)), 1)
			}
			if err == nil {
				err = e.Save()
			}
			return err
		})
	}
	if refused != ErrAlike {
		t.Errorf("refused: %v", refused)
	}
}

// TestZSetWrites: a new member costs a bucket, a leaf, a node of each level above it, and the meta record.
func TestZSetWrites(t *testing.T) {
	g := newLeague(t, 51, Options{})
	for range 5 {
		g.grow(6000)
	}
	written, added := 0, 2000
	for n := range added {
		g.put(scored{float64(g.dice.IntN(1000)), fmt.Sprint("another", n)})
		written += g.txn.Len()
	}
	t.Logf("%.2f records for each new member of %d", float64(written)/float64(added), len(g.want))
	if written > 6*added {
		t.Errorf("%d records were written for %d members", written, added)
	}
}

func TestOrderedScores(t *testing.T) {
	scores := []float64{math.Inf(-1), -math.MaxFloat64, -1.5, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, 1e300, math.MaxFloat64, math.Inf(1)}
	for i, f := range scores {
		s := orderScore(f)
		if s.float() != f || i > 0 && s <= orderScore(scores[i-1]) {
			t.Errorf("%v: %x, back %v", f, s, s.float())
		}
		if s < lowestScore || s > highestScore {
			t.Errorf("%v lies outside", f)
		}
	}
	if negative := orderScore(math.Copysign(0, -1)); negative.compared() != orderScore(0) || !math.Signbit(negative.float()) {
		t.Error("-0 is not 0, or not -0")
	}
}

// FuzzRanking reads sorted sets of arbitrary bytes: every answer but a panic will do.
func FuzzRanking(f *testing.F) {
	row := appendInline([]byte{0x80, 0, 0, 0, 0, 0, 0, 0}, []byte("a"))
	f.Add([]byte{0, 1}, row, false)
	root := zsetRows.appendChild(nil, &child{node: 1, count: 1, bytes: int64(len(row))})
	spread := append([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 5, byte(len(row)), 1, 1, byte(len(row)), 1, 2, 0}, root...)
	f.Add(spread, row, true)
	f.Fuzz(func(t *testing.T, payload, rows []byte, spread bool) {
		keys := New([16]byte{})
		m := Meta{Exists: true, Type: ZSet, Payload: payload}
		g := &records{values: map[string][]byte{}}
		if spread {
			m.Format = formatSpread
			for n := range uint64(20) {
				g.values[string(appendNode(nil, 5, n))] = append([]byte{0}, rows...)
				g.values[string(appendBucket(nil, 5, uint32(n<<28)))] = rows
			}
		} else {
			m.Payload = append(bytes.Clone(payload), rows...)
		}
		if !m.validCollection() {
			return
		}
		var z Ranking
		if z.Open(g, &keys, []byte("key"), &m) != nil {
			return
		}
		z.Rank([]byte("a"))
		z.ScoreRange(ScoreBound{Score: -1}, ScoreBound{Score: 1, Exclusive: true})
		z.LexRange(LexBound{Member: []byte("a")}, LexBound{End: 1}, false)
		z.LexRange(LexBound{End: -1}, LexBound{Member: []byte("b")}, true)
		for _, reverse := range []bool{false, true} {
			z.Range(0, min(z.Len(), 100), reverse, func(el *Element) error {
				_, err := z.Name(el)
				return err
			})
		}
		z.Range(1, min(z.Len(), 3), false, func(*Element) error { return nil })
		z.At(z.Len() - 1)
	})
}
