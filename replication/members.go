package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// restore takes over a snapshot: the log up to it is of no use any more, and raft will have it taken away.
func (c *Cluster) restore(snapshot io.ReadCloser) (index uint64, err error) {
	index, err = c.copies.Restore(snapshot)
	if err == nil {
		c.logs.durable.Store(index)
		c.logs.installed.Store(index)
	}
	return index, err
}

// State is what this node knows of its cluster now.
func (c *Cluster) State() State {
	r := c.reign.Load()
	st := State{ClusterID: c.o.ClusterID, ID: c.o.ID, Term: c.raft.CurrentTerm(), Committed: c.raft.CommitIndex(), Applied: c.applied()}
	st.First, st.Last = c.logs.entries.bounds()
	switch {
	case c.diverged.Load():
		st.Role = Diverged
	case r != nil:
		st.Role, st.Term = Leader, r.term
	case c.raft.State() == raft.Leader || c.raft.State() == raft.Candidate:
		st.Role = Candidate
	default:
		st.Role = Follower
	}
	st.Leader, _ = c.LeaderAddr()
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		st.Members = append(st.Members, c.member(s, r, &st))
	}
	slices.SortFunc(st.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return st
}

func (c *Cluster) member(s raft.Server, r *reign, st *State) Member {
	m := Member{ID: string(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter}
	switch {
	case m.ID == c.o.ID:
		m.Reachable, m.Match, m.Applied = true, st.Last, st.Applied
	case r != nil:
		if p, ok := c.peers.get(s.ID, r.term); ok {
			m.LastContact = time.Since(p.heardAt)
			m.Match, m.Append = p.match, p.append
			m.LagBytes = c.logs.entries.bytesBehind(p.match)
			m.Reachable = m.LastContact < c.o.Heartbeat
		}
	case m.ID == st.Leader:
		m.LastContact = time.Since(c.raft.LastContact())
		m.Reachable = m.LastContact < c.o.Heartbeat
		m.Match = c.news.newest()
	}
	return m
}

// LeaderAddr names the leader and its cluster port, "" if none is known.
func (c *Cluster) LeaderAddr() (id, addr string) {
	a, i := c.raft.LeaderWithID()
	if string(i) == c.o.ID && c.reign.Load() == nil {
		return "", "" // not before it can do what a leader does
	}
	return string(i), string(a)
}

// Acknowledged is how many other nodes are known to have an entry in their log.
func (c *Cluster) Acknowledged(index uint64) (nodes int) {
	r := c.reign.Load()
	if r == nil {
		return 0
	}
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if p, ok := c.peers.get(s.ID, r.term); ok && p.match >= index {
			nodes++
		}
	}
	return nodes
}

// AddVoter makes a node a voter, or gives one another address.
func (c *Cluster) AddVoter(ctx context.Context, id, addr string) error {
	return c.change(ctx, func(wait time.Duration) raft.Future {
		return c.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), 0, wait)
	})
}

// AddNonvoter adds a node that follows, and does not count when the cluster decides what is committed.
func (c *Cluster) AddNonvoter(ctx context.Context, id, addr string) error {
	return c.change(ctx, func(wait time.Duration) raft.Future {
		return c.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, wait)
	})
}

// Remove takes a node out of the cluster.
func (c *Cluster) Remove(ctx context.Context, id string) error {
	return c.change(ctx, func(wait time.Duration) raft.Future { return c.raft.RemoveServer(raft.ServerID(id), 0, wait) })
}

// change makes one change of the configuration and returns when it is committed.
func (c *Cluster) change(ctx context.Context, make func(wait time.Duration) raft.Future) error {
	if c.reign.Load() == nil {
		return errNotLeading
	}
	wait := 10 * c.o.Heartbeat
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(min(wait, time.Until(deadline)), time.Millisecond)
	}
	done := chanOf(func() error { return c.await(make(wait)) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the change may still take place: %w", ctx.Err())
	}
}

func chanOf(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// count is the goroutine that counts elections and leaders.
func (c *Cluster) count() {
	seen := make(chan raft.Observation, 64)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch data := o.Data.(type) {
		case raft.RaftState:
			if data == raft.Candidate {
				c.metrics.Elections.Add(1)
			}
		case raft.LeaderObservation:
			return data.LeaderID != ""
		}
		return false
	})
	c.raft.RegisterObserver(observer)
	defer c.raft.DeregisterObserver(observer)
	_, last := c.raft.LeaderWithID()
	for {
		select {
		case <-c.stop:
			return
		case o := <-seen:
			id := o.Data.(raft.LeaderObservation).LeaderID
			if last != "" && id != last {
				c.metrics.LeaderChanges.Add(1)
			}
			last = id
		}
	}
}

// Transfer hands leadership over to another voter, or to the one that is best prepared if id is "". No command fails: evaluation stops, what was
// evaluated is committed, and only then the other one is told. The lease ends first, for the rest of the term: the other is elected at once,
// though its voters have heard from this node just now. So if it comes to nothing, this node steps down all the same.
func (c *Cluster) Transfer(ctx context.Context, id string) error {
	c.transferring.Lock()
	defer c.transferring.Unlock()
	r := c.reign.Load()
	if r == nil {
		return errNotLeading
	}
	heir, err := c.heir(r, raft.ServerID(id))
	if err != nil {
		return err
	}
	c.handing.Store(true)
	defer func() {
		c.handing.Store(false)
		poke(c.look)
	}()
	r.unleased.Store(true)
	if err := c.store.Rest(ctx); err != nil {
		// Nobody was told anything: only the wish was there.
		r.unleased.Store(false)
		return fmt.Errorf("what was written could not be committed before leadership was handed over: %w", err)
	}
	c.endReign()
	c.trans.handing.Store(r.term)
	err = c.await(c.raft.LeadershipTransferToServer(heir.ID, heir.Address))
	if err != nil && c.raft.State() == raft.Leader {
		c.trans.abdicate(r.term)
		return fmt.Errorf("leadership could not be handed over to %s, and there will be an election: %w", heir.ID, err)
	}
	return nil
}

// heir is the voter to hand leadership over to: one that has answered lately, with the longest log.
func (c *Cluster) heir(r *reign, id raft.ServerID) (best raft.Server, err error) {
	var match uint64
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter || s.ID == raft.ServerID(c.o.ID) || id != "" && s.ID != id {
			continue
		}
		p, ok := c.peers.get(s.ID, r.term)
		if !ok || time.Since(p.heardAt) > c.pledge() {
			err = fmt.Errorf("%s has not answered lately", s.ID)
			continue
		}
		if best.ID == "" || p.match > match {
			best, match = s, p.match
		}
	}
	if best.ID == "" && err == nil {
		err = errors.New("there is no other voter of that name")
	}
	if best.ID != "" {
		err = nil
	}
	return best, err
}
