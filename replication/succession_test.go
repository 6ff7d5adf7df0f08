package replication

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Patience with a slow leader costs no time when it has ended: nobody here would notice its silence.
func TestSuccessionOfTheDead(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Heartbeat: time.Minute})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	old := tr.leader()
	tr.stop(old, false)
	within(t, "another leads", func() bool {
		for _, m := range tr.nodes {
			if m.up && m.c.Leads() {
				return true
			}
		}
		return false
	})
	tr.write("a", "2")
	tr.start(old)
	tr.everywhere("a", "2")
}

// peerOf is a follower that votes, and the leader it has.
func (tr *trio) peerOf() (lead, follower *member) {
	lead = tr.leader()
	follower = tr.nodes[0]
	if follower == lead {
		follower = tr.nodes[1]
	}
	within(tr.t, "it votes", func() bool { return !follower.c.trans.closed.Load() })
	return lead, follower
}

// A node that has just heard its leader would follow nobody else, votes for nobody, and does not stand, whoever else is sure that the leader has ended.
func TestPledge(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Heartbeat: time.Minute})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	lead, follower := tr.peerOf()
	other := tr.nodes[2]
	if other == lead {
		other = tr.nodes[1]
	}
	term := follower.c.raft.CurrentTerm()
	header, last := other.c.header(), other.c.raft.LastIndex()
	to, at := raft.ServerID(follower.id), raft.ServerAddress(follower.addr)
	var would raft.RequestPreVoteResponse
	if err := other.c.trans.RequestPreVote(to, at, &raft.RequestPreVoteRequest{RPCHeader: header, Term: term + 1, LastLogIndex: last, LastLogTerm: term}, &would); err != nil || would.Granted {
		t.Errorf("it would follow another: %v", err)
	}
	var does raft.RequestVoteResponse
	if err := other.c.trans.RequestVote(to, at, &raft.RequestVoteRequest{RPCHeader: header, Term: term + 1, LastLogIndex: last, LastLogTerm: term}, &does); err != nil || does.Granted {
		t.Errorf("it votes for another: %v", err)
	}
	if follower.c.trans.standFor(term) || follower.c.trans.standFor(term-1) {
		t.Error("it stands itself")
	}
	if now := lead.c.raft.CurrentTerm(); now != term {
		t.Errorf("the term is %d, was %d", now, term)
	}
}

// Of two that ask each other at once one goes ahead; whose log is behind does not.
func TestClaims(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Heartbeat: time.Minute})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	lead, follower := tr.peerOf()
	follower.c.trans.closed.Store(true) // it does nothing by itself, and its log stays as it is
	tr.wires.isolate(follower.addr)
	s := follower.c.succession
	index, last, err := s.end()
	if err != nil {
		t.Fatal(err)
	}
	term := follower.c.raft.CurrentTerm()

	for _, c := range []struct {
		from        string
		asks        bool
		index, term uint64
		want        bool
	}{
		{lead.id, false, index, last, true},
		{lead.id, false, index - 1, last, false},
		{lead.id, false, index + 5, last - 1, false},
		{lead.id, false, 1, last + 1, true},
		{"stranger", false, index, last, false}, // nobody here knows it
		{lead.id, true, index + 1, last, true},
		{lead.id, true, index, last, lead.id < follower.id},
	} {
		s.mu.Lock()
		s.asking, s.yieldsTo = c.asks, time.Time{}
		s.mu.Unlock()
		req := &raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte(c.from)}, Term: term + 1, LastLogIndex: c.index, LastLogTerm: c.term}
		resp := s.answer(req)
		s.mu.Lock()
		yields := time.Now().Before(s.yieldsTo)
		s.asking = false
		s.mu.Unlock()
		if resp.Granted != c.want || yields != c.want {
			t.Errorf("%+v: granted %v, yields %v", c, resp.Granted, yields)
		}
	}
	if s.answer(&raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte(lead.id)}, Term: term - 1, LastLogIndex: index, LastLogTerm: last}).Granted {
		t.Error("a term that is over")
	}
}

// Two that stand in one term, each with its own vote, do not wait for raft to try again. One that has missed a term learns of it.
func TestSplitVote(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Heartbeat: time.Minute})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	old := tr.leader()
	var left []*member
	for _, m := range tr.nodes {
		if m != old {
			left = append(left, m)
			within(t, "it votes", func() bool { return !m.c.trans.closed.Load() })
		}
	}
	term := left[0].c.raft.CurrentTerm()
	tr.wires.isolate(left[0].addr)
	tr.wires.isolate(left[1].addr)
	tr.stop(old, false)
	for _, m := range left {
		within(t, "it stands", func() bool { return m.c.trans.standFor(term) })
	}
	within(t, "one gives up", func() bool { return left[0].c.raft.CurrentTerm() == term+2 })
	within(t, "it is far ahead", func() bool { return left[0].c.trans.fallBack(term + 5) })
	tr.wires.heal()
	tr.write("a", "2")
	tr.start(old)
	tr.everywhere("a", "2")
}
