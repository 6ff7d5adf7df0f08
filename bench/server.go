package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a process that is measured. Those that bench has started end with it, however it ends.
type server struct {
	name string
	addr string
	dir  string
	pid  int

	process *os.Process // nil: it was running before
	ended   chan struct{}
	err     error // how it ended; valid once ended is closed
}

// running is a server that somebody else has started.
func running(addr string) (*server, error) {
	fields, err := info(addr, "everything")
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(fields["process_id"])
	return &server{name: addr, addr: addr, dir: fields["dir"], pid: pid}, err
}

// startSett starts a sett in a directory; sets are settings as --set takes them.
func startSett(ctx context.Context, name, binary, dir string, port int, sets ...string) (*server, error) {
	return start(ctx, name, dir, port, binary, settArgs(dir, port, sets)...)
}

func settArgs(dir string, port int, sets []string) []string {
	args := []string{"--set", fmt.Sprintf("port=%d", port), "--set", "dir=" + dir, "--set", "metrics_listen=", "--set", "enable_debug_command=local"}
	for _, s := range sets {
		args = append(args, "--set", s)
	}
	return args
}

// startRedis starts a Redis with the append-only file. It never rewrites that by itself: its child would take one of the machine's cores.
func startRedis(ctx context.Context, name, dir string, port int, fsync string) (*server, error) {
	return start(ctx, name, dir, port, "redis-server", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0")
}

func start(ctx context.Context, name, dir string, port int, binary string, args ...string) (*server, error) {
	s, err := launch(ctx, name, dir, port, binary, args...)
	if err == nil {
		err = s.await(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// await waits until a server serves; one that does not is ended.
func (s *server) await(ctx context.Context) error {
	err := s.untilReady(ctx)
	if err == nil {
		return nil
	}
	said, _ := os.ReadFile(s.dir + ".out")
	s.stop(os.Kill)
	return fmt.Errorf("%s does not start: %w\n%s", s.name, err, said)
}

// launch starts a process and does not wait until it serves.
func launch(ctx context.Context, name, dir string, port int, binary string, args ...string) (*server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(dir + ".out")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // main keeps the thread that this is tied to
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{
		name: name, addr: fmt.Sprintf("127.0.0.1:%d", port), dir: dir, pid: cmd.Process.Pid,
		process: cmd.Process, ended: make(chan struct{}),
	}
	go func() { s.err = cmd.Wait(); close(s.ended) }()
	return s, nil
}

// untilReady waits for the first reply that is no -LOADING.
func (s *server) untilReady(ctx context.Context) error {
	for {
		err := s.do("EXISTS", "key:000000000000")
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return errors.Join(err, s.err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop ends the process and waits for its end.
func (s *server) stop(signal os.Signal) error {
	if s.process == nil {
		return nil
	}
	s.process.Signal(signal)
	<-s.ended
	return s.err
}

func (s *server) do(words ...string) error {
	c, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer c.close()
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	c.add(args...)
	return c.run()
}

// drain waits until all that was written lies where it stays. Only sett writes behind its replies.
func (s *server) drain() error {
	for {
		fields, err := info(s.addr, "sett")
		if err != nil {
			return err
		}
		// An empty generation takes a little, too.
		if dirty, err := strconv.Atoi(fields["dirty_bytes"]); err != nil || dirty < 1<<20 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// counter is a number of INFO, 0 for servers that do not have it.
func (s *server) counter(section, name string) (int64, error) {
	fields, err := info(s.addr, section)
	if err != nil {
		return 0, err
	}
	n, _ := strconv.ParseInt(fields[name], 10, 64)
	return n, nil
}

// cpuSeconds is the processor time that the process has used.
func (s *server) cpuSeconds() float64 { return cpuSeconds(s.pid) }

func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// writtenBytes is what the process has given the disk to write, without what was deleted before it got there.
func (s *server) writtenBytes() int64 {
	return procNumber(s.pid, "io", "write_bytes:") - procNumber(s.pid, "io", "cancelled_write_bytes:")
}

// rssAnonKB is the memory of a process that is no page of a file.
func rssAnonKB(pid int) int {
	return int(procNumber(pid, "status", "RssAnon:") + procNumber(pid, "status", "RssShmem:"))
}

func procNumber(pid int, file, name string) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}

// processID asks a server for its process.
func processID(addr string) (int, error) {
	s, err := running(addr)
	if err != nil {
		return 0, err
	}
	return s.pid, nil
}
