package commands

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/storage"
)

// evictor returns one whose passes the test makes.
func (h *house) evictor() *Evictor {
	h.set.limits.evicting.Store(true)
	return NewEvictor(h.set, EvictorOptions{})
}

func (e *Evictor) mustPass(t *testing.T) {
	t.Helper()
	if err := e.pass(); err != nil {
		t.Fatal(err)
	}
}

func TestRoom(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	room := func(want error) {
		t.Helper()
		if err := h.set.Room(); err != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	c.must(ok, "mset", "a", "12345", "b", "12345", "c", "12345")
	room(nil)
	h.set.SetMaxMemory(18)
	room(nil)
	h.set.SetMaxMemory(17)
	room(ErrOOM)
	c.must(num(1), "del", "a")
	room(nil)
	c.must(ok, "set", "b", "1234567890123456")
	room(ErrOOM)
	c.must(ok, "flushall") // which tells no counter
	if shown := h.set.Limits(); shown.UsedBytes != 0 || shown.BoundBytes != 17 {
		t.Errorf("%+v", shown)
	}
	c.must(ok, "set", "b", "1234567890123456789")
	c.must(ok, "flushall")
	room(nil)
	c.must(ok, "mset", "a", strings.Repeat("x", 100))
	room(ErrOOM)

	// With a policy that finds nothing it is the same, and no reason to wait.
	h.evictor()
	h.set.SetPolicy("volatile-lru")
	room(ErrOOM)
	c.must(ok, "set", "b", "x")
	c.must(num(1), "expire", "a", "100")
	room(nil)
	c.call.Hurried = true
	// Otherwise whoever adds data has to wait; who does not, has not.
	for _, words := range [][]string{{"set", "c", "x"}, {"append", "a", "x"}} {
		c.w.Reset()
		c.call.W = &c.w
		if err := c.run(slicesOf(words)); err != storage.ErrWouldWait {
			t.Errorf("%q: %v", words, err)
		}
	}
	c.must(num(1), "expire", "a", "100")
	c.must(num(1), "del", "a")
	c.must(ok, "set", "a", "x")
	h.set.SetMaxMemory(1)
	h.set.SetPolicy("noeviction")
	room(ErrOOM)
	h.set.SetMaxMemory(0)
	room(nil)
	h.audit()
}

func slicesOf(words []string) (args [][]byte) {
	for _, word := range words {
		args = append(args, []byte(word))
	}
	return args
}

// TestEvictionByPolicy: whatever the policy, there is as much data as there may be, of all databases, and no other keys go than it allows.
func TestEvictionByPolicy(t *testing.T) {
	for _, name := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Seed: 1})
			e := h.evictor()
			h.set.SetPolicy(name)
			volatile := strings.HasPrefix(name, "volatile")
			c := h.client()
			fill(c, volatile)
			const limit = 60_000
			h.set.SetMaxMemory(limit)
			before := h.set.limits.used.Load()
			e.mustPass(t)
			used := h.set.limits.used.Load()
			// The last key that went, and no more, may have been too many.
			if used > limit || used < limit-20_100 {
				t.Errorf("of %d bytes %d are left, limit %d", before, used, limit)
			}
			if n := h.set.Stats().Evicted.Load(); n == 0 {
				t.Error("no evicted keys counted")
			}
			for db := range 3 {
				c.do("select", fmt.Sprint(db))
				for i := range 100 {
					if reply := c.do("exists", fmt.Sprint("stays", i)); volatile && reply != num(1) {
						t.Fatalf("stays%d of database %d: %q", i, db, reply)
					}
				}
			}
			h.audit()
			h.reopen()
			h.audit()
		})
	}
}

// fill makes keys of all sizes and types in three databases, half of them with a time to live.
func fill(c *client, volatile bool) {
	random := rand.New(rand.NewPCG(1, 2))
	for db := range 3 {
		c.do("select", fmt.Sprint(db))
		for i := range 100 {
			c.do("set", fmt.Sprint("stays", i), "x")
			name := fmt.Sprint("goes", i)
			switch i % 4 {
			case 0:
				c.do("set", name, strings.Repeat("x", random.IntN(1000)))
			case 1:
				c.do("set", name, strings.Repeat("x", 20_000)) // a blob
			case 2:
				for field := range 200 { // a spread hash
					c.do("hset", name, fmt.Sprint(field), "value")
				}
			default:
				c.do("rpush", name, "a", "b", "c")
			}
			if volatile {
				c.do("expire", name, fmt.Sprint(1000+random.IntN(1000)))
			}
		}
	}
}

