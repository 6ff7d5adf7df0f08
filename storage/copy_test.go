package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// records is everything that a picture shows.
func records(t testing.TB, p *Picture) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, r := range []Range{replicated, localRange} {
		must(t, p.Walk(r, func(key, value []byte) error {
			if string(key) != fillerKey {
				all[string(key)] = string(value)
			}
			return nil
		}))
	}
	return all
}

// writeSome evaluates random batches: records of all kinds, large and small, written anew and deleted.
func writeSome(t testing.TB, s *Store, rng *rand.Rand, batches int) {
	for range batches {
		var tx Txn
		err := s.Update(&tx, step(func() error {
			for range 1 + rng.IntN(5) {
				id := rng.IntN(300)
				switch rng.IntN(6) {
				case 0:
					tx.Put(fmt.Appendf(nil, "b%08d%04d", id/10, id%10), bytes.Repeat([]byte{byte(id)}, 40_000+rng.IntN(20_000)))
				case 1:
					tx.Delete([]byte(metaKey(0, id, fmt.Sprint("k", id))))
				case 2:
					tx.Put(fmt.Appendf(nil, "s%08d%d", id/50, id), fmt.Appendf(nil, "%d", rng.Uint64()))
				case 3:
					tx.Put(fmt.Appendf(nil, "d\x00%08d", id), []byte{1})
				default:
					tx.Put([]byte(metaKey(0, id, fmt.Sprint("k", id))), bytes.Repeat([]byte("v"), 1+rng.IntN(3000)))
				}
			}
			tx.Count(uint32(rng.IntN(2)), Tally{Keys: 1})
			return nil
		}))
		must(t, err)
	}
}

// export makes a copy of a store's newest flush point.
func export(t testing.TB, s *Store) (copied []byte, want map[string]string, at Point) {
	t.Helper()
	p := s.Picture()
	defer p.Close()
	var b bytes.Buffer
	must(t, p.Export(context.Background(), &b))
	return b.Bytes(), records(t, p), p.Point()
}

// load switches a store to a copy.
func load(t testing.TB, s *Store, copied io.Reader) {
	t.Helper()
	i, err := s.NewImport()
	must(t, err)
	defer i.Discard()
	must(t, i.Load(copied))
	must(t, i.SetMarker("a marker", 0))
	must(t, s.Replace(i))
}

// A copy that is made while the store is written to is what there was at its entry. A store that takes it over has that and nothing else, goes on with
// the entries behind it, and is found so by its next start.
func TestCopy(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	from, log := &memLog{}, &memLog{}
	leader := openStore(t, t.TempDir(), small(), from)
	dir := t.TempDir()
	follower := openStore(t, dir, small(), log)
	for round := range 4 {
		writeSome(t, leader, rng, 200)
		must(t, leader.Flush())
		for i := range 50 * (1 - min(round, 1)) { // later it only follows
			set(t, follower, fmt.Sprint("only here ", i), "and gone soon")
		}
		p := leader.Picture()
		want, at := records(t, p), p.Point()
		var writes sync.WaitGroup
		writes.Go(func() { writeSome(t, leader, rng, 300) })
		r, w := io.Pipe()
		go func() { w.CloseWithError(p.Export(context.Background(), w)) }()
		load(t, follower, r)
		writes.Wait()
		if now := records(t, p); !maps.Equal(now, want) {
			t.Fatalf("seed %d: the picture of entry %d has changed", seed, at.Index)
		}
		p.Close()

		mine := follower.Picture()
		if got := records(t, mine); mine.Point() != at || !maps.Equal(got, want) {
			t.Fatalf("seed %d round %d: %v has %d records, the copy of %v %d", seed, round, mine.Point(), len(got), at, len(want))
		}
		mine.Close()
		leader.mu.RLock()
		written := leader.pos
		leader.mu.RUnlock()
		must(t, leader.Wait(written)) // the flusher may be closing a generation
		from.mu.Lock()
		entries := slices.Clone(from.entries)
		from.mu.Unlock()
		log.mu.Lock()
		log.entries, log.applied = entries, int(at.Index)
		log.mu.Unlock()
		must(t, log.commit(1<<20))
		same(t, leader, follower, fmt.Sprint("seed ", seed, " round ", round))
		if round == 2 {
			must(t, follower.Close(false))
			follower.data.Close()
			follower = openStore(t, dir, small(), log)
			same(t, leader, follower, fmt.Sprint("seed ", seed, " after a start"))
		}
	}
	var marker string
	if ok, err := follower.Marker(&marker); err != nil || !ok || marker != "a marker" {
		t.Errorf("marker %q: %v", marker, err)
	}
	follower.leftovers.Wait()
	if names := badgerDirs(t, dir); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
}

