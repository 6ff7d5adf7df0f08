package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// confirms is the goroutine that asks a majority whether this node leads, for all who want to know at once: who comes while it asks waits for the
// next round, because what counts is that the node leads after the call.
type confirms struct {
	mu      sync.Mutex
	waiting []chan error
	wanted  chan struct{}
}

func (q *confirms) init() { q.wanted = make(chan struct{}, 1) }

func (q *confirms) run(c *Cluster) func() {
	return func() {
		for {
			select {
			case <-c.stop:
				return
			case <-q.wanted:
			}
			q.mu.Lock()
			round := q.waiting
			q.waiting = nil
			q.mu.Unlock()
			err := c.confirm()
			for _, ch := range round {
				ch <- err
			}
		}
	}
}

// confirm is one round.
func (c *Cluster) confirm() error {
	r := c.reign.Load()
	if r == nil {
		return errNotLeading
	}
	committed, asked := c.raft.CommitIndex(), bootNs() // of this term's barrier at least: nothing committed before is missing
	// Raft counts answers to heartbeats that it sent before as well. One that has lain about for long says nothing about now.
	for {
		if err := c.await(c.raft.VerifyLeader()); err != nil {
			return err
		}
		if c.reign.Load() != r {
			return errNotLeading
		}
		if c.peers.answered(c.voters(), raft.ServerID(c.o.ID), r.term, asked) {
			return c.WaitApplied(c.ctx, committed)
		}
	}
}

// Confirm returns nil if this node was the leader at some moment after the call, and has applied all that was committed then.
func (c *Cluster) Confirm(ctx context.Context) error {
	ch := make(chan error, 1)
	c.confirms.mu.Lock()
	c.confirms.waiting = append(c.confirms.waiting, ch)
	c.confirms.mu.Unlock()
	poke(c.confirms.wanted)
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stop:
		return raft.ErrRaftShutdown
	}
}

// WaitApplied returns when everything up to index is applied on this node.
func (c *Cluster) WaitApplied(ctx context.Context, index uint64) error {
	// Raft tells nobody when it passes entries of its own, which are rare; its leader's next message comes soon.
	for c.raft.AppliedIndex() < index && c.store.Applied() < index {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.stop:
			return raft.ErrRaftShutdown
		case <-time.After(lookAgain):
		}
	}
	return c.fsm.wait(ctx, c.passing(index))
}

// passing is the last entry up to index that comes by the fsm: raft's own do not.
func (c *Cluster) passing(index uint64) uint64 {
	var l raft.Log
	for ; index > c.fsm.taken.Load(); index-- {
		err := c.logs.GetLog(index, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // below a snapshot
		}
		if err != nil || l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			break
		}
	}
	return index
}

// applied is the highest index up to which everything is applied.
func (c *Cluster) applied() uint64 {
	index := c.raft.AppliedIndex()
	if taken := c.fsm.taken.Load(); taken >= c.passing(index) {
		return max(index, taken)
	} else {
		return taken
	}
}

// news is what a follower has heard of its leader's commit index. All times are bootNs.
//
// When a message comes says nothing about how old it is: it may have lain about while this node was stopped, or on a wire that was cut. But it names a
// request that this follower had answered before it was sent; so what it tells is as new as the moment at which that request came.
type news struct {
	mu       sync.Mutex
	term     uint64
	arrivals [16]arrival // of the last requests of this term
	next     int         // of arrivals, to be replaced
	index    uint64      // what was committed when the leader sent a message
	sinceNs  int64       // … which was not before this
	freshNs  int64       // the state is as new as this; 0: unknown
	latest   uint64      // the newest commit index
	applied  func() uint64
}

// arrival is when a request came that was sent, by the leader's clock, at sentNs.
type arrival struct{ sentNs, cameNs int64 }

// note looks at a message of the leader that comes now.
func (n *news) note(req *raft.AppendEntriesRequest, nowNs int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if req.Term < n.term {
		return
	}
	if req.Term > n.term {
		n.term, n.arrivals = req.Term, [16]arrival{}
	}
	n.latest = max(n.latest, req.LeaderCommitIndex)
	//lint:ignore SA1019 raft does not look at it any more, which is why it is ours (progress.encode)
	p, ok := decodeProgress(req.Leader)
	if !ok {
		return // its leader cannot be sure that it still is one
	}
	sinceNs := n.cameLocked(p.answeredNs)
	if n.cameLocked(p.sentNs) == 0 {
		n.arrivals[n.next] = arrival{p.sentNs, nowNs}
		n.next = (n.next + 1) % len(n.arrivals)
	}
	if n.settleLocked(); n.index == 0 && sinceNs > n.freshNs {
		n.index, n.sinceNs = p.committed, sinceNs
	}
}

// cameLocked is when a request came; 0: it did not, or too long ago. n.mu is held.
func (n *news) cameLocked(sentNs int64) int64 {
	for _, a := range n.arrivals {
		if a.sentNs == sentNs {
			return a.cameNs
		}
	}
	return 0
}

// settleLocked takes a message off the list when what it told of is applied. n.mu is held.
func (n *news) settleLocked() {
	if n.index > 0 && n.applied != nil && n.applied() >= n.index {
		n.freshNs, n.index = n.sinceNs, 0
	}
}

// lag is how old the state is.
func (n *news) lag(nowNs int64) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settleLocked()
	return time.Duration(nowNs - n.freshNs), n.freshNs > 0
}

// newest is the newest commit index that was heard of.
func (n *news) newest() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latest
}

// CaughtUp tells how old this node's state may be: what was committed so long ago is in it. ok is false if that is unknown, as after a start.
func (c *Cluster) CaughtUp() (lag time.Duration, ok bool) {
	if !c.served.Load() {
		return 0, false
	}
	if c.Leads() {
		return 0, true
	}
	return c.news.lag(bootNs())
}

// progress is what a leader adds to its requests for followers that answer reads from what they have: how far it had committed at a moment at which
// nobody else could lead, and which of its requests the follower had answered by then. A request is known by the time at which it was sent.
type progress struct {
	sentNs, answeredNs int64
	committed          uint64
}

const (
	progressVersion = 1
	progressBytes   = 1 + 3*8
)

// encode is made to travel where raft once had its leader's address, at which it does not look any more.
func (p progress) encode() []byte {
	b := append(make([]byte, 0, progressBytes), progressVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.sentNs))
	b = binary.BigEndian.AppendUint64(b, uint64(p.answeredNs))
	return binary.BigEndian.AppendUint64(b, p.committed)
}

func decodeProgress(b []byte) (p progress, ok bool) {
	if len(b) != progressBytes || b[0] != progressVersion {
		return p, false
	}
	return progress{int64(binary.BigEndian.Uint64(b[1:])), int64(binary.BigEndian.Uint64(b[9:])), binary.BigEndian.Uint64(b[17:])}, true
}

// progressOf is what the leader of a term can tell a follower with a request that it sends now; false: it cannot be sure that it leads.
func (c *Cluster) progressOf(id raft.ServerID, term uint64, sentNs int64) (p progress, ok bool) {
	r := c.reign.Load()
	if r == nil || r.term != term {
		return p, false
	}
	q, _ := c.peers.get(id, term) // first of all: the rest is newer
	p = progress{sentNs, q.askedNs, c.raft.CommitIndex()}
	return p, r.leased(bootNs())
}
