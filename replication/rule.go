package replication

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// rule is the goroutine that begins and ends reigns. What wakes it says only that something may have changed: it asks raft what is.
func (c *Cluster) rule() {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.raft.LeaderCh():
		case <-c.look:
		case <-tick.C:
			c.renewAlone()
			c.countLost()
			c.relieve()
		}
		if r := c.reign.Load(); r != nil && c.over(r) {
			c.endReign()
		}
		if c.reign.Load() == nil && !c.handing.Load() && c.raft.State() == raft.Leader {
			c.beginReign()
		}
	}
}

// over tells whether a reign must end. The term tells of leadership that was lost and won again in between.
func (c *Cluster) over(r *reign) bool {
	return c.raft.State() != raft.Leader || c.raft.CurrentTerm() != r.term || r.refused.Load() || !c.store.Evaluating() && !c.handing.Load()
}

// beginReign has a barrier applied, after which this node's state is that of the log, and then lets the store evaluate. What was proposed under an
// earlier reign has been decided by then.
func (c *Cluster) beginReign() {
	term := c.raft.CurrentTerm()
	c.order.Lock()
	barrier := c.raft.Barrier(0)
	c.order.Unlock()
	if err := c.await(barrier); err != nil {
		return
	}
	if c.raft.State() != raft.Leader || c.raft.CurrentTerm() != term {
		return
	}
	r := newReign(term)
	if term == c.trans.unseat.Load() {
		r.unleased.Store(true)
	}
	c.reign.Store(r)
	c.served.Store(true)
	c.remember()
	c.store.Lead(term)
	c.extend(r)
	c.o.Logger.Info("this node leads", "term", term)
}

// endReign stops evaluation and drops what was evaluated and is not committed.
func (c *Cluster) endReign() {
	if planted("lease-never-ends") {
		time.Sleep(3 * time.Second) // nothing but the lease keeps a node that is slow here from answering reads
	}
	c.order.Lock()
	r := c.reign.Swap(nil)
	c.order.Unlock()
	if r == nil {
		return
	}
	close(r.ended)
	c.store.Yield()
	c.o.Logger.Info("this node leads no longer", "term", r.term)
}

// Leads tells whether this node evaluates, and nobody else can: it may answer reads.
func (c *Cluster) Leads() bool {
	r := c.reign.Load()
	return r != nil && r.leased(bootNs())
}

// heard is told of each answer that a peer gives to what the leader sent.
func (c *Cluster) heard(id raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, sentNs int64) {
	at := span{sentNs, bootNs()}
	if len(req.Entries) > 0 {
		c.o.Took(TookAppend, time.Duration(at.answeredNs-at.sentNs))
	}
	if !c.peers.heard(id, req, resp, at, int64(c.pledge())/50) {
		return
	}
	if r := c.reign.Load(); r != nil && r.term == req.Term {
		c.extend(r)
	}
}

// extend makes a lease as long as what the peers have answered allows.
func (c *Cluster) extend(r *reign) {
	now := bootNs()
	since := c.peers.supported(c.voters(), raft.ServerID(c.o.ID), r.term, now)
	if since == 0 {
		return
	}
	until := since + int64(leaseShare*float64(c.pledge()))
	for old := r.until.Load(); until > old && !r.until.CompareAndSwap(old, until); old = r.until.Load() {
	}
}

// beat is the goroutine that keeps a lease from ending while raft has nothing to say, or waits for the disk: its own heartbeats are as rare as its patience
// is long.
func (c *Cluster) beat() {
	every := c.pledge() / 5
	tick := time.NewTicker(every)
	defer tick.Stop()
	under := map[raft.ServerID]*atomic.Bool{} // way
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		r := c.reign.Load()
		if r == nil {
			continue
		}
		for _, s := range c.raft.GetConfiguration().Configuration().Servers {
			if p, ok := c.peers.get(s.ID, r.term); s.Suffrage != raft.Voter || s.ID == raft.ServerID(c.o.ID) || ok && bootNs()-p.askedNs < int64(every) {
				continue
			}
			if under[s.ID] == nil {
				under[s.ID] = new(atomic.Bool)
			}
			if way := under[s.ID]; way.CompareAndSwap(false, true) {
				c.loops.Go(func() {
					defer way.Store(false)
					//lint:ignore SA1019 raft itself sets it in its heartbeats
					req := &raft.AppendEntriesRequest{RPCHeader: c.header(), Term: r.term, Leader: []byte(c.o.Addr)}
					c.trans.AppendEntries(s.ID, s.Address, req, new(raft.AppendEntriesResponse))
				})
			}
		}
	}
}

// renewAlone extends the lease of a node that is the only voter: nobody answers it.
func (c *Cluster) renewAlone() {
	if r := c.reign.Load(); r != nil && len(c.voters()) == 1 {
		c.extend(r)
	}
}

// countLost counts leases that ended before they were renewed. rule goroutine only.
func (c *Cluster) countLost() {
	r := c.reign.Load()
	if r == nil {
		return
	}
	held := r.leased(bootNs())
	if r.held && !held && !r.unleased.Load() {
		c.metrics.LeasesLost.Add(1)
	}
	r.held = held
}

// voters are those of the newest configuration in the log: raft counts them from the moment at which it is there.
func (c *Cluster) voters() (ids []raft.ServerID) {
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
