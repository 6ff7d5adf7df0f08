package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/replication"
)

// teamMember is a cluster as one of its nodes sees it. Who leads is what the test says.
type teamMember struct {
	team *team
	node *testServer
	id   string
}

// team is some servers, of which one leads. They do not replicate: each has data of its own.
type team struct {
	t     testing.TB
	mu    sync.Mutex
	nodes map[string]*testServer
	lead  string // "": nobody; guarded by mu
	lease bool   // the leader has one; guarded by mu
	// cut, if set, gets between a follower and the leader; guarded by mu
	cut     func(net.Conn) net.Conn
	piped   bool
	confirm func() error
	lag     time.Duration
	applies bool // every node has at once what the leader has
}

var errNobody = errors.New("nobody leads")

func (c *teamMember) State() replication.State {
	c.team.mu.Lock()
	defer c.team.mu.Unlock()
	s := replication.State{Role: replication.Follower, ID: c.id, Leader: c.team.lead}
	if c.id == c.team.lead {
		s.Role = replication.Leader
	}
	for id, n := range c.team.nodes {
		s.Members = append(s.Members, replication.Member{ID: id, ClientAddr: n.addr})
	}
	return s
}

func (c *teamMember) Metrics() *replication.Metrics { return &replication.Metrics{} }

func (c *teamMember) Leads() bool {
	c.team.mu.Lock()
	defer c.team.mu.Unlock()
	return c.team.lead == c.id && c.team.lease
}

func (c *teamMember) LeaderAddr() (id, addr string) {
	c.team.mu.Lock()
	defer c.team.mu.Unlock()
	return c.team.lead, c.team.lead
}

func (c *teamMember) Confirm(context.Context) error {
	c.team.mu.Lock()
	defer c.team.mu.Unlock()
	if c.team.confirm != nil {
		return c.team.confirm()
	}
	if c.team.lead != c.id {
		return errNobody
	}
	return nil
}

func (c *teamMember) CaughtUp() (time.Duration, bool) {
	c.team.mu.Lock()
	defer c.team.mu.Unlock()
	return c.team.lag, c.team.lag >= 0
}

