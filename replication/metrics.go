package replication

import "sync/atomic"

// Metrics are the figures of a node's part in its cluster that State does not have: who does a thing counts it here, anybody may read.
type Metrics struct {
	Elections     atomic.Uint64 // that this node has called
	LeaderChanges atomic.Uint64 // times that this node has seen another leader than the last one
	LeasesLost    atomic.Uint64 // times that this node led and its lease ended before it was renewed

	Proposals         atomic.Uint64 // entries handed to raft
	ProposalsRefused  atomic.Uint64 // … that it did not take, or that were not committed as far as this node knows
	ProposalsInFlight atomic.Int64  // … that it has not answered yet
	InFlightBytes     atomic.Int64

	SnapshotsSent         atomic.Uint64 // whole
	SnapshotsReceived     atomic.Uint64
	SnapshotsFailed       atomic.Uint64 // begun, on either side, and not finished
	SnapshotSentBytes     atomic.Uint64 // on the wire
	SnapshotReceivedBytes atomic.Uint64
	SnapshotsUnderWay     atomic.Int64
	Markers               atomic.Uint64 // times that the log could be cut because Badger has what was before
}

// What ClusterOptions.Took is told about: the names are those of latency events.
const (
	TookCommit = "raft-commit" // from a proposal to its entry being applied
	TookAppend = "raft-append" // a follower's answer to entries
)
