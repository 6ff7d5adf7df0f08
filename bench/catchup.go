package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// catchingUp is one run of catchup.
type catchingUp struct {
	keys   uint64
	bytes  int
	by     string // log or copy
	kill   string // leader, follower, or nobody
	before time.Duration
	conns  int
	depth  int
	rate   int
	nice   int

	n        *nodes
	follower *server
	f        figures
}

// catchup stops one node of three, writes many keys, and starts it anew while clients go on writing and reading: what they notice, how long the node takes
// until it has everything, and what memory that takes on both sides. In the middle one side may be killed.
func catchup(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("catchup", flag.ExitOnError)
	c := catchingUp{}
	fs.Uint64Var(&c.keys, "n", 5_000_000, "keys that are written while the node is away")
	fs.IntVar(&c.bytes, "d", 256, "bytes of a value")
	fs.StringVar(&c.by, "by", "log", "how the node catches up: log (the others keep all of theirs) or copy (they keep 16 MiB)")
	fs.StringVar(&c.kill, "kill", "", "who is killed in the middle, and started anew: leader or follower")
	fs.DurationVar(&c.before, "before", 15*time.Second, "how long clients are watched before the node comes back")
	fs.IntVar(&c.conns, "c", 16, "connections that write")
	fs.IntVar(&c.depth, "P", 16, "their pipeline")
	fs.IntVar(&c.rate, "rate", 0, "writes per second that they want to make together (0: as many as they can)")
	fs.IntVar(&c.nice, "nice", 10, "niceness of the node that comes back: on a machine of its own it would not take the leader's processor")
	binary := fs.String("sett", "./sett", "the server's binary")
	sets := fs.String("set", "memory_budget=256MiB,raft.heartbeat=3s", "settings of the nodes, separated by commas; an election would spoil the figures")
	port := fs.Int("port", 16440, "the first of six ports")
	dir := fs.String("dir", "", "directory for the nodes' data, removed at the end (a new one in $TMPDIR)")
	fs.Parse(args)
	keep, known := map[string]string{"log": "1TiB", "copy": "16MiB"}[c.by]
	if !known || c.kill != "" && c.kill != "leader" && c.kill != "follower" {
		return errors.New("-by is log or copy, -kill leader or follower")
	}

	temp, err := os.MkdirTemp(*dir, "sett-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if c.f.name = "catchup_" + c.by; c.kill != "" {
		c.f.name += "_" + c.kill + "_killed"
	}
	if c.f.fsync, err = fsyncLatency(temp); err != nil {
		return err
	}
	if c.n, err = startNodes(ctx, *binary, temp, *port, append(strings.Split(*sets, ","), "log.keep_bytes="+keep)...); err != nil {
		return err
	}
	defer c.n.stop()
	if err := c.run(ctx); err != nil {
		return err
	}
	return c.f.save()
}

func (c *catchingUp) run(ctx context.Context) error {
	leader, err := c.n.leader(ctx)
	if err != nil {
		return err
	}
	c.follower = c.n.all[(slices.Index(c.n.all, leader)+1)%len(c.n.all)]
	if err := c.follower.stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the follower: %w", err)
	}
	l := loading{name: "loaded", keys: c.keys, bytes: c.bytes, conns: 50, depth: 16, quiet: true, server: leader, fsync: c.f.fsync}
	if err := l.run(ctx); err != nil {
		return err
	}
	t := &traffic{keys: c.keys, bytes: c.bytes, depth: c.depth, rate: c.rate, conns: c.conns}
	for _, s := range c.n.all {
		t.addrs = append(t.addrs, s.addr)
	}
	t.target.Store(&leader.addr)
	end := t.start(ctx)
	defer end()
	before, err := t.watch(ctx, leader, c.before)
	if err != nil {
		return err
	}
	return c.comeBack(ctx, leader, t, before)
}