// same compares what two stores answer.
func same(t testing.TB, a, b *Store, when string) {
	t.Helper()
	keys := make(map[string]bool)
	for _, s := range []*Store{a, b} {
		p := s.Picture()
		for key := range records(t, p) {
			keys[key] = true
		}
		p.Close()
		s.mu.RLock()
		for _, g := range s.gens {
			for _, e := range g.all() {
				keys[string(entryKey(g.pieces().at(e)))] = true
			}
		}
		s.mu.RUnlock()
	}
	for key := range keys {
		if x, y := get(t, a, key), get(t, b, key); x != y && key != appliedKey && !strings.HasPrefix(key, tallyPrefix) {
			t.Fatalf("%s: %q is %d bytes here and %d there", when, key, len(x), len(y))
		}
	}
	for keyspace := range uint32(2) {
		if x, y := tally(t, a, keyspace), tally(t, b, keyspace); x != y {
			t.Fatalf("%s: counters of keyspace %d: %v and %v", when, keyspace, x, y)
		}
	}
}

func badgerDirs(t testing.TB, dir string) []string {
	names, err := filepath.Glob(filepath.Join(dir, badgerPrefix+"*"))
	must(t, err)
	return names
}

// What is noted to be dead while a copy is made goes along: what owned it may be gone before the copy comes to it.
func TestCopyTakesNotes(t *testing.T) {
	leader := openStore(t, t.TempDir(), small(), &memLog{})
	set(t, leader, "k", "v")
	must(t, leader.Flush())
	note := func(key string) {
		t.Helper()
		_, err := leader.Note([][]byte{[]byte(key)}, []byte{1}, true, nil)
		must(t, err)
	}
	remove := func(key string) {
		t.Helper()
		_, err := leader.Remove([][]byte{[]byte(key)}, true, nil)
		must(t, err)
	}
	note("~d before, and removed before")
	note("~d before")
	note("~d before, and removed meanwhile")
	remove("~d before, and removed before")
	must(t, leader.Rotate(nil))
	p := leader.Picture()
	defer p.Close()
	remove("~d before, and removed meanwhile")
	note("~d meanwhile")
	note("~d meanwhile, and removed")
	remove("~d meanwhile, and removed")
	must(t, leader.Barrier())
	must(t, leader.Compact())
	var b bytes.Buffer
	must(t, p.Export(context.Background(), &b))
	follower := openStore(t, t.TempDir(), small(), &memLog{})
	load(t, follower, &b)
	mine := follower.Picture()
	defer mine.Close()
	var notes []string
	for key := range records(t, mine) {
		if key[0] == localPrefix {
			notes = append(notes, key)
		}
	}
	slices.Sort(notes)
	if want := []string{"~d before", "~d before, and removed meanwhile", "~d meanwhile", "~d meanwhile, and removed"}; !slices.Equal(notes, want) {
		t.Errorf("%q went along, want %q", notes, want)
	}
}

// writing writes to a store whenever a copy of it is written.
type writing struct {
	t *testing.T
	s *Store
}

