package cluster

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sett/e2e/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// TestAnyNode starts a cluster in an odd order and talks to all of it as if it were one server.
func TestAnyNode(t *testing.T) {
	c := New(t, Options{})
	c.Start(2, 0, 1)
	leader := c.AwaitLeader()
	followers := c.Others(leader)
	a, b := c.Nodes[followers[0]].Dial(), c.Nodes[followers[1]].Dial()
	t.Run("any node's writes", func(t *testing.T) { testAnyNode(t, c) })
	t.Run("pipeline", func(t *testing.T) { testPipeline(t, a, b) })
	t.Run("transaction", func(t *testing.T) { testTransaction(t, a, b) })
	t.Run("blocking", func(t *testing.T) { testBlocking(t, c, a, b) })
	t.Run("large value", func(t *testing.T) {
		value := strings.Repeat("0123456789abcdef", 256<<10)
		a.Want(t, "OK", "SET", "large", value)
		if got := b.Must(t, "GET", "large"); got != value {
			t.Fatalf("4 MiB written through one node are %d bytes through another", len(fmt.Sprint(got)))
		}
	})
	t.Run("agreement", func(t *testing.T) { c.AwaitAgreement() })
	t.Run("all nodes again", func(t *testing.T) { testAllAgain(t, c) })
}

func testAnyNode(t *testing.T, c *Cluster) {
	for writer := range c.Nodes {
		w := c.Nodes[writer].Dial()
		for reader := range c.Nodes {
			key, value := fmt.Sprintf("from:%d", writer), fmt.Sprintf("to:%d", reader)
			w.Want(t, "OK", "SET", key, value)
			c.Nodes[reader].Dial().Want(t, value, "GET", key)
		}
		w.Want(t, writer+1, "INCR", "writers")
	}
}

func testPipeline(t *testing.T, a, b *process.Client) {
	const n = 5000
	for i := range n {
		a.Send("RPUSH", "pipeline", fmt.Sprint(i))
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if reply, err := a.Receive(); err != nil || reply != int64(i+1) {
			t.Fatalf("reply %d: %v, %v", i, reply, err)
		}
	}
	b.Want(t, n, "LLEN", "pipeline")
	b.Want(t, fmt.Sprint(n-1), "LINDEX", "pipeline", "-1")
}

func testTransaction(t *testing.T, a, b *process.Client) {
	a.Want(t, "OK", "WATCH", "watched")
	a.Want(t, "OK", "MULTI")
	a.Want(t, "QUEUED", "INCR", "watched")
	a.Want(t, "QUEUED", "INCRBY", "watched", "10")
	if got := fmt.Sprint(a.Must(t, "EXEC")); got != "[1 11]" {
		t.Fatalf("EXEC through a follower: %s", got)
	}
	a.Want(t, "OK", "WATCH", "watched")
	b.Want(t, 12, "INCR", "watched") // through another node
	a.Want(t, "OK", "MULTI")
	a.Want(t, "QUEUED", "INCR", "watched")
	if got := a.Must(t, "EXEC"); got != nil {
		t.Fatalf("EXEC after another node's write: %v", got)
	}
	b.Want(t, "12", "GET", "watched")
}

func testBlocking(t *testing.T, c *Cluster, a, b *process.Client) {
	a.Send("BLPOP", "queue", "0")
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	c.Await("a client that waits", func() error {
		reply, err := b.Do("RPUSH", "queue", "element") // whether or not the other one waits by now, it gets this one
		if refusal, refused := reply.(process.ReplyError); refused {
			return refusal
		}
		return err
	})
	if reply, err := a.Receive(); err != nil || fmt.Sprint(reply) != "[queue element]" {
		t.Fatalf("BLPOP: %v, %v", reply, err)
	}
	b.Want(t, 0, "LLEN", "queue")
}

// testAllAgain stops all nodes and starts them again in another order.
func testAllAgain(t *testing.T, c *Cluster) {
	c.Nodes[0].Dial().Want(t, "OK", "SET", "before", "stop")
	for _, n := range c.Nodes {
		n.Stop()
	}
	c.Start(1, 2, 0)
	for _, n := range c.Nodes {
		n.Dial().Want(t, "stop", "GET", "before")
	}
	c.AwaitAgreement()
}

