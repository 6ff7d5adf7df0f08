package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// collections builds long collections and measures what commands in their middle take, beside short ones; then it has a queue and a sorted set
// that elements come to at one end and leave at the other, and looks whether they stay as fast as they were.
func collections(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("collections", flag.ExitOnError)
	b := collectionBench{}
	sizes := fs.String("n", "100000,5000000", "elements of each hash, set, sorted set and list, one size after the other")
	fs.IntVar(&b.samples, "samples", 2000, "how often each command is measured")
	fs.IntVar(&b.searches, "searches", 10, "… and each that looks through half of a list")
	fs.Uint64Var(&b.pairs, "pairs", 10_000_000, "elements that go through the queue")
	fs.Uint64Var(&b.backlog, "backlog", 1_000_000, "… behind so many that wait in it")
	fs.Uint64Var(&b.wave, "wave", 2_000_000, "elements that are pushed and then popped, ten times")
	fs.Uint64Var(&b.trims, "trims", 5_000_000, "elements that go through a sorted set of 100,000")
	fs.IntVar(&b.conns, "c", 10, "connections")
	fs.IntVar(&b.depth, "P", 16, "pipeline")
	only := fs.String("only", "elements,queue,waves,trims", "what is measured")
	redis := fs.Bool("redis", false, "measure Redis everysec instead")
	sett := fs.String("sett", "./sett", "the server's binary")
	port := fs.Int("port", 16379, "port of the server that is started")
	dir := fs.String("dir", "", "directory for its data, removed at the end (a new one in $TMPDIR)")
	sets := fs.String("set", "memory_budget=256MiB", "settings of sett, separated by commas")
	fs.StringVar(&b.name, "name", "collections", "name of the figures")
	fs.Parse(args)

	temp, err := os.MkdirTemp(*dir, "sett-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	b.start = func() (*server, error) {
		if *redis {
			return startRedis(ctx, "redis", filepath.Join(temp, "redis"), *port, "everysec")
		}
		return startSett(ctx, "sett", *sett, filepath.Join(temp, "sett"), *port, strings.Split(*sets, ",")...)
	}
	if b.server, err = b.start(); err != nil {
		return err
	}
	defer func() { b.server.stop(os.Kill) }()
	if b.fsync, err = fsyncLatency(temp); err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{"queue": b.queue, "waves": b.waves, "trims": b.trim}
	parts["elements"] = func(ctx context.Context) error {
		for _, size := range strings.Split(*sizes, ",") {
			n, err := strconv.ParseUint(size, 10, 64)
			if err == nil {
				err = b.elements(ctx, n)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, part := range strings.Split(*only, ",") {
		run := parts[part]
		if run == nil {
			return fmt.Errorf("-only %s: there is no such part", part)
		}
		if err := run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

type collectionBench struct {
	crowd
	name                        string
	samples, searches           int
	pairs, backlog, wave, trims uint64
	start                       func() (*server, error)
	fsync                       time.Duration
}

// crowd is connections that share a task.
type crowd struct {
	server       *server
	conns, depth int
}

func (b *collectionBench) figures(name string) *figures {
	return &figures{name: b.name + "_" + name, fsync: b.fsync}
}

// throughput is what many commands took.
type throughput struct {
	rate  float64 // per second
	cpuUs float64 // of the server for each
}

// many runs n tasks on all connections, depth of them in a pipeline; add puts the commands of task i into it.
func (b *crowd) many(ctx context.Context, n uint64, add func(c *client, i uint64)) (t throughput, err error) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	failed := make(chan error, b.conns)
	cpu, begin := b.server.cpuSeconds(), time.Now()
	for range b.conns {
		wg.Go(func() {
			c, err := dial(b.server.addr)
			if err != nil {
				failed <- err
				return
			}
			defer c.close()
			for err == nil && ctx.Err() == nil {
				end := next.Add(uint64(b.depth))
				first := end - uint64(b.depth)
				if first >= n {
					return
				}
				for i := first; i < min(end, n); i++ {
					add(c, i)
				}
				err = c.run()
			}
			failed <- err
		})
	}
	wg.Wait()
	select {
	case err = <-failed:
	default:
		err = ctx.Err()
	}
	t = throughput{float64(n) / time.Since(begin).Seconds(), (b.server.cpuSeconds() - cpu) / float64(n) * 1e6}
	return t, err
}

// probe is a command whose time is measured, alone on its connection.
type probe struct {
	name    string
	times   int
	records bool // and how many records it writes
	command func() string
}

// elements builds one collection of each type.
func (b *collectionBench) elements(ctx context.Context, n uint64) error {
	f := b.figures(strconv.FormatUint(n, 10))
	stop := watchPeak(b.server.pid)
	defer stop()
	for _, kind := range []struct {
		name string
		add  func(c *client, i uint64)
	}{
		{"hash", addTen("HSET hash", " f:%012[1]d v:%[1]d")},
		{"set", addTen("SADD set", " m:%012[1]d")},
		{"zset", addTen("ZADD zset", " %[2]d m:%012[1]d")},
		{"list", addTen("RPUSH list", " e:%012[1]d")},
	} {
		before, err := b.server.counter("sett", "flushed_records")
		if err != nil {
			return err
		}
		t, err := b.many(ctx, n/10, kind.add)
		if err == nil {
			err = b.server.drain()
		}
		if err != nil {
			return err
		}
		now, err := b.server.counter("sett", "flushed_records")
		if err != nil {
			return err
		}
		f.add("build_"+kind.name+"_records", float64(now-before)/float64(n), "records")
		f.add("build_"+kind.name+"_per_s", t.rate*10, "1/s")
		f.add("build_"+kind.name+"_cpu_us", t.cpuUs/10, "us")
	}
	if err := b.probe(f, b.probes(n)); err != nil {
		return err
	}
	f.add("rss_anon_peak_mib", float64(stop())/1024, "MiB")
	if err := b.restart(f); err != nil {
		return err
	}
	if err := b.server.do("EXISTS", "hash", "set", "zset", "list"); err != nil { // the first look at a key goes to the disk
		return err
	}
	del := func(key string) probe { return probe{"del_" + key, 1, false, fixed("DEL " + key)} }
	if err := b.probe(f, []probe{del("hash"), del("set"), del("zset"), del("list")}); err != nil {
		return err
	}
	return f.save()
}

// addTen adds ten elements to a collection: element is told a number, and a score that has nothing to do with it.
func addTen(command, element string) func(c *client, i uint64) {
	return func(c *client, i uint64) {
		line := []byte(command)
		for k := range uint64(10) {
			n := i*10 + k
			line = fmt.Appendf(line, element, n, n*0x9e3779b97f4a7c15>>32)
		}
		c.addLine(string(line))
	}
}

func fixed(command string) func() string { return func() string { return command } }

func (b *collectionBench) probes(n uint64) []probe {
	at := func(format string) func() string {
		return func() string { return fmt.Sprintf(format, rand.Uint64N(n)) }
	}
	span := func(format string, length uint64) func() string {
		return func() string {
			i := rand.Uint64N(n - length)
			return fmt.Sprintf(format, i, i+length-1)
		}
	}
	middle := n / 2 // each search finds one that no other has found or moved
	next := func(format string) func() string {
		return func() string { middle++; return fmt.Sprintf(format, middle) }
	}
	return []probe{
		{"hget", b.samples, false, at("HGET hash f:%012d")},
		{"hset", b.samples, true, at("HSET hash f:%012d changed")},
		{"hset_new", b.samples, true, at("HSET hash new:%012d v")},
		{"hrandfield", b.samples, false, fixed("HRANDFIELD hash")},
		{"sismember", b.samples, false, at("SISMEMBER set m:%012d")},
		{"srandmember", b.samples, false, fixed("SRANDMEMBER set")},
		{"spop", b.samples, true, fixed("SPOP set")},
		{"zrank", b.samples, false, at("ZRANK zset m:%012d")},
		{"zrange", b.samples, false, span("ZRANGE zset %d %d", 10)},
		{"zrandmember", b.samples, false, fixed("ZRANDMEMBER zset")},
		{"zadd", b.samples, true, func() string { return fmt.Sprintf("ZADD zset %d m:%012d", rand.Uint32(), rand.Uint64N(n)) }},
		{"zadd_new", b.samples, true, func() string { return fmt.Sprintf("ZADD zset %d n:%d", rand.Uint32(), rand.Uint64()) }},
		{"lindex", b.samples, false, at("LINDEX list %d")},
		{"lset", b.samples, true, at("LSET list %d e:changed0000")},
		{"lrange", b.samples, false, span("LRANGE list %d %d", 100)},
		{"linsert", b.searches, true, next("LINSERT list BEFORE e:%012d x")},
		{"lrem", b.searches, true, next("LREM list 1 e:%012d")},
	}
}

// probe measures commands one by one.
func (b *collectionBench) probe(f *figures, probes []probe) error {
	c, err := dial(b.server.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for _, p := range probes {
		took := make([]time.Duration, p.times)
		for i := range took {
			c.addLine(p.command())
			begin := time.Now()
			if err := c.run(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		f.add(p.name+"_p50_us", float64(took[len(took)/2].Nanoseconds())/1000, "us")
		if p.times > 1 {
			f.add(p.name+"_p99_us", float64(took[len(took)*99/100].Nanoseconds())/1000, "us")
		}
		if p.records {
			if err := b.countRecords(f, c, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// countRecords counts the records that Badger gets of a command, with as many of sett's own as a SET takes along left out: a flush follows
// each, so that no record is written for two of them.
func (b *collectionBench) countRecords(f *figures, c *client, p probe) error {
	const times = 20
	written := func(command func() string) (float64, error) {
		if err := b.server.do("DEBUG", "SETT", "FLUSH"); err != nil {
			return 0, err
		}
		before, err := b.server.counter("sett", "flushed_records")
		for range times {
			if err == nil {
				c.addLine(command())
				c.addLine("DEBUG SETT FLUSH")
				err = c.run()
			}
		}
		if err != nil {
			return 0, err
		}
		now, err := b.server.counter("sett", "flushed_records")
		return float64(now-before) / times, err
	}
	if fields, err := info(b.server.addr, "sett"); err != nil || len(fields) == 0 {
		return err // a Redis
	}
	one, err := written(func() string { return "SET one 1" })
	if err != nil {
		return err
	}
	all, err := written(p.command)
	if err != nil {
		return err
	}
	f.add(p.name+"_records", all-one+1, "records")
	return nil
}

// restart ends the server cleanly and measures how long the next takes to its first reply.
func (b *collectionBench) restart(f *figures) error {
	if err := b.server.stop(syscall.SIGTERM); err != nil {
		return err
	}
	begin := time.Now()
	next, err := b.start()
	if err != nil {
		return err
	}
	b.server = next
	f.add("restart_s", time.Since(begin).Seconds(), "s")
	return nil
}

// queue has elements go through a list in which others wait.
func (b *collectionBench) queue(ctx context.Context) error {
	f := b.figures("queue")
	if _, err := b.many(ctx, b.backlog/10, addTen("LPUSH queue", " waiting:%012[1]d")); err != nil {
		return err
	}
	tenths, err := b.tenths(ctx, b.pairs, func(c *client, i uint64) {
		c.addLine(fmt.Sprintf("LPUSH queue element:%012d", i))
		c.addLine("RPOP queue")
	})
	if err != nil {
		return err
	}
	f.addTenths(tenths)
	if err := b.server.do("DEL", "queue"); err != nil {
		return err
	}
	return f.save()
}

// tenths runs n tasks in ten parts.
func (b *collectionBench) tenths(ctx context.Context, n uint64, add func(c *client, i uint64)) (all []throughput, err error) {
	for tenth := range uint64(10) {
		first := n / 10 * tenth
		t, err := b.many(ctx, n/10, func(c *client, i uint64) { add(c, first+i) })
		if err == nil {
			err = b.server.drain()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// addTenths tells whether the last tenth was as fast as the first.
func (f *figures) addTenths(all []throughput) {
	first, last := all[0], all[len(all)-1]
	f.add("first_per_s", first.rate, "1/s")
	f.add("last_per_s", last.rate, "1/s")
	f.add("last_to_first", last.rate/first.rate, "ratio")
	f.add("first_cpu_us", first.cpuUs, "us")
	f.add("last_cpu_us", last.cpuUs, "us")
}

// waves fills a list and empties it, ten times.
func (b *collectionBench) waves(ctx context.Context) error {
	var pushed, popped []throughput
	for range 10 {
		push, err := b.many(ctx, b.wave, func(c *client, i uint64) { c.addLine(fmt.Sprintf("LPUSH wave element:%012d", i)) })
		if err != nil {
			return err
		}
		pop, err := b.many(ctx, b.wave, func(c *client, _ uint64) { c.addLine("RPOP wave") })
		if err != nil {
			return err
		}
		pushed, popped = append(pushed, push), append(popped, pop)
	}
	f := b.figures("waves_push")
	f.addTenths(pushed)
	if err := f.save(); err != nil {
		return err
	}
	f = b.figures("waves_pop")
	f.addTenths(popped)
	return f.save()
}

// trim has elements come to the end of a sorted set and leave at its beginning: what is left behind there must cost nobody anything.
func (b *collectionBench) trim(ctx context.Context) error {
	const members = 100_000
	f := b.figures("trims")
	add := func(c *client, i uint64) { c.addLine(fmt.Sprintf("ZADD board %d m:%012d", i, i)) }
	if _, err := b.many(ctx, members, add); err != nil {
		return err
	}
	probes := func(when string, next uint64) []probe {
		refill := func() string { next++; return fmt.Sprintf("ZADD board %d m:%012d", next, next) }
		return []probe{
			{when + "_zrange", b.samples, false, fixed("ZRANGE board 0 10")},
			{when + "_zpopmin", b.samples, false, fixed("ZPOPMIN board")},
			{when + "_zadd", b.samples, false, refill},
			{when + "_zremrangebyrank", b.samples, false, fixed("ZREMRANGEBYRANK board 0 0")},
			{when + "_refill", b.samples, false, refill},
		}
	}
	if err := b.probe(f, probes("start", members)); err != nil {
		return err
	}
	first := uint64(members + 2*b.samples)
	tenths, err := b.tenths(ctx, b.trims, func(c *client, i uint64) {
		add(c, first+i)
		c.addLine("ZPOPMIN board")
	})
	if err != nil {
		return err
	}
	f.addTenths(tenths)
	if err := b.probe(f, probes("end", first+b.trims)); err != nil {
		return err
	}
	if err := b.server.do("DEL", "board"); err != nil {
		return err
	}
	return f.save()
}

// watchPeak looks at a process's memory until it is stopped, which returns the most that was seen, in KB.
func watchPeak(pid int) (stop func() int) {
	end, peak := make(chan struct{}), make(chan int, 1)
	go func() {
		most := 0
		for {
			most = max(most, rssAnonKB(pid))
			select {
			case <-end:
				peak <- most
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return sync.OnceValue(func() int { close(end); return <-peak })
}
