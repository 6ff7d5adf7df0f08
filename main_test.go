package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sett/config"
	"sett/internal/testport"
)

// TestMain lets the test binary be sett itself, so that the tests need no other.
func TestMain(m *testing.M) {
	if os.Getenv("SETT_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a sett of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	port   string
	stderr *lines
}

// lines collects what a process writes and tells of the line that says it is ready.
type lines struct {
	all   bytes.Buffer
	ready chan string
	done  chan struct{}
}

func (l *lines) read(r io.Reader) {
	defer close(l.done)
	for s := bufio.NewScanner(r); s.Scan(); {
		fmt.Fprintln(&l.all, s.Text())
		if strings.HasPrefix(s.Text(), "sett ready ") {
			l.ready <- s.Text()
		}
	}
	close(l.ready)
}

func sett(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SETT_TEST_MAIN=1")
	cmd.Dir = t.TempDir()
	return cmd
}

// start runs a server until it is ready.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := launch(t, dir, args...)
	ready, ok := <-p.stderr.ready
	if !ok {
		t.Fatalf("sett did not get ready:\n%s", &p.stderr.all)
	}
	if want := fmt.Sprintf(`^sett ready port=%s dir=%s replayed=\d+$`, p.port, regexp.QuoteMeta(dir)); !regexp.MustCompile(want).MatchString(ready) {
		t.Fatalf("the line is %q", ready)
	}
	return p
}

// launch runs a server.
func launch(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	port := testport.Take(t)
	p := &process{t: t, port: port, stderr: &lines{ready: make(chan string, 2), done: make(chan struct{})}}
	p.cmd = sett(t, append([]string{"server", "--set", "port=" + port, "--set", "dir=" + dir, "--set", "disk_reserve=1MiB", "--set", "memory_budget=128MiB",
		"--set", "metrics_listen="}, args...)...)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.stderr.read(out)
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// wait returns the exit code.
func (p *process) wait() int {
	<-p.stderr.done
	return exitCode(p.t, p.cmd.Wait())
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

// do sends one inline command and returns the first line of the reply, and for a bulk string the second.
func (p *process) do(command string) string {
	p.t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+p.port)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "%s\r\n", command)
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err == nil && line[0] == '$' && line != "$-1\r\n" {
		line, err = r.ReadString('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.t.Fatalf("%s: %v", command, err)
	}
	return strings.TrimRight(line, "\r\n")
}

func (p *process) want(want, command string) {
	p.t.Helper()
	if got := p.do(command); got != want {
		p.t.Fatalf("%s: got %q, want %q", command, got, want)
	}
}

// TestLifeOfAServer: kill -9, signals and SHUTDOWN, and what was acknowledged is there again.
func TestLifeOfAServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for i, end := range []func(*process) int{
		func(p *process) int { p.cmd.Process.Kill(); p.wait(); return 0 },
		func(p *process) int { p.cmd.Process.Signal(syscall.SIGTERM); return p.wait() },
		func(p *process) int { p.want("", "SHUTDOWN"); return p.wait() },
		func(p *process) int { p.cmd.Process.Signal(syscall.SIGINT); return p.wait() },
		func(p *process) int { p.want("", "SHUTDOWN NOSAVE"); return p.wait() },
	} {
		p := start(t, dir)
		p.want(fmt.Sprintf(":%d", i+1), "INCR starts")
		p.want(fmt.Sprintf(":%d", min(i, 1)), "EXISTS key")
		p.want("+OK", "SET key value")
		if code := end(p); code != exitClean {
			t.Fatalf("end %d: exit code %d\n%s", i, code, &p.stderr.all)
		}
		if n := strings.Count(p.stderr.all.String(), "sett ready"); n != 1 {
			t.Fatalf("ready %d times", n)
		}
		_, err := os.Stat(filepath.Join(dir, "CLEAN"))
		if clean := err == nil; clean != (i > 0) {
			t.Fatalf("end %d: CLEAN: %v", i, err)
		}
	}
}

