package server

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"sett/commands"
	"sett/resp"
)

// What a connection does, in its own goroutine, for commands that travel.

// reach does what the session needs before it can go on: nothing is unanswered, or there is a stream to the leader. false: the connection is over.
func (c *conn) reach() bool {
	s := &c.session
	if c.link().isBusy() && !c.waitAnswered(0) {
		return false
	}
	switch l := c.link(); {
	case l != nil && l.dead.Load():
		return c.mend()
	case !s.away:
		c.dropLink()
	case l != nil && len(s.queue.steps) > 0 && !s.multi && !s.remote.multi:
		l.mu.Lock()
		ran := l.ran
		l.mu.Unlock()
		if ran {
			s.applyQueued(c.takeBuffers())
		}
		s.queue.clear()
	case l == nil && s.postponed:
		return c.openLink()
	}
	return true
}

func (c *conn) link() *link { return c.session.link }

// A stream that has lived so long was one, whatever then became of it.
const lastingLink = time.Second

// openingTimeout is how long the leader may take to take the first bytes.
const openingTimeout = 5 * time.Second

// maxOpenings is how many streams to the leader are being opened at once. Hundreds of clients that come together would crowd each other out at its port
// (mesh.maxHellos): they come one behind the other.
const maxOpenings = 32

// dialLeader is DialLeader, in its turn.
func (s *Server) dialLeader(ctx context.Context, c Cluster) (net.Conn, error) {
	select {
	case s.openings <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ending:
		return nil, net.ErrClosed
	}
	defer func() { <-s.openings }()
	return c.DialLeader(ctx)
}

// retryLeader is how long it takes until a leader is looked for again.
const retryLeader = 10 * time.Millisecond

// openLink opens a stream to the leader. If there is none in time, the commands that have arrived will be told so. false: the connection is over.
func (c *conn) openLink() bool {
	s := &c.session
	timeout := c.server.limits.Load().ForwardTimeout
	if s.troubleSince.IsZero() {
		s.troubleSince = time.Now()
	} else if !c.linger(retryLeader) {
		return false
	}
	c.server.seeking.Add(1)
	defer c.server.seeking.Add(-1)
	deadline := s.troubleSince.Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for {
		if s.place(); !s.away {
			return true
		}
		if id, _ := s.engine.Cluster.LeaderAddr(); id != "" && time.Now().Before(deadline) {
			if stream, err := c.server.dialLeader(ctx, s.engine.Cluster); err == nil {
				return c.linkTo(id, stream)
			}
		}
		if !time.Now().Before(deadline) {
			s.down = true
			return true
		}
		if !c.linger(retryLeader) {
			return false
		}
	}
}

// linger waits for so long, and notices meanwhile that the client or the server ends.
func (c *conn) linger(d time.Duration) bool {
	c.socket.setReadDeadline(time.Now().Add(d))
	ok := c.watchClient()
	c.socket.setReadDeadline(time.Time{})
	return ok && !c.server.stopping.Load() && !c.killed.Load()
}

// watchClient waits until the read deadline. false: the client is gone.
func (c *conn) watchClient() bool {
	gone := false
	err := c.socket.raw.Read(func(fd uintptr) bool {
		gone = c.hasLeft(fd)
		return gone // what else the client sends waits with the command
	})
	return !gone && (err == nil || isTimeout(err))
}

// hasLeft tells whether the client has closed its end, also if it has sent something before that waits to be read.
func (c *conn) hasLeft(fd uintptr) bool {
	if c.bare != nil {
		return c.bare.ended()
	}
	return hungUp(int(fd))
}

// linkTo begins a stream.
func (c *conn) linkTo(leader string, stream net.Conn) bool {
	s := &c.session
	l := &link{conn: c, stream: stream, leader: leader, done: make(chan struct{}), wanted: -1, told: s.state(), opened: time.Now()}
	stream.SetWriteDeadline(time.Now().Add(openingTimeout))
	_, err := stream.Write(s.opening().encode())
	stream.SetWriteDeadline(time.Time{})
	if err != nil {
		stream.Close()
		return true // and again
	}
	l.usedSec.Store(c.server.stats.now())
	s.link, s.remote = l, remote{}
	c.forwards.Store(l)
	c.server.stats.links.Add(1)
	go l.receive()
	return true
}

