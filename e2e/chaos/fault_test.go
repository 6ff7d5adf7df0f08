package chaos

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sett/e2e/cluster"
)

// nemesis brings one fault after the other.
type nemesis struct {
	*testing.T
	c       *cluster.Cluster
	network cluster.Network
	load    *load
	r       *rand.Rand
	hold    time.Duration // how long a fault lasts at most

	counts map[string]int
	boots  int           // of machines, after power cuts
	slow   time.Duration // the longest that the cluster took to serve again through every node
}

// fault is a kind of what can happen. strike begins it and returns what ends it; then the cluster has to recover by itself.
type fault struct {
	name   string
	strike func(n *nemesis) (end func())
}

// faults are all kinds.
func faults() []fault {
	return []fault{
		{"kill -9", (*nemesis).kill},
		{"kill -9 of a majority", (*nemesis).killMajority},
		{"kill -9 of all", (*nemesis).killAll},
		{"SIGSTOP", (*nemesis).stop},
		{"slow disk", (*nemesis).slowDisk},
		{"hanging disk", (*nemesis).hangDisk},
		{"isolation", (*nemesis).isolate},
		{"asymmetric partition", (*nemesis).asymmetric},
		{"clock step", (*nemesis).stepClock},
		{"disk full", (*nemesis).fillDisk},
		{"transfer", (*nemesis).transfer},
		{"restart", (*nemesis).restart},
		{"wiped follower", (*nemesis).wipe},
		{"power cut", (*nemesis).cutOne},
		{"power cut of a majority", (*nemesis).cutMajority},
		{"power cut of all", (*nemesis).cutAll},
		{"power cut of the witness", (*nemesis).cutWitness},
		{"membership change", (*nemesis).changeMembers},
		{"a fourth joins, one leaves", (*nemesis).exchange},
	}
}

// run brings faults until the time is over; every kind as often as the others.
func (n *nemesis) run(all []fault, until time.Time) {
	for time.Now().Before(until) {
		for _, i := range n.r.Perm(len(all)) {
			if time.Now().After(until) {
				return
			}
			n.bring(all[i])
			time.Sleep(n.within(time.Second))
		}
	}
}

// bring has one fault begin and end, and waits for the cluster.
func (n *nemesis) bring(f fault) {
	n.Helper()
	n.Logf("%v %s", n.load.hs.now().Round(time.Millisecond), f.name)
	end := f.strike(n)
	time.Sleep(n.hold/4 + n.within(n.hold*3/4))
	end()
	began := time.Now()
	n.c.AwaitService(n.c.Others()...)
	n.slow = max(n.slow, time.Since(began))
	n.counts[f.name]++
}

func (n *nemesis) within(limit time.Duration) time.Duration {
	return time.Duration(n.r.Int64N(int64(limit)))
}

// anyone is the leader more often than not.
func (n *nemesis) anyone() int {
	if leader := n.c.Leader(); leader >= 0 && n.r.IntN(5) < 3 {
		return leader
	}
	return n.some(1)[0]
}

// some are so many of the nodes that take part.
func (n *nemesis) some(count int) []int {
	places := n.c.Others()
	n.r.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	return places[:count]
}

// follower is one that does not lead now, for faults that ask for nothing else.
func (n *nemesis) follower() int {
	others := n.c.Others(n.c.AwaitLeader())
	return others[n.r.IntN(len(others))]
}

func (n *nemesis) kill() func() {
	place := n.anyone()
	n.c.Nodes[place].Kill()
	return func() { n.c.Launch(place) }
}

func (n *nemesis) killMajority() func() { return n.killSome(len(n.c.Others())/2 + 1) }

func (n *nemesis) killAll() func() { return n.killSome(len(n.c.Others())) }

func (n *nemesis) killSome(count int) func() {
	places := n.some(count)
	for _, place := range places {
		n.c.Nodes[place].Kill()
	}
	return func() {
		for _, place := range places {
			n.c.Launch(place)
		}
	}
}

func (n *nemesis) stop() func() { return n.c.Pause(n.anyone()) }

// delay has every write and sync of a node's log take so long.
func (n *nemesis) delay(place int, d time.Duration) {
	n.Helper()
	node := n.c.Nodes[place]
	if err := os.WriteFile(node.Dir+".delay", []byte(d.String()), 0o600); err != nil {
		n.Fatal(err)
	}
	node.Signal(syscall.SIGUSR1)
}

// slowDisk is one that is slow, and goes on.
func (n *nemesis) slowDisk() func() {
	place := n.anyone()
	n.delay(place, 10*time.Millisecond<<n.r.IntN(6))
	return func() { n.delay(place, 0) }
}

