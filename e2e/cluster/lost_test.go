package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sett/e2e/process"
	"sett/replication/wal"
	"sett/storage"
)

// TestLostLog takes the end of a node's log away, which is in its tables already. It does not start with that; nor does it start over as long as no other node
// leads, for its data might be all that there is. When one does, it takes a copy, and votes again.
func TestLostLog(t *testing.T) {
	c := New(t, Options{Sets: []string{"raft.heartbeat=1s", "storage.barrier_interval=1h"}})
	c.Start()
	leader := c.AwaitLeader()
	others := c.Others(leader)
	unlucky := c.Nodes[others[0]]
	client := c.Nodes[leader].Dial()
	for i := range 100 {
		client.Want(t, "OK", "SET", fmt.Sprint("key:", i), strings.Repeat("v", 100))
	}
	point := client.Must(t, "SETT", "DIGEST", "NEXT")
	unlucky.Dial().Must(t, "SETT", "DIGEST", fmt.Sprint(point)) // it is in its tables
	for place := range c.Nodes {
		c.Nodes[place].Kill()
	}
	loseTail(t, unlucky.Dir, uint64(point.(int64)))

	c.Launch(others[0])
	<-unlucky.Exited
	if code := unlucky.Code; code != 1 || !strings.Contains(unlucky.Said(), "has lost data") || !strings.Contains(unlucky.Said(), "start it again") {
		t.Fatalf("exit code %d\n%s", code, unlucky.Said())
	}
	c.Launch(others[0])
	c.Await("it waits", func() error { return says(unlucky, "waits for another one to lead", 1) })
	c.Launch(leader) // one is no majority: nobody leads, and nobody starts over
	c.Await("it goes on waiting", func() error { return says(unlucky, "waits for another one to lead", 3) })
	if strings.Contains(unlucky.Said(), "starts over") {
		t.Error("it starts over, and nobody leads")
	}
	c.Launch(others[1])
	c.AwaitService(leader, others[0], others[1])
	c.Await("it starts over", func() error { return says(unlucky, "starts over", 1) })
	again := unlucky.Dial()
	for i := range 100 {
		again.Want(t, strings.Repeat("v", 100), "GET", fmt.Sprint("key:", i))
	}
	c.AwaitAgreement()
	c.AwaitMembers()
	c.Nodes[others[1]].Kill()
	c.AwaitService(leader, others[0]) // it votes
}

func says(n *process.Node, what string, times int) error {
	if strings.Count(n.Said(), what) < times {
		time.Sleep(50 * time.Millisecond)
		return fmt.Errorf("it has said:\n%s", n.Said())
	}
	return nil
}

// loseTail cuts the log of a node that does not run before an entry.
func loseTail(t *testing.T, path string, index uint64) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := storage.OpenDir(storage.OSFS{}, path)
	must(err)
	defer dir.Close()
	durable, err := dir.Durable()
	must(err)
	if durable >= index {
		t.Fatalf("entry %d is durable: %d", index, durable)
	}
	log, err := wal.Open(wal.Options{FS: storage.OSFS{}, Dir: dir.LogDir(), Seed: dir.Seed()}, wal.Known{Durable: durable})
	must(err)
	must(log.TrimSuffix(index))
	must(log.Close())
}