// TestSignals: shutdown-on-sigterm says whether the next start has something to replay.
func TestSignals(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, step := range []struct {
		setting string
		signal  syscall.Signal
		nothing bool // left to replay
	}{{"shutdown-on-sigterm nosave", syscall.SIGTERM, false}, {"shutdown-on-sigterm save", syscall.SIGTERM, true}, {"shutdown-on-sigint nosave", syscall.SIGINT, false}} {
		p := start(t, dir)
		p.want("+OK", "CONFIG SET "+step.setting)
		p.want("+OK", "SET key "+step.setting[:10])
		p.cmd.Process.Signal(step.signal)
		if code := p.wait(); code != exitClean {
			t.Fatal(code)
		}
		p = start(t, dir)
		if got := strings.Contains(p.stderr.all.String(), " replayed=0\n"); got != step.nothing {
			t.Errorf("%s: %s", step.setting, &p.stderr.all)
		}
		p.want("+OK", "SAVE")
		p.want("", "SHUTDOWN")
		p.wait()
	}
}

// TestSweeperRests: an expired key is removed when the sweeper works, and not while it rests.
func TestSweeperRests(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "data"), "--set", "enable_debug_command=local")
	for _, rest := range [][2]string{{"DEBUG PAUSE-CRON 1", "DEBUG PAUSE-CRON 0"}, {"DEBUG SET-ACTIVE-EXPIRE 0", "DEBUG SET-ACTIVE-EXPIRE 1"}} {
		p.want("+OK", rest[0])
		p.want("+OK", "SET k v PX 1")
		p.want("+OK", "DEBUG SLEEP 0.5") // five looks of the sweeper
		p.want(":1", "DBSIZE")
		p.want("$-1", "GET k")
		p.want("+OK", rest[1])
		for deadline := time.Now().Add(time.Minute); p.do("DBSIZE") != ":0"; {
			if time.Now().After(deadline) {
				t.Fatal("the sweeper did not wake up after ", rest[1])
			}
		}
	}
}

// TestOtherDoors: without a TCP port clients come in by a Unix socket, whose file goes with the server; messages go to a file, as JSON; who logs
// out does not take the server along.
func TestOtherDoors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, logfile := filepath.Join(dir, "s"), filepath.Join(dir, "log")
	cmd := sett(t, "server", "--set", "port=0", "--set", "unixsocket="+socket, "--set", "unixsocketperm=700", "--set", "dir="+filepath.Join(dir, "data"),
		"--set", "disk_reserve=1MiB", "--set", "memory_budget=128MiB", "--set", "logfile="+logfile, "--set", "log_format=json", "--set", "loglevel=debug",
		"--set", "requirepass=secret")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	said := &lines{ready: make(chan string, 2), done: make(chan struct{})}
	go said.read(stderr)
	if _, ok := <-said.ready; !ok {
		t.Fatalf("sett did not get ready:\n%s", &said.all)
	}
	cmd.Process.Signal(syscall.SIGHUP)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("the socket: %v, %v", info, err)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "PING\r\nAUTH secret\r\nCONFIG SET loglevel warning\r\nSET k v\r\n")
	replies := bufio.NewReader(c)
	for _, want := range []string{"-NOAUTH Authentication required.\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n"} {
		if got, err := replies.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	<-said.done
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	text, err := os.ReadFile(logfile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var message struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &message); err != nil || message.Msg == "" {
			t.Errorf("%q: %v", line, err)
		}
		if strings.Contains(message.Msg, "stopp") {
			t.Errorf("a message below the level is logged: %q", line)
		}
	}
	if !strings.Contains(string(text), "Ready to accept connections") {
		t.Errorf("the log is %q", text)
	}
}

// TestNoDoor refuses to start where nobody could connect, or TLS could not be kept.
func TestNoDoor(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"unixsocket=": "nobody could connect", "tls_port=65535": "no tls-cert-file configured", "unixsocket=/no/such/dir/s": "cannot listen on /no/such/dir/s: no such file",
	} {
		cmd := sett(t, "server", "--set", "port=0", "--set", "dir="+filepath.Join(t.TempDir(), "data"), "--set", set)
		out, err := cmd.CombinedOutput()
		if code := exitCode(t, err); code != 1 || !strings.Contains(string(out), want) {
			t.Errorf("%s: exit code %d, %s", set, code, out)
		}
	}
}

