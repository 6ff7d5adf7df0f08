package replication

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func answered(p *peers, id string, term uint64, prev uint64, entries int, sent, at int64) {
	req := &raft.AppendEntriesRequest{Term: term, PrevLogEntry: prev, Entries: make([]*raft.Log, entries)}
	p.heard(raft.ServerID(id), req, &raft.AppendEntriesResponse{Term: term, Success: true}, span{sent, at}, 0)
}

// A request counts when another that was sent after its answer was answered, too; what a majority has answered counts for the lease.
func TestLeaseIsWhatAMajorityHasAnswered(t *testing.T) {
	voters := []raft.ServerID{"a", "b", "c"}
	p := &peers{}
	supported := func(term uint64) int64 { return p.supported(voters, "a", term, 1000) }
	if got := supported(1); got != 0 {
		t.Errorf("without an answer: %d", got)
	}
	answered(p, "b", 1, 0, 0, 100, 110)
	if got := supported(1); got != 0 {
		t.Errorf("with one answer: %d", got)
	}
	answered(p, "b", 1, 0, 0, 105, 120) // sent before the first was answered
	if got := supported(1); got != 0 {
		t.Errorf("with two answers at once: %d", got)
	}
	answered(p, "b", 1, 0, 0, 130, 140)
	if got := supported(1); got != 100 {
		t.Errorf("confirmed: %d, want 100", got)
	}
	answered(p, "c", 1, 0, 0, 200, 210)
	answered(p, "c", 1, 0, 0, 220, 230)
	if got := supported(1); got != 200 {
		t.Errorf("the newest of two followers: %d, want 200", got)
	}
	if got := p.supported(append(voters, "d", "e"), "a", 1, 1000); got != 100 {
		t.Errorf("of five voters the second follower counts: %d, want 100", got)
	}
	if got := supported(2); got != 0 {
		t.Errorf("in a term without answers: %d", got)
	}
	answered(p, "b", 2, 0, 0, 300, 310)
	if got := supported(1); got != 0 {
		t.Errorf("when a newer term has begun: %d", got)
	}
	if got := p.supported([]raft.ServerID{"a"}, "a", 2, 1000); got != 1000 {
		t.Errorf("alone: %d, want now", got)
	}
}

func TestRefusalsExtendNoLease(t *testing.T) {
	p := &peers{}
	for i, resp := range []raft.AppendEntriesResponse{{Term: 1}, {Term: 2, Success: true}, {Term: 2}} {
		for n := range int64(5) {
			p.heard("b", &raft.AppendEntriesRequest{Term: 1}, &resp, span{100 * n, 100*n + 1}, 0)
		}
		if got := p.supported([]raft.ServerID{"a", "b", "c"}, "a", 1, 1000); got != 0 {
			t.Errorf("case %d: %d", i, got)
		}
	}
}

func TestMatch(t *testing.T) {
	p := &peers{}
	answered(p, "b", 1, 7, 3, 0, 1)
	answered(p, "b", 1, 0, 0, 2, 3) // a heartbeat
	if q, ok := p.get("b", 1); !ok || q.match != 10 {
		t.Errorf("match %d", q.match)
	}
	answered(p, "b", 1, 0, 2, 4, 5) // from the log's beginning
	answered(p, "b", 1, 12, 0, 6, 7)
	if q, _ := p.get("b", 1); q.match != 12 {
		t.Errorf("match %d", q.match)
	}
	if _, ok := p.get("b", 2); ok {
		t.Error("known in a term that has not begun")
	}
}

func TestReignWithoutLease(t *testing.T) {
	r := newReign(1)
	r.until.Store(100)
	if !r.leased(99) || r.leased(100) {
		t.Error("the lease does not end when it should")
	}
	r.unleased.Store(true)
	if r.leased(0) {
		t.Error("a lease while leadership is handed over")
	}
}

func TestBootClock(t *testing.T) {
	a := bootNs()
	time.Sleep(time.Millisecond)
	if d := bootNs() - a; d < int64(time.Millisecond) {
		t.Errorf("%d ns passed", d)
	}
}