func (c *teamMember) Acknowledged(uint64) int { return 0 }
func (c *teamMember) WaitApplied(ctx context.Context, _ uint64) error {
	c.team.mu.Lock()
	applies := c.team.applies
	c.team.mu.Unlock()
	if applies {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
func (c *teamMember) Transfer(context.Context, string) error { return errNobody }
func (c *teamMember) Remove(context.Context, string) error   { return errNobody }

func (c *teamMember) DialLeader(ctx context.Context) (net.Conn, error) {
	c.team.mu.Lock()
	defer c.team.mu.Unlock()
	leader := c.team.nodes[c.team.lead]
	if leader == nil {
		return nil, errNobody
	}
	ours, theirs := net.Pipe()
	if !c.team.piped {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		if ours, err = net.Dial("tcp", l.Addr().String()); err != nil {
			return nil, err
		}
		if theirs, err = l.Accept(); err != nil {
			return nil, err
		}
	}
	go leader.ServeForwarded(theirs, c.id)
	if c.team.cut != nil {
		ours = c.team.cut(ours)
	}
	return ours, nil
}

// startTeam starts servers; the first of them leads.
func startTeam(t testing.TB, with setup, ids ...string) *team {
	tm := &team{t: t, nodes: make(map[string]*testServer), lease: true}
	limits := with.limits
	with.limits = func(l *Limits) {
		l.ForwardTimeout = 2 * time.Second
		if limits != nil {
			limits(l)
		}
	}
	with.loading = true
	for _, id := range ids {
		ts := startServer(t, with)
		ts.store.Yield()
		e := ts.newEngine(ts.data)
		e.Cluster = &teamMember{tm, ts, id}
		tm.change(func() { tm.nodes[id] = ts })
		ts.Begin(e)
	}
	tm.elect(ids[0])
	return tm
}

// elect has another node lead, or nobody.
func (tm *team) elect(id string) {
	tm.mu.Lock()
	old, next := tm.nodes[tm.lead], tm.nodes[id]
	tm.lead = ""
	tm.mu.Unlock()
	if old != nil {
		old.store.Yield()
	}
	if next != nil {
		next.log.mu.Lock()
		next.log.term++
		term := next.log.term
		next.log.mu.Unlock()
		next.store.Lead(term)
	}
	tm.mu.Lock()
	tm.lead = id
	tm.mu.Unlock()
}

func (tm *team) dial(id string) *client { return tm.nodes[id].dial() }

// TestForward: a client of a node that does not lead notices nothing of that.
func TestForward(t *testing.T) {
	t.Parallel()
	for _, piped := range []bool{false, true} {
		t.Run(fmt.Sprint("piped=", piped), func(t *testing.T) {
			t.Parallel()
			tm := startTeam(t, setup{}, "a", "b")
			tm.change(func() { tm.piped = piped })
			leader, c := tm.dial("a"), tm.dial("b")
			c.want("+PONG\r\n", "PING")
			c.want("+OK\r\n", "SET", "k", "v")
			c.want("$1\r\nv\r\n", "GET", "k")
			leader.want("$1\r\nv\r\n", "GET", "k")
			c.want("+OK\r\n", "SELECT", "3")
			c.want("$-1\r\n", "GET", "k")
			c.want("+OK\r\n", "SET", "three", "3")
			leader.want("$-1\r\n", "GET", "three")
			c.want("-ERR wrong number of arguments for 'get' command\r\n", "GET")
			c.want("-ERR unknown command 'NOSUCH', with args beginning with: \r\n", "NOSUCH")

			// Replies stay in order, whoever gives them.
			c.send(encode("SET", "n", "1") + encode("PING") + encode("INCR", "n") + encode("ECHO", "x") + "GET n\r\n" + encode("SELECT", "0") +
				encode("GET", "n") + encode("GET", "k"))
			for _, want := range []string{"+OK\r\n", "+PONG\r\n", ":2\r\n", "$1\r\nx\r\n", "$1\r\n2\r\n", "+OK\r\n", "$-1\r\n", "$1\r\nv\r\n"} {
				if got := c.reply(); got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			}

			// RESP3.
			if got := c.do("HELLO", "3"); got[0] != '%' {
				t.Fatalf("HELLO 3: %q", got)
			}
			c.want("_\r\n", "GET", "nosuch")
			c.want(":2\r\n", "HSET", "h", "f", "v", "g", "w")
			c.want("%2\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n$1\r\nw\r\n", "HGETALL", "h")

			// Transactions.
			c.want("+OK\r\n", "WATCH", "w")
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SET", "w", "1")
			c.want("+QUEUED\r\n", "PING")
			c.want("*2\r\n+OK\r\n+PONG\r\n", "EXEC")
			c.want("+OK\r\n", "WATCH", "w")
			leader.want("+OK\r\n", "SET", "w", "2")
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SET", "w", "3")
			c.want("_\r\n", "EXEC")
			c.want("-ERR EXEC without MULTI\r\n", "EXEC")
			c.want("+OK\r\n", "MULTI")
			if got := c.do("NOSUCH"); got[0] != '-' {
				t.Fatal(got)
			}
			c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")

			// What a transaction changes of the session.
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SELECT", "3")
			c.want("+QUEUED\r\n", "GET", "three")
			c.want("*2\r\n+OK\r\n$1\r\n3\r\n", "EXEC")
			c.want("$1\r\n3\r\n", "GET", "three")
			if got := c.do("CLIENT", "INFO"); !strings.Contains(got, " db=3 ") {
				t.Fatal(got)
			}
			c.want("+RESET\r\n", "RESET")
			c.want("$1\r\nv\r\n", "GET", "k")
			c.want("$-1\r\n", "GET", "three")

			// Silence.
			c.send(encode("CLIENT", "REPLY", "OFF") + encode("INCR", "n") + encode("PING") + encode("CLIENT", "REPLY", "ON"))
			if got := c.reply(); got != "+OK\r\n" {
				t.Fatal(got)
			}
			c.send(encode("CLIENT", "REPLY", "SKIP") + encode("INCR", "n") + encode("INCR", "n"))
			if got := c.reply(); got != ":3\r\n" {
				t.Fatal(got)
			}
			c.want("+OK\r\n", "QUIT")
			c.wantClosed()
		})
	}
}

// TestForwardLong: pipelines and values of any size get through.
func TestForwardLong(t *testing.T) {
	t.Parallel()
	for _, piped := range []bool{false, true} {
		t.Run(fmt.Sprint("piped=", piped), func(t *testing.T) {
			t.Parallel()
			tm := startTeam(t, setup{}, "a", "b")
			tm.change(func() { tm.piped = piped })
			c := tm.dial("b")
			const n = 10_000
			var b strings.Builder
			value := strings.Repeat("v", 2000)
			for i := range n {
				fmt.Fprint(&b, encode("SET", "k", value), encode("GET", "k"), encode("INCR", "n"))
				if i%1000 == 0 {
					b.WriteString(encode("PING"))
				}
			}
			go io.WriteString(c, b.String())
			want := fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
			for i := range n {
				for _, want := range []string{"+OK\r\n", want, fmt.Sprintf(":%d\r\n", i+1)} {
					if got := c.reply(); got != want {
						t.Fatalf("%d: got %.50q, want %.50q", i, got, want)
					}
				}
				if i%1000 == 0 && c.reply() != "+PONG\r\n" {
					t.Fatal("no PONG")
				}
			}
			large := strings.Repeat("0123456789abcdef", 3<<20/16*4)
			c.want("+OK\r\n", "SET", "large", large)
			c.want("+OK\r\n", "MSET", "l1", large, "l2", "x", "l3", large, "l4", "y")
			reply := fmt.Sprintf("$%d\r\n%s\r\n", len(large), large)
			if got := c.do("GET", "large"); got != reply {
				t.Fatalf("a large value comes back as %.40q, %d bytes", got, len(got))
			}
			if got := c.do("MGET", "l1", "l2", "l3", "l4"); got != "*4\r\n"+reply+"$1\r\nx\r\n"+reply+"$1\r\ny\r\n" {
				t.Fatalf("large values come back as %.40q, %d bytes", got, len(got))
			}
			c.want("$1\r\ny\r\n", "GET", "l4")
		})
	}
}

// breaker is a follower's end of a stream, which breaks when the test says.
type breaker struct {
	net.Conn
	mu     sync.Mutex
	writes int // bytes that may still be written, -1: any number
	reads  int // … and read
	gone   chan struct{}
	once   sync.Once
}

func newBreaker(c net.Conn, writes, reads int) *breaker {
	return &breaker{Conn: c, writes: writes, reads: reads, gone: make(chan struct{})}
}

func (b *breaker) end() { b.once.Do(func() { close(b.gone); b.Conn.Close() }) }

func (b *breaker) Close() error { b.end(); return nil }

// Write passes on what it may and breaks at the end of that.
func (b *breaker) Write(p []byte) (int, error) {
	b.mu.Lock()
	n := len(p)
	if b.writes >= 0 {
		n = min(n, b.writes)
		b.writes -= n
	}
	b.mu.Unlock()
	done, err := b.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		b.end()
		err = io.ErrClosedPipe
	}
	return done, err
}

func (b *breaker) Read(p []byte) (int, error) {
	b.mu.Lock()
	left := b.reads
	b.mu.Unlock()
	if left == 0 {
		b.end()
		return 0, io.ErrUnexpectedEOF
	}
	if left > 0 {
		p = p[:min(len(p), left)]
	}
	n, err := b.Conn.Read(p)
	b.mu.Lock()
	if b.reads >= 0 {
		b.reads -= n
	}
	b.mu.Unlock()
	return n, err
}

// TestForwardBreaks has a stream break at each byte, on its way there and back. What was not sent whole, and what only reads, runs again; a write that
// was sent and not answered has an unknown outcome, and is not repeated.
func TestForwardBreaks(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{limits: func(l *Limits) { l.MaxClients = 10_000 }}, "a", "b")
	tm.change(func() { tm.piped = true })
	sent := encode("INCR", "n") + encode("GET", "n") + encode("INCR", "n") + encode("MULTI") + encode("INCR", "n") + encode("EXEC") + encode("GET", "n")
	opening := len((&session{peer: &peer{addr: "127.0.0.1:54321", id: 12}, server: tm.nodes["b"].Server, proto: 2}).opening().encode())
	doubts := 0
	for _, back := range []bool{false, true} {
		for at := 0; at < opening+len(sent)+20; at++ {
			tm.dial("a").want("+OK\r\n", "SET", "n", "0")
			first := true
			tm.mu.Lock()
			tm.cut = func(c net.Conn) net.Conn {
				if !first {
					return c
				}
				first = false
				if back {
					return newBreaker(c, -1, at)
				}
				return newBreaker(c, at, -1)
			}
			tm.mu.Unlock()
			c := tm.dial("b")
			c.send(sent)
			applied, unknown := 0, 0 // increments that were acknowledged, and that may have been
			note := func(reply string, n int) string {
				switch {
				case strings.HasPrefix(reply, "-INDOUBT "):
					unknown += n
					doubts++
				case reply[0] == ':' || reply[0] == '*':
					applied += n
				}
				return reply
			}
			for i, want := range []string{":", "$", ":", "+OK", "+QUEUED", "*1", "$"} {
				got := c.reply()
				if i == 0 || i == 2 || i == 5 {
					note(got, 1)
				}
				spoiled := i == 5 && strings.HasPrefix(got, "-EXECABORT ") // if MULTI was answered before the stream broke
				if !strings.HasPrefix(got, want) && !strings.HasPrefix(got, "-INDOUBT ") && !spoiled {
					t.Fatalf("back=%v at byte %d: reply %d is %q", back, at, i, got)
				}
				if i == 6 {
					var n int
					fmt.Sscanf(got[strings.IndexByte(got, '\n')+1:], "%d", &n)
					if n < applied || n > applied+unknown {
						t.Fatalf("back=%v at byte %d: n is %d, %d increments were acknowledged and %d may have been", back, at, n, applied, unknown)
					}
				}
			}
			c.want("+PONG\r\n", "PING")
			c.Close()
		}
	}
	if doubts == 0 {
		t.Fatal("no stream broke between a write and its reply")
	}
}