// TestEvictionChooses: the keys that were not used are those that go.
func TestEvictionChooses(t *testing.T) {
	for _, name := range []string{"allkeys-lru", "allkeys-lfu", "volatile-lru"} {
		h := newHouse(t, Options{Seed: 1})
		e := h.evictor()
		h.set.SetPolicy(name)
		h.set.SetLFULogFactor(0)
		c := h.client()
		const keys = 2000
		for i := range keys {
			c.must(ok, "set", fmt.Sprint("key", i), "0123456789", "ex", "1000")
		}
		h.hands.pass(60_000)
		for i := range keys / 2 {
			c.must(bulk("0123456789"), "get", fmt.Sprint("key", i))
			c.must(bulk("0123456789"), "get", fmt.Sprint("key", i))
		}
		h.hands.pass(2000)
		h.set.recount()
		h.set.SetMaxMemory(h.set.limits.used.Load() * 6 / 10)
		e.mustPass(t)
		lost, gone := 0, 0
		for i := range keys {
			switch absent := c.do("exists", fmt.Sprint("key", i)) == num(0); {
			case absent && i < keys/2:
				lost++
			case absent:
				gone++
			}
		}
		// Of the candidates of a batch the unused ones go first: 40 % of the keys went, half of them would have been used ones by chance.
		if lost > keys/50 || gone < keys*3/10 {
			t.Errorf("%s: %d used keys and %d unused ones were evicted", name, lost, gone)
		}
		h.audit()
	}
}

// TestVolatileTTL: those that die first go first.
func TestVolatileTTL(t *testing.T) {
	h := newHouse(t, Options{Seed: 1})
	e := h.evictor()
	h.set.SetPolicy("volatile-ttl")
	c := h.client()
	const keys = 500
	for i, at := range rand.New(rand.NewPCG(3, 4)).Perm(keys) {
		c.do("select", fmt.Sprint(i%2))
		c.must(ok, "set", fmt.Sprint("key", at), "0123456789", "ex", fmt.Sprint(1000+at))
	}
	h.set.recount()
	h.set.SetMaxMemory(h.set.limits.used.Load() / 2)
	e.mustPass(t)
	for i := range keys {
		found := 0
		for db := range 2 {
			c.do("select", fmt.Sprint(db))
			if c.do("exists", fmt.Sprint("key", i)) == num(1) {
				found++
			}
		}
		if far := i < keys/2-20 && found > 0 || i > keys/2+20 && found == 0; far {
			t.Errorf("key %d of %d: %d found", i, keys, found)
		}
	}
}

// TestEvictionKeepsUp: many writers, and what is there stays near the limit; somebody who watches a key is told that it was evicted.
func TestEvictionKeepsUp(t *testing.T) {
	h := newHouse(t, Options{})
	e := h.evictor()
	const limit = 100_000
	h.set.SetPolicy("allkeys-lru")
	h.set.SetMaxMemory(limit)
	watcher := h.client()
	watcher.must(ok, "set", "watched", "x")
	watcher.must(ok, "watch", "watched")
	e.Start()
	defer e.Stop()
	var writers sync.WaitGroup
	most := make([]int64, 4)
	for w := range most {
		writers.Go(func() {
			c := h.client()
			for i := range 2000 {
				c.must(ok, "set", fmt.Sprint(w, "-", i), strings.Repeat("x", 100))
				most[w] = max(most[w], h.set.limits.used.Load())
			}
		})
	}
	writers.Wait()
	for _, used := range most {
		if used > limit+limit/8 {
			t.Errorf("there were %d bytes, limit %d", used, limit)
		}
	}
	await(t, "eviction", func() bool { return h.set.limits.used.Load() <= limit })
	h.set.SetMaxMemory(1)
	await(t, "eviction of all", func() bool { return watcher.do("dbsize") == num(0) })
	watcher.must(ok, "multi")
	watcher.must("*-1\r\n", "exec")
	h.audit()
}

// TestEvictionStops: nobody waits for an evictor that has ended, or that may not remove anything.
func TestEvictionStops(t *testing.T) {
	h := newHouse(t, Options{})
	h.set.SetPolicy("allkeys-lru")
	held := true
	e := NewEvictor(h.set, EvictorOptions{Hold: func() bool { return held }})
	e.Start()
	c := h.client()
	c.must(ok, "mset", "a", "x", "b", "x")
	h.set.SetMaxMemory(1)
	c.must(ok, "set", "c", "x")
	c.must(num(3), "dbsize")
	e.Stop()
	c.must(ok, "set", "d", "x")
	if err := h.set.Room(); err != ErrOOM {
		t.Error(err)
	}
	e.Stop()
}