// TestLiveSettings sets each setting that may change while the server runs.
func TestLiveSettings(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "data"))
	for _, set := range []string{
		"timeout 100", "tcp-keepalive 60", "maxclients 123", "client-query-buffer-limit 2mb", "proto-max-bulk-len 2mb", "appendfsync always",
		"appendfsync no", "fsync everysec", "disk_reserve 2mb", "scrub_interval 1h", "min-slaves-to-write 0", "min-replicas-max-lag 5", "oom-score-adj no",
		"oom-score-adj-values \"1 2 3\"", "shutdown-on-sigint save",
		"protected-mode no", "loglevel debug", "tls-protocols TLSv1.3", "client-output-buffer-limit \"normal 1mb 2mb 3\"",
		"cluster.read linearizable", "cluster.client_mode moved", "cluster.forward_timeout 1s",
	} {
		p.want("+OK", "CONFIG SET "+set)
	}
	if got := p.do("CONFIG SET tls-port 1"); !strings.HasPrefix(got, "-ERR CONFIG SET failed") {
		t.Errorf("got %q", got)
	}
	p.want("+OK", "SET k v")
}

// TestNoLogYet: what needs the log is refused while a new node looks for its cluster, and the rest is set.
func TestNoLogYet(t *testing.T) {
	t.Parallel()
	own := testport.Addr(t)
	p := launch(t, filepath.Join(t.TempDir(), "data"), "--set", "cluster.listen="+own, "--set", "cluster.peers="+own+" 127.0.0.1:1 127.0.0.1:2",
		"--set", "cluster.secret=none")
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+p.port)
		if err == nil {
			c.Close()
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("nobody listens")
		}
	}
	p.want("-ERR CONFIG SET failed (possibly related to argument 'appendfsync') - "+errNoLog.Error(), "CONFIG SET appendfsync always")
	p.want("+OK", "CONFIG SET loglevel debug")
}

// TestMovingDoor has a server listen on another port, and on other addresses, while a client stays.
func TestMovingDoor(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "data"))
	old, _ := strconv.Atoi(p.port)
	stays := call(t, old)
	stays.want("+OK", "CONFIG SET bind 127.0.0.1")
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	failed := "-ERR CONFIG SET failed (possibly related to argument '%s') - %s"
	stays.want(fmt.Sprintf(failed, "port", "Unable to listen on this port. Check server logs."), "CONFIG SET port "+port)
	stays.want(fmt.Sprintf(failed, "bind", "Failed to bind to specified addresses."), "CONFIG SET bind 192.0.2.1")
	p.want("+PONG", "PING") // where it was
	taken.Close()
	stays.want("+OK", "CONFIG SET port "+port)
	if c, err := net.Dial("tcp4", "127.0.0.1:"+p.port); err == nil {
		c.Close()
		t.Error("the old port is open")
	}
	p.port = port
	p.want("+PONG", "PING")
	stays.want("+OK", "CONFIG SET bind \"* -::1\"")
	p.want("+PONG", "PING")
	if got := p.do("CONFIG SET port 0"); !strings.Contains(got, "nobody could connect") {
		t.Errorf("CONFIG SET port 0: %q", got)
	}
	stays.want("+PONG", "PING")
}

// want sends one inline command.
func (c *caller) want(want, command string) {
	c.t.Helper()
	fmt.Fprintf(c.conn, "%s\r\n", command)
	if got := c.reply(); got != want {
		c.t.Fatalf("%s: got %q, want %q", command, got, want)
	}
}

// TestFewerFilesThanClients asks for more clients than any system has open files: CONFIG GET says how many may come.
func TestFewerFilesThanClients(t *testing.T) {
	t.Parallel()
	const asked = 4_000_000_000
	p := start(t, filepath.Join(t.TempDir(), "data"), "--set", fmt.Sprintf("maxclients=%d", asked))
	port, _ := strconv.Atoi(p.port)
	c := call(t, port)
	c.send("CONFIG", "GET", "maxclients")
	c.reply()
	c.reply()
	shown := c.reply()
	if n, err := strconv.Atoi(shown); err != nil || n <= 0 || n >= asked {
		t.Errorf("CONFIG GET maxclients: %q", shown)
	}
	if got := c.do("CONFIG", "SET", "maxclients", strconv.Itoa(asked)); !strings.HasSuffix(got, "try with "+shown) {
		t.Errorf("CONFIG GET says %s, CONFIG SET %q", shown, got)
	}
}

// TestEverySettingIsUsed: a key that says what it does is read by this package.
func TestEverySettingIsUsed(t *testing.T) {
	var source []byte
	for _, name := range []string{"main.go", "node.go", "join.go", "settings.go", "logs.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	for _, group := range config.Table() {
		for _, k := range group.Keys {
			if k.Meaning == config.Works && !bytes.Contains(source, []byte(`"`+k.TOML()+`"`)) {
				t.Errorf("nobody reads %s", k.TOML())
			}
		}
	}
}

