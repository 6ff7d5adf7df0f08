package replication

import (
	"errors"
	"fmt"
	"testing"

	"sett/storage"
)

// A node that was alone takes its data into a cluster: what Badger has, and what only its log has.
func TestAloneNoMore(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean=%v", clean), func(t *testing.T) {
			tr := emptyTrio(t, ClusterOptions{Fsync: Everysec})
			for range 3 {
				tr.add()
			}
			alone := open(t, tr.nodes[0].path, Everysec)
			for i := range 200 {
				alone.set(t, fmt.Sprint("k", i), "alone")
			}
			must(t, alone.store.Flush())
			must(t, alone.store.Barrier())
			alone.store.PauseFlush(true)
			alone.set(t, "k7", "only in the log")
			alone.close(t, clean)
			for _, m := range tr.nodes {
				tr.start(m)
			}
			tr.everywhere("k7", "only in the log")
			tr.everywhere("k8", "alone")
			tr.write("k8", "together")
			lead := tr.leader()
			if lead != tr.nodes[0] {
				t.Errorf("%s leads; it had nothing when the cluster began", lead.id)
			}
			tr.alike()
			tr.stop(lead, false)
			tr.write("k9", "without the first")
			tr.start(lead)
			tr.everywhere("k9", "without the first")
			tr.everywhere("k199", "alone")
			tr.alike()
		})
	}
}

// A directory's log is of one kind for ever.
func TestLogOfAnotherKind(t *testing.T) {
	dir := t.TempDir()
	log, err := openEntries(dir, nil)
	must(t, err)
	must(t, log.close())
	n := open(t, t.TempDir(), Everysec)
	defer n.close(t, false)
	if _, err := openEntries(dir, n.solo.Log()); !errors.As(err, new(*storage.RefusedError)) {
		t.Errorf("boltdb's as a wal: %v", err)
	}
	if _, err := openEntries(n.dir.LogDir(), nil); !errors.As(err, new(*storage.RefusedError)) {
		t.Errorf("a wal as boltdb's: %v", err)
	}
}
