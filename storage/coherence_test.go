package storage

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCacheCoherence reads and writes with a small cache and a generation every few milliseconds. Each key is written by one
// goroutine with growing numbers and must never be read as an older one than that goroutine has written.
func TestCacheCoherence(t *testing.T) {
	o := small()
	o.GenerationRecords = 40
	o.FlushInterval = 10 * time.Millisecond
	s := openStore(t, t.TempDir(), o, &memLog{})
	s.cache = newCache(64 * 128)
	const writers, keys = 4, 500 // far more than the cache holds
	var written [writers][keys]atomic.Int64
	stop := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for n := int64(1); time.Now().Before(stop); n++ {
				if k := rng.IntN(keys); rng.IntN(3) == 0 {
					set(t, s, fmt.Sprintf("m%d-%d", w, k), strconv.FormatInt(n, 10))
					written[w][k].Store(n)
				}
				of, k := rng.IntN(writers), rng.IntN(keys)
				least := written[of][k].Load()
				got, _ := strconv.ParseInt(get(t, s, fmt.Sprintf("m%d-%d", of, k)), 10, 64)
				if got < least || of == w && got != least {
					t.Errorf("m%d-%d is %d, was written as %d", of, k, got, least)
					return
				}
			}
		})
	}
	wg.Wait()
	if s.stats.Fetched.Load() == 0 || s.stats.Flushes.Load() == 0 {
		t.Error("nothing was read from Badger, or nothing flushed")
	}
}

// TestCacheCoherenceSlowReader: what a reader got from Badger before a generation was retired must not enter the cache after it.
func TestCacheCoherenceSlowReader(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	set(t, s, "k", "old")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.DropCache()
	var once sync.Once
	reading, goOn := make(chan bool), make(chan bool)
	s.disk.slow = func() { once.Do(func() { reading <- true; <-goOn }) }
	slow := make(chan string)
	go func() { slow <- get(t, s, "k") }()
	<-reading
	set(t, s, "k", "new")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.DropCache() // evicted meanwhile
	goOn <- true
	if got := <-slow; got != "new" {
		t.Errorf("the slow reader got %q", got)
	}
	if got := get(t, s, "k"); got != "new" {
		t.Errorf("k = %q", got)
	}
}

func TestCacheAgainstModel(t *testing.T) {
	c := newCache(40_000)
	rng := rand.New(rand.NewPCG(1, 1))
	model := map[string]string{}
	hash := func(key string) uint64 {
		h := rand.NewPCG(uint64(key[0])<<8|uint64(key[len(key)-1]), 5)
		return h.Uint64()
	} // collides on purpose
	hits := 0
	for range 200_000 {
		key := fmt.Sprint("k", rng.IntN(2000))
		if rng.IntN(3) == 0 {
			value := fmt.Sprint(rng.IntN(1000), string(make([]byte, rng.IntN(40))))
			if rng.IntN(4) == 0 {
				value = ""
			}
			model[key] = value
			var b []byte
			if value != "" {
				b = []byte(value)
			}
			c.refresh(hash(key), []byte(key), b)
			continue
		}
		got, known, absent := c.get(hash(key), []byte(key), nil)
		if !known {
			continue
		}
		hits++
		want, written := model[key]
		if !written || absent != (want == "") || string(got) != want {
			t.Fatalf("%s: got %q absent %v, want %q (written %v)", key, got, absent, want, written)
		}
	}
	if hits == 0 || c.bytes() > 60_000 {
		t.Errorf("%d hits, %d bytes", hits, c.bytes())
	}
}
