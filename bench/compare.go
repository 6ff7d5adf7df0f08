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
	"time"
)

// workload is something that both sett and Redis do.
type workload struct {
	name   string
	args   []string // of redis-benchmark
	pipe   int
	always bool // with an fsync before each reply
	writes bool
}

const onKeys = "-r" // how many keys redis-benchmark draws from: follows in the arguments

var workloads = []workload{
	{"set-p1", []string{"-t", "set", onKeys}, 1, false, true},
	{"set-p16", []string{"-t", "set", onKeys}, 16, false, true},
	{"get-p1", []string{"-t", "get", onKeys}, 1, false, false},
	{"get-p16", []string{"-t", "get", onKeys}, 16, false, false},
	{"incr-p1", []string{"-t", "incr", onKeys}, 1, false, true},
	{"incr-p16", []string{"-t", "incr", onKeys}, 16, false, true},
	{"mset-p1", []string{"-t", "mset", onKeys}, 1, false, true},
	{"mset-p16", []string{"-t", "mset", onKeys}, 16, false, true},
	{"incr-hot-p1", []string{"INCR", "hot"}, 1, false, true},
	{"incr-hot-p16", []string{"INCR", "hot"}, 16, false, true},
	{"set-always-p1", []string{"-t", "set", onKeys}, 1, true, true},
	{"set-always-p16", []string{"-t", "set", onKeys}, 16, true, true},
}

// comparison is one run of compare.
type comparison struct {
	rounds  int
	seconds float64
	keys    uint64
	bytes   int
	only    []string
	command string
	began   time.Time
	fsync   time.Duration
	servers map[bool][]*server // by always; the last is Redis
	rows    []*row
}

// row is what was measured of a workload: runs of each server, in the order of the rounds.
type row struct {
	workload
	servers []string
	runs    [][]result
}

