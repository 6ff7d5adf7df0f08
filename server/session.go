package server

import (
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"sett/commands"
	"sett/resp"
	"sett/storage"
	"sett/threads"
)

// session is what the server knows about one client. It runs commands and never waits for the log or for the socket: who serves its connection
// does both.
type session struct {
	server *Server
	engine *Engine // nil while the log is replayed
	*peer          // what others see of it

	proto         int // 2 or 3
	db            int
	authenticated bool
	name          string // CLIENT SETNAME
	libName       string // CLIENT SETINFO, and the next
	libVer        string
	flags         peerFlags
	replies       replies
	last          *commands.Row // of the last command; nil: there is no such command
	count         count

	check     resp.State           // how far the command that is arriving was looked at
	arrival   arrival              // its large arguments
	staged    []commands.StagedArg // the ones of the command at hand that are in the store
	hurried   bool                 // the loop runs this: what would take time is left to a goroutine; see isQuick
	postponed bool                 // the command in buffers.args runs once the replies before it have left
	uncounted int                  // its length, as long as run has not counted it as used
	after     next                 // what the command at hand wants to happen when it is done
	instead   next                 // … and what happens once the held replies are gone, if not that; more: that
	start     int                  // where the command at hand begins in the query buffer, plus 1; 0: it may not run twice
	rest      []byte               // what has arrived behind it
	pipelined *pipelined           // the loop's: commands that are alike are run as one batch; nil: they are not
	together  int                  // how many were; 0: the command at hand was run by itself

	waitEndMs int64            // a command is waiting until then, unix time; 0: none is
	ackIndex  uint64           // … in WAIT, for other nodes to have the log up to there
	look      time.Duration    // … and looks again after this; 0: when it is woken
	waiter    *commands.Waiter // … as this, if it waits for a key
	wake      func()           // has the connection look at it

	multi       bool // between MULTI and EXEC
	queueFailed bool // a command could not be queued: EXEC will refuse
	queue       queue
	watch       commands.Watch

	committed uint64 // up to here this session has waited already

	// In a cluster only.
	toldWait     bool      // the other node knows that the command at hand waits
	origin       *origin   // of a session that another node has forwarded; nil: the client is connected to this one
	away         bool      // this node does not lead
	link         *link     // to the leader; nil: nothing has travelled lately
	remote       remote    // what was begun there
	travelled    bool      // the command at hand was appended to link
	down         bool      // no leader was found in time: commands that have arrived get an error
	troubleSince time.Time // … is looked for since
	reruns       []rerun   // commands at the start of the query buffer that come again
	again        rerun     // the command at hand, if it was one of them
	spoiled      bool      // what this client WATCHes nobody knows any more: its EXEC runs nothing
	wrong        error     // the client has broken the protocol, which is said once all that travels is answered
	read         readLevel
	seenIndex    uint64 // of the log, that this client's own writes have reached
	unsure       bool   // … but for some that have travelled
	ownIndex     uint64 // SETT WAITINDEX waits for this one; 0: it does not
	cancelIndex  func() // … and so it stops
}

// next is what a session's connection has to do. In each case but leave the held replies go out first.
type next int

const (
	more   next = iota // all that has arrived was run: read more
	again              // run the rest
	leave              // run the rest, with the command at hand, where it may wait and take its time: not on the loop
	await              // wait for the end of the pause, then run the rest
	reach              // have what travels answered, or find the leader, then run the rest
	absorb             // take the bytes of the large argument that is arriving, then run the rest
	hangUp             // close the connection
	drop               // close it without sending what is held
	depart             // end, but leave the socket open until the process ends
)

// longestTurn is how long a pipeline that the loop does not run keeps a thread from looking around. Nobody in Go's scheduler may be waiting for sockets
// while a goroutine that was woken by one runs: another client's command would lie there until it ends, with processors idle.
const longestTurn = 100 * time.Microsecond

func (s *session) init(server *Server, p *peer) {
	s.server, s.peer, s.proto = server, p, 2
	s.enter()
	p.shown = s.portray(nil, nil)
}

// end gives back what others know of this session.
func (s *session) end() {
	s.arrival.drop(s)
	s.stopWaiting()
	s.stopIndexWait()
	s.dropQueued()
	if s.engine != nil {
		s.engine.Data.Unwatch(&s.watch)
	}
	s.count.flush(&s.server.stats, s.id)
}

