package server

import (
	"context"
	"net"
	"time"

	"sett/commands"
	"sett/replication"
)

// Cluster is what the server knows of the other nodes, and asks of them: replication.Cluster. Any goroutine may call it.
type Cluster interface {
	State() replication.State
	Metrics() *replication.Metrics

	// Leads tells whether this node evaluates, and its lease says that nobody else does.
	Leads() bool
	// LeaderAddr is the leader's ID, and its cluster port; "" if none is known.
	LeaderAddr() (id, addr string)
	// Confirm returns nil if this node was the leader at some moment after the call. All that was committed then has been applied.
	Confirm(ctx context.Context) error
	// CaughtUp tells a follower how old its data may be; false if it cannot know.
	CaughtUp() (lag time.Duration, ok bool)

	// Acknowledged is how many other nodes are known to have the log up to an index.
	Acknowledged(index uint64) int
	// WaitApplied returns when this node has applied an index.
	WaitApplied(ctx context.Context, index uint64) error

	// Transfer has another node lead, any if id is "".
	Transfer(ctx context.Context, id string) error
	// Remove takes a node out of the cluster.
	Remove(ctx context.Context, id string) error
	// DialLeader opens a stream to the leader's server, which ServeForwarded takes there.
	DialLeader(ctx context.Context) (net.Conn, error)
}

// cluster is the cluster that this node belongs to; nil: it is alone, or does not know yet.
func (s *session) cluster() Cluster {
	if s.engine == nil {
		return nil
	}
	return s.engine.Cluster
}

// clusterHandlers serve CLUSTER and what belongs to it. A node that is alone answers as Redis does when cluster mode is off.
func clusterHandlers(table *commands.Table) map[string]*handler {
	handlers := map[string]*handler{
		"readonly":  {run: inCluster(errNoCluster, readOnly)},
		"readwrite": {run: inCluster(errNoCluster, readWrite)},
		"asking":    {run: inCluster(errNoCluster, asking)},
		"cluster":   {run: onlySubcommands},
	}
	for name, show := range map[string]clusterCommand{
		"count-failure-reports": clusterFailureReports, "countkeysinslot": clusterKeysInSlot, "getkeysinslot": clusterKeysInSlot, "help": clusterHelp,
		"info": clusterInfo, "keyslot": clusterKeySlot, "links": showLinks, "myid": clusterMyID, "myshardid": clusterMyShardID, "nodes": clusterNodes,
		"replicas": clusterReplicas, "slaves": clusterReplicas, "shards": clusterShards, "slots": clusterSlots,
	} {
		handlers["cluster|"+name] = &handler{run: inCluster(errNoCluster, show)}
	}
	for name, change := range map[string]clusterCommand{
		"addslots": clusterAddSlots, "addslotsrange": clusterAddSlots, "bumpepoch": clusterBumpEpoch, "delslots": clusterFixed, "delslotsrange": clusterFixed,
		"failover": clusterFailover, "flushslots": clusterFixed, "forget": clusterForget, "meet": clusterMeet, "replicate": clusterReplicate,
		"reset": clusterReset, "saveconfig": clusterSaveConfig, "set-config-epoch": clusterSetEpoch, "setslot": clusterSetSlot,
	} {
		handlers["cluster|"+name] = &handler{run: inCluster(errAlone, change)}
	}
	for _, sub := range table.Lookup([]byte("cluster")).Subcommands {
		if handlers[sub.Name] == nil {
			panic("server: nobody serves " + sub.Name)
		}
	}
	return handlers
}

// clusterCommand answers about the cluster as it is at the moment.
type clusterCommand func(s *session, b *buffers, args [][]byte, t *topology)

// inCluster runs a command if there is a cluster, and answers with an error if there is none.
func inCluster(alone commands.Error, run clusterCommand) func(*session, *buffers, [][]byte) {
	return func(s *session, b *buffers, args [][]byte) {
		c := s.cluster()
		if c == nil {
			fail(b, alone)
			return
		}
		run(s, b, args, s.server.topology(c))
	}
}

// asking is said before a command that a node would send elsewhere. No slot ever moves here, so there is nothing to it.
func asking(_ *session, b *buffers, _ [][]byte, _ *topology) { b.out.Status("OK") }

// readOnlyBoundMs is how old what a replica has may be after READONLY. In Redis it may be of any age.
const readOnlyBoundMs = 10_000

// readOnly is how clients of a cluster tell a replica that they can do with what it has.
func readOnly(s *session, b *buffers, _ [][]byte, _ *topology) {
	s.flags |= peerReadOnly
	s.read = readLevel{chosen: true, stale: true, boundMs: readOnlyBoundMs}
	b.out.Status("OK")
}

func readWrite(s *session, b *buffers, _ [][]byte, _ *topology) {
	s.flags &^= peerReadOnly
	s.read = readLevel{}
	b.out.Status("OK")
}
