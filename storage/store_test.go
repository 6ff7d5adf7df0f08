package storage

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSetGetAcrossFlushAndReopen(t *testing.T) {
	dir := t.TempDir()
	l := &memLog{}
	s := openStore(t, dir, small(), l)
	if err := s.Wait(set(t, s, "k1", "v1")); err != nil {
		t.Fatal(err)
	}
	set(t, s, "k2", "v2")
	del(t, s, "k1")
	set(t, s, "!sys", "x")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"k1": "", "k2": "v2", "!sys": "x", "k3": ""} {
		if got := get(t, s, key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	set(t, s, "k3", "v3")
	if err := s.Close(true); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, dir, l)
	for key, want := range map[string]string{"k1": "", "k2": "v2", "!sys": "x", "k3": "v3"} {
		if got := get(t, s, key); got != want {
			t.Errorf("after reopening: %s = %q, want %q", key, got, want)
		}
	}
}

// reopen opens a store again whose directory is still locked by the test's cleanup.
func reopen(t testing.TB, old *Store, dir string, l *memLog) *Store {
	t.Helper()
	old.Close(false)
	d := &Dir{fs: OSFS{}, path: dir}
	if err := d.load(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(d, old.opts)
	if err != nil {
		t.Fatal(err)
	}
	l.store = s
	if err := s.Begin(l, 1, uint64(len(l.entries))); err != nil {
		t.Fatal(err)
	}
	l.applied = int(s.ReplayFrom()) - 1
	if err := l.commit(len(l.entries)); err != nil {
		t.Fatal(err)
	}
	s.Lead(l.term)
	t.Cleanup(func() { s.Close(false) })
	return s
}

func TestTxnSavepoints(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	for _, n := range []int{3, 30} { // searched one by one, and through buckets
		var tx Txn
		err := s.Update(&tx, step(func() error {
			for i := range n {
				tx.Put(fmt.Appendf(nil, "a%d", i), []byte("1"))
			}
			tx.Count(7, Tally{Keys: 1})
			sp := tx.Savepoint()
			for i := range n {
				tx.Put(fmt.Appendf(nil, "a%d", i), []byte("2"))
				tx.Delete(fmt.Appendf(nil, "b%d", i))
			}
			tx.Count(7, Tally{Keys: 10})
			if v, _ := tx.Get([]byte("a1")); string(v) != "2" {
				t.Errorf("n=%d: own write not seen: %q", n, v)
			}
			tx.Rollback(sp)
			if v, _ := tx.Get([]byte("a1")); string(v) != "1" {
				t.Errorf("n=%d: after rollback %q", n, v)
			}
			if got := tx.Tally(7).Keys; got != tx.Reader.Tally(7).Keys+1 {
				t.Errorf("n=%d: tally after rollback %d", n, got)
			}
			tx.Put([]byte("a0"), []byte("3"))
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, s, "a0") + get(t, s, "a1"); got != "31" {
			t.Errorf("n=%d: got %q", n, got)
		}
	}
}

func TestErrorLeavesNoTrace(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	var tx Txn
	boom := fmt.Errorf("boom")
	if err := s.Update(&tx, step(func() error { tx.Put([]byte("k"), []byte("v")); return boom })); err != boom {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		s.Update(&tx, step(func() error { tx.Put([]byte("k"), []byte("v")); panic("command") }))
	}()
	if got := get(t, s, "k"); got != "" {
		t.Errorf("k = %q", got)
	}
	set(t, s, "k", "v") // the lock was released
}

func TestLargeBatchInParts(t *testing.T) {
	dir := t.TempDir()
	l := &memLog{}
	o := small()
	o.FlushInterval = time.Hour // nothing but the test appends to the log
	s := openStore(t, dir, o, l)
	s.PauseFlush(true)
	var tx Txn
	value := bytes.Repeat([]byte("x"), 100)
	err := s.Update(&tx, step(func() error {
		for i := range 2000 {
			tx.Put(fmt.Appendf(nil, "k%04d", i), value)
		}
		tx.Count(1, Tally{Keys: 2000})
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(tx.Seen()); err != nil {
		t.Fatal(err)
	}
	s.PauseFlush(false)
	s.Close(false)
	if len(l.entries) < 10 {
		t.Fatalf("%d entries: not in parts", len(l.entries))
	}
	whole := slices.IndexFunc(l.entries, func(e memEntry) bool {
		h, _, _ := decodeEntry(e.data)
		return h.is(flagCommit)
	}) + 1
	for _, n := range []int{whole, whole - 1} { // without its last part a batch never happened
		l.entries = l.entries[:n]
		s = reopenAt(t, s, t.TempDir(), l)
		want := map[bool]string{true: string(value), false: ""}[n == whole]
		if get(t, s, "k0000") != want || get(t, s, "k1999") != want {
			t.Errorf("with %d of %d entries: k0000=%q", n, whole, get(t, s, "k0000"))
		}
		if got := tally(t, s, 1).Keys; got != map[bool]int64{true: 2000, false: 0}[n == whole] {
			t.Errorf("with %d of %d entries: tally %d", n, whole, got)
		}
	}
}

// reopenAt replays a log into an empty directory.
func reopenAt(t testing.TB, old *Store, dir string, l *memLog) *Store {
	old.Close(false)
	l.applied = 0
	return openStore(t, dir, old.opts, l)
}

func TestBatchTooLarge(t *testing.T) {
	o := small()
	o.BatchMaxBytes = 1000
	s := openStore(t, t.TempDir(), o, &memLog{})
	var tx Txn
	err := s.Update(&tx, step(func() error { tx.Put([]byte("k"), make([]byte, 2000)); return nil }))
	if err != ErrTooLarge || get(t, s, "k") != "" {
		t.Errorf("err %v, k=%q", err, get(t, s, "k"))
	}
	// What such a batch reads is not what it has written, so that it may meet anything: that means nothing.
	err = s.Update(&tx, step(func() error {
		tx.Put([]byte("k"), make([]byte, 2000))
		if value, err := tx.Get([]byte("k")); err != nil || value != nil {
			return err
		}
		return &CorruptError{Key: []byte("k"), Reason: "it is missing"}
	}))
	if err != ErrTooLarge {
		t.Errorf("a batch that reads what was left out: %v", err)
	}
}

// TestFit: what a node evaluates has to fit into the memory of a smaller one, and of itself.
func TestFit(t *testing.T) {
	o := small()
	o.MemoryBudget, o.GenerationRecords, o.FlushInterval = 1<<30, 1<<20, time.Hour
	s := openStore(t, t.TempDir(), o, &memLog{})
	var tx Txn
	put := func(bytes int64) error {
		return s.Update(&tx, step(func() error {
			for i := range bytes >> 14 {
				tx.Put(fmt.Append(nil, "k", i), make([]byte, 1<<14))
			}
			return nil
		}))
	}
	all, smallest := BudgetFor(o.MemoryBudget), BudgetFor(MinMemoryBudget)
	s.Fit(MinMemoryBudget)
	if b := s.Budget(); b.Generation != smallest.Generation || b.BatchMax != smallest.BatchMax || b.Recent != all.Recent {
		t.Errorf("beside a small node: %+v", b)
	}
	if err := put(smallest.BatchMax); err != ErrTooLarge {
		t.Errorf("a batch that a small node has no room for: %v", err)
	}
	before := s.gensClosed()
	must(t, put(smallest.Generation))
	if s.gensClosed() != before+1 {
		t.Error("a generation became larger than a small node's")
	}
	s.Fit(4 << 30)
	if b := s.Budget(); b != all {
		t.Errorf("beside a larger node: %+v", b)
	}
	must(t, put(smallest.BatchMax))
}

// TestModel runs random batches, reads, views, flushes, reloads and replays against a plain map.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		o := small()
		o.StraightBytes = int64(seed%2) * 4 << 10 // about half of all generations
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { testModel(t, o, rand.New(rand.NewPCG(seed, 1))) })
	}
}

type openView struct {
	v    *View
	then map[string]string
}

func testModel(t *testing.T, o Options, rng *rand.Rand) {
	dir := t.TempDir()
	l := &memLog{}
	s := openStore(t, dir, o, l)
	model := map[string]string{}
	var views []openView
	key := func() string { return metaKey(0, rng.IntN(300), fmt.Sprint(rng.IntN(3))) }
	for range 6000 {
		switch n := rng.IntN(100); {
		case n < 60:
			var tx Txn
			changes := map[string]string{}
			for range 1 + rng.IntN(4) {
				k := key()
				switch rng.IntN(6) {
				case 0, 1:
					changes[k] = ""
				case 2: // a change of what is there, which the log carries as a patch
					changes[k] = edited(rng, model[k])
				default:
					changes[k] = fmt.Sprint(rng.IntN(1000), string(make([]byte, rng.IntN(50))))
				}
			}
			err := s.Update(&tx, step(func() error {
				for k, v := range changes {
					if v == "" {
						tx.Delete([]byte(k))
					} else {
						tx.Put([]byte(k), []byte(v))
					}
				}
				return nil
			}))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range changes {
				if v == "" {
					delete(model, k)
				} else {
					model[k] = v
				}
			}
		case n < 90:
			k := key()
			if got := get(t, s, k); got != model[k] {
				t.Fatalf("%q = %q, want %q", k, got, model[k])
			}
		case n < 93 && len(views) < 5:
			v, err := s.View()
			if err != nil {
				t.Fatal(err)
			}
			views = append(views, openView{v, maps.Clone(model)})
		case n < 96 && len(views) > 0:
			i := rng.IntN(len(views))
			checkView(t, views[i], rng)
			if rng.IntN(2) == 0 {
				views[i].v.Close()
				views = slices.Delete(views, i, i+1)
			}
		case n == 96:
			must(t, s.Flush())
			if rng.IntN(4) == 0 && s.CompactsRanges() == "" {
				if rng.IntN(2) == 0 {
					must(t, s.Rotate(nil))
				}
				must(t, s.Barrier())
				patiently(t, func() error { _, err := s.MergeLevel0(nil); return err })
			}
		case n == 97 && rng.IntN(10) == 0:
			for _, v := range views {
				v.v.Close()
			}
			views = nil
			s.Close(rng.IntN(2) == 0)
			s = reopen(t, s, dir, l)
		case n == 98 && rng.IntN(10) == 0:
			for _, v := range views {
				v.v.Close()
			}
			views = nil
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
		case n == 99:
			s.DropCache()
		}
	}
	for _, v := range views {
		checkView(t, v, rng)
		v.v.Close()
	}
}

// checkView compares a view with the model as it was when the view was taken.
func checkView(t *testing.T, o openView, rng *rand.Rand) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(o.then))
	lower, upper := metaKey(0, 0, "")[:5], "m\x00\x00\x00\x01"
	it := o.v.Iterate([]byte(lower), []byte(upper))
	defer it.Close()
	n := rng.IntN(len(keys) + 1)
	from := lower
	if n < len(keys) {
		from = keys[n]
	}
	if n == len(keys) {
		n = 0
	}
	for ok := it.Seek([]byte(from)); ok; ok = it.Next() {
		if n >= len(keys) || string(it.Key()) != keys[n] || string(it.Value()) != o.then[keys[n]] {
			t.Fatalf("view at %d shows %q=%q, want key %d of %d", o.v.pos, it.Key(), it.Value(), n, len(keys))
		}
		n++
	}
	if it.Err() != nil || n != len(keys) {
		t.Fatalf("view shows %d of %d keys, err %v", n, len(keys), it.Err())
	}
	for range 5 {
		k := metaKey(0, rng.IntN(300), fmt.Sprint(rng.IntN(3)))
		if v, err := o.v.Get([]byte(k)); err != nil || string(v) != o.then[k] {
			t.Fatalf("view at %d: %q = %q, want %q (%v)", o.v.pos, k, v, o.then[k], err)
		}
	}
}

// TestTouch: a record that is touched is among the effects of its batch, and is not written; unless the batch has changed it before.
func TestTouch(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	a, b := metaKey(0, 0, "a"), metaKey(0, 0, "b")
	set(t, s, a, "is")
	var tx Txn
	must(t, s.Update(&tx, step(func() error {
		tx.Touch([]byte(a), []byte("is not"))
		tx.Put([]byte(b), []byte("changes"))
		tx.Touch([]byte(b), []byte("changes"))
		n := 0
		if tx.Effects(func([]byte) { n++ }); n != 3 {
			t.Errorf("%d effects", n)
		}
		return nil
	})))
	if get(t, s, a) != "is" || get(t, s, b) != "changes" {
		t.Errorf("a is %q, b is %q", get(t, s, a), get(t, s, b))
	}
	must(t, s.Flush())
	if get(t, s, a) != "is" || get(t, s, b) != "changes" {
		t.Errorf("in Badger a is %q, b is %q", get(t, s, a), get(t, s, b))
	}
}

// TestKeep: what batches of a known size need is not given up between them; what a single large one needed is.
func TestKeep(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	const records = 128
	value := make([]byte, s.budget.Buffer/64)
	write := func(tx *Txn) int {
		must(t, s.Update(tx, step(func() error {
			for i := range records {
				tx.Put([]byte(metaKey(0, 0, fmt.Sprint(i))), value)
			}
			return nil
		})))
		return cap(tx.buf)
	}
	var once, kept Txn
	if n := write(&once); n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
	kept.Keep(records * (len(value) + 100))
	before := &kept.buf[:1][0]
	if n := write(&kept); n < records*len(value) || before != &kept.buf[:1][0] {
		t.Errorf("%d bytes are kept, or others", n)
	}
}