// TestFailOver kills, stops and pauses the leader under load.
func TestFailOver(t *testing.T) {
	c := New(t, Options{})
	c.Start()
	t.Run("killed", func(t *testing.T) {
		leader := c.AwaitLeader()
		l := startLoad(c)
		l.progress(500)
		c.Nodes[leader].Kill()
		l.progress(500)
		c.Launch(leader)
		c.AwaitService(leader)
		l.progress(500)
		l.end(t)
	})
	t.Run("paused", func(t *testing.T) {
		leader := c.AwaitLeader()
		l := startLoad(c, c.Others(leader)...)
		l.progress(500)
		resume := c.Pause(leader)
		l.progress(500)
		resume()
		c.AwaitService(leader)
		l.end(t)
	})
	t.Run("stopped", func(t *testing.T) {
		leader := c.AwaitLeader()
		l := startLoad(c, c.Others(leader)...)
		l.progress(500)
		c.Nodes[leader].Stop()
		l.progress(500)
		c.Launch(leader)
		c.AwaitService(leader)
		l.end(t)
		l.unharmed(t)
	})
	c.AwaitAgreement()
}

// TestRollingRestart stops one node after the other and starts it again, while clients use all of them.
func TestRollingRestart(t *testing.T) {
	c := New(t, Options{})
	c.Start()
	l := startLoad(c)
	for place, n := range c.Nodes {
		l.progress(300)
		t.Logf("node %d stops after %d acknowledged writes, while node %d leads", place, l.count(), c.Leader())
		n.Stop()
		l.progress(300)
		c.Launch(place)
		c.Await("a first reply", func() error {
			conn, err := n.TryDial()
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.Patience = 30 * time.Second
			reply, err := conn.Do("GET", "nosuch")
			if _, refused := reply.(process.ReplyError); refused {
				t.Errorf("the first reply of node %d is %v", place, reply)
			}
			return err
		})
		c.AwaitService(place)
	}
	l.progress(300)
	l.end(t)
	l.unharmed(t)
	c.AwaitAgreement()
}

// TestIsolated cuts the leader off from the others: they go on without it, and nobody is told of what they do not know.
func TestIsolated(t *testing.T) {
	network := NewProxy(t, 3)
	c := New(t, Options{Network: network, Sets: []string{"cluster.forward_timeout=1s"}})
	c.Start()
	leader := c.AwaitLeader()
	l := startLoad(c, c.Others(leader)...)
	l.progress(300)
	for _, other := range c.Others(leader) {
		network.Block(leader, other)
		network.Block(other, leader)
	}
	l.progress(300)
	if reply, err := c.ask(leader, "SET", "alone", "x"); err == nil {
		t.Errorf("a node without a majority acknowledged a write: %v", reply)
	}
	if _, err := c.ask(leader, "GET", "load:1:1"); err == nil {
		t.Error("a node that cannot know who leads answered a read at level lease")
	}
	network.Heal()
	c.AwaitService(leader)
	l.end(t)
	c.AwaitAgreement()
}

// TestCatchUp has a follower come back to writes that it missed: by the log, by a copy when the log no longer has them, and with nothing at all.
func TestCatchUp(t *testing.T) {
	c := New(t, Options{Sets: []string{"raft.heartbeat=3s", "log.keep_bytes=16MiB", "log.segment_bytes=1MiB",
		"raft.marker_interval=1s", "storage.barrier_interval=1s"}}) // no elections, however busy the machine is
	c.Start()
	leader := c.AwaitLeader()
	follower := c.Others(leader)[0]
	client := c.Nodes[leader].Dial()
	round := 0
	write := func(keys, bytes int) {
		value := strings.Repeat("v", bytes)
		round++
		for i := range keys {
			client.Send("SET", fmt.Sprintf("missed:%d:%d", round, i), value)
		}
		if err := client.Flush(); err != nil {
			t.Fatal(err)
		}
		for range keys {
			if reply, err := client.Receive(); err != nil || reply != "OK" {
				t.Fatal(reply, err)
			}
		}
	}
	t.Run("log", func(t *testing.T) {
		c.Nodes[follower].Stop()
		write(100, 100)
		c.Launch(follower)
		c.AwaitService(follower)
		c.AwaitAgreement()
	})
	t.Run("snapshot", func(t *testing.T) {
		c.Nodes[follower].Kill()
		for range 20 {
			write(1000, 3000)
		}
		c.Await("a shorter log", func() error { return logShorterThan(c, leader, 32<<20) })
		c.Launch(follower)
		c.AwaitService(follower)
		c.AwaitAgreement()
	})
	t.Run("wiped", func(t *testing.T) {
		c.Nodes[follower].Signal(syscall.SIGKILL)
		<-c.Nodes[follower].Exited
		c.Wipe(follower)
		write(100, 100)
		c.Launch(follower)
		c.AwaitService(follower)
		c.AwaitAgreement()
	})
	t.Run("and leads", func(t *testing.T) {
		// Whoever has caught up counts: without one of the others the cluster goes on.
		c.AwaitMembers()
		c.Nodes[c.Others(leader, follower)[0]].Kill()
		c.AwaitService(leader, follower)
	})
}

