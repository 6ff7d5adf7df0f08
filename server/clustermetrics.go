package server

import (
	"sync/atomic"

	"sett/replication"
	"sett/replication/mesh"
)

// clusterFigures are what one scrape sees of the cluster.
type clusterFigures struct {
	*topology
	metrics *replication.Metrics
	leads   bool
	streams *mesh.Stats // between nodes; nil: nobody counts them
}

func (s *Server) clusterFigures(e *Engine) *clusterFigures {
	if e.Cluster == nil {
		return nil
	}
	f := &clusterFigures{topology: s.topology(e.Cluster), metrics: e.Cluster.Metrics(), leads: e.Cluster.Leads()}
	if e.Streams != nil {
		streams := e.Streams()
		f.streams = &streams
	}
	return f
}

func ofCluster(kind, name, help string, read func(*clusterFigures) float64) metric {
	return plain(kind, name, help, func(f *figures) (float64, bool) {
		if f.cluster == nil {
			return 0, false
		}
		return read(f.cluster), true
	})
}

// ofMetrics is what raft, or a snapshot, counts by itself.
func ofMetrics(name, help string, read func(*replication.Metrics) *atomic.Uint64) metric {
	return ofCluster(counter, name, help, func(f *clusterFigures) float64 { return float64(read(f.metrics).Load()) })
}

// perNode is one figure for each of the other nodes of which this one hears.
func perNode(name, help string, read func(*clusterFigures, *node) float64) metric {
	return metric{name: name, help: help, kind: gauge, labels: []string{"node", "addr"}, value: func(f *figures, put func(float64, ...string)) {
		if f.cluster == nil {
			return
		}
		for i := range f.cluster.nodes {
			if n := &f.cluster.nodes[i]; !n.self && !n.unknown {
				put(read(f.cluster, n), n.ID, n.Addr)
			}
		}
	}}
}

