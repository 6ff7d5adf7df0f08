package server

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sett/replication"
)

// topology is the cluster as clients of Redis know one: a master that holds all slots, and its replicas. It is a picture of one moment.
type topology struct {
	replication.State
	nodes  []node // in the order of their IDs
	master *node  // the leader, or while there is none the last that this node knew; nil: it knew none
	nowMs  int64  // unix time

	downAfter time.Duration // Options.DownAfter
}

// node is a member with what Redis' formats want of it.
type node struct {
	replication.Member
	redisID string // 40 hex digits
	host    string // of its port for clients; "" if that is not known
	port    int
	busPort int
	self    bool
	unknown bool // this node does not hear of it
}

// redisIDDigits is the length of Redis' own IDs. Ours are 32 hex digits; the rest is filled with zeros, so that each is found in the other.
const redisIDDigits = 40

func redisID(id string) string {
	return id + strings.Repeat("0", max(0, redisIDDigits-len(id)))
}

// topology paints the present picture. The node is not alone.
func (s *Server) topology(c Cluster) *topology {
	state := c.State()
	s.noteLeader(&state)
	t := newTopology(state, s.lastLeader.Load(), time.Now())
	t.downAfter = s.opts.DownAfter
	return t
}

func newTopology(state replication.State, lastLeader *string, now time.Time) *topology {
	t := &topology{State: state, nowMs: now.UnixMilli()}
	if _, there := state.Member(state.ID); !there { // it was removed, or its configuration has not come yet
		t.Members = append(slices.Clone(t.Members), replication.Member{ID: state.ID, Reachable: true})
	}
	leader := state.Leader
	if leader == "" && lastLeader != nil {
		leader = *lastLeader
	}
	t.nodes = make([]node, len(t.Members))
	for i, m := range t.Members {
		n := node{Member: m, redisID: redisID(m.ID), self: m.ID == state.ID}
		n.host, n.port = splitAddr(m.ClientAddr)
		_, n.busPort = splitAddr(m.Addr)
		isMaster := leader != "" && m.ID == leader
		switch {
		case n.self:
			n.Reachable, n.LastContact, n.Match, n.Applied = true, 0, state.Last, state.Applied
		case state.Role != replication.Leader && m.LastContact == 0:
			// Who does not lead hears of the leader alone: of others it does not say that they have failed.
			n.Reachable = m.Reachable || !isMaster || state.Leader != ""
			n.unknown = !m.Reachable
		}
		t.nodes[i] = n
		if isMaster {
			t.master = &t.nodes[i]
		}
	}
	return t
}

// splitAddr returns "" and 0 for what is no address.
func splitAddr(addr string) (host string, port int) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	if port, err = strconv.Atoi(digits); err != nil {
		return "", 0
	}
	return host, port
}

// addr is where clients find the node, "" if that is not known.
func (n *node) addr() string {
	if n.host == "" {
		return ""
	}
	return net.JoinHostPort(n.host, strconv.Itoa(n.port))
}

func (n *node) contactMs() int64 { return n.LastContact.Milliseconds() }

// hasLeader tells whether commands are served: somebody leads, as far as this node knows, and this node is one of those who follow.
func (t *topology) hasLeader() bool {
	return t.Leader != "" && t.master != nil && t.Role != replication.Diverged
}

func (t *topology) leads() bool { return t.Role == replication.Leader }

// self is this node.
func (t *topology) self() *node {
	for i := range t.nodes {
		if t.nodes[i].self {
			return &t.nodes[i]
		}
	}
	panic("server: a picture without its painter") // newTopology puts it in
}

// replicas are all but the master.
func (t *topology) replicas() (found []*node) {
	for i := range t.nodes {
		if n := &t.nodes[i]; n != t.master {
			found = append(found, n)
		}
	}
	return found
}

// connected are the replicas that the master hears of and that clients can be sent to.
func (t *topology) connected() []*node {
	return slices.DeleteFunc(t.replicas(), func(n *node) bool { return !n.Reachable || n.host == "" })
}

// find returns the node with an ID of Redis' length, or ours.
func (t *topology) find(id []byte) *node {
	for i := range t.nodes {
		if n := &t.nodes[i]; n.redisID == strings.ToLower(string(id)) || n.ID == strings.ToLower(string(id)) {
			return n
		}
	}
	return nil
}

// isLoading tells whether a replica has nothing yet, as Redis calls one that gets its first copy of the data. Only the leader knows.
func (t *topology) isLoading(n *node) bool { return t.leads() && n != t.master && n.offset() == 0 }

// offset is how far a node's log goes, as Redis' replication offsets.
func (n *node) offset() uint64 { return max(n.Match, n.Applied) }

// quorum is how many voters decide.
func (t *topology) quorum() int { return t.voters()/2 + 1 }

func (t *topology) voters() (voters int) {
	for i := range t.nodes {
		if t.nodes[i].Voter {
			voters++
		}
	}
	return voters
}

// usable counts the voters that are heard of, this node included.
func (t *topology) usable() (voters int) {
	for i := range t.nodes {
		if t.nodes[i].Voter && t.nodes[i].Reachable {
			voters++
		}
	}
	return voters
}
