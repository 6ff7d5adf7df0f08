package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"sett/replication"
	"sett/replication/mesh"
	"sett/storage"
)

// Options are what the configuration says, and what is open already.
type Options struct {
	Dir    *storage.Dir
	Listen net.Listener // the cluster port
	Secret string
	TLS    *tls.Config // nil: none; see mesh.LoadTLS

	Peers     []string // addresses of the cluster port of every node, this one's own among them
	Expect    int      // nodes that must have found each other before a new cluster begins
	Advertise string   // how others reach Listen; "": the one of Peers at which this node meets itself
	Replica   bool     // it follows, and never votes

	ClientAddr string // where clients come in; without a host, that of this node's own address
	HasData    bool   // the directory has entries: it must not be overwritten by what another cluster has
	Version    string // of the program
	Memory     int64  // memory_budget
	// Smallest is told at each tick, while this node takes part, which memory_budget is the smallest of all members'.
	Smallest func(memory int64)

	Digests Digester // nil: this node takes none

	Fatal    func(error) // the node must end: the cluster was recovered without it
	Logger   *slog.Logger
	Interval time.Duration // between two looks at a peer; 0: a second
}

// Cluster is what changes members: replication.Cluster.
type Cluster interface {
	State() replication.State
	AddVoter(ctx context.Context, id, addr string) error
	AddNonvoter(ctx context.Context, id, addr string) error
	Remove(ctx context.Context, id string) error
	Transfer(ctx context.Context, id string) error // "": to anyone
}

// Found is what a node knows once it belongs to a cluster.
type Found struct {
	ID, ClusterID string
	Addr          string // how the others reach this node
	// Bootstrap is not nil if this node begins the cluster, with these as voters. After a restart it may be given again, until all of them have
	// taken part: a log that is not empty already has its members, and does not need it.
	Bootstrap []replication.Member
}

// Node is this node among the others.
type Node struct {
	o        Options
	dir      *storage.Dir
	mesh     *mesh.Mesh
	log      *slog.Logger
	interval time.Duration

	digesting sync.Mutex // one digest at a time: it reads all there is

	mu       sync.Mutex
	lines    map[string]*line // by address; guarded by mu, as all below
	invited  []string         // addresses of members that an operator named
	self     string           // how others reach this node; "": not known yet
	waitsFor string           // what Discover waits for
	cluster  Cluster          // nil before Attach
	attached time.Time
	behind   error // not nil: a newer epoch of the cluster was seen
	ready    func() bool
	removed  bool
	steady   map[string]int  // on the leader: looks in a row at which a node that wants to vote had caught up
	joined   map[string]bool // ids that have been seen in the cluster

	changing   sync.Mutex // one change of members, or of promises, at a time
	promisedAt time.Time  // when the last promise was given, in this life; guarded by changing

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Open lets others talk to this node, and begins to look for them. Discover is called next.
func Open(o Options) (*Node, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	n := &Node{o: o, dir: o.Dir, log: o.Logger, interval: o.Interval, self: o.Advertise,
		lines: map[string]*line{}, steady: map[string]int{}, joined: map[string]bool{}}
	if n.interval == 0 {
		n.interval = time.Second
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	if o.Secret == "" && o.TLS == nil {
		n.log.Warn("whoever reaches the cluster port may join the cluster and read everything: set cluster.secret, or cluster.tls_*", "listen", o.Listen.Addr())
	}
	n.mesh = mesh.New(mesh.Options{Listen: o.Listen, Secret: o.Secret, TLS: o.TLS, Self: n.identity, Logger: o.Logger})
	n.mesh.Handle(mesh.Control, n.answerAll)
	n.mesh.Serve()
	n.running.Go(n.watch)
	return n, nil
}

func (o *Options) check() error {
	switch {
	case len(o.Peers) < o.Expect:
		return fmt.Errorf("cluster.expect is %d, but cluster.peers names %d nodes", o.Expect, len(o.Peers))
	case 2*o.Expect <= len(o.Peers):
		return fmt.Errorf("cluster.expect is %d of the %d nodes in cluster.peers: it must be more than half, or two clusters could begin", o.Expect, len(o.Peers))
	}
	return nil
}

// Mesh is the cluster port, for the other kinds of streams. Close closes it.
func (n *Node) Mesh() *mesh.Mesh { return n.mesh }

// identity is what this node says of itself in a hello.
func (n *Node) identity() mesh.Identity {
	known := n.dir.Node()
	return mesh.Identity{ClusterID: known.ClusterID, NodeID: known.ID, Epoch: known.Epoch, Feature: storage.FeatureLevel, ClientAddr: n.clientAddr()}
}

// clientAddr is where clients come in, as far as it is known.
func (n *Node) clientAddr() string {
	host, port, err := net.SplitHostPort(n.o.ClientAddr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return n.o.ClientAddr
	}
	own, _, err := net.SplitHostPort(n.Addr())
	if err != nil {
		return ""
	}
	return net.JoinHostPort(own, port)
}

// Addr is how others reach this node; "" as long as it does not know.
func (n *Node) Addr() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.self == "" {
		return n.dir.Node().Addr
	}
	return n.self
}

// Attach has the node run beside the cluster: from now on it fills in what State cannot know, and, while it leads, admits new members and has
// them vote once they have caught up. ready tells whether this node serves clients.
func (n *Node) Attach(c Cluster, ready func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cluster, n.ready, n.attached = c, ready, time.Now()
}

// part is what this node takes part in, or nil.
func (n *Node) part() Cluster {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cluster
}

// Detach is called before the cluster is closed. It waits for a change of members that is under way; afterwards the cluster is at most asked for its State.
func (n *Node) Detach() {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cluster = nil
}

// Removed tells whether the cluster goes on without this node: it serves nobody, and its directory is of no use to it.
func (n *Node) Removed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.removed
}

