package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the sett under test.
var binary string

// full says that tests run at full size.
var full = os.Getenv("SETT_FULL") != ""

// size chooses between the size for every day and that for the record.
func size(small, large int) int {
	if full {
		return large
	}
	return small
}

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sett-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sett")
	args := []string{"build", "-o", binary}
	if os.Getenv("SETT_PLANTED") != "" {
		args = append(args, "-tags", "planted")
	}
	build := exec.Command("go", append(args, "sett")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building sett: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// node is a server that is started, killed and started again on one data directory.
type node struct {
	t    *testing.T
	dir  string
	port string
	sets []string

	cmd     *exec.Cmd
	said    *transcript
	exited  chan struct{} // the process has ended; code is set
	code    int
	started time.Duration // how long the last start took
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

// newNode describes a server with a small memory and frequent flushes; later sets win.
func newNode(t *testing.T, dir string, sets ...string) *node {
	n := &node{t: t, dir: dir, port: freePort(t)}
	n.sets = append([]string{"dir=" + dir, "port=" + n.port, "memory_budget=128MiB", "disk_reserve=1MiB", "enable_debug_command=local"}, sets...)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() && n.said != nil {
			t.Logf("the server's last words:\n%s", n.said.tail())
		}
	})
	return n
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// start runs the server and returns when it serves.
func (n *node) start() {
	n.t.Helper()
	if err := n.tryStart(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) tryStart() error {
	args := []string{"server"}
	for _, set := range n.sets {
		args = append(args, "--set", set)
	}
	n.cmd = exec.Command(binary, args...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := n.cmd.StderrPipe()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := n.cmd.Start(); err != nil {
		return err
	}
	said, exited, cmd := &transcript{ready: make(chan struct{})}, make(chan struct{}), n.cmd
	n.said, n.exited = said, exited
	go func() {
		said.read(out)
		n.code = exitCode(cmd.Wait())
		close(exited)
	}()
	select {
	case <-said.ready:
		n.started = time.Since(begin)
		return nil
	case <-exited:
		return fmt.Errorf("the server ended with code %d instead of serving:\n%s", n.code, said.tail())
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("the server is not ready after 2 minutes:\n%s", said.tail())
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode() // -1: a signal
	}
	return -2
}

// kill ends the server with SIGKILL.
func (n *node) kill() {
	if n.cmd != nil && n.cmd.Process != nil {
		n.cmd.Process.Kill()
		<-n.exited
	}
}

// restart kills the server and starts it again.
func (n *node) restart() {
	n.t.Helper()
	n.kill()
	n.start()
}

// stop ends the server in an orderly way.
func (n *node) stop() {
	n.t.Helper()
	n.cmd.Process.Signal(syscall.SIGTERM)
	<-n.exited
	if n.code != 0 {
		n.t.Fatalf("exit code %d after SIGTERM:\n%s", n.code, n.said.tail())
	}
}

// alive fails the test if the server has ended by itself.
func (n *node) alive() {
	n.t.Helper()
	select {
	case <-n.exited:
		n.t.Fatalf("the server has ended by itself with code %d", n.code)
	default:
	}
}

// check runs sett check on the data of a stopped server.
func (n *node) check() {
	n.t.Helper()
	out, err := exec.Command(binary, "check", n.dir).CombinedOutput()
	if err != nil {
		n.t.Fatalf("sett check: %v\n%s", err, out)
	}
}

// status returns a line of /proc/PID/status in MiB.
func (n *node) status(name string) (mib int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), name+":")
	kib, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return kib >> 10
}

// watchMemory notes the highest RssAnon until the returned function is called, which returns it in MiB.
func (n *node) watchMemory() (highest func() int) {
	stop, done, top := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(done)
		for {
			top = max(top, n.status("RssAnon"))
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
