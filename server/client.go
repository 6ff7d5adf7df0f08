package server

import (
	"bytes"
	"math"
	"strings"
	"time"

	"sett/commands"
	"sett/resp"
)

func clientHandlers() map[string]*handler {
	handlers := map[string]*handler{"client": {run: onlySubcommands, early: true}}
	for name, run := range map[string]func(*session, *buffers, [][]byte){
		"getname": clientGetName, "getredir": clientGetRedir, "help": clientHelp, "id": clientID, "info": clientInfo, "kill": clientKill,
		"list": clientList, "no-evict": clientNoEvict, "no-touch": clientNoTouch, "pause": clientPause, "reply": clientReply,
		"setinfo": clientSetInfo, "setname": clientSetName, "trackinginfo": clientTrackingInfo, "unblock": clientUnblock,
		"unpause": clientUnpause,
	} {
		handlers["client|"+name] = &handler{run: run, early: true}
	}
	for _, name := range []string{"getname", "id", "setname", "setinfo", "reply", "no-evict", "no-touch"} { // what client libraries begin with
		handlers["client|"+name].quick = true
	}
	return handlers
}

func clientID(s *session, b *buffers, _ [][]byte) { b.out.Int(s.clientID()) }

func clientInfo(s *session, b *buffers, _ [][]byte) {
	b.out.Verbatim("txt", append(s.line(nil, s.peer, b), '\n'))
}

// clientList is CLIENT LIST [TYPE type | ID id …].
func clientList(s *session, b *buffers, args [][]byte) {
	wanted := func(*conn) bool { return true }
	switch {
	case len(args) == 2:
	case len(args) == 4 && is(args[2], "type"):
		kind, err := clientType(args[3])
		if err != nil {
			fail(b, err)
			return
		}
		wanted = func(*conn) bool { return kind == "normal" }
	case len(args) > 3 && is(args[2], "id"):
		s.listIDs(b, args[3:])
		return
	default:
		fail(b, commands.ErrSyntax)
		return
	}
	var text []byte
	for _, c := range s.server.peers() {
		if wanted(c) {
			text = append(s.line(text, &c.peer, b), '\n')
		}
	}
	b.out.Verbatim("txt", text)
}

// listIDs shows connections in the order in which they are asked for.
func (s *session) listIDs(b *buffers, ids [][]byte) {
	byID := make(map[int64]*conn)
	for _, c := range s.server.peers() {
		byID[int64(c.id)] = c
	}
	var text []byte
	for _, arg := range ids {
		id, ok := resp.ParseInt(arg)
		if !ok {
			fail(b, errClientID)
			return
		}
		if c := byID[id]; c != nil {
			text = append(s.line(text, &c.peer, b), '\n')
		}
	}
	b.out.Verbatim("txt", text)
}

// clientType is the type that a name stands for. All clients of this version are normal.
func clientType(name []byte) (string, error) {
	switch kind := strings.ToLower(string(name)); kind {
	case "normal", "pubsub", "master", "replica":
		return kind, nil
	case "slave":
		return "replica", nil
	}
	return "", errClientType(name)
}

// victims says whom CLIENT KILL means.
type victims struct {
	addr, laddr []byte // nil: any
	id          int64  // 0: any
	kind        string // "": any
	skipMe      bool
}

func (v *victims) match(s *session, p *peer) bool {
	return (v.addr == nil || string(v.addr) == p.addr) && (v.laddr == nil || string(v.laddr) == p.laddr) && (v.id == 0 || uint64(v.id) == p.id) &&
		(v.kind == "" || v.kind == "normal") && !(v.skipMe && p == s.peer)
}

// clientKill is CLIENT KILL addr, and CLIENT KILL filter value ….
func clientKill(s *session, b *buffers, args [][]byte) {
	v := victims{skipMe: true}
	if len(args) == 3 {
		v = victims{addr: args[2]}
	} else if err := v.parse(args[2:]); err != nil {
		fail(b, err)
		return
	}
	killed := 0
	for _, c := range s.server.peers() {
		if !v.match(s, &c.peer) {
			continue
		}
		killed++
		if &c.peer == s.peer {
			s.after = hangUp // once it has read the reply
		} else {
			s.server.kill(c)
		}
	}
	switch {
	case len(args) > 3:
		b.out.Int(int64(killed))
	case killed == 0:
		fail(b, errNoSuchClient)
	default:
		b.out.Status("OK")
	}
}

