package replication

import (
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A leader that is silent is most often only slow: its processor is busy, or its disk. So nobody stands for election before it has been silent for a
// heartbeat timeout. But when a process has ended, the kernel closes its connections at once and refuses new ones. Who sees that has nothing to wait for
// but the end of the pledge that it gave the old leader (lease.go). Then it asks the others whether they would follow it; a voter would if its own pledge
// is over, its log is not ahead, and it does not ask itself with a better claim.
//
// Evidence may deceive, as when a firewall refuses connections in the leader's name. It makes a node ask early, and nothing else: that nobody votes
// within a pledge does not depend on it.
//
// Silence is counted in looks, not by a clock: to a process that waits for a processor itself everybody seems to be silent.
type succession struct {
	c    *Cluster
	ends chan struct{} // a connection that another node had opened has ended

	mu       sync.Mutex // guards the next two
	asking   bool       // whether the others would follow it
	yieldsTo time.Time  // until then it does not ask: it has told another that it would follow, or has just asked

	// Of the loop only.
	heardNs int64 // when the leader had been heard, at the last look
	silent  int   // looks since
	suspect bool  // a connection has ended since the leader was last known to be there
	gone    bool  // its process has ended

	votes uint64 // the term in which this node has asked for votes and not got them
	since int    // looks since it was first seen to wait for them
}

const (
	looksPerPledge = 20 // how often a follower looks after its leader while a pledge lasts
	turnsPerPledge = 5  // voters ask one after the other: two that ask at once would elect nobody
)

func newSuccession(c *Cluster) *succession { return &succession{c: c, ends: make(chan struct{}, 1)} }

func (s *succession) every() time.Duration { return max(s.c.pledge()/looksPerPledge, time.Millisecond) }

// loop is the goroutine that looks after the leader.
func (s *succession) loop() {
	tick := time.NewTicker(s.every())
	defer tick.Stop()
	for {
		select {
		case <-s.c.stop:
			return
		case <-s.ends:
			s.suspect = true
		case <-tick.C:
			s.silent++
		}
		s.look()
	}
}

// look has this node stand for election if it is time.
func (s *succession) look() {
	if heardNs := s.c.trans.heardNs.Load(); heardNs != s.heardNs {
		s.heardNs, s.silent, s.gone = heardNs, 0, false
	}
	if s.c.raft.State() == raft.Candidate {
		s.lookAtVotes()
	}
	if s.c.raft.State() != raft.Follower || !s.mayStand() {
		s.silent = 0
		return
	}
	addr, leader := s.c.raft.LeaderWithID()
	if s.suspect && !s.gone && s.silent > 0 && addr != "" {
		s.probe(addr)
	}
	patience := s.c.o.Heartbeat
	if s.gone || leader == "" {
		patience = s.c.pledge()
	}
	if waited := time.Duration(s.silent) * s.every(); waited >= patience && waited >= patience+s.turn(leader) {
		s.stand(leader)
	}
}

// lookAtVotes has a candidate give up whom nobody has elected within a pledge: it may be that two stood in one term and each has voted for itself. Raft
// would wait for an election timeout, which is as long as patience. Who stands without having been asked for votes yet has not voted either, and waits.
func (s *succession) lookAtVotes() {
	term := s.c.raft.CurrentTerm()
	if s.c.trans.asked.Load() != term {
		return
	}
	if s.votes != term {
		s.votes, s.since = term, 0
	}
	if s.since++; time.Duration(s.since)*s.every() >= s.c.pledge() && s.c.trans.fallBack(term+1) {
		s.c.o.Logger.Info("nobody was elected: this node asks again", "term", term)
	}
}

// mayStand tells whether this node is one of those that may be elected.
func (s *succession) mayStand() bool {
	return !s.c.trans.closed.Load() && s.c.raft.ReloadableConfig().HeartbeatTimeout < notYet && slices.Contains(s.c.voters(), raft.ServerID(s.c.o.ID))
}

// probe looks whether the leader's process has ended: its machine answers that nobody is there.
func (s *succession) probe(addr raft.ServerAddress) {
	conn, err := s.c.o.Stream.Dial(addr, s.c.pledge()/turnsPerPledge)
	if err == nil {
		conn.Close()
		s.suspect = false
	}
	s.gone = errors.Is(err, syscall.ECONNREFUSED)
}

// turn is how much longer than others this node waits.
func (s *succession) turn(leader raft.ServerID) time.Duration {
	before := 0
	for _, id := range s.c.voters() {
		if id != leader && id < raft.ServerID(s.c.o.ID) {
			before++
		}
	}
	return time.Duration(before) * s.c.pledge() / turnsPerPledge
}

// stand asks the others, and then has raft stand for election.
func (s *succession) stand(leader raft.ServerID) {
	s.mu.Lock()
	s.asking = time.Now().After(s.yieldsTo)
	asking := s.asking
	s.mu.Unlock()
	if !asking {
		return
	}
	term := s.c.raft.CurrentTerm()
	wanted, newest := s.wanted(term+1, leader)
	if newest > term+1 { // nobody votes in a term that is over for him
		s.c.trans.fallBack(newest)
	}
	s.mu.Lock()
	yielded := time.Now().Before(s.yieldsTo)
	s.mu.Unlock()
	if wanted && !yielded && s.c.trans.standFor(term) {
		s.c.o.Logger.Info("this node stands for election", "leader", leader, "its_process_has_ended", s.gone, "silent_for", time.Duration(s.silent)*s.every())
	}
	s.mu.Lock()
	s.asking = false
	s.yieldLocked(s.c.pledge() / turnsPerPledge)
	s.mu.Unlock()
}

func (s *succession) yieldLocked(to time.Duration) {
	if until := time.Now().Add(to); until.After(s.yieldsTo) {
		s.yieldsTo = until
	}
}

// wanted asks all voters but the leader, and tells whether a majority would follow this node, and what the newest term is of which it was told.
func (s *succession) wanted(term uint64, leader raft.ServerID) (wanted bool, newest uint64) {
	index, last, err := s.end()
	if err != nil {
		return false, 0
	}
	req := &raft.RequestPreVoteRequest{RPCHeader: s.c.header(), Term: term, LastLogIndex: index, LastLogTerm: last}
	servers := s.c.raft.GetConfiguration().Configuration().Servers
	answers := make(chan raft.RequestPreVoteResponse, len(servers))
	voters, asked := 0, 0
	for _, v := range servers {
		if v.Suffrage != raft.Voter {
			continue
		}
		if voters++; v.ID == raft.ServerID(s.c.o.ID) || v.ID == leader {
			continue
		}
		asked++
		s.c.loops.Go(func() {
			var resp raft.RequestPreVoteResponse
			if s.c.trans.RequestPreVote(v.ID, v.Address, req, &resp) != nil {
				resp = raft.RequestPreVoteResponse{}
			}
			answers <- resp
		})
	}
	late := time.After(s.c.pledge())
	for votes := 1; votes <= voters/2; asked-- {
		if asked == 0 {
			return false, newest
		}
		select {
		case a := <-answers:
			newest = max(newest, a.Term)
			if a.Granted {
				votes++
			}
		case <-late:
			return false, newest
		case <-s.c.stop:
			return false, newest
		}
	}
	return true, newest
}

// end is where this node's log ends.
func (s *succession) end() (index, term uint64, err error) {
	if index = s.c.raft.LastIndex(); index > 0 {
		term, err = s.c.termOf(index)
	}
	return index, term, err
}

// answer tells another node whether this one, whose pledge is over, would follow it.
func (s *succession) answer(req *raft.RequestPreVoteRequest) *raft.RequestPreVoteResponse {
	resp := &raft.RequestPreVoteResponse{RPCHeader: s.c.header(), Term: s.c.raft.CurrentTerm()}
	index, last, err := s.end()
	voters := s.c.voters()
	known := len(voters) == 0 || slices.Contains(voters, raft.ServerID(req.ID)) // a new node knows none yet
	if err != nil || req.Term < resp.Term || !known {
		return resp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead := last > req.LastLogTerm || last == req.LastLogTerm && index > req.LastLogIndex
	alike := last == req.LastLogTerm && index == req.LastLogIndex
	if ahead || s.asking && alike && s.c.o.ID < string(req.ID) {
		return resp
	}
	s.yieldLocked(s.c.pledge())
	resp.Granted, resp.Term = true, req.Term
	return resp
}

// header is that of requests which this node sends in raft's name.
func (c *Cluster) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(c.o.ID), Addr: []byte(c.o.Addr)}
}

// attentive is a stream layer that says when a connection that others have opened has ended.
type attentive struct {
	raft.StreamLayer
	ends chan struct{}
}

type attentiveConn struct {
	net.Conn
	ends chan struct{}
}

func (a attentive) Accept() (net.Conn, error) {
	conn, err := a.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return attentiveConn{conn, a.ends}, nil
}

func (a attentiveConn) Read(b []byte) (int, error) {
	n, err := a.Conn.Read(b)
	if err != nil {
		poke(a.ends)
	}
	return n, err
}
