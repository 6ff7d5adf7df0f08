package server

import (
	"strconv"

	"sett/commands"
	"sett/resp"
	"sett/types"
)

// A node that does not lead has the leader run its clients' commands: they travel over a stream that the leader serves like any other connection
// (link.go, ServeForwarded). What is about this node, or about the connection, is answered here, once all that travelled before it was.

// place decides who runs the commands of this turn.
func (s *session) place() {
	c := s.engine.Cluster
	s.away = c != nil && !c.Leads() && !s.engine.Store.Evaluating()
}

// debugTravels tells the subcommands of DEBUG that are about the data from those about this process.
func debugTravels(subcommand []byte) bool {
	for _, name := range []string{"change-repl-id", "digest", "digest-value", "htstats", "htstats-key", "listpack", "object", "populate", "quicklist",
		"reload", "loadaof", "set-active-expire", "stringmatch-len", "sdslen", "ziplist"} {
		if is(subcommand, name) {
			return true
		}
	}
	return false
}

// travels tells whether the leader runs a command. Between MULTI and EXEC all do, wrong ones included: they spoil the transaction there.
func (s *session) travels(row *commands.Row, args [][]byte, wrong error) bool {
	switch {
	case s.multi: // it was begun here, and nothing will come of it
		return false
	case s.remote.multi:
		return row == nil || row.Name != "quit" && row.Name != "reset"
	case wrong != nil:
		return false
	case !row.Session:
		return !s.readsHere(row)
	}
	switch row.Name {
	case "multi":
		return !s.spoiled && !s.engine.Data.WatchDirty(&s.watch) && !s.server.limits.Load().Moved
	case "watch":
		return !s.spoiled
	case "unwatch":
		return !s.spoiled && s.link != nil
	case "client|unblock":
		return len(args) > 2 && s.server.waitsElsewhere(args[2])
	case "debug":
		return len(args) > 1 && debugTravels(args[1])
	}
	return s.server.handlers[row].travels
}

// remote is what this session has begun at the leader's.
type remote struct {
	multi  bool // between MULTI and EXEC; their commands that change the session are in session.queue
	writes bool // a command between them may write
	agrees bool // … may change what the nodes agree on
}

// forward has the leader run the command in b.args. It waits for nothing: what it needs first, the connection does, and comes again.
func (s *session) forward(b *buffers, row *commands.Row) {
	switch {
	case s.hurried:
		s.after = leave
		return
	case b.out.Len() > 0 || len(b.marks) > 0:
		s.postpone(again) // these replies are ours to send
		return
	}
	if err := s.movedTo(row, b.args); err != nil {
		s.reject(b, row, err)
		return
	}
	switch {
	case s.down && row != nil && row.Name == "multi": // it never fails: a client that goes on must not have its commands run one by one
		s.multi, s.queueFailed = true, true
		b.out.Status("OK")
		b.hold(0, false)
		return
	case s.down:
		s.reject(b, row, errClusterDown)
		return
	case s.link == nil || s.link.dead.Load():
		s.postpone(reach)
		return
	}
	s.last = row
	s.syncState()
	a := asked{row: row, queued: s.remote.multi, hush: s.replies == repliesOff || s.replies == skipThis, writes: row != nil && mayWrite(row)}
	s.trackTransaction(row, &a, b.args)
	if s.arrival.travels {
		s.endLarge(a, b.args)
	} else {
		s.link.ask(a, b.args)
	}
	s.unsure = s.unsure || a.writes
	if (s.read.stale && s.unsure || a.agrees) && !s.remote.multi {
		s.link.ask(asked{row: s.server.indexRow, ours: true, hush: true}, askIndex())
	}
	switch s.replies {
	case skipNext:
		s.replies = skipThis
	case skipThis:
		s.replies = repliesOn
	}
	s.count.commands++
	s.travelled = true
}

func askIndex() [][]byte { return [][]byte{[]byte("SETT"), []byte("INDEX")} }

// trackTransaction follows MULTI and EXEC as they go by.
func (s *session) trackTransaction(row *commands.Row, a *asked, args [][]byte) {
	r := &s.remote
	if row == nil {
		return
	}
	if r.multi {
		a.writes = false // it is only queued
	}
	switch name := row.Name; {
	case name == "multi" && !r.multi:
		*r = remote{multi: true}
	case name == "discard":
		*r = remote{}
		s.queue.clear()
	case name == "exec":
		a.writes, a.agrees = r.writes, r.agrees
		*r = remote{}
		if len(s.queue.steps) > 0 {
			s.after = reach // what it changes of the session is known when it has run
		}
	case name == "debug" && !r.multi:
		a.writes = true
	case r.multi:
		r.agrees = r.agrees || row.Name == "config|set"
		r.writes = r.writes || r.agrees || mayWrite(row)
		if changesSession(row) {
			s.queue.add(row, args, nil)
		}
	}
}

