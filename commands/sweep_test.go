package commands

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sett/storage"
	"sett/ttl"
	"sett/types"
)

func (h *house) sweeper() *ttl.Sweeper {
	return ttl.NewSweeper(ttl.SweeperOptions{
		View: h.store.View, Clock: h.set.Clock(), Keyspaces: h.set.ExpiringKeyspaces, Remove: h.set.Sweep,
		BatchKeys: 10, LookKeys: 10, Interval: time.Millisecond,
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

// The lag is that of the oldest row, also while nothing is removed.
func TestSweeperTellsItsBacklog(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	s := h.sweeper()
	want := func(what string, lag time.Duration, least, most int64) {
		t.Helper()
		await(t, what, func() bool {
			b := s.Backlog()
			return b.Lag == lag && b.Rows >= least && b.Rows <= most
		})
	}
	s.SetActive(false)
	s.Start()
	defer s.Stop()
	c.do("set", "lasts", "1")
	for i := range 5 {
		c.do("set", fmt.Sprint("a", i), "1", "px", "100")
	}
	want("before", 0, 0, 0)
	h.hands.pass(150)
	want("5 keys", 50*time.Millisecond, 5, 5)
	for i := range 95 { // ten a ms, of which it reads ten
		c.do("set", fmt.Sprint("b", i), "1", "px", fmt.Sprint(1+i/10))
	}
	h.hands.pass(100)
	want("100 keys", 150*time.Millisecond, 10, 150)
	s.SetActive(true)
	want("at the end", 0, 0, 0)
	c.must(":1\r\n", "dbsize")
}

// A database with many dead keys does not keep those of another waiting.
func TestSweeperTakesTurns(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	for i := range 500 {
		c.do("set", fmt.Sprint("k", i), "1", "px", "100")
	}
	c.do("select", "1")
	c.do("set", "k", "1", "px", "100")
	h.hands.pass(101)
	removed, before := 0, -1
	s := ttl.NewSweeper(ttl.SweeperOptions{
		View: h.store.View, Clock: h.set.Clock(), Keyspaces: h.set.ExpiringKeyspaces, BatchKeys: 10, LookKeys: 10, Interval: time.Millisecond,
		Remove: func(view *storage.View, rows []ttl.Due) (int, time.Duration, error) {
			if row, _ := ttl.DecodeRow(rows[0].Key); row.Keyspace == h.space(1) {
				before = removed
			}
			removed += len(rows)
			return h.set.Sweep(view, rows)
		},
	})
	s.Start()
	await(t, "sweeping", func() bool { return h.tally(h.space(0)).Keys == 0 && h.tally(h.space(1)).Keys == 0 })
	s.Stop()
	if before < 0 || before > 10 {
		t.Errorf("%d keys went before the one of the other database", before)
	}
}

// Nor does a hash with many dead fields.
func TestSweeperTakesTurnsWithFields(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("large", 10*sweptFieldsMax, "100")
	c.do("select", "1")
	c.do("set", "k", "1", "px", "100")
	h.hands.pass(101)
	batches, before := 0, -1
	s := ttl.NewSweeper(ttl.SweeperOptions{
		View: h.store.View, Clock: h.set.Clock(), Keyspaces: h.set.ExpiringKeyspaces, Interval: time.Millisecond,
		Remove: func(view *storage.View, rows []ttl.Due) (int, time.Duration, error) {
			if row, _ := ttl.DecodeRow(rows[0].Key); row.Keyspace == h.space(1) {
				before = batches
			}
			batches++
			return h.set.Sweep(view, rows)
		},
	})
	s.Start()
	await(t, "sweeping", func() bool { return h.tally(h.space(0)).Mortal == 0 && h.tally(h.space(1)).Keys == 0 })
	s.Stop()
	if before < 0 || before > 1 {
		t.Errorf("%d batches of fields went before the key of the other database", before)
	}
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

// A wall clock that steps back makes no key live longer, and the sweeper waits until it is known which time is right.
func TestKeysDieInTimeAfterAStepBack(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.do("set", "a", "1", "px", "10000")
	s := h.sweeper()
	s.Start()
	defer s.Stop()
	h.set.Clock().SetOffset(-3_600_000)
	h.hands.pass(9_999)
	c.must(":1\r\n", "exists", "a")
	h.hands.pass(2)
	c.must(":0\r\n", "exists", "a")
	await(t, "looking", func() bool { return s.Backlog().Lag == time.Millisecond })
	c.must(":1\r\n", "dbsize")
	h.set.Clock().SetOffset(0)
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

// mortal makes a hash of n fields that die after some time, and one that stays.
func (c *client) mortal(key string, n int, dieMs string) {
	words := []string{"hsetex", key, "px", dieMs, "fields", fmt.Sprint(n)}
	for _, field := range numbered("f", 0, n) {
		words = append(words, field, "v")
	}
	c.must(num(1), words...)
	c.must(num(1), "hset", key, "stays", "v")
}

// Fields go batch by batch, however many of one hash die at once, and what dies at other times in between does, too.
func TestSweeperRemovesFields(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("large", 3*sweptFieldsMax, "100")
	for i := range 30 {
		c.mortal(fmt.Sprint("small", i), 5, fmt.Sprint(90+i))
		c.do("hsetex", fmt.Sprint("whole", i), "px", fmt.Sprint(90+i), "fields", "2", "a", "1", "b", "2")
		c.do("set", fmt.Sprint("key", i), "v", "px", fmt.Sprint(90+i))
	}
	c.must(num(91), "dbsize")
	if n := h.tally(0).Mortal; n != 61 {
		t.Fatalf("%d hashes have fields that die", n)
	}
	h.hands.pass(200)
	changes := h.set.Stats().Changes.Load()
	h.audit()
	h.sweep()
	h.audit()
	c.must(num(31), "dbsize")
	c.must(num(1), "hlen", "large")
	c.must(num(1), "hlen", "small7")
	if n := h.tally(0).Mortal; n != 0 {
		t.Errorf("%d hashes have fields that die", n)
	}
	stats := h.set.Stats()
	if n, want := stats.ExpiredFields.Load(), uint64(3*sweptFieldsMax+30*5+30*2); n != want {
		t.Errorf("%d fields counted as expired instead of %d", n, want)
	}
	if n := stats.Changes.Load() - changes; n != 0 {
		t.Errorf("that counts as %d changes", n)
	}
	h.check()
}

// A batch removes no more fields than it should, and says which rows are to come again.
func TestSweepIsBounded(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("large", 2*sweptFieldsMax, "100")
	c.mortal("small", 5, "100")
	h.hands.pass(200)
	rows := h.rows()
	for n, want := range []struct{ done, large int }{{0, sweptFieldsMax + 1}, {1, 1}, {2, 1}} {
		done, _, err := h.set.Sweep(nil, rows)
		if err != nil {
			t.Fatal(err)
		}
		if c.must(num(want.large), "hlen", "large"); done != want.done {
			t.Errorf("batch %d is done with %d of %d rows, want %d", n, done, len(rows), want.done)
		}
	}
	c.must(num(1), "hlen", "small")
	h.audit()
}

// rows are the expiry rows of database 0, the one of the largest hash first.
func (h *house) rows() (rows []ttl.Due) {
	v := h.view()
	defer v.Close()
	lower := ttl.AppendRow(nil, 0, 0, ttl.KindKey, nil)[:5]
	it := v.Iterate(lower, ttl.AppendRow(nil, 1, 0, ttl.KindKey, nil)[:5])
	defer it.Close()
	for it.Next() {
		rows = append(rows, ttl.Due{Key: bytes.Clone(it.Key()), Value: bytes.Clone(it.Value())})
	}
	slices.SortFunc(rows, func(a, b ttl.Due) int { return bytes.Compare(a.Key[len(a.Key)-5:], b.Key[len(b.Key)-5:]) })
	return rows
}

func (h *house) view() *storage.View {
	v, err := h.store.View()
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// A string that owns nothing goes without being read, wherever it lies, and if what its row says is still so.
func TestSweepOfLightKeysReadsNothing(t *testing.T) {
	h := newHouse(t, Options{Values: types.Options{PackedMaxBytes: 100}})
	c := h.client()
	for i := range 100 {
		c.must(ok, "set", fmt.Sprint("k", i), "value", "px", "100")
	}
	changes := [][]string{
		{"set", "k0", "lives"}, {"persist", "k1"}, {"pexpire", "k2", "1000"}, {"append", "k3", "longer"}, {"del", "k4"}, {"set", "k5", "other", "keepttl"},
		{"setrange", "k6", "200", "paged"}, {"rename", "k7", "moved"}, {"move", "k8", "1"}, {"copy", "k9", "copied"}, {"incr", "k10"},
		{"set", "k11", strings.Repeat("x", 20_000), "keepttl"}, {"getex", "k12", "persist"}, {"set", "k13", "again", "px", "100"},
	}
	if err := h.store.Flush(); err != nil {
		t.Fatal(err)
	}
	h.store.DropCache()
	for i := range 7 {
		c.do(changes[i]...) // in the index before the sweeper looks
	}
	h.hands.pass(50)
	view := h.view()
	defer view.Close()
	rows := h.rows()
	for _, change := range changes[7:] {
		c.do(change...) // and behind it
	}
	h.hands.pass(51)
	fetched := h.store.Stats().Fetched.Load()
	if done, _, err := h.set.Sweep(view, rows); done != len(rows) || err != nil {
		t.Fatalf("done with %d of %d rows, error %v", done, len(rows), err)
	}
	if n := h.store.Stats().Fetched.Load() - fetched; n > 20 {
		t.Errorf("%d records were read", n)
	}
	c.must(num(3+4), "dbsize") // lives, persisted, dies later; moved, copied, persisted, set again
	h.audit()
	h.hands.pass(2000)
	h.sweep()
	c.must(num(3), "dbsize")
	c.must(ok, "select", "1")
	c.must(num(0), "dbsize")
	h.audit()
}

// What was written since the sweeper looked may be in Badger by now: then the records are read.
func TestSweepAfterAFlush(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	for i := range 10 {
		c.must(ok, "set", fmt.Sprint("k", i), "value", "px", "100")
	}
	h.hands.pass(50)
	view := h.view()
	defer view.Close()
	rows := h.rows()
	c.must(num(1), "persist", "k3")
	c.must(ok, "set", "k4", "of another length", "keepttl")
	if err := h.store.Flush(); err != nil {
		t.Fatal(err)
	}
	h.store.DropCache()
	h.hands.pass(51)
	if done, _, err := h.set.Sweep(view, rows); done != len(rows) || err != nil {
		t.Fatalf("done with %d of %d rows, error %v", done, len(rows), err)
	}
	c.must(num(1), "dbsize")
	h.audit()
}

// A database may be flushed after its rows were read: what it held is dead, and none of it is written any more.
func TestSweepOfWhatWasFlushed(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("large", 200, "100")
	c.must(ok, "set", "key", "v", "px", "100")
	h.hands.pass(200)
	view := h.view()
	defer view.Close()
	rows := h.rows()
	c.must(ok, "flushall")
	if done, _, err := h.set.Sweep(view, rows); done != len(rows) || err != nil {
		t.Errorf("the sweep is done with %d of %d rows, error %v", done, len(rows), err)
	}
	if n := h.set.Stats().ExpiredFields.Load(); n != 0 || len(h.rows()) > 0 {
		t.Errorf("%d fields were removed, %d rows are left", n, len(h.rows()))
	}
	h.audit()
	h.check()
}

// As in Redis, a field that goes because its time is past is no change that a WATCH is for.
func TestSweepingFieldsTouchesNoWatch(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("h", 5, "100")
	c.must(ok, "watch", "h")
	h.hands.pass(200)
	h.sweep()
	c.must(num(1), "hlen", "h")
	c.must(ok, "multi")
	c.must("+QUEUED\r\n", "hlen", "h")
	c.must("*1\r\n"+num(1), "exec")
}

// Whoever writes to a hash removes some of its fields that are past their time; the command that adds to them says how many are new.
func TestWritesRemoveFields(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("h", 500, "100")
	h.hands.pass(200)
	c.must(num(501), "hlen", "h")
	c.must(num(1), "hset", "h", "other", "new")
	c.must(num(501-endedMetMax+1), "hlen", "h")
	c.must(num(1), "hset", "h", "f499", "new")
	if got := joined(stringsOf(c.do("hgetall", "h"))); !slices.Equal(got, []string{"f499=new", "other=new", "stays=v"}) {
		t.Errorf("the fields are %q", got)
	}
	c.must(num(0), "hdel", "h", "f498")
	c.must(num(2), "hdel", "h", "f499", "other")
	c.must(bulk("stays"), "hrandfield", "h")
	h.audit()
	h.check()
}

// A command that finds nothing to change removes such fields whole or not at all, what lies apart of them included, and touches no WATCH.
func TestWritesThatChangeNothingRemoveFields(t *testing.T) {
	long := strings.Repeat("n", 2000)
	for _, command := range [][]string{
		{"hsetnx", "h", "stays", "w"},
		{"hsetex", "h", "fnx", "fields", "1", "stays", "w"},
		{"hdel", "h", "none"},
	} {
		h := newHouse(t, Options{})
		c := h.client()
		c.mortal("other", 200, "1000")
		c.must(num(1), "hset", "h", "stays", "v")
		c.must(num(1), "hsetex", "h", "px", "100", "fields", "2", long, strings.Repeat("v", 5000), "f", "v")
		h.hands.pass(200)
		c.must(ok, "watch", "h")
		h.client().must(num(0), command...)
		h.audit()
		c.must(num(1), "hlen", "h")
		c.must(num(1), "copy", "h", "d")
		c.must(ok, "multi")
		c.must("+QUEUED\r\n", "hlen", "d")
		c.must("*1\r\n"+num(1), "exec")
		if n := h.set.Stats().ExpiredFields.Load(); n != 2 {
			t.Errorf("%q: %d fields counted as expired", command, n)
		}
		h.check()
	}
}

// The last fields of a hash may be past their time: then the one that a command sets is the first of a new hash.
func TestWriteToAHashWhoseFieldsHaveAllDied(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.mortal("h", 300, "1000")
	c.must(num(1), "hdel", "h", "stays")
	for i := 5; i < 300; i++ {
		c.must(num(1), "hdel", "h", fmt.Sprint("f", i))
	}
	h.hands.pass(2000)
	c.must(num(0), "hdel", "h", "f1")
	c.must(num(0), "exists", "h")
	h.audit()
	h.check()
	c.must(num(1), "hset", "h", "f1", "v")
	c.must("*2\r\n"+bulk("f1")+bulk("v"), "hgetall", "h")
	h.audit()
	h.check()
}
