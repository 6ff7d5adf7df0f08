package server

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/commands"
)

// agreement is what a team's nodes have agreed on, as one of them heard it.
type agreement struct {
	mu    sync.Mutex
	pairs []string
}

func (a *agreement) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.pairs, " ")
}

// startAgreeing starts a team that agrees on maxmemory; "a" leads.
func startAgreeing(t *testing.T, ids ...string) (*team, map[string]*agreement) {
	tm := startTeam(t, setup{looks: true, agreed: []string{"maxmemory"}, limits: func(l *Limits) { l.MaxClients = 10_000 }}, ids...)
	tm.change(func() { tm.applies = true })
	heard := make(map[string]*agreement)
	for _, id := range ids {
		a := &agreement{}
		heard[id] = a
		commands.Observe(tm.nodes[id].store, func(pairs []string, err error) {
			if err != nil {
				t.Error(err)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.pairs = pairs
		})
	}
	return tm, heard
}

// TestAgree: CONFIG SET of what nodes agree on is a batch of the leader's, in its place among the client's commands; the rest is set where it was asked for.
func TestAgree(t *testing.T) {
	t.Parallel()
	tm, heard := startAgreeing(t, "a", "b")
	for i, id := range []string{"a", "b", "a"} {
		value := []string{"1", "2", "2"}[i]
		c := tm.dial(id)
		c.send(encode("INCR", "n") + encode("CONFIG", "SET", "maxmemory", value, "maxclients", "77") + encode("INCR", "n"))
		for _, want := range []string{":", "+OK\r\n", ":"} {
			if got := c.reply(); !strings.HasPrefix(got, want) {
				t.Fatalf("through %s: %q, want %q", id, got, want)
			}
		}
		if got := heard["a"].String(); got != "maxmemory "+value {
			t.Fatalf("through %s: %q", id, got)
		}
		c.want("*2\r\n$10\r\nmaxclients\r\n$2\r\n77\r\n", "CONFIG", "GET", "maxclients")
	}
	if got := heard["b"].String(); got != "" {
		t.Fatalf("a node that does not lead has agreed by itself: %q", got)
	}

	c := tm.dial("b")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "INCR", "m")
	c.want("+QUEUED\r\n", "CONFIG", "SET", "maxmemory", "3")
	c.want("*2\r\n:1\r\n+OK\r\n", "EXEC")
	if got := heard["a"].String(); got != "maxmemory 3" {
		t.Fatal(got)
	}

	tm.elect("b")
	c.want("+OK\r\n", "CONFIG", "SET", "maxmemory", "4")
	if got := heard["b"].String(); got != "maxmemory 4" {
		t.Fatal(got)
	}
}

// TestAgreeHeld: nobody hears that settings hold, or sees them, before that is committed; what is undone does not hold.
func TestAgreeHeld(t *testing.T) {
	t.Parallel()
	tm, heard := startAgreeing(t, "a", "b")
	log := tm.nodes["a"].log
	for _, id := range []string{"a", "b"} {
		c, other := tm.dial(id), tm.dial("a")
		c.want("+OK\r\n", "CONFIG", "SET", "maxmemory", "1")
		log.hold()
		c.send(encode("CONFIG", "SET", "maxmemory", "2"))
		<-log.arrived
		other.send(encode("CONFIG", "GET", "maxmemory"))
		eventually(t, "the new value", func() bool { return heard["a"].String() == "maxmemory 2" })
		log.loseLeadership()
		if got := c.reply(); !strings.HasPrefix(got, "-INDOUBT ") {
			t.Fatalf("through %s: %q", id, got)
		}
		if got := other.reply(); !strings.HasPrefix(got, "-TRYAGAIN ") && got != "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n" {
			t.Fatal(got)
		}
		if got := heard["a"].String(); got != "maxmemory 1" {
			t.Fatalf("through %s: what was undone is %q", id, got)
		}
		c.want("+OK\r\n", "CONFIG", "SET", "maxmemory", "2")
	}
}

// TestAgreeBreaks has the stream to the leader break at each byte: what the leader cannot have heard is said again, the rest has an unknown outcome, and
// is not repeated.
func TestAgreeBreaks(t *testing.T) {
	t.Parallel()
	tm, heard := startAgreeing(t, "a", "b")
	doubts, done := 0, 0
	for _, back := range []bool{false, true} {
		for at := range 400 {
			tm.dial("a").want("+OK\r\n", "CONFIG", "SET", "maxmemory", "1")
			dials := 0
			tm.change(func() {
				tm.cut = func(c net.Conn) net.Conn {
					dials++
					switch {
					case dials > 1:
						return c
					case back:
						return newBreaker(c, -1, at)
					}
					return newBreaker(c, at, -1)
				}
			})
			c := tm.dial("b")
			got := c.do("CONFIG", "SET", "maxmemory", "2")
			agreed := heard["a"].String()
			switch {
			case got == "+OK\r\n" && agreed == "maxmemory 2":
				done++
			case strings.HasPrefix(got, "-INDOUBT "):
				doubts++
			default:
				t.Fatalf("back=%v at byte %d: %q, and the nodes have %q", back, at, got, agreed)
			}
			tm.change(func() { tm.cut = nil })
			c.want("+PONG\r\n", "PING")
			c.Close()
			if back && dials == 1 && at > 20 {
				break // it has come to its end
			}
		}
	}
	if doubts == 0 || done == 0 {
		t.Fatalf("%d in doubt, %d done", doubts, done)
	}
}

// TestAgreeNobody: without a leader nothing is agreed on, and what was this node's own in the command is not set either.
func TestAgreeNobody(t *testing.T) {
	t.Parallel()
	tm, _ := startAgreeing(t, "a", "b")
	tm.nodes["b"].SetLimits(func(l *Limits) { l.ForwardTimeout = 50 * time.Millisecond })
	tm.elect("")
	c := tm.dial("b")
	if got := c.do("CONFIG", "SET", "maxmemory", "1"); !strings.HasPrefix(got, "-CLUSTERDOWN ") {
		t.Fatal(got)
	}
	c.want("+OK\r\n", "CONFIG", "SET", "maxclients", "5")
}