func (w writing) Write(p []byte) (int, error) {
	set(w.t, w.s, "k", "again")
	return len(p), nil
}

// While others write, a copy is read no faster than CopyRate says.
func TestCopyRate(t *testing.T) {
	o := small()
	o.CopyRate = 4 << 20
	s := openStore(t, t.TempDir(), o, &memLog{})
	for i := range 60 {
		set(t, s, metaKey(0, i, fmt.Sprint("k", i)), strings.Repeat("v", 30_000))
	}
	must(t, s.Flush())
	p := s.Picture()
	defer p.Close()
	began := time.Now()
	must(t, p.Export(context.Background(), writing{t, s}))
	if took := time.Since(began); took < 1_800_000*time.Second/(4<<20) {
		t.Errorf("1.8 MB took %v", took)
	}
}

// A copy that was cut off, or damaged anywhere, is refused, and nothing is changed; the next one is loaded.
func TestCopyDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	leader := openStore(t, t.TempDir(), small(), &memLog{})
	writeSome(t, leader, rng, 60)
	must(t, leader.Flush())
	copied, want, _ := export(t, leader)
	dir := t.TempDir()
	follower := openStore(t, dir, small(), &memLog{})
	set(t, follower, "k", "v")
	refuses := func(what string, copied []byte) {
		t.Helper()
		i, err := follower.NewImport()
		must(t, err)
		if err := i.Load(bytes.NewReader(copied)); err == nil {
			t.Errorf("a copy is accepted: %s", what)
		}
		i.Discard()
		if names := badgerDirs(t, dir); get(t, follower, "k") != "v" || len(names) != 1 {
			t.Fatalf("%s: %q; there are %q", what, get(t, follower, "k"), names)
		}
	}
	for range 12 {
		n := rng.IntN(len(copied))
		refuses(fmt.Sprintf("%d of %d bytes", n, len(copied)), copied[:n])
		bad := bytes.Clone(copied)
		bad[n] ^= 1 << rng.IntN(8)
		refuses(fmt.Sprintf("byte %d of %d is wrong", n, len(copied)), bad)
	}
	refuses("all but the last byte", copied[:len(copied)-1])
	for what, bad := range forged(t, copied) {
		refuses(what, bad)
	}
	load(t, follower, bytes.NewReader(copied))
	p := follower.Picture()
	defer p.Close()
	if !maps.Equal(records(t, p), want) {
		t.Error("the whole copy is not what was loaded")
	}
}

// forged are copies in which each part has the right checksum.
func forged(t *testing.T, copied []byte) map[string][]byte {
	var chunks [][]byte
	rest := copied[copyHeadBytes:]
	for rest[0] == copyChunk {
		n := copyChunkBytes + int(uint32(rest[9])<<24|uint32(rest[10])<<16|uint32(rest[11])<<8|uint32(rest[12]))
		chunks, rest = append(chunks, rest[:n]), rest[n:]
	}
	if len(chunks) < 3 {
		t.Fatalf("%d chunks", len(chunks))
	}
	join := func(head []byte, parts ...[]byte) []byte { return append(bytes.Clone(head), bytes.Join(parts, nil)...) }
	all := bytes.Join(chunks, nil)
	m := &importer{r: bytes.NewReader(copied)}
	must(t, m.head())
	other := m.at
	other.Index++
	return map[string][]byte{
		"a chunk is missing":        join(copied[:copyHeadBytes], bytes.Join(chunks[1:], nil), rest),
		"a chunk came twice":        join(copied[:copyHeadBytes], chunks[0], all, rest),
		"two chunks are exchanged":  join(copied[:copyHeadBytes], chunks[1], chunks[0], bytes.Join(chunks[2:], nil), rest),
		"the head is of another":    join(other.appendHead(nil), all, rest),
		"there is no record at all": join(copied[:copyHeadBytes], new(copySum).appendTrailer(nil)),
	}
}

