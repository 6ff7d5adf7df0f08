package server

import (
	"context"
	"strconv"
	"sync"
	"time"

	"sett/commands"
	"sett/resp"
)

// In a cluster a read is only as good as the reader's knowledge that nobody else leads. The question is asked once for all that is held, after the
// commands ran and before their replies leave (buffers.leads):
//
//   - lease: as long as the leader's lease holds nobody else can lead; when it does not, the others are asked;
//   - linearizable: the others are asked each time, once for all who wait at the moment;
//   - stale: a node that does not lead answers from what it has, if that is new enough. Otherwise the read travels.

// readLevel is what a client has asked for with SETT READ.
type readLevel struct {
	chosen       bool // else the server's
	linearizable bool
	stale        bool
	boundMs      int64 // of stale
}

// words are the arguments of SETT READ that choose the level.
func (r readLevel) words() []string {
	switch {
	case r.stale:
		return []string{"stale", strconv.FormatInt(r.boundMs, 10)}
	case r.linearizable:
		return []string{"linearizable"}
	}
	return []string{"lease"}
}

// readsHere tells whether a node that does not lead answers a command from what it has.
func (s *session) readsHere(row *commands.Row) bool {
	if !s.read.stale || row.Read == nil || s.link.isBusy() {
		return false
	}
	lag, ok := s.engine.Cluster.CaughtUp()
	return ok && lag <= time.Duration(s.read.boundMs)*time.Millisecond && s.hasSeenOwn()
}

// hasSeenOwn tells whether this client's own writes, as far as they travelled, are in this node's data.
func (s *session) hasSeenOwn() bool {
	s.learnIndex()
	return !s.unsure && s.seenIndex <= s.engine.Store.Status().Applied
}

// learnIndex takes over what the leader has said of the log.
func (s *session) learnIndex() {
	if l := s.link; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.position > 0 {
			s.seenIndex, s.unsure, l.position = max(s.seenIndex, l.position), false, 0
		}
	}
}

// mustLead tells whether the reply of a call is only true if this node leads. A write proves that by being committed.
func (s *session) mustLead(call *commands.Call) bool {
	return s.engine != nil && s.engine.Cluster != nil && !s.away && !call.Wrote
}

func (s *session) isLinearizable() bool {
	return s.read.linearizable || !s.read.chosen && s.server.limits.Load().Linearizable
}

// knowsLed tells whether it is known by now if this node has led when the held replies were made. Otherwise tell is called when it is.
func (s *session) knowsLed(b *buffers, tell func()) bool {
	if s.knowsByLease(b) {
		return true
	}
	if b.round == 0 {
		b.round = s.server.confirmer.join(s.engine.Cluster, tell)
		return false
	}
	done, ok := s.server.confirmer.result(b.round)
	b.sure = ok && s.speculations() == b.ended
	return done
}

// knowsByLease tells whether nobody has to be asked.
func (s *session) knowsByLease(b *buffers) bool {
	if s.speculations() != b.ended {
		return true // it has not
	}
	b.sure = !s.isLinearizable() && s.engine.Cluster.Leads()
	return b.sure
}

// hasLed waits until that is known, and tells it.
func (s *session) hasLed(b *buffers) bool {
	if s.hurried || s.knowsByLease(b) {
		return b.sure // the loop has waited before
	}
	told := make(chan struct{})
	for b.round = 0; !s.knowsLed(b, func() { close(told) }); {
		<-told
	}
	return b.sure
}

// replaceOutdated answers what may be outdated with an error.
func (s *session) replaceOutdated(b *buffers) {
	old, end := b.out, 0
	b.out = resp.Writer{Proto: old.Proto}
	defer old.Reset()
	movable := s.movable(b)
	for i, m := range b.marks {
		start := end
		if end = m.end; m.leads && i >= movable {
			s.moveOn(b, i)
			return
		} else if m.leads && end > start {
			fail(b, errTryAgainElsewhere)
			s.server.stats.tryAgain.Add(1)
		} else {
			b.out.Move(&old, start, end)
		}
	}
}

// movable is the first of the held replies from which on nothing but the reply is lost if the commands run again where the leader is by now. As long as
// this node is the leader, as far as it knows, that is none of them: it would be asked again.
func (s *session) movable(b *buffers) int {
	n := len(b.marks)
	if s.engine.Cluster == nil || s.leadsStill() {
		return n
	}
	inTheWay := len(s.reruns) > 0 || s.again.row != nil || s.waiter != nil || s.arrival.bytes > 0
	for ; n > 0; n-- {
		m := &b.marks[n-1]
		if s.origin != nil && m.wrote || s.origin == nil && (m.at == 0 || inTheWay) {
			break
		}
	}
	return n
}

func (s *session) leadsStill() bool {
	leader, _ := s.engine.Cluster.LeaderAddr()
	return s.engine.Store.Evaluating() && leader == s.engine.Cluster.State().ID
}