// comeBack has the follower catch up.
func (c *catchingUp) comeBack(ctx context.Context, leader *server, t *traffic, before span) error {
	started := time.Now()
	writes, reads, cpu := t.writes.Load(), t.reads.Load(), leader.cpuSeconds()
	t.longest.Store(0)
	if err := c.restart(ctx, c.follower); err != nil {
		return err
	}
	peaks, err := c.await(ctx)
	if err != nil {
		return err
	}
	seconds := time.Since(started).Seconds()
	during := span{float64(t.writes.Load()-writes) / seconds, float64(t.reads.Load()-reads) / seconds, 0}
	if c.kill == "" {
		during.cpuUs = (leader.cpuSeconds() - cpu) / (during.writes * seconds) * 1e6
	}
	c.f.add("before_per_s", before.writes, "1/s")
	c.f.add("during_per_s", during.writes, "1/s")
	c.f.add("ratio", during.writes/before.writes, "ratio")
	c.f.add("reads_ratio", during.reads/before.reads, "ratio")
	c.f.add("leader_before_cpu_us", before.cpuUs, "us")
	c.f.add("leader_during_cpu_us", during.cpuUs, "us")
	c.f.add("longest_stop_ms", float64(t.longest.Load()), "ms")
	c.f.add("took_s", seconds, "s")
	c.f.add("mib_per_s", float64(c.keys)*float64(c.bytes+len("key:000000000000"))/seconds/(1<<20), "MiB/s")
	c.f.add("failed", float64(t.failed.Load()), "commands")
	for i, kb := range peaks {
		role := "other"
		switch c.n.all[i].dir {
		case leader.dir:
			role = "leader"
		case c.follower.dir:
			role = "follower"
		}
		c.f.add(role+"_rss_anon_peak_mib", float64(kb)/1024, "MiB")
	}
	return c.agree(ctx)
}

// enough is how few entries a node that has caught up may lack: they are on their way.
const enough = 64

// await returns when the follower has caught up, and the highest memory of each node until then. In the middle somebody is killed, if that is wanted.
func (c *catchingUp) await(ctx context.Context) (peaks []int, err error) {
	peaks = make([]int, len(c.n.all))
	killed, lag, first := c.kill == "", uint64(0), uint64(0)
	for began, look := time.Now(), 1; ; look++ {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		for i, s := range c.n.all {
			peaks[i] = max(peaks[i], rssAnonKB(s.pid))
		}
		if time.Since(began) > 20*time.Minute {
			return nil, fmt.Errorf("it does not catch up: %d entries are missing", lag)
		}
		if look%4 > 0 {
			continue
		}
		if lag, err = c.lag(ctx); err != nil {
			continue // it does not answer yet, or nobody leads
		}
		if first == 0 {
			first = lag
		}
		switch {
		case !killed && (lag < first/2 || c.copying() && time.Since(began) > 5*time.Second):
			if err := c.killOne(ctx); err != nil {
				return nil, err
			}
			killed = true
		case killed && lag <= enough && c.follower.do("EXISTS", "key:000000000000") == nil:
			return peaks, nil
		}
	}
}

// restart starts a node anew that has ended, and does not wait for it.
func (c *catchingUp) restart(ctx context.Context, s *server) error {
	i := slices.Index(c.n.all, s)
	if s != c.follower {
		return c.n.launch(ctx, i, s.dir, port(s))
	}
	args := append([]string{"-n", strconv.Itoa(c.nice), c.n.binary}, c.n.args[i]...)
	again, err := launch(ctx, s.name, s.dir, port(s), "nice", args...)
	if err == nil {
		c.n.all[i], c.follower = again, again
	}
	return err
}

func port(s *server) (port int) {
	fmt.Sscanf(s.addr, "127.0.0.1:%d", &port)
	return port
}

// lag is how many entries of the leader's log the follower has yet to apply.
func (c *catchingUp) lag(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	leader, err := c.n.leader(ctx)
	if err != nil {
		return 0, err
	}
	at, err := c.follower.counter("replication", "slave_repl_offset")
	if err != nil || leader == c.follower {
		return 0, err
	}
	end, err := leader.counter("replication", "master_repl_offset")
	return uint64(max(0, end-at)), err
}

func (c *catchingUp) copying() bool {
	fields, err := info(c.follower.addr, "replication")
	return err == nil && fields["master_sync_in_progress"] == "1"
}

