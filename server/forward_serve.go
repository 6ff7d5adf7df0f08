package server

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// origin is the client of another node, whose commands have travelled here.
type origin struct {
	node string // its ID
	id   uint64 // of the client there
}

// opening is how a stream begins: what the client's session is. A version byte and two bytes of length come before it.
type opening struct {
	ID      uint64 `json:"id"`
	Addr    string `json:"addr"`
	Local   bool   `json:"local,omitempty"` // the client is on the machine of its node
	DB      int    `json:"db,omitempty"`
	Proto   int    `json:"proto"`
	Name    string `json:"name,omitempty"`
	LibName string `json:"lib_name,omitempty"`
	LibVer  string `json:"lib_ver,omitempty"`
	NoTouch bool   `json:"no_touch,omitempty"`
	Read    string `json:"read,omitempty"` // linearizable, or empty
}

const openingVersion = 1

var errOpening = errors.New("a forwarded stream begins in a way that this node does not know")

// opening is what the leader has to know of this session.
func (s *session) opening() opening {
	o := opening{ID: s.id, Addr: s.addr, Local: s.local, DB: s.db, Proto: s.proto, Name: s.name, LibName: s.libName, LibVer: s.libVer,
		NoTouch: s.flags&peerNoTouch != 0}
	if s.isLinearizable() {
		o.Read = "linearizable"
	}
	return o
}

func (o opening) encode() []byte {
	text, _ := json.Marshal(o) // nothing in it can fail
	return append(binary.BigEndian.AppendUint16([]byte{openingVersion}, uint16(len(text))), text...)
}

func readOpening(r io.Reader) (o opening, err error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return o, err
	}
	if head[0] != openingVersion {
		return o, fmt.Errorf("%w: version %d", errOpening, head[0])
	}
	text := make([]byte, binary.BigEndian.Uint16(head[1:]))
	if _, err := io.ReadFull(r, text); err != nil {
		return o, err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("%w: %w", errOpening, err)
	}
	if o.Proto != 2 && o.Proto != 3 || o.DB < 0 {
		return o, errOpening
	}
	return o, nil
}

// ServeForwarded serves a stream that another node, with this ID, has opened for one of its clients, who has been let in there. It returns when the
// stream has begun; from then on it is a connection like any other.
func (s *Server) ServeForwarded(stream net.Conn, node string) {
	stream.SetReadDeadline(time.Now().Add(openingTimeout))
	o, err := readOpening(stream)
	stream.SetReadDeadline(time.Time{})
	if err != nil {
		if !errors.Is(err, io.EOF) && !s.stopping.Load() {
			s.opts.Logger.Warn("a forwarded client cannot be served", "node", node, "err", err)
		}
		stream.Close()
		return
	}
	c, err := newConn(s, wrap(stream), nil)
	if err != nil {
		s.opts.Logger.Warn("cannot set up a connection", "err", err)
		stream.Close()
		return
	}
	c.peer.addr, c.peer.local, c.peer.unix, c.peer.forwarded = o.Addr, o.Local, false, true
	c.session.adopt(o, node)
	if !s.admit(c) {
		c.declineAtEnd()
		stream.Close()
		return
	}
	if c.loop == nil || !c.loop.take(c) {
		go c.work(more)
	}
}

// adopt makes the session that of another node's client.
func (s *session) adopt(o opening, node string) {
	s.origin = &origin{node: node, id: o.ID}
	s.authenticated = true
	s.db, s.proto, s.name, s.libName, s.libVer = o.DB, o.Proto, o.Name, o.LibName, o.LibVer
	if o.NoTouch {
		s.flags |= peerNoTouch
	}
	s.read = readLevel{chosen: true, linearizable: o.Read == "linearizable"}
	s.peer.shown = s.portray(nil, nil)
}

// decline ends a forwarded stream because this node does not lead: neither the command at hand nor any that follow have run.
func (s *session) decline(b *buffers) {
	b.out.Raw([]byte{declined})
	b.hold(0, false)
	s.after = hangUp
}

