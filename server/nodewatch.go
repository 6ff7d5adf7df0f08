package server

import (
	"log/slog"
	"time"

	"sett/replication"
)

// nodeWatch has the leader name each node that is lost or slow in the log: once, and once more when that is over. It belongs to the ticker, which shows
// it the cluster once a second.
type nodeWatch struct {
	nodes map[string]*watched
	ends  [slowAfterSec]uint64 // the ends of the leader's log in the last seconds, the oldest first
	looks int                  // as long as this node leads
}

type watched struct {
	away  int       // looks in a row at which it did not answer
	lost  time.Time // when it was named lost; zero: it was not
	slow  time.Time // … slow
	match uint64
}

const (
	// slowAfterSec: a node is slow if it lacks what the leader's log had this long ago.
	slowAfterSec = 5
	// lostLooks: it is lost if it did not answer at so many looks.
	lostLooks = 2
)

// look compares the cluster with how it was. Who does not lead knows too little of others.
func (w *nodeWatch) look(state *replication.State, now time.Time, log *slog.Logger) {
	if state.Role != replication.Leader {
		*w = nodeWatch{}
		return
	}
	old, before := w.ends[0], w.nodes
	copy(w.ends[:], w.ends[1:])
	w.ends[slowAfterSec-1] = state.Last
	w.looks++
	w.nodes = make(map[string]*watched)
	for _, m := range state.Members {
		if m.ID == state.ID {
			continue
		}
		n := before[m.ID]
		if n == nil {
			n = new(watched)
		}
		w.nodes[m.ID] = n
		line := log.With("node", m.ID, "addr", m.Addr)
		n.lookForLoss(&m, now, line)
		if w.looks > slowAfterSec {
			n.lookForLag(&m, state.Last, old, now, line)
		}
		n.match = m.Match
	}
}

func (n *watched) lookForLoss(m *replication.Member, now time.Time, log *slog.Logger) {
	if m.Reachable {
		if !n.lost.IsZero() {
			log.Info("a node is back", "after", now.Sub(n.lost).Round(time.Second))
		}
		n.away, n.lost = 0, time.Time{}
		return
	}
	if n.away++; n.away == lostLooks {
		n.lost = now
		log.Warn("a node does not answer", "last_contact", m.LastContact.Round(time.Millisecond))
	}
}

// lookForLag compares how far a node is with where the log ended some seconds ago. One that is lost has been named already.
func (n *watched) lookForLag(m *replication.Member, end, old uint64, now time.Time, log *slog.Logger) {
	switch behind := m.Match < old; {
	case behind && n.slow.IsZero() && m.Reachable:
		n.slow = now
		log.Warn("a node is slow: it does not follow the log", "entries_behind", end-m.Match, "bytes_behind", m.LagBytes, "append", m.Append.Round(time.Microsecond), "entries_last_second", m.Match-min(n.match, m.Match))
	case !behind && !n.slow.IsZero():
		log.Info("a node follows the log again", "after", now.Sub(n.slow).Round(time.Second))
		n.slow = time.Time{}
	}
}

// watchNodes is the ticker's look at the cluster.
func (s *Server) watchNodes(w *nodeWatch, now time.Time) {
	e := s.engine.Load()
	if e == nil || e.Cluster == nil {
		return
	}
	state := e.Cluster.State()
	s.noteLeader(&state)
	w.look(&state, now, s.opts.Logger)
}

// noteLeader remembers who leads, for the time when nobody does.
func (s *Server) noteLeader(state *replication.State) {
	if state.Leader == "" {
		return
	}
	if last := s.lastLeader.Load(); last == nil || *last != state.Leader {
		s.lastLeader.Store(&state.Leader)
	}
}
