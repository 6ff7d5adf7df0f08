package server

import (
	"math"
	"time"

	"sett/commands"
)

// A client that waits in BLPOP or its like lies in the data set (commands.Waiter), and its connection is parked. Each time that it is woken it looks
// whether the wait is over.

// beginWait has the connection wait for what the command at hand waits for.
func (s *session) beginWait(w *commands.Waiter) {
	s.waiter = w
	s.waitFor(w.TimeoutMs)
	s.postpone(await)
}

// waitFor begins a wait of so many ms; 0: without end.
func (s *session) waitFor(timeoutMs int64) {
	s.unblocked.Store(int32(stillBlocked))
	s.waitEndMs, s.toldWait = math.MaxInt64, false
	if now := time.Now().UnixMilli(); timeoutMs > 0 && timeoutMs < math.MaxInt64-now {
		s.waitEndMs = now + timeoutMs
	}
}

// goOnWaiting ends the wait if it is over: the client was served, its time is up, or somebody has unblocked it.
func (s *session) goOnWaiting(b *buffers) *commands.Row {
	b.args = append(b.args[:0], s.waiter.Args...)
	w, reason := s.waiter, unblock(s.unblocked.Load())
	if s.away && s.engine.Data.Leave(w) { // it waits again where the leader is
		s.waiter, s.waitEndMs = nil, 0
		return s.execute(b)
	}
	over := reason != stillBlocked || s.away || time.Now().UnixMilli() >= s.waitEndMs
	if !over && !s.engine.Data.Served(w) {
		s.postpone(await)
		return nil
	}
	s.waiter, s.waitEndMs = nil, 0
	switch {
	case !s.engine.Data.Leave(w):
		reply, seen := w.Reply()
		b.out.Raw(reply)
		b.hold(seen, true)
		return w.Row
	case reason == unblockError:
		fail(b, errUnblocked)
	default:
		b.out.NullArray()
	}
	b.hold(0, false)
	return w.Row
}

// stopWaiting is for a client that is gone. What it was given in the meantime is lost with it, as in Redis.
func (s *session) stopWaiting() {
	if s.waiter != nil {
		s.engine.Data.Leave(s.waiter)
		s.waiter = nil
	}
}

// lendWhileWaiting gives the buffers back of a connection that may wait for days, unless more commands lie in them already.
func (c *conn) lendWhileWaiting() {
	if b := c.buffers; c.session.waiter != nil && b.start == len(b.in) {
		c.giveBuffersBack()
	}
}

// wake has a parked connection look again.
func (c *conn) wake() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if _, parked := c.server.parked[c]; parked {
		c.socket.setReadDeadline(past)
	}
}