// TestEvictionLooksAgain: a database that was flushed after the candidates were chosen is left alone, as is a key that changed its mind.
func TestEvictionLooksAgain(t *testing.T) {
	h := newHouse(t, Options{})
	h.evictor()
	h.set.SetPolicy("volatile-random")
	c := h.client()
	c.must(ok, "mset", "a", "x", "b", "x", "c", "x")
	for _, name := range []string{"a", "b"} {
		c.must(num(1), "expire", name, "100")
	}
	var keys [][]byte
	for _, name := range []string{"a", "b", "c", "none"} {
		keys = append(keys, h.set.keys.AppendMeta(nil, 0, []byte(name)))
	}
	c.must(num(1), "persist", "b")
	var call Call
	call.Row, call.W = evictRow, &c.w
	what := eviction{volatile: true, excess: 1000}
	if n, err := h.set.evict(&call, what, keys); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	c.must("*3\r\n"+null+bulk("x")+bulk("x"), "mget", "a", "b", "c")
	c.must(ok, "flushall")
	what.volatile = false
	if n, err := h.set.evict(&call, what, keys); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	c.must(ok, "set", "b", "x")
	h.audit()
}

// TestDiskLimit: how much data fits is found out by looking, and given time in between.
func TestDiskLimit(t *testing.T) {
	h := newHouse(t, Options{})
	e := h.evictor()
	c := h.client()
	c.must(ok, "set", "a", strings.Repeat("x", 1000))
	l, now := &h.set.limits, time.Now()
	size, err := h.store.DiskBytes()
	if err != nil || size == 0 {
		t.Fatal(size, err)
	}
	look := func(wantBound int64, wantFull bool) {
		t.Helper()
		e.disk.look(h.set, now)
		if bound := l.bound(); bound != wantBound || l.diskFull.Load() != wantFull {
			t.Errorf("bound %d, full %v", bound, l.diskFull.Load())
		}
		now = now.Add(diskInterval)
	}
	look(0, false)
	h.set.SetMaxDisk(10 * size)
	look(0, false)
	h.set.SetMaxDisk(1)
	look(0, true)
	if err := h.set.Room(); err != ErrMaxDisk {
		t.Error(err)
	}
	h.set.SetPolicy("allkeys-lru")
	look(1, true)
	if err := h.set.Room(); err != nil {
		t.Error(err)
	}
	l.diskBound.Store(500)
	look(500, true) // it takes its time until space comes back
	now = now.Add(diskPatience)
	look(1, true)
	l.diskBound.Store(500)
	h.set.SetMaxDisk(100 * size)
	look(500, false) // nor is a directory that was small for a moment
	now = now.Add(2 * diskSettle)
	look(501, false)
	l.diskBound.Store(math.MaxInt64) // as after some hours with little data, if it went on rising
	look(math.MaxInt64, false)
	l.diskBound.Store(501)
	h.set.SetMaxMemory(400)
	look(400, false)
	h.set.SetMaxDisk(0)
	h.set.SetMaxMemory(0)
	look(0, false)
}

// TestDiskLimitWaits: data is not evicted again while compactions are at work for what was evicted before.
func TestDiskLimitWaits(t *testing.T) {
	h := newHouse(t, Options{})
	e := h.evictor()
	h.set.SetPolicy("allkeys-lru")
	h.client().must(ok, "set", "a", strings.Repeat("x", 999)) // 1000 bytes
	now := time.Now()
	for i, x := range []struct {
		size  int64
		after time.Duration
		bound int64
	}{
		{2000, 0, 450}, {2100, diskSettle, 450}, {2100, diskSettle, 450}, {1500, diskSettle, 450}, {1400, diskSettle / 2, 450}, {1600, diskSettle / 2, 450},
		{1600, diskSettle / 2, 562}, {1600, diskSettle, 562}, {1600, diskPatience, 562}, {900, diskSettle, 562}, {2000, 2 * diskSettle, 450},
	} {
		now = now.Add(x.after)
		e.disk.adjust(h.set, x.size, 1000, now)
		if bound := h.set.limits.diskBound.Load(); bound != x.bound {
			t.Errorf("%d: bound %d", i, bound)
		}
	}
}

// TestAccessesKeepWhatMatters: a table that is much too small for all keys knows those that are used, not those that were met last.
func TestAccessesKeepWhatMatters(t *testing.T) {
	for _, counts := range []bool{false, true} {
		h := newHouse(t, Options{Seed: 1})
		a := &h.set.access
		a.init(64<<10, h.hands.now()) // 16 Ki places
		a.setCounts(counts)
		q := &Query{set: h.set}
		key := func(kind string, i int) []byte { return h.set.keys.AppendMeta(nil, 0, fmt.Append(nil, kind, i)) }
		const hot = 4000
		for range 20 {
			h.hands.pass(1000)
			q.Now = h.hands.now()
			for i := range hot {
				a.touch(key("hot", i), q)
			}
			for range 5000 {
				a.made(key("new", rand.IntN(1e9)), q.Now)
			}
		}
		known := 0
		for i := range hot {
			if _, ok := a.get(key("hot", i)); ok {
				known++
			}
		}
		if known < hot*97/100 { // 98 to 100 percent, most often
			t.Errorf("counts %v: of %d keys %d are known", counts, hot, known)
		}
	}
}