// moveOn has the commands from a held reply on run where the leader is: another node sends them there, or this one goes back to where they begin.
func (s *session) moveOn(b *buffers, from int) {
	if s.origin != nil {
		b.out.Raw([]byte{declined})
		s.instead = hangUp
		return
	}
	b.start = b.marks[from].at - 1
	s.check, s.postponed, s.uncounted = resp.State{}, false, 0
	s.instead = again
}

// confirmer asks the cluster whether this node leads, one round at a time. Whoever comes while one is under way waits for the next.
type confirmer struct {
	mu      sync.Mutex
	next    uint64   // the round that has not begun; guarded by mu, as all
	done    uint64   // all up to this one have ended
	proven  uint64   // … and this node has led after all of those began up to this one
	tell    []func() // when the next one ends
	running bool
}

// confirmTimeout is how long a majority may take to answer.
const confirmTimeout = 2 * time.Second

// join returns the number of a round that begins from now on.
func (f *confirmer) join(c Cluster, tell func()) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == 0 {
		f.next = 1
	}
	if tell != nil {
		f.tell = append(f.tell, tell)
	}
	if !f.running {
		f.running = true
		go f.run(c)
	}
	return f.next
}

// run ends when nobody waits.
func (f *confirmer) run(c Cluster) {
	for asked := uint64(0); ; {
		f.mu.Lock()
		if asked > 0 && len(f.tell) == 0 {
			f.running = false
			f.mu.Unlock()
			return
		}
		asked = f.next
		f.next++
		tell := f.tell
		f.tell = nil
		f.mu.Unlock()

		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		err := c.Confirm(ctx)
		cancel()
		f.mu.Lock()
		f.done = asked
		if err == nil {
			f.proven = asked
		}
		f.mu.Unlock()
		for _, t := range tell {
			t()
		}
	}
}

// result tells whether a round has ended, and this node has led since it began.
func (f *confirmer) result(round uint64) (done, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done >= round, f.proven >= round
}

func readHandlers() map[string]*handler {
	return map[string]*handler{
		"sett|read":      {run: settRead, quick: true},
		"sett|index":     {run: settIndex, blocks: true, travels: true},
		"sett|waitindex": {run: settWaitIndex, blocks: true},
	}
}

// settRead is SETT READ lease | linearizable | stale ms.
func settRead(s *session, b *buffers, args [][]byte) {
	level := readLevel{chosen: true}
	switch {
	case is(args[2], "lease") && len(args) == 3:
	case is(args[2], "linearizable") && len(args) == 3:
		level.linearizable = true
	case is(args[2], "stale") && len(args) == 4:
		ms, err := parseTimeout(args[3])
		if err != nil {
			fail(b, err)
			return
		}
		level.stale, level.boundMs = true, ms
	default:
		fail(b, commands.ErrSyntax)
		return
	}
	s.read = level
	b.out.Status("OK")
}

// settIndex is SETT INDEX: an index of the log that covers all that this client has seen, because the replies before this one have left.
func settIndex(s *session, b *buffers, _ [][]byte) { b.out.Uint(s.engine.Store.Status().Applied) }

// settWaitIndex is SETT WAITINDEX index timeout.
func settWaitIndex(s *session, b *buffers, args [][]byte) {
	index, ok := resp.ParseInt(args[2])
	if !ok || index < 0 {
		fail(b, commands.ErrNotInteger)
		return
	}
	timeoutMs, err := parseTimeout(args[3])
	if err != nil {
		fail(b, err)
		return
	}
	if s.ownIndex = uint64(index); s.ownIndex > s.engine.Store.Status().Applied && !s.multi {
		if s.waitEndMs == 0 {
			s.waitFor(timeoutMs)
			s.tellWhenApplied()
		}
		reason := unblock(s.unblocked.Load())
		if reason == stillBlocked && time.Now().UnixMilli() < s.waitEndMs {
			s.postpone(await)
			return
		}
	}
	s.stopIndexWait()
	if s.waitEndMs = 0; unblock(s.unblocked.Swap(int32(stillBlocked))) == unblockError {
		fail(b, errUnblocked)
	} else if uint64(index) > s.engine.Store.Status().Applied {
		fail(b, errIndexAhead)
	} else {
		b.out.Status("OK")
	}
}

// tellWhenApplied has the connection woken when this node has the index that its client waits for.
func (s *session) tellWhenApplied() {
	c := s.engine.Cluster
	if c == nil {
		return // all that there is has been applied
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancelIndex = cancel
	index, wake := s.ownIndex, s.wake
	go func() {
		if c.WaitApplied(ctx, index) == nil {
			wake()
		}
	}()
}

// stopIndexWait ends what tellWhenApplied has begun.
func (s *session) stopIndexWait() {
	s.ownIndex = 0
	if s.cancelIndex != nil {
		s.cancelIndex()
		s.cancelIndex = nil
	}
}
