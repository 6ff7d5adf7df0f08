package cluster

import (
	"errors"
	"fmt"
	"io"
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

// Options say how a cluster is made; the zero value is three nodes on this machine's loopback.
type Options struct {
	Nodes   int
	Spares  int      // more nodes, which the others know of and which take no part before Join
	Alone   bool     // one node without a cluster
	Sets    []string // settings of all nodes, as --set takes them; later ones win
	Network Network  // nil: nothing is between the nodes
}

// Cluster is some setts that were started with one configuration. Its methods are for one goroutine; what Dial and TryDial return is the caller's.
type Cluster struct {
	Nodes []*process.Node // by place, spares included

	t    testing.TB
	out  map[int]bool // places that take no part
	asks []string     // what an operator's command is to know: --set name=value
}

// patience is how long a cluster may take to do what it must do by itself: much more than it needs, even here.
const patience = 90 * time.Second

// joinPatience is how long a node may take to copy what it lacks, while others write, before it votes.
const joinPatience = 5 * time.Minute

// New describes a cluster; nothing runs yet.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	switch {
	case o.Alone:
		o.Nodes = 1
	case o.Nodes == 0:
		o.Nodes = 3
	}
	if o.Network == nil {
		o.Network = NewLoopback(t, o.Nodes+o.Spares)
	}
	root := t.TempDir()
	c := &Cluster{t: t, out: map[int]bool{}}
	for _, set := range append([]string{"cluster.peers=" + strings.Join(o.Network.Peers(), " ")}, o.Sets...) {
		c.asks = append(c.asks, "--set", set)
	}
	for place := range o.Nodes + o.Spares {
		c.out[place] = place >= o.Nodes
		sets := []string{"metrics_listen=", "bind=*", "protected_mode=no", "enable_debug_command=yes"}
		if !o.Alone {
			sets = append(sets, "cluster.peers="+strings.Join(o.Network.Peers(), " "),
				"cluster.expect="+strconv.Itoa(o.Nodes), "cluster.listen="+o.Network.Listen(place), "cluster.advertise="+o.Network.Peers()[place])
		}
		n := process.New(t, filepath.Join(root, "node-"+strconv.Itoa(place)), append(sets, o.Sets...)...)
		n.Host, n.Through = o.Network.Host(place), o.Network.Through(place)
		c.Nodes = append(c.Nodes, n)
	}
	o.Network.Watch(func(place int) int { return c.Nodes[place].Pid() })
	return c
}

// Start launches the nodes in the given order (all that take part, if none is given) and waits until each takes writes.
func (c *Cluster) Start(order ...int) {
	c.t.Helper()
	if len(order) == 0 {
		order = c.Others()
	}
	for _, place := range order {
		c.Launch(place)
	}
	c.AwaitService(order...)
}

// Launch starts a node that does not run and waits for nothing.
func (c *Cluster) Launch(place int) {
	c.t.Helper()
	if err := c.Nodes[place].Launch(); err != nil {
		c.t.Fatal(err)
	}
}

// AwaitService waits until a write through each of these nodes succeeds.
func (c *Cluster) AwaitService(places ...int) {
	c.t.Helper()
	for _, place := range places {
		c.Await(fmt.Sprintf("a write through node %d", place), func() error { return c.Try(place, "SET", "cluster:service", strconv.Itoa(place)) })
	}
}

// Await waits for a condition.
func (c *Cluster) Await(what string, met func() error) {
	c.t.Helper()
	if err := c.TryAwait(what, patience, met); err != nil {
		c.t.Fatal(err)
	}
}

