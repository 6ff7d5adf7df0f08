package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"sett/resp"
)

// conn is the way of one connection: read what has arrived, let the session run it, wait until the replies may leave, write them.
//
// All waiting happens here and none in session.run: this is the way where a goroutine serves the connection and may wait, loop.go the one where the
// loop does and must not. A connection goes from one to the other and back; whoever serves it owns all fields but those of the peer.
type conn struct {
	peer
	looped
	server   *Server
	session  session
	secure   *secure               // of a TLS connection
	bare     *bare                 // of a forwarded stream that has no descriptor
	forwards atomic.Pointer[link]  // session.link, for others who end it
	tryRead  func(fd uintptr) bool // c.readOnce, bound once

	buffers *buffers // nil while the connection is idle
	arrived int      // bytes of the last read
	last    bool     // the next reply is the last one, and the end of the connection goes with it
	failed  error    // of the last read
}

// newConn prepares a connection; with tls set it begins with a handshake.
func newConn(s *Server, accepted net.Conn, tls *TLS) (*conn, error) {
	h, ok := accepted.(handle)
	if !ok {
		return nil, errors.New("a connection without a file descriptor")
	}
	if tcp, ok := accepted.(*net.TCPConn); ok {
		if err := keepAlive(tcp, s.limits.Load().KeepAliveSec); err != nil {
			return nil, err
		}
	}
	c := &conn{server: s}
	if err := c.socket.hold(h); err != nil {
		return nil, err
	}
	c.bare, _ = accepted.(*bare)
	if tls != nil {
		c.secure = tls.server(accepted)
	} else if c.bare == nil {
		c.loop = s.loop // it does not speak TLS
	}
	c.tryRead = c.readOnce
	c.peer.init(s.nextID.Add(1), accepted)
	c.session.init(s, &c.peer)
	c.session.wake = c.wake
	return c, nil
}

// shakeHands is the first goroutine of a TLS connection. What is left of it after that is a large stack, so another one serves.
func (c *conn) shakeHands() {
	err := c.secure.shakeHands()
	if err != nil {
		c.server.opts.Logger.Info("a TLS handshake failed", "addr", c.addr, "err", err)
	}
	if err != nil || c.server.stopping.Load() { // the handshake may have moved the deadline of Shutdown
		c.server.forget(c, false)
		return
	}
	c.start()
}

// start lets the client in, if it may, and has somebody serve it.
func (c *conn) start() {
	switch {
	case !c.begin():
		c.end(false)
	case c.loop == nil || !c.loop.take(c):
		go c.work(more)
	}
}

// begin is false if the client stays outside.
func (c *conn) begin() bool {
	if c.server.keepsOut(&c.peer) {
		c.server.stats.rejected.Add(1)
		c.socket.handle.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(c.stream(), denied)
		return false
	}
	c.server.stats.connections.Add(1)
	return true
}

// work is a goroutine that serves the connection until it ends, or until the loop takes it back. now is what the session wants.
func (c *conn) work(now next) {
	for {
		if now == drop || now != leave && c.buffers != nil && !c.send() || c.link() != nil && !c.sendAhead() {
			c.end(false)
			return
		}
		if c.session.instead != more {
			now, c.session.instead = c.session.instead, more
		}
		switch now {
		case reach:
			if !c.reach() {
				c.end(false)
				return
			}
		case hangUp, depart:
			c.drainAtEnd()
			c.end(now == depart)
			return
		case await:
			if !c.park() {
				c.end(false)
				return
			}
		case more:
			if c.comesBack() {
				return
			}
			if !c.read() {
				c.drainAtEnd()
				c.declineAtEnd()
				c.end(false)
				return
			}
		}
		now = c.run()
	}
}

// run runs the whole commands that have arrived.
func (c *conn) run() next {
	if c.session.arrival.left > 0 {
		if !c.absorb() {
			return hangUp
		}
		if c.session.arrival.left > 0 {
			return more
		}
	}
	b := c.takeBuffers()
	c.markLast()
	used, next := c.session.run(b, b.in[b.start:])
	b.start += used
	return next
}

// end is the end of the connection; with part set its socket stays open.
func (c *conn) end(part bool) {
	c.endLink()
	c.session.end()
	c.giveBuffersBack()
	c.server.forget(c, part)
}

// Close closes the connection's end. There is a goodbye in TLS.
func (c *conn) Close() error {
	if c.secure != nil {
		c.secure.Close()
	} else if c.last {
		c.socket.finish()
	}
	return c.socket.Close()
}

// stream is what replies are written to by a goroutine.
func (c *conn) stream() io.Writer {
	if c.secure != nil {
		return c.secure
	}
	return c.socket.handle
}

// send waits until the replies held may leave, and writes them: what lies in memory at once, what streams piece by piece, so that a client
// that does not read costs the memory of one piece. false: the connection is over.
func (c *conn) send() bool {
	if !c.session.release(c.buffers) {
		return false
	}
	c.bePortrayed(nil)
	c.server.stats.peakOutput.note(c.server.stats.now(), int64(c.buffers.out.Len()))
	out := c.buffers.out.Outgoing()
	for {
		piece, err := out.Next()
		if err != nil {
			c.cutShort(err)
			return false
		}
		piece, c.sent = piece[c.sent:], 0
		if len(piece) == 0 {
			c.buffers.out.Reset()
			return true
		}
		if !c.write(piece) {
			return false
		}
	}
}

func (c *conn) write(piece []byte) bool {
	c.waitingSince.Store(c.server.stats.now())
	c.unsent.Store(int64(len(piece)))
	_, err := c.stream().Write(piece)
	c.unsent.Store(0)
	c.waitingSince.Store(0)
	c.session.count.written += uint64(len(piece))
	c.session.count.writes++
	return err == nil
}

