package server

import (
	"errors"
	"runtime"

	"sett/commands"
	"sett/resp"
	"sett/storage"
)

// buffers are what a connection needs while it is busy. They go from connection to connection, so that an idle one costs little more
// than its goroutine.
type buffers struct {
	in    []byte        // what the client sent
	start int           // in[start:] was not run
	args  [][]byte      // of the command at hand
	call  commands.Call // of the command at hand

	out   resp.Writer // replies that are held
	marks []mark      // what they depend on, in order, to the end of out
	last  int         // where the last reply begins
	peak  int         // most bytes that out has held for this connection
	seen  uint64      // the highest position of marks
	wrote bool        // one of marks wrote
	leads bool        // one of marks is so
	sure  bool        // this node has led when all of marks were run
	round uint64      // of Confirm, that the replies wait for; 0: for none yet
	ended uint64      // speculations that had ended when the first of marks was run

	spoiled bool // a command panicked with these: nobody knows what they hold
}

// mark is the reply of one command, or the replies of several in a row that depend on nothing.
type mark struct {
	end   int    // in buffers.out
	seen  uint64 // the reply may leave when this position is committed; 0: at once
	wrote bool   // the command is part of the log
	leads bool   // … only if this node has led when it was run
	at    int    // where the command begins in buffers.in, plus 1, if it may as well run later: it changed nothing, nor the session; 0: it may not
}

const (
	readBytes      = 16 << 10  // the first read buffer
	largeReadBytes = 512 << 10 // of the first read buffer while a large argument arrives
	keepArgs       = 1 << 10   // longer lists of arguments are given up when the connection rests, as are buffers beyond Options.KeepBytes

	// The replies of a pipeline are held until its end, but not more of them than this.
	maxHeldBytes = 64 << 10
	maxHeldMarks = 1 << 10
)

// full tells that the replies held must leave before more is run. A reply that streams is never kept waiting: its view grows old.
func (b *buffers) full() bool {
	return b.out.Len() >= maxHeldBytes || len(b.marks) >= maxHeldMarks || b.out.Streams()
}

// hold notes what the reply depends on that was written since the last call.
func (b *buffers) hold(seen uint64, wrote bool) { b.holdData(seen, wrote, false) }

// holdData is hold for what has looked at the data: leads says that the reply is only true if this node leads.
func (b *buffers) holdData(seen uint64, wrote, leads bool) {
	b.holdUpTo(b.out.Len(), seen, wrote, leads)
}

// holdUpTo is holdData for a reply that others follow.
func (b *buffers) holdUpTo(end int, seen uint64, wrote, leads bool) {
	b.last = b.heldEnd()
	b.peak = max(b.peak, end)
	if n := len(b.marks); seen == 0 && !wrote && !leads && n > 0 && b.marks[n-1].seen == 0 && !b.marks[n-1].leads {
		b.marks[n-1].end, b.marks[n-1].at = end, 0
		return
	}
	b.marks = append(b.marks, mark{end: end, seen: seen, wrote: wrote, leads: leads})
	b.seen, b.wrote = max(b.seen, seen), b.wrote || wrote
	if leads {
		b.leads, b.sure, b.round = true, false, 0
	}
}

// heldEnd is where the last reply noted ends.
func (b *buffers) heldEnd() int {
	if n := len(b.marks); n > 0 {
		return b.marks[n-1].end
	}
	return 0
}

// forgetLast takes the last reply away. What it depends on is kept: nothing that follows leaves before.
func (b *buffers) forgetLast() {
	b.out.Truncate(b.last)
	b.marks[len(b.marks)-1].end, b.marks[len(b.marks)-1].at = b.last, 0
}

// forget begins with no replies.
func (b *buffers) forget() {
	b.marks, b.last, b.seen, b.wrote = b.marks[:0], 0, 0, false
	b.leads, b.sure, b.round = false, false, 0
}

// lastReply is the reply that was held last.
func (b *buffers) lastReply() []byte { return b.out.Bytes()[b.last:] }

// release waits until the held replies may leave. What has become doubtful meanwhile is replaced by an error. false: nothing may leave
// any more.
func (s *session) release(b *buffers) bool {
	if b.seen > s.committed {
		if b.wrote && !s.hurried {
			// Whoever waits first hands all that has gathered to the log. Let those who have commands to run do so
			// before: at 50 clients this halves the log's writes, and more.
			runtime.Gosched()
		}
		err := s.engine.Store.Wait(b.seen)
		switch {
		case err == nil && s.speculations() == b.ended:
			s.committed = b.seen
		case err == nil, errors.Is(err, storage.ErrInDoubt):
			// A speculation ended since the first of these commands was run. Those in it are in doubt even if a later one has
			// been committed in the next.
			if !s.replaceDoubtful(b) {
				return false
			}
			b.leads = false // those have been replaced as well
		default:
			return false
		}
	}
	if b.leads && !b.sure && !s.hasLed(b) {
		s.replaceOutdated(b)
	}
	b.forget()
	return true
}

// mayRelease tells whether release would not wait. tell, if set, is called when it may not any more, if that is not for a position.
func (s *session) mayRelease(b *buffers, tell func()) bool {
	return (b.seen <= s.committed || s.engine.Store.Decided(b.seen)) && (!b.leads || b.sure || s.knowsLed(b, tell))
}

// speculations counts those that have ended.
func (s *session) speculations() uint64 { return s.engine.Store.Stats().Yields.Load() }

// replaceDoubtful goes through the held replies one by one. A client must not repeat a write that may have taken effect without knowing,
// so those get an error that no client retries by itself.
func (s *session) replaceDoubtful(b *buffers) bool {
	old, end, committed := b.out, 0, s.committed
	b.out = resp.Writer{Proto: old.Proto}
	defer old.Reset() // nobody reads what the replaced replies would have streamed
	movable := s.movable(b)
	for i, m := range b.marks {
		start := end
		end = m.end
		err := error(nil)
		if m.seen > committed {
			err = s.engine.Store.Wait(m.seen)
		}
		switch {
		case err == nil && !m.leads:
			b.out.Move(&old, start, end)
			s.committed = max(s.committed, m.seen)
		case err != nil && !errors.Is(err, storage.ErrInDoubt):
			return false
		case i >= movable:
			s.moveOn(b, i)
			return true
		case end == start: // CLIENT REPLY: nobody waits for it
		case m.wrote:
			fail(b, errInDoubt)
			s.server.stats.inDoubt.Add(1)
		default:
			fail(b, errTryAgain)
			s.server.stats.tryAgain.Add(1)
		}
	}
	return true
}