// dropLink ends a stream on which nothing is unanswered. A transaction that was begun there comes to nothing.
func (c *conn) dropLink() {
	s, l := &c.session, c.link()
	if l == nil {
		return
	}
	l.close()
	s.learnIndex()
	c.forwards.Store(nil)
	c.socket.setReadDeadline(time.Time{}) // Shutdown's is not needed: whoever reads next looks whether the server stops
	s.count.written += l.passed.Load()
	s.link = nil
	s.spoiled = s.spoiled || l.watches
	if s.remote.multi || l.multi {
		s.multi, s.queueFailed = true, true
	}
	s.queue.clear()
	s.remote = remote{}
	c.server.stats.links.Add(-1)
}

// waitAnswered waits until at most so many commands are unanswered, or the stream has ended. false: the connection is over.
func (c *conn) waitAnswered(most int) bool {
	l := c.link()
	l.flush()
	l.mu.Lock()
	if len(l.ahead)-l.head <= most || l.dead.Load() {
		l.mu.Unlock()
		return true
	}
	l.wanted = most
	c.socket.setReadDeadline(time.Time{})
	l.mu.Unlock()
	ok := c.watchClient()
	l.mu.Lock()
	l.wanted = -1
	c.socket.setReadDeadline(time.Time{})
	l.mu.Unlock()
	return ok && !c.killed.Load()
}

// sendAhead hands commands that travel to their stream, and waits if the leader is too far behind. false: the connection is over.
func (c *conn) sendAhead() bool {
	l := c.link()
	l.flush()
	l.forgetAnswered()
	if len(l.text) < maxUnansweredBytes && l.unanswered.Load() < maxUnanswered {
		return true
	}
	return c.waitAnswered(int(l.unanswered.Load() / 2))
}

// mend takes up what a stream that has ended has left: what certainly had no effect is run again, the rest has an unknown outcome. false: the
// connection is over, because its client has half a reply.
func (c *conn) mend() bool {
	s, l := &c.session, c.link()
	<-l.done
	if l.torn {
		c.cutShort(errors.New("the stream to the leader has ended"))
		return false
	}
	left, inMulti, declined := l.ahead[l.head:], l.multi, l.declined
	rerun, bytes := l.remains(left, declined)
	s.remote.multi = inMulti
	c.dropLink()
	for _, a := range left {
		s.unsure = s.unsure || a.ours && a.row == c.server.indexRow // how far the writes before it have reached nobody has said
	}
	if now := time.Now(); s.troubleSince.IsZero() || now.Sub(l.opened) > lastingLink {
		s.troubleSince = now
	}
	c.putBack(rerun, bytes)
	return true
}

// rerun is a command that comes again, before what the client has sent since: to be run, or to get an error.
type rerun struct {
	row   *commands.Row
	err   error // what becomes of it; nil: it is run
	hush  bool
	spoil bool // MULTI: its EXEC has an unknown outcome
}

// remains sorts out what is unanswered; text has the commands.
func (l *link) remains(left []asked, declined bool) (list []rerun, text []byte) {
	multi := -1 // place in list of the MULTI of the present transaction
	for _, a := range left {
		if a.ours {
			continue
		}
		r := rerun{row: a.row, hush: a.hush}
		sent := !declined && a.end <= l.written
		name := ""
		if a.row != nil {
			name = a.row.Name
		}
		switch {
		case sent && a.writes:
			r.err = errInDoubt
		case a.cut:
			r.err = errCutOff
		case sent && name == "exec":
			r.err = errTryAgain
		}
		switch name {
		case "multi":
			multi = len(list)
		case "discard":
			multi = -1
		case "exec":
			if r.err != nil && multi >= 0 {
				list[multi].spoil = true
			}
			multi = -1
		}
		if a.cut {
			text = appendCommand(text, [][]byte{[]byte("PING")}) // in its place
		} else {
			text = append(text, l.text[a.start-l.base:a.end-l.base]...)
		}
		list = append(list, r)
	}
	return list, text
}

