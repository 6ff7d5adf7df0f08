package member

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sett/internal/testlog"
	"sett/internal/testport"
	"sett/replication"
	"sett/storage"
)

// world plays the part of raft for the nodes of a test: who votes, who leads, and whether a majority is there to change anything.
type world struct {
	t *testing.T

	mu     sync.Mutex
	groups map[string]*group // by cluster id; guarded by mu, as is all in them
}

type group struct {
	members []replication.Member
	here    map[string]bool // taking part now
	copied  map[string]bool // have all data: a voter that has not is amnesia
	leader  string
	term    uint64
	alive   bool // a majority has taken part at once: something may have been acknowledged
}

// seat is what a node has of its cluster.
type seat struct {
	w         *world
	clusterID string
	id        string
}

const worldLast = 5000 // entries in everybody's log

// sit has a node take part.
func (w *world) sit(f Found) *seat {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[f.ClusterID]
	if g == nil {
		g = &group{here: map[string]bool{}, copied: map[string]bool{}}
		w.groups[f.ClusterID] = g
	}
	if len(g.members) == 0 {
		for _, m := range f.Bootstrap {
			g.members = append(g.members, m)
			g.copied[m.ID] = true // there is nothing yet
		}
	}
	g.here[f.ID] = true
	g.elect()
	return &seat{w, f.ClusterID, f.ID}
}

func (s *seat) leave() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	g := s.w.groups[s.clusterID]
	delete(g.here, s.id)
	g.elect()
}

// elect finds a leader if a majority is there.
func (g *group) elect() {
	voters, here := 0, 0
	var first string
	for _, m := range g.members {
		if m.Voter {
			voters++
			if g.here[m.ID] {
				here++
				if first == "" {
					first = m.ID
				}
			}
		}
	}
	switch {
	case here < voters/2+1:
		g.leader = ""
	case !g.here[g.leader] || !g.votes(g.leader):
		g.leader = first
		g.term++
		g.alive = true
	}
}

func (g *group) votes(id string) bool {
	return slices.ContainsFunc(g.members, func(m replication.Member) bool { return m.ID == id && m.Voter })
}

func (s *seat) State() replication.State {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	g := s.w.groups[s.clusterID]
	state := replication.State{Role: replication.Follower, ClusterID: s.clusterID, ID: s.id, Term: g.term, Leader: g.leader,
		Members: slices.Clone(g.members), First: 1, Last: worldLast, Committed: worldLast, Applied: worldLast}
	if g.leader == s.id {
		state.Role = replication.Leader
		for i := range state.Members {
			if id := state.Members[i].ID; g.here[id] {
				state.Members[i].Match = worldLast
				g.copied[id] = true
			}
		}
	}
	return state
}

var errNoQuorum = errors.New("not the leader, or no majority")

// change changes the members as the leader.
func (s *seat) change(ctx context.Context, f func(g *group)) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	g := s.w.groups[s.clusterID]
	if g.leader != s.id || ctx.Err() != nil {
		return errNoQuorum
	}
	f(g)
	g.elect()
	ids, addrs := map[string]bool{}, map[string]bool{}
	for _, m := range g.members {
		if ids[m.ID] || addrs[m.Addr] {
			s.w.t.Errorf("raft would refuse these members: %+v", g.members)
		}
		ids[m.ID], addrs[m.Addr] = true, true
		if m.Voter && !g.copied[m.ID] {
			s.w.t.Errorf("%s votes without having the data", m.ID)
		}
	}
	return nil
}

func (s *seat) AddVoter(ctx context.Context, id, addr string) error {
	return s.change(ctx, func(g *group) { g.put(replication.Member{ID: id, Addr: addr, Voter: true}) })
}

func (s *seat) AddNonvoter(ctx context.Context, id, addr string) error {
	return s.change(ctx, func(g *group) { g.put(replication.Member{ID: id, Addr: addr}) })
}

func (g *group) put(m replication.Member) {
	for i, old := range g.members {
		if old.ID == m.ID {
			m.Voter = m.Voter || old.Voter
			g.members[i] = m
			return
		}
	}
	g.members = append(g.members, m)
}

func (s *seat) Remove(ctx context.Context, id string) error {
	return s.change(ctx, func(g *group) {
		g.members = slices.DeleteFunc(g.members, func(m replication.Member) bool { return m.ID == id })
		delete(g.copied, id)
	})
}

