package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// clusterWorkload is something that a cluster and one Redis do.
type clusterWorkload struct {
	name  string
	test  string // of redis-benchmark
	fsync string
	pipe  int
	read  string // level of reads
}

var clusterWorkloads = []clusterWorkload{
	{"set-p1", "set", "everysec", 1, "lease"},
	{"set-p16", "set", "everysec", 16, "lease"},
	{"get-lease-p1", "get", "everysec", 1, "lease"},
	{"get-linearizable-p1", "get", "everysec", 1, "linearizable"},
	{"get-linearizable-p16", "get", "everysec", 16, "linearizable"},
	{"set-always-p1", "set", "always", 1, "lease"},
	{"set-always-p16", "set", "always", 16, "lease"},
}

// clustering is one run of cluster.
type clustering struct {
	rounds  int
	seconds float64
	keys    uint64
	conns   int
	node    string // whom clients use: leader or follower
	logs    []string
	only    []string
	binary  string
	sets    []string
	port    int
}

// clusterCommand measures three setts that form a cluster beside one Redis, all on this machine: round after round, the cluster and Redis in turn.
func clusterCommand(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("cluster", flag.ExitOnError)
	c := clustering{}
	fs.IntVar(&c.rounds, "rounds", 3, "rounds")
	fs.Float64Var(&c.seconds, "seconds", 5, "about how long a run takes")
	fs.Uint64Var(&c.keys, "r", 1_000_000, "keys")
	fs.IntVar(&c.conns, "c", 512, "connections")
	fs.StringVar(&c.node, "node", "leader", "whom the clients use: leader or follower")
	logs := fs.String("logs", "wal", "raft.log; several, separated by commas, are measured one after the other")
	only := fs.String("only", "", "workloads that begin with one of these, separated by commas (all)")
	fs.StringVar(&c.binary, "sett", "./sett", "the server's binary")
	sets := fs.String("set", "", "settings of the nodes, separated by commas (the defaults; with memory_budget=256MiB half of a million keys are read from disk)")
	fs.IntVar(&c.port, "port", 16420, "the first of seven ports")
	dir := fs.String("dir", "", "directory for the servers' data, removed at the end (a new one in $TMPDIR)")
	fs.Parse(args)
	c.logs = strings.Split(*logs, ",")
	if *sets != "" {
		c.sets = strings.Split(*sets, ",")
	}
	if *only != "" {
		c.only = strings.Split(*only, ",")
	}
	for _, log := range c.logs {
		for _, fsync := range []string{"everysec", "always"} {
			temp, err := os.MkdirTemp(*dir, "sett-bench-")
			if err == nil {
				err = c.measure(ctx, temp, log, fsync)
				os.RemoveAll(temp)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *clustering) wanted(fsync string) []clusterWorkload {
	return slices.DeleteFunc(slices.Clone(clusterWorkloads), func(w clusterWorkload) bool {
		begins := func(prefix string) bool { return strings.HasPrefix(w.name, prefix) }
		return w.fsync != fsync || c.only != nil && !slices.ContainsFunc(c.only, begins)
	})
}

// measure starts the servers of one fsync level and one kind of log, and runs what is wanted at it.
func (c *clustering) measure(ctx context.Context, dir, log, fsync string) error {
	wanted := c.wanted(fsync)
	if len(wanted) == 0 {
		return nil
	}
	n, err := startNodes(ctx, c.binary, dir, c.port, append(c.sets, "appendfsync="+fsync, "raft.log="+log)...)
	if err != nil {
		return err
	}
	defer n.stop()
	redis, err := startRedis(ctx, "Redis", filepath.Join(dir, "redis"), c.port+6, fsync)
	if err != nil {
		return err
	}
	defer redis.stop(os.Kill)
	leader, err := n.leader(ctx)
	if err != nil {
		return err
	}
	for _, s := range []*server{leader, redis} {
		if err := preload(ctx, s, c.keys, 3); err != nil {
			return err
		}
	}
	for _, w := range wanted {
		if err := c.run(ctx, n, redis, w, log, dir); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// clusterRun is one run against the cluster: processor time for each command.
type clusterRun struct {
	result
	leaderUs, followerUs float64
}

func (c *clustering) run(ctx context.Context, n *nodes, redis *server, w clusterWorkload, log, dir string) error {
	fsync, err := fsyncLatency(dir)
	if err != nil {
		return err
	}
	leader, err := n.leader(ctx)
	if err != nil {
		return err
	}
	for _, s := range n.all {
		if err := s.do("CONFIG", "SET", "cluster.read", w.read); err != nil {
			return err
		}
	}
	b := benchmark{args: []string{"-t", w.test, "-r", strconv.FormatUint(c.keys, 10), "-d", "3"}, pipe: w.pipe, conns: c.conns}
	target := leader
	if c.node == "follower" {
		target = n.all[(slices.Index(n.all, leader)+1)%len(n.all)]
	}
	count, err := b.calibrate(ctx, target, c.seconds)
	if err != nil {
		return err
	}
	countRedis, err := b.calibrate(ctx, redis, c.seconds)
	if err != nil {
		return err
	}
	var ours []clusterRun
	var theirs []result
	for range c.rounds {
		one, err := n.benchmark(ctx, b, target, leader, count)
		if err != nil {
			return err
		}
		other, err := b.run(ctx, redis, countRedis)
		if err != nil {
			return err
		}
		ours, theirs = append(ours, one), append(theirs, other)
	}
	f := figures{name: "cluster_" + w.name + "_" + log, fsync: fsync}
	if c.node != "leader" {
		f.name += "_" + c.node
	}
	of := func(what func(clusterRun) float64) float64 { return medianOf(ours, what) }
	f.add("per_s", of(func(r clusterRun) float64 { return r.rate }), "1/s")
	f.add("redis_per_s", medianOf(theirs, rate), "1/s")
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, ours[i].rate/theirs[i].rate)
	}
	f.add("ratio", median(ratios), "ratio")
	f.add("p50_ms", of(func(r clusterRun) float64 { return r.percentile(50) }), "ms")
	f.add("p99_ms", of(func(r clusterRun) float64 { return r.percentile(99) }), "ms")
	f.add("leader_cpu_us", of(func(r clusterRun) float64 { return r.leaderUs }), "us")
	f.add("follower_cpu_us", of(func(r clusterRun) float64 { return r.followerUs }), "us")
	f.add("redis_cpu_us", medianOf(theirs, cpu), "us")
	return f.save()
}

func medianOf[T any](runs []T, what func(T) float64) float64 {
	var v []float64
	for _, one := range runs {
		v = append(v, what(one))
	}
	return median(v)
}

// benchmark has clients use one node, and takes the processor time of the leader and, on average, of a follower.
func (n *nodes) benchmark(ctx context.Context, b benchmark, target, leader *server, count int) (r clusterRun, err error) {
	before := make([]float64, len(n.all))
	for i, s := range n.all {
		before[i] = s.cpuSeconds()
	}
	if r.result, err = b.run(ctx, target, count); err != nil {
		return r, err
	}
	for i, s := range n.all {
		if err := s.drain(); err != nil {
			return r, err
		}
		us := (s.cpuSeconds() - before[i]) / float64(count) * 1e6
		if s == leader {
			r.leaderUs = us
		} else {
			r.followerUs += us / float64(len(n.all)-1)
		}
	}
	if now, err := n.leader(ctx); err != nil || now != leader {
		return r, fmt.Errorf("the leader changed during a run (%v)", err)
	}
	return r, nil
}