// TestForwardTornReply: a client that has half of a long reply cannot get another one.
// TestForwardLastWords: a stream that takes nothing any more is read to its end, where the leader may have said that it ran none of the rest.
func TestForwardLastWords(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	stream, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	leader, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l := &link{stream: stream, text: appendCommand(nil, [][]byte{[]byte("INCR"), []byte("n")})}
	l.flush()
	leader.Write([]byte{declined})
	leader.Close() // with a reset: it has not read the command
	for err == nil {
		_, err = stream.Write([]byte("\r\n"))
	}
	l.text = appendCommand(l.text, [][]byte{[]byte("INCR"), []byte("n")})
	l.flush()
	said := make([]byte, 1)
	if n, err := stream.Read(said); n != 1 || said[0] != declined {
		t.Fatalf("%d %q %v", n, said, err)
	}
	if _, err := stream.Read(said); err == nil {
		t.Fatal("there is more")
	}
}

func TestForwardTornReply(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b")
	tm.dial("a").want("+OK\r\n", "SET", "k", strings.Repeat("x", 1<<20))
	tm.change(func() { tm.cut = func(c net.Conn) net.Conn { return newBreaker(c, -1, 300_000) } })
	c := tm.dial("b")
	c.send(encode("GET", "k"))
	n, err := io.Copy(io.Discard, c.r)
	if err != nil && !ended(err) || n == 0 || n > 300_000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// TestForwardNoLeader: commands wait for a leader, and not for ever.
func TestForwardNoLeader(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{limits: func(l *Limits) { l.ForwardTimeout = 200 * time.Millisecond }}, "a", "b")
	tm.elect("")
	c := tm.dial("b")
	c.send(encode("SET", "k", "v") + encode("PING") + encode("GET", "k") + encode("MULTI") + encode("SET", "k", strings.Repeat("x", 2<<20)) +
		encode("EXEC") + encode("SET", "k", strings.Repeat("x", 2<<20)))
	for _, want := range []string{"-CLUSTERDOWN ", "+PONG", "-CLUSTERDOWN ", "+OK", "+QUEUED", "-EXECABORT ", "-CLUSTERDOWN "} {
		if got := c.reply(); !strings.HasPrefix(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	tm.nodes["b"].SetLimits(func(l *Limits) { l.ForwardTimeout = limit })
	c.send(encode("SET", "k", "v") + encode("GET", "k"))
	tm.elect("a")
	for _, want := range []string{"+OK\r\n", "$1\r\nv\r\n"} {
		if got := c.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// TestForwardLeaderStops: what a leader that stops has not run, the next one runs.
func TestForwardLeaderStops(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b", "c")
	busy, waits, served := tm.dial("c"), tm.dial("c"), tm.dial("c")
	waits.send(encode("BLPOP", "q", "0") + encode("PING"))
	served.send(encode("BLPOP", "p", "0"))
	eventually(t, "two clients wait", func() bool { return tm.nodes["a"].blocked.Load() == 2 })
	const n = 20_000
	go io.WriteString(busy, strings.Repeat(encode("INCR", "n"), n))
	for i := range n {
		if i == n/100 {
			go func() {
				tm.dial("a").do("RPUSH", "p", "x")
				tm.nodes["a"].Shutdown(limit)
				tm.elect("b")
				tm.dial("b").do("RPUSH", "q", "y")
			}()
		}
		if got := busy.reply(); got[0] != ':' {
			t.Fatalf("reply %d is %q", i, got)
		}
	}
	for _, want := range []string{"*2\r\n$1\r\nq\r\n$1\r\ny\r\n", "+PONG\r\n"} {
		if got := waits.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if got := served.reply(); got != "*2\r\n$1\r\np\r\n$1\r\nx\r\n" {
		t.Fatal(got)
	}
}

// TestForwardStops: a node that stops lets its clients have the replies to what has travelled.
func TestForwardStops(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b")
	c, leader := tm.dial("b"), tm.dial("a")
	c.want(":1\r\n", "INCR", "n")
	log := tm.nodes["a"].log
	log.hold()
	c.send(encode("INCR", "n") + encode("INCR", "n"))
	<-log.arrived
	done := make(chan struct{})
	go func() { tm.nodes["b"].Shutdown(limit); close(done) }()
	eventually(t, "the node stops", func() bool { return tm.nodes["b"].stopping.Load() })
	leader.want("+PONG\r\n", "PING")
	log.release(t)
	for _, want := range []string{":2\r\n", ":3\r\n"} {
		if got := c.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	c.wantClosed()
	<-done
}

// TestForwardLeaderChanges: whoever leads, clients of all nodes are served; what a transaction or WATCH had begun elsewhere comes to nothing.
func TestForwardLeaderChanges(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b", "c")
	clients := map[string]*client{"a": tm.dial("a"), "b": tm.dial("b"), "c": tm.dial("c")}
	for round, id := range []string{"b", "c", "a", "b", "a"} {
		tm.elect(id)
		for name, c := range clients {
			key := fmt.Sprint(name, round)
			c.want("+OK\r\n", "SET", key, "v")
			c.want("$1\r\nv\r\n", "GET", key)
			clients[id].want("$1\r\nv\r\n", "GET", key)
		}
	}
	for name, c := range clients { // "a" leads
		c.want("+OK\r\n", "WATCH", "w")
		c.want("+OK\r\n", "SET", name, "v")
	}
	multi := map[string]*client{"a": tm.dial("a"), "b": tm.dial("b"), "c": tm.dial("c")}
	for _, c := range multi {
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SET", "m", "v")
	}
	tm.elect("b")
	for _, c := range clients {
		c.want("$-1\r\n", "GET", "m")
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SET", "m", "v")
		c.want("*-1\r\n", "EXEC")
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "GET", "m")
		c.want("*1\r\n$-1\r\n", "EXEC")
	}
	for name, c := range multi {
		c.want("+QUEUED\r\n", "SET", "m", "v")
		if got := c.do("EXEC"); !strings.HasPrefix(got, "-EXECABORT ") {
			t.Fatalf("%s: %q", name, got)
		}
		c.want("$-1\r\n", "GET", "m")
	}
}

// TestForwardBlocked: a client waits at the leader's, and can be ended and unblocked where it is connected.
func TestForwardBlocked(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b")
	waiting := func(node string, n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " clients wait at ", node), func() bool { return tm.nodes[node].blocked.Load() == int64(n) })
	}
	leader, other, c := tm.dial("a"), tm.dial("b"), tm.dial("b")
	shown := func(clients string, flags string) {
		t.Helper()
		eventually(t, "INFO shows "+clients+" clients that wait, CLIENT LIST "+flags, func() bool {
			return other.infoValue("clients", "blocked_clients") == clients && other.list()["waits"]["flags"] == flags
		})
	}
	c.want("+OK\r\n", "CLIENT", "SETNAME", "waits")
	c.want(":1\r\n", "INCR", "n")
	c.send(encode("INCR", "n") + encode("BLPOP", "q", "0"))
	waiting("a", 1)
	if got := c.reply(); got != ":2\r\n" {
		t.Fatal(got)
	}
	shown("1", "b")
	leader.want(":1\r\n", "RPUSH", "q", "x")
	if got := c.reply(); got != "*2\r\n$1\r\nq\r\n$1\r\nx\r\n" {
		t.Fatal(got)
	}
	shown("0", "N")

	id := strings.TrimPrefix(strings.TrimSpace(c.do("CLIENT", "ID")), ":")
	c.send(encode("BLPOP", "q", "0"))
	waiting("a", 1)
	other.want(":1\r\n", "CLIENT", "UNBLOCK", id, "ERROR")
	if got := c.reply(); !strings.HasPrefix(got, "-UNBLOCKED ") {
		t.Fatal(got)
	}
	other.want(":0\r\n", "CLIENT", "UNBLOCK", id, "ERROR")

	c.send(encode("BLPOP", "q", "0"))
	waiting("a", 1)
	other.want("+OK\r\n", "CLIENT", "KILL", strings.TrimSpace(c.LocalAddr().String()))
	waiting("a", 0)
	c.wantClosed()

	c = tm.dial("b")
	c.send(encode("BLPOP", "q", "0") + encode("PING"))
	waiting("a", 1)
	c.Close()
	waiting("a", 0)

	// The wait goes on with the next leader.
	c, leader = tm.dial("b"), tm.dial("a")
	c.send(encode("BLPOP", "q", "0"))
	leader.send(encode("BLPOP", "q", "0"))
	waiting("a", 2)
	tm.elect("b")
	waiting("b", 2)
	other.want(":2\r\n", "RPUSH", "q", "x", "y")
	c.reply()
	leader.reply()
}

// TestForwardRecorded: what redis-server answered in these scripts, a node answers that does not lead.
func TestForwardRecorded(t *testing.T) {
	t.Parallel()
	for _, script := range readScripts(t, "testdata/session.rec") {
		t.Run(script.name, func(t *testing.T) {
			t.Parallel()
			tm := startTeam(t, setup{debug: DebugAll}, "a", "b")
			play(t, tm.nodes["b"].addr, script.steps, func(s *recordedStep, got string) {
				got = strings.ReplaceAll(got, "$7\r\nreplica", "$6\r\nmaster") // HELLO says what this node is
				if got != s.want {
					t.Errorf("session.rec:%d: %s\n got %q\nwant %q", s.line, s.text, got, s.want)
				}
			})
		})
	}
}

// TestForwardPrograms runs random programs through a node that does not lead, in pieces of any length, and where there is only one node: every reply is
// the same.
func TestForwardPrograms(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b")
	alone := startServer(t, setup{})
	const end = "end of the program"
	programs := uint64(1000)
	if testing.Short() {
		programs = 100
	}
	for seed := range programs {
		rng := rand.New(rand.NewPCG(seed, 8))
		program := []string{encode("FLUSHALL")}
		for range 1 + rng.IntN(40) {
			program = append(program, randomCommand(rng))
		}
		program = append(program, encode("DISCARD"), encode("CLIENT", "REPLY", "ON"), encode("ECHO", end))
		text := strings.Join(program, "")
		var replies [2][]string
		for i, c := range []*client{alone.dial(), tm.dial("b")} {
			go func(rng *rand.Rand) {
				for rest := text; rest != ""; {
					n := min(1+rng.IntN(1+rng.IntN(400)), len(rest))
					if _, err := io.WriteString(c, rest[:n]); err != nil {
						return // the reader will say so
					}
					rest = rest[n:]
				}
			}(rand.New(rand.NewPCG(seed, uint64(i))))
			for last := ""; !strings.Contains(last, end); {
				last = c.reply()
				replies[i] = append(replies[i], strings.ReplaceAll(last, "$7\r\nreplica\r\n", "$6\r\nmaster\r\n")) // HELLO says what a node is
			}
			c.Close()
		}
		if !slices.Equal(replies[0], replies[1]) {
			n := 0
			for n < len(replies[0]) && n < len(replies[1]) && replies[0][n] == replies[1][n] {
				n++
			}
			t.Fatalf("seed %d: reply %d of\n%q\nis %.200q, want %.200q", seed, n, program, replies[1][n:], replies[0][n:])
		}
	}
}

// randomCommand is one of those that travel, that stay, or that change the session.
func randomCommand(rng *rand.Rand) string {
	key := string(rune('a' + rng.IntN(4)))
	commands := [][]string{
		{"SET", key, strings.Repeat("v", rng.IntN(30))}, {"GET", key}, {"GET", key}, {"INCR", "n" + key}, {"INCR", "n" + key}, {"MGET", "a", "b", "c"},
		{"DEL", key}, {"RPUSH", "l" + key, key}, {"LRANGE", "l" + key, "0", "-1"}, {"BLPOP", "l" + key, "0.001"}, {"HSET", "h" + key, "f", "v"},
		{"HGETALL", "h" + key}, {"DBSIZE"}, {"INCR", "l" + key},
		{"PING"}, {"PING", key}, {"ECHO", key}, {"TIME", "x"}, {"CLIENT", "GETNAME"}, {"CLIENT", "SETNAME", key}, {"NOSUCH", key}, {"GET"}, {"OBJECT", "HELP"},
		{"SELECT", strconv.Itoa(rng.IntN(3))}, {"SELECT", "99"}, {"HELLO", strconv.Itoa(2 + rng.IntN(2)), "SETNAME", key}, {"HELLO", "9"}, {"RESET"},
		{"CLIENT", "REPLY", "SKIP"}, {"CLIENT", "REPLY", "ON"}, {"CLIENT", "NO-TOUCH", "ON"},
		{"MULTI"}, {"MULTI"}, {"EXEC"}, {"EXEC"}, {"EXEC"}, {"DISCARD"}, {"WATCH", key}, {"WATCH", "n" + key}, {"UNWATCH"}, {"WAIT", "0", "0"},
	}
	words := commands[rng.IntN(len(commands))]
	switch {
	case rng.IntN(60) == 0:
		words = []string{"CLIENT", "REPLY", "OFF"}
	case rng.IntN(8) == 0:
		return strings.Join(words, " ") + "\r\n"
	}
	if words[0] == "HELLO" || words[0] == "CLIENT" && words[1] == "REPLY" {
		return encode("DISCARD") + encode(words...) // within MULTI silence breaks the framing
	}
	return encode(words...)
}
