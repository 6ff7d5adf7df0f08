package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// steady loads a server with unique keys and watches whether it ever falters.
func steady(args []string) error {
	fs := flag.NewFlagSet("steady", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:6379", "the server")
	last := fs.Duration("t", time.Minute, "how long")
	conns := fs.Int("c", 50, "connections")
	depth := fs.Int("P", 16, "pipeline")
	size := fs.Int("d", 100, "bytes of a value")
	keys := fs.Uint64("r", 0, "keys drawn from as many (0: all unique)")
	quiet := fs.Bool("q", false, "do not print every second")
	fs.Parse(args)

	pid, err := processID(*addr)
	if err != nil {
		return err
	}
	w := &watch{lastMs: time.Now().UnixMilli()}
	end := time.Now().Add(*last)
	var wg sync.WaitGroup
	failed := make(chan error, *conns)
	for n := range *conns {
		wg.Go(func() {
			if err := load(*addr, end, uint64(n), *depth, *size, *keys, w); err != nil {
				failed <- err
			}
		})
	}
	done := make(chan bool)
	go func() { wg.Wait(); close(done) }()
	rates, peak := w.everySecond(done, pid, *quiet)
	select {
	case err := <-failed:
		return err
	default:
	}
	fsync, err := fsyncLatency(".")
	if err != nil {
		return err
	}
	return report(rates, w.longest.Load(), peak, fsync)
}

func report(rates []int64, longestMs int64, peakKB int, fsync time.Duration) error {
	if len(rates) < 2 {
		return fmt.Errorf("too short a run")
	}
	sorted := slices.Sorted(slices.Values(rates))
	mid := sorted[len(sorted)/2]
	slow := 0
	for _, r := range rates {
		if r*10 < mid*3 {
			slow++
		}
	}
	fmt.Printf("seconds=%d median=%d/s min=%d/s max=%d/s below_30%%_of_median=%d longest_stop_ms=%d rss_anon_peak_mib=%d fsync=%v\n",
		len(rates), mid, sorted[0], sorted[len(sorted)-1], slow, longestMs, peakKB>>10, fsync)
	if err := save("steady_set_per_s", float64(mid), "1/s", fsync); err != nil {
		return err
	}
	return save("steady_longest_stop_ms", float64(longestMs), "ms", fsync)
}

// watch is what all connections have done.
type watch struct {
	done    atomic.Int64
	lastMs  int64 // of the last progress; guarded by mu
	mu      sync.Mutex
	longest atomic.Int64 // time in which nobody got a reply, ms
}

// progress notes that replies have come.
func (w *watch) progress(n int) {
	w.done.Add(int64(n))
	now := time.Now().UnixMilli()
	w.mu.Lock()
	w.longest.Store(max(w.longest.Load(), now-w.lastMs))
	w.lastMs = now
	w.mu.Unlock()
}

func (w *watch) everySecond(done chan bool, pid int, quiet bool) (rates []int64, peakKB int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before := int64(0)
	for second := 1; ; second++ {
		select {
		case <-done:
			return rates, peakKB
		case <-tick.C:
		}
		now := w.done.Load()
		rss := rssAnonKB(pid)
		rates, peakKB = append(rates, now-before), max(peakKB, rss)
		if !quiet {
			fmt.Printf("%4d s  %8d /s  RssAnon %d MiB\n", second, now-before, rss>>10)
		}
		before = now
	}
}

// load is one connection's work.
func load(addr string, end time.Time, id uint64, depth, size int, keys uint64, w *watch) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), id))
	value := strings.Repeat("x", size)
	r := bufio.NewReaderSize(c, 64<<10)
	var out []byte
	for time.Now().Before(end) {
		out = out[:0]
		for range depth {
			n := rng.Uint64()
			if keys > 0 {
				n %= keys
			}
			key := fmt.Sprintf("key:%016x", n)
			out = fmt.Appendf(out, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		for range depth {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if line[0] != '+' {
				return fmt.Errorf("the server answered %q", line)
			}
		}
		w.progress(depth)
	}
	return nil
}

// processID asks a server for its process.
func processID(addr string) (int, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	fmt.Fprint(c, "INFO server\r\n")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if v, ok := strings.CutPrefix(line, "process_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
}

// rssAnonKB is the memory of a process that is not mapped files.
func rssAnonKB(pid int) (kb int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		for _, name := range []string{"RssAnon:", "RssShmem:"} {
			if v, ok := strings.CutPrefix(line, name); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")))
				kb += n
			}
		}
	}
	return kb
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
