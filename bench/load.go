package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// load fills a server with keys, then reads them cold and starts it anew, if that is asked for. It tells whether the server ever falters, what
// memory it takes, what it gives the disk to write, and what each key costs of the processor until it lies where it stays.
func load(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("load", flag.ExitOnError)
	l := loading{}
	fs.Uint64Var(&l.keys, "n", 5_000_000, "keys; with -t: keys are drawn from as many, 0: all are different")
	fs.IntVar(&l.bytes, "d", 256, "bytes of a value")
	fs.DurationVar(&l.last, "t", 0, "write for so long, and not until all keys are there")
	fs.IntVar(&l.conns, "c", 50, "connections")
	fs.IntVar(&l.depth, "P", 16, "pipeline")
	fs.BoolVar(&l.quiet, "q", false, "do not print every second")
	cold := fs.Duration("cold", 0, "then drop the cache and GET uniformly for so long, at P=1 and at P=16")
	restart := fs.Bool("restart", false, "then stop it and start it anew")
	redis := fs.Bool("redis", false, "load Redis everysec instead")
	sett := fs.String("sett", "./sett", "the server's binary")
	addr := fs.String("addr", "", "load a server that runs already")
	port := fs.Int("port", 16379, "port of the one that is started")
	dir := fs.String("dir", "", "directory for its data, removed at the end (a new one in $TMPDIR)")
	sets := fs.String("set", "memory_budget=1GiB", "settings of sett, separated by commas")
	fs.StringVar(&l.name, "name", "load", "name of the figures")
	fs.Parse(args)

	temp, err := os.MkdirTemp(*dir, "sett-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	again := func() (*server, error) {
		return startSett(ctx, "sett", *sett, filepath.Join(temp, "sett"), *port, strings.Split(*sets, ",")...)
	}
	var s *server
	switch {
	case *addr != "":
		s, err = running(*addr)
	case *redis:
		s, err = startRedis(ctx, "redis", filepath.Join(temp, "redis"), *port, "everysec")
	default:
		s, err = again()
	}
	if err != nil {
		return err
	}
	defer func() { s.stop(os.Kill) }()
	l.server = s
	if l.fsync, err = fsyncLatency(temp); err != nil {
		return err
	}
	if err := l.run(ctx); err != nil {
		return err
	}
	if *cold > 0 {
		if err := l.readCold(ctx, *cold); err != nil {
			return err
		}
	}
	if *restart {
		if s, err = l.restart(s, again); err != nil {
			return err
		}
	}
	return nil
}

// loading is one load. The fields below next belong to the connections.
type loading struct {
	name         string
	keys         uint64
	bytes        int
	last         time.Duration
	conns, depth int
	quiet        bool
	server       *server
	fsync        time.Duration

	end     time.Time     // with last
	next    atomic.Uint64 // the next key
	done    atomic.Int64
	longest atomic.Int64 // ms in which nobody got a reply
	mu      sync.Mutex
	lastMs  int64 // of the last reply; guarded by mu
}

func (l *loading) run(ctx context.Context) error {
	cpu, written := l.server.cpuSeconds(), l.server.writtenBytes()
	logged, err := l.server.counter("sett", "log_written_bytes")
	if err != nil {
		return err
	}
	tables := watchTables(l.server.dir)
	start := time.Now()
	l.end, l.lastMs = start.Add(l.last), start.UnixMilli()
	var wg sync.WaitGroup
	failed := make(chan error, l.conns)
	for range l.conns {
		wg.Go(func() {
			if err := l.connection(ctx); err != nil {
				failed <- err
			}
		})
	}
	finished := make(chan bool)
	go func() { wg.Wait(); close(finished) }()
	rates, peakKB := l.everySecond(finished)
	took := time.Since(start)
	select {
	case err := <-failed:
		return err
	default:
	}
	drained := make(chan bool)
	go func() { err = l.server.drain(); close(drained) }()
	_, after := l.everySecond(drained)
	if err != nil {
		return err
	}
	n := float64(l.done.Load())
	f := figures{name: l.name, fsync: l.fsync}
	f.add("per_s", n/took.Seconds(), "1/s")
	f.add("drained_per_s", n/time.Since(start).Seconds(), "1/s")
	f.add("cpu_us", (l.server.cpuSeconds()-cpu)/n*1e6, "us")
	f.add("rss_anon_peak_mib", float64(max(peakKB, after))/1024, "MiB")
	f.add("longest_stop_ms", float64(l.longest.Load()), "ms")
	f.addRates(rates)
	now, err := l.server.counter("sett", "log_written_bytes")
	if err != nil {
		return err
	}
	data := n * float64(l.bytes+len("key:000000000000"))
	sst, mem := tables.stop()
	f.add("written_ratio", float64(l.server.writtenBytes()-written)/data, "x the data")
	f.add("written_log_ratio", float64(now-logged)/data, "x the data")
	f.add("written_tables_ratio", float64(sst)/data, "x the data")
	f.add("written_memtable_log_ratio", float64(mem)/data, "x the data")
	return f.save()
}

// addRates tells how steady it was.
func (f *figures) addRates(rates []int64) {
	if len(rates) < 3 {
		return
	}
	sorted := slices.Sorted(slices.Values(rates))
	f.add("second_median_per_s", float64(median(rates)), "1/s")
	f.add("second_min_per_s", float64(sorted[0]), "1/s")
	slow := 0
	for _, r := range rates {
		if r*10 < median(rates)*3 {
			slow++
		}
	}
	f.add("seconds_below_30_percent", float64(slow), "s")
	minute := rates[max(0, len(rates)-60):]
	sum := int64(0)
	for _, r := range minute {
		sum += r
	}
	f.add("last_minute_per_s", float64(sum)/float64(len(minute)), "1/s")
}

