package replication

import (
	"context"
	"time"
)

// relieveAfter is how long a leader bears a full disk, or has just been elected, before it has another node lead.
const relieveAfter = 30 * time.Second

// relieve has another node lead when this one's disk is full: it refuses writes that others may have room for. If they do not, leadership goes
// around among them, slowly, and without a failed command. rule goroutine only.
func (c *Cluster) relieve() {
	r := c.reign.Load()
	if r == nil || time.Since(r.begun) < relieveAfter || !c.store.Full() || c.handing.Load() {
		return
	}
	r.begun = time.Now() // not again soon, if nobody can
	c.loops.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, 3*c.o.Heartbeat)
		defer cancel()
		c.o.Logger.Warn("this node's disk is full: another is to lead")
		if err := c.Transfer(ctx, ""); err != nil {
			c.o.Logger.Warn("no other node has taken over", "why", err)
		}
	})
}
