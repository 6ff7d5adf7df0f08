package server

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"sett/commands"
)

// peer is what others know of a connection, and what they can do to it: CLIENT LIST shows it, CLIENT KILL ends it.
type peer struct {
	id        uint64
	addr      string // of the client
	laddr     string // its other end, ours
	socket    socket // beneath TLS
	unix      bool
	local     bool // the client is on this machine, in Redis' eyes
	forwarded bool // the client is another node's
	sinceSec  int64

	// waitingSince is the unix time in s since when the connection waits for its client, 0 while it does not.
	waitingSince atomic.Int64
	unsent       atomic.Int64 // bytes of replies in memory that wait for the client to take them
	stranger     atomic.Bool  // it has to authenticate first
	parked       atomic.Bool  // it waits for the end of CLIENT PAUSE, or in a command that blocks
	blocked      atomic.Bool  // … the latter
	unblocked    atomic.Int32 // of the latter: an unblock
	killed       atomic.Bool
	elsewhere    atomic.Bool // the leader waits for something on its behalf; who passes on its replies writes that

	softSince int64 // unix time in s since when unsent has been above the soft limit, 0: it is not; ticker only

	mu    sync.Mutex
	shown portrait // guarded by mu
}

func (p *peer) init(id uint64, socket net.Conn) {
	p.id, p.sinceSec = id, time.Now().Unix()
	p.addr, p.laddr = socket.RemoteAddr().String(), socket.LocalAddr().String()
	switch remote := socket.RemoteAddr().(type) {
	case *net.UnixAddr:
		p.unix, p.local = true, true
		p.addr = p.laddr + ":0"
		p.laddr = p.addr
	case *net.TCPAddr:
		p.local = isLocal(remote.IP.String())
	}
}

// isLocal compares the text, as Redis does, so 127.0.0.2 is somewhere else.
func isLocal(ip string) bool { return ip == "127.0.0.1" || ip == "::1" }

// portrait is what CLIENT LIST shows of a session: its state when its connection last waited or answered. The session itself is its
// goroutine's alone.
type portrait struct {
	name, libName, libVer string

	db, proto int
	queued    int // commands since MULTI; -1: none was called
	flags     peerFlags
	last      *commands.Row // nil: the last command was unknown, or there was none

	inBytes, inFree       int // of the query buffer
	argBytes, queuedBytes int
	outSize, outPeak      int // of the reply buffer
	outBytes, outStreams  int // what it holds
}

// peerFlags are the letters of CLIENT LIST that come from the session.
type peerFlags uint8

const (
	peerMulti peerFlags = 1 << iota
	peerClosing
	peerNoEvict
	peerNoTouch
	peerReadOnly // READONLY: what a replica has will do
)

// portray paints the session as it is now, with the arguments of the command at hand. Only its own goroutine may call it.
func (s *session) portray(b *buffers, args [][]byte) portrait {
	p := portrait{name: s.name, libName: s.libName, libVer: s.libVer, db: s.db, proto: s.proto, queued: -1, last: s.last, flags: s.flags}
	if s.multi {
		p.queued, p.queuedBytes = len(s.queue.steps), s.queue.bytes
		p.flags |= peerMulti
	}
	if s.after == hangUp {
		p.flags |= peerClosing
	}
	if b == nil {
		return p
	}
	p.inBytes, p.inFree = len(b.in)-b.start, cap(b.in)-len(b.in)
	for _, arg := range args {
		p.argBytes += len(arg)
	}
	p.outSize, p.outPeak, p.outBytes, p.outStreams = cap(b.out.Bytes()), b.peak, b.out.Len(), b.out.StreamCount()
	return p
}

// appendTo writes the line of CLIENT LIST, without its end.
func (p *peer) appendTo(text []byte, now portrait, nowSec int64) []byte {
	idleSec := int64(0)
	if since := p.waitingSince.Load(); since != 0 {
		idleSec = max(nowSec-since, 0)
	}
	command := "NULL"
	if now.last != nil {
		command = now.last.Name
	}
	events := "r"
	if p.unsent.Load() > 0 {
		events = "rw"
	}
	return fmt.Appendf(text, "id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=0 psub=0 ssub=0 multi=%d "+
		"qbuf=%d qbuf-free=%d argv-mem=%d multi-mem=%d rbs=%d rbp=%d obl=%d oll=%d omem=%d tot-mem=%d events=%s cmd=%s user=%s redir=-1 resp=%d "+
		"lib-name=%s lib-ver=%s",
		p.id, p.addr, p.laddr, p.socket.descriptor(), now.name, nowSec-p.sinceSec, idleSec, p.letters(now.flags), now.db, now.queued,
		now.inBytes, now.inFree, now.argBytes, now.queuedBytes, now.outSize, now.outPeak, now.outBytes, now.outStreams, now.outBytes, p.memory(&now), events,
		command, defaultUser, now.proto, now.libName, now.libVer)
}

func (p *peer) letters(flags peerFlags) string {
	var b []byte
	for _, f := range []struct {
		set    bool
		letter byte
	}{
		{flags&peerMulti != 0, 'x'}, {p.parked.Load() || p.elsewhere.Load(), 'b'}, {flags&peerClosing != 0, 'c'}, {p.unix, 'U'}, {flags&peerReadOnly != 0, 'r'},
		{flags&peerNoEvict != 0, 'e'}, {flags&peerNoTouch != 0, 'T'},
	} {
		if f.set {
			b = append(b, f.letter)
		}
	}
	if len(b) == 0 {
		return "N"
	}
	return string(b)
}

// memory is what the connection holds: itself, its buffers, its transaction, but not the stack of its goroutine.
func (p *peer) memory(now *portrait) int {
	texts := len(p.addr) + len(p.laddr) + len(now.name) + len(now.libName) + len(now.libVer)
	return int(unsafe.Sizeof(conn{})) + texts + now.inBytes + now.inFree + now.argBytes + now.queuedBytes + now.outSize
}

// peers are the connections there are, in the order in which they came.
func (s *Server) peers() []*conn {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *conn) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return all
}

// line is a connection in CLIENT LIST as this session sees it: itself as it is now, others as they last were seen.
func (s *session) line(text []byte, p *peer, b *buffers) []byte {
	var now portrait
	if p == s.peer {
		now = s.portray(b, b.args)
	} else {
		now = p.seen()
	}
	return p.appendTo(text, now, time.Now().Unix())
}

// seen is the connection as it was last seen, with what it has not sent of its replies.
func (p *peer) seen() portrait {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.shown
	if now.outBytes = int(p.unsent.Load()); now.outBytes == 0 {
		now.outStreams = 0
	}
	return now
}

// kill ends somebody else's connection: it is gone at once, whatever its goroutine still does.
func (s *Server) kill(c *conn) {
	c.killed.Store(true)
	s.remove(c)
	c.abort() // who serves it wakes with an error
}
