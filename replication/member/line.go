package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"sett/replication/mesh"
	"sett/storage"
)

// line is a kept Control stream to an address, over which it is asked for its status again and again.
type line struct {
	node   *Node
	addr   string
	hangUp context.CancelFunc

	// guarded by node.mu
	report *Report
	asked  time.Time // for the report
	at     time.Time // when it came
	err    error     // of the last attempt
	mine   bool      // this node is there itself
}

// looksAtSelf is after how many ticks a node looks again whether it still meets itself.
const looksAtSelf = 30

// askTimeout bounds a question that is answered at once.
const askTimeout = 2 * time.Second

// seenReport is what a line knows.
type seenReport struct {
	Report
	reached string // address
	asked   time.Time
	at      time.Time
	fresh   bool
}

// run asks until the line is hung up.
func (l *line) run(ctx context.Context) {
	var conn net.Conn
	var peer mesh.Identity
	for looks := 0; ; looks++ {
		var err error
		if conn == nil && (!l.isMine() || looks%looksAtSelf == 0) {
			conn, peer, err = l.dial(ctx)
			l.node.tried(l, err)
		}
		if conn != nil {
			if err = l.ask(ctx, conn, peer); err != nil {
				conn.Close()
				conn = nil
				l.node.tried(l, err)
			}
		}
		select {
		case <-time.After(l.node.pause()):
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
			return
		}
	}
}

// pause is the time between two looks: who belongs to no cluster is in a hurry.
func (n *Node) pause() time.Duration {
	if n.dir.Node().ClusterID == "" {
		return n.interval / hurry
	}
	return n.interval
}

const hurry = 5

func (l *line) dial(ctx context.Context) (net.Conn, mesh.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return l.node.mesh.Dial(ctx, l.addr, mesh.Control)
}

// ask gets one report.
func (l *line) ask(ctx context.Context, conn net.Conn, peer mesh.Identity) error {
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	asked := time.Now()
	r, err := exchange(conn, question{Op: opStatus}, askTimeout)
	switch {
	case err != nil:
		return err
	case r.Report == nil || r.Report.ID != peer.NodeID:
		return errors.New("its status makes no sense")
	}
	peer.WallMs = r.Report.WallMs
	l.node.mesh.NoteClock(peer, asked)
	l.node.heard(l, r.Report, asked)
	return nil
}

// exchange asks a question and waits for the answer.
func exchange(conn net.Conn, q question, timeout time.Duration) (reply, error) {
	var r reply
	q.Version = frameVersion
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return r, err
	}
	if err := writeFrame(conn, q); err != nil {
		return r, err
	}
	err := readFrame(conn, &r)
	return r, err
}

// heard notes a report.
func (n *Node) heard(l *line, r *Report, asked time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.report, l.asked, l.at = r, asked, time.Now()
	if r.ClusterID != "" && r.ClusterID == n.dir.Node().ClusterID {
		n.joined[r.ID] = true
	}
}

func (l *line) isMine() bool {
	l.node.mu.Lock()
	defer l.node.mu.Unlock()
	return l.mine
}

// tried notes the outcome of an attempt. A node that meets itself has learned how others reach it.
func (n *Node) tried(l *line, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var refusal *mesh.Refusal
	if errors.As(err, &refusal) && refusal.Code != mesh.ErrSelf.Code && !errors.Is(l.err, refusal) {
		n.log.Warn("there is a node with which this one cannot talk", "addr", l.addr, "node", refusal.Peer.NodeID, "err", refusal)
	}
	if refusal != nil && n.isOutdated(refusal.Peer) && n.behind == nil {
		n.behind = refusal
		if n.cluster != nil { // else Discover says so
			n.running.Go(func() { n.o.Fatal(n.leftBehind()) })
		}
	}
	l.err, l.mine = err, errors.Is(err, mesh.ErrSelf)
	if l.mine && n.self == "" {
		n.self = l.addr
	}
}

// isOutdated tells whether a node of this one's cluster, which has proven who it is, is in a newer epoch: then the cluster was recovered without this
// one. Others that were left behind may be back as well, and together they could go on as if nothing had happened; so none of them does.
func (n *Node) isOutdated(peer mesh.Identity) bool {
	known := n.dir.Node()
	return known.ClusterID != "" && peer.ClusterID == known.ClusterID && peer.Epoch > known.Epoch
}

func (n *Node) leftBehind() error {
	return &storage.RefusedError{Reason: fmt.Sprintf("the cluster was recovered without this node: what %s has is of no use any more. "+
		"Give it an empty dir to have it join as a new node", n.dir.Path())}
}

// reports are the last reports of all lines, the freshest of each node.
func (n *Node) reports() []seenReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	byID := map[string]seenReport{}
	for _, l := range n.lines {
		if l.report == nil || byID[l.report.ID].at.After(l.at) {
			continue
		}
		fresh := time.Since(l.at) < max(3*n.interval, askTimeout)
		byID[l.report.ID] = seenReport{Report: *l.report, reached: l.addr, asked: l.asked, at: l.at, fresh: fresh && l.err == nil}
	}
	var all []seenReport
	for _, r := range byID {
		all = append(all, r)
	}
	return all
}
