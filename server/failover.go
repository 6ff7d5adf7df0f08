package server

import (
	"cmp"
	"context"
	"sync"
	"time"

	"sett/commands"
	"sett/resp"
)

// failover is a transfer of leadership that a client has asked for: FAILOVER and CLUSTER FAILOVER. As in Redis it goes on behind the reply.
type failover struct {
	mu     sync.Mutex
	cancel context.CancelFunc // guarded by mu; nil: none is under way
}

// state is INFO's master_failover_state. The leader sends the other node what it lacks and hands over in one step, so Redis' waiting-for-sync is
// part of it.
func (f *failover) state() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel == nil {
		return "no-failover"
	}
	return "failover-in-progress"
}

// abort ends it and tells whether there was one.
func (f *failover) abort() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel == nil {
		return false
	}
	f.cancel()
	return true
}

// failoverLimit is when a failover without TIMEOUT gives up.
const failoverLimit = time.Minute

// beginFailover answers OK and has the transfer go on in a goroutine that Shutdown waits for; 0: failoverLimit.
func (s *Server) beginFailover(b *buffers, timeout time.Duration, transfer func(context.Context) error) {
	f := &s.failover
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		fail(b, errFailoverRuns)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(timeout, failoverLimit))
	f.cancel = cancel
	s.running.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.ending:
			cancel()
		}
	})
	s.running.Go(func() {
		if err := transfer(ctx); err != nil {
			s.opts.Logger.Warn("a failover that a client asked for did not happen", "err", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.cancel = nil
		cancel()
	})
	b.out.Status("OK")
}

// runFailover is FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]: the leader hands over.
func runFailover(s *session, b *buffers, args [][]byte) {
	if len(args) == 2 && is(args[1], "abort") {
		if s.server.failover.abort() {
			b.out.Status("OK")
		} else {
			fail(b, errNoFailover)
		}
		return
	}
	o, err := parseFailover(args[1:])
	if err != nil {
		fail(b, err)
		return
	}
	c := s.cluster()
	if c == nil {
		fail(b, errFailoverAlone)
		return
	}
	id, err := o.target(s.server.topology(c))
	if err != nil {
		fail(b, err)
		return
	}
	s.server.beginFailover(b, time.Duration(o.timeoutMs)*time.Millisecond, func(ctx context.Context) error { return c.Transfer(ctx, id) })
}

// failoverOptions are FAILOVER's arguments.
type failoverOptions struct {
	to, force bool
	host      string
	port      int64
	timeoutMs int64 // 0: none was given
}

// parseFailover looks for TO host port, FORCE and TIMEOUT, each at most once.
func parseFailover(args [][]byte) (o failoverOptions, err error) {
	for len(args) > 0 {
		used, ok := 0, true
		switch {
		case is(args[0], "timeout") && len(args) > 1 && o.timeoutMs == 0:
			if o.timeoutMs, ok = resp.ParseInt(args[1]); ok && o.timeoutMs <= 0 {
				return o, errFailoverTimeout
			}
			used = 2
		case is(args[0], "to") && len(args) > 2 && !o.to:
			o.host = string(args[1])
			o.port, ok = resp.ParseInt(args[2])
			o.to, used = true, 3
		case is(args[0], "force") && !o.force:
			o.force, used = true, 1
		default:
			return o, commands.ErrSyntax
		}
		if !ok {
			return o, commands.ErrNotInteger
		}
		args = args[used:]
	}
	return o, nil
}

// target is the ID of the node that is to lead, "" for any, or what Redis says against it. FORCE is no other thing than its absence: a node that lacks
// what was acknowledged is never elected.
func (o *failoverOptions) target(t *topology) (id string, err error) {
	switch {
	case !t.leads():
		return "", errFailoverReplica
	case len(t.connected()) == 0:
		return "", errFailoverAlone
	case o.force && (!o.to || o.timeoutMs == 0):
		return "", errFailoverForce
	case !o.to:
		return "", nil
	}
	n := t.at(o.host, int(o.port))
	switch {
	case n == nil || n == t.master:
		return "", errFailoverTarget
	case !n.Reachable:
		return "", errFailoverOffline
	case !n.Voter:
		return "", errFailoverNonVoter
	}
	return n.ID, nil
}
