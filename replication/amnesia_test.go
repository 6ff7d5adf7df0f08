package replication

import (
	"testing"
	"time"
)

func TestBeginLife(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []struct {
		boot                 string
		clean, syncs, caught bool
		want                 bool
	}{
		{boot: "1"},                           // the first start
		{boot: "1"},                           // killed: what was written is in the system's hands
		{boot: "2", want: true},               // the power went
		{boot: "2", want: true},               // and it has not caught up yet
		{boot: "3", clean: true, want: true},  // not either
		{boot: "3", want: true, caught: true}, // now it has
		{boot: "3"},
		{boot: "4", clean: true}, // stopped in an orderly way
		{boot: "5", want: true, caught: true},
		{boot: "5", syncs: true}, // from here on always
		{boot: "6", syncs: true},
		{boot: "7"},
		{boot: "8", want: true},
	} {
		v, err := openVotes(dir, noFatal(t))
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.beginLife(c.boot, c.clean, c.syncs)
		if err != nil || got != c.want {
			t.Errorf("start %d: amnesiac %v (%v), want %v", i, got, err, c.want)
		}
		if c.caught {
			must(t, v.recovered())
		}
		must(t, v.Close())
	}
}

// A node that may have forgotten does not vote until it has caught up.
func TestAmnesia(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Boot: "1", AmnesiaWait: time.Hour})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	for _, m := range tr.nodes {
		tr.stop(m, false)
	}
	tr.o.Boot = "2"
	tr.start(tr.nodes[0])
	tr.start(tr.nodes[1])
	time.Sleep(6 * testHeartbeat)
	if tr.who() != nil {
		t.Fatal("two that may have forgotten have elected one of them")
	}
	tr.o.Boot = "1" // the third has not lost power
	tr.start(tr.nodes[2])
	time.Sleep(3 * testHeartbeat)
	if tr.who() != nil {
		t.Fatal("somebody was elected without a vote")
	}
	tr.stop(tr.nodes[0], false)
	tr.o.Boot = "1"
	must(t, recall(tr.nodes[0]))
	tr.start(tr.nodes[0]) // and neither has this one
	tr.write("a", "2")
	tr.everywhere("a", "2")
	within(t, "it remembers", func() bool { return !tr.nodes[1].c.amnesiac.Load() })
	for _, m := range tr.nodes {
		if m != tr.nodes[1] && tr.who() != nil && m.id == tr.who().id {
			tr.stop(m, false)
			break
		}
	}
	tr.write("a", "3") // it takes part in an election
}

func recall(m *member) error {
	v, err := openVotes(m.path, func(error) {})
	if err != nil {
		return err
	}
	defer v.Close()
	if err := v.noteUnsynced("1"); err != nil {
		return err
	}
	return v.recovered()
}

// When all have lost power, they vote after a while.
func TestAllForgot(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Boot: "1", AmnesiaWait: 50 * time.Millisecond})
	tr.write("a", "1")
	for _, m := range tr.nodes {
		tr.stop(m, false)
	}
	tr.o.Boot = "2"
	for _, m := range tr.nodes[:2] {
		tr.start(m)
	}
	time.Sleep(6 * testHeartbeat)
	if tr.who() != nil {
		t.Fatal("two that may have forgotten have elected one of them, without the third")
	}
	tr.start(tr.nodes[2])
	tr.write("a", "2")
	tr.everywhere("a", "2")
}

// A node that may have forgotten has a leader: it catches up, however long that takes, and does not vote before.
func TestAmnesiacWithLeaderWaits(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Boot: "1", AmnesiaWait: time.Millisecond})
	tr.write("a", "1")
	lead := tr.leader()
	follower := tr.nodes[0]
	if follower == lead {
		follower = tr.nodes[1]
	}
	within(t, "it votes", func() bool { return !follower.c.trans.closed.Load() })
	within(t, "it follows", func() bool { return time.Since(follower.c.raft.LastContact()) < testHeartbeat/2 })
	follower.c.trans.closed.Store(true)
	for range 2 {
		waits := amnesia{reachable: time.Now().Add(-time.Hour)}
		if waits.wait(follower.c); !follower.c.trans.closed.Load() {
			t.Fatal("it votes, though it has not caught up with the leader that there is")
		}
	}
}

// A node that has forgotten much, and whose leader has not changed meanwhile, does not take the first entries it is sent for all.
func TestCaughtUpIsWithLeader(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Boot: "1", AmnesiaWait: time.Hour})
	tr.write("a", "0")
	var behind *member
	for _, m := range tr.nodes {
		if m != tr.leader() {
			behind = m
		}
	}
	tr.stop(behind, false)
	for range 1500 {
		tr.write("a", "1")
	}
	acked := tr.leader().store.Applied()
	tr.o.Boot = "2"
	tr.start(behind)
	within(t, "it serves", behind.c.served.Load)
	if has := behind.store.Applied(); has < acked {
		t.Errorf("it serves, and votes, with entries up to %d; %d were acknowledged before it was started", has, acked)
	}
}
