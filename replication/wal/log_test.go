package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sett/storage"
	"sett/storage/crashfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, o Options, known Known) *Log {
	t.Helper()
	l, err := Open(o, known)
	must(t, err)
	return l
}

func equal(a, b Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && bytes.Equal(a.Data, b.Data)
}

// read returns all entries of a log.
func read(t testing.TB, l *Log) []Entry {
	t.Helper()
	var all []Entry
	must(t, l.Scan(l.First(), func(e Entry) error {
		e.Data = bytes.Clone(e.Data)
		all = append(all, e)
		return nil
	}))
	return all
}

func entry(index uint64, n int) Entry {
	return Entry{Index: index, Term: 1, Data: bytes.Repeat([]byte{byte(index)}, n)}
}

func small(fs storage.FS) Options {
	return Options{FS: fs, Dir: "log", SegmentBytes: minSegmentBytes, Seed: [16]byte{4}, inline: true}
}

func TestEmptyLogGoesOnBehindTheTables(t *testing.T) {
	fs := crashfs.New()
	for i, known := range []Known{{Durable: 41}, {Durable: 41}, {Durable: 41, CleanEnd: 41}} {
		o := small(fs)
		if i == 0 {
			if _, err := Open(o, known); !errors.As(err, new(*DamageError)) {
				t.Fatalf("a log that is gone was opened: %v", err)
			}
			o.Begin = true
		}
		l := mustOpen(t, o, known)
		if l.First() != 42 || l.Last() != 41 || l.Synced() != 41 {
			t.Fatalf("first %d, last %d, synced %d", l.First(), l.Last(), l.Synced())
		}
		must(t, l.Close())
	}
	l := mustOpen(t, small(fs), Known{Durable: 41, CleanEnd: 0})
	if err := l.Append(entry(41, 1)); err == nil {
		t.Fatal("a wrong index was taken")
	}
	must(t, l.Append(entry(42, 1), entry(43, 1)))
	if err := l.Append(entry(44, 1), entry(46, 1)); err == nil {
		t.Fatal("a gap was taken")
	}
	must(t, l.Close())
	if err := l.Append(entry(44, 1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if _, err := l.Read(42); !errors.Is(err, ErrClosed) {
		t.Fatalf("read after close: %v", err)
	}
	// Without entries, but for a log that had some: those are lost.
	if _, err := Open(small(crashfs.New()), Known{Durable: 3, CleanEnd: 4}); !errors.As(err, new(*DamageError)) {
		t.Fatalf("open: %v", err)
	}
	f, err := fs.Open(small(fs).path(1))
	must(t, err)
	_, err = f.WriteAt(make([]byte, minSegmentBytes-headerBytes), headerBytes)
	must(t, err)
	if _, err := Open(small(fs), Known{Durable: 43, CleanEnd: 0}); !errors.As(err, new(*DamageError)) {
		t.Fatalf("open: %v", err)
	}
}

// The end of the log at the very end of a segment, a first entry that is larger than the segment, one that just fits and one that just does not.
func TestSegmentEnds(t *testing.T) {
	room := minSegmentBytes - headerBytes
	for _, sizes := range [][]int{
		{room - recordBytes},
		{room - recordBytes, 1},
		{room - recordBytes - 1, 0, room - recordBytes, room - recordBytes + 1},
		{room - recordBytes + 1},
		{room - recordBytes + 1, room},
		{10 * room, 1, 10 * room, room - recordBytes, 10 * room},
		{1, copyBytes, copyBytes + 1, copyBytes + 9, 3},
		{0, room - 2*recordBytes, 0},
	} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			fs := crashfs.New()
			o := small(fs)
			l := mustOpen(t, o, Known{})
			var want []Entry
			for i, n := range sizes {
				want = append(want, entry(uint64(i+1), n))
			}
			must(t, l.Append(want[0]))
			must(t, l.Append(want[1:]...))
			must(t, l.Sync())
			for range 3 {
				l.die(ErrClosed)
				fs = fs.Cut(rand.New(rand.NewPCG(1, 1)))
				o.FS = fs
				l = mustOpen(t, o, Known{})
				got := read(t, l)
				if len(got) != len(want) {
					t.Fatalf("%d entries instead of %d", len(got), len(want))
				}
				for i := range got {
					if !equal(got[i], want[i]) {
						t.Fatalf("entry %d is wrong", i+1)
					}
				}
				want = append(want, entry(uint64(len(want)+1), 7))
				must(t, l.Append(want[len(want)-1]))
				must(t, l.Sync())
			}
			must(t, l.Close())
		})
	}
}