// hangDisk has the leader's disk hang. Its heartbeats go on, so it has to end by itself, for another to lead.
func (n *nemesis) hangDisk() func() {
	place := n.c.AwaitLeader()
	node := n.c.Nodes[place]
	n.delay(place, time.Hour)
	n.c.Await("the end of a node whose disk hangs", func() error {
		if node.Runs() {
			return errors.New("it runs")
		}
		return nil
	})
	n.c.AwaitLeader(n.c.Others(place)...)
	return func() { n.c.Launch(place) }
}

func (n *nemesis) isolate() func() {
	place := n.anyone()
	for _, other := range n.c.Others(place) {
		n.network.Block(place, other)
		n.network.Block(other, place)
	}
	return n.network.Heal
}

// asymmetric has a node hear and not be heard, or the other way round, by one or both of the others.
func (n *nemesis) asymmetric() func() {
	place := n.anyone()
	others := n.c.Others(place)
	deaf := n.r.IntN(2) == 0
	for _, other := range others[:1+n.r.IntN(len(others))] {
		if deaf {
			n.network.Block(other, place)
		} else {
			n.network.Block(place, other)
		}
	}
	return n.network.Heal
}

// debug runs a test hook of a node, which has to work.
func (n *nemesis) debug(place int, args ...string) {
	n.Helper()
	if err := n.c.Try(place, append([]string{"DEBUG", "SETT"}, args...)...); err != nil {
		n.Errorf("DEBUG SETT %v of node %d: %v", args, place, err)
	}
}

func (n *nemesis) stepClock() func() {
	place := n.anyone()
	step := int64(time.Second/time.Millisecond) << n.r.IntN(13) // up to more than an hour
	if n.r.IntN(2) == 0 {
		step = -step
	}
	n.debug(place, "CLOCK", fmt.Sprint(step))
	return func() { n.debug(place, "CLOCK", "0") }
}

func (n *nemesis) fillDisk() func() {
	place := n.anyone()
	n.debug(place, "DISK-FREE", "0")
	return func() { n.debug(place, "DISK-FREE", "-1") }
}

func (n *nemesis) transfer() func() {
	leader := n.c.AwaitLeader()
	if err := n.c.Try(leader, "FAILOVER"); err != nil {
		n.Errorf("FAILOVER of node %d: %v", leader, err)
		return func() {}
	}
	return func() {
		n.c.Await("another leader", func() error {
			switch now := n.c.Leader(); now {
			case -1:
				return errors.New("there is none")
			case leader:
				n.c.Try(leader, "FAILOVER") // the first may not have happened: who was to lead was not up yet, after another fault
				return errors.New("it is the same")
			}
			return nil
		})
	}
}

// restart stops a node in the orderly way.
func (n *nemesis) restart() func() {
	place := n.anyone()
	n.c.Nodes[place].Stop()
	return func() { n.c.Launch(place) }
}

func (n *nemesis) wipe() func() {
	place := n.follower()
	n.c.Nodes[place].Kill()
	n.c.Wipe(place)
	return func() {
		n.c.Launch(place)
		n.c.AwaitMembers()
	}
}

// changeMembers takes a node out of the cluster and has it come back as another.
func (n *nemesis) changeMembers() func() {
	place := n.follower()
	if err := n.c.Remove(place); err != nil {
		n.Errorf("removing node %d: %v", place, err)
		return func() {}
	}
	return func() {
		n.c.Nodes[place].Kill()
		n.c.Wipe(place)
		n.c.Launch(place)
		n.c.AwaitMembers()
	}
}

// exchange has a node join as a fourth that votes, and then another one leave, the leader more often than not. Every second time a node is killed in the
// middle of that.
func (n *nemesis) exchange() func() {
	joins := n.c.Spare()
	n.c.Join(joins)
	if n.r.IntN(2) == 0 {
		time.Sleep(n.within(n.hold / 2))
		killed := n.anyone()
		n.c.Nodes[killed].Kill()
		n.c.Launch(killed)
	}
	n.c.AwaitMembers()
	leaves := n.anyone()
	for leaves == joins {
		leaves = n.anyone()
	}
	if err := n.c.Remove(leaves); err != nil {
		n.Errorf("removing node %d: %v", leaves, err)
	}
	return func() {
		n.c.Leave(leaves)
		n.c.AwaitMembers()
	}
}

// chosen are the faults whose names match.
func chosen(all []fault, pattern string) []fault {
	expr := regexp.MustCompile(pattern)
	return slices.DeleteFunc(all, func(f fault) bool { return !expr.MatchString(f.name) })
}

const lostPages = "pages lost in power cuts"

// table lists how often each kind of fault was there.
func (n *nemesis) table() string {
	var b strings.Builder
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(n.counts)) {
		fmt.Fprintf(&b, "  %-28s %5d\n", name, n.counts[name])
		if name != lostPages {
			sum += n.counts[name]
		}
	}
	fmt.Fprintf(&b, "  %-28s %5d\n", "faults in all", sum)
	return b.String()
}
