package cluster

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Namespaces gives each node a network namespace of its own, all on one bridge; the tests' clients reach them over it. What is blocked, the sender's
// kernel drops: connections stay as they are, and nobody is told.
type Namespaces struct {
	names  []string
	bridge string
	subnet string // its first three numbers

	mu      sync.Mutex
	blocked map[[2]int]bool // guarded by mu
}

// clusterPort is where each node listens for the others, in its own namespace.
const clusterPort = "7380"

// NewNamespaces needs root; where it has not enough rights, or no ip command, it says so. All of it goes when the test ends.
func NewNamespaces(t testing.TB, nodes int) (*Namespaces, error) {
	pid := os.Getpid()
	n := &Namespaces{bridge: fmt.Sprintf("sett%d", pid), subnet: fmt.Sprintf("10.%d.%d", 64+pid/250%64, pid%250), blocked: map[[2]int]bool{}}
	t.Cleanup(n.remove)
	steps := []string{"link add " + n.bridge + " type bridge", "addr add " + n.subnet + ".1/24 dev " + n.bridge, "link set " + n.bridge + " up"}
	for place := range nodes {
		name, veth := fmt.Sprintf("sett%d-%d", pid, place), fmt.Sprintf("se%d.%d", pid, place)
		n.names = append(n.names, name)
		steps = append(steps,
			"netns add "+name,
			"link add "+veth+" type veth peer name eth0 netns "+name,
			"link set "+veth+" master "+n.bridge+" up",
			"-n "+name+" addr add "+n.Host(place)+"/24 dev eth0",
			"-n "+name+" link set eth0 up",
			"-n "+name+" link set lo up")
	}
	for _, step := range steps {
		if err := ip(step); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func ip(args string) error {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

// remove takes away what there is of it.
func (n *Namespaces) remove() {
	for _, name := range n.names {
		ip("netns del " + name) // and the veth in it
	}
	ip("link del " + n.bridge)
}

// Host is the node's address on the bridge.
func (n *Namespaces) Host(place int) string { return fmt.Sprintf("%s.%d", n.subnet, 10+place) }

// Peers are the same with the cluster port.
func (n *Namespaces) Peers() (addrs []string) {
	for place := range n.names {
		addrs = append(addrs, n.Listen(place))
	}
	return addrs
}

// Listen is the address under which the others know the node.
func (n *Namespaces) Listen(place int) string { return net.JoinHostPort(n.Host(place), clusterPort) }

// Through runs the node in its namespace.
func (n *Namespaces) Through(place int) []string {
	return []string{"ip", "netns", "exec", n.names[place]}
}

// Watch needs nobody.
func (n *Namespaces) Watch(func(int) int) {}

// Block has the sender's kernel drop what goes to the other node.
func (n *Namespaces) Block(from, to int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.blocked[[2]int{from, to}] {
		n.blocked[[2]int{from, to}] = true
		n.route("add", from, to)
	}
}

// Heal takes all blocks away.
func (n *Namespaces) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for way := range n.blocked {
		n.route("del", way[0], way[1])
	}
	clear(n.blocked)
}

func (n *Namespaces) route(what string, from, to int) {
	if err := ip(fmt.Sprintf("-n %s route %s blackhole %s/32", n.names[from], what, n.Host(to))); err != nil {
		panic(err) // without it every verdict would be about another fault
	}
}