// run runs the whole commands at the start of pipeline, adds their replies to b, and tells how many bytes they were. After again, the
// rest must lie where it is until the next call.
//
// This is the seam between what a client says and how it travels: nothing in here reads, writes or waits for a commit.
func (s *session) run(b *buffers, pipeline []byte) (used int, result next) {
	defer s.survive(b, &result)
	s.engine = s.server.engine.Load()
	if s.engine != nil {
		if len(b.marks) == 0 {
			b.ended = s.speculations()
		}
		if s.place(); s.link != nil && !s.away || s.wrong != nil && s.link.isBusy() {
			return 0, reach
		}
	}
	if s.wrong != nil && len(s.reruns) == 0 {
		return 0, s.protocolError(b, s.wrong)
	}
	now := s.server.limits.Load()
	limits := parserLimits(now)
	start := s.server.elapsed()
	turn := start
	for !s.server.stopping.Load() && !s.killed.Load() {
		if !s.hurried && start-turn > longestTurn {
			threads.LetOthers()
			start = s.server.elapsed()
			turn = start
		}
		n := 0
		if s.postponed {
			n, s.uncounted, s.postponed = s.uncounted, 0, false
			used += n
		} else if b.full() {
			return used, again
		} else if s.link != nil && s.link.isFull() {
			if s.link.dead.Load() { // nothing will make room in it
				return used, reach
			}
			return used, again
		} else {
			limits.Authenticated = !s.isStranger()
			var err error
			n, err = s.parse(b, pipeline[used:], &limits)
			used += n
			if err != nil {
				if s.link.isBusy() {
					s.wrong = err
					return used, reach
				}
				return used, s.protocolError(b, err)
			}
			switch {
			case n == 0 && s.arrival.left > 0:
				return used, absorb
			case n == 0:
				return used, more
			}
			if len(b.args) == 0 {
				continue
			}
			if s.again = (rerun{}); len(s.reruns) > 0 {
				s.comeAgain()
			}
		}
		if s.start = 0; n > 0 && s.replies == repliesOn && pipeline[used-n] == '*' { // an inline command is parsed where it lies
			s.start = 1 + b.start + used - n
		}
		s.rest, s.together = pipeline[used:], 0
		row := s.execute(b)
		used = len(pipeline) - len(s.rest)
		if s.travelled {
			s.travelled = false
			if s.after != more {
				return used, s.after
			}
			continue
		}
		switch {
		case s.after == leave:
			s.postponed, s.uncounted = true, n // it is still the first in the query buffer
			return used - n, leave
		case s.postponed:
			return used, s.after
		}
		start = s.account(b, row, start)
		if s.replies != repliesOn {
			s.hush(b)
		}
		if hard := now.OutHardBytes; hard > 0 && b.out.Len() >= hard {
			s.server.overflowed(s.peer, s.portray(b, b.args))
			return used, drop
		}
		if s.after != more {
			return used, s.after
		}
	}
	s.leaveOff(b)
	return used, hangUp
}

// parse puts the arguments of the next command into b.args; n is its length, 0 if it has not arrived whole.
func (s *session) parse(b *buffers, pipeline []byte, limits *resp.Limits) (n int, err error) {
	if limits.Authenticated && s.check.Fresh() {
		if b.args, n = resp.Glance(pipeline, b.args[:0]); n > 0 {
			return n, nil
		}
	}
	n, _, err = resp.Check(pipeline, *limits, &s.check)
	for n == 0 && err == nil && s.check.Large().Bytes > 0 && s.keepLarge(b, pipeline) {
		n, _, err = resp.Check(pipeline, *limits, &s.check)
	}
	if n > 0 {
		b.args, err = resp.Parse(pipeline[:n], b.args)
	}
	return n, err
}

func parserLimits(now *Limits) resp.Limits {
	limits := resp.DefaultLimits()
	limits.MaxBulkBytes, limits.MaxQueryBytes = now.MaxBulkBytes, now.MaxQueryBytes
	limits.LargeBytes = commands.StagedAbove
	limits.MaxInlineBytes = min(limits.MaxInlineBytes, limits.MaxQueryBytes)
	return limits
}

