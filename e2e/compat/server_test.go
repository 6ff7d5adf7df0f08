package compat

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sett/e2e/process"
	"sett/internal/testport"
)

// server is a Redis or a sett that the test has started.
type server struct {
	addr string
	sett bool
	lost error // why no further scene can begin
}

func (s *server) dial() (*link, error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return newLink(conn), nil
}

func startSett(t *testing.T, sets ...string) *server {
	t.Helper()
	node := process.New(t, t.TempDir(), sets...)
	node.Start()
	return &server{addr: "127.0.0.1:" + node.Port, sett: true}
}

// truth is the Redis whose answers are recorded.
const truth = "7.0.15"

// startRedis skips the test if the Redis that is recorded is not installed.
func startRedis(t *testing.T) *server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server to compare with")
	}
	if version, err := exec.Command(binary, "--version").Output(); err != nil || !strings.Contains(string(version), " v="+truth+" ") {
		t.Skipf("%s is not %s but %s", binary, truth, version)
	}
	port := testport.Take(t)
	s := &server{addr: "127.0.0.1:" + port}
	cmd := exec.Command(binary, "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir(), "--enable-debug-command", "yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 1000 {
		if l, err := s.dial(); err == nil {
			l.conn.Close()
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("redis-server does not answer")
	return nil
}

// stage is a server with the connections of a script: each is made when its first command comes.
type stage struct {
	server *server
	proto  int
	links  map[int]*link
}

func newStage(t *testing.T, s *server, proto int) *stage {
	st := &stage{server: s, proto: proto, links: map[int]*link{}}
	t.Cleanup(st.end)
	return st
}

func (st *stage) end() {
	for _, l := range st.links {
		l.conn.Close()
	}
	clear(st.links)
}

// begin clears the stage: new connections, empty databases. A server on which that fails once is given up, so that nobody waits for it again.
func (st *stage) begin() error {
	if st.server.lost == nil {
		st.server.lost = st.clear()
	}
	return st.server.lost
}

func (st *stage) clear() error {
	st.end()
	return st.admin("FLUSHALL")
}

func (st *stage) link(client int) (*link, error) {
	if l := st.links[client]; l != nil {
		return l, nil
	}
	l, err := st.server.dial()
	if err != nil {
		return nil, err
	}
	st.links[client] = l
	if st.proto != 3 {
		return l, nil
	}
	got, err := l.do("HELLO", "3")
	if noPassword := err == nil && strings.HasPrefix(got.text, "NOAUTH"); noPassword {
		return l, nil // the script's affair
	}
	if err != nil || got.kind != '%' {
		return nil, fmt.Errorf("HELLO 3: %v, %v", got, err)
	}
	return l, nil
}

// ask sends a command on the connection that scripts do not have. An error reply is an error.
func (st *stage) ask(args ...string) (*reply, error) {
	l, err := st.link(0)
	if err != nil {
		return nil, err
	}
	got, err := l.do(args...)
	if err == nil && (got.kind == '-' || got.kind == closed) {
		err = fmt.Errorf("%s", got)
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", args, err)
	}
	return got, nil
}

// admin is ask for commands whose reply is no matter.
func (st *stage) admin(args ...string) error {
	_, err := st.ask(args...)
	return err
}

// settle ends a scene: nothing may have been sent that no command has asked for.
func (st *stage) settle() error {
	for client, l := range st.links {
		if l.ended || client == 0 {
			continue
		}
		l.conn.SetReadDeadline(time.Now())
		if extra, _ := l.r.Peek(1); len(extra) > 0 {
			return fmt.Errorf("connection %d has more replies than commands", client)
		}
	}
	return nil
}

func asTimeout(err error, timeout *net.Error) bool {
	return errors.As(err, timeout) && (*timeout).Timeout()
}

func endsConnection(err error) bool {
	var broken *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken)
}