func (s *seat) Transfer(ctx context.Context, id string) error {
	return s.change(ctx, func(g *group) {
		for _, m := range g.members {
			if m.Voter && g.here[m.ID] && m.ID != s.id && (id == "" || id == m.ID) {
				g.leader = m.ID
				g.term++
				return
			}
		}
	})
}

// box is a machine: an address, a disk, and perhaps a running node.
type box struct {
	t       *testing.T
	w       *world
	addr    string
	path    string
	options Options
	log     *testlog.Buffer

	node  *Node
	dir   *storage.Dir
	done  chan struct{}
	found Found // after done
	err   error
	seat  *seat
	ended chan error // Options.Fatal
}

const testInterval = 5 * time.Millisecond

func newWorld(t *testing.T) *world {
	return &world{t: t, groups: map[string]*group{}}
}

// boxes are machines with one configuration.
func (w *world) boxes(n int, change func(*Options)) (all []*box) {
	w.t.Helper()
	var peers []string
	for range n {
		peers = append(peers, testport.Addr(w.t))
	}
	for _, addr := range peers {
		o := Options{Peers: peers, Expect: n/2 + 1, Secret: "of the badger", ClientAddr: ":7001", Interval: testInterval}
		if n == 3 {
			o.Expect = 3
		}
		if change != nil {
			change(&o)
		}
		b := &box{t: w.t, w: w, addr: addr, path: filepath.Join(w.t.TempDir(), "data"), options: o, log: &testlog.Buffer{}}
		w.t.Cleanup(b.kill)
		all = append(all, b)
	}
	return all
}

// start runs the node.
func (b *box) start() {
	b.t.Helper()
	var err error
	if b.dir, err = storage.OpenDir(storage.OSFS{}, b.path); err != nil {
		b.t.Fatal(err)
	}
	o := b.options
	b.ended = make(chan error, 1)
	o.Fatal = func(err error) { b.ended <- err }
	o.Dir, o.Logger = b.dir, slog.New(slog.NewTextHandler(b.log, nil))
	if o.Listen, err = net.Listen("tcp", b.addr); err != nil {
		b.t.Fatal(err)
	}
	if b.node, err = Open(o); err != nil {
		b.t.Fatal(err)
	}
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		if b.found, b.err = b.node.Discover(context.Background()); b.err == nil {
			b.seat = b.w.sit(b.found)
			b.node.Attach(b.seat, func() bool { return true })
		}
	}()
}

// kill ends it: the disk stays.
func (b *box) kill() {
	if b.node == nil {
		return
	}
	b.node.stop() // Discover ends
	<-b.done
	if b.seat != nil {
		b.node.Detach()
		b.seat.leave()
	}
	b.node.Close()
	b.dir.Close()
	b.node, b.seat = nil, nil
}

func (b *box) wipe() {
	b.kill()
	if err := os.RemoveAll(b.path); err != nil {
		b.t.Fatal(err)
	}
}

// belongs tells whether the node takes part.
func (b *box) belongs() bool {
	select {
	case <-b.done:
		return b.err == nil
	default:
		return false
	}
}

func until(t *testing.T, what string, ok func() bool, boxes ...*box) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(testInterval) {
		if time.Now().After(deadline) {
			for _, b := range boxes {
				t.Logf("%s\n%s", b.addr, b.log)
			}
			t.Fatalf("it does not come: %s", what)
		}
	}
}

// founded are boxes that have become a cluster.
func (w *world) founded(n int) []*box {
	w.t.Helper()
	boxes := w.boxes(n, nil)
	for _, b := range boxes {
		b.start()
	}
	w.whole(boxes...)
	return boxes
}

// foundersForgotten waits until all know the members from the log.
func (w *world) foundersForgotten(boxes ...*box) {
	w.t.Helper()
	until(w.t, "no founders", func() bool {
		return !slices.ContainsFunc(boxes, func(b *box) bool { return len(b.dir.Node().Founders) > 0 })
	}, boxes...)
}

// whole waits until all boxes are voters of one cluster that has a leader.
func (w *world) whole(boxes ...*box) *group {
	w.t.Helper()
	var g *group
	until(w.t, "one cluster of all", func() bool {
		for _, b := range boxes {
			if b.node == nil || !b.belongs() {
				return false
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		g = w.groups[boxes[0].found.ClusterID]
		for _, b := range boxes {
			if b.found.ClusterID != boxes[0].found.ClusterID || !g.votes(b.found.ID) {
				return false
			}
		}
		return g.leader != "" && len(g.members) == len(boxes)
	}, boxes...)
	return g
}
