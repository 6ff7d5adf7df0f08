package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pair runs redis-benchmark against servers in turn, round after round, so that a noisy minute meets all of them.
func pair(args []string) error {
	fs := flag.NewFlagSet("pair", flag.ExitOnError)
	ports := fs.String("ports", "6379,6380", "servers on this machine; the first is what the others are compared with")
	tests := fs.String("tests", "set,get", "tests of redis-benchmark")
	pipes := fs.String("P", "1,16", "pipelines")
	rounds := fs.Int("rounds", 3, "rounds")
	seconds := fs.Float64("s", 20, "about how long a run takes, s")
	keys := fs.Int("r", 1_000_000, "random keys")
	size := fs.Int("d", 3, "bytes of a value")
	name := fs.String("name", "pair", "name of the figures")
	fs.Parse(args)

	servers := strings.Split(*ports, ",")
	fsync, err := fsyncLatency(".")
	if err != nil {
		return err
	}
	fmt.Printf("fsync %v\n%-28s %s\n", fsync, "test", strings.Join(servers, "  "))
	for _, pipe := range strings.Split(*pipes, ",") {
		for _, test := range strings.Split(*tests, ",") {
			t := task{test: test, pipe: pipe, keys: *keys, bytes: *size}
			if err := t.compare(servers, *rounds, *seconds, *name, fsync); err != nil {
				return err
			}
		}
	}
	return nil
}

// task is what redis-benchmark does.
type task struct {
	test, pipe  string
	keys, bytes int
}

// run is one run of it. The CPU time is that of the server until it is drained: until all that was written lies where it stays.
type run struct{ rate, p50, p99, cpuUs float64 }

func (t task) compare(servers []string, rounds int, seconds float64, name string, fsync time.Duration) error {
	runs := make([][]run, len(servers))
	requests := make([]int, len(servers))
	for round := range rounds + 1 {
		for i, port := range servers {
			n := requests[i]
			if round == 0 {
				n = max(2_000, 200_000/(1+t.bytes/256)) // to find out how many make a run of the wanted length
			}
			r, err := t.run(port, n)
			if err != nil {
				return err
			}
			if round == 0 {
				requests[i] = int(r.rate * seconds)
				continue
			}
			runs[i] = append(runs[i], r)
		}
	}
	fmt.Printf("%-28s", fmt.Sprintf("%s %d B P=%s", t.test, t.bytes, t.pipe))
	base := 0.0
	for i := range servers {
		m := middle(runs[i])
		if i == 0 {
			base = m.rate
		}
		fmt.Printf("  %9.0f/s %5.2f (p50 %.2f p99 %.2f ms, %.2f us CPU)", m.rate, m.rate/base, m.p50, m.p99, m.cpuUs)
		figure := fmt.Sprintf("%s_%s_%dB_P%s_%s", name, t.test, t.bytes, t.pipe, servers[i])
		if err := save(figure, m.rate/base, "ratio", fsync); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

func middle(runs []run) (m run) {
	of := func(f func(run) float64) float64 {
		var v []float64
		for _, r := range runs {
			v = append(v, f(r))
		}
		return median(v)
	}
	return run{
		of(func(r run) float64 { return r.rate }), of(func(r run) float64 { return r.p50 }),
		of(func(r run) float64 { return r.p99 }), of(func(r run) float64 { return r.cpuUs }),
	}
}

func (t task) run(port string, n int) (r run, err error) {
	pid, err := processID("127.0.0.1:" + port)
	if err != nil {
		return r, err
	}
	before := cpuSeconds(pid)
	out, err := exec.Command("redis-benchmark", "-p", port, "-t", t.test, "-P", t.pipe, "-n", strconv.Itoa(n), "-r", strconv.Itoa(t.keys),
		"-d", strconv.Itoa(t.bytes), "-c", "50", "--csv").Output()
	if err != nil {
		return r, fmt.Errorf("redis-benchmark: %w", err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) < 2 || len(rows[1]) < 8 {
		return r, fmt.Errorf("redis-benchmark printed %q", out)
	}
	if err := drain(port); err != nil {
		return r, err
	}
	number := func(i int) float64 { v, _ := strconv.ParseFloat(rows[1][i], 64); return v }
	return run{number(1), number(4), number(6), (cpuSeconds(pid) - before) / float64(n) * 1e6}, nil
}

// drain waits until a sett has flushed its recent writes; other servers do not know what is meant.
func drain(port string) error {
	for {
		out, err := exec.Command("redis-cli", "-p", port, "INFO", "sett").Output()
		if err != nil {
			return fmt.Errorf("redis-cli: %w", err)
		}
		_, rest, known := strings.Cut(string(out), "dirty_bytes:")
		digits, _, _ := strings.Cut(rest, "\r")
		if dirty, err := strconv.Atoi(digits); !known || err != nil || dirty < 1<<20 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// cpuSeconds is the processor time a process has used.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