// bePortrayed shows others how the session is now: before a reply leaves, so that whoever has read it sees what it has changed. args are
// those of a command that waits.
func (c *conn) bePortrayed(args [][]byte) {
	b := c.buffers
	if c.session.hurried && c.next == more && b != nil && b.start == len(b.in) {
		b = nil // the loop is about to take them back
	}
	now := c.session.portray(b, args)
	c.stranger.Store(c.session.isStranger())
	c.mu.Lock()
	c.shown = now
	c.mu.Unlock()
}

// cutShort is the end of a connection in the middle of a reply that streams: its length has been announced, so no error can follow.
func (c *conn) cutShort(err error) {
	c.server.stats.cutShort.Add(1)
	c.server.opts.Logger.Warn("a reply could not be sent to its end: its connection is closed", "addr", c.session.addr, "err", err)
}

// absorb takes what has arrived of a large argument out of the buffer and puts it into the store. It may wait there: that holds up no other
// connection. false: the connection is over.
func (c *conn) absorb() bool {
	a := &c.session.arrival
	b := c.buffers
	from := b.start + a.at
	end := from + a.skip + min(a.left, len(b.in)-from-a.skip)
	ok := true
	if p := b.in[from+a.skip : end]; a.travels {
		a.left -= len(p)
		ok = c.absorbForLeader(p)
	} else {
		ok = c.session.absorb(p)
	}
	a.skip = 0
	b.in = append(b.in[:from], b.in[end:]...)
	return ok
}

// read waits for more input. false: the connection is over.
func (c *conn) read() bool {
	c.session.count.flush(&c.server.stats, c.session.id)
	c.makeRoom()
	if c.server.stopping.Load() { // Shutdown may have come before the deadline that it sets could reach this goroutine
		return false
	}
	if l := c.link(); l != nil && c.session.arrival.bytes == 0 && l.dead.Load() {
		return c.mend()
	}
	if c.last && c.atRest() {
		return c.readLast()
	}
	if !c.link().isBusy() {
		c.waitingSince.Store(c.server.stats.now())
	}
	err := c.socket.raw.Read(c.tryRead)
	c.waitingSince.Store(0)
	if err != nil && isTimeout(err) && c.link() != nil {
		return c.wokenByLink()
	}
	if err == nil {
		err = c.failed
	}
	if err != nil {
		return false
	}
	c.session.down, c.session.troubleSince = false, time.Time{}
	c.noteRead()
	return true
}

func (c *conn) noteRead() {
	c.session.count.read += uint64(c.arrived)
	c.session.count.reads++
	c.server.stats.peakInput.note(c.server.stats.now(), int64(cap(c.buffers.in)))
}

// readOnce is one attempt to read; false: nothing has arrived, call again when something has. A connection that has nothing at hand
// lends its buffers to others meanwhile.
func (c *conn) readOnce(fd uintptr) bool {
	b := c.takeBuffers()
	for {
		n, err := c.receive(fd, b.in[len(b.in):cap(b.in)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if len(b.in) == 0 {
				c.giveBuffersBack()
			}
			c.bePortrayed(nil)
			return false
		case err != nil:
			c.failed = os.NewSyscallError("read", err)
		case n == 0:
			c.failed = io.EOF
		default:
			b.in = b.in[:len(b.in)+n]
			c.arrived = n
		}
		return true
	}
}

// takeBuffers returns the connection's buffers: somebody else's, until now, if it has lent its own.
func (c *conn) takeBuffers() *buffers {
	if c.buffers == nil {
		c.buffers = c.server.buffers.Get().(*buffers)
		c.buffers.out.Proto = c.session.proto
		if c.buffers.in == nil {
			c.buffers.in = make([]byte, 0, readBytes)
		}
	}
	return c.buffers
}

// receive reads what is there, or returns EAGAIN.
func (c *conn) receive(fd uintptr, p []byte) (int, error) {
	if c.secure != nil {
		return c.secure.receive(fd, p)
	}
	if c.bare != nil {
		return c.bare.receive(p)
	}
	return readNow(int(fd), p)
}

// giveBuffersBack lends the buffers to others, without what only an unusual command or pipeline needed.
func (c *conn) giveBuffersBack() {
	b := c.buffers
	if b == nil {
		return
	}
	c.buffers, b.start, b.peak = nil, 0, 0
	b.out.Reset() // above all its sources
	if b.spoiled {
		return
	}
	clear(b.args)
	b.in, b.args = b.in[:0], b.args[:0]
	b.forget()
	if cap(b.in) > c.server.opts.KeepBytes {
		b.in = nil
	}
	if cap(b.args) > keepArgs {
		b.args = nil
	}
	if cap(b.out.Bytes()) > c.server.opts.KeepBytes {
		b.out = resp.Writer{}
	}
	b.call.Args = nil
	c.server.buffers.Put(b)
}

// makeRoom moves what was not run to the front and doubles the buffer once it is full: so it never holds more than twice what really
// arrived, whatever the client announced.
func (c *conn) makeRoom() {
	b := c.buffers
	if b == nil {
		return
	}
	if b.start > 0 {
		b.in = b.in[:copy(b.in, b.in[b.start:])]
		b.start = 0
	}
	if len(b.in) == cap(b.in) || c.session.arrival.left > 0 && cap(b.in) < largeReadBytes {
		grown := make([]byte, len(b.in), max(2*cap(b.in), min(c.session.arrival.left, largeReadBytes)))
		copy(grown, b.in)
		b.in = grown
	}
}
