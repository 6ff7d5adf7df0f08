package server

import (
	"sync"
	"sync/atomic"
	"syscall"

	"sett/commands"
	"sett/resp"
)

// loop serves many connections in one goroutine: waking a goroutine for a command costs more than the command. In each turn it reads from all
// sockets that have something and runs what is whole; then it hands all that was written to the log at once, and sends the replies that may
// leave. The others are held into a later turn, while it goes on.
//
// It waits for nobody: not for a client, for Badger, for memory, nor for an fsync. A connection that would have to wait, or has something long
// to do, leaves (see session.hurried for the rule): it goes on in a goroutine of its own, and comes back later.
type loop struct {
	server *Server
	poller *poller
	stop   atomic.Bool
	done   chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	arriving []*conn // given to the loop, which has not looked yet; guarded by mu

	// The rest is the goroutine's own. A listed connection is in one of ready, held and busy, once.
	conns []*conn // by descriptor
	ready []*conn // to be served in this turn
	busy  []*conn // … in the next, because they have more to read or to run
	held  []*conn // their replies wait for a commit,
	asked uint64  // … and the bell rings when this position is decided

	fed     []*conn            // some of ready, whose commands are about to run
	foresee commands.Foresight // what these look up
	batch   pipelined          // of the command at hand and others like it
	words   [][]byte           // scratch
}

// looped is what a loop knows of a connection that it serves. When the connection leaves, its goroutine takes next and sent over.
type looped struct {
	loop   *loop // nil: none will ever serve it
	listed bool
	more   bool // there may be something to read
	ended  bool // … at the end of which the stream ends
	next   next // what session.run wants to happen
	sent   int  // bytes at the start of the replies that the client has already

	turns int // that it has been here, or away,
	away  int // … of this many the last time
}

// A connection that left stays away for so many turns; each time that it comes back and has to leave soon again, twice as many.
const (
	minAway = 16
	maxAway = 4096
)

// startLoop returns nil where there can be none.
func startLoop(s *Server) *loop {
	p, err := newPoller()
	if err != nil {
		s.opts.Logger.Info("no event loop: each connection has a goroutine", "err", err)
		return nil
	}
	l := &loop{server: s, poller: p, done: make(chan struct{})}
	go l.run()
	return l
}

// end stops the goroutine. Connections that are still there are left to the end of the process.
func (l *loop) end() {
	if !l.stop.Swap(true) {
		l.poller.ring()
		<-l.done
		l.poller.close()
	}
}

// take gets a connection from the goroutine that has served it, which must not touch it any more. false: it has to go on.
func (l *loop) take(c *conn) bool {
	if c.socket.toLoop() != nil {
		return false
	}
	l.mu.Lock()
	l.arriving = append(l.arriving, c)
	l.mu.Unlock()
	l.poller.ring()
	return true
}

func (l *loop) run() {
	defer close(l.done)
	for !l.stop.Load() {
		l.gather()
		for rest := l.ready; len(rest) > 0; {
			n := l.read(rest)
			for _, c := range l.fed {
				l.serve(c)
			}
			rest = rest[n:]
		}
		l.settle()
	}
}

// gather makes the list of those who are served in this turn. If nobody is busy it waits until something happens.
func (l *loop) gather() {
	l.ready, l.busy = l.busy, l.ready[:0]
	events, rung := l.poller.look()
	if len(events) == 0 && !rung && len(l.ready) == 0 {
		events, rung = l.poller.wait()
	}
	for _, e := range events {
		if c := l.conns[e.fd]; c != nil { // else it was closed in this turn
			c.more, c.ended = true, c.ended || e.ended
			l.list(c)
		}
	}
	if rung {
		l.welcome()
		l.sendHome()
	}
}

func (l *loop) list(c *conn) {
	if !c.listed {
		c.listed = true
		l.ready = append(l.ready, c)
	}
}

// welcome takes over the connections that have arrived.
func (l *loop) welcome() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.arriving {
		fd := c.socket.fd
		for len(l.conns) <= fd {
			l.conns = append(l.conns, nil)
		}
		l.conns[fd] = c
		c.session.hurried, c.session.pipelined, c.turns, c.next = true, &l.batch, 0, more
		c.rest()
		if l.poller.add(fd) != nil { // no memory for it in the kernel
			l.leave(c)
		}
	}
	clear(l.arriving)
	l.arriving = l.arriving[:0]
}

// sendHome ends the connections that wait for input when the server stops. Those that are listed end in their turn.
func (l *loop) sendHome() {
	if !l.server.stopping.Load() {
		return
	}
	for _, c := range l.conns {
		if c != nil && !c.listed {
			c.declineAtEnd()
			l.close(c)
		}
	}
}

// read reads what has arrived on the first n connections, up to where there is enough to run. Before that begins, the processor learns what it will need.
func (l *loop) read(ready []*conn) (n int) {
	l.fed = l.fed[:0]
	l.foresee.Clear()
	for n < len(ready) && !l.foresee.Full() {
		c := ready[n]
		n++
		c.waitingSince.Store(0)
		if c.next == again || l.readOf(c) {
			l.fed = append(l.fed, c)
			l.glance(c)
		}
	}
	if engine := l.server.engine.Load(); engine != nil {
		engine.Data.Foresee(&l.foresee)
	}
	return n
}