// Close ends everything, the mesh included.
func (n *Node) Close() error {
	n.stop()
	err := n.mesh.Close()
	n.running.Wait()
	return err
}

// targets are the addresses to look at: those of the configuration, of the members, and of an invitation.
func (n *Node) targets() []string {
	all := slices.Clone(n.o.Peers)
	if c := n.part(); c != nil {
		state := c.State()
		for _, m := range state.Members {
			all = append(all, m.Addr)
		}
	}
	for _, f := range n.dir.Node().Founders {
		all = append(all, f.Addr)
	}
	n.mu.Lock()
	all = append(all, n.invited...)
	n.mu.Unlock()
	slices.Sort(all)
	return slices.Compact(all)
}

// watch keeps a line to each target, and does what follows from what they tell.
func (n *Node) watch() {
	tick := time.NewTicker(n.interval)
	defer tick.Stop()
	for {
		n.keepLines(n.targets())
		if c := n.part(); c != nil {
			n.look(c)
		}
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			n.keepLines(nil)
			return
		}
	}
}

// keepLines begins and ends lines.
func (n *Node) keepLines(addrs []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for addr, l := range n.lines {
		if !slices.Contains(addrs, addr) {
			l.hangUp()
			delete(n.lines, addr)
		}
	}
	for _, addr := range addrs {
		if n.lines[addr] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(n.ctx)
		l := &line{node: n, addr: addr, hangUp: cancel, err: errNotTried}
		n.lines[addr] = l
		n.running.Go(func() { l.run(ctx) })
	}
}

var errNotTried = errors.New("not asked yet")

// look is what a member does at each tick.
func (n *Node) look(c Cluster) {
	state := c.State()
	own := n.dir.Node()
	if len(own.Founders) > 0 {
		n.settle(own.Founders, &state)
	}
	if state.Role == replication.Leader {
		n.promote(c, &state)
	}
	n.noticeRemoval(&state)
	if n.o.Smallest != nil {
		n.o.Smallest(n.memory(&state))
	}
	if me, ok := state.Member(own.ID); ok && me.Addr != n.Addr() && n.Addr() != "" {
		n.move(&state, me)
	}
}

// settle forgets the founders once each has taken part in the cluster, or was removed: who comes later and is blank has lost its directory.
func (n *Node) settle(founders []storage.Founder, state *replication.State) {
	for _, f := range founders {
		_, still := state.Member(f.ID)
		if len(state.Members) == 0 || still && f.ID != state.ID && !n.hasJoined(f.ID) {
			return
		}
	}
	if err := n.dir.Settle(); err != nil {
		n.log.Error("node.json cannot be written", "err", err)
	}
}

