package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

var errVotesClosed = errors.New("this node does not vote yet: it has just been started, or may have forgotten what it had acknowledged")

var errLate = errors.New("a leadership that was to be handed over has ended since")

// transport is raft's, and listens to what is said: on the leader answers, from which its lease and what peers have follow; on a follower what the
// leader says is committed. It also keeps votes from a node that must not give any.
type transport struct {
	*raft.NetworkTransport
	c      *Cluster
	rpcs   chan raft.RPC
	voting sync.RWMutex  // held by a request for a vote, and shared by heartbeats
	closed atomic.Bool   // votes are not given
	unseat atomic.Uint64 // answers to requests of this term tell raft that there is a newer one

	handing atomic.Uint64 // the term in which this node hands over its leadership

	heardNs atomic.Int64  // bootNs at which a leader was heard last, or this node led
	turns   chan func()   // to be called between two requests
	early   atomic.Uint64 // the term for which this node stands without its leader's leave
	asked   atomic.Uint64 // the term in which it asked for votes last

	stop chan struct{}
	loop sync.WaitGroup
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(inner *raft.NetworkTransport, c *Cluster, votes bool) *transport {
	t := &transport{NetworkTransport: inner, c: c, rpcs: make(chan raft.RPC), turns: make(chan func()), stop: make(chan struct{})}
	t.closed.Store(!votes)
	return t
}

// start lets requests in.
func (t *transport) start() {
	t.loop.Add(1)
	go t.pass()
}

// Consumer is where raft gets requests from.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// pass hands requests to raft, but for votes while they are closed.
func (t *transport) pass() {
	defer t.loop.Done()
	for {
		var rpc raft.RPC
		select {
		case rpc = <-t.NetworkTransport.Consumer():
		case f := <-t.turns:
			f()
			continue
		case <-t.stop:
			return
		}
		term := uint64(0) // of a leader's message
		switch req := rpc.Command.(type) {
		case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest, *raft.TimeoutNowRequest:
			if t.closed.Load() {
				rpc.Respond(nil, errVotesClosed)
				continue
			}
			if asked, ok := req.(*raft.RequestPreVoteRequest); !ok {
				t.vote(rpc)
				continue
			} else if t.free() && t.c.raft.State() == raft.Follower {
				rpc.Respond(t.c.succession.answer(asked), nil)
				continue
			}
		case *raft.AppendEntriesRequest:
			t.c.news.note(req, bootNs())
			clamp(req)
			term = req.Term
		case *raft.InstallSnapshotRequest:
			term = req.Term
		}
		t.listen(term)
		select {
		case t.rpcs <- rpc:
			t.listen(term) // it may have had to wait for raft, which answers now
		case <-t.stop:
			return
		}
	}
}

// listen notes that a leader is heard, before it is answered: the pledge begins anew.
func (t *transport) listen(term uint64) {
	if term > 0 && term >= t.c.raft.CurrentTerm() {
		t.heardNs.Store(bootNs())
	}
}

// free tells whether this node owes its leader nothing any more: its pledge is over. It is asked by pass only, which hands over what a leader says, and
// holds voting if somebody is to be elected.
func (t *transport) free() bool { return bootNs()-t.heardNs.Load() >= int64(t.c.pledge()) }

// clamp keeps raft from committing what its leader has not spoken of. It commits up to the end of its own log, which may go on, behind entries that agree,
// with some of an old term that could not be cut off yet because the disk is full.
func clamp(req *raft.AppendEntriesRequest) {
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, req.PrevLogEntry+uint64(len(req.Entries)))
}

// vote hands a request for a vote, or to stand for election at once, to raft, and lets no heartbeat by until it is answered. Raft looks whether it has a leader, writes the new term to
// disk, and only then refuses the old leader's heartbeats, which do not go through its main goroutine: one that came in between would extend the
// lease of a leader that is being voted out. It is handed over only when raft takes it at once: heartbeats must not wait for a slow disk.
func (t *transport) vote(rpc raft.RPC) {
	answer, to := make(chan raft.RPCResponse, 1), rpc.RespChan
	rpc.RespChan = answer
	for !t.voteNow(rpc, answer, to) {
		select {
		case <-time.After(time.Millisecond):
		case <-t.stop:
			return
		}
	}
}