func (s *session) protocolError(b *buffers, err error) next {
	if errors.Is(err, resp.ErrQueryTooLong) {
		s.server.stats.queryOverflows.Add(1)
		s.server.opts.Logger.Warn("closing a client whose command exceeds client-query-buffer-limit", "addr", s.addr)
		return hangUp
	}
	b.out.Error("ERR " + err.Error())
	b.hold(0, false)
	s.count.refused(&s.server.stats, s.id, nil, b.lastReply())
	return hangUp
}

// execute runs the command in b.args, or queues it, or says why not. It returns the row that was run, nil if none was.
func (s *session) execute(b *buffers) (ran *commands.Row) {
	s.after, s.staged = more, nil
	if s.waiter != nil {
		return s.goOnWaiting(b)
	}
	if s.origin != nil && (s.away || s.engine == nil) {
		s.decline(b)
		return nil
	}
	row, err := s.lookUp(b)
	here := !s.away || s.arrival.err != nil || s.again.err != nil || !s.travels(row, b.args, err)
	if here && s.link.isBusy() {
		s.postpone(reach)
		return nil
	}
	if s.again.err != nil {
		s.giveUp(b)
		return nil
	}
	if here && err == nil {
		err = s.admit(row, b.args)
	}
	s.last = row
	if err == nil {
		err = s.arrival.err
	}
	if err != nil && here {
		s.reject(b, row, err)
		s.arrival.drop(s)
		return nil
	}
	if s.server.paused.Load() != nil && row != nil && s.mustWait(row) {
		s.postpone(await)
		return nil
	}
	defer s.arrival.drop(s) // what nobody has taken
	if !here {
		s.forward(b, row)
		return nil
	}
	h := s.server.handlers[row]
	switch {
	case s.multi && (h == nil || !h.atOnce):
		s.enqueue(b, row)
		return nil
	case s.hurried && !isQuick(h):
		s.after = leave
	case h == nil:
		if !s.doAll(b, row) {
			s.do(b, row)
		}
	case h.blocks && b.out.Len() > 0:
		s.postpone(again)
	default:
		b.call.Row, b.call.Seen, b.call.Wrote, b.call.Hurried = row, 0, false, s.hurried
		if h.run(s, b, b.args); !s.postponed && s.after != leave {
			b.holdData(b.call.Seen, b.call.Wrote, h.looks && s.mustLead(&b.call))
		}
	}
	return row
}

// isQuick tells whether the loop may run a command at all. This is the rule of what it runs:
//
//   - what the session itself answers runs there if its handler is quick, and EXEC if all that it will run is;
//   - a row of the data set always begins there, but hurried: it gives up, without a trace, where it would wait for Badger or for memory, meets many
//     records or bytes (storage.Reader.Hurry), or has a part that runs long by nature (Row.Long);
//   - large arguments, replies that stream, and replies that the client does not take at once are not the loop's either.
//
// In each case the connection leaves, and its own goroutine begins with the command at hand.
func isQuick(h *handler) bool { return h == nil || h.quick || h.inside }

// postpone has the command at hand run later.
func (s *session) postpone(until next) { s.postponed, s.after = true, until }

// lookUp finds the command's row, and decides whether the client may run it at all.
func (s *session) lookUp(b *buffers) (*commands.Row, error) {
	row, err := s.server.opts.Table.Resolve(b.args)
	switch {
	case err != nil:
		return row, err
	case row.Name == "debug" && !s.mayDebug():
		return row, errNoDebug
	case s.isStranger() && !row.Flags.Has(commands.FlagNoAuth):
		return row, errNoAuth
	case s.engine == nil && !s.worksEarly(row):
		return row, errLoading
	case s.multi && row.Flags.Has(commands.FlagNoMulti):
		return row, commands.ErrNotInMulti
	}
	return row, nil
}

// admit decides whether a command may run now.
func (s *session) admit(row *commands.Row, args [][]byte) error {
	if s.away && s.multi && !row.Session {
		if err := s.movedTo(row, args); err != nil {
			return err
		}
	}
	if s.needsRoom(row) {
		if err := s.engine.Data.Room(); err != nil {
			return err
		}
	}
	if s.lacksReplicas(row) {
		return errFewReplicas
	}
	return nil
}

// needsRoom tells whether a row may be refused because there is too much data. A queue takes memory, whatever is in it.
func (s *session) needsRoom(row *commands.Row) bool {
	if row.Session && s.multi {
		switch row.Name {
		case "exec":
			return slices.ContainsFunc(s.queue.steps, func(step commands.Step) bool { return step.Row.Flags.Has(commands.FlagDenyOOM) })
		case "discard", "quit", "reset":
			return false
		}
	}
	return s.multi || row.Flags.Has(commands.FlagDenyOOM)
}

