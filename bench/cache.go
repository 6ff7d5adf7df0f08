package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// cache uses sett and Redis as caches of the same number of keys: each key is asked for, and set if it is not there. Which key it is follows a
// Zipf distribution over more keys than there is room for. It tells how often a key was there, and what each request took of the processor.
func cache(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("cache", flag.ExitOnError)
	b := cacheBench{}
	fs.IntVar(&b.keys, "keys", 400_000, "keys that are asked for")
	fs.IntVar(&b.room, "room", 100_000, "keys that there is room for")
	fs.IntVar(&b.valueBytes, "value", 100, "bytes of a value")
	fs.IntVar(&b.requests, "requests", 1_500_000, "requests that are counted, after half as many that are not")
	fs.IntVar(&b.rate, "rate", 30_000, "requests in a second, at most: both servers have the same time")
	fs.IntVar(&b.conns, "conns", 8, "connections, each with pipelines of 16")
	policies := fs.String("policies", "allkeys-lru allkeys-lfu", "maxmemory-policy")
	skews := fs.String("s", "1.0 0.8", "exponents of the distribution")
	sett := fs.String("sett", "./sett", "the server's binary")
	budget := fs.String("memory_budget", "256MiB", "memory_budget of sett")
	port := fs.Int("port", 16379, "port of sett; the next one is that of Redis")
	fs.Parse(args)

	dir, err := os.MkdirTemp("", "sett-cache-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, skew := range strings.Fields(*skews) {
		exponent, err := strconv.ParseFloat(skew, 64)
		if err != nil {
			return err
		}
		b.cumulated = zipf(b.keys, exponent)
		for _, policy := range strings.Fields(*policies) {
			one := filepath.Join(dir, policy+skew)
			s, err := startSett(ctx, "sett", *sett, one+"-sett", *port, "memory_budget="+*budget, "maxmemory_policy="+policy)
			if err != nil {
				return err
			}
			if err = b.measure(ctx, s, policy, skew); err == nil {
				var r *server
				if r, err = startRedis(ctx, "redis", one+"-redis", *port+1, "everysec"); err == nil {
					err = errors.Join(r.do("CONFIG", "SET", "maxmemory-policy", policy), b.measure(ctx, r, policy, skew), r.stop(os.Interrupt))
				}
			}
			if err = errors.Join(err, s.stop(os.Interrupt)); err != nil {
				return err
			}
		}
	}
	return nil
}

// zipf is the cumulated distribution of keys: the i-th is asked for 1/i^s times as often as the first.
func zipf(keys int, s float64) []float64 {
	sums, sum := make([]float64, keys), 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s)
		sums[i] = sum
	}
	for i := range sums {
		sums[i] /= sum
	}
	return sums
}

type cacheBench struct {
	keys, room, valueBytes, requests, rate, conns int
	cumulated                                     []float64

	hits, misses atomic.Int64
}

const (
	warmings         = 5
	keyOverheadBytes = 80 // with the name, about
)

// measure fills a server, gives it the limit that leaves room for so many keys, and counts.
func (b *cacheBench) measure(ctx context.Context, s *server, policy, skew string) error {
	limit, err := b.fill(s)
	if err != nil {
		return err
	}
	for range warmings {
		if err := s.do("CONFIG", "SET", "maxmemory", strconv.FormatInt(limit, 10)); err != nil {
			return err
		}
		if err := b.run(ctx, s, b.requests/2/warmings); err != nil {
			return err
		}
		resident, err := s.dbsize()
		if err != nil {
			return err
		}
		// Redis' tables and buffers change in size: what counts is that both have room for as many keys.
		limit -= int64((resident - b.room) * (b.valueBytes + keyOverheadBytes))
	}
	if err := s.do("CONFIG", "SET", "maxmemory", strconv.FormatInt(limit, 10)); err != nil {
		return err
	}
	cpu := s.cpuSeconds()
	if err := b.run(ctx, s, b.requests); err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	cpu = s.cpuSeconds() - cpu
	resident, err := s.dbsize()
	if err != nil {
		return err
	}
	f := figures{name: "cache_" + s.name + "_" + policy + "_" + skew}
	f.add("hit_percent", 100*float64(b.hits.Load())/float64(b.hits.Load()+b.misses.Load()), "%")
	f.add("cpu_us", cpu*1e6/float64(b.requests), "us")
	f.add("resident", float64(resident), "keys")
	f.add("rss_anon", float64(rssAnonKB(s.pid))/1024, "MiB")
	return f.save()
}

// fill sets as many keys as there is room for, in any order, and returns what the limit must be so that they fit, and no more.
func (b *cacheBench) fill(s *server) (limit int64, err error) {
	c, err := dial(s.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	value := []byte(strings.Repeat("x", b.valueBytes))
	for i, key := range rand.Perm(b.keys)[:b.room] {
		c.add([]byte("SET"), cacheKey(key), value)
		if i%256 == 255 || i == b.room-1 {
			if err := c.run(); err != nil {
				return 0, err
			}
		}
	}
	if s.name == "redis" {
		return s.counter("memory", "used_memory")
	}
	return s.counter("memory", "stored_bytes")
}

func cacheKey(n int) []byte { return fmt.Appendf(nil, "key:%012d", n) }

// run makes requests on all connections.
func (b *cacheBench) run(ctx context.Context, s *server, requests int) error {
	b.hits.Store(0)
	b.misses.Store(0)
	var group sync.WaitGroup
	failed := make([]error, b.conns)
	for i := range failed {
		group.Go(func() { failed[i] = b.connection(ctx, s.addr, requests/b.conns) })
	}
	group.Wait()
	return errors.Join(failed...)
}

// connection asks for keys, 16 at a time, and then sets those that were not there.
func (b *cacheBench) connection(ctx context.Context, addr string, requests int) error {
	const pipeline = 16
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.close()
	value := []byte(strings.Repeat("x", b.valueBytes))
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	between := time.Second * time.Duration(pipeline*b.conns) / time.Duration(b.rate)
	next := time.Now()
	for done := 0; done < requests && ctx.Err() == nil; done += pipeline {
		time.Sleep(time.Until(next))
		next = next.Add(between)
		var keys [pipeline][]byte
		for i := range keys {
			n, _ := slices.BinarySearch(b.cumulated, random.Float64())
			keys[i] = cacheKey(min(n, b.keys-1))
			c.add([]byte("GET"), keys[i])
		}
		if err := b.ask(c, keys[:], value); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *cacheBench) ask(c *client, keys [][]byte, value []byte) error {
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	c.out, c.sent = c.out[:0], 0
	misses := 0
	for _, key := range keys {
		head, err := c.r.Peek(3)
		miss := string(head) == "$-1"
		if err == nil {
			_, err = c.reply()
		}
		if err != nil {
			return err
		}
		if miss {
			c.add([]byte("SET"), key, value)
			misses++
		}
	}
	b.misses.Add(int64(misses))
	b.hits.Add(int64(len(keys) - misses))
	return c.run()
}

// dbsize is the number of keys in database 0.
func (s *server) dbsize() (int, error) {
	c, err := dial(s.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	c.add([]byte("DBSIZE"))
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, err
	}
	line, err := c.reply()
	if err != nil {
		return 0, err
	}
	if len(line) == 0 || line[0] != ':' {
		return 0, io.ErrUnexpectedEOF
	}
	return number(line[1:]), nil
}
