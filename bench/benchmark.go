package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// benchmark is a task for redis-benchmark: what it costs of the machine is known, and the same for every server.
type benchmark struct {
	args  []string // what it does
	pipe  int
	conns int
}

// result is what one run measured.
type result struct {
	rate      float64   // commands per second
	latencies []reached // ascending
	series    []float64 // commands per second, each quarter of a second
	cpuUs     float64   // of the server for each command, until it is drained
	rssAnonKB int
	flushes   int64 // generations that went to Badger
}

// reached is a point of the distribution: so many percent of all commands took no longer.
type reached struct{ percent, ms float64 }

func (r result) percentile(percent float64) float64 {
	for _, l := range r.latencies {
		if l.percent >= percent {
			return l.ms
		}
	}
	return math.NaN()
}

// calibrate returns how many commands take so long.
func (b benchmark) calibrate(ctx context.Context, s *server, seconds float64) (int, error) {
	n := 10_000
	for {
		r, err := b.run(ctx, s, n)
		if err != nil {
			return 0, err
		}
		if float64(n)/r.rate > min(0.5, seconds) {
			return max(1, int(r.rate*seconds)), nil
		}
		n *= 4
	}
}

// run runs n commands, and has the clock of the processor's time run until the server is drained.
func (b benchmark) run(ctx context.Context, s *server, n int) (r result, err error) {
	cpu := s.cpuSeconds()
	flushes, err := s.counter("sett", "flushes")
	if err != nil {
		return r, err
	}
	_, port, _ := strings.Cut(s.addr, ":")
	args := []string{"-p", port, "-n", strconv.Itoa(n), "-P", strconv.Itoa(b.pipe), "-c", strconv.Itoa(b.conns)}
	out, err := exec.CommandContext(ctx, "redis-benchmark", append(args, b.args...)...).Output()
	if err != nil {
		return r, fmt.Errorf("redis-benchmark: %w", err)
	}
	if err := r.parse(out); err != nil {
		return r, err
	}
	r.rssAnonKB = rssAnonKB(s.pid)
	if err := s.drain(); err != nil {
		return r, err
	}
	r.cpuUs = (s.cpuSeconds() - cpu) / float64(n) * 1e6
	now, err := s.counter("sett", "flushes")
	r.flushes = now - flushes
	return r, err
}

// parse reads what redis-benchmark prints: a line each quarter of a second, the distribution of latencies, and a summary.
func (r *result) parse(out []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(bytes.ReplaceAll(out, []byte("\r"), []byte("\n"))))
	distribution := false
	for lines.Scan() {
		line := lines.Text()
		if _, rest, ok := strings.Cut(line, ": rps="); ok {
			word, _, _ := strings.Cut(rest, " ")
			if v, err := strconv.ParseFloat(word, 64); err == nil && v > 0 {
				r.series = append(r.series, v)
			}
		}
		if _, rest, ok := strings.Cut(line, "throughput summary: "); ok {
			fmt.Sscan(rest, &r.rate)
		}
		var avg, least, p50, p95, p99, longest float64
		if n, _ := fmt.Sscan(line, &avg, &least, &p50, &p95, &p99, &longest); n == 6 { // the summary's last line
			r.latencies = append(r.latencies, reached{50, p50}, reached{95, p95}, reached{99, p99})
		}
		var l reached
		switch n, _ := fmt.Sscanf(line, "%f%% <= %f milliseconds", &l.percent, &l.ms); {
		case strings.HasPrefix(line, "Latency by percentile"):
			distribution = true
		case strings.HasPrefix(line, "Cumulative distribution"):
			distribution = false // the same again, by milliseconds
		case distribution && n == 2:
			r.latencies = append(r.latencies, l)
		}
	}
	slices.SortFunc(r.latencies, func(a, b reached) int { return cmp.Compare(a.percent, b.percent) })
	if r.rate == 0 || len(r.latencies) == 0 {
		return fmt.Errorf("redis-benchmark printed %.500q", out)
	}
	return nil
}

// preload writes all keys that redis-benchmark draws from.
func preload(ctx context.Context, s *server, keys uint64, bytes int) error {
	l := &loading{keys: keys, bytes: bytes, conns: 10, depth: 64, quiet: true, server: s, lastMs: time.Now().UnixMilli()}
	failed := make(chan error, l.conns)
	for range l.conns {
		go func() { failed <- l.connection(ctx) }()
	}
	var err error
	for range l.conns {
		if e := <-failed; e != nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	return s.drain()
}
