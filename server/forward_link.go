package server

import (
	"bytes"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sett/commands"
	"sett/resp"
)

// link is a stream to the leader on behalf of one client. It holds the client's commands until they are answered, so that those which certainly had
// no effect can be run again when the stream breaks.
//
// Two goroutines serve it: the connection's own (its owner) appends commands and writes them, and receive passes the replies on to the client. As
// long as a reply is missing receive writes to the client, otherwise the owner does. Each of them goes on while the other waits, so that a
// pipeline of any length, and replies of any size, get through with little memory.
type link struct {
	conn   *conn // the client's
	stream net.Conn
	leader string // its ID
	opened time.Time
	done   chan struct{}

	// The owner's alone.
	told    told   // what the leader's session is
	text    []byte // commands that are not answered; text[0] is byte number base of all
	base    uint64
	written uint64 // all before this byte was handed to the stream

	unanswered atomic.Int64 // len(ahead) - head, for a look without the lock
	dead       atomic.Bool  // nothing will come any more
	idle       atomic.Bool  // nothing has travelled for long
	passed     atomic.Uint64
	usedSec    atomic.Int64 // unix time in s when the last command was appended, or reply passed on

	mu       sync.Mutex
	ahead    []asked // commands in the order of their replies; guarded by mu, but those before len never change
	head     int     // ahead[:head] is answered; guarded by mu
	wanted   int     // the owner waits until no more than so many are unanswered; -1: it does not; guarded by mu
	declined bool    // the leader has said that it ran none of the rest; guarded by mu
	torn     bool    // a reply was passed on in part; guarded by mu
	multi    bool    // the leader's session is between MULTI and EXEC, as far as replies tell; guarded by mu
	watches  bool    // … and WATCHes something; guarded by mu
	ran      bool    // the last EXEC ran its commands; guarded by mu
	position uint64  // of the last SETT INDEX; guarded by mu
}

// told is what a leader's session has been told of the client's.
type told struct {
	db, proto int
	noTouch   bool
	name      string
	read      readLevel
}

// asked is a command that is on its way.
type asked struct {
	row        *commands.Row // nil: there is none, or it is not the client's
	start, end uint64        // in all that was sent
	hush       bool          // the client does not get its reply
	ours       bool          // the client has not asked for it
	queued     bool          // it was sent between MULTI and EXEC
	writes     bool          // it may have had an effect, once it was sent whole
	agrees     bool          // it may have changed what the nodes agree on
	cut        bool          // it is not in text
}

// The owner goes on sending until so much is unanswered.
const (
	maxUnansweredBytes = 256 << 10
	maxUnanswered      = 4096
	flushBytes         = 32 << 10
)

// byte numbers of the owner's.
func (l *link) end() uint64 { return l.base + uint64(len(l.text)) }

func (l *link) isBusy() bool { return l != nil && l.unanswered.Load() > 0 }

// isFull tells that what was appended must be sent before there is more.
func (l *link) isFull() bool {
	return l.end()-l.written >= flushBytes || len(l.text) >= maxUnansweredBytes || l.unanswered.Load() >= maxUnanswered
}

// blocks tells whether the leader may be waiting for something on behalf of the client.
func (l *link) blocks() bool {
	if !l.isBusy() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.ahead[l.head:], func(a asked) bool {
		return a.row != nil && !a.queued && (a.row.Blocking != nil || a.row.Name == "wait" || a.row.Name == "waitaof")
	})
}

// appendCommand writes a command as clients send it.
func appendCommand(text []byte, args [][]byte) []byte {
	l := link{text: text}
	l.appendCount(len(args))
	l.appendArgs(args)
	return l.text
}

// ask appends a command.
func (l *link) ask(a asked, args [][]byte) {
	l.forgetAnswered()
	a.start = l.end()
	l.appendCount(len(args))
	l.appendArgs(args)
	l.expect(a)
}