func (n *Node) hasJoined(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.joined[id]
}

// noticeRemoval compares with what the leader says, and said after this node had been taken in. Without a leader nothing changes.
func (n *Node) noticeRemoval(state *replication.State) {
	reports := n.reports()
	n.mu.Lock()
	attached := n.attached
	n.mu.Unlock()
	i := slices.IndexFunc(reports, func(r seenReport) bool {
		return r.fresh && r.asked.After(attached) && r.ClusterID == state.ClusterID && r.Role == replication.Leader.String() && r.Term >= state.Term
	})
	if i < 0 {
		return
	}
	removed := !slices.ContainsFunc(reports[i].Members, func(m Seen) bool { return m.ID == state.ID })
	n.mu.Lock()
	was := n.removed
	n.removed = removed
	n.mu.Unlock()
	if removed && !was {
		n.log.Error("this node was removed from the cluster, which goes on without it: stop it, or give it an empty dir to have it join as a new node")
	}
}

// Describe fills in what members have said of themselves lately.
func (n *Node) Describe(s *replication.State) {
	seen := n.reports()
	own := n.dir.Node().ID
	for i := range s.Members {
		m := &s.Members[i]
		if m.ID == own {
			m.ClientAddr, m.Reachable, m.LastContact, m.Applied, m.Feature = n.clientAddr(), true, 0, s.Applied, storage.FeatureLevel
			if s.Role != replication.Leader || m.Match == 0 {
				m.Match = s.Last
			}
			continue
		}
		at := slices.IndexFunc(seen, func(r seenReport) bool { return r.ID == m.ID })
		if at < 0 {
			continue
		}
		r := seen[at]
		m.ClientAddr, m.Applied, m.Feature = r.ClientAddr, max(m.Applied, r.Applied), r.Feature
		m.Reachable = m.Reachable || r.fresh
		if age := time.Since(r.at); m.LastContact == 0 || age < m.LastContact {
			m.LastContact = age
		}
		if s.Role != replication.Leader {
			m.Match = r.Last
		}
	}
}

// Feature is the lowest level of effects that all members of a state understand, as far as they have said so; at least what this node itself does.
func (n *Node) Feature(s *replication.State) int {
	lowest := storage.FeatureLevel
	for _, r := range n.reports() {
		if _, ok := s.Member(r.ID); ok {
			lowest = min(lowest, r.Feature)
		}
	}
	return lowest
}

// memory is the smallest memory_budget of all members of a state, as they said last.
func (n *Node) memory(s *replication.State) int64 {
	smallest := n.o.Memory
	for _, r := range n.reports() {
		if _, ok := s.Member(r.ID); ok && r.Memory > 0 {
			smallest = min(smallest, r.Memory)
		}
	}
	return smallest
}

// report is what this node says of itself.
func (n *Node) report() *Report {
	known := n.dir.Node()
	n.mu.Lock()
	c, ready, removed, waits := n.cluster, n.ready, n.removed, n.waitsFor
	n.mu.Unlock()
	r := &Report{ID: known.ID, ClusterID: known.ClusterID, Epoch: known.Epoch, Addr: n.Addr(), ClientAddr: n.clientAddr(), Boot: n.mesh.Self().Boot,
		WallMs: time.Now().UnixMilli(), Version: n.o.Version, Memory: n.o.Memory, Feature: storage.FeatureLevel, Replica: n.o.Replica, HasData: n.o.HasData,
		Promised: known.Promised.Founder, WaitsFor: waits, Removed: removed}
	if c == nil {
		return r
	}
	s := c.State()
	n.Describe(&s)
	r.Ready, r.Role, r.Term, r.Leader = ready(), s.Role.String(), s.Term, s.Leader
	r.First, r.Last, r.Committed, r.Applied = s.First, s.Last, s.Committed, s.Applied
	for _, m := range s.Members {
		r.Members = append(r.Members, Seen{m.ID, m.Addr, m.ClientAddr, m.Voter, m.Reachable, m.LastContact.Milliseconds(), m.Match, m.Applied})
	}
	return r
}

// short is an id as people read it in a log.
func short(id string) string { return id[:min(8, len(id))] }

func list(words []string) string { return strings.Join(words, ", ") }
