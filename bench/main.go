// bench measures: go run ./bench COMMAND [flags]
//
//	compare  starts sett and Redis side by side: rates and their ratios, latencies, the server's CPU time for each command
//	load     fills a server with many keys: whether it falters, memory, bytes written; then cold reads and a restart, if asked for
//	collections  long collections under a small memory_budget: what commands in their middle take; queues and trimmed sorted sets: whether
//	             they stay as fast as they were
//	space    data that die in many ways: whether their space comes back, and what clients notice meanwhile
//	cache    sett and Redis as caches with the same room: how often a key is there, if keys are asked for by Zipf's law
//	large    one string of 512 MiB: time, memory and log bytes of each command, and what other clients notice of slow ones
//	bits     SETBITs at random places of one long string, against several running servers in turn
//	conns    thousands of connections to running servers: memory of an idle one, throughput of the active ones, what others notice
//	cluster  three setts that form a cluster beside one Redis: rates and their ratios, processor time of the leader and of a follower
//	failover kills the leader of a cluster again and again: how long until another node takes a write
//	catchup  has one of three nodes come back after many writes: how long it takes, what clients and memory notice
//	profile  what the server spends its time on, for the compiler
//
// Figures go to bench/out/<name>.json, too.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	runtime.LockOSThread() // the processes that are started end with the thread that started them
	tidying := map[string]func(context.Context, []string) error{
		"compare": compare, "load": load, "collections": collections, "space": space, "cache": cache, "profile": profile,
		"cluster": clusterCommand, "failover": failover, "catchup": catchup,
	}
	plain := map[string]func([]string) error{"large": large, "bits": bits, "conns": conns}
	name, args := "", []string(nil)
	if len(os.Args) > 1 {
		name, args = os.Args[1], os.Args[2:]
	}
	var err error
	switch {
	case tidying[name] != nil:
		ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer end()
		err = tidying[name](ctx, args)
	case plain[name] != nil:
		err = plain[name](args)
	default:
		fmt.Fprintln(os.Stderr, "usage: go run ./bench compare|load|collections|space|cache|large|bits|conns|cluster|failover|catchup|profile [flags]")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figure is one measured number.
type figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	FsyncUs float64 `json:"fsync_us"`
	Commit  string  `json:"commit"`
}

// figures are those of one measurement.
type figures struct {
	name  string
	fsync time.Duration
	all   []figure
}

func (f *figures) add(name string, value float64, unit string) {
	f.all = append(f.all, figure{Name: f.name + "_" + name, Value: value, Unit: unit})
}

// save prints all figures in a line and writes each to bench/out.
func (f *figures) save() error {
	fmt.Printf("%s: fsync=%v", f.name, f.fsync)
	for _, one := range f.all {
		fmt.Printf(" %s=%.4g", strings.TrimPrefix(one.Name, f.name+"_"), one.Value)
	}
	fmt.Println()
	for _, one := range f.all {
		if err := save(one.Name, one.Value, one.Unit, f.fsync); err != nil {
			return err
		}
	}
	return nil
}

// save writes a figure to bench/out.
func save(name string, value float64, unit string, fsync time.Duration) error {
	b, err := json.MarshalIndent(figure{name, value, unit, float64(fsync.Microseconds()), commit()}, "", "  ")
	if err != nil {
		return err
	}
	out := filepath.Join("bench", "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, name+".json"), append(b, '\n'), 0o644)
}

func commit() string {
	out, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
	return strings.TrimSpace(string(out))
}

// fsyncLatency is the median of 100 fdatasyncs after small writes into a file that has its blocks: what the disk does in this minute.
func fsyncLatency(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	for range 100 {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	var took []time.Duration
	for i := range 100 {
		if _, err := f.WriteAt(block, int64(i)*4096); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	return median(took), nil
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
