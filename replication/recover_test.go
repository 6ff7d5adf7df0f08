package replication

import (
	"fmt"
	"strings"
	"testing"

	"sett/internal/testport"
	"sett/replication/wal"
	"sett/storage"
)

// recovery opens a stopped node for it.
func recovery(t *testing.T, m *member, bolt bool) (*Recovery, func()) {
	t.Helper()
	dir, err := storage.OpenDir(storage.OSFS{}, m.path)
	if err != nil {
		t.Fatal(err)
	}
	if dir.Node().ClusterID == "" { // trio does not look at node.json
		if err := dir.Join(strings.Repeat("a", 32), 1, dir.Seed(), m.addr, nil); err != nil {
			t.Fatal(err)
		}
	}
	var log *wal.Log
	if !bolt {
		log = openWal(t, dir)
	}
	r, err := NewRecovery(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	return r, func() {
		r.Close()
		if log != nil {
			log.Close()
		}
		dir.Close()
	}
}

func TestRecovery(t *testing.T) {
	for _, kind := range []string{"wal", "bolt"} {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, clean %v", kind, clean), func(t *testing.T) {
				o := ClusterOptions{}
				if kind == "bolt" {
					o.Boot = "bolt"
				}
				recoverOne(t, newTrio(t, 3, o), kind == "bolt", clean)
			})
		}
	}
}

func recoverOne(t *testing.T, tr *trio, bolt, clean bool) {
	for i := range 300 {
		tr.write(fmt.Sprint("key", i), fmt.Sprint("value", i))
	}
	tr.everywhere("key299", "value299")
	survivor := tr.nodes[2]
	for _, m := range tr.nodes {
		tr.stop(m, clean)
	}
	survivor.id = nodeOf(t, survivor) // recovery names the node as its directory does
	r, done := recovery(t, survivor, bolt)
	if len(r.Members) != 3 || r.Last < 100 || r.Term == 0 || r.At.IsZero() || r.Epoch != 2 {
		t.Fatalf("%+v", r)
	}
	last := r.Last
	if err := r.GoOnAlone(); err != nil {
		t.Fatal(err)
	}
	done()
	r, done = recovery(t, survivor, bolt)
	if len(r.Members) != 1 || r.Members[0].ID != survivor.id || r.Last != last+1 || r.Epoch != 3 || r.dir.Node().Epoch != 2 {
		t.Fatalf("%+v", r)
	}
	done()

	tr.nodes = tr.nodes[2:]
	tr.start(survivor)
	for i := range 300 {
		if got, err := tr.leader().get(fmt.Sprint("key", i)); err != nil || got != fmt.Sprint("value", i) {
			t.Fatalf("key%d: %q, %v", i, got, err)
		}
	}
	tr.write("after", "all that")

	// A new node follows it, from the beginning of its log on.
	fresh := &member{id: "fresh", addr: testport.Addr(t), path: t.TempDir()}
	tr.nodes = append(tr.nodes, fresh)
	tr.start(fresh)
	if err := tr.leader().c.AddNonvoter(t.Context(), fresh.id, fresh.addr); err != nil {
		t.Fatal(err)
	}
	tr.everywhere("after", "all that")
	tr.everywhere("key7", "value7")
}

func nodeOf(t *testing.T, m *member) string {
	t.Helper()
	dir, err := storage.OpenDir(storage.OSFS{}, m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return dir.Node().ID
}

func TestRecoveryOfNothing(t *testing.T) {
	dir, err := storage.OpenDir(storage.OSFS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	log := openWal(t, dir)
	defer log.Close()
	if _, err := NewRecovery(dir, log); err == nil || !strings.Contains(err.Error(), "belongs to no cluster") {
		t.Error(err)
	}
	if err := dir.Join(strings.Repeat("a", 32), 1, dir.Seed(), "a:1", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := NewRecovery(dir, log); err == nil || !strings.Contains(err.Error(), "never heard who belongs") {
		t.Error(err)
	}
}