// logShorterThan looks at the files.
func logShorterThan(c *Cluster, place int, bytes int64) error {
	var sum int64
	entries, err := os.ReadDir(c.Nodes[place].Dir + "/log")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	if sum >= bytes {
		time.Sleep(100 * time.Millisecond)
		return fmt.Errorf("the log has %d bytes", sum)
	}
	return nil
}

// TestSettings: what CONFIG SET has set at any node holds on all, in the order of its client's commands, and is known to a node that was away, or has
// nothing yet; what is a node's own stays there.
func TestSettings(t *testing.T) {
	c := New(t, Options{Sets: []string{"hash_max_listpack_entries=7", "raft.heartbeat=3s"}})
	c.Start()
	leader := c.AwaitLeader()
	away, stays := c.Others(leader)[0], c.Others(leader)[1]
	everywhere := func(name, value string) {
		t.Helper()
		for place := range c.Nodes {
			c.Await(fmt.Sprintf("%s %s at node %d", name, value, place), func() error {
				reply, err := c.ask(place, "CONFIG", "GET", name)
				if got := fmt.Sprint(reply); err == nil && got != "["+name+" "+value+"]" {
					err = fmt.Errorf("it is %s", got)
				}
				return err
			})
		}
	}
	everywhere("hash-max-listpack-entries", "7")
	client := c.Nodes[away].Dial()
	for i, want := range []string{"hashtable", "listpack"} {
		key := fmt.Sprint("h", i)
		client.Send("CONFIG", "SET", "hash-max-listpack-entries", fmt.Sprint(i+1), "maxclients", "77")
		client.Send("HSET", key, "a", "1", "b", "2")
		client.Send("OBJECT", "ENCODING", key)
		client.Send("CONFIG", "GET", "hash-max-listpack-entries")
		if err := client.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []any{"OK", int64(2), want, fmt.Sprintf("[hash-max-listpack-entries %d]", i+1)} {
			if got, err := client.Receive(); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%v, %v, want %v", got, err, want)
			}
		}
	}
	everywhere("hash-max-listpack-entries", "2")
	if got := fmt.Sprint(c.Nodes[stays].Dial().Must(t, "CONFIG", "GET", "maxclients")); got != "[maxclients 10000]" {
		t.Fatalf("another node's maxclients: %s", got)
	}

	c.Nodes[away].Kill()
	c.Nodes[stays].Dial().Want(t, "OK", "CONFIG", "SET", "hash-max-listpack-entries", "3", "notify-keyspace-events", "KEA")
	c.Launch(away)
	everywhere("hash-max-listpack-entries", "3")
	c.Nodes[away].Kill()
	c.Wipe(away)
	c.Launch(away)
	everywhere("notify-keyspace-events", "AKE")

	// Whoever leads then goes by it.
	c.AwaitMembers()
	c.Nodes[leader].Stop()
	c.AwaitService(away, stays)
	client = c.Nodes[away].Dial()
	client.Want(t, 4, "HSET", "h", "a", "1", "b", "2", "c", "3", "d", "4")
	client.Want(t, "hashtable", "OBJECT", "ENCODING", "h")
	client.Want(t, 3, "HSET", "i", "a", "1", "b", "2", "c", "3")
	client.Want(t, "listpack", "OBJECT", "ENCODING", "i")
	c.Launch(leader)
	everywhere("hash-max-listpack-entries", "3")
	c.AwaitAgreement()
}