// Whatever a process does to the directory, it may be killed, and its successor be cut: nothing synced by either may be lost.
func TestKillAndCutAtEveryOperation(t *testing.T) {
	for n := 0; ; n++ {
		fs := crashfs.New()
		o := small(fs)
		fs.CutAfter(n)
		synced, durable, err := work(o, Known{}, 12)
		if err == nil {
			if n < 50 {
				t.Fatalf("only %d operations", n)
			}
			return
		}
		if !errors.Is(err, crashfs.ErrOff) {
			t.Fatalf("%d: %v", n, err)
		}
		fs = fs.Kill()
		for seed := range uint64(8) {
			next := fs.Kill()
			fs = fs.Kill()
			o.FS = next
			more, durable, err := work(o, Known{Durable: durable}, int(seed)%4+1)
			if err != nil || more < synced {
				t.Fatalf("%d: after the kill: %d synced, then %d: %v", n, synced, more, err)
			}
			o.FS = next.Cut(rand.New(rand.NewPCG(seed, uint64(n))))
			l, err := Open(o, Known{Durable: durable})
			if err != nil || l.Last() < more {
				t.Fatalf("%d: after the cut: %d synced: %v", n, more, err)
			}
			read(t, l)
			must(t, l.Close())
		}
	}
}

// work appends, syncs and trims, and says how far it came.
func work(o Options, known Known, rounds int) (synced, durable uint64, err error) {
	durable = known.Durable
	l, err := Open(o, known)
	if err != nil {
		return 0, durable, err
	}
	synced = l.Synced()
	for range rounds {
		for range 3 {
			if err := l.Append(entry(l.Last()+1, 900)); err != nil {
				return synced, durable, err
			}
		}
		if err := l.Sync(); err != nil {
			return synced, durable, err
		}
		synced = l.Synced()
		durable = max(durable, synced-min(synced, 4))
		if err := l.TrimPrefix(durable); err != nil {
			return synced, durable, err
		}
	}
	return synced, durable, nil
}

// gate is a file system whose fdatasyncs wait.
type gate struct {
	storage.FS
	on      atomic.Bool
	started chan struct{}
	goOn    chan struct{}
}

type gatedFile struct {
	storage.File
	g *gate
}

func (g *gate) Open(path string) (storage.File, error) {
	f, err := g.FS.Open(path)
	return gatedFile{f, g}, err
}

func (g *gate) Create(path string) (storage.File, error) {
	f, err := g.FS.Create(path)
	return gatedFile{f, g}, err
}

func (f gatedFile) Sync() error {
	if f.g.on.Load() {
		f.g.started <- struct{}{}
		<-f.g.goOn
	}
	return f.File.Sync()
}

// A sync that began before an append says nothing about it; those who come while one runs share the next.
func TestSyncsCoalesce(t *testing.T) {
	g := &gate{FS: crashfs.New(), started: make(chan struct{}), goOn: make(chan struct{})}
	l := mustOpen(t, small(g), Known{})
	g.on.Store(true)
	must(t, l.Append(entry(1, 1)))
	first := make(chan error)
	go func() { first <- l.Sync() }()
	<-g.started
	must(t, l.Append(entry(2, 1)))
	var late sync.WaitGroup
	for i := range 10 {
		late.Add(1)
		go func() {
			defer late.Done()
			err := l.Sync()
			if i%2 == 0 {
				err = l.SyncTo(2)
			}
			if err != nil || l.Synced() != 2 {
				t.Errorf("late sync: %v, synced %d", err, l.Synced())
			}
		}()
	}
	g.goOn <- struct{}{}
	must(t, <-first)
	<-g.started // of the second
	if l.Synced() != 1 {
		t.Errorf("synced is %d while the second sync runs", l.Synced())
	}
	must(t, l.SyncTo(1))
	g.goOn <- struct{}{}
	late.Wait()
	g.on.Store(false)
	if n := l.Metrics().Fsyncs; n != 2 {
		t.Errorf("%d fsyncs", n)
	}
	if err := l.SyncTo(3); !errors.Is(err, ErrNoEntry) {
		t.Errorf("sync of an entry to come: %v", err)
	}
	must(t, l.Close())
}