// tree is what a directory holds.
func tree(t *testing.T, dir string) (found map[string]string) {
	t.Helper()
	found = map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found[path] = string(b)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

// refuse runs sett and expects an exit code, one line that says why, and that dir is as it was.
func refuse(t *testing.T, code int, text, dir string, args ...string) {
	t.Helper()
	before := tree(t, dir)
	cmd := sett(t, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	got := exitCode(t, cmd.Run())
	said := stderr.String()
	if got != code || !strings.HasPrefix(said, "sett: ") || strings.Count(said, "\n") != 1 || !strings.Contains(said, text) {
		t.Errorf("sett %q: exit code %d, want %d; it said:\n%s", args, got, code, said)
	}
	after := tree(t, dir)
	for path := range before {
		if before[path] != after[path] {
			t.Errorf("sett %q: %s has changed", args, path)
		}
		delete(after, path)
	}
	for path := range after {
		t.Errorf("sett %q: %s is new", args, path)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	dir := "--set=dir=" + none
	refuse(t, exitUsage, `no command "bogus"`, none, "bogus")
	refuse(t, exitUsage, `unknown argument "--bogus"`, none, "server", dir, "--bogus")
	refuse(t, exitUsage, "--set takes a value", none, dir, "--set")
	refuse(t, exitUsage, "bogus", none, dir, "--set", "bogus=1")
	refuse(t, exitUsage, "port", none, dir, "--set", "port=99999999")
	refuse(t, exitUsage, "nosuch.toml", none, dir, "--config", "nosuch.toml")
	refuse(t, exitUsage, "--config may be given once", none, dir, "--config", "a", "--config", "b")
	refuse(t, exitUsage, "check takes one data directory", none, "check")
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if out, err := sett(t, args...).Output(); err != nil || !strings.HasPrefix(string(out), "sett dev (go") {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {"server", "--help"}} {
		if out, err := sett(t, args...).Output(); err != nil || string(out) != usage {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
}

// TestRefusedData: what is wrong with a data directory is said in one line, and nothing is touched.
func TestRefusedData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, dir)
	p.want("+OK", "SET k v")
	none := filepath.Join(t.TempDir(), "none")
	refuse(t, exitRuntime, "address already in use", none, "--set", "dir="+none, "--set", "port="+p.port)
	refuse(t, exitRuntime, "metrics_listen: listen tcp 127.0.0.1:"+p.port+": bind: address already in use", none, "--set", "dir="+none,
		"--set", "port="+testport.Take(t), "--set", "metrics_listen=127.0.0.1:"+p.port)
	other := start(t, filepath.Join(t.TempDir(), "data")) // so that its port is free in a moment
	other.cmd.Process.Kill()
	other.wait()
	args := []string{"--set", "dir=" + dir, "--set", "port=" + other.port}
	refuse(t, exitRefused, "in use by another process", t.TempDir(), args...)
	refuse(t, exitRefused, "is in use", t.TempDir(), "check", dir)
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.wait(); code != exitClean {
		t.Fatal(code)
	}

	for _, name := range []string{"FORMAT", "CURRENT", "CLEAN", "badger-1/durable"} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		refuse(t, exitRefused, filepath.Base(name)+" is damaged", dir, args...)
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stranger := t.TempDir()
	if err := os.WriteFile(filepath.Join(stranger, "letter.txt"), []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	refuse(t, exitRefused, "not a data directory", stranger, "--set", "dir="+stranger, "--set", "port="+other.port)

	if out, err := sett(t, "check", dir).CombinedOutput(); err != nil || !strings.Contains(string(out), ": fine (") {
		t.Errorf("check: %s, %v", out, err)
	}
	p = start(t, dir)
	p.want("v", "GET k")
}

// TestMetricsListen: two servers may run with the default address, of which one has it.
func TestMetricsListen(t *testing.T) {
	t.Parallel()
	const addr = "127.0.0.1:7391"
	for range 100 {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			defer l.Close()
			break
		}
		time.Sleep(20 * time.Millisecond) // a test beside this one has it for a moment; if it is somebody else that is as good
	}
	p := start(t, filepath.Join(t.TempDir(), "data"), "--set", "metrics_listen="+addr)
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.wait(); code != exitClean || !strings.Contains(p.stderr.all.String(), "nobody can ask for metrics") {
		t.Errorf("exit code %d: %s", code, &p.stderr.all)
	}
}