func (t *transport) voteNow(rpc raft.RPC, answer <-chan raft.RPCResponse, to chan<- raft.RPCResponse) (done bool) {
	t.voting.Lock()
	defer t.voting.Unlock()
	switch req := rpc.Command.(type) {
	case *raft.TimeoutNowRequest:
		if !t.timely(req) {
			to <- raft.RPCResponse{Error: errLate}
			return true
		}
	case *raft.RequestVoteRequest:
		if t.free() && t.c.raft.State() == raft.Follower {
			req.LeadershipTransfer = true // raft does not mind then that it has not dropped its leader yet
		}
	}
	select {
	case t.rpcs <- rpc:
	default:
		return false
	}
	select {
	case a := <-answer:
		to <- a
	case <-t.stop:
	}
	return true
}

// between has pass call f between two requests, and returns what f does; false if the transport has ended.
func (t *transport) between(f func() bool) bool {
	done := make(chan bool, 1)
	select {
	case t.turns <- func() { done <- f() }:
	case <-t.stop:
		return false
	}
	select {
	case is := <-done:
		return is
	case <-t.stop:
		return false
	}
}

// standFor has raft stand for election in the term behind this one, if it has time and nobody has been heard meanwhile. It is told what a leader says
// that hands over its leadership.
func (t *transport) standFor(term uint64) bool {
	return t.between(func() bool {
		stand := &raft.TimeoutNowRequest{RPCHeader: t.c.header()}
		return t.c.raft.CurrentTerm() == term && t.c.raft.State() == raft.Follower && t.advance(term+1, stand)
	})
}

// fallBack has raft follow in this term, in which it has voted for nobody, if nobody has been heard meanwhile. It is told what a candidate says that
// lacks all that is in its log.
func (t *transport) fallBack(term uint64) bool {
	return t.between(func() bool {
		newer := &raft.RequestVoteRequest{RPCHeader: t.c.header(), Term: term, LeadershipTransfer: true}
		return t.c.raft.CurrentTerm() < term && t.c.raft.State() != raft.Leader && t.advance(term, newer)
	})
}

// advance tells raft something that brings it to a term. No heartbeat gets by until it is in that, in which it refuses those of older ones.
func (t *transport) advance(term uint64, request any) bool {
	t.voting.Lock()
	defer t.voting.Unlock()
	if t.closed.Load() || !t.free() {
		return false
	}
	t.early.Store(term)
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.rpcs <- raft.RPC{Command: request, RespChan: answer}:
	case <-time.After(t.c.pledge() / turnsPerPledge): // its disk is slow, perhaps
		return false
	case <-t.stop:
		return false
	}
	if _, vote := request.(*raft.RequestVoteRequest); vote {
		select {
		case <-answer:
			return t.c.raft.CurrentTerm() >= term
		case <-t.stop:
			return false
		}
	}
	for t.c.raft.CurrentTerm() < term { // it had answered before it began
		select {
		case <-time.After(time.Millisecond):
		case <-t.stop:
			return false
		}
	}
	return true
}

// RequestVote asks for a vote. A node that stands by itself has no leader's leave: voters decide by what they owe to theirs.
func (t *transport) RequestVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	of := *req
	if req.Term == t.early.Load() {
		of.LeadershipTransfer = false
	}
	t.asked.Store(req.Term)
	return t.NetworkTransport.RequestVote(id, addr, &of, resp)
}

// TimeoutNow asks another node to be elected at once, though its voters have heard from a leader just now. That leader has given up its lease for this
// term, and for no other: so the request says which it is, behind the ID, at which raft does not look. One that has lain about while the node was stopped
// would depose a later leader in the middle of its lease.
func (t *transport) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	of := *req
	of.ID = binary.BigEndian.AppendUint64(bytes.Clone(req.ID), t.handing.Load())
	return t.NetworkTransport.TimeoutNow(id, addr, &of, resp)
}

// timely tells whether a request to be elected at once is of the present term.
func (t *transport) timely(req *raft.TimeoutNowRequest) bool {
	at := len(req.ID) - 8
	return at >= 0 && binary.BigEndian.Uint64(req.ID[at:]) == t.c.raft.CurrentTerm()
}

