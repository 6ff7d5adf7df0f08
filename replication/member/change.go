package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sett/replication"
	"sett/replication/mesh"
)

const (
	// changeTimeout bounds one change of members.
	changeTimeout = 10 * time.Second
	// leaderTimeout is how long an operator's wish waits for a leader.
	leaderTimeout = 15 * time.Second
	// caughtUpEntries is how far the log of a node that is to vote may be behind the leader's, and caughtUpLooks how often in a row.
	caughtUpEntries = 1000
	caughtUpLooks   = 3
)

// admit takes a node in. The leader only; changing is held.
//
// A node that belongs to no cluster, but whose id votes here, has lost what it had (or had not yet heard that it votes): it may have acknowledged
// entries that it does not have any more. So it starts again as one that does not vote and copies the data first. A wiped node has a new id,
// and comes to the address of its former self, which can only be gone.
func (n *Node) admit(c Cluster, s *replication.State, peer mesh.Identity, addr string) error {
	if lowest := n.Feature(s); peer.Feature < lowest {
		return fmt.Errorf("the node knows feature level %d, the cluster uses %d: update it", peer.Feature, lowest)
	}
	member, isMember := s.Member(peer.NodeID)
	switch {
	case peer.ClusterID == "":
	case !isMember:
		return errors.New("the node was removed from this cluster: give it an empty dir to have it join as a new one")
	case member.Addr == addr:
		return nil
	}
	ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
	defer cancel()
	if err := n.isThere(ctx, peer.NodeID, addr); err != nil {
		return err
	}
	for _, m := range s.Members {
		if m.ID != peer.NodeID && m.Addr == addr {
			n.log.Warn("a new node has come to the address of a member, which is removed", "addr", addr, "removed", m.ID, "new", peer.NodeID)
			if err := c.Remove(ctx, m.ID); err != nil {
				return fmt.Errorf("removing node %s, which was at %s before: %w", short(m.ID), addr, err)
			}
		}
	}
	if isMember && peer.ClusterID == "" && member.Voter {
		n.log.Warn("a voter has come back without its data: it has to copy them before it votes again", "node", peer.NodeID, "addr", addr)
		if err := c.Remove(ctx, peer.NodeID); err != nil {
			return fmt.Errorf("removing node %s, which has lost its data: %w", short(peer.NodeID), err)
		}
	}
	add := c.AddNonvoter
	if isMember && member.Voter && peer.ClusterID != "" {
		add = c.AddVoter // it has moved
	}
	n.log.Info("a node is taken in", "node", peer.NodeID, "addr", addr, "moved", isMember)
	return add(ctx, peer.NodeID, addr)
}

// isThere asks at the address itself who is there.
func (n *Node) isThere(ctx context.Context, id, addr string) error {
	conn, peer, err := n.mesh.Dial(ctx, addr, mesh.Control)
	if err != nil {
		return fmt.Errorf("node %s is not reached at %s (%w): see its cluster.advertise", short(id), addr, plain(err))
	}
	conn.Close()
	if peer.NodeID != id {
		return fmt.Errorf("at %s there is node %s, not %s: see its cluster.advertise", addr, short(peer.NodeID), short(id))
	}
	return nil
}

// promote has nodes vote that want to and have caught up. The leader's watch goroutine only.
func (n *Node) promote(c Cluster, s *replication.State) {
	reports := n.reports()
	steady := map[string]int{}
	var ripe []replication.Member
	for _, m := range s.Members {
		i := slices.IndexFunc(reports, func(r seenReport) bool { return r.ID == m.ID })
		if m.Voter || i < 0 || !reports[i].fresh || reports[i].Replica || reports[i].ClusterID != s.ClusterID || m.Match+caughtUpEntries < s.Last || m.Match == 0 {
			continue
		}
		steady[m.ID] = n.steadily(m.ID) + 1
		if steady[m.ID] >= caughtUpLooks {
			ripe = append(ripe, m)
		}
	}
	n.mu.Lock()
	n.steady = steady
	n.mu.Unlock()
	if len(ripe) == 0 || !n.changing.TryLock() {
		return
	}
	defer n.changing.Unlock()
	ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
	defer cancel()
	if err := c.AddVoter(ctx, ripe[0].ID, ripe[0].Addr); err != nil {
		n.log.Warn("a node that has caught up could not be made a voter; it is tried again", "node", ripe[0].ID, "err", err)
		return
	}
	n.log.Info("a node has caught up and votes from now on", "node", ripe[0].ID, "addr", ripe[0].Addr)
}

