package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sett/storage"
)

// TestRepliesWaitForCommit: nothing leaves before the log has it; what has seen nothing uncommitted does.
func TestRepliesWaitForCommit(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	a, b, other := ts.dial(), ts.dial(), ts.dial()
	other.want("+OK\r\n", "SET", "old", "1")
	ts.log.hold()

	a.send(encode("SET", "k", "new") + encode("PING"))
	<-ts.log.arrived
	b.send(encode("GET", "k"))
	other.want("$1\r\n1\r\n", "GET", "old")
	for _, c := range []*client{a, b} {
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if got, err := c.r.Peek(1); err == nil {
			t.Fatalf("a reply left before the commit: %q", got)
		}
		c.SetReadDeadline(time.Now().Add(limit))
	}
	ts.log.release(t)
	for _, want := range []string{"+OK\r\n", "+PONG\r\n"} {
		if got := a.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if got := b.reply(); got != "$3\r\nnew\r\n" {
		t.Fatalf("got %q", got)
	}
}

// TestDoubt: when a speculation ends, held replies of writes become -INDOUBT, those that saw them -TRYAGAIN, and the others stay.
func TestDoubt(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c, other := ts.dial(), ts.dial()
	other.want("+OK\r\n", "SET", "old", "1")
	other.want("+OK\r\n", "SET", "text", "abc")
	ts.log.hold()
	c.send(encode("PING") + encode("GET", "old") + encode("SET", "k", "v") + encode("GET", "k") + encode("INCR", "k") + encode("GET", "old") +
		encode("MULTI") + encode("GET", "old") + encode("INCR", "old") + encode("EXEC") + encode("WATCH", "text") + encode("DBSIZE") +
		encode("ECHO", "x") + encode("SET", "text", "xyz", "NX"))
	<-ts.log.arrived
	ts.log.loseLeadership()
	want := []string{
		"+PONG\r\n", "$1\r\n1\r\n", "-INDOUBT", "-TRYAGAIN", "-TRYAGAIN", "$1\r\n1\r\n", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "-INDOUBT",
		"+OK\r\n", "-TRYAGAIN", "$1\r\nx\r\n", "$-1\r\n",
	}
	for i, want := range want {
		if got := c.reply(); !strings.HasPrefix(got, want) {
			t.Errorf("reply %d: got %q, want %q", i, got, want)
		}
	}
	c.want("$-1\r\n", "GET", "k")
	c.want("$1\r\n1\r\n", "GET", "old")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "PING")
	c.want("*-1\r\n", "EXEC") // WATCH flags of all sessions are set
	if got := c.infoValue("sett", "replies_in_doubt") + " " + c.infoValue("sett", "replies_try_again"); got != "2 3" {
		t.Errorf("replies_in_doubt, replies_try_again: %s", got)
	}
}

// waiter is a Store whose answers a test gives.
type waiter struct {
	stats storage.Stats
	wait  func(uint64) error
}

func (w *waiter) Wait(position uint64) error { return w.wait(position) }
func (w *waiter) Evaluating() bool           { return true }
func (w *waiter) Decided(uint64) bool        { return true }
func (w *waiter) Notify(uint64, func()) bool { return false }
func (w *waiter) Status() storage.Status     { return storage.Status{} }
func (w *waiter) Stats() *storage.Stats      { return &w.stats }
func (w *waiter) Levels() []storage.Level    { return nil }

// TestRelease goes through what Wait may say.
func TestRelease(t *testing.T) {
	t.Parallel()
	type held struct {
		reply string
		seen  uint64
		wrote bool
	}
	doubtful := func(from, to uint64) func(uint64) error {
		return func(pos uint64) error {
			if pos >= from && pos <= to {
				return storage.ErrInDoubt
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		held   []held
		yields uint64 // while the commands ran
		wait   func(uint64) error
		want   string // starts of the replies that leave; "" with over: nothing does
		over   bool
	}{
		"nothing seen": {
			held: []held{{"+A", 0, false}, {"+B", 0, false}},
			wait: func(uint64) error { return errors.New("not to be called") }, want: "+A +B",
		},
		"all committed": {held: []held{{"+A", 5, true}, {"+B", 3, false}}, wait: doubtful(100, 100), want: "+A +B"},
		"the last in doubt": {
			held: []held{{"+A", 5, true}, {"+B", 0, false}, {"+C", 6, true}, {"+D", 6, false}}, yields: 1,
			wait: doubtful(6, 6), want: "+A +B -INDOUBT -TRYAGAIN",
		},
		"one in the middle is in doubt, a later one is not": {
			held: []held{{"+A", 5, true}, {"+B", 5, false}, {"+C", 9, true}, {"+D", 0, false}}, yields: 1,
			wait: doubtful(5, 8), want: "-INDOUBT -TRYAGAIN +C +D",
		},
		"closed": {held: []held{{"+A", 5, true}}, wait: func(uint64) error { return storage.ErrClosed }, over: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := &Server{}
			store := &waiter{wait: test.wait}
			s := session{server: server, engine: &Engine{Store: store}}
			b := &buffers{}
			for _, h := range test.held {
				b.out.Raw([]byte(h.reply + "\r\n"))
				b.hold(h.seen, h.wrote)
			}
			store.stats.Yields.Store(test.yields)
			if ok := s.release(b); ok == test.over {
				t.Fatalf("release says %v", ok)
			}
			if test.over {
				return
			}
			var got []string
			for _, line := range strings.Split(strings.TrimSpace(string(b.out.Bytes())), "\r\n") {
				word, _, _ := strings.Cut(line, " ")
				got = append(got, word)
			}
			if strings.Join(got, " ") != test.want {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			if len(b.marks) != 0 || b.seen != 0 {
				t.Fatalf("marks are left: %+v", b)
			}
		})
	}
}

// TestMarksAreFew: replies that depend on nothing share a mark.
func TestMarksAreFew(t *testing.T) {
	t.Parallel()
	b := &buffers{}
	for i := range 100 {
		b.out.Status("OK")
		if i == 50 {
			b.hold(7, true)
		} else {
			b.hold(0, false)
		}
		if got := string(b.lastReply()); got != "+OK\r\n" {
			t.Fatalf("the last reply is %q", got)
		}
	}
	if len(b.marks) != 3 {
		t.Fatalf("%d marks", len(b.marks))
	}
}