func clusterMetrics() []metric {
	return []metric{
		{name: "sett_raft_role", kind: gauge, labels: []string{"role"}, help: "1 for what this node is, 0 for what else it could be.",
			value: func(f *figures, put func(float64, ...string)) {
				for role := replication.Follower; f.cluster != nil && role <= replication.Diverged; role++ {
					put(float64(oneIf(f.cluster.Role == role)), role.String())
				}
			}},
		ofCluster(gauge, "sett_raft_has_leader", "1 if this node knows who leads.", func(f *clusterFigures) float64 { return float64(oneIf(f.Leader != "")) }),
		ofCluster(gauge, "sett_raft_lease_valid", "1 if this node leads and may answer reads without asking the others.", func(f *clusterFigures) float64 {
			return float64(oneIf(f.leads))
		}),
		ofCluster(gauge, "sett_raft_term", "The term: it grows with each election.", func(f *clusterFigures) float64 { return float64(f.Term) }),
		ofCluster(gauge, "sett_raft_voters", "Nodes that decide what is committed.", func(f *clusterFigures) float64 { return float64(f.voters()) }),
		ofCluster(gauge, "sett_raft_voters_reachable", "… that have answered lately, this node included.", func(f *clusterFigures) float64 { return float64(f.usable()) }),
		ofCluster(gauge, "sett_raft_first_index", "The oldest entry of this node's log.", func(f *clusterFigures) float64 { return float64(f.First) }),
		ofCluster(gauge, "sett_raft_last_index", "The newest entry of this node's log.", func(f *clusterFigures) float64 { return float64(f.Last) }),
		ofCluster(gauge, "sett_raft_committed_index", "The newest entry that is known to be committed.", func(f *clusterFigures) float64 { return float64(f.Committed) }),
		ofCluster(gauge, "sett_raft_applied_index", "The newest entry that this node has applied.", func(f *clusterFigures) float64 { return float64(f.Applied) }),
		perNode("sett_raft_peer_reachable", "1 if the other node has answered lately.", func(_ *clusterFigures, n *node) float64 { return float64(oneIf(n.Reachable)) }),
		perNode("sett_raft_peer_last_contact_seconds", "Since the other node's last answer.", func(_ *clusterFigures, n *node) float64 { return n.LastContact.Seconds() }),
		perNode("sett_raft_peer_lag_entries", "What the other node lacks of this one's log. True on the leader; elsewhere as the other node last said.",
			func(f *clusterFigures, n *node) float64 { return float64(f.lag(n)) }),
		perNode("sett_raft_peer_lag_bytes", "… and about how many bytes of it, on the leader; the whole log if the node needs more than that.",
			func(_ *clusterFigures, n *node) float64 { return float64(n.LagBytes) }),
		perNode("sett_raft_peer_append_seconds", "How long the other node takes to answer entries, on the leader: an average of the last few.",
			func(_ *clusterFigures, n *node) float64 { return n.Append.Seconds() }),
		ofMetrics("sett_raft_elections_total", "Elections that this node has called.", func(m *replication.Metrics) *atomic.Uint64 { return &m.Elections }),
		ofMetrics("sett_raft_leader_changes_total", "Times that this node has seen another leader than the last.", func(m *replication.Metrics) *atomic.Uint64 { return &m.LeaderChanges }),
		ofMetrics("sett_raft_leases_lost_total", "Times that this node led and its lease ended: others did not answer in time.",
			func(m *replication.Metrics) *atomic.Uint64 { return &m.LeasesLost }),
		ofMetrics("sett_raft_proposals_total", "Entries that this node, as leader, has handed to raft.", func(m *replication.Metrics) *atomic.Uint64 { return &m.Proposals }),
		ofMetrics("sett_raft_proposals_refused_total", "… that raft did not take, or of which it did not say that they are committed.",
			func(m *replication.Metrics) *atomic.Uint64 { return &m.ProposalsRefused }),
		ofCluster(gauge, "sett_raft_proposals_in_flight", "Entries on their way to a majority; raft.in_flight at most.", func(f *clusterFigures) float64 {
			return float64(f.metrics.ProposalsInFlight.Load())
		}),
		ofCluster(gauge, "sett_raft_in_flight_bytes", "… and their bytes.", func(f *clusterFigures) float64 { return float64(f.metrics.InFlightBytes.Load()) }),
		ofJob("sett_raft_commit_duration_seconds", "From a proposal to its entry being committed and applied, on the leader.", replication.TookCommit),
		ofJob("sett_raft_append_duration_seconds", "Another node's answer to entries, on the leader.", replication.TookAppend),
		ofMetrics("sett_snapshots_sent_total", "Copies of all data sent to other nodes.", func(m *replication.Metrics) *atomic.Uint64 { return &m.SnapshotsSent }),
		ofMetrics("sett_snapshots_received_total", "Copies of all data taken over.", func(m *replication.Metrics) *atomic.Uint64 { return &m.SnapshotsReceived }),
		ofMetrics("sett_snapshots_failed_total", "Copies that were begun, on either side, and not finished.", func(m *replication.Metrics) *atomic.Uint64 { return &m.SnapshotsFailed }),
		ofCluster(gauge, "sett_snapshots_under_way", "Copies that are being sent or taken.", func(f *clusterFigures) float64 { return float64(f.metrics.SnapshotsUnderWay.Load()) }),
		ofMetrics("sett_snapshot_sent_bytes_total", "Bytes of copies sent, on the wire.", func(m *replication.Metrics) *atomic.Uint64 { return &m.SnapshotSentBytes }),
		ofMetrics("sett_snapshot_received_bytes_total", "Bytes of copies received, on the wire.", func(m *replication.Metrics) *atomic.Uint64 { return &m.SnapshotReceivedBytes }),
		ofMetrics("sett_raft_markers_total", "Times that the log could be cut, because Badger has what was before.", func(m *replication.Metrics) *atomic.Uint64 { return &m.Markers }),
		perKind("sett_cluster_streams_open", gauge, "Streams between this node and others, by what they are for.", func(s *mesh.Stats, k mesh.Kind) float64 {
			return float64(s.Open[k])
		}),
		perKind("sett_cluster_streams_accepted_total", counter, "… that others have begun.", func(s *mesh.Stats, k mesh.Kind) float64 { return float64(s.Accepted[k]) }),
		perKind("sett_cluster_streams_dialed_total", counter, "… that this node has begun.", func(s *mesh.Stats, k mesh.Kind) float64 { return float64(s.Dialed[k]) }),
		{name: "sett_cluster_refused_total", kind: counter, labels: []string{"reason"},
			help: "Who was turned away at the cluster port: strangers, other clusters, removed nodes.", value: func(f *figures, put func(float64, ...string)) {
				if f.cluster == nil || f.cluster.streams == nil {
					return
				}
				for reason, n := range f.cluster.streams.Refused {
					put(float64(n), reason)
				}
			}},
		ofCluster(gauge, "sett_cluster_clock_skew_seconds", "The largest difference to another node's wall clock that was noted lately.", func(f *clusterFigures) float64 {
			if f.streams == nil {
				return 0
			}
			return f.streams.Skew.Seconds()
		}),
	}
}

// perKind is one figure for each kind of streams between nodes.
func perKind(name, kind, help string, read func(*mesh.Stats, mesh.Kind) float64) metric {
	return metric{name: name, help: help, kind: kind, labels: []string{"kind"}, value: func(f *figures, put func(float64, ...string)) {
		if f.cluster == nil || f.cluster.streams == nil {
			return
		}
		for k := mesh.Raft; k <= mesh.Control; k++ {
			put(read(f.cluster.streams, k), k.String())
		}
	}}
}
