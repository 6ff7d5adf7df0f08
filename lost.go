package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sett/replication"
	"sett/replication/member"
	"sett/replication/mesh"
	"sett/storage"
)

// A node of a cluster whose log and tables do not go together any more, because one of them has lost data, gets them from the others: like one that has
// diverged it starts over, without a vote before it has caught up. Each node decides that for itself, and what it has left is gone then; so it does
// so only while another node leads. All that was ever acknowledged is in that one's log, whoever had acknowledged it.

// orStartOver takes a refusal to start, and says if the next start will do better.
func (n *node) orStartOver(err error) error {
	var refused *storage.RefusedError
	if n.cluster.alone() || !errors.As(err, &refused) || !refused.Lost || n.dir.Node().ClusterID == "" {
		return err
	}
	if err := n.dir.MarkLost(refused.Reason); err != nil {
		return err
	}
	// No refusal any more: whoever looks after the process may start it again.
	return fmt.Errorf("%s. Or start it again: it takes a copy of its cluster's data then, if another node leads", refused.Reason)
}

// sightings is how many heartbeat timeouts apart a leader must have been seen twice: one that has lost its followers, this node perhaps, does not lead for so long.
const sightings = 3

// complainEvery is how often the log says what a start waits for.
const complainEvery = 5 * time.Second

// awaitAnotherLeader returns when a node that has lost data may start over.
func (n *node) awaitAnotherLeader() error {
	why, err := n.dir.Lost()
	if err != nil || why == "" {
		return err
	}
	tls, err := mesh.LoadTLS(n.cluster.cert, n.cluster.key, n.cluster.ca)
	if err != nil {
		return err
	}
	o := &operator{mesh: member.Operator(n.cluster.secret, tls), addrs: n.cluster.peers}
	defer o.mesh.Close()
	var seen *member.Report
	var said time.Time
	for {
		leader, problems := o.leaderOf(n.dir.Node())
		if leader != nil && seen != nil && leader.ID == seen.ID && leader.Term == seen.Term {
			n.logger.Warn("this node has lost data, and another one leads: it has them", "leader", leader.Addr, "term", leader.Term)
			return nil
		}
		if seen = leader; leader == nil && time.Since(said) > complainEvery {
			said = time.Now()
			n.logger.Warn("this node has lost data, and waits for another one to lead: what is left here might be all that there is. If the others are gone for good, "+
				"restore a copy of the data directory", "why", why, "problems", problems)
		}
		time.Sleep(sightings * n.cluster.heartbeat)
	}
}

// leaderOf asks who leads the cluster of a node, itself apart; nil: nobody says so.
func (o *operator) leaderOf(self storage.Node) (leader *member.Report, problems string) {
	reports, problems := o.reports(context.Background())
	for _, r := range reports {
		if r.ClusterID == self.ClusterID && r.Epoch == self.Epoch && r.ID != self.ID && r.Role == replication.Leader.String() && (leader == nil || r.Term > leader.Term) {
			leader = r
		}
	}
	return leader, problems
}
