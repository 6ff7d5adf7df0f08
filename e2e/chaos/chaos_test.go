package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/e2e/cluster"
	"sett/e2e/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m, "powercut")) }

// How long faults are brought if CHAOSTIME does not say.
const (
	shortTime = 70 * time.Second
	aloneTime = 12 * time.Second
)

func chaosTime(t *testing.T, byDefault time.Duration) time.Duration {
	text := os.Getenv("CHAOSTIME")
	if text == "" {
		if testing.Short() {
			return byDefault / 4
		}
		return byDefault
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("CHAOSTIME: %v", err)
	}
	return d
}

func chaosSeed(t *testing.T) uint64 {
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("CHAOS_SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("CHAOS_SEED: %v", err)
	}
	return seed
}

// TestChaos is the whole: three nodes, all faults.
func TestChaos(t *testing.T) {
	network := network(t)
	c := cluster.New(t, cluster.Options{Spares: spares, Network: network, Sets: []string{
		"fsync=" + fsync(), "raft.disk_stall=2s", "cluster.amnesia_wait=5s", "cluster.forward_timeout=3s", "cluster.secret=chaos",
		"log.keep_bytes=16MiB", "log.segment_bytes=4MiB", "raft.marker_interval=2s", "storage.barrier_interval=2s",
	}})
	judge(t, c, network, faults(), chaosTime(t, shortTime))
}

// fsync is the level of all nodes.
func fsync() string { return cmp.Or(os.Getenv("CHAOS_FSYNC"), "everysec") }

// network is what can be blocked: namespaces for long runs of root, else the proxy.
func network(t *testing.T) cluster.Network {
	if os.Getenv("CHAOSTIME") != "" {
		n, err := cluster.NewNamespaces(t, 3+spares)
		if err == nil {
			return n
		}
		t.Logf("with the proxy, because: %v", err)
	}
	return cluster.NewProxy(t, 3+spares)
}

// spares are nodes that wait for another one to leave.
const spares = 1

// judge runs the load and the faults on a cluster that has not been started, and looks at what is left.
func judge(t *testing.T, c *cluster.Cluster, network cluster.Network, all []fault, lasts time.Duration) {
	seed := chaosSeed(t)
	fmt.Printf("chaos: CHAOS_SEED=%d CHAOSTIME=%v\n", seed, lasts)
	c.Start()
	l := startLoad(c, seed)
	defer l.end()
	hold := 5 * time.Second // longer than an election takes, mostly
	if alone := len(c.Nodes) == 1; alone {
		hold = time.Second
	}
	n := &nemesis{T: t, c: c, network: network, load: l, r: rand.New(rand.NewPCG(seed, 1<<32)), hold: hold, counts: map[string]int{}}
	n.run(chosen(all, os.Getenv("CHAOS_FAULTS")), time.Now().Add(lasts))
	l.end()
	l.readAll(t)
	fmt.Printf("%s%s  replies:", n.table(), l.verdict(t))
	for _, word := range slices.Sorted(maps.Keys(l.counts)) {
		fmt.Printf(" %s %d", word, l.counts[word])
	}
	fmt.Printf("\n  longest wait for every node to serve again: %v\n", n.slow.Round(time.Millisecond))
	if len(l.surprise) > 0 {
		t.Errorf("%d replies that nobody should get, such as:\n%s", len(l.surprise), strings.Join(l.surprise[:min(10, len(l.surprise))], "\n"))
	}
	if len(c.Nodes) > 1 {
		c.AwaitAgreement()
		said, err := c.Verify()
		if err != nil {
			t.Error(err)
		}
		fmt.Print(said)
	}
	for _, place := range c.Others() {
		c.Nodes[place].Stop()
		c.Nodes[place].Check()
	}
}

// TestAlone has the same load and verdict for one node that is killed: what holds for a cluster holds for it too.
func TestAlone(t *testing.T) {
	c := cluster.New(t, cluster.Options{Alone: true, Sets: []string{"fsync=" + fsync(), "storage.barrier_interval=2s"}})
	judge(t, c, nil, []fault{{"kill -9", (*nemesis).kill}, {"power cut", (*nemesis).cutOne}, {"power cut of all", (*nemesis).cutAll}}, chaosTime(t, aloneTime))
}
