package commands

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sett/ttl"
)

func (h *house) sweeper() *ttl.Sweeper {
	return ttl.NewSweeper(ttl.SweeperOptions{
		View: h.store.View, Clock: h.set.Clock(), Keyspaces: h.set.ExpiringKeyspaces, Remove: h.set.Sweep,
		BatchKeys: 10, Interval: time.Millisecond,
	})
}

// await waits for something that the sweeper's goroutine does.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 5000 {
		if f() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

func TestSweeperRemovesWhatIsPast(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	blob := strings.Repeat("x", 20_000)
	for i := range 100 {
		c.do("set", fmt.Sprint("dies", i), blob, "px", "100")
		c.do("set", fmt.Sprint("later", i), "1", "px", "100000")
		c.do("set", fmt.Sprint("changes", i), "1", "px", "100")
	}
	c.do("select", "2")
	c.do("set", "dies", "1", "px", "100")
	c.do("select", "0")
	s := h.sweeper()
	s.Start()
	defer s.Stop()
	for i := range 100 {
		c.do("persist", fmt.Sprint("changes", i))
	}
	c.must(":300\r\n", "dbsize")
	h.hands.pass(101)
	await(t, "sweeping", func() bool { return c.do("dbsize") == ":200\r\n" && h.tally(2).Keys == 0 })
	h.audit()
	if n := h.set.Stats().Expired.Load(); n != 101 {
		t.Errorf("%d keys counted as expired", n)
	}
	h.hands.pass(100_000)
	await(t, "sweeping", func() bool { return c.do("dbsize") == ":100\r\n" })
	h.audit()
}

func TestSweeperStopsAndGoesOn(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	s := h.sweeper()
	s.SetActive(false)
	s.Start()
	defer s.Stop()
	c.do("set", "a", "1", "px", "1")
	h.hands.pass(10)
	time.Sleep(20 * time.Millisecond)
	c.must(":1\r\n", "dbsize")
	s.SetActive(true)
	await(t, "sweeping", func() bool { return c.do("dbsize") == ":0\r\n" })
}

// Whoever reads a key past its time has it removed, the sweeper or not.
func TestReadsRemoveWhatIsPast(t *testing.T) {
	hold := false
	h := newHouse(t, Options{Hold: func() bool { return hold }})
	c := h.client()
	for _, words := range [][]string{
		{"get", "k"}, {"mget", "other", "k"}, {"exists", "k"}, {"ttl", "k"}, {"type", "k"}, {"object", "encoding", "k"},
		{"scan", "0"}, {"randomkey"}, {"bitop", "not", "to", "k"}, {"copy", "k", "to"},
	} {
		before := h.set.Stats().Expired.Load()
		c.must(ok, "set", "k", "v", "px", "5")
		h.hands.pass(6)
		c.must(num(1), "dbsize")
		c.must("*0\r\n", "keys", "*") // as in Redis, this one only looks
		c.must(num(1), "dbsize")
		if reply := c.do(words...); reply[0] == '-' {
			t.Fatalf("%q: %q", words, reply)
		}
		if c.do("dbsize") != num(0) {
			t.Fatalf("%q leaves the key", words)
		}
		if n := h.set.Stats().Expired.Load() - before; n != 1 {
			t.Fatalf("%q: %d keys counted as expired", words, n)
		}
		if n := c.logged(words...); n != 0 {
			t.Fatalf("%q wrote %d bytes where there is nothing to remove", words, n)
		}
	}

	c.must(ok, "set", "k", "v", "px", "5")
	h.hands.pass(6)
	hold = true
	c.must(null, "get", "k")
	c.must(num(1), "dbsize")
	hold = false
	h.store.SetDiskFree(0)
	c.must(null, "get", "k") // whatever becomes of the removal
	h.store.SetDiskFree(1 << 40)
	c.must(ok, "set", "k", "v", "px", "5")
	h.hands.pass(6)
	c.must(ok, "multi")
	c.must("+QUEUED\r\n", "get", "k")
	c.must("*1\r\n"+null, "exec")
	c.must(num(0), "dbsize")
	h.audit()
}

// A key that was past its time when WATCH came may be removed without a consequence.
func TestRemovingWhatIsPastTouchesNoWatch(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must(ok, "set", "k", "v", "px", "5")
	h.hands.pass(6)
	c.must(ok, "watch", "k")
	h.client().must(null, "get", "k")
	c.must(num(0), "dbsize")
	c.must(ok, "multi")
	c.must("+QUEUED\r\n", "get", "k")
	c.must("*1\r\n"+null, "exec")
}

// A row that is written behind the sweeper's position must be found, too.
func TestSweeperIsPulledBack(t *testing.T) {
	var s *ttl.Sweeper
	h := newHouse(t, Options{PullBack: func(at int64) { s.PullBack(at) }})
	s = h.sweeper()
	c := h.client()
	c.do("set", "a", "1", "px", "1")
	h.hands.pass(10)
	sweep := func() {
		if err := s.Sweep(0); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	c.must(":0\r\n", "dbsize")
	for i, at := range []int64{1, h.hands.now() - 5, 1000} {
		c.do("set", "b", "1", "pxat", fmt.Sprint(at))
		c.must(":1\r\n", "dbsize")
		sweep()
		if c.do("dbsize") != ":0\r\n" {
			t.Fatalf("the sweeper passes by a row written behind it (%d)", i)
		}
	}
	h.audit()
}

func TestSweeperWaitsAfterAJumpOfTheClock(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.do("set", "a", "1", "ex", "60")
	s := h.sweeper()
	s.Start()
	defer s.Stop()
	h.set.Clock().SetOffset(3_600_000)
	time.Sleep(20 * time.Millisecond)
	c.must(":0\r\n", "exists", "a")
	c.must(":1\r\n", "dbsize")
	h.hands.pass(299_000)
	time.Sleep(20 * time.Millisecond)
	c.must(":1\r\n", "dbsize")
	h.hands.pass(2000)
	await(t, "sweeping", func() bool { return c.do("dbsize") == ":0\r\n" })
}

// Time is in the log: after a restart with a clock that is behind, nothing that was past lives again.
func TestTimeGoesOnAfterARestart(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.do("set", "a", "1", "px", "1000")
	h.hands.pass(2000)
	c.do("set", "b", "1")
	h.hands.pass(-60_000)
	h.reopen()
	h.client().must(null, "get", "a")
	h.client().must("$1\r\n1\r\n", "get", "b")
}
