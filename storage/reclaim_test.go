package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func headerKey(id uint64) string { return string(binary.BigEndian.AppendUint64([]byte{'B'}, id)) }

func chunkKey(id uint64, n uint32) string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{'b'}, id), n))
}

// chunkValue is large enough for the value log, and tells which blob it is of.
func chunkValue(id uint64) string {
	return string(bytes.Repeat(binary.BigEndian.AppendUint64(nil, id), 5<<10))
}

// putBlob writes a blob of some chunks as one batch.
func putBlob(t testing.TB, s *Store, id uint64, chunks int) {
	t.Helper()
	var tx Txn
	err := s.Update(&tx, step(func() error {
		tx.Put([]byte(headerKey(id)), []byte("header"))
		for n := range chunks {
			tx.Put([]byte(chunkKey(id, uint32(n))), []byte(chunkValue(id)))
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// smallFiles are options with a value log in small files.
func smallFiles() Options {
	o := small()
	o.ValueLogBytes = 1 << 20
	return o
}

func flushAndSync(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Barrier(); err != nil {
		t.Fatal(err)
	}
}

func removeKeys(t testing.TB, s *Store, keys ...string) uint64 {
	t.Helper()
	var all [][]byte
	for _, key := range keys {
		all = append(all, []byte(key))
	}
	version, err := s.Remove(all, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// scanned returns the keys of a range in Badger.
func scanned(t testing.TB, s *Store, prefix string, version uint64) (keys []string) {
	t.Helper()
	r := Range{[]byte(prefix), append([]byte(prefix[:len(prefix)-1]), prefix[len(prefix)-1]+1)}
	scan := s.Scan(r, version)
	defer scan.Close()
	for ok := scan.Seek(r.Lower); ok; ok = scan.Next() {
		keys = append(keys, string(scan.Key()))
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestRemoveGoesWithAFlushAndLeavesTheCache(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	set(t, s, headerKey(1), "header")
	set(t, s, headerKey(2), "header")
	flushAndSync(t, s)
	before := s.FlushedIndex()
	if get(t, s, headerKey(1)) == "" {
		t.Fatal("not there to begin with")
	}
	version := removeKeys(t, s, headerKey(1)) // nothing is being written: a flush point is asked for
	if version <= before || version <= s.DiscardTs() || s.FlushedIndex() < version {
		t.Fatalf("removed at %d; flushed %d before, DiscardTs %d, flushed %d", version, before, s.DiscardTs(), s.FlushedIndex())
	}
	if _, known, _ := s.cache.get(s.hash([]byte(headerKey(1))), []byte(headerKey(1)), nil); known {
		t.Error("the cache still knows what was removed")
	}
	if got := get(t, s, headerKey(1)); got != "" {
		t.Errorf("removed, but still read as %q", got)
	}
	if got := scanned(t, s, "B", s.FlushedIndex()); len(got) != 1 || got[0] != headerKey(2) {
		t.Errorf("left in Badger: %q", got)
	}
	if got := scanned(t, s, "B", before); len(got) != 2 {
		t.Errorf("at the version before: %q", got)
	}
}

func TestRemoveNeverTakesWhatItsFlushWrites(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	s.PauseFlush(true)
	set(t, s, headerKey(1), "written late")
	r := &removal{keys: [][]byte{[]byte(headerKey(1)), []byte(headerKey(2))}, done: make(chan uint64, 1)}
	s.reclaim.waiting.Store(r)
	s.PauseFlush(false)
	s.CloseGeneration()
	if version := <-r.done; len(r.keys) != 1 || version == 0 {
		t.Fatalf("%d keys removed at %d", len(r.keys), version)
	}
	s.DropCache()
	if got := get(t, s, headerKey(1)); got != "written late" {
		t.Errorf("read %q", got)
	}
}

func TestRemoveGivesUpWhereNoFlushComes(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	s.PauseFlush(true)
	if _, err := s.Remove([][]byte{[]byte(headerKey(1))}, true, nil); !errors.Is(err, ErrFlushPaused) {
		t.Errorf("paused: %v", err)
	}
	s.PauseFlush(false)
	s.Yield()
	if _, err := s.Remove([][]byte{[]byte(headerKey(1))}, true, nil); !errors.Is(err, ErrNotEvaluating) {
		t.Errorf("not evaluating: %v", err)
	}
	stop := make(chan struct{})
	close(stop)
	if _, err := s.Remove([][]byte{[]byte(headerKey(1))}, false, stop); !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}

// A view that was opened before keeps DiscardTs below it: it goes on seeing what died after it was opened.
func TestViewHoldsDiscardTs(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	putBlob(t, s, 1, 1)
	flushAndSync(t, s)
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	base := s.FlushedIndex()
	set(t, s, "d\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x01")
	flushAndSync(t, s)
	if s.DiscardTs() > base {
		t.Fatalf("DiscardTs %d passed a view at %d", s.DiscardTs(), base)
	}
	if got := scanned(t, s, "d", s.DiscardTs()); len(got) != 0 {
		t.Fatalf("dead already at DiscardTs: %q", got)
	}
	v.Close()
	if err := s.Barrier(); err != nil {
		t.Fatal(err)
	}
	if got := scanned(t, s, "d", s.DiscardTs()); len(got) != 1 {
		t.Fatalf("not dead at DiscardTs when the view is closed: %q", got)
	}
}

// settleValues makes Badger count what is dead in the value log.
func settleValues(t testing.TB, s *Store) {
	t.Helper()
	for range s.budget.Level0 + 1 {
		if err := s.Rotate(nil); err != nil {
			t.Fatal(err)
		}
		if !s.OnlyFresh() {
			break
		}
	}
	for s.OnlyFresh() {
		time.Sleep(time.Millisecond)
	}
	flushAndSync(t, s)
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	for _, table := range s.Tables() { // the first merge drops nothing: tellDiscard
		if table.Level > 0 {
			patiently(t, func() error { _, err := s.RewriteTables([]Table{table}, nil); return err })
		}
	}
}

func TestCollectValues(t *testing.T) {
	s := openStore(t, t.TempDir(), smallFiles(), &memLog{})
	for id := range uint64(100) {
		putBlob(t, s, id+1, 4)
	}
	flushAndSync(t, s)
	before, _ := s.ValueLog()
	for id := uint64(1); id <= 100; id++ {
		if id%4 != 0 {
			removeKeys(t, s, headerKey(id), chunkKey(id, 0), chunkKey(id, 1), chunkKey(id, 2), chunkKey(id, 3))
		}
	}
	flushAndSync(t, s)
	if n, err := s.CollectValues(0.5, nil); n != 0 || err != nil {
		t.Fatalf("collected before any compaction: %d, %v", n, err)
	}
	settleValues(t, s)

	// Constant scans, which would keep Badger from deleting anything for ever.
	stop := make(chan struct{})
	var scans sync.WaitGroup
	for range 3 {
		scans.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readAllBlobs(s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	n, err := s.CollectValues(0.5, nil)
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		files, _ := s.ValueLog()
		if files < before/2 {
			t.Logf("%d files collected, %d → %d", n, before, files)
			break
		}
		if time.Since(start) > 2*time.Second {
			t.Errorf("%d files of %d are still there after %d were collected", files, before, n)
			break
		}
		s.gate.clear(clearLimit)
	}
	close(stop)
	scans.Wait()
	s.DropCache()
	for id := uint64(4); id <= 100; id += 4 {
		for n := range uint32(4) {
			if get(t, s, chunkKey(id, n)) != chunkValue(id) {
				t.Fatalf("blob %d is not what it was", id)
			}
		}
	}
}

// readAllBlobs reads every fourth blob through one view.
func readAllBlobs(s *Store) error {
	v, err := s.View()
	if err != nil {
		return err
	}
	defer v.Close()
	for id := uint64(4); id <= 100; id += 4 {
		if err := readBlob(v, id); err != nil {
			return err
		}
	}
	return nil
}

func readBlob(v *View, id uint64) error {
	lower, upper := []byte(chunkKey(id, 0)), []byte(chunkKey(id, 100))
	it := v.Iterate(lower, upper)
	defer it.Close()
	n := 0
	for ok := it.Seek(lower); ok; ok = it.Next() {
		if string(it.Value()) != chunkValue(id) {
			return fmt.Errorf("blob %d, chunk %d: %d bytes that are not its own", id, n, len(it.Value()))
		}
		n++
	}
	if it.Err() != nil || n != 4 {
		return fmt.Errorf("blob %d: %d chunks, %w", id, n, it.Err())
	}
	return nil
}

// Badger deletes what it has moved only when that is durable: at the barrier in between all files are still there.
func TestCollectedFilesStayUntilTheirValuesAreDurable(t *testing.T) {
	o := smallFiles()
	var atBarrier int
	var dir string
	o.OnBarrier = func(badger string) { dir, atBarrier = badger, len(valueLogFiles(badger)) }
	s := openStore(t, t.TempDir(), o, &memLog{})
	for id := range uint64(40) {
		putBlob(t, s, id+1, 4)
	}
	flushAndSync(t, s)
	for id := uint64(1); id <= 30; id++ {
		removeKeys(t, s, headerKey(id), chunkKey(id, 0), chunkKey(id, 1), chunkKey(id, 2), chunkKey(id, 3))
	}
	settleValues(t, s)
	// From here on only the collection's own barriers run, with nothing flushed since the last.
	before := len(valueLogFiles(s.dir()))
	barriers := s.stats.Barriers.Load()
	n, err := s.collectSome(0.5, nil)
	if err != nil || n == 0 {
		t.Fatalf("collected %d: %v", n, err)
	}
	if s.stats.Barriers.Load() == barriers {
		t.Error("what was moved was not made durable")
	}
	if atBarrier < before {
		t.Errorf("%d of %d files were left in %s when what had lived in them was not durable yet", atBarrier, before, dir)
	}
	s.gate.clear(clearLimit)
	if after := len(valueLogFiles(s.dir())); after > before-n+1 {
		t.Errorf("%d files of %d after %d were collected", after, before, n)
	}
}

// Badger would take a bad record for the end of the file, and delete what lives behind it.
func TestDamagedValueLogIsNotCollected(t *testing.T) {
	s := openStore(t, t.TempDir(), smallFiles(), &memLog{})
	for id := range uint64(40) {
		putBlob(t, s, id+1, 4)
	}
	flushAndSync(t, s)
	first := filepath.Join(s.dir(), valueLogName(valueLogFiles(s.dir())[0].id))
	for id := uint64(1); id <= 40; id++ {
		if id%4 != 0 {
			removeKeys(t, s, headerKey(id), chunkKey(id, 0), chunkKey(id, 1), chunkKey(id, 2), chunkKey(id, 3))
		}
	}
	settleValues(t, s)
	for _, f := range valueLogFiles(s.dir()) { // Badger begins with the one of which most is dead
		flipBit(t, filepath.Join(s.dir(), valueLogName(f.id)), 5000)
	}
	n, err := s.CollectValues(0.5, nil)
	var damage *CorruptError
	if n != 0 || !errors.As(err, &damage) {
		t.Fatalf("collected %d, err %v", n, err)
	}
	if _, err := os.Stat(first); err != nil {
		t.Error(err)
	}
	if s.Damage() == "" {
		t.Error("nobody was told")
	}
}

// overwrite changes the beginning of a file that Badger has mapped.
func overwrite(t testing.TB, path string, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(with, 0); err != nil {
		t.Fatal(err)
	}
}

// flipBit changes a bit of a file.
func flipBit(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return // it is not as long
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// leaveSixth writes 60 blobs and removes all but every sixth, and Badger knows it.
func leaveSixth(t *testing.T, s *Store) {
	t.Helper()
	for id := range uint64(60) {
		putBlob(t, s, id+1, 4)
	}
	flushAndSync(t, s)
	for id := uint64(1); id <= 60; id++ {
		if id%6 != 0 {
			removeKeys(t, s, headerKey(id), chunkKey(id, 0), chunkKey(id, 1), chunkKey(id, 2), chunkKey(id, 3))
		}
	}
	settleValues(t, s)
}

// A file of which Badger has forgotten that it is dead is found, noted, and collected after the next start.
func TestForgottenValueLog(t *testing.T) {
	l := &memLog{}
	s := openStore(t, t.TempDir(), smallFiles(), l)
	leaveSixth(t, s)
	if f, err := s.ForgottenValueLogs(0.5); err != nil || len(f) > 1 {
		t.Fatalf("nothing is forgotten yet: %v, %v", f, err)
	}
	// What a process leaves that dies at the wrong moment: no statistics.
	overwrite(t, filepath.Join(s.dir(), discardName), make([]byte, discardBytes))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.CollectValues(0.5, nil); n != 0 || err != nil {
		t.Fatalf("Badger has not forgotten: %d collected, %v", n, err)
	}
	forgotten, err := s.ForgottenValueLogs(0.5)
	if err != nil || len(forgotten) < 5 {
		t.Fatalf("found %d forgotten files of %d: %v", len(forgotten), len(valueLogFiles(s.dir())), err)
	}
	if err := s.NoteForgotten(forgotten); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	n, err := s.CollectValues(0.5, nil)
	if err != nil || n < len(forgotten) {
		t.Errorf("%d files noted, %d collected: %v", len(forgotten), n, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir(), forgottenFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note is still there: %v", err)
	}
	for id := uint64(6); id <= 60; id += 6 {
		if get(t, s, chunkKey(id, 3)) != chunkValue(id) {
			t.Fatalf("blob %d is not what it was", id)
		}
	}
}

// A process that dies when Badger has collected a file and waits with deleting it leaves the file, and no statistics.
func TestDeathBetweenCollectingAndDeleting(t *testing.T) {
	l := &memLog{}
	path := t.TempDir()
	s := openStore(t, path, smallFiles(), l)
	leaveSixth(t, s)
	release := s.keepValueLog()
	collected := 0
	for ; s.collectFile(0.5) == nil; collected++ {
	}
	if err := s.runBarrier(true); err != nil {
		t.Fatal(err)
	}
	dead := t.TempDir()
	if err := os.CopyFS(filepath.Join(dead, "copy"), os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	release()
	s.PauseFlush(true)

	s = openStore(t, filepath.Join(dead, "copy"), smallFiles(), &memLog{entries: l.entries})
	before, _ := s.ValueLog()
	settleValues(t, s)
	if n, err := s.CollectValues(0.5, nil); n > 1 || err != nil {
		t.Fatalf("Badger has not forgotten: %d collected, %v", n, err)
	}
	forgotten, err := s.ForgottenValueLogs(0.5)
	if err != nil || len(forgotten) < collected {
		t.Fatalf("%d files were collected, %d found: %v", collected, len(forgotten), err)
	}
	if err := s.NoteForgotten(forgotten); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CollectValues(0.5, nil); err != nil {
		t.Fatal(err)
	}
	s.gate.clear(clearLimit)
	if after, _ := s.ValueLog(); after > before-collected+2 {
		t.Errorf("%d files, %d were left behind, %d are left", before, collected, after)
	}
	for id := uint64(6); id <= 60; id += 6 {
		if get(t, s, chunkKey(id, 3)) != chunkValue(id) {
			t.Fatalf("blob %d is not what it was", id)
		}
	}
}

func TestGate(t *testing.T) {
	var g gate
	if !g.clear(0) {
		t.Error("nobody is in, but it is not clear")
	}
	g.enter(true)
	if g.clear(5 * time.Millisecond) {
		t.Error("somebody is in, but it is clear")
	}
	g.leave()
	// Many who come and go as soon as they are asked: it is clear soon, and nobody is lost.
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				g.enter(true)
				for n := rand.IntN(200); n > 0 && !g.wanted.Load(); n-- {
					time.Sleep(10 * time.Microsecond)
				}
				g.leave()
			}
		})
	}
	for range 50 {
		if !g.clear(time.Second) {
			t.Error("never clear")
			break
		}
	}
	close(stop)
	all.Wait()
	if g.open != 0 {
		t.Errorf("%d are still in", g.open)
	}
}

func TestEnterDiscards(t *testing.T) {
	dir := t.TempDir()
	if err := enterDiscards(OSFS{}, dir, []ForgottenFile{{7, 100}, {3, 50}}); err != nil {
		t.Fatal(err)
	}
	if err := enterDiscards(OSFS{}, dir, []ForgottenFile{{3, 20}, {7, 200}, {9, 1}}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(readDiscards(dir)); got != "map[3:50 7:200 9:1]" {
		t.Error(got)
	}
	if err := checkDiscards(dir); err != nil {
		t.Error(err)
	}
}

// A scan sees what there was at its version, and nothing that is newer.
func TestScanAtItsVersion(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	alone(s)
	scan := func(version uint64) (found string) {
		t.Helper()
		c := s.Scan(Range{Lower: []byte("sb"), Upper: []byte("sd")}, version)
		defer c.Close()
		for ok := c.Seek(nil); ok; ok = c.Next() {
			value, err := c.Value()
			must(t, err)
			found += fmt.Sprintf("%s=%s ", c.Key(), value)
		}
		must(t, c.Err())
		return found
	}
	for _, key := range []string{"sa", "sb1", "sb2", "sc", "sd"} {
		set(t, s, key, "1")
	}
	flushAndSync(t, s)
	then := s.FlushedIndex()
	set(t, s, "sb0", "2")
	set(t, s, "sb1", "2")
	del(t, s, "sb2")
	del(t, s, "sc")
	set(t, s, "sc9", "2")
	flushAndSync(t, s)
	del(t, s, "sb1")
	flushAndSync(t, s)
	for version, want := range map[uint64]string{then: "sb1=1 sb2=1 sc=1 ", s.FlushedIndex(): "sb0=2 sc9=2 "} {
		if got := scan(version); got != want {
			t.Errorf("at %d: %s, not %s", version, got, want)
		}
	}
}