func (v *victims) parse(args [][]byte) (err error) {
	for ; len(args) > 0; args = args[2:] {
		if len(args) == 1 {
			return commands.ErrSyntax
		}
		value, ok := args[1], false
		switch strings.ToLower(string(args[0])) {
		case "id":
			if v.id, ok = resp.ParseInt(value); !ok || v.id < 1 {
				return errClientIDRange
			}
		case "type":
			if v.kind, err = clientType(value); err != nil {
				return err
			}
		case "addr":
			v.addr = value
		case "laddr":
			v.laddr = value
		case "user":
			if string(value) != defaultUser {
				return errNoSuchUser(value)
			}
		case "skipme":
			if v.skipMe, ok = yesNo(value, "yes", "no"); !ok {
				return commands.ErrSyntax
			}
		default:
			return commands.ErrSyntax
		}
	}
	return nil
}

// yesNo reads one of two words.
func yesNo(arg []byte, yes, no string) (value, ok bool) {
	return is(arg, yes), is(arg, yes) || is(arg, no)
}

func clientSetName(s *session, b *buffers, args [][]byte) {
	if err := s.setName(args[2]); err != nil {
		fail(b, err)
		return
	}
	b.out.Status("OK")
}

func (s *session) setName(name []byte) error {
	if !printable(name) {
		return errClientName
	}
	s.name = string(name)
	return nil
}

// printable tells whether a text can stand in a line of CLIENT LIST, which is split at spaces.
func printable(text []byte) bool {
	return bytes.IndexFunc(text, func(r rune) bool { return r < '!' || r > '~' }) < 0
}

func clientGetName(s *session, b *buffers, _ [][]byte) {
	if s.name == "" {
		b.out.Null()
		return
	}
	b.out.BulkString(s.name)
}

// clientSetInfo is what a client library says about itself.
func clientSetInfo(s *session, b *buffers, args [][]byte) {
	var field *string
	switch {
	case is(args[2], "lib-name"):
		field = &s.libName
	case is(args[2], "lib-ver"):
		field = &s.libVer
	default:
		fail(b, errSetInfoOption(args[2]))
		return
	}
	if !printable(args[3]) {
		fail(b, errSetInfoText(args[2]))
		return
	}
	*field = string(args[3])
	b.out.Status("OK")
}

// clientNoEvict protects the client from eviction; no client is evicted in this version, so that it always is.
func clientNoEvict(s *session, b *buffers, args [][]byte) { s.setFlag(b, peerNoEvict, args[2]) }

// clientNoTouch keeps the client's commands from counting as accesses of their keys.
func clientNoTouch(s *session, b *buffers, args [][]byte) { s.setFlag(b, peerNoTouch, args[2]) }

func (s *session) setFlag(b *buffers, flag peerFlags, arg []byte) {
	on, ok := yesNo(arg, "on", "off")
	if !ok {
		fail(b, commands.ErrSyntax)
		return
	}
	if s.flags &^= flag; on {
		s.flags |= flag
	}
	b.out.Status("OK")
}

// replies says which replies a client wants: CLIENT REPLY.
type replies uint8

const (
	repliesOn replies = iota
	repliesOff
	skipNext // all but that of the next command
	skipThis // all but that of the command at hand
)

func clientReply(s *session, b *buffers, args [][]byte) {
	switch {
	case s.origin != nil: // its own node leaves out what it does not want
		b.out.Status("OK")
	case is(args[2], "on"):
		s.replies = repliesOn
		b.out.Status("OK")
	case is(args[2], "off"):
		s.replies = repliesOff
	case is(args[2], "skip"):
		if s.replies != repliesOff {
			s.replies = skipNext
		}
	default:
		fail(b, commands.ErrSyntax)
	}
}

// hush takes the reply of the command that was just run away again, if the client does not want it.
func (s *session) hush(b *buffers) {
	switch s.replies {
	case skipNext:
		s.replies = skipThis
		return
	case skipThis:
		s.replies = repliesOn
	}
	b.forgetLast()
}