// expect notes that a reply will come to what was appended since a.start.
func (l *link) expect(a asked) {
	a.end = l.end()
	l.usedSec.Store(l.conn.server.stats.now())
	l.idle.Store(false)
	l.unanswered.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head > 64 && l.head > len(l.ahead)/2 {
		l.ahead = append(make([]asked, 0, 2*(len(l.ahead)-l.head)+16), l.ahead[l.head:]...) // a new one: receive may look at the old
		l.head = 0
	}
	l.ahead = append(l.ahead, a)
}

func (l *link) appendCount(n int) {
	l.text = append(strconv.AppendInt(append(l.text, '*'), int64(n), 10), '\r', '\n')
}

func (l *link) appendArgs(args [][]byte) {
	for _, arg := range args {
		l.appendHead(len(arg))
		l.text = append(append(l.text, arg...), '\r', '\n')
	}
}

// appendHead begins an argument.
func (l *link) appendHead(size int) {
	l.text = append(strconv.AppendInt(append(l.text, '$'), int64(size), 10), '\r', '\n')
}

// forgetAnswered gives the memory of commands back whose replies have come.
func (l *link) forgetAnswered() {
	oldest := l.written
	if l.unanswered.Load() > 0 {
		if len(l.text) < maxUnansweredBytes/2 {
			return
		}
		l.mu.Lock()
		if l.head < len(l.ahead) {
			oldest = min(oldest, l.ahead[l.head].start)
		}
		l.mu.Unlock()
	}
	n := copy(l.text, l.text[oldest-l.base:])
	l.text, l.base = l.text[:n], oldest
	if n == 0 && cap(l.text) > 4*flushBytes {
		l.text = nil
	}
}

// lastWords is how long a stream is read from on which nothing can be written any more.
const lastWords = time.Second

// flush writes what was appended. An error is noticed by receive as well, and dealt with there.
func (l *link) flush() {
	if rest := l.text[l.written-l.base:]; len(rest) > 0 && !l.dead.Load() {
		n, err := l.stream.Write(rest)
		l.written += uint64(n)
		if err != nil { // what the leader has said before it ended is still to be read, above all that it declined the rest
			l.stream.SetReadDeadline(time.Now().Add(lastWords))
		}
	}
}

// close ends the stream, and waits until nobody writes to the client on its behalf.
func (l *link) close() {
	l.stream.Close()
	<-l.done
}

// The leader's end may say between two replies that it does not lead any more, and has run nothing of what follows. No reply begins like this.
const declined = '\x15'

// … or that the next reply will not come soon, because what the client has asked for is not there yet. The client's node shows that in CLIENT LIST and INFO.
const waits = '\x16'

// Buffers of receive: a link that rests has a small one. A reply that does not fit the large one is passed on in parts.
const (
	smallReceive = 1 << 10
	largeReceive = 64 << 10
)

// receive passes replies on until the stream ends.
func (l *link) receive() {
	defer close(l.done)
	defer l.fail()
	r := receiver{link: l, buf: make([]byte, 0, smallReceive)}
	for {
		n, err := l.stream.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if n > 0 && !r.pass() || err != nil {
			return
		}
		r.makeRoom()
	}
}

// fail has the owner look at what the end of the stream has left.
func (l *link) fail() {
	l.stream.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.showWait(false)
	l.dead.Store(true)
	l.conn.socket.setReadDeadline(past)
}

// showWait has others see whether the client waits at the leader's.
func (l *link) showWait(is bool) {
	if l.conn.elsewhere.Swap(is) == is {
		return
	}
	if is {
		l.conn.server.elsewhere.Add(1)
	} else {
		l.conn.server.elsewhere.Add(-1)
	}
}

// receiver is receive's view of what arrives.
type receiver struct {
	*link
	buf    []byte // from the first byte that was not passed on
	looked int    // buf[:looked] went through frames
	frames resp.Frames
	torn   bool // the reply at hand was passed on in part
}