func (n *Node) steadily(id string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.steady[id]
}

// move tells the leader that this node is reached at another address than the cluster knows.
func (n *Node) move(s *replication.State, me replication.Member) {
	addr := n.Addr()
	ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
	defer cancel()
	if s.Role == replication.Leader {
		n.throughLeader(func(c Cluster, _ *replication.State) reply { return failure(c.AddVoter(ctx, me.ID, addr)) })
		return
	}
	leader, ok := s.Member(s.Leader)
	if !ok {
		return
	}
	r, err := n.askOnce(ctx, leader.Addr, leader.ID, question{Op: opJoin, Addr: addr}, changeTimeout)
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		n.log.Warn("this node's address has changed, and the leader could not be told", "from", me.Addr, "to", addr, "err", err)
	}
}

// answerOperator removes a node or has another one lead.
func (n *Node) answerOperator(q question) reply {
	if n.dir.Node().ClusterID == "" {
		return reply{Error: "this node belongs to no cluster"}
	}
	return n.throughLeader(func(c Cluster, s *replication.State) reply {
		var target replication.Member
		if q.Target != "" || q.Op == opRemove {
			var err error
			if target, err = find(s, q.Target); err != nil {
				return reply{Error: err.Error()}
			}
		}
		ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
		defer cancel()
		if q.Op == opTransfer {
			return failure(c.Transfer(ctx, target.ID))
		}
		return failure(n.remove(ctx, c, s, target))
	})
}

// find returns the member with an id, the beginning of one, or an address.
func find(s *replication.State, target string) (found replication.Member, err error) {
	matches := 0
	for _, m := range s.Members {
		if m.ID == target || m.Addr == target {
			return m, nil
		}
		if len(target) >= 4 && strings.HasPrefix(m.ID, target) {
			found = m
			matches++
		}
	}
	switch matches {
	case 0:
		return found, fmt.Errorf("there is no member %q: give an id, its first 4 digits or more, or an address", target)
	case 1:
		return found, nil
	}
	return found, fmt.Errorf("several members begin with %q", target)
}

// remove has a member leave, unless what is left could not decide anything.
func (n *Node) remove(ctx context.Context, c Cluster, s *replication.State, target replication.Member) error {
	if target.Voter {
		left, there := 0, 0
		for _, m := range s.Members {
			if !m.Voter || m.ID == target.ID {
				continue
			}
			left++
			if m.ID == s.ID || n.isThere(ctx, m.ID, m.Addr) == nil {
				there++
			}
		}
		switch {
		case left == 0:
			return errors.New("it is the only voter")
		case there < left/2+1:
			return fmt.Errorf("of the %d voters that would be left, %d answer: they could not agree on anything", left, there)
		}
	}
	if target.ID == s.ID {
		if err := c.Transfer(ctx, ""); err != nil {
			return fmt.Errorf("the node leads, and nobody takes over: %w", err)
		}
		return errors.New(handedOn)
	}
	n.log.Warn("a member is removed", "node", target.ID, "addr", target.Addr)
	return c.Remove(ctx, target.ID)
}

// handedOn is what a leader says that should be removed: its successor does it.
const handedOn = "it led; another node leads now, ask again"

// noLeader is what a node says that knows none: nothing was done.
const noLeader = "there is no leader now"
