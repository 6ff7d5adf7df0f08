// bench measures a running server: go run ./bench COMMAND [flags]
//
//	steady   SETs of unique random keys from many connections, the rate of every second, stops, and the server's RssAnon
//	large    one string of 512 MiB: time, memory and log bytes of each command, and what other clients notice of slow ones
//	bits     SETBITs at random places of one long string, against several servers in turn
//	conns    thousands of connections: memory of an idle one, throughput of the active ones, what others notice while they come
//	pair     redis-benchmark against several servers in turn: medians, ratios to the first, and the fsync latency of that minute
//
// Figures go to bench/out/<name>.json, too.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	commands := map[string]func([]string) error{"steady": steady, "large": large, "pair": pair, "bits": bits, "conns": conns}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench steady|large|conns|pair|bits [flags]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
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

// save writes a figure to bench/out.
func save(name string, value float64, unit string, fsync time.Duration) error {
	commit, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
	b, err := json.MarshalIndent(figure{name, value, unit, float64(fsync.Microseconds()), strings.TrimSpace(string(commit))}, "", "  ")
	if err != nil {
		return err
	}
	out := filepath.Join("bench", "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, name+".json"), append(b, '\n'), 0o644)
}

// fsyncLatency is the median of some fdatasyncs after small writes into a preallocated file: what the disk does in this minute.
func fsyncLatency(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	for range 256 {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	var took []time.Duration
	for i := range 50 {
		if _, err := f.WriteAt(block, int64(i)*4096); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	return median(took), nil
}
