package replication

import (
	"strconv"
	"testing"

	"github.com/hashicorp/raft"
)

// A node that is asked to be elected at once, by a leader whose term is over, does not depose the one that leads now and has a lease.
func TestLateHandOver(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	tr.everywhere("a", "1")
	lead := tr.leader()
	term := lead.c.raft.CurrentTerm()
	heir := tr.nodes[0]
	if heir == lead {
		heir = tr.nodes[1]
	}
	within(t, "it votes", func() bool { return !heir.c.trans.closed.Load() })
	lead.c.trans.handing.Store(term - 1)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(lead.id), Addr: []byte(lead.addr)}}
	err := lead.c.trans.TimeoutNow(raft.ServerID(heir.id), raft.ServerAddress(heir.addr), req, &raft.TimeoutNowResponse{})
	if err == nil || err.Error() != errLate.Error() {
		t.Errorf("a late request: %v", err)
	}
	tr.write("a", "2")
	if now := lead.c.raft.CurrentTerm(); now != term {
		t.Errorf("the term is %d, was %d", now, term)
	}
}

// An answer to what was sent before a leader is asked whether it leads says nothing of now.
func TestOldAnswersConfirmNothing(t *testing.T) {
	voters := []raft.ServerID{"a", "b", "c"}
	p := &peers{}
	answered(p, "b", 1, 0, 0, 100, 300)
	if p.answered(voters, "a", 1, 200) {
		t.Error("what was sent at 100 and answered at 300 confirms that it led at 200")
	}
	answered(p, "c", 1, 0, 0, 200, 310)
	if !p.answered(voters, "a", 1, 200) || p.answered(voters, "a", 2, 200) || p.answered(append(voters, "d"), "a", 1, 200) {
		t.Error("what a majority has answered does not count, or what no majority has does")
	}
}

// What a leader has committed counts as far as it is known to agree.
func TestCommitIndexIsClamped(t *testing.T) {
	for _, c := range []struct {
		prev      uint64
		entries   int
		told, use uint64
	}{{10, 5, 12, 12}, {10, 5, 15, 15}, {10, 5, 100, 15}, {10, 0, 100, 10}, {0, 5, 100, 5}, {0, 0, 100, 0}, {0, 0, 0, 0}} {
		req := &raft.AppendEntriesRequest{PrevLogEntry: c.prev, Entries: make([]*raft.Log, c.entries), LeaderCommitIndex: c.told}
		if clamp(req); req.LeaderCommitIndex != c.use {
			t.Errorf("%d entries behind %d, and %d is committed: %d", c.entries, c.prev, c.told, req.LeaderCommitIndex)
		}
	}
}

// A node serves, and votes if it may have forgotten something, when it has all that was committed when it was started, not only a part of it.
func TestCatchesUpWithAll(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	lead := tr.leader()
	away := tr.nodes[0]
	if away == lead {
		away = tr.nodes[1]
	}
	tr.stop(away, true)
	for i := range 1000 {
		tr.write("a", strconv.Itoa(i))
	}
	committed := tr.leader().store.Applied()
	tr.start(away)
	within(t, "it serves", away.c.served.Load)
	if applied := away.store.Applied(); applied < committed {
		t.Errorf("it serves with entry %d, %d was committed before it was started", applied, committed)
	}
}

// A pipeline takes one request of a few entries at a time: what a peer lacks that is behind does not go through it.
func TestPipelineIsForWhoIsNotBehind(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	for i := range 2 * pipelineLag {
		tr.write("a", strconv.Itoa(i))
	}
	lead := tr.leader()
	peer := tr.nodes[0]
	if peer == lead {
		peer = tr.nodes[1]
	}
	id, addr := raft.ServerID(peer.id), raft.ServerAddress(peer.addr)
	var p raft.AppendPipeline
	within(t, "a pipeline to who has everything", func() (ok bool) {
		var err error
		p, err = lead.c.trans.AppendEntriesPipeline(id, addr)
		return err == nil
	})
	defer p.Close()
	last := lead.c.raft.LastIndex()
	term := lead.c.raft.CurrentTerm()
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: term, PrevLogEntry: last - pipelineLag - 1}, new(raft.AppendEntriesResponse)); err != errBehind {
		t.Errorf("a request that ends %d entries behind: %v", pipelineLag+1, err)
	}
	if !lead.c.trans.behind(last-pipelineLag-1) || lead.c.trans.behind(last) {
		t.Error("who is behind is not known")
	}
	lead.c.peers.mu.Lock()
	lead.c.peers.of[id].match = 1
	lead.c.peers.mu.Unlock()
	if _, err := lead.c.trans.AppendEntriesPipeline(id, addr); err != raft.ErrPipelineReplicationNotSupported {
		t.Errorf("a pipeline to who has one entry: %v", err)
	}
}
