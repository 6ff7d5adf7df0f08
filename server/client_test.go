package server

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// fields reads a line of CLIENT LIST.
func fields(line string) map[string]string {
	all := map[string]string{}
	for _, word := range strings.Fields(line) {
		name, value, _ := strings.Cut(word, "=")
		all[name] = value
	}
	return all
}

// list is CLIENT LIST, by name; the client that asks is "".
func (c *client) list(args ...string) map[string]map[string]string {
	c.t.Helper()
	all := map[string]map[string]string{}
	_, text, _ := strings.Cut(c.do(append([]string{"CLIENT", "LIST"}, args...)...), "\r\n")
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := fields(line)
		all[f["name"]] = f
	}
	return all
}

var clientLine = regexp.MustCompile(`^id=\d+ addr=\S+:\d+ laddr=\S+:\d+ fd=\d+ name= age=\d+ idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=26 ` +
	`qbuf-free=\d+ argv-mem=10 multi-mem=0 rbs=\d+ rbp=\d+ obl=0 oll=0 omem=0 tot-mem=\d+ events=r cmd=client\|(list|info) user=default redir=-1 resp=2 ` +
	`lib-name= lib-ver=\n$`)

// TestClientListIsTrue: what others do is seen as soon as they have their reply.
func TestClientListIsTrue(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	for _, sub := range []string{"list", "info"} {
		if _, line, _ := strings.Cut(c.do("client", sub), "\r\n"); !clientLine.MatchString(strings.TrimSuffix(line, "\r\n")) {
			t.Errorf("CLIENT %s: %q", sub, line)
		}
	}
	a := ts.dial()
	expect := func(want map[string]string) {
		t.Helper()
		got := c.list()["a"]
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s is %q, want %q", name, got[name], value)
			}
		}
	}
	a.want("+OK\r\n", "CLIENT", "SETNAME", "a")
	expect(map[string]string{"cmd": "client|setname", "flags": "N", "resp": "2", "db": "0", "argv-mem": "0", "qbuf": "0", "qbuf-free": "0", "multi-mem": "0"})
	a.want("+OK\r\n", "CLIENT", "SETINFO", "lib-name", "lib")
	a.want("+OK\r\n", "CLIENT", "SETINFO", "LIB-VER", "1.2")
	a.want("+OK\r\n", "SELECT", "7")
	a.do("HELLO", "3")
	a.want("+OK\r\n", "CLIENT", "NO-EVICT", "on")
	a.want("+OK\r\n", "CLIENT", "NO-TOUCH", "on")
	expect(map[string]string{"cmd": "client|no-touch", "flags": "eT", "resp": "3", "db": "7", "lib-name": "lib", "lib-ver": "1.2"})
	a.want("+OK\r\n", "MULTI")
	expect(map[string]string{"multi": "0", "flags": "xeT"})
	a.want("+QUEUED\r\n", "SET", "k", "v")
	expect(map[string]string{"multi": "1", "cmd": "set"})
	if c.list()["a"]["multi-mem"] == "0" {
		t.Error("a queued command takes no memory")
	}
	a.want("*1\r\n+OK\r\n", "EXEC")
	expect(map[string]string{"multi": "-1", "cmd": "exec"})
	a.do("NOSUCH")
	expect(map[string]string{"cmd": "NULL"})
	a.send("*2\r\n$3\r\nGET\r\n$100\r\nhalf")
	for c.list()["a"]["qbuf"] != "23" {
	}
	if got := c.list("TYPE", "pubsub"); len(got) != 1 || got[""] == nil || len(got[""]) != 0 {
		t.Errorf("pubsub clients: %v", got)
	}
	if got := c.list("ID", c.list()["a"]["id"]); len(got) != 1 || got["a"] == nil {
		t.Errorf("by id: %v", got)
	}
}

// TestUnsentIsShown: replies that a client does not take are seen, and what exceeds the limits costs it its connection.
func TestOutputLimits(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	value := strings.Repeat("x", 60_000)
	c.want("+OK\r\n", "SET", "k", value)
	lazy := func(name string) *client {
		a := ts.dial()
		a.want("+OK\r\n", "CLIENT", "SETNAME", name)
		go a.Write([]byte(strings.Repeat(encode("GET", "k"), 1000))) // until the server closes it
		for {
			if f := c.list()[name]; f == nil || f["omem"] != "0" && f["events"] == "rw" {
				return a
			}
		}
	}
	lazy("soft")
	ts.SetLimits(func(l *Limits) { l.OutSoftBytes, l.OutSoftSec = 1, 0 })
	for c.list()["soft"] != nil {
	}
	ts.SetLimits(func(l *Limits) { l.OutSoftBytes, l.OutHardBytes = 0, 100_000 })
	a := ts.dial()
	a.want("$60000\r\n"+value+"\r\n", "GET", "k")
	a.send(encode("SET", "done", "1") + encode("MGET", "k", "k") + encode("SET", "done", "2"))
	a.wantClosed() // not even the first reply leaves
	c.want("$1\r\n1\r\n", "GET", "done")
	if got := c.infoValue("stats", "client_output_buffer_limit_disconnections"); got != "2" {
		t.Errorf("counted %s", got)
	}
	if strings.Count(ts.lines.String(), "exceeds client-output-buffer-limit") != 2 {
		t.Error("the log does not say so")
	}
}

