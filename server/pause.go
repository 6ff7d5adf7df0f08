package server

import (
	"math"
	"time"

	"sett/commands"
)

// pause is what CLIENT PAUSE has asked for.
type pause struct {
	untilMs int64 // unix time
	all     bool  // every command waits; otherwise those that may write
}

// Pause makes commands wait until a moment. What is asked for while there is a pause can only make it longer and stricter.
func (s *Server) Pause(untilMs int64, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.pausing(); old != nil {
		untilMs, all = max(untilMs, old.untilMs), all || old.all
	}
	s.paused.Store(&pause{untilMs, all})
}

// Unpause ends it for all who wait.
func (s *Server) Unpause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused.Store(nil)
	for c := range s.parked {
		if !c.peer.blocked.Load() { // in a command: CLIENT UNBLOCK must find it there
			c.socket.setReadDeadline(past)
		}
	}
}

// past is a deadline that ends what waits for one.
var past = time.Unix(1, 0)

// pausing is the present pause, or nil.
func (s *Server) pausing() *pause {
	p := s.paused.Load()
	if p == nil || time.Now().UnixMilli() >= p.untilMs {
		return nil
	}
	return p
}

// Pausing tells whether nothing may change now, expired keys included.
func (s *Server) Pausing() bool { return s.pausing() != nil }

// mustWait tells whether the present pause holds a command up. EXEC waits if one of its commands would.
func (s *session) mustWait(row *commands.Row) bool {
	p := s.server.pausing()
	return p != nil && (p.all || s.runs(row, mayWrite) || row.Name == "exec" && s.remote.writes)
}

func mayWrite(row *commands.Row) bool {
	return row.IsWrite() || row.Flags&(commands.FlagWrite|commands.FlagMayReplicate) != 0
}

// park waits for the end of the pause or of what a command waits for, and notices meanwhile that the client leaves. false: the connection is over.
func (c *conn) park() bool {
	if !c.server.beginPark(c) {
		return !c.server.stopping.Load() || c.session.origin != nil
	}
	c.bePortrayed(c.buffers.args)
	c.lendWhileWaiting()
	c.waitingSince.Store(0)
	if c.session.origin != nil && !c.session.toldWait && c.blocked.Load() {
		c.session.toldWait = true
		c.write([]byte{waits}) // all that is held has left
	}
	there := c.watchClient()
	goesOn := c.server.endPark(c) || c.session.origin != nil // who stops tells the node that waits for this what has become of it
	return goesOn && there
}

// parkedUntil is the end of what the session waits for, the zero time if there is none; wait is false when it is over.
func (s *session) parkedUntil() (until time.Time, wait bool) {
	if s.waiter != nil {
		s.place() // who has just stopped leading tells only those who are parked
	}
	if s.waiter != nil && (s.away || s.engine.Data.Served(s.waiter)) || s.ownIndex != 0 && s.engine.Store.Status().Applied >= s.ownIndex {
		return time.Time{}, false
	}
	if s.look != 0 {
		return earlier(time.Now().Add(s.look), s.waitEndMs), true
	}
	if s.waitEndMs == math.MaxInt64 {
		return time.Time{}, true
	}
	if s.waitEndMs != 0 {
		return time.UnixMilli(s.waitEndMs), true
	}
	if p := s.server.pausing(); p != nil {
		return time.UnixMilli(p.untilMs), true
	}
	return time.Time{}, false
}

func earlier(at time.Time, orMs int64) time.Time {
	if at.UnixMilli() < orMs {
		return at
	}
	return time.UnixMilli(orMs)
}

// unblock ends what a client is waiting for in a command, and tells whether there was such a client.
func (s *Server) unblock(id uint64, how unblock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.parked {
		if c.peer.id == id && c.peer.blocked.Load() {
			c.peer.unblocked.Store(int32(how))
			c.socket.setReadDeadline(past)
			return true
		}
	}
	return false
}

// beginPark has the connection woken when the wait ends. false: it has ended already.
func (s *Server) beginPark(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, wait := c.session.parkedUntil()
	if !wait || s.stopping.Load() {
		return false
	}
	c.socket.setReadDeadline(until)
	s.parked[c] = struct{}{}
	s.blocked.Store(int64(len(s.parked)))
	c.peer.parked.Store(true)
	c.peer.blocked.Store(c.session.waitEndMs != 0)
	return true
}

// endPark is its other half. false: the server stops.
func (s *Server) endPark(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parked, c)
	s.blocked.Store(int64(len(s.parked)))
	c.peer.parked.Store(false)
	c.peer.blocked.Store(false)
	c.socket.setReadDeadline(time.Time{})
	return !s.stopping.Load() // whose deadline this may have taken away
}
