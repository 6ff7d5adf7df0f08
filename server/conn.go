package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"sett/resp"
)

// conn is the way of one connection: read what has arrived, let the session run it, wait until the replies may leave, write them.
//
// All waiting happens here and none in session.run, so that an event loop could take conn's place. The goroutine of serve owns all
// fields but waitingSince.
type conn struct {
	server  *Server
	session session
	socket  net.Conn
	raw     syscall.RawConn
	tryRead func(fd uintptr) bool // c.readOnce, bound once

	buffers *buffers // nil while the connection is idle
	start   int      // buffers.in[start:] has arrived and was not run
	arrived int      // bytes of the last read
	failed  error    // of the last read

	// waitingSince is the unix time in s since when the connection waits for its client, 0 while it does not.
	waitingSince atomic.Int64
}

func newConn(s *Server, socket net.Conn) (*conn, error) {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := keepAlive(tcp, s.limits.Load().KeepAliveSec); err != nil {
		return nil, err
	}
	c := &conn{server: s, socket: socket, raw: raw}
	c.tryRead = c.readOnce
	c.session.init(s, s.nextID.Add(1), socket)
	return c, nil
}

// serve is the connection's goroutine.
func (c *conn) serve() {
	part := false
	defer func() {
		c.session.end()
		c.giveBuffersBack()
		c.server.forget(c, part)
	}()
	for {
		next := c.runArrived()
		if next != more {
			part = next == depart
			return
		}
		if !c.read() {
			return
		}
	}
}

// runArrived runs the whole commands that have arrived and sends their replies.
func (c *conn) runArrived() next {
	if c.buffers == nil {
		return more
	}
	for {
		used, next := c.session.run(c.buffers, c.buffers.in[c.start:])
		c.start += used
		if !c.send() {
			return hangUp
		}
		if next != again {
			return next
		}
	}
}

// send waits until the replies held may leave, and writes them. false: the connection is over.
func (c *conn) send() bool {
	if !c.session.release(c.buffers) {
		return false
	}
	out := c.buffers.out.Bytes()
	if len(out) == 0 {
		return true
	}
	c.waitingSince.Store(c.server.stats.now())
	_, err := c.socket.Write(out)
	c.waitingSince.Store(0)
	c.session.count.written += uint64(len(out))
	c.session.count.writes++
	c.buffers.out.Reset()
	return err == nil
}

// read waits for more input. false: the connection is over.
func (c *conn) read() bool {
	c.session.count.flush(&c.server.stats, c.session.id)
	c.makeRoom()
	c.waitingSince.Store(c.server.stats.now())
	err := c.raw.Read(c.tryRead)
	c.waitingSince.Store(0)
	if err == nil {
		err = c.failed
	}
	if err != nil {
		return false
	}
	c.session.count.read += uint64(c.arrived)
	c.session.count.reads++
	return true
}

// readOnce is one attempt to read; false: nothing has arrived, call again when something has. A connection that has nothing at hand
// lends its buffers to others meanwhile.
func (c *conn) readOnce(fd uintptr) bool {
	if c.buffers == nil {
		c.buffers = c.server.buffers.Get().(*buffers)
		c.buffers.out.Proto = c.session.proto
		if c.buffers.in == nil {
			c.buffers.in = make([]byte, 0, readBytes)
		}
	}
	b := c.buffers
	for {
		n, err := syscall.Read(int(fd), b.in[len(b.in):cap(b.in)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if len(b.in) == 0 {
				c.giveBuffersBack()
			}
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

// giveBuffersBack lends the buffers to others, without what only an unusual command or pipeline needed.
func (c *conn) giveBuffersBack() {
	b := c.buffers
	if b == nil {
		return
	}
	c.buffers, c.start = nil, 0
	if b.spoiled {
		return
	}
	clear(b.args)
	b.in, b.args = b.in[:0], b.args[:0]
	b.out.Reset()
	b.forget()
	if cap(b.in) > keepReadBytes {
		b.in = nil
	}
	if cap(b.args) > keepArgs {
		b.args = nil
	}
	if cap(b.out.Bytes()) > keepOutBytes {
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
	if c.start > 0 {
		b.in = b.in[:copy(b.in, b.in[c.start:])]
		c.start = 0
	}
	if len(b.in) == cap(b.in) {
		grown := make([]byte, len(b.in), 2*cap(b.in))
		copy(grown, b.in)
		b.in = grown
	}
}