func clientUnblock(s *session, b *buffers, args [][]byte) {
	switch {
	case len(args) > 4:
		fail(b, errSubcommand("CLIENT", args[1]))
		return
	case len(args) == 4 && !is(args[3], "timeout") && !is(args[3], "error"):
		fail(b, errUnblockReason)
		return
	}
	id, ok := resp.ParseInt(args[2])
	if !ok {
		fail(b, commands.ErrNotInteger)
		return
	}
	how := unblockTimeout
	if len(args) == 4 && is(args[3], "error") {
		how = unblockError
	}
	found := false
	if o := s.origin; o != nil {
		found = s.server.unblockForwarded(o.node, uint64(id), how)
	} else {
		found = s.server.unblock(uint64(id), how)
	}
	if found { // who waits for CLIENT UNPAUSE goes on waiting
		b.out.Int(1)
	} else {
		b.out.Int(0)
	}
}

// clientGetRedir and clientTrackingInfo tell the truth about a client that does not track: this version has no tracking.
func clientGetRedir(_ *session, b *buffers, _ [][]byte) { b.out.Int(-1) }

func clientTrackingInfo(_ *session, b *buffers, _ [][]byte) {
	b.out.Map(3)
	b.out.BulkString("flags")
	b.out.Set(1)
	b.out.BulkString("off")
	b.out.BulkString("redirect")
	b.out.Int(-1)
	b.out.BulkString("prefixes")
	b.out.Array(0)
}

// clientPause is CLIENT PAUSE timeout [WRITE | ALL].
func clientPause(s *session, b *buffers, args [][]byte) {
	if len(args) > 4 {
		fail(b, errSubcommand("CLIENT", args[1]))
		return
	}
	all := true
	if len(args) == 4 {
		var ok bool
		if all, ok = yesNo(args[3], "all", "write"); !ok {
			fail(b, errPauseMode)
			return
		}
	}
	ms, err := parseTimeout(args[2])
	if err != nil {
		fail(b, err)
		return
	}
	now := time.Now().UnixMilli()
	s.server.Pause(now+min(ms, math.MaxInt64-now), all)
	b.out.Status("OK")
}

func clientUnpause(s *session, b *buffers, _ [][]byte) {
	s.server.Unpause()
	b.out.Status("OK")
}

func clientHelp(_ *session, b *buffers, _ [][]byte) {
	help(b, "CLIENT", []string{
		"GETREDIR",
		"    Return the client ID we are redirecting to when tracking is enabled.",
		"GETNAME",
		"    Return the name of the current connection.",
		"ID",
		"    Return the ID of the current connection.",
		"INFO",
		"    Return information about the current client connection.",
		"KILL <ip:port>",
		"    Kill connection made from <ip:port>.",
		"KILL <option> <value> [<option> <value> [...]]",
		"    Kill connections. Options are:",
		"    * ADDR (<ip:port>|<unixsocket>:0)",
		"      Kill connections made from the specified address",
		"    * LADDR (<ip:port>|<unixsocket>:0)",
		"      Kill connections made to specified local address",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
		"      Kill connections by type.",
		"    * USER <username>",
		"      Kill connections authenticated by <username>.",
		"    * SKIPME (YES|NO)",
		"      Skip killing current connection (default: yes).",
		"LIST [options ...]",
		"    Return information about client connections. Options:",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
		"      Return clients of specified type.",
		"UNPAUSE",
		"    Stop the current client pause, resuming traffic.",
		"PAUSE <timeout> [WRITE|ALL]",
		"    Suspend all, or just write, clients for <timeout> milliseconds.",
		"REPLY (ON|OFF|SKIP)",
		"    Control the replies sent to the current connection.",
		"SETNAME <name>",
		"    Assign the name <name> to the current connection.",
		"SETINFO <option> <value>",
		"    Set client meta attr. Options are:",
		"    * LIB-NAME: the client lib name.",
		"    * LIB-VER: the client lib version.",
		"UNBLOCK <clientid> [TIMEOUT|ERROR]",
		"    Unblock the specified blocked client.",
		"TRACKINGINFO",
		"    Report tracking status for the current connection.",
		"NO-EVICT (ON|OFF)",
		"    Protect current client connection from eviction.",
		"NO-TOUCH (ON|OFF)",
		"    Will not touch LRU/LFU stats when this mode is on.",
	})
}
