package cluster

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// echo answers what it is sent, on a node's cluster port.
func echo(t *testing.T, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
}

func hear(c net.Conn, word string, within time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, len(word))
	_, err := io.ReadFull(c, b)
	return err == nil && string(b) == word
}

// TestProxy blocks one direction at a time. This process is node 0, and nobody is node 1.
func TestProxy(t *testing.T) {
	p := NewProxy(t, 2)
	p.Watch(func(place int) int {
		if place == 0 {
			return os.Getpid()
		}
		return 0
	})
	echo(t, p.Listen(1))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Peers()[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	say(t, c, "one")
	if !hear(c, "one", time.Minute) {
		t.Fatal("nothing comes through")
	}
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		p.Block(way[0], way[1])
		c, again := dial(), dial()
		say(t, c, "two")
		say(t, again, "two")
		if hear(c, "two", 50*time.Millisecond) {
			t.Fatalf("%v is blocked and lets through", way)
		}
		p.Heal()
		if !hear(c, "two", time.Minute) && !hear(again, "two", time.Minute) {
			t.Fatalf("%v is healed and lets nothing through", way)
		}
	}
}

// TestNamespaces has one namespace reach another, and then not.
func TestNamespaces(t *testing.T) {
	n, err := NewNamespaces(t, 2)
	if err != nil {
		t.Skip(err)
	}
	reach := func(from, to int) bool {
		// The reply of a closed port comes at once; without a way there is none, or the error that the kernel gives for a black hole.
		out, _ := exec.Command("ip", "netns", "exec", n.names[from], "timeout", "2", "bash", "-c", "echo > /dev/tcp/"+n.Host(to)+"/"+clusterPort).CombinedOutput()
		return strings.Contains(string(out), "refused")
	}
	if !reach(0, 1) || !reach(1, 0) {
		t.Fatal("the nodes do not reach each other")
	}
	n.Block(0, 1)
	if reach(0, 1) || reach(1, 0) { // the replies are lost
		t.Fatal("a blocked node reaches the other")
	}
	n.Heal()
	if !reach(0, 1) || !reach(1, 0) {
		t.Fatal("healed nodes do not reach each other")
	}
}
