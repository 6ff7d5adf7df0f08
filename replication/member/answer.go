package member

import (
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"time"

	"sett/replication"
	"sett/replication/mesh"
	"sett/storage"
)

// idleTimeout is how long a Control stream may be silent: peers ask every Interval.
const idleTimeout = time.Minute

// answerAll serves one Control stream.
func (n *Node) answerAll(conn net.Conn, peer mesh.Identity) {
	defer conn.Close()
	for {
		conn.SetDeadline(time.Now().Add(idleTimeout))
		var q question
		if err := readFrame(conn, &q); err != nil {
			return
		}
		var r reply
		if q.Op == opDigest {
			r = n.answerDigest(conn, q.Index)
		} else {
			r = n.answer(q, peer)
		}
		r.Version = frameVersion
		conn.SetDeadline(time.Now().Add(idleTimeout))
		if err := writeFrame(conn, r); err != nil {
			return
		}
	}
}

func (n *Node) answer(q question, peer mesh.Identity) reply {
	switch q.Op {
	case opStatus:
		return reply{Report: n.report()}
	case opFound:
		return failure(n.promise(storage.Promise{Founder: peer.NodeID, Addr: q.Addr, Boot: peer.Boot}))
	case opInvite:
		return failure(n.invite(q.Via))
	case opJoin:
		return n.answerJoin(q, peer)
	case opPoint:
		return n.flushPoint()
	case opRemove, opTransfer:
		return n.answerOperator(q)
	}
	return reply{Error: fmt.Sprintf("this version knows nothing of %q", q.Op)}
}

func failure(err error) reply {
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{}
}

// invite has a node that belongs to no cluster look at some more addresses.
func (n *Node) invite(via []string) error {
	if known := n.dir.Node(); known.ClusterID != "" {
		return fmt.Errorf("node %s belongs to cluster %s already", short(known.ID), known.ClusterID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, addr := range via {
		if len(n.invited) < maxInvited && !slices.Contains(n.invited, addr) {
			n.invited = append(n.invited, addr)
		}
	}
	return nil
}

// maxInvited bounds what an operator can have a node look at.
const maxInvited = 32

// answerJoin takes a node in, or sends it to who can.
func (n *Node) answerJoin(q question, peer mesh.Identity) reply {
	known := n.dir.Node()
	switch {
	case known.ClusterID == "":
		return reply{Error: "this node belongs to no cluster itself"}
	case peer.NodeID == "":
		return reply{Error: "only nodes join"}
	case peer.ClusterID == "" && isFounder(known.Founders, peer.NodeID) && !n.hasJoined(peer.NodeID):
		return n.welcome() // it was a voter from the beginning, and there can be no leader before it knows
	}
	return n.throughLeader(func(c Cluster, s *replication.State) reply {
		if err := n.admit(c, s, peer, q.Addr); err != nil {
			return reply{Error: err.Error()}
		}
		return n.welcome()
	})
}

func isFounder(founders []storage.Founder, id string) bool {
	return slices.ContainsFunc(founders, func(f storage.Founder) bool { return f.ID == id })
}

func (n *Node) welcome() reply {
	known, seed := n.dir.Node(), n.dir.HashSeed()
	return reply{Welcome: &admission{ClusterID: known.ClusterID, Epoch: known.Epoch, HashSeed: hex.EncodeToString(seed[:])}}
}

// throughLeader has something done if this node leads, and names the leader otherwise.
func (n *Node) throughLeader(do func(Cluster, *replication.State) reply) reply {
	n.changing.Lock()
	defer n.changing.Unlock()
	c := n.part()
	if c == nil {
		return reply{Error: "this node is not ready"}
	}
	s := c.State()
	n.Describe(&s)
	if s.Role == replication.Leader {
		return do(c, &s)
	}
	leader, ok := s.Member(s.Leader)
	if !ok || leader.ID == s.ID {
		return reply{Error: noLeader}
	}
	return reply{Leader: leader.Addr}
}
