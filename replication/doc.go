// Package replication makes batches durable in one order: on this node alone (Solo), or on a majority of a cluster's (Cluster).
//
// What holds:
//   - Entries reach Store.Apply in the order of their indexes, each once, and only when they are committed.
//   - An entry that Propose refuses is not in the log and never will be. In a cluster, one that was taken may still be lost with its leader; nobody has
//     been told that it was committed then.
//   - What fsync level there is, SyncTo means synced.
//   - A node evaluates only between a barrier of its term and the end of its reign (rule.go), and answers reads only while its lease says that nobody
//     else can evaluate (lease.go).
//   - The log is cut only below what is durable in Badger, and a copy of all data carries on where the log was cut (snapshot.go).
//
// The files, from below: entries.go and logstore.go are raft's log over wal/ or raft-boltdb, votes.go what a node must not forget about its votes;
// fsm.go hands entries to the store; cluster.go and rule.go propose, lead and yield; lease.go, transport.go and reads.go know who leads, succession.go who is next; members.go,
// begin.go and recover.go change who belongs; snapshot*.go are markers, and copies on their way. mesh/ is the port between nodes, member/ how nodes find
// each other.
//
// Propose is called by one goroutine at a time (the store sees to that); everything else by any.
package replication