// TryAwait is Await for those who may not end the test.
func (c *Cluster) TryAwait(what string, patience time.Duration, met func() error) error {
	end := time.Now().Add(patience)
	for {
		err := met()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v there is still not %s: %w", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Try runs one command on a connection of its own. An error reply is an error.
func (c *Cluster) Try(place int, args ...string) error {
	_, err := c.ask(place, args...)
	return err
}

func (c *Cluster) ask(place int, args ...string) (reply any, err error) {
	n := c.Nodes[place]
	if !n.Runs() {
		return nil, errDown
	}
	client, err := n.TryDial()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	client.Patience = 10 * time.Second
	reply, err = client.Do(args...)
	if refusal, refused := reply.(process.ReplyError); refused {
		err = refusal
	}
	return reply, err
}

var errDown = errors.New("the node does not run")

// Info returns a node's answer to INFO section as names and values.
func (c *Cluster) Info(place int, section string) (fields map[string]string, err error) {
	reply, err := c.ask(place, "INFO", section)
	if err != nil {
		return nil, err
	}
	fields = map[string]string{}
	for line := range strings.Lines(reply.(string)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// Leader is the node that says that it leads, if exactly one of these (or of all) does; else -1.
func (c *Cluster) Leader(among ...int) int {
	leader := -1
	for place := range c.Nodes {
		if len(among) > 0 && !contains(among, place) || !c.Nodes[place].Runs() {
			continue
		}
		if fields, err := c.Info(place, "replication"); err == nil && fields["role"] == "master" {
			if leader >= 0 {
				return -1
			}
			leader = place
		}
	}
	return leader
}

func contains(places []int, place int) bool {
	for _, p := range places {
		if p == place {
			return true
		}
	}
	return false
}

// AwaitLeader waits until exactly one of these nodes (or of all) leads.
func (c *Cluster) AwaitLeader(among ...int) (place int) {
	c.t.Helper()
	c.Await("one leader", func() error {
		if place = c.Leader(among...); place < 0 {
			return errors.New("none of the nodes leads, or several say so")
		}
		return nil
	})
	return place
}

// Others are all places but these, and those that take no part.
func (c *Cluster) Others(than ...int) (places []int) {
	for place := range c.Nodes {
		if !c.out[place] && !contains(than, place) {
			places = append(places, place)
		}
	}
	return places
}

// AwaitMembers waits until the cluster has its full number of voters again, all of them alive and none left over.
func (c *Cluster) AwaitMembers() {
	c.t.Helper()
	err := c.TryAwait("a cluster of all nodes", joinPatience, func() error {
		leader := c.Leader()
		if leader < 0 {
			return errors.New("there is no leader")
		}
		reply, err := c.ask(leader, "SETT", "CLUSTER", "STATUS")
		if err != nil {
			return err
		}
		voters, text := 0, fmt.Sprint(reply)
		nodes, _ := pairs(reply)["nodes"].([]any)
		for _, n := range nodes {
			if n := pairs(n); n["voter"] == int64(1) && n["reachable"] == int64(1) {
				voters++
			}
		}
		if all := len(c.Others()); voters != all || len(nodes) != all {
			return fmt.Errorf("%d of %d members vote and are reachable: %s", voters, len(nodes), text)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// pairs is a map as RESP2 sends it.
func pairs(reply any) map[string]any {
	list, _ := reply.([]any)
	m := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		m[name] = list[i+1]
	}
	return m
}

// Remove takes a node out of the cluster; it goes on running. Who leads hands that over first, and has to be removed by its successor.
func (c *Cluster) Remove(place int) error {
	reply, err := c.ask(place, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	return c.TryAwait("a cluster without that node", patience, func() error {
		err := c.Try(c.AwaitLeader(), "SETT", "CLUSTER", "REMOVE", reply.(string))
		if err != nil && (strings.Contains(err.Error(), "Unknown node") || strings.Contains(err.Error(), "there is no member")) {
			return nil // the answer of the try before was lost
		}
		return err
	})
}

// Spare is a place that takes no part; -1: there is none.
func (c *Cluster) Spare() int {
	for place := range c.Nodes {
		if c.out[place] {
			return place
		}
	}
	return -1
}

// Join launches a spare; AwaitMembers waits until it votes.
func (c *Cluster) Join(place int) {
	c.t.Helper()
	c.out[place] = false
	c.Launch(place)
}

// Leave ends a node that was removed, and all that it had: it is a spare from now on.
func (c *Cluster) Leave(place int) {
	c.t.Helper()
	c.Nodes[place].Kill()
	c.Wipe(place)
	c.out[place] = true
}

// Wipe removes all that a node has; it does not run.
func (c *Cluster) Wipe(place int) {
	c.t.Helper()
	for _, dir := range []string{c.Nodes[place].Dir, c.Nodes[place].Dir + ".cut"} {
		if err := os.RemoveAll(dir); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Pause stops a node's process until the returned function is called.
func (c *Cluster) Pause(place int) (resume func()) {
	c.Nodes[place].Signal(syscall.SIGSTOP)
	return func() { c.Nodes[place].Signal(syscall.SIGCONT) }
}

// AwaitAgreement waits until each node that runs has the same data, by what each of them has itself. Nobody writes meanwhile.
func (c *Cluster) AwaitAgreement() (digest string) {
	c.t.Helper()
	c.Await("agreement", func() (err error) {
		digest, err = c.Agree()
		return err
	})
	return digest
}

// Agree compares what the nodes have themselves.
func (c *Cluster) Agree() (digest string, err error) {
	var all []string
	for place, n := range c.Nodes {
		if !n.Runs() {
			continue
		}
		d, err := c.digest(place)
		if err != nil {
			return "", fmt.Errorf("node %d: %w", place, err)
		}
		all = append(all, d)
	}
	for _, d := range all {
		if d != all[0] {
			return "", fmt.Errorf("the nodes differ: %v", all)
		}
	}
	return all[0], nil
}

// Verify runs sett verify.
func (c *Cluster) Verify() (said string, err error) {
	out, err := exec.Command(process.Binary, append([]string{"verify"}, c.asks...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("sett verify: %w\n%s", err, out)
	}
	return string(out), err
}

// digest is DEBUG DIGEST of a node's own data.
func (c *Cluster) digest(place int) (string, error) {
	client, err := c.Nodes[place].TryDial()
	if err != nil {
		return "", err
	}
	defer client.Close()
	client.Patience = 30 * time.Second
	status, err := client.Do("SETT", "CLUSTER", "STATUS")
	if err != nil {
		return "", err
	}
	if pairs(status)["role"] == "diverged" { // it passes reads on to the leader
		return "", errors.New("it waits for a copy of the cluster's data")
	}
	for _, args := range [][]string{{"SETT", "READ", "STALE", "60000"}, {"DEBUG", "DIGEST"}} {
		reply, err := client.Do(args...)
		if err != nil {
			return "", err
		}
		if refusal, refused := reply.(process.ReplyError); refused {
			return "", refusal
		}
		if text, ok := reply.(string); ok && args[0] == "DEBUG" {
			return text, nil
		}
	}
	return "", io.ErrUnexpectedEOF
}
