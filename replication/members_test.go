package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sett/storage"
)

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A cluster of one grows to three, and shrinks again.
func TestMembership(t *testing.T) {
	tr := newTrio(t, 1, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	first := tr.leader()
	for range 2 {
		m := tr.join()
		if err := first.c.AddNonvoter(soon(t), m.id, m.addr); err != nil {
			t.Fatal(err)
		}
		tr.everywhere("a", "1")
		if err := first.c.AddVoter(soon(t), m.id, m.addr); err != nil {
			t.Fatal(err)
		}
	}
	tr.write("a", "2")
	tr.everywhere("a", "2")
	tr.stop(first, false)
	tr.write("a", "3")
	lead := tr.leader()
	if err := lead.c.Remove(soon(t), first.id); err != nil {
		t.Fatal(err)
	}
	for _, m := range tr.nodes[1:] {
		within(t, "two members", func() bool {
			s := m.c.State()
			_, there := s.Member(first.id)
			return len(s.Members) == 2 && !there
		})
	}
	tr.write("a", "4")
	tr.everywhere("a", "4")
}

// join starts one more node, which belongs to no cluster yet.
func (tr *trio) join() *member {
	m := tr.add()
	tr.start(m)
	return m
}

// What the leader knows of its followers, and they of it.
func TestReads(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	lead := tr.leader()
	if err := lead.c.Confirm(soon(t)); err != nil {
		t.Fatal(err)
	}
	index := lead.store.Applied()
	within(t, "two acknowledge", func() bool { return lead.c.Acknowledged(index) == 2 })
	for _, m := range tr.nodes {
		if err := m.c.WaitApplied(soon(t), index); err != nil {
			t.Fatal(err)
		}
		within(t, "it serves", func() bool { return m.store.Status().Serving })
		if got, err := m.get("a"); err != nil || got != "1" {
			t.Errorf("%s: a = %q, %v", m.id, got, err)
		}
		within(t, "caught up", func() bool {
			lag, ok := m.c.CaughtUp()
			return ok && lag < testHeartbeat
		})
		if s := m.c.State(); s.Leader != lead.id || s.Applied < index || (s.Role == Leader) != (m == lead) {
			t.Errorf("%s: %+v", m.id, s)
		}
		if m != lead {
			if err := m.c.Confirm(soon(t)); err == nil {
				t.Errorf("%s confirms", m.id)
			}
			if err := m.set("a", "2"); !errors.Is(err, storage.ErrNotEvaluating) {
				t.Errorf("%s wrote: %v", m.id, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := lead.c.WaitApplied(ctx, index+1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what will not come: %v", err)
	}
	tr.wires.isolate(lead.addr)
	within(t, "no majority", func() bool { return lead.c.Confirm(soon(t)) != nil })
	within(t, "the cut-off node is behind", func() bool {
		lag, ok := lead.c.CaughtUp()
		return !ok || lag > 2*testHeartbeat
	})
}

// Elections and new leaders are counted.
func TestElectionsAreCounted(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	old := tr.leader()
	tr.stop(old, false)
	tr.write("a", "2")
	lead := tr.leader()
	for _, m := range tr.nodes {
		if m == old {
			continue
		}
		within(t, "a new leader is counted", func() bool { return m.c.Metrics().LeaderChanges.Load() == 1 })
		if elections := m.c.Metrics().Elections.Load(); m == lead && elections == 0 {
			t.Error("nobody has called an election")
		}
	}
}

// A leader whose disk is full has another one lead.
func TestFullDiskMovesLeadership(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	old := tr.leader()
	old.store.SetDiskFree(0)
	if err := old.store.Admit(false); err == nil {
		t.Fatal("a write was admitted to a full disk")
	}
	r := newReign(old.c.raft.CurrentTerm()) // as if it had led for long
	r.begun = time.Now().Add(-relieveAfter)
	r.until.Store(old.c.reign.Load().until.Load())
	old.c.reign.Store(r)
	within(t, "another leads", func() bool { return tr.leader() != old })
	tr.write("a", "2")
}

// The leader says how much a node lacks, and how long it takes to answer. It keeps for it as much log as its owner wants at the moment.
func TestLag(t *testing.T) {
	keep := new(atomic.Int64)
	keep.Store(1 << 30)
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, MarkerInterval: 20 * time.Millisecond, KeepBytes: keep})
	tr.write("a", "1")
	away := tr.nodes[0]
	if away == tr.leader() {
		away = tr.nodes[1]
	}
	lead := tr.leader()
	of := func() Member { s := lead.c.State(); m, _ := s.Member(away.id); return m }
	within(t, "it has the first write", func() bool { return of().Match == lead.c.State().Last })
	tr.stop(away, true)
	value := strings.Repeat("v", 20_000)
	for i := range 100 {
		tr.write(fmt.Sprint("k", i), value)
	}
	if lead != tr.leader() {
		t.Skip("another node leads: the machine is too busy")
	}
	if m := of(); m.LagBytes < 2_000_000 || m.LagBytes > 4_000_000 {
		t.Errorf("it lacks 2 MB: %d", m.LagBytes)
	}
	if first := lead.c.State().First; first > 2 {
		t.Errorf("the log begins at entry %d, though it may keep all", first)
	}
	tr.start(away)
	tr.everywhere("k99", value)
	within(t, "it lacks nothing", func() bool { m := of(); return m.LagBytes == 0 && m.Append > 0 })
	keep.Store(0)
	within(t, "the log is cut", func() bool { tr.write("b", "1"); return tr.leader().c.State().First > 2 })
}