func TestFsyncErrorIsRemembered(t *testing.T) {
	fs := crashfs.New()
	l := mustOpen(t, small(fs), Known{})
	must(t, l.Append(entry(1, 1)))
	must(t, l.Sync())
	must(t, l.Append(entry(2, 1)))
	boom := errors.New("boom")
	fs.Fault(func(op, _ string) error {
		if op == "sync" {
			return boom
		}
		return nil
	})
	if err := l.Sync(); !errors.Is(err, boom) {
		t.Fatalf("sync: %v", err)
	}
	fs.Fault(nil)
	for name, err := range map[string]error{
		"sync": l.Sync(), "sync to": l.SyncTo(1), "append": l.Append(entry(3, 1)), "trim": l.TrimPrefix(1), "trim suffix": l.TrimSuffix(2),
		"err": l.Err(), "close": l.Close(),
	} {
		if !errors.Is(err, boom) {
			t.Errorf("%s after it: %v", name, err)
		}
	}
	if l.Synced() != 1 {
		t.Errorf("synced is %d", l.Synced())
	}
}

// A full disk refuses entries, each time anew, leaves the log as it is, and is forgotten when there is space again.
func TestDiskFull(t *testing.T) {
	for _, inline := range []bool{true, false} {
		fs := crashfs.New()
		o := small(fs)
		o.inline = inline
		l := mustOpen(t, o, Known{})
		full := errors.New("no space left")
		fs.Fault(func(op, path string) error {
			if op == "write" && strings.HasSuffix(path, tempName) {
				return full
			}
			return nil
		})
		var err error
		for err == nil {
			err = l.Append(entry(l.Last()+1, 500), entry(l.Last()+2, 500), entry(l.Last()+3, 500))
		}
		last := l.Last()
		for range 3 {
			if err := l.Append(entry(last+1, 5000)); !errors.Is(err, full) || l.Err() != nil {
				t.Fatalf("append to a full disk: %v, %v", err, l.Err())
			}
		}
		if names, err := fs.ReadDir("log"); err != nil || names[len(names)-1] == tempName {
			t.Fatalf("left behind: %q, %v", names, err)
		}
		if err := l.Reserve(); !errors.Is(err, full) {
			t.Fatalf("room on a full disk: %v", err)
		}
		must(t, l.Append(entry(last+1, 3)))
		fs.Fault(nil)
		must(t, l.Reserve())
		must(t, l.Append(entry(last+2, 5000)))
		must(t, l.Close())
		l = mustOpen(t, o, Known{Durable: 0, CleanEnd: last + 2})
		if got := read(t, l); len(got) != int(last)+2 {
			t.Fatalf("%d entries instead of %d", len(got), last+2)
		}
		must(t, l.Close())
	}
}

// A full segment is recycled, or removed when there are enough.
func TestTrimPrefix(t *testing.T) {
	fs := crashfs.New()
	l := mustOpen(t, small(fs), Known{})
	for range 40 {
		must(t, l.Append(entry(l.Last()+1, 1000)))
	}
	must(t, l.TrimPrefix(40))
	if l.First() != 1 {
		t.Fatalf("first is %d, nothing was synced", l.First())
	}
	must(t, l.Sync())
	must(t, l.TrimPrefix(20))
	if l.First() > 21 || l.First() < 17 {
		t.Fatalf("first is %d", l.First())
	}
	if _, err := l.Read(l.First() - 1); !errors.Is(err, ErrNoEntry) {
		t.Fatalf("read of a trimmed entry: %v", err)
	}
	must(t, l.TrimPrefix(40))
	if l.First() > 40 || len(l.segs) != 1 || len(l.prepared) != maxPrepared {
		t.Fatalf("first %d, %d segments, %d prepared", l.First(), len(l.segs), len(l.prepared))
	}
	if m := l.Metrics(); m.Recycled == 0 || m.Entries != 40 || m.Bytes < 40*1000 {
		t.Fatalf("%+v", m)
	}
	// Scan ends when what it would read is trimmed away.
	for range 300 {
		must(t, l.Append(entry(l.Last()+1, 3000)))
	}
	must(t, l.Sync())
	err := l.Scan(l.First(), func(e Entry) error { return l.TrimPrefix(l.Last() - 5) })
	if !errors.Is(err, ErrNoEntry) {
		t.Fatalf("scan over trimmed entries: %v", err)
	}
	must(t, l.Close())
}