// A node that dies between any two steps has the old data or the new, and the next start removes what is left of the others.
func TestReplaceCutOff(t *testing.T) {
	leader := openStore(t, t.TempDir(), small(), &memLog{})
	set(t, leader, "k", "new")
	must(t, leader.Flush())
	copied, _, at := export(t, leader)
	base := t.TempDir()
	s := openStore(t, base, small(), &memLog{})
	set(t, s, "k", "old")
	must(t, s.Flush())
	must(t, s.Barrier())
	states := t.TempDir()
	var taken []string
	take := func(what string) {
		name := filepath.Join(states, what)
		must(t, os.CopyFS(name, os.DirFS(base)))
		taken = append(taken, what)
	}
	i, err := s.NewImport()
	must(t, err)
	take("1 an empty directory")
	must(t, i.Load(bytes.NewReader(copied)))
	take("2 loaded")
	must(t, i.SetMarker(at.Index, at.Index))
	take("3 marked")
	must(t, s.Replace(i))
	s.leftovers.Wait()
	take("4 switched")
	must(t, os.MkdirAll(filepath.Join(base, "badger-1"), 0o750))
	must(t, os.WriteFile(filepath.Join(base, "badger-1", "000001.vlog"), []byte("half removed"), 0o640))
	take("5 not all of the old is removed")
	i.Discard()
	for n, what := range taken {
		dir := filepath.Join(states, what)
		d, err := OpenDir(OSFS{}, dir)
		must(t, err)
		must(t, d.BeginUse())
		var marker uint64
		marked, err := d.Marker(&marker)
		must(t, err)
		durable, err := d.Durable()
		must(t, err)
		d.Close()
		value, names := "old", badgerDirs(t, dir)
		if n >= 3 {
			value = "new"
			if !marked || marker != at.Index || durable != at.Index {
				t.Errorf("%s: durable %d, marker %v %d, want %d", what, durable, marked, marker, at.Index)
			}
		} else if marked {
			t.Errorf("%s: there is a marker", what)
		}
		if len(names) != 1 {
			t.Errorf("%s: there are %q", what, names)
		}
		log := &memLog{entries: make([]memEntry, durable), applied: int(durable)}
		if got := get(t, openStore(t, dir, small(), log), "k"); got != value {
			t.Errorf("%s: %q, want %q", what, got, value)
		}
	}
}

// While the data are replaced others read. They have the old, the new, or an error; from then on they have the new, also out of the cache, and of
// what only the old had they have nothing.
func TestReplaceUnderReaders(t *testing.T) {
	leader := openStore(t, t.TempDir(), small(), &memLog{})
	o := small()
	o.ViewMaxAge = time.Minute
	follower := openStore(t, t.TempDir(), o, &memLog{})
	const keys = 300
	key := func(i int) string { return metaKey(0, i, fmt.Sprint("k", i)) }
	value := func(round int) string { return fmt.Sprint("round ", round) }
	for round := 1; round <= 6; round++ {
		for i := range keys {
			if i%7 == round {
				del(t, leader, key(i))
			} else {
				set(t, leader, key(i), value(round))
			}
		}
		must(t, leader.Flush())
		copied, _, _ := export(t, leader)
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for n := range 4 {
			readers.Go(func() {
				readDuring(t, follower, rand.New(rand.NewPCG(uint64(n), uint64(round))), key, value, round, keys, stop)
			})
		}
		load(t, follower, bytes.NewReader(copied))
		close(stop)
		readers.Wait()
		for i := range keys {
			want := value(round)
			if i%7 == round {
				want = ""
			}
			if got := get(t, follower, key(i)); got != want {
				t.Fatalf("round %d: %s is %q, want %q", round, key(i), got, want)
			}
		}
	}
}