// killOne kills a side and starts it anew.
func (c *catchingUp) killOne(ctx context.Context) error {
	s := c.follower
	if c.kill == "leader" {
		var err error
		if s, err = c.n.leader(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("  the %s is killed\n", c.kill)
	s.stop(os.Kill)
	return c.restart(ctx, s)
}

// agree compares the nodes' data at one point.
func (c *catchingUp) agree(ctx context.Context) error {
	said, err := exec.CommandContext(ctx, c.n.binary, "verify", "--addr", fmt.Sprintf("127.0.0.1:%d", port(c.n.all[0])+len(c.n.all))).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sett verify: %w\n%s", err, said)
	}
	return nil
}

// traffic is what clients do meanwhile. They use the leader, and look for it when a command fails.
type traffic struct {
	addrs                     []string
	keys                      uint64
	bytes, depth, rate, conns int

	target                atomic.Pointer[string] // the leader's address
	writes, reads, failed atomic.Int64
	longest               atomic.Int64 // ms in which no write was acknowledged
	lastMs                atomic.Int64
}

// span is what clients got for a while.
type span struct{ writes, reads, cpuUs float64 }

// start has clients begin. They end when what it returns is called.
func (t *traffic) start(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	t.lastMs.Store(time.Now().UnixMilli())
	for range t.conns {
		done.Go(func() { t.client(ctx, t.write) })
	}
	done.Go(func() { t.client(ctx, t.read) })
	return func() { cancel(); done.Wait() }
}

// watch measures what clients get for a while.
func (t *traffic) watch(ctx context.Context, leader *server, last time.Duration) (span, error) {
	select { // they have begun
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	writes, reads, cpu, began := t.writes.Load(), t.reads.Load(), leader.cpuSeconds(), time.Now()
	select {
	case <-time.After(last):
	case <-ctx.Done():
		return span{}, ctx.Err()
	}
	n, seconds := float64(t.writes.Load()-writes), time.Since(began).Seconds()
	return span{n / seconds, float64(t.reads.Load()-reads) / seconds, (leader.cpuSeconds() - cpu) / n * 1e6}, nil
}

// client is one connection after the other.
func (t *traffic) client(ctx context.Context, work func(ctx context.Context, c *client) error) {
	for ctx.Err() == nil {
		c, err := dial(*t.target.Load())
		if err == nil {
			stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Now()) })
			err = work(ctx, c)
			stop()
			c.close()
		}
		if err != nil && ctx.Err() == nil {
			t.failed.Add(1)
			t.find()
		}
	}
}

// find looks for the leader.
func (t *traffic) find() {
	for i := range t.addrs {
		if fields, err := info(t.addrs[i], "replication"); err == nil && fields["role"] == "master" {
			t.target.Store(&t.addrs[i])
			return
		}
	}
	time.Sleep(50 * time.Millisecond)
}

func (t *traffic) write(ctx context.Context, c *client) error {
	set, key, value := []byte("SET"), []byte(nil), make([]byte, t.bytes)
	next := time.Now()
	for ctx.Err() == nil {
		for range t.depth {
			n := rand.Uint64N(t.keys)
			key = fmt.Appendf(key[:0], "key:%012d", n)
			fill(value, rand.Uint64())
			c.add(set, key, value)
		}
		if err := c.run(); err != nil {
			return err
		}
		t.writes.Add(int64(t.depth))
		now := time.Now()
		if last := t.lastMs.Swap(now.UnixMilli()); now.UnixMilli()-last > t.longest.Load() {
			t.longest.Store(now.UnixMilli() - last)
		}
		if t.rate > 0 {
			next = next.Add(time.Second * time.Duration(t.depth*t.conns) / time.Duration(t.rate))
			time.Sleep(time.Until(next))
			if late := now.Add(-time.Second); next.Before(late) {
				next = late
			}
		}
	}
	return nil
}

func (t *traffic) read(ctx context.Context, c *client) error {
	get, key := []byte("GET"), []byte(nil)
	for ctx.Err() == nil {
		key = fmt.Appendf(key[:0], "key:%012d", rand.Uint64N(t.keys))
		c.add(get, key)
		if err := c.run(); err != nil {
			return err
		}
		t.reads.Add(1)
	}
	return nil
}