// everySecond returns the commands of each second, and the highest RssAnon.
func (l *loading) everySecond(finished chan bool) (rates []int64, peakKB int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before := l.done.Load()
	for second := 1; ; second++ {
		select {
		case <-finished:
			return rates, max(peakKB, rssAnonKB(l.server.pid))
		case <-tick.C:
		}
		now, rss := l.done.Load(), rssAnonKB(l.server.pid)
		rates, peakKB = append(rates, now-before), max(peakKB, rss)
		if !l.quiet {
			fmt.Printf("%4d s  %8d /s  RssAnon %d MiB\n", second, now-before, rss>>10)
		}
		before = now
	}
}

// connection is one connection's part.
func (l *loading) connection(ctx context.Context) error {
	c, err := dial(l.server.addr)
	if err != nil {
		return err
	}
	defer c.close()
	set, key, value := []byte("SET"), []byte(nil), make([]byte, l.bytes)
	for ctx.Err() == nil {
		first := l.next.Add(uint64(l.depth)) - uint64(l.depth)
		if l.last > 0 && !time.Now().Before(l.end) || l.last == 0 && first >= l.keys {
			return nil
		}
		for i := range uint64(l.depth) {
			n := first + i
			if l.last > 0 && l.keys > 0 {
				n = rand.Uint64N(l.keys)
			} else if l.last == 0 && n >= l.keys {
				break
			}
			key = fmt.Appendf(key[:0], "key:%012d", n)
			fill(value, n)
			c.add(set, key, value)
		}
		sent := c.sent
		if err := c.run(); err != nil {
			return err
		}
		l.progress(sent)
	}
	return ctx.Err()
}

// fill makes a value of which half can be compressed away.
func fill(value []byte, n uint64) {
	for i := range value {
		value[i] = 'x'
		if i%2 == 0 {
			n = n*6364136223846793005 + 1442695040888963407
			value[i] = 'a' + byte(n>>59)%26
		}
	}
}

// progress notes that replies have come.
func (l *loading) progress(n int) {
	l.done.Add(int64(n))
	now := time.Now().UnixMilli()
	l.mu.Lock()
	l.longest.Store(max(l.longest.Load(), now-l.lastMs))
	l.lastMs = now
	l.mu.Unlock()
}

// readCold GETs keys that are hardly ever in memory. What the operating system has of the tables in its page cache stays there.
func (l *loading) readCold(ctx context.Context, last time.Duration) error {
	if err := l.server.do("DEBUG", "SETT", "DROP-CACHE"); err != nil {
		return err
	}
	f := figures{name: l.name + "_cold", fsync: l.fsync}
	for _, pipe := range []int{1, 16} {
		b := benchmark{args: []string{"-t", "get", "-r", strconv.FormatUint(l.keys, 10)}, pipe: pipe, conns: l.conns}
		n, err := b.calibrate(ctx, l.server, last.Seconds())
		if err != nil {
			return err
		}
		r, err := b.run(ctx, l.server, n)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("P%d_", pipe)
		f.add(name+"per_s", r.rate, "1/s")
		f.add(name+"cpu_us", r.cpuUs, "us")
		f.add(name+"p99_ms", r.percentile(99), "ms")
		f.add(name+"rss_anon_mib", float64(r.rssAnonKB)/1024, "MiB")
	}
	return f.save()
}

// restart ends the server and measures how long the next one takes to its first reply.
func (l *loading) restart(s *server, again func() (*server, error)) (*server, error) {
	start := time.Now()
	if err := s.stop(syscall.SIGTERM); err != nil {
		return s, err
	}
	stopped := time.Now()
	size, err := exec.Command("du", "-sm", s.dir).Output()
	if err != nil {
		return s, err
	}
	mib, _, _ := strings.Cut(string(size), "\t")
	begun := time.Now()
	next, err := again()
	if err != nil {
		return s, err
	}
	f := figures{name: l.name + "_restart", fsync: l.fsync}
	f.add("stop_s", stopped.Sub(start).Seconds(), "s")
	f.add("start_s", time.Since(begun).Seconds(), "s")
	n, _ := strconv.ParseFloat(mib, 64)
	f.add("data_mib", n, "MiB")
	return next, f.save()
}

// tableWatch adds up the files that Badger writes, by looking at its directory often enough to meet each.
type tableWatch struct {
	dir  string
	size map[string]int64 // the largest size that was seen of each
	end  chan struct{}
	done sync.WaitGroup
}

func watchTables(dir string) *tableWatch {
	w := &tableWatch{dir: dir, size: make(map[string]int64), end: make(chan struct{})}
	w.done.Go(func() {
		for {
			w.look()
			select {
			case <-w.end:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return w
}

func (w *tableWatch) look() {
	for _, kind := range []string{"*.sst", "*.mem"} {
		names, _ := filepath.Glob(filepath.Join(w.dir, "badger-*", kind))
		for _, name := range names {
			var st syscall.Stat_t
			if syscall.Stat(name, &st) == nil {
				w.size[name] = max(w.size[name], st.Blocks*512)
			}
		}
	}
}

// stop returns the bytes of all tables and memtable logs.
func (w *tableWatch) stop() (tables, memtables int64) {
	close(w.end)
	w.done.Wait()
	w.look()
	for name, size := range w.size {
		if strings.HasSuffix(name, ".sst") {
			tables += size
		} else {
			memtables += size
		}
	}
	return tables, memtables
}