// glance lists what the commands that have arrived on a connection will look up.
func (l *loop) glance(c *conn) {
	if c.session.arrival.left > 0 {
		return
	}
	n := 0
	for rest := c.buffers.in[c.buffers.start:]; !l.foresee.Full(); rest = rest[n:] {
		if l.words, n = resp.Glance(rest, l.words[:0]); n == 0 {
			return
		}
		l.foresee.Add(l.server.opts.Table, c.session.db, l.words)
	}
}

// serve runs what was read. Replies that depend on nothing uncommitted leave at once.
func (l *loop) serve(c *conn) {
	b := c.buffers
	c.markLast()
	used, next := c.session.run(b, b.in[b.start:])
	b.start += used
	c.next = next
	switch {
	case next == leave: // with the replies that are held
		l.leave(c)
	case c.session.mayRelease(b, l.poller.ring):
		l.answer(c)
	default:
		l.held = append(l.held, c)
	}
}

// readOf is one read. false: there was nothing, or the connection is over.
func (l *loop) readOf(c *conn) bool {
	c.makeRoom()
	if !c.readOnce(uintptr(c.socket.fd)) {
		c.listed, c.more = false, false
		c.rest()
		return false
	}
	if c.failed != nil {
		l.close(c)
		return false
	}
	c.noteRead()
	// What did not fill the buffer was all there was. The end of the stream may be behind it, of which nobody tells again.
	c.more = c.ended || len(c.buffers.in) == cap(c.buffers.in)
	return true
}

// settle hands what was written to the log, and answers those who have seen nothing uncommitted any more: most often all.
func (l *loop) settle() {
	if len(l.held) == 0 {
		return
	}
	var last uint64
	for _, c := range l.held {
		last = max(last, c.buffers.seen)
	}
	if last > l.asked && l.server.engine.Load().Store.Notify(last, l.poller.ring) {
		l.asked = last
	}
	kept := l.held[:0]
	for _, c := range l.held {
		if c.session.mayRelease(c.buffers, l.poller.ring) {
			l.answer(c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(l.held[len(kept):])
	l.held = kept
}

// answer sends the replies of a connection, and decides what becomes of it.
func (l *loop) answer(c *conn) {
	c.listed = false
	b := c.buffers
	if c.next == drop || !c.session.release(b) {
		l.close(c)
		return
	}
	if c.session.instead != more {
		c.next, c.session.instead = c.session.instead, more
	}
	c.bePortrayed(nil)
	if b.out.Streams() {
		l.leave(c)
		return
	}
	if ok, all := l.send(c); !ok {
		l.close(c)
		return
	} else if !all {
		l.leave(c)
		return
	}
	switch c.next {
	case again:
		c.listed = true
		l.busy = append(l.busy, c)
	case hangUp:
		l.close(c)
	case more:
		l.next(c)
	default:
		l.leave(c)
	}
}

// next waits for more input.
func (l *loop) next(c *conn) {
	switch b := c.buffers; {
	case c.more:
		c.listed = true
		l.busy = append(l.busy, c)
		return
	case l.server.stopping.Load() || c.last && c.atRest():
		c.declineAtEnd()
		l.close(c)
		return
	case b.start == len(b.in):
		c.giveBuffersBack()
	}
	c.rest()
}

// send writes the replies. all is false if the client does not take them at present.
func (l *loop) send(c *conn) (ok, all bool) {
	b := c.buffers
	out := b.out.Bytes()
	if len(out) == 0 {
		return true, true
	}
	c.server.stats.peakOutput.note(c.server.stats.now(), int64(len(out)))
	n, err := writeNow(c.socket.fd, out)
	if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
		return false, false
	}
	c.session.count.written += uint64(n)
	c.session.count.writes++
	if n < len(out) {
		c.sent = n
		return true, false
	}
	b.out.Reset()
	return true, true
}

// rest is the end of a connection's turn: it waits for its client.
func (c *conn) rest() {
	c.turns++
	c.session.count.flush(&c.server.stats, c.session.id)
	c.waitingSince.Store(c.server.stats.now())
}

// close is the end of a connection.
func (l *loop) close(c *conn) {
	l.conns[c.socket.fd] = nil
	c.end(false)
}

// leave lets a connection go on in a goroutine.
func (l *loop) leave(c *conn) {
	c.listed = false
	l.conns[c.socket.fd] = nil
	l.poller.remove(c.socket.fd)
	if c.away *= 2; c.turns >= c.away {
		c.away = minAway
	}
	c.away = min(c.away, maxAway)
	c.turns, c.session.hurried, c.session.pipelined = 0, false, nil
	if c.socket.toGo() != nil {
		c.end(false)
		return
	}
	go c.work(c.next)
}

// comesBack gives a connection back to its loop, once it has been away for long enough. Then its goroutine ends.
func (c *conn) comesBack() bool {
	if c.loop == nil || c.session.arrival.bytes > 0 || c.session.link != nil || c.server.stopping.Load() {
		return false
	}
	c.turns++
	return c.turns >= c.away && c.loop.take(c)
}
