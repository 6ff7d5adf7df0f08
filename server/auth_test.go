package server

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestPasswordIsLive: who is connected when a password is set stays, who comes later is a stranger.
func TestPasswordIsLive(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	old := ts.dial()
	old.want("+OK\r\n", "SET", "k", "v")
	ts.SetPassword("secret")
	old.want("$1\r\nv\r\n", "GET", "k")
	late := ts.dial()
	late.want("-NOAUTH Authentication required.\r\n", "GET", "k")
	late.want("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", "secre")
	late.want("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", "Default", "secret")
	late.want("+OK\r\n", "AUTH", "secret")
	late.want("$1\r\nv\r\n", "GET", "k")
	ts.SetPassword("another")
	late.want("$1\r\nv\r\n", "GET", "k")
	old.want("+RESET\r\n", "RESET") // … makes it a stranger
	old.want("-NOAUTH Authentication required.\r\n", "GET", "k")
	ts.SetPassword("")
	old.want("$1\r\nv\r\n", "GET", "k")
}

// TestAuthInPipeline: what follows AUTH in the same packet may be long.
func TestAuthInPipeline(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.SetPassword("secret")
	c := ts.dial()
	value := strings.Repeat("x", 20_000)
	c.send(encode("AUTH", "secret") + encode("SET", "k", value) + encode("STRLEN", "k"))
	for _, want := range []string{"+OK\r\n", "+OK\r\n", ":20000\r\n"} {
		if got := c.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// TestStrangerDoesNotRead: a client that has not authenticated and does not take its replies is closed.
func TestStrangerDoesNotRead(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.SetPassword("secret")
	c := ts.dial()
	pipeline := []byte(strings.Repeat(encode("PING"), 10_000))
	for {
		if _, err := c.Write(pipeline); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatal("the server goes on holding replies")
			}
			return
		}
	}
}

// TestProtectedMode: without a password only this machine is let in, by its first address.
func TestProtectedMode(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.dial().want("+PONG\r\n", "PING")
	abroad := func() *client {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		c, err := d.Dial("tcp", ts.addr)
		if err != nil {
			t.Skip("there is no 127.0.0.2 here")
		}
		c.SetDeadline(time.Now().Add(limit))
		t.Cleanup(func() { c.Close() })
		return newClient(t, c)
	}
	c := abroad()
	if got := c.reply(); !strings.HasPrefix(got, "-DENIED Redis is running in protected mode because") {
		t.Fatalf("got %q", got)
	}
	c.wantClosed()
	here := ts.dial()
	if got := here.infoValue("stats", "rejected_connections"); got != "1" {
		t.Errorf("rejected_connections: %s", got)
	}
	ts.SetPassword("secret")
	c = abroad()
	c.want("-NOAUTH Authentication required.\r\n", "PING")
	ts.SetPassword("")
	ts.SetProtected(false)
	abroad().want("+PONG\r\n", "PING")
}

// TestProtocolSwitch: HELLO and RESET change the types of the replies that follow, in one pipeline too, and buffers that change hands do not
// carry the protocol along.
func TestProtocolSwitch(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	a, b := ts.dial(), ts.dial()
	a.send(encode("GET", "no") + encode("HELLO", "3") + encode("GET", "no") + encode("RESET") + encode("GET", "no"))
	for _, want := range []string{"$-1\r\n", "%7\r\n", "_\r\n", "+RESET\r\n", "$-1\r\n"} {
		if got := a.reply(); !strings.HasPrefix(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	// Within EXEC it changes what stands behind it, also when the transaction is run again because a key was not in memory.
	a.want("+OK\r\n", "SET", "cold", "1")
	a.want("+OK\r\n", "DEBUG", "SETT", "FLUSH")
	a.want("+OK\r\n", "DEBUG", "SETT", "DROP-CACHE")
	a.want("+OK\r\n", "MULTI")
	for _, command := range []string{"GET no", "HELLO 3", "GET cold", "GET no"} {
		a.want("+QUEUED\r\n", strings.Fields(command)...)
	}
	if got := a.do("EXEC"); !strings.HasPrefix(got, "*4\r\n$-1\r\n%7\r\n") || !strings.HasSuffix(got, "$1\r\n1\r\n_\r\n") {
		t.Fatalf("got %q", got)
	}
	for range 10 {
		a.want("_\r\n", "GET", "no")
		b.want("$-1\r\n", "GET", "no")
	}
}
