package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// catchUp is the goroutine that lets a node serve, vote and stand for election once it may. It ends then.
func (c *Cluster) catchUp() {
	started := time.Now()
	tick := time.NewTicker(10 * lookAgain)
	defer tick.Stop()
	away := amnesia{}
	for !c.served.Load() || c.trans.closed.Load() {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		if !c.served.Load() && c.upToDate() {
			c.store.Serve()
			c.served.Store(true)
			c.remember()
			c.rejoin()
		}
		switch {
		case c.diverged.Load():
			// It has lost more than a second's worth: only a copy makes it one that may have a say.
		case c.amnesiac.Load():
			away.wait(c)
		case time.Since(started) >= c.pledge():
			// Who leads with this node's support does not count on it for longer, if it has not heard from it since.
			c.trans.openVotes()
		}
	}
}

// upToDate tells whether this node has applied what was committed when it was started: it has heard of a commit index from a leader that knows it,
// because it has committed an entry of its own term. What raft calls committed here would not do: it is at most the end of this node's own log.
func (c *Cluster) upToDate() bool {
	committed := c.news.newest()
	if committed == 0 || c.raft.State() != raft.Follower {
		return false
	}
	if term, err := c.termOf(committed); err != nil || term != c.raft.CurrentTerm() {
		return false
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	return c.WaitApplied(ctx, max(committed, c.store.Newest())) == nil
}

// remember ends amnesia: this node has caught up with what it may have forgotten.
func (c *Cluster) remember() {
	if !c.amnesiac.CompareAndSwap(true, false) {
		return
	}
	if err := c.votes.recovered(); err != nil {
		c.o.Fatal(err)
		return
	}
	c.o.Logger.Info("this node has caught up with what it may have forgotten: it votes again")
	c.stand()
}

// rejoin ends that of a node that has started over: it has what its cluster has.
func (c *Cluster) rejoin() {
	if !c.diverged.Load() {
		return
	}
	clean, err := c.o.Dir.Rejoined()
	if err != nil {
		c.o.Fatal(err)
		return
	}
	c.diverged.Store(false)
	c.o.Logger.Info("this node has the cluster's data now: it serves, and votes again")
	if err := clean(); err != nil {
		c.o.Logger.Warn("the data that this node had before stay on the disk until the next start", "err", err)
	}
}

// stand lets this node vote, and stand for election, after a start in which it was not to.
func (c *Cluster) stand() {
	c.trans.openVotes()
	conf := c.raft.ReloadableConfig()
	conf.HeartbeatTimeout, conf.ElectionTimeout = c.o.Heartbeat, c.o.Heartbeat
	if err := c.raft.ReloadConfig(conf); err != nil {
		c.o.Fatal(fmt.Errorf("raft's timeouts: %w", err))
	}
}

// amnesia is what a node does that may have forgotten entries which it had acknowledged, as after a power cut at a level below always: it would let
// somebody be elected who lacks them, too, and does neither vote nor stand before it has caught up with a leader. If the others cannot elect one
// without it, because they have lost power, too, it votes once all voters have been there for amnesia_wait, and stands two heartbeat timeouts later:
// one that has forgotten less is to be elected.
type amnesia struct {
	probed    time.Time
	reachable time.Time // since when all voters are
	voted     time.Time
	stands    bool
}

func (a *amnesia) wait(c *Cluster) {
	now := time.Now()
	switch {
	case a.stands:
	case !a.voted.IsZero():
		if now.Sub(a.voted) > 2*c.o.Heartbeat {
			a.stands = true
			c.stand()
		}
	case now.Sub(a.probed) < c.o.Heartbeat/2:
	case time.Since(c.raft.LastContact()) < c.o.Heartbeat || !c.allReachable(): // there is a leader to catch up with, however long that takes
		a.probed, a.reachable = now, time.Time{}
	default:
		a.probed = now
		if a.reachable.IsZero() {
			a.reachable = now
		}
		if now.Sub(a.reachable) >= c.o.AmnesiaWait {
			a.voted = now
			c.o.Logger.Warn("nobody leads, and all voters are here: this node votes, though it may have forgotten what was written in the last " +
				"second before the power went (cluster.amnesia_wait)")
			c.trans.openVotes()
		}
	}
}

// allReachable tells whether all other voters answer.
func (c *Cluster) allReachable() bool {
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter || s.ID == raft.ServerID(c.o.ID) {
			continue
		}
		conn, err := c.o.Stream.Dial(s.Address, c.o.Heartbeat)
		if err != nil {
			return false
		}
		conn.Close()
	}
	return true
}
