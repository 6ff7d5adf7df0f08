package storage

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// witness is a file system that shows, before each change, what a process would find that is started then.
type witness struct {
	OSFS
	mu   sync.Mutex
	look func() // nil: nobody looks
}

func (w *witness) see() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.look != nil {
		w.look()
	}
}

func (w *witness) Create(path string) (File, error) { w.see(); return w.OSFS.Create(path) }
func (w *witness) Rename(old, new string) error     { w.see(); return w.OSFS.Rename(old, new) }
func (w *witness) Remove(path string) error         { w.see(); return w.OSFS.Remove(path) }
func (w *witness) MkdirAll(path string) error       { w.see(); return w.OSFS.MkdirAll(path) }
func (w *witness) SyncDir(path string) error        { w.see(); return w.OSFS.SyncDir(path) }

// Whenever a node is killed that takes over a copy, its next start has the old data or the new, whole, and nothing is left of the other. As long as
// CURRENT does not name the new directory, a power cut may also take what is in it.
func TestKilledWhileReplacing(t *testing.T) {
	leader := openStore(t, t.TempDir(), smallFiles(), &memLog{})
	writeSome(t, leader, rand.New(rand.NewPCG(1, 1)), 100)
	flushAndSync(t, leader)
	copied, fresh, _ := export(t, leader)

	w, path, base := &witness{}, t.TempDir(), t.TempDir()
	o := smallFiles()
	o.FS, o.BarrierInterval = w, time.Hour
	s := openStore(t, path, o, &memLog{})
	s.data.fs = w
	writeSome(t, s, rand.New(rand.NewPCG(2, 2)), 100)
	flushAndSync(t, s)
	_, old, _ := export(t, s)

	var moments []string
	w.look = func() {
		dir, err := os.MkdirTemp(base, "")
		must(t, err)
		must(t, os.CopyFS(dir, os.DirFS(path)))
		moments = append(moments, dir)
	}
	load(t, s, bytes.NewReader(copied))
	s.leftovers.Wait()
	w.see()
	w.mu.Lock()
	w.look = nil
	w.mu.Unlock()

	outcomes := map[string]int{}
	for i, dir := range moments {
		d, err := OpenDir(OSFS{}, dir)
		must(t, err)
		in := d.current
		must(t, d.Close())
		if next := filepath.Join(dir, nextBadgerDir(in)); i%2 == 0 { // not named: nothing in it needs to have reached the disk
			must(t, os.RemoveAll(next))
		}
		again := openStore(t, dir, smallFiles(), &memLog{})
		must(t, again.data.BeginUse())
		p := again.Picture()
		got := records(t, p)
		p.Close()
		switch {
		case maps.Equal(got, old):
			outcomes["old"]++
		case maps.Equal(got, fresh):
			outcomes["new"]++
		default:
			t.Errorf("moment %d: %d records are neither the old data nor the new", i, len(got))
		}
		if names := badgerDirs(t, dir); len(names) != 1 {
			t.Errorf("moment %d: left behind: %q", i, names)
		}
		must(t, again.Close(false))
		must(t, os.RemoveAll(dir))
	}
	if t.Logf("%d moments: %v", len(moments), outcomes); outcomes["old"] == 0 || outcomes["new"] == 0 {
		t.Error("not both the old data and the new were met")
	}
}