// Many goroutines on one log, and the power goes at some moment.
func TestConcurrent(t *testing.T) {
	for seed := range uint64(8) {
		fs := crashfs.New()
		fs.Writeback(seed)
		o := small(fs)
		o.inline, o.SegmentBytes = false, 16<<10
		l := mustOpen(t, o, Known{})
		fs.CutAfter(400 + int(seed)*300)
		acked, durable := concurrently(t, l)
		l.die(ErrClosed)
		l.preparer.Wait()
		o.FS = fs.Cut(rand.New(rand.NewPCG(seed, 3)))
		l, err := Open(o, Known{Durable: durable})
		must(t, err)
		if l.Last() < acked || l.First() > durable+1 {
			t.Fatalf("seed %d: the log has %d to %d; synced up to %d, durable up to %d", seed, l.First(), l.Last(), acked, durable)
		}
		for _, e := range read(t, l) {
			if !equal(e, entry(e.Index, int(e.Index*37%700))) {
				t.Fatalf("seed %d: entry %d is wrong", seed, e.Index)
			}
		}
		must(t, l.Close())
	}
}

// concurrently works on the log until the power goes, and returns what was promised to be durable.
func concurrently(t *testing.T, l *Log) (acked, durable uint64) {
	var ackedTo, durableTo atomic.Uint64
	raise := func(to *atomic.Uint64, index uint64) {
		for old := to.Load(); old < index && !to.CompareAndSwap(old, index); old = to.Load() {
		}
	}
	var all sync.WaitGroup
	var off atomic.Bool // somebody has met it
	run := func(f func(r *rand.Rand) error) {
		all.Add(1)
		go func() {
			defer all.Done()
			r := rand.New(rand.NewPCG(5, 5))
			defer off.Store(true)
			for !off.Load() {
				if err := f(r); err != nil {
					if !errors.Is(err, crashfs.ErrOff) {
						t.Errorf("%v", err)
					}
					return
				}
			}
		}()
	}
	run(func(r *rand.Rand) error {
		var entries []Entry
		for i := range r.Uint64N(5) {
			index := l.Last() + 1 + i
			entries = append(entries, entry(index, int(index*37%700)))
		}
		return l.Append(entries...)
	})
	for range 3 {
		run(func(r *rand.Rand) error {
			index := l.Last()
			if r.IntN(2) == 0 {
				index -= r.Uint64N(min(index, 5) + 1)
			}
			err := l.SyncTo(index)
			if err == nil {
				if l.Synced() < index {
					t.Errorf("synced is %d after a sync to %d", l.Synced(), index)
				}
				raise(&ackedTo, index)
			}
			return err
		})
	}
	run(func(r *rand.Rand) error {
		index := ackedTo.Load()
		raise(&durableTo, index-index/8)
		return l.TrimPrefix(index - index/8)
	})
	run(func(r *rand.Rand) error {
		first, last := l.First(), l.Last()
		if first > last {
			return nil
		}
		e, err := l.Read(first + r.Uint64N(last-first+1))
		if errors.Is(err, ErrNoEntry) {
			return nil
		}
		if err == nil && !equal(e, entry(e.Index, int(e.Index*37%700))) {
			t.Errorf("entry %d is wrong", e.Index)
		}
		return err
	})
	run(func(r *rand.Rand) error {
		err := l.Scan(l.First(), func(e Entry) error {
			if !equal(e, entry(e.Index, int(e.Index*37%700))) {
				t.Errorf("entry %d is wrong", e.Index)
			}
			return nil
		})
		if errors.Is(err, ErrNoEntry) {
			return nil
		}
		return err
	})
	all.Wait()
	return ackedTo.Load(), durableTo.Load()
}

// On the real file system, with segments that are written with zeros and such that are only allocated.
func TestOS(t *testing.T) {
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprint("allocated only: ", only), func(t *testing.T) { testOS(t, only) })
	}
}

func testOS(t *testing.T, allocateOnly bool) {
	o := Options{FS: storage.OSFS{}, Dir: t.TempDir() + "/log", SegmentBytes: 4 << 20, Seed: [16]byte{1}}
	l := mustOpen(t, o, Known{})
	l.AllocateOnly(allocateOnly)
	for i := range uint64(300) {
		must(t, l.Append(entry(i+1, 50_000)))
		if i%50 == 0 {
			must(t, l.Sync())
			must(t, l.TrimPrefix(i/2))
		}
	}
	must(t, l.Close())
	l = mustOpen(t, o, Known{Durable: 140, CleanEnd: 300})
	for i := l.First(); i <= 300; i++ {
		e, err := l.Read(i)
		must(t, err)
		if !equal(e, entry(i, 50_000)) {
			t.Fatalf("entry %d is wrong", i)
		}
	}
	must(t, l.Close())
	found, err := Check(o, Known{Durable: 140, CleanEnd: 300})
	must(t, err)
	if len(found) > 0 {
		t.Fatalf("%+v", found)
	}
}

