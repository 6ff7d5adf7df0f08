package replication

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A message that has lain about, because the follower was stopped or the wire was cut, does not make old data new.
func TestOldNewsAreNoNews(t *testing.T) {
	const ms = int64(time.Millisecond)
	applied := uint64(100)
	n := news{applied: func() uint64 { return applied }}
	message := func(term uint64, p progress, atMs int64) {
		//lint:ignore SA1019 raft does not look at it any more
		n.note(&raft.AppendEntriesRequest{Term: term, LeaderCommitIndex: p.committed, Leader: p.encode()}, atMs*ms)
	}
	want := func(atMs int64, wantMs int64) {
		t.Helper()
		lag, ok := n.lag(atMs * ms)
		if got := int64(lag) / ms; ok != (wantMs >= 0) || ok && got != wantMs {
			t.Errorf("at %d ms: %d ms, %v; want %d", atMs, got, ok, wantMs)
		}
	}
	want(10, -1)
	message(2, progress{1, 0, 90}, 10)
	want(20, -1) // nobody knows when it was sent
	message(2, progress{2, 1, 91}, 20)
	want(30, 20)
	message(2, progress{3, 2, 92}, 5000) // it was sent at 30
	want(5000, 4980)
	message(2, progress{4, 3, 101}, 5020)
	want(5020, 5000) // it has to be applied first
	message(2, progress{5, 4, 102}, 5030)
	applied = 101
	want(5040, 40)
	n.note(&raft.AppendEntriesRequest{Term: 2, LeaderCommitIndex: 200}, 5050*ms) // who sends that may lead no more
	want(5060, 60)
	message(1, progress{6, 5, 90}, 5070)
	want(5080, 80) // a leader of the past
	message(3, progress{7, 5, 101}, 5090)
	want(5090, 90) // another leader means another request
	message(3, progress{8, 7, 101}, 5100)
	want(5100, 10)
}
