package server

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sett/e2e/process"
)

// countFsyncs counts what the server fsyncs while work runs. ok is false if strace cannot be used here.
func countFsyncs(t *testing.T, n *process.Node, work func()) (count int, ok bool) {
	t.Helper()
	table := filepath.Join(t.TempDir(), "table")
	cmd := exec.Command("strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", table, "-p", strconv.Itoa(n.Pid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &bytes.Buffer{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Log(err)
		return 0, false
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for attached := false; !attached; {
		select {
		case <-ended:
			t.Logf("strace: %s", said)
			return 0, false
		case <-time.After(20 * time.Millisecond):
			attached = traced(n)
		}
	}
	work()
	cmd.Process.Signal(os.Interrupt)
	<-ended
	b, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	// % time  seconds  usecs/call  calls  [errors]  syscall
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && (f[len(f)-1] == "fsync" || f[len(f)-1] == "fdatasync") {
			calls, err := strconv.Atoi(f[3])
			if err != nil {
				t.Fatalf("strace's table:\n%s", b)
			}
			count += calls
		}
	}
	return count, true
}

// traced tells whether all threads of the server are under strace.
func traced(n *process.Node) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", n.Pid()))
	for _, thread := range threads {
		if b, err := os.ReadFile(thread); err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}

// TestFsyncs: at always every acknowledged write has waited for an fsync; at everysec there is about one a second, however many writes; at no
// none. CONFIG SET changes from one to the other.
func TestFsyncs(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	t.Parallel()
	// Nothing but the log's own fsyncs: flushes and barriers make some, and so does the preparation of a segment.
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "appendfsync=always", "storage.flush_interval=1m", "storage.barrier_interval=1h")
	n.Start()
	c := n.Dial()
	c.Want(t, "OK", "SET", "large", strings.Repeat("x", 1<<20)) // the first segment is short
	for prepared := 0; prepared < 3; time.Sleep(10 * time.Millisecond) {
		segments, _ := filepath.Glob(filepath.Join(n.Dir, "log", "*.seg"))
		prepared = len(segments)
	}
	writes, number := process.Size(200, 5000), 0
	write := func() {
		number++
		c.Want(t, "OK", "SET", "key", strconv.Itoa(number))
	}
	window := time.Duration(process.Size(3, 20)) * time.Second
	forAWindow := func() {
		for begin := time.Now(); time.Since(begin) < window; {
			write()
		}
	}
	count := func(work func()) (fsyncs, written int) {
		before := number
		fsyncs, ok := countFsyncs(t, n, work)
		if !ok {
			t.Skip("strace cannot attach to the server here")
		}
		return fsyncs, number - before
	}
	aboutOneASecond := func(fsyncs int) bool { return fsyncs >= 1 && fsyncs <= 3*int(window/time.Second)+3 }

	fsyncs, written := count(func() {
		for range writes {
			write()
		}
	})
	t.Logf("always: %d fsyncs for %d acknowledged writes", fsyncs, written)
	if fsyncs < written {
		t.Errorf("always: %d fsyncs for %d acknowledged writes", fsyncs, written)
	}

	c.Want(t, "OK", "CONFIG", "SET", "appendfsync", "everysec")
	fsyncs, written = count(forAWindow)
	t.Logf("everysec: %d fsyncs in %v, %d acknowledged writes", fsyncs, window, written)
	if !aboutOneASecond(fsyncs) {
		t.Errorf("everysec: %d fsyncs in %v", fsyncs, window)
	}

	c.Want(t, "OK", "CONFIG", "SET", "appendfsync", "no")
	fsyncs, written = count(forAWindow)
	t.Logf("no: %d fsyncs in %v, %d acknowledged writes", fsyncs, window, written)
	if fsyncs > 1 { // of a moment before
		t.Errorf("no: %d fsyncs in %v", fsyncs, window)
	}

	c.Want(t, "OK", "CONFIG", "SET", "appendfsync", "always")
	fsyncs, written = count(func() {
		for range writes / 4 {
			write()
		}
	})
	t.Logf("always again: %d fsyncs for %d acknowledged writes", fsyncs, written)
	if fsyncs < written {
		t.Errorf("always again: %d fsyncs for %d acknowledged writes", fsyncs, written)
	}
}