// compare starts sett and Redis and runs workload after workload against both in turn, round after round: a noisy minute meets all of them.
func compare(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("compare", flag.ExitOnError)
	c := comparison{servers: make(map[bool][]*server), began: time.Now(), command: "go run ./bench compare " + strings.Join(args, " ")}
	fs.IntVar(&c.rounds, "rounds", 5, "rounds")
	fs.Float64Var(&c.seconds, "seconds", 20, "about how long a run takes")
	fs.Uint64Var(&c.keys, "r", 1_000_000, "keys")
	fs.IntVar(&c.bytes, "d", 3, "bytes of a value")
	only := fs.String("only", "", "workloads that begin with one of these, separated by commas: set-p,get-p16 (all)")
	binaries := fs.String("sett", "./sett", "the server's binary; several, separated by commas, are compared with each other, too")
	sets := fs.String("set", "memory_budget=1GiB", "settings of sett, separated by commas")
	port := fs.Int("port", 16379, "the first of the ports that are taken")
	dir := fs.String("dir", "", "directory for the servers' data, removed at the end (a new one in $TMPDIR)")
	docs := fs.Bool("docs", false, "write docs/performance.md and its pictures")
	fs.Parse(args)
	if *only != "" {
		c.only = strings.Split(*only, ",")
	}
	temp, err := os.MkdirTemp(*dir, "sett-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	defer c.stop()
	if err := c.start(ctx, temp, strings.Split(*binaries, ","), strings.Split(*sets, ","), *port); err != nil {
		return err
	}
	if c.fsync, err = fsyncLatency(temp); err != nil {
		return err
	}
	for _, w := range workloads {
		if !c.wanted(w) {
			continue
		}
		r, err := c.run(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		c.rows = append(c.rows, r)
		if err := c.save(r); err != nil {
			return err
		}
	}
	fmt.Print(c.table())
	if *docs {
		return c.document()
	}
	return nil
}

func (c *comparison) wanted(w workload) bool {
	begins := func(prefix string) bool { return strings.HasPrefix(w.name, prefix) }
	return c.only == nil || slices.ContainsFunc(c.only, begins)
}

// start starts the servers that the wanted workloads need, and gives them their keys.
func (c *comparison) start(ctx context.Context, dir string, binaries, sets []string, port int) error {
	for _, always := range []bool{false, true} {
		if !slices.ContainsFunc(workloads, func(w workload) bool { return w.always == always && c.wanted(w) }) {
			continue
		}
		fsync := map[bool]string{false: "everysec", true: "always"}[always]
		place := func(name string) string {
			port++
			return filepath.Join(dir, fmt.Sprintf("%s-%s-%d", name, fsync, port))
		}
		for _, binary := range binaries {
			s, err := startSett(ctx, name(binary, binaries), binary, place("sett"), port, append(sets, "appendfsync="+fsync)...)
			if err != nil {
				return err
			}
			c.servers[always] = append(c.servers[always], s)
		}
		s, err := startRedis(ctx, "Redis", place("redis"), port, fsync)
		if err != nil {
			return err
		}
		c.servers[always] = append(c.servers[always], s)
		for _, s := range c.servers[always] {
			if err := preload(ctx, s, c.keys, c.bytes); err != nil {
				return err
			}
		}
	}
	return nil
}

// name is what one of several binaries is called.
func name(binary string, binaries []string) string {
	if len(binaries) == 1 {
		return "sett"
	}
	return binary
}

func (c *comparison) stop() {
	for _, servers := range c.servers {
		for _, s := range servers {
			s.stop(os.Kill)
		}
	}
}

func (c *comparison) run(ctx context.Context, w workload) (*row, error) {
	servers := c.servers[w.always]
	r := &row{workload: w, runs: make([][]result, len(servers))}
	b := benchmark{args: slices.Clone(w.args), pipe: w.pipe, conns: 50}
	if b.args[len(b.args)-1] == onKeys {
		b.args = append(b.args, strconv.FormatUint(c.keys, 10), "-d", strconv.Itoa(c.bytes))
	}
	commands := make([]int, len(servers))
	for i, s := range servers {
		n, err := b.calibrate(ctx, s, c.seconds)
		if err != nil {
			return nil, err
		}
		commands[i] = n
		r.servers = append(r.servers, s.name)
	}
	for range c.rounds {
		for i, s := range servers {
			one, err := b.run(ctx, s, commands[i])
			if err != nil {
				return nil, err
			}
			if err := s.rewrite(ctx); err != nil {
				return nil, err
			}
			r.runs[i] = append(r.runs[i], one)
		}
	}
	return r, nil
}

// rewrite has a Redis write its append-only file anew once that is large, outside of what is measured.
func (s *server) rewrite(ctx context.Context) error {
	const large = 1 << 30
	size, err := s.counter("persistence", "aof_current_size")
	if err != nil || size < large {
		return err
	}
	if err := s.do("BGREWRITEAOF"); err != nil {
		return err
	}
	for {
		fields, err := info(s.addr, "persistence")
		if err != nil || fields["aof_rewrite_in_progress"] == "0" && fields["aof_rewrite_scheduled"] == "0" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// of is the median of something over a server's runs.
func (r *row) of(server int, what func(result) float64) float64 {
	var v []float64
	for _, one := range r.runs[server] {
		v = append(v, what(one))
	}
	return median(v)
}

// ratio is the median of the rounds' ratios of a server to Redis.
func (r *row) ratio(server int) float64 {
	redis := r.runs[len(r.runs)-1]
	var v []float64
	for i, one := range r.runs[server] {
		v = append(v, one.rate/redis[i].rate)
	}
	return median(v)
}

func rate(r result) float64 { return r.rate }
func cpu(r result) float64  { return r.cpuUs }
func rss(r result) float64  { return float64(r.rssAnonKB) / 1024 }
func percentile(p float64) func(result) float64 {
	return func(r result) float64 { return r.percentile(p) }
}

func (c *comparison) save(r *row) error {
	for i, s := range r.servers {
		f := figures{name: "compare_" + r.name + "_" + strings.ToLower(filepath.Base(s)), fsync: c.fsync}
		f.add("per_s", r.of(i, rate), "1/s")
		f.add("ratio", r.ratio(i), "ratio")
		f.add("cpu_us", r.of(i, cpu), "us")
		f.add("p50_ms", r.of(i, percentile(50)), "ms")
		f.add("p99_ms", r.of(i, percentile(99)), "ms")
		f.add("p999_ms", r.of(i, percentile(99.9)), "ms")
		f.add("max_ms", r.of(i, percentile(100)), "ms")
		f.add("rss_anon_mib", r.of(i, rss), "MiB")
		if err := f.save(); err != nil {
			return err
		}
		const enough = 10
		if n := r.of(i, func(r result) float64 { return float64(r.flushes) }); r.writes && i < len(r.servers)-1 && n < enough {
			fmt.Printf("  only %.0f generations went to Badger in a run: too short to tell what a command costs until it lies there\n", n)
		}
	}
	return nil
}