// SetHeartbeatHandler is told who answers heartbeats without raft's main goroutine. They are for followers alone: who is about to stand for election would
// be made a follower of the old term in the middle of it.
func (t *transport) SetHeartbeatHandler(answer func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		req := rpc.Command.(*raft.AppendEntriesRequest)
		t.c.news.note(req, bootNs())
		select {
		case <-t.c.ready:
		case <-t.stop:
			rpc.Respond(nil, raft.ErrTransportShutdown)
			return
		}
		t.voting.RLock()
		defer t.voting.RUnlock()
		t.listen(req.Term)
		if t.c.raft.State() == raft.Follower {
			answer(rpc)
			return
		}
		select {
		case t.rpcs <- rpc:
		case <-t.stop:
			rpc.Respond(nil, raft.ErrTransportShutdown)
		}
	})
}

// openVotes lets votes through from now on.
func (t *transport) openVotes() { t.closed.Store(false) }

// abdicate makes raft step down from a term: it has no call for that, but does so when a peer answers with a newer term.
func (t *transport) abdicate(term uint64) { t.unseat.Store(term) }

// heard looks at an answer before raft does.
func (t *transport) heard(id raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, sentNs int64) {
	if req.Term == t.unseat.Load() {
		resp.Term, resp.Success = req.Term+1, false
		return
	}
	t.c.heard(id, req, resp, sentNs)
}

// tell adds to a request what the follower needs to know for its own reads.
func (t *transport) tell(id raft.ServerID, req *raft.AppendEntriesRequest) (told *raft.AppendEntriesRequest, sentNs int64) {
	sentNs = t.speak()
	p, ok := t.c.progressOf(id, req.Term, sentNs)
	of := *req
	var said []byte
	if ok {
		said = p.encode()
	}
	//lint:ignore SA1019 raft does not look at it any more, which is why it is ours (progress.encode)
	of.Leader = said
	return &of, sentNs
}

// AppendEntries is also what heartbeats are.
func (t *transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	req, sent := t.tell(id, req)
	err := t.NetworkTransport.AppendEntries(id, addr, req, resp)
	if err == nil {
		t.heard(id, req, resp, sent)
	}
	return err
}

// speak notes that this node leads: it votes for nobody either while its lease may last. It returns the time.
func (t *transport) speak() (nowNs int64) {
	nowNs = bootNs()
	t.heardNs.Store(nowNs)
	return nowNs
}

// Into a pipeline raft puts one request each time when something new has come, or the commit timeout is over. A peer that is behind would never catch up:
// it is sent request after request beside the pipeline, until it is no more than so many entries behind.
const pipelineLag = 64

var errBehind = errors.New("the peer is behind: it is sent what it lacks first")

// AppendEntriesPipeline begins a pipeline to a peer that is not behind.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	if p, ok := t.c.peers.get(id, t.c.raft.CurrentTerm()); !ok || t.behind(p.match) {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, t: t, id: id, done: make(chan raft.AppendFuture), stop: make(chan struct{})}
	go p.decode()
	return p, nil
}

// behind tells whether a log that ends with an entry lacks many of this node's.
func (t *transport) behind(index uint64) bool { return t.c.raft.LastIndex() > index+pipelineLag }

// Close ends the transport.
func (t *transport) Close() error {
	close(t.stop)
	err := t.NetworkTransport.Close()
	t.NetworkTransport.CloseStreams()
	t.loop.Wait()
	return err
}

// pipeline notes when each request was sent: they are answered in order.
type pipeline struct {
	raft.AppendPipeline
	t    *transport
	id   raft.ServerID
	done chan raft.AppendFuture
	stop chan struct{}
	once sync.Once

	mu   sync.Mutex
	sent []int64
}

func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.t.behind(req.PrevLogEntry + uint64(len(req.Entries))) {
		return nil, errBehind
	}
	req, sent := p.t.tell(p.id, req)
	p.mu.Lock()
	p.sent = append(p.sent, sent)
	p.mu.Unlock()
	return p.AppendPipeline.AppendEntries(req, resp)
}

// decode looks at each answer before raft does. It ends when the pipeline is closed.
func (p *pipeline) decode() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			p.mu.Lock()
			sent := p.sent[0]
			p.sent = p.sent[:copy(p.sent, p.sent[1:])]
			p.mu.Unlock()
			if f.Error() == nil {
				p.t.heard(p.id, f.Request(), f.Response(), sent)
			}
			select {
			case p.done <- f:
			case <-p.stop:
				return
			}
		case <-p.stop:
			return
		}
	}
}

// Consumer is where raft gets answers from.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.done }

// Close ends the pipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.stop) })
	return p.AppendPipeline.Close()
}
