package server

import (
	"bytes"
	"strconv"

	"sett/commands"
	"sett/resp"
)

// enqueue is what becomes of a command between MULTI and EXEC.
func (s *session) enqueue(b *buffers, row *commands.Row) {
	if size := queuedBytes(b.args); s.queue.bytes+size > s.server.limits.Load().MaxQueryBytes {
		s.queue.clear() // EXEC will refuse, so nobody needs it
		s.reject(b, row, errQueueTooLong)
		return
	}
	if !s.queueFailed {
		s.queue.add(row, b.args)
	}
	b.out.Status("QUEUED")
	b.hold(0, false)
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
	s.multi, s.queueFailed = false, false
	s.queue.clear()
	if s.engine != nil {
		s.engine.Data.Unwatch(&s.watch)
	}
}

func watch(s *session, b *buffers, args [][]byte) {
	if s.multi {
		fail(b, commands.ErrWatchInMulti)
		return
	}
	call := &b.call
	call.Args, call.DB, call.W = args, s.db, &b.out
	if err := s.engine.Data.Watch(call, &s.watch); err != nil {
		s.broken(b, err)
	}
}

func unwatch(s *session, b *buffers, _ [][]byte) {
	s.engine.Data.Unwatch(&s.watch)
	b.out.Status("OK")
}

func exec(s *session, b *buffers, _ [][]byte) {
	if !s.multi {
		fail(b, commands.ErrExecNoMulti)
		return
	}
	defer s.endMulti()
	if s.queueFailed {
		fail(b, commands.ErrExecAbort)
		return
	}
	start := b.out.Len()
	call := &b.call
	call.DB, call.W = s.db, &b.out
	t := transaction{session: s, buffers: b}
	if err := s.engine.Data.Exec(call, s.queue.steps, &s.watch, t.answer); err != nil {
		s.broken(b, err)
		return
	}
	s.db = call.DB
	if refusal, ok := bytes.CutPrefix(b.out.Bytes()[start:], []byte("-MISCONF ")); ok {
		text := "MISCONF " + string(refusal)
		b.out.Truncate(start)
		fail(b, errExecRefused(commands.Error(text)))
		return
	}
	t.finish(start)
	s.countSteps(b.out.Bytes()[start:])
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
	step commands.Step
	at   int // where its placeholder begins in the reply
	db   int
}

const placeholder = ""

var placeholderBytes = len("+" + placeholder + "\r\n")

// answer is commands.Session.
func (t *transaction) answer(_ *commands.Query, step commands.Step, w *resp.Writer, db *int) {
	// A round that was given up left its steps here; the reply begins again before them.
	for n := len(t.later); n > 0 && t.later[n-1].at >= w.Len(); n-- {
		t.later = t.later[:n-1]
	}
	s, h := t.session, t.session.server.handlers[step.Row]
	if !h.inside {
		t.later = append(t.later, later{step, w.Len(), *db})
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
	whole := bytes.Clone(b.out.Bytes()[start:])
	seen, wrote, db := b.call.Seen, b.call.Wrote, s.db
	b.out.Truncate(start)
	from := 0
	for _, l := range t.later {
		b.out.Raw(whole[from : l.at-start])
		from = l.at - start + placeholderBytes
		s.db = l.db
		b.call.Seen = 0
		s.server.handlers[l.step.Row].run(s, b, l.step.Args)
		seen = max(seen, b.call.Seen)
	}
	b.out.Raw(whole[from:])
	b.call.Seen, b.call.Wrote, s.db = seen, wrote, db
}

// countSteps counts the commands that EXEC ran. Their time is EXEC's.
func (s *session) countSteps(reply []byte) {
	if len(reply) == 0 || reply[0] != '*' || s.after != more {
		return
	}
	rest, n := replyLine(reply)
	if n != len(s.queue.steps) {
		return // a null array: nothing ran
	}
	for _, step := range s.queue.steps {
		s.count.ran(&s.server.stats, s.id, step.Row, 0, rest)
		rest = skipReply(rest)
	}
}

// skipReply returns what follows the first reply of ours in a buffer.
func skipReply(reply []byte) []byte {
	if len(reply) == 0 {
		return nil
	}
	kind := reply[0]
	rest, n := replyLine(reply)
	switch kind {
	case '$', '=', '!':
		if n >= 0 {
			rest = rest[min(n+2, len(rest)):]
		}
	case '%', '|':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for ; n > 0; n-- {
			rest = skipReply(rest)
		}
	}
	return rest
}

// replyLine returns what follows the first line, and the number in that line.
func replyLine(reply []byte) (rest []byte, n int) {
	end := bytes.IndexByte(reply, '\n')
	if end < 2 {
		return nil, 0
	}
	n, _ = strconv.Atoi(string(reply[1 : end-1]))
	return reply[end+1:], n
}