// worksEarly tells whether a row can be served before the log has been replayed.
func (s *session) worksEarly(row *commands.Row) bool {
	h := s.server.handlers[row]
	return h != nil && h.early
}

// reject refuses a command before it ran. Within MULTI that spoils the transaction; an EXEC that is refused discards it.
func (s *session) reject(b *buffers, row *commands.Row, err error) {
	if row == nil {
		row = s.server.opts.Table.Lookup(b.args[0])
	}
	if row != nil && row.Name == "exec" {
		s.endMulti()
		err = commands.ErrExecRefused(err)
	} else if s.multi {
		s.queueFailed = true
	}
	if row == nil && (is(b.args[0], "post") || is(b.args[0], "host:")) {
		s.crossProtocol(b)
		return
	}
	fail(b, err)
	b.hold(0, false)
	s.count.refused(&s.server.stats, s.id, row, b.lastReply())
}

// crossProtocol ends a connection that speaks HTTP: a browser was made to send commands to this port. What follows must not be run.
func (s *session) crossProtocol(b *buffers) {
	s.after = hangUp
	b.hold(0, false)
	s.server.opts.Logger.Warn("closing a client that speaks HTTP: possibly an attack by way of somebody's browser", "addr", s.addr)
}

// do runs a row of the data set.
func (s *session) do(b *buffers, row *commands.Row) {
	call := &b.call
	s.staged = s.arrival.take()
	call.Row, call.Args, call.Staged, call.DB, call.W = row, b.args, s.staged, s.db, &b.out
	call.NoTouch, call.Hurried, call.Ready = s.flags&peerNoTouch != 0, s.hurried, s.wake
	start := b.out.Len()
	switch err := s.engine.Data.Do(call); err {
	case nil:
		if call.Refused && s.engine.Cluster != nil {
			b.out.Truncate(start)
			s.leadNoMore(b)
			return
		}
		if call.Parked != nil {
			s.beginWait(call.Parked)
			return
		}
	case storage.ErrWouldWait:
		s.after = leave
		return
	default:
		s.broken(b, err)
	}
	b.holdData(call.Seen, call.Wrote, s.mustLead(call))
	if last := &b.marks[len(b.marks)-1]; last.leads {
		last.at = s.start
	}
}

// broken is the reply to an error that is none of the client's business: the store is damaged in a way that has no name, or closed; then
// there is none, and the connection just ends.
func (s *session) broken(b *buffers, err error) {
	s.after = hangUp
	b.call.Seen, b.call.Wrote = 0, false
	b.out.Truncate(b.heldEnd())
	if errors.Is(err, storage.ErrClosed) {
		return
	}
	s.server.opts.Logger.Error("a command failed: its connection is closed", "addr", s.addr, "command", nameOf(b.args), "err", err)
	fail(b, err)
}

// account charges the time since start to a row that was run, and returns the present time.
func (s *session) account(b *buffers, row *commands.Row, start time.Duration) time.Duration {
	now := s.server.elapsed()
	switch {
	case s.together > 0:
		s.ranAll(b, row, now-start)
	case row != nil:
		s.ran(row, b.args, s.staged, now-start, b.lastReply())
	}
	return now
}

// survive keeps a panic of one command from being one of the process: the replies before it go out, then the connection is closed.
func (s *session) survive(b *buffers, result *next) {
	v := recover()
	if v == nil {
		return
	}
	var broken storage.InvariantError
	if err, ok := v.(error); ok && errors.As(err, &broken) {
		s.server.fatal(err)
	}
	s.server.stats.panics.Add(1)
	s.server.opts.Logger.Error("a command panicked: its connection is closed", "addr", s.addr, "command", nameOf(b.args), "panic", v,
		"stack", string(debug.Stack()))
	b.out.Truncate(b.heldEnd())
	b.spoiled = true
	*result = hangUp
}

// nameOf is a command's name for the log.
func nameOf(args [][]byte) string {
	if len(args) == 0 {
		return ""
	}
	return string(args[0][:min(len(args[0]), 64)])
}

func (s *Server) elapsed() time.Duration { return time.Since(s.started) }