// putBack has commands run before the rest of the query buffer.
func (c *conn) putBack(list []rerun, text []byte) {
	s := &c.session
	if len(list) == 0 {
		return
	}
	b := c.takeBuffers()
	if s.postponed { // its bytes are gone from the buffer
		s.postponed, s.uncounted = false, 0
		text = appendCommand(text, b.args)
		if s.arrival.err != nil {
			s.again.err = s.arrival.err
		}
		list = append(list, s.again)
		s.arrival.drop(s)
	}
	in := make([]byte, 0, max(len(text)+len(b.in)-b.start, readBytes))
	b.in = append(append(in, text...), b.in[b.start:]...)
	b.start, s.check = 0, resp.State{}
	s.reruns = append(list, s.reruns...)
}

// comeAgain takes the next command off the list.
func (s *session) comeAgain() {
	s.again, s.reruns = s.reruns[0], s.reruns[1:]
	if s.again.hush && s.replies == repliesOn {
		s.replies = skipThis
	}
	s.spoiled = s.spoiled || s.again.spoil
}

// giveUp answers a command that does not run again.
func (s *session) giveUp(b *buffers) {
	if s.again.row != nil && s.again.row.Name == "exec" {
		s.endMulti()
	}
	if s.again.err == errInDoubt {
		s.server.stats.inDoubt.Add(1)
	}
	fail(b, s.again.err)
	b.hold(0, false)
	s.count.refused(&s.server.stats, s.id, s.again.row, b.lastReply())
}

// absorbForLeader passes on what has arrived of a large argument. If that cannot be done the rest of it is dropped, and the command gets an error.
// false: the connection is over.
func (c *conn) absorbForLeader(p []byte) bool {
	s, a := &c.session, &c.session.arrival
	for !a.begun && a.err == nil {
		switch l := c.link(); {
		case l.isBusy() && !l.dead.Load(): // then there is nothing to be mended but this command
			if !c.waitAnswered(0) {
				return false
			}
		case l != nil && l.dead.Load() && (l.isBusy() || a.sentArgs > 0):
			a.err = errCutOff
		case l != nil && l.dead.Load():
			c.dropLink()
		case s.down:
			a.err = errClusterDown
		case !s.away || s.multi: // it was to travel, and this node has become the leader, or the transaction has ended
			a.err = errCutOff
		case l == nil:
			if !c.openLink() {
				return false
			}
		default:
			s.beginLarge()
		}
	}
	if a.err != nil {
		return true
	}
	l := c.link()
	l.usedSec.Store(c.server.stats.now())
	if _, err := l.stream.Write(p); err != nil {
		l.stream.Close()
		a.err = errCutOff
	}
	return true
}

// wokenByLink is what follows when a read was cut short: the stream to the leader has ended, or is not needed any more.
func (c *conn) wokenByLink() bool {
	c.socket.setReadDeadline(time.Time{})
	l := c.link()
	switch {
	case c.server.stopping.Load() || c.killed.Load(): // whose deadline this may have taken away
		return false
	case c.session.arrival.bytes > 0:
	case l.dead.Load():
		return c.mend()
	case l.idle.Load() && !l.isBusy() && !c.session.remote.multi && !l.watches:
		c.dropLink()
	}
	return true
}

// drainAtEnd lets the replies arrive that a client still waits for which has closed its own end, or whose node stops: Shutdown ends the stream of those
// that take too long.
func (c *conn) drainAtEnd() {
	l := c.link()
	if l == nil || c.failed != io.EOF && !c.server.stopping.Load() {
		return
	}
	l.flush()
	for l.isBusy() && !l.dead.Load() && !l.blocks() && !c.killed.Load() {
		time.Sleep(time.Millisecond)
	}
}

// endLink is the end of the client.
func (c *conn) endLink() {
	if l := c.link(); l != nil {
		if l.isBusy() {
			c.socket.abort() // whoever passes replies on must not wait for the client
		}
		c.dropLink()
	}
}