// readDuring reads single records and views until stop.
func readDuring(t *testing.T, s *Store, rng *rand.Rand, key func(int) string, value func(int) string, round, keys int, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		i := rng.IntN(keys)
		if got := get(t, s, key(i)); got != "" && got != value(round) && got != value(round-1) {
			t.Errorf("round %d: %s is %q", round, key(i), got)
			return
		}
		v, err := s.View()
		if err != nil {
			continue
		}
		met := make(map[string]int)
		err = v.Walk([]byte(metaKey(0, 0, "")), []byte("m\x00\x00\x00\x01"), func(_, value []byte) { met[string(value)]++ })
		v.Close()
		if err == nil && len(met) > 1 || err != nil && !errors.Is(err, ErrInDoubt) {
			t.Errorf("round %d: one view saw %v: %v", round, met, err)
			return
		}
	}
}

// A picture keeps what it shows, and the store goes on.
func TestPicture(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	set(t, s, "k", "1")
	must(t, s.Flush())
	p := s.Picture()
	defer p.Close()
	for i := range 200 {
		set(t, s, "k", fmt.Sprint(i))
		set(t, s, fmt.Sprint("other", i), "v")
	}
	must(t, s.Flush())
	must(t, s.Barrier())
	must(t, s.Compact())
	if value, err := p.Get([]byte("k")); err != nil || string(value) != "1" {
		t.Errorf("k is %q: %v", value, err)
	}
	if s.DiscardTs() > p.Point().Index {
		t.Errorf("Badger may drop what is below %d, a picture of %d is open", s.DiscardTs(), p.Point().Index)
	}
	again, err := s.PictureAt(p.Point().Index)
	must(t, err)
	again.Close()
	p.Close()
	must(t, s.Barrier())
	if _, err := s.PictureAt(p.Point().Index); err == nil {
		t.Error("a picture was taken of what may be gone")
	}
	if _, err := s.PictureAt(s.FlushedIndex() + 1); err == nil {
		t.Error("a picture was taken of what is not there yet")
	}
}

// What a copy takes in memory while it is loaded does not grow with it: a few tables, and a few chunks.
func TestImportInLittleMemory(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	at := point{7, 1, chain{1, 7}}
	const size = 128 << 20
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeCopy(w, at, size)) }()
	i, err := s.NewImport()
	must(t, err)
	defer i.Discard()
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is garbage does not count
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, peak := m.HeapInuse, uint64(0)
	watched := &watchedReader{r: r, each: 4 << 20, look: func() {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
	}}
	must(t, i.Load(watched))
	if grown := int64(peak) - int64(before); grown > 64<<20 {
		t.Errorf("%d MiB more were in use while %d MiB were loaded", grown>>20, size>>20)
	}
}

// writeCopy makes a copy of so many bytes that no store has.
func writeCopy(w io.Writer, at point, size int) error {
	e := &exporter{w: w}
	if _, err := w.Write(at.appendHead(nil)); err != nil {
		return err
	}
	var g gulp
	g.add([]byte(appliedKey), at.encode())
	rng := rand.New(rand.NewPCG(1, 1))
	value, chunk := make([]byte, 1000), make([]byte, 64<<10)
	for n := 0; n < size; {
		for !g.full() {
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			kind, v := "m", value
			if n < size/4 { // b comes before m
				kind, v = "b", chunk
			}
			g.add(fmt.Appendf(nil, "%s%012d", kind, n), v)
			n += len(v)
		}
		if _, err := w.Write(e.pack(&g)); err != nil {
			return err
		}
		g.reset()
	}
	_, err := w.Write(e.sum.appendTrailer(nil))
	return err
}

// watchedReader calls look now and then.
type watchedReader struct {
	r          io.Reader
	each, left int
	look       func()
}

func (w *watchedReader) Read(p []byte) (n int, err error) {
	n, err = w.r.Read(p)
	if w.left -= n; w.left <= 0 {
		w.left = w.each
		w.look()
	}
	return n, err
}