// leaveOff is the end of a session between two commands. What another node has sent and was not run goes to the next leader.
func (s *session) leaveOff(b *buffers) {
	if s.origin == nil || s.killed.Load() {
		return
	}
	if w := s.waiter; w != nil {
		if s.waiter, s.waitEndMs = nil, 0; !s.engine.Data.Leave(w) { // it was served just now
			reply, seen := w.Reply()
			b.out.Raw(reply)
			b.hold(seen, true)
		}
	}
	s.decline(b)
}

// declineAtEnd says to another node, whose stream ends because this server stops, that nothing ran of what it has sent and is not answered. What it has
// sent and nobody has read yet is not lost that way: it goes to the next leader.
func (c *conn) declineAtEnd() {
	switch {
	case c.session.origin == nil || !c.server.leaving.Load():
	case c.socket.handle == nil: // the loop serves it
		writeNow(c.socket.fd, []byte{declined})
	default:
		c.socket.handle.SetWriteDeadline(time.Now().Add(time.Second))
		c.stream().Write([]byte{declined})
	}
}

// leadNoMore is what becomes of a command that was refused because this node has just stopped leading: it goes where the leader is.
func (s *session) leadNoMore(b *buffers) {
	s.away = true
	switch {
	case s.origin != nil:
		s.decline(b)
	case s.hurried:
		s.after = leave
	default:
		s.postpone(again)
	}
}

// clientID is what the client is known as where it is connected.
func (s *session) clientID() int64 {
	if s.origin != nil {
		return int64(s.origin.id)
	}
	return int64(s.id)
}

// unblockForwarded is CLIENT UNBLOCK from a node whose client waits here.
func (s *Server) unblockForwarded(node string, id uint64, how unblock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.parked {
		if o := c.session.origin; o != nil && o.node == node && o.id == id && c.peer.blocked.Load() {
			c.peer.unblocked.Store(int32(how))
			c.socket.setReadDeadline(past)
			return true
		}
	}
	return false
}

// waitsElsewhere tells whether the leader waits for something on behalf of a client.
func (s *Server) waitsElsewhere(id []byte) bool {
	n, err := strconv.ParseUint(string(id), 10, 64)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.id == n {
			l := c.forwards.Load()
			return l != nil && l.blocks()
		}
	}
	return false
}

// leaderWatch is what the ticker knows of who leads.
type leaderWatch struct {
	id     string
	since  time.Time // id leads; zero: streams to others were ended
	yields uint64    // how often this node had stopped leading when those who wait here were told
}

// leaderGrace is how long a former leader may take to say by itself which commands it has not run.
const leaderGrace = time.Second

// watchLeader ends streams to a node that does not lead any more, which may be cut off and never say so; and has clients who wait in BLPOP look for
// the leader when it is not this node any more.
func (s *Server) watchLeader(now time.Time) {
	e := s.engine.Load()
	if e == nil || e.Cluster == nil {
		return
	}
	w := &s.leader
	yields := e.Store.Stats().Yields.Load() // it may have led for less than a tick
	if yields != w.yields && !e.Cluster.Leads() && !e.Store.Evaluating() {
		w.yields = yields
		s.wakeWaiters()
	}
	id, _ := e.Cluster.LeaderAddr()
	switch {
	case id != "" && id != w.id:
		w.id, w.since = id, now
	case !w.since.IsZero() && now.Sub(w.since) > leaderGrace:
		w.since = time.Time{}
		s.eachLink(func(c *conn, l *link) {
			if l.leader != w.id {
				l.stream.Close()
			}
		})
	}
}

// wakeWaiters has everybody look who waits for a key.
func (s *Server) wakeWaiters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.parked {
		if c.peer.blocked.Load() {
			c.socket.setReadDeadline(past)
		}
	}
}

func (s *Server) eachLink(do func(*conn, *link)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if l := c.forwards.Load(); l != nil {
			do(c, l)
		}
	}
}

// idleLinkSec is after how long without commands a client's stream is given up.
const idleLinkSec = 60

// dropIdleLinks has clients give up streams that they have not used for long.
func (s *Server) dropIdleLinks(nowSec int64) {
	if s.stats.links.Load() == 0 {
		return
	}
	s.eachLink(func(c *conn, l *link) {
		if !l.isBusy() && nowSec-l.usedSec.Load() > idleLinkSec && !l.idle.Swap(true) {
			c.socket.setReadDeadline(past)
		}
	})
}