// TestClientKill tries every filter.
func TestClientKill(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	victim := func() (*client, map[string]string) {
		v := ts.dial()
		v.want("+OK\r\n", "CLIENT", "SETNAME", "victim")
		return v, c.list()["victim"]
	}
	for _, filter := range []string{"ADDR addr", "LADDR laddr", "ID id", "USER user", "TYPE normal", "ID id ADDR addr LADDR laddr TYPE normal USER user SKIPME yes"} {
		v, f := victim()
		words := []string{"CLIENT", "KILL"}
		for _, word := range strings.Fields(filter) {
			if f[word] != "" {
				word = f[word]
			}
			words = append(words, word)
		}
		c.want(":1\r\n", words...)
		if c.list()["victim"] != nil {
			t.Errorf("%s: it is still there", filter)
		}
		c.want("*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n", "CONFIG", "GET", "maxclients")
		v.wantClosed()
	}
	v, f := victim()
	c.want("+OK\r\n", "CLIENT", "KILL", f["addr"])
	v.wantClosed()
	c.want(":0\r\n", "CLIENT", "KILL", "TYPE", "pubsub")
	c.want("-ERR No such client\r\n", "CLIENT", "KILL", f["addr"])
	if got := c.infoValue("clients", "connected_clients"); got != "1" {
		t.Errorf("connected_clients: %s", got)
	}
	c.send(encode("CLIENT", "KILL", "ID", c.list()[""]["id"], "SKIPME", "no") + encode("SET", "k", "v"))
	if got := c.reply(); got != ":1\r\n" {
		t.Errorf("who kills itself reads %q", got)
	}
	c.wantClosed()
	ts.dial().want("$-1\r\n", "GET", "k")
}

// TestReplyOffAndDoubt: nobody hears of a write in doubt who wants no replies.
func TestReplyOffAndDoubt(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	ts.log.hold()
	c.send(encode("CLIENT", "REPLY", "SKIP") + encode("SET", "a", "1") + encode("SET", "b", "1"))
	<-ts.log.arrived
	ts.log.loseLeadership()
	if got := c.reply(); !strings.HasPrefix(got, "-INDOUBT") {
		t.Errorf("got %q", got)
	}
	c.want("$-1\r\n", "GET", "a")
}

// TestUnixSocket: made anew, with its permissions, and removed.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	path := filepath.Join(t.TempDir(), "s")
	for range 2 { // the second one in place of the first
		l, err := ListenUnix(path, 0o700, 511)
		if err != nil {
			t.Fatal(err)
		}
		ts.Serve([]net.Listener{l})
	}
	socket, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, socket)
	defer c.Close()
	value := strings.Repeat("x", 3<<20) // staged, and streamed
	c.want("+OK\r\n", "SET", "k", value)
	c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), "GET", "k")
	f := c.list()[""]
	if f["addr"] != path+":0" || f["laddr"] != path+":0" || f["flags"] != "U" {
		t.Errorf("it is shown as %v", f)
	}
	if _, err := ListenUnix(filepath.Join(t.TempDir(), "no", "such"), 0, 511); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// TestClientNoTouch: what such a client does with keys is no use of them, in a transaction neither; other clients' is, and TOUCH.
func TestClientNoTouch(t *testing.T) {
	ts := startServer(t, setup{debug: DebugAll})
	a, b := ts.dial(), ts.dial()
	a.want("+OK\r\n", "SET", "k", "v")
	a.want("+OK\r\n", "DEBUG", "SETT", "CLOCK", "100000")
	a.want("+OK\r\n", "CLIENT", "NO-TOUCH", "ON")
	a.want("$1\r\nv\r\n", "GET", "k")
	a.want("+OK\r\n", "MULTI")
	a.want("+QUEUED\r\n", "GET", "k")
	a.want("*1\r\n$1\r\nv\r\n", "EXEC")
	for i, touch := range []func(){
		func() { b.want("$1\r\nv\r\n", "GET", "k") },
		func() { a.want(":1\r\n", "TOUCH", "k") },
		func() { a.want("+OK\r\n", "CLIENT", "NO-TOUCH", "OFF"); a.want("$1\r\nv\r\n", "GET", "k") },
	} {
		b.want("+OK\r\n", "DEBUG", "SETT", "CLOCK", strconv.Itoa((i+1)*200_000))
		if idle := a.do("OBJECT", "IDLETIME", "k"); len(idle) < len(":100\r\n") {
			t.Errorf("idle for %q", idle)
		}
		touch()
		if idle := a.do("OBJECT", "IDLETIME", "k"); len(idle) > len(":99\r\n") {
			t.Errorf("after its use idle for %q", idle)
		}
	}
}