// pass gives the client the replies that are whole, without those that it is not to get. false: there is nothing more to come.
func (r *receiver) pass() bool {
	r.mu.Lock()
	ahead := r.ahead[r.head:]
	r.mu.Unlock()
	first, begin, answered := 0, 0, 0 // what is to be passed on, the reply at hand, and how many are whole
	over, waiting := false, r.conn.elsewhere.Load()
	for r.looked < len(r.buf) {
		if !r.frames.Begun() && r.buf[r.looked] == declined {
			over = true
			break
		}
		if !r.frames.Begun() && r.buf[r.looked] == waits {
			if !r.write(r.buf[first:begin]) {
				return false
			}
			r.looked++
			first, begin, waiting = r.looked, r.looked, true
			continue
		}
		if !r.frames.Begun() && answered == len(ahead) {
			return false // nobody has asked
		}
		n, whole := r.frames.Next(r.buf[r.looked:])
		r.looked += n
		if !whole {
			break
		}
		if !r.note(&ahead[answered], r.buf[begin:r.looked]) {
			return false
		}
		if ahead[answered].hush {
			if !r.write(r.buf[first:begin]) {
				return false
			}
			first = r.looked
		}
		begin = r.looked
		answered++
		r.torn, waiting = false, false
	}
	r.showWait(waiting)
	last := begin
	tears := !over && begin == 0 && len(r.buf) >= largeReceive
	if tears && answered == 0 && !r.torn && !r.note(&ahead[0], r.buf) {
		return false
	}
	if tears {
		last = len(r.buf)
		if ahead[answered].hush {
			first = last
		}
	}
	if !r.write(r.buf[first:last]) {
		return false
	}
	r.torn = r.torn || tears
	r.buf = r.buf[:copy(r.buf, r.buf[last:])]
	r.looked -= last
	r.answered(answered, over, tears && !ahead[min(answered, len(ahead)-1)].hush)
	return !over
}

// write gives the client bytes of replies.
func (r *receiver) write(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	c := r.conn
	c.unsent.Store(int64(len(p)))
	_, err := c.stream().Write(p)
	c.unsent.Store(0)
	r.passed.Add(uint64(len(p)))
	return err == nil
}

// note keeps what the owner has to know about a reply, of which the beginning is there, or what is left after its beginning was passed on. false:
// the leader does not do what it was told.
func (r *receiver) note(a *asked, reply []byte) bool {
	if r.torn {
		return true // it was noted when it began
	}
	fails := reply[0] == '-'
	if a.row == nil {
		return !(a.ours && fails)
	}
	if a.queued && a.row.Name != "exec" && a.row.Name != "discard" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch a.row.Name {
	case "multi":
		r.multi = r.multi || !fails
	case "exec":
		r.ran = reply[0] == '*' && !bytes.HasPrefix(reply, []byte("*-"))
		r.multi, r.watches = false, false
	case "discard":
		if !fails {
			r.multi, r.watches = false, false
		}
	case "watch":
		r.watches = r.watches || !fails
	case "unwatch":
		r.watches = false
	case "sett|index":
		if a.ours && !fails {
			r.position, _ = strconv.ParseUint(string(bytes.TrimSpace(reply[1:])), 10, 64)
		}
	}
	return !(a.ours && fails)
}

// answered tells the owner how far it is.
func (r *receiver) answered(n int, declined, torn bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head += n
	left := r.unanswered.Add(-int64(n))
	r.declined = r.declined || declined
	r.link.torn = torn || r.link.torn && n == 0
	now := r.conn.server.stats.now()
	r.usedSec.Store(now)
	if left == 0 {
		r.conn.waitingSince.Store(now)
	}
	if r.wanted >= 0 && left <= int64(r.wanted) {
		r.wanted = -1
		r.conn.socket.setReadDeadline(past)
	}
}

// makeRoom has the buffer fit what arrives.
func (r *receiver) makeRoom() {
	switch {
	case len(r.buf) == cap(r.buf):
		grown := make([]byte, len(r.buf), max(4*cap(r.buf), largeReceive+smallReceive))
		copy(grown, r.buf)
		r.buf = grown
	case len(r.buf) == 0 && cap(r.buf) > smallReceive && r.unanswered.Load() == 0:
		r.buf = make([]byte, 0, smallReceive)
	}
}
