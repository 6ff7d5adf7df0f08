package replication

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A follower that has heard from its leader votes for nobody else, and does not stand itself, for a while: its pledge (transport.free). So from the moment
// at which a leader sent what a majority has answered, nobody else can lead for so long, and the leader may answer reads by itself. Clocks must not
// differ in speed by more than a tenth. How long a silent leader is put up with is another thing, and longer (succession.go).
//
// Raft's followers answer heartbeats beside their main goroutine: the answer of one that was just about to stand for election itself says nothing. So
// a request counts only when another, sent after its answer had come, was answered as well.
//
// Two things would break all that. A node that hands over its leadership asks another to be elected at once: its lease ends before, for the rest of
// the term. A node that has been restarted has forgotten whom it heard: it votes for nobody until a pledge would have ended (transport.openVotes).

// longestPledge is how long a pledge lasts, unless patience with a leader is shorter, which it is in tests only: all nodes of a cluster must agree on it, and
// raft.heartbeat, which may differ from node to node, at least while it is being changed, is never shorter (config).
const longestPledge = 500 * time.Millisecond

func (c *Cluster) pledge() time.Duration { return min(c.o.Heartbeat, longestPledge) }

// leaseShare of a pledge is how long a lease lasts: the rest is for clocks that run differently.
const leaseShare = 0.9

// reign is the time from the moment at which this node may evaluate in a term until it must not any more.
type reign struct {
	term  uint64
	until atomic.Int64  // bootNs at which the lease ends
	ended chan struct{} // closed by whoever ends it

	unleased atomic.Bool // there is no lease any more: leadership is being handed over
	refused  atomic.Bool // raft has refused a proposal
	begun    time.Time   // rule goroutine only, as is the next
	held     bool        // the lease was valid when rule looked last
}

func newReign(term uint64) *reign {
	return &reign{term: term, begun: time.Now(), ended: make(chan struct{})}
}

func (r *reign) leased(nowNs int64) bool {
	return (nowNs < r.until.Load() || planted("lease-never-ends")) && !r.unleased.Load()
}

// peers is what the answers of other nodes have told the leader of a term.
type peers struct {
	mu   sync.Mutex
	term uint64
	of   map[raft.ServerID]*peer
}

type peer struct {
	sentNs  int64     // when the newest request was sent of which it is certain that it followed us then
	last    span      // the newest request that it has answered with success, and may count next
	askedNs int64     // when the newest request was sent that it has answered with success
	heardAt time.Time // its last answer
	match   uint64    // its log agrees with ours up to here

	append time.Duration // from entries that were sent to its answer: an average in which an answer counts for an eighth
}

// span is the time from a request to its answer, in bootNs.
type span struct{ sentNs, answeredNs int64 }

// heard notes an answer. It returns whether a lease may have become longer by something that counts.
func (p *peers) heard(id raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, at span, stepNs int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.Term < p.term {
		return false
	}
	if req.Term > p.term || p.of == nil {
		p.term, p.of = req.Term, make(map[raft.ServerID]*peer)
	}
	q := p.of[id]
	if q == nil {
		q = &peer{}
		p.of[id] = q
	}
	q.heardAt = time.Now()
	if len(req.Entries) > 0 {
		q.took(time.Duration(at.answeredNs - at.sentNs))
	}
	if !resp.Success || resp.Term != req.Term {
		return false
	}
	// A heartbeat names no previous entry, and so says nothing about the log.
	if n := uint64(len(req.Entries)); req.PrevLogEntry > 0 || n > 0 {
		q.match = max(q.match, req.PrevLogEntry+n)
	}
	q.askedNs = max(q.askedNs, at.sentNs)
	if at.sentNs < q.last.answeredNs {
		return false
	}
	confirmed := q.last.sentNs
	q.last = at
	if confirmed < q.sentNs+stepNs {
		return false
	}
	q.sentNs = confirmed
	return true
}

func (q *peer) took(d time.Duration) {
	if q.append == 0 {
		q.append = d
	}
	q.append += (d - q.append) / 8
}

// get returns what is known of a peer in a term.
func (p *peers) get(id raft.ServerID, term uint64) (q peer, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.of[id]; found != nil && p.term == term {
		return *found, true
	}
	return peer{}, false
}

// supported is the latest time of which it is known that a majority of the voters followed this node in a term then; 0 if there is none.
func (p *peers) supported(voters []raft.ServerID, self raft.ServerID, term uint64, nowNs int64) int64 {
	times := make([]int64, 0, 8)
	for _, id := range voters {
		if id == self {
			times = insert(times, nowNs)
		} else if q, ok := p.get(id, term); ok {
			times = insert(times, q.sentNs)
		} else {
			times = insert(times, 0)
		}
	}
	if len(times) == 0 {
		return 0
	}
	return times[len(voters)/2]
}

// answered tells whether a majority of the voters has answered requests of a term that were sent at a time, or later.
func (p *peers) answered(voters []raft.ServerID, self raft.ServerID, term uint64, sinceNs int64) bool {
	votes := 0
	for _, id := range voters {
		if q, ok := p.get(id, term); id == self || ok && q.askedNs >= sinceNs {
			votes++
		}
	}
	return votes > len(voters)/2
}

// insert keeps times in descending order.
func insert(times []int64, t int64) []int64 {
	times = append(times, t)
	for i := len(times) - 1; i > 0 && times[i] > times[i-1]; i-- {
		times[i], times[i-1] = times[i-1], times[i]
	}
	return times
}
