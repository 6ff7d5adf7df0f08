package server

import (
	"bytes"
	"slices"
	"strconv"

	"sett/commands"
	"sett/resp"
	"sett/storage"
)

// enqueue is what becomes of a command between MULTI and EXEC.
func (s *session) enqueue(b *buffers, row *commands.Row) {
	if size := queuedBytes(b.args); s.queue.bytes+size > s.server.limits.Load().MaxQueryBytes {
		s.dropQueued() // EXEC will refuse, so nobody needs it
		s.reject(b, row, errQueueTooLong)
		return
	}
	if !s.queueFailed {
		s.queue.add(row, b.args, s.arrival.take())
	}
	b.out.Status("QUEUED")
	b.hold(0, false)
}

// runs tells whether a command is of a kind, or an EXEC of one that is.
func (s *session) runs(row *commands.Row, kind func(*commands.Row) bool) bool {
	return kind(row) || row.Name == "exec" && slices.ContainsFunc(s.queue.steps, func(step commands.Step) bool { return kind(step.Row) })
}

func multi(s *session, b *buffers, _ [][]byte) {
	if s.multi {
		// Unlike other errors while commands are queued, this one spoils nothing.
		fail(b, commands.ErrNestedMulti)
		return
	}
	s.multi = true
	b.out.Status("OK")
}

func discard(s *session, b *buffers, _ [][]byte) {
	if !s.multi {
		fail(b, commands.ErrDiscardNoMulti)
		return
	}
	s.endMulti()
	b.out.Status("OK")
}

// endMulti is the end of every transaction, whatever became of it.
func (s *session) endMulti() {
	s.multi, s.queueFailed, s.spoiled = false, false, false
	s.dropQueued()
	if s.engine != nil {
		s.engine.Data.Unwatch(&s.watch)
	}
}

// dropQueued forgets the queue, and what its commands have staged.
func (s *session) dropQueued() {
	var staged []commands.StagedArg
	for i := range s.queue.steps {
		staged = append(staged, s.queue.steps[i].Staged...)
	}
	s.dropStaged(staged)
	s.queue.clear()
}

func watch(s *session, b *buffers, args [][]byte) {
	switch {
	case s.multi:
		fail(b, commands.ErrWatchInMulti)
		return
	case s.spoiled:
		b.out.Status("OK")
		return
	}
	call := &b.call
	call.Args, call.DB, call.W = args, s.db, &b.out
	switch err := s.engine.Data.Watch(call, &s.watch); err {
	case nil:
	case storage.ErrWouldWait:
		s.after = leave
	default:
		s.broken(b, err)
	}
}

func unwatch(s *session, b *buffers, _ [][]byte) {
	s.engine.Data.Unwatch(&s.watch)
	s.spoiled = false
	b.out.Status("OK")
}

func exec(s *session, b *buffers, _ [][]byte) {
	if !s.multi {
		fail(b, commands.ErrExecNoMulti)
		return
	}
	if s.hurried && !s.queueIsQuick() {
		s.after = leave
		return
	}
	defer func() {
		if s.after != leave {
			s.endMulti()
		}
	}()
	if s.queueFailed {
		fail(b, commands.ErrExecAbort)
		return
	}
	switch {
	case s.spoiled, s.away && s.engine.Data.WatchDirty(&s.watch):
		b.out.NullArray()
		return
	case s.away:
		fail(b, commands.ErrExecAbort)
		return
	}
	start := b.out.Len()
	call := &b.call
	call.DB, call.W, call.NoTouch = s.db, &b.out, s.flags&peerNoTouch != 0
	t := transaction{session: s, buffers: b}
	switch err := s.engine.Data.Exec(call, s.queue.steps, &s.watch, t.answer); err {
	case nil:
	case storage.ErrWouldWait:
		s.after = leave
		return
	default:
		s.broken(b, err)
		return
	}
	if call.Refused && s.engine.Cluster != nil {
		b.out.Truncate(start)
		if s.origin != nil {
			s.decline(b)
		} else {
			fail(b, commands.ErrExecAbort)
		}
		return
	}
	s.db, s.proto = call.DB, b.out.Proto
	if refusal, ok := bytes.CutPrefix(b.out.Bytes()[start:], []byte("-MISCONF ")); ok {
		text := "MISCONF " + string(refusal)
		b.out.Truncate(start)
		fail(b, commands.ErrExecRefused(commands.Error(text)))
		return
	}
	t.finish(start)
	s.countSteps(&b.out, start)
}

// queueIsQuick tells whether the loop may run EXEC.
func (s *session) queueIsQuick() bool {
	return !slices.ContainsFunc(s.queue.steps, func(step commands.Step) bool { return !isQuick(s.server.handlers[step.Row]) })
}

// transaction answers the Session rows of one EXEC.
//
// It is asked under the lock of the data set and perhaps several times, so only what is harmless is answered at its place. The rest
// (CONFIG, INFO, DEBUG …) leaves a placeholder in the reply and is run when the lock is free again: after the transaction, in order.
type transaction struct {
	session *session
	buffers *buffers
	later   []later
}

type later struct {
	step  *commands.Step
	at    int // where its placeholder begins in the reply
	db    int
	proto int // HELLO may follow
}

const placeholder = ""

var placeholderBytes = len("+" + placeholder + "\r\n")

// answer is commands.Session.
func (t *transaction) answer(_ *commands.Query, step *commands.Step, w *resp.Writer, db *int) {
	// A round that was given up left its steps here; the reply begins again before them.
	for n := len(t.later); n > 0 && t.later[n-1].at >= w.Len(); n-- {
		t.later = t.later[:n-1]
	}
	s, h := t.session, t.session.server.handlers[step.Row]
	if !h.inside {
		t.later = append(t.later, later{step, w.Len(), *db, w.Proto})
		w.Status(placeholder)
		return
	}
	outer := s.db
	s.db = *db
	h.run(s, t.buffers, step.Args)
	s.db, *db = outer, s.db
}

// finish runs what was put off and puts the replies into their places.
func (t *transaction) finish(start int) {
	if len(t.later) == 0 || t.session.after != more {
		return
	}
	b, s := t.buffers, t.session
	whole := b.out.Cut(start)
	defer whole.Reset() // after a panic
	seen, wrote, db, proto := b.call.Seen, b.call.Wrote, s.db, s.proto
	from := 0
	for _, l := range t.later {
		b.out.Move(&whole, from, l.at-start)
		from = l.at - start + placeholderBytes
		s.db = l.db
		s.setProto(b, l.proto)
		b.call.Seen, b.call.Wrote = 0, false
		began := s.server.elapsed()
		s.server.handlers[l.step.Row].run(s, b, l.step.Args)
		l.step.Took = s.server.elapsed() - began
		seen, wrote = max(seen, b.call.Seen), wrote || b.call.Wrote
	}
	b.out.Move(&whole, from, whole.Len())
	b.call.Seen, b.call.Wrote, s.db = seen, wrote, db
	s.setProto(b, proto)
}

// countSteps counts the commands that EXEC ran, and whose replies are the elements of the array at start. Their time is EXEC's as well.
func (s *session) countSteps(out *resp.Writer, start int) {
	header := "*" + strconv.Itoa(len(s.queue.steps)) + "\r\n"
	replies := out.Bytes()
	if !bytes.HasPrefix(replies[start:], []byte(header)) || s.after != more {
		return // a null array: nothing ran
	}
	at := start + len(header)
	for i := range s.queue.steps {
		step := &s.queue.steps[i]
		s.ran(step.Row, step.Args, step.Staged, step.Took, replies[at:])
		at = out.Skip(at)
	}
}