// changesSession tells the rows after which the session is another.
func changesSession(row *commands.Row) bool {
	switch row.Name {
	case "select", "hello", "auth", "client|setname", "client|setinfo", "client|no-touch", "client|no-evict", "client|reply", "readonly", "readwrite", "sett|read":
		return true
	}
	return false
}

// applyQueued does to this session what EXEC did to the leader's.
func (s *session) applyQueued(b *buffers) {
	for _, step := range s.queue.steps {
		s.server.handlers[step.Row].run(s, b, step.Args)
		b.out.Reset()
	}
	s.queue.clear()
	s.link.told.db, s.link.told.proto, s.link.told.name, s.link.told.noTouch = s.db, s.proto, s.name, s.flags&peerNoTouch != 0
}

// syncState tells the leader's session what has changed of this one.
func (s *session) syncState() {
	l, now := s.link, s.state()
	if l.told == now || s.remote.multi {
		return
	}
	tell := func(words ...string) {
		args := make([][]byte, len(words))
		for i, w := range words {
			args[i] = []byte(w)
		}
		l.ask(asked{ours: true, hush: true}, args)
	}
	if now.db != l.told.db {
		tell("SELECT", strconv.Itoa(now.db))
	}
	if now.proto != l.told.proto {
		tell("HELLO", strconv.Itoa(now.proto))
	}
	if now.name != l.told.name {
		tell("CLIENT", "SETNAME", now.name)
	}
	if now.noTouch != l.told.noTouch {
		tell("CLIENT", "NO-TOUCH", map[bool]string{true: "ON", false: "OFF"}[now.noTouch])
	}
	if now.read != l.told.read {
		tell(append([]string{"SETT", "READ"}, now.read.words()...)...)
	}
	l.told = now
}

func (s *session) state() told { return told{s.db, s.proto, s.flags&peerNoTouch != 0, s.name, s.read} }

// forgetRemote is RESET: nothing is left of what was begun at the leader's.
func (s *session) forgetRemote() {
	s.remote = remote{}
	s.queue.clear()
	if l := s.link; l != nil {
		l.mu.Lock()
		l.multi, l.watches = false, false
		l.mu.Unlock()
		l.stream.Close()
	}
}

// movedTo is the answer to a command that has keys, if clients are to find the leader themselves.
func (s *session) movedTo(row *commands.Row, args [][]byte) error {
	if row == nil || !s.server.limits.Load().Moved {
		return nil
	}
	var key []byte
	row.KeyPositions(args, func(i int, _ commands.KeyFlags) {
		if key == nil {
			key = args[i]
		}
	})
	if key == nil {
		return nil
	}
	state := s.engine.Cluster.State()
	if leader, ok := state.Member(state.Leader); ok && leader.ClientAddr != "" {
		return errMoved(types.Slot(key), leader.ClientAddr)
	}
	return errClusterDown
}

// A large argument of a command that travels does so as it arrives; when the command is whole only its end is left to be sent.

// beginLarge sends the command up to the bytes of its large argument.
func (s *session) beginLarge() {
	a, l := &s.arrival, s.link
	if a.sentArgs == 0 {
		s.syncState()
		l.forgetAnswered()
		l.appendCount(a.args)
	} else {
		l.text = append(l.text, "\r\n"...) // of the large argument before
	}
	l.appendArgs(a.head[a.sentArgs:])
	l.appendHead(a.bytes)
	a.sentArgs, a.head, a.begun = a.arg+1, nil, true
	l.flush()
}

// endLarge sends what follows the last large argument.
func (s *session) endLarge(asked asked, args [][]byte) {
	asked.start, asked.cut = s.link.end(), true
	s.link.text = append(s.link.text, "\r\n"...)
	s.link.appendArgs(args[s.arrival.sentArgs:])
	s.link.expect(asked)
}

// keepForLeader decides about a large argument of a command that travels.
func (s *session) keepForLeader(row *commands.Row, command []byte) bool {
	a := &s.arrival
	if row == nil || len(row.Subcommands) > 0 || row.Session && !s.remote.multi || a.err != nil {
		return false
	}
	if !s.away || s.origin != nil || !s.travels(row, nil, nil) || s.server.limits.Load().Moved {
		return false
	}
	large := s.check.Large()
	a.head = a.head[:0]
	for _, arg := range resp.ParseHead(command[:large.Head], nil) {
		a.head = append(a.head, append([]byte(nil), arg...))
	}
	a.args, a.travels, a.begun = large.Args, true, false
	return true
}
