// Package process has what the end-to-end tests share: sett, built once, as processes on data directories that outlive them, and clients.
package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sett/internal/testport"
)

// Binary is the sett under test: Main builds it.
var Binary string

// Full says that tests run at full size.
var Full = os.Getenv("SETT_FULL") != ""

// Size chooses between the size for every day and that for the record.
func Size(small, large int) int {
	if Full {
		return large
	}
	return small
}

// Main builds sett, with some build tags, and runs a package's tests; call it from TestMain.
func Main(m *testing.M, tags ...string) (exitCode int) {
	dir, err := os.MkdirTemp("", "sett-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Binary = filepath.Join(dir, "sett")
	if os.Getenv("SETT_PLANTED") != "" {
		tags = append(tags, "planted")
	}
	build := exec.Command("go", "build", "-o", Binary, "-tags", strings.Join(tags, ","), "sett")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building sett: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Node is a server that is started, killed and started again on one data directory.
type Node struct {
	Dir     string
	Host    string // where it is reached; 127.0.0.1 unless it lives in a network of its own
	Port    string
	Through []string      // a command that runs the server, such as ip netns exec; nil: none
	Env     []string      // NAME=value, beside the test's own
	Started time.Duration // how long the last start took
	Exited  chan struct{} // closed when the process has ended; Code is set
	Code    int

	t    testing.TB
	sets []string
	cmd  *exec.Cmd
	pid  atomic.Int64 // of cmd; WatchMemory reads it while the server is started again
	said *transcript
}

// transcript is what a process has written so far.
type transcript struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan struct{} // closed at the line that says so
}

func (s *transcript) read(r io.Reader) {
	seen := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		s.mu.Lock()
		fmt.Fprintln(&s.text, lines.Text())
		s.mu.Unlock()
		if !seen && strings.HasPrefix(lines.Text(), "sett ready ") {
			seen = true
			close(s.ready)
		}
	}
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// tail returns the last lines.
func (s *transcript) tail() string {
	lines := strings.SplitAfter(s.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "")
}

// New describes a server with a small memory and frequent flushes; later sets win.
func New(t testing.TB, dir string, sets ...string) *Node {
	n := &Node{t: t, Dir: dir, Host: "127.0.0.1", Port: testport.Take(t)}
	n.sets = append([]string{"dir=" + dir, "port=" + n.Port, "memory_budget=128MiB", "disk_reserve=1MiB", "enable_debug_command=local"}, sets...)
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() && n.said != nil {
			t.Logf("the server's last words:\n%s", n.said.tail())
		}
	})
	return n
}

// Start runs the server and returns when it serves.
func (n *Node) Start() {
	n.t.Helper()
	if err := n.TryStart(); err != nil {
		n.t.Fatal(err)
	}
}

// TryStart is Start for servers that may refuse.
func (n *Node) TryStart() error {
	begin := time.Now()
	if err := n.Launch(); err != nil {
		return err
	}
	select {
	case <-n.said.ready:
		n.Started = time.Since(begin)
		return nil
	case <-n.Exited:
		return fmt.Errorf("the server ended with code %d instead of serving:\n%s", n.Code, n.said.tail())
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("the server is not ready after 2 minutes:\n%s", n.said.tail())
	}
}

// Launch runs the server and does not wait until it serves.
func (n *Node) Launch() error {
	args := append(slices.Clone(n.Through), Binary, "server")
	for _, set := range n.sets {
		args = append(args, "--set", set)
	}
	n.cmd = exec.Command(args[0], args[1:]...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.cmd.Env = append(os.Environ(), n.Env...)
	out, err := n.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.pid.Store(int64(n.cmd.Process.Pid))
	said, exited, cmd := &transcript{ready: make(chan struct{})}, make(chan struct{}), n.cmd
	n.said, n.Exited = said, exited
	go func() {
		said.read(out)
		code := ExitCode(cmd.Wait())
		n.pid.Store(0)
		n.Code = code
		close(exited)
	}()
	return nil
}

// ExitCode is what Wait of a process says; -1: a signal.
func ExitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode() // -1: a signal
	}
	return -2
}

// Kill ends the server with SIGKILL.
func (n *Node) Kill() {
	if n.cmd != nil && n.cmd.Process != nil {
		n.cmd.Process.Kill()
		<-n.Exited
	}
}

// Restart kills the server and starts it again.
func (n *Node) Restart() {
	n.t.Helper()
	n.Kill()
	n.Start()
}

// Stop ends the server in an orderly way.
func (n *Node) Stop() {
	n.t.Helper()
	n.cmd.Process.Signal(syscall.SIGTERM)
	<-n.Exited
	if n.Code != 0 {
		n.t.Fatalf("exit code %d after SIGTERM:\n%s", n.Code, n.said.tail())
	}
}

// Signal sends a signal to the process: SIGSTOP and SIGCONT, for instance.
func (n *Node) Signal(signal syscall.Signal) { n.cmd.Process.Signal(signal) }

// Runs tells whether the process has been started and has not ended.
func (n *Node) Runs() bool { return n.Pid() != 0 }

// Alive fails the test if the server has ended by itself.
func (n *Node) Alive() {
	n.t.Helper()
	select {
	case <-n.Exited:
		n.t.Fatalf("the server has ended by itself with code %d", n.Code)
	default:
	}
}

// Check runs sett check on the data of a stopped server.
func (n *Node) Check() {
	n.t.Helper()
	out, err := exec.Command(Binary, "check", n.Dir).CombinedOutput()
	if err != nil {
		n.t.Fatalf("sett check: %v\n%s", err, out)
	}
}

// Status returns a line of /proc/PID/status in MiB.
func (n *Node) Status(name string) (mib int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Pid()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), name+":")
	kib, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return kib >> 10
}

// WatchMemory notes the highest RssAnon until the returned function is called, which returns it in MiB.
func (n *Node) WatchMemory() (highest func() int) {
	stop, done, top := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(done)
		for {
			top = max(top, n.Status("RssAnon"))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int {
		close(stop)
		<-done
		return top
	}
}

// Pid is the number of the process; 0: it has ended, or was never started.
func (n *Node) Pid() int { return int(n.pid.Load()) }

// Said are the last lines that the process has written.
func (n *Node) Said() string { return n.said.tail() }
