package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// profiled is what the compiler is to know the server's ways through: point reads and writes, small collections, long ones.
var profiled = []string{
	"-P 16 -r 1000000 -t set",
	"-P 16 -r 1000000 -t get",
	"-P 16 -r 1000000 -t incr",
	"-P 1 -r 1000000 -t mset",
	"-P 1 -r 1000000 -t set",
	"-P 1 -r 1000000 -t get",
	"-P 16 -r 1000000 HSET hash:__rand_int__ field value",
	"-P 16 -r 1000000 -t hset",
	"-P 16 -r 1000000 -t sadd",
	"-P 16 -t lpush",
	"-P 16 -t rpop",
	"-P 16 -r 1000000 ZADD zset __rand_int__ member:__rand_int__",
}

// profile records what a sett spends its time on under each of them, as one profile for go build -pgo.
func profile(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("profile", flag.ExitOnError)
	seconds := fs.Int("seconds", 6, "how long each is looked at; at most 25")
	out := fs.String("o", "bench/sett.pgo", "the profile")
	sett := fs.String("sett", "./sett", "the server's binary")
	port := fs.Int("port", 16379, "port of the server that is started; the next one is that of its profiles")
	fs.Parse(args)

	dir, err := os.MkdirTemp("", "sett-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	web := fmt.Sprintf("127.0.0.1:%d", *port+1)
	s, err := startSett(ctx, "sett", *sett, filepath.Join(dir, "sett"), *port, "metrics_listen="+web)
	if err != nil {
		return err
	}
	defer s.stop(os.Kill)
	var files []string
	for i, work := range profiled {
		file := filepath.Join(dir, strconv.Itoa(i))
		load := exec.CommandContext(ctx, "redis-benchmark", append([]string{"-p", strconv.Itoa(*port), "-c", "50", "-n", "1000000000"}, strings.Fields(work)...)...)
		if err := load.Start(); err != nil {
			return err
		}
		err := fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", web, *seconds), file)
		load.Process.Kill()
		load.Wait()
		if err != nil {
			return fmt.Errorf("%s: %w", work, err)
		}
		files = append(files, file)
	}
	merged, err := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-proto", "-output", *out}, files...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w\n%s", err, merged)
	}
	return nil
}

// fetch stores what an address answers in a file.
func fetch(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", reply.Status, body)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, body, 0o644)
}