func BenchmarkAppend(b *testing.B)     { benchmark(b, false) }
func BenchmarkAppendSync(b *testing.B) { benchmark(b, true) }

// benchmark appends entries of 100 bytes to real files. Old segments are trimmed, so that most are recycled ones.
func benchmark(b *testing.B, sync bool) {
	l := mustOpen(b, Options{FS: storage.OSFS{}, Dir: b.TempDir() + "/log"}, Known{})
	e := entry(1, 100)
	b.SetBytes(100)
	for i := 0; b.Loop(); i++ {
		e.Index = l.Last() + 1
		must(b, l.Append(e))
		if sync {
			must(b, l.Sync())
		}
		if i%500_000 == 499_999 {
			must(b, l.Sync())
			must(b, l.TrimPrefix(e.Index))
		}
	}
	if m := l.Metrics(); m.Fsyncs > 0 {
		b.ReportMetric(float64(m.FsyncSum.Microseconds())/float64(m.Fsyncs), "us/fsync")
	}
	must(b, l.Close())
}

// How many bytes lie behind an entry is known to a point's distance, across segments and after a trim.
func TestBytesBehind(t *testing.T) {
	o := small(crashfs.New())
	o.SegmentBytes = 256 << 10
	l := mustOpen(t, o, Known{})
	const n, size = 400, 4000
	for i := range uint64(n) {
		must(t, l.Append(entry(i+1, size)))
	}
	if got := l.BytesBehind(n); got != 0 {
		t.Errorf("behind the last entry: %d", got)
	}
	for _, index := range []uint64{0, 1, 63, 200, 399} {
		want := int64(n-index) * space(size)
		if got := l.BytesBehind(index); got < want || got > want+pointBytes+n/60*(headerBytes+size) {
			t.Errorf("behind entry %d: %d bytes, there are %d", index, got, want)
		}
	}
	must(t, l.Sync())
	must(t, l.TrimPrefix(200))
	if got, all := l.BytesBehind(7), l.BytesBehind(l.First()-1); got < all || got > all+headerBytes || all < 200*size {
		t.Errorf("behind an entry that is gone: %d, behind the first: %d", got, all)
	}
	must(t, l.Close())
}

// An entry that is appended between a reader's question for the last one and its search is read like any other.
func TestReadSomeMeetsAppend(t *testing.T) {
	l := mustOpen(t, small(crashfs.New()), Known{})
	defer l.Close()
	for i := uint64(1); i <= 3; i++ {
		must(t, l.Append(entry(i, 10)))
	}
	found, err := l.readSome(3, 2, 1<<10, nil)
	if err != nil || len(found) != 1 || !equal(found[0], entry(3, 10)) {
		t.Fatal(found, err)
	}
}

// writesFS notes where writes to segments begin and end.
type writesFS struct {
	storage.FS
	noted *[][2]int64
}

type writesFile struct {
	storage.File
	noted *[][2]int64
}

func (fs writesFS) Create(name string) (storage.File, error) {
	f, err := fs.FS.Create(name)
	return writesFile{f, fs.noted}, err
}

func (f writesFile) WriteAt(b []byte, offset int64) (int, error) {
	*f.noted = append(*f.noted, [2]int64{offset, offset + int64(len(b))})
	return f.File.WriteAt(b, offset)
}

// TestPagesAreFirstWrittenWhole: no append has the kernel read what a page of an earlier use holds.
func TestPagesAreFirstWrittenWhole(t *testing.T) {
	var noted [][2]int64
	l := mustOpen(t, small(writesFS{crashfs.New(), &noted}), Known{})
	var at *segment
	reached := int64(0) // of at's pages
	for i := range 300 {
		noted = noted[:0]
		next := l.Last() + 1
		must(t, l.Append(entry(next, 30+i*7%900), entry(next+1, 10)))
		if s := l.segs[len(l.segs)-1]; s != at {
			at, reached = s, pageBytes // its header has been written
		}
		w := noted[len(noted)-1]
		if w[1] > reached && w[1]%pageBytes != 0 {
			t.Fatalf("append %d writes %d…%d, what lies before %d is in memory", i, w[0], w[1], reached)
		}
		reached = max(reached, w[1])
		if i%50 == 0 {
			must(t, l.Sync())
			must(t, l.TrimPrefix(l.Last()))
		}
	}
	if m := l.Metrics(); m.Recycled == 0 || m.Bytes > 300*(2*recordBytes+30+900+10+16) {
		t.Errorf("%+v", m)
	}
	must(t, l.Close())
}
