package replication

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"sett/storage"
)

// dying is a file system of a process that is killed after so many changes.
type dying struct {
	storage.OSFS
	left int
}

var errKilled = errors.New("killed")

func (d *dying) next() error {
	if d.left--; d.left < 0 {
		return errKilled
	}
	return nil
}

func (d *dying) Create(path string) (storage.File, error) {
	if err := d.next(); err != nil {
		return nil, err
	}
	return d.OSFS.Create(path)
}

func (d *dying) Rename(old, new string) error {
	if err := d.next(); err != nil {
		return err
	}
	return d.OSFS.Rename(old, new)
}

func (d *dying) Remove(path string) error {
	if err := d.next(); err != nil {
		return err
	}
	return d.OSFS.Remove(path)
}

func (d *dying) MkdirAll(path string) error {
	if err := d.next(); err != nil {
		return err
	}
	return d.OSFS.MkdirAll(path)
}

// apart is a trio of which the first two have lost entries that had been committed, and lead one another. The third has those in Badger and does not run.
func apart(t *testing.T) (tr *trio, third *member) {
	tr = newTrio(t, 3, ClusterOptions{Fsync: Everysec, Boot: "1", AmnesiaWait: 50 * time.Millisecond, MarkerInterval: 20 * time.Millisecond})
	for i := range 200 {
		tr.write(fmt.Sprint("k", i), "1")
	}
	tr.everywhere("k199", "1")
	within(t, "all is in Badger", func() bool { // Badger is not behind what will be left of the logs
		for _, m := range tr.nodes {
			if m.store.Status().Flushed.Index < m.store.LastEffect() {
				return false
			}
		}
		return true
	})
	lead := tr.leader()
	for _, m := range tr.nodes {
		if third == nil && m != lead {
			third = m
		} else {
			m.store.PauseFlush(true)
		}
	}
	_, kept := lead.c.logs.entries.bounds()
	for i := range 100 {
		tr.write(fmt.Sprint("lost", i), "1")
	}
	tr.everywhere("lost99", "1")
	within(t, "the third has it in Badger", func() bool {
		lead.store.CloseGeneration()
		return third.store.Newest() > kept && third.store.Status().Flushed.Index >= third.store.LastEffect()
	})
	for _, m := range tr.nodes {
		if m != third {
			if newest := m.store.Newest(); newest > kept {
				t.Fatalf("%s has entry %d in Badger, %d is to be lost", m.id, newest, kept+1)
			}
		}
		tr.stop(m, false)
	}
	tr.o.Boot = "2"
	for _, m := range tr.nodes {
		if m != third {
			loseTail(t, m, kept)
		}
	}
	// The third has not lost power: it may lead, and nothing would be lost. So it is not there when they elect one.
	for _, m := range tr.nodes {
		if m != third {
			must(t, recall2(m))
			tr.start(m)
		}
	}
	for i := range 100 {
		tr.write(fmt.Sprint("new", i), "2")
	}
	return tr, third
}

// loseTail takes away what a node's log has behind an entry, as a power cut does that comes before the fsync.
func loseTail(t *testing.T, m *member, kept uint64) {
	t.Helper()
	dir, err := storage.OpenDir(storage.OSFS{}, m.path)
	must(t, err)
	log := openWal(t, dir)
	must(t, log.TrimSuffix(kept+1))
	must(t, log.Close())
	must(t, dir.Close())
}

// recall2 has a node vote in boot 2 without waiting for the third.
func recall2(m *member) error {
	v, err := openVotes(m.path, func(error) {})
	if err != nil {
		return err
	}
	defer v.Close()
	if err := v.noteUnsynced("2"); err != nil {
		return err
	}
	return v.recovered()
}

// diverge starts the third, which finds out.
func (tr *trio) diverge(m *member) {
	tr.t.Helper()
	ended := make(chan error, 10)
	tr.fatal = func(err error) { ended <- err }
	tr.start(m)
	err := <-ended
	tr.t.Log(err)
	tr.fatal = nil
	tr.stop(m, false)
}

func badgerDirs(t *testing.T, path string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(path, "badger-*"))
	must(t, err)
	return dirs
}

// A node that has in Badger what the cluster has lost starts over and gets a copy, whenever it is killed in between.
func TestDivergedNodeRejoins(t *testing.T) {
	tr, third := apart(t)
	tr.diverge(third)
	had := badgerDirs(t, third.path)

	for changes := 0; ; changes++ { // killed while it starts over
		dir, err := storage.OpenDir(&dying{left: changes}, third.path)
		must(t, err)
		why, err := dir.StartOver()
		must(t, dir.Close())
		if why == "" {
			t.Fatal("nothing says that it has diverged")
		}
		if err == nil {
			t.Logf("%d changes", changes)
			break
		} else if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	if now := badgerDirs(t, third.path); len(now) != 2 || now[0] != had[0] {
		t.Fatalf("it had %v, and has %v", had, now)
	}

	for range 3 { // killed while it gets its copy, or has just got it
		tr.start(third)
		role := third.c.State().Role
		if served := third.c.served.Load(); role != Diverged && !served {
			t.Errorf("it does not say that it has diverged: %v", role)
		}
		if third.store.Status().Serving && !third.c.served.Load() {
			t.Error("it serves before it has a copy")
		}
		tr.stop(third, false)
	}
	tr.start(third)
	within(t, "it has rejoined", func() bool { return third.c.State().Role == Follower && !third.c.diverged.Load() })
	for i := range 100 {
		tr.everywhere(fmt.Sprint("new", i), "2")
	}
	if got, err := third.get("lost99"); err != nil || got != "" {
		t.Errorf("what the cluster has lost is still there: %q, %v", got, err)
	}
	tr.alike()
	within(t, "nothing is left of the old data", func() bool { return len(badgerDirs(t, third.path)) == 1 })

	tr.stop(third, false)
	tr.start(third)
	if role := third.c.State().Role; role == Diverged {
		t.Error("it has diverged again")
	}
	tr.stop(tr.leader(), false)
	tr.write("again", "3") // it votes
	tr.everywhere("again", "3")
}
