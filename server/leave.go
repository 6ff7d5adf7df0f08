package server

import (
	"syscall"
	"time"
)

// A server that stops has no way to say so to a client: one that sends its next command at the moment at which its connection is closed never learns what
// became of it. So the server waits a little for that command, answers it, and sends the end of the connection in the same packet as the reply: who looks
// before it sends again, as connection pools do, has seen both.

// lastTurn is how long a server that stops waits for clients to send another command.
const lastTurn = 200 * time.Millisecond

// seeOff waits until all clients are gone, or those that are left have nothing to say. Who looks for a leader is given more time.
func (s *Server) seeOff(grace time.Duration) {
	for begun := time.Now(); s.clients.Load() > 0; time.Sleep(time.Millisecond) {
		if waited := time.Since(begun); waited >= grace || waited >= s.lastTurn && s.seeking.Load() == 0 {
			return
		}
	}
}

// markLast makes what is about to run the last of a client's commands if the server stops. Their replies are held back until the end goes with them.
func (c *conn) markLast() {
	if c.server.leaving.Load() && !c.last && c.session.origin == nil {
		c.last = true
		c.socket.cork()
	}
}

// atRest tells whether the connection is between two commands, and not within a transaction.
func (c *conn) atRest() bool {
	s, b := &c.session, c.buffers
	return (b == nil || b.start == len(b.in)) && s.arrival.bytes == 0 && !s.multi && !s.remote.multi && len(s.reruns) == 0 && !s.postponed
}

// readLast waits for the replies of commands that travel, and looks whether the client has sent more meanwhile. false: it has not, and the connection is over.
func (c *conn) readLast() bool {
	if l := c.link(); l.isBusy() {
		if !c.waitAnswered(0) {
			return false
		}
		if l.dead.Load() {
			return c.mend()
		}
	}
	more := false
	err := c.socket.raw.Read(func(fd uintptr) bool {
		more = c.readOnce(fd)
		return true
	})
	if err != nil || !more || c.failed != nil {
		return false
	}
	c.noteRead()
	return true
}

// cork keeps what is written until finish, or for the 200 ms that the kernel allows.
func (s *socket) cork() { s.control(setCork) }

// finish sends what was held back, and the end of the stream with it. What the client has sent and nobody has read would else take both away.
func (s *socket) finish() { s.control(func(fd int) { syscall.Shutdown(fd, syscall.SHUT_WR) }) }

// control does something with the descriptor, if there is one.
func (s *socket) control(do func(fd int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.fd < 0:
	case s.handle == nil:
		do(s.fd)
	default:
		s.raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
