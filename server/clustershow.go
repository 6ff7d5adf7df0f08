package server

import (
	"fmt"
	"slices"
	"strings"

	"sett/resp"
	"sett/types"
)

// What CLUSTER shows.

// clusterInfo is CLUSTER INFO. Epochs are raft's terms. What Redis counts of its gossip is left out: there is none.
func clusterInfo(_ *session, b *buffers, _ [][]byte, t *topology) {
	state, assigned, ok, size := "fail", 0, 0, 0
	if t.master != nil {
		assigned, size = types.Slots, 1
	}
	if t.hasLeader() {
		state, ok = "ok", types.Slots
	}
	var text strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&text, "%s:%v\r\n", name, value) }
	line("cluster_state", state)
	line("cluster_slots_assigned", assigned)
	line("cluster_slots_ok", ok)
	line("cluster_slots_pfail", 0)
	line("cluster_slots_fail", assigned-ok)
	line("cluster_known_nodes", len(t.nodes))
	line("cluster_size", size)
	line("cluster_current_epoch", t.Term)
	line("cluster_my_epoch", t.Term)
	line("total_cluster_links_buffer_limit_exceeded", 0)
	b.out.Verbatim("txt", []byte(text.String()))
}

func clusterMyID(_ *session, b *buffers, _ [][]byte, t *topology) { b.out.BulkString(redisID(t.ID)) }

// clusterMyShardID: there is one shard, so it has the cluster's ID.
func clusterMyShardID(_ *session, b *buffers, _ [][]byte, t *topology) {
	b.out.BulkString(redisID(t.ClusterID))
}

// clusterSlots is CLUSTER SLOTS: one range, the master first. As in Redis, replicas that have failed or have no data yet are left out, and so is who
// cannot be reached by clients as far as this node knows.
func clusterSlots(_ *session, b *buffers, _ [][]byte, t *topology) {
	if t.master == nil || t.master.host == "" {
		b.out.Array(0)
		return
	}
	replicas := slices.DeleteFunc(t.connected(), t.isLoading)
	shown := append([]*node{t.master}, replicas...)
	b.out.Array(1)
	b.out.Array(2 + len(shown))
	b.out.Int(0)
	b.out.Int(types.Slots - 1)
	for _, n := range shown {
		b.out.Array(4)
		b.out.BulkString(n.host)
		b.out.Int(int64(n.port))
		b.out.BulkString(n.redisID)
		b.out.Map(0) // of what else is known of the address
	}
}

// clusterShards is CLUSTER SHARDS.
func clusterShards(_ *session, b *buffers, _ [][]byte, t *topology) {
	w := &b.out
	w.Array(1)
	w.Map(2)
	w.BulkString("slots")
	if t.master != nil {
		w.Array(2)
		w.Int(0)
		w.Int(types.Slots - 1)
	} else {
		w.Array(0)
	}
	w.BulkString("nodes")
	w.Array(len(t.nodes))
	if t.master != nil {
		t.showInShard(w, t.master, "master")
	}
	for _, n := range t.replicas() {
		t.showInShard(w, n, "replica")
	}
}

func (t *topology) showInShard(w *resp.Writer, n *node, role string) {
	text := func(name, value string) { w.BulkString(name); w.BulkString(value) }
	w.Map(7)
	text("id", n.redisID)
	w.BulkString("port")
	w.Int(int64(n.port))
	text("ip", n.host)
	text("endpoint", n.host)
	text("role", role)
	w.BulkString("replication-offset")
	w.Uint(n.offset())
	text("health", t.health(n))
}

func (t *topology) health(n *node) string {
	switch {
	case !n.Reachable:
		return "fail"
	case t.isLoading(n):
		return "loading"
	}
	return "online"
}

// clusterNodes is CLUSTER NODES.
func clusterNodes(_ *session, b *buffers, _ [][]byte, t *topology) {
	var text []byte
	for i := range t.nodes {
		text = append(t.appendLine(text, &t.nodes[i]), '\n')
	}
	b.out.Verbatim("txt", text)
}

// appendLine writes a node's line of CLUSTER NODES, without its end.
func (t *topology) appendLine(text []byte, n *node) []byte {
	flags, master, link := "slave", "-", "connected"
	if n == t.master {
		flags = "master"
	} else if t.master != nil {
		master = t.master.redisID
	}
	if n.self {
		flags = "myself," + flags
	}
	pingMs, pongMs := int64(0), t.nowMs-n.contactMs()
	if !n.Reachable {
		link, pingMs = "disconnected", pongMs
		if t.leads() { // of whom a majority thinks as it does
			flags += ",fail"
		} else {
			flags += ",fail?"
		}
	}
	host, port, busPort := n.host, n.port, n.busPort
	if host == "" {
		flags, busPort = flags+",noaddr", 0
	}
	text = fmt.Appendf(text, "%s %s:%d@%d %s %s %d %d %d %s", n.redisID, host, port, busPort, flags, master, pingMs, pongMs, t.Term, link)
	if n == t.master {
		text = fmt.Appendf(text, " 0-%d", types.Slots-1)
	}
	return text
}

// clusterReplicas is CLUSTER REPLICAS node.
func clusterReplicas(_ *session, b *buffers, args [][]byte, t *topology) {
	n := t.find(args[2])
	switch {
	case n == nil:
		fail(b, errUnknownNode(args[2]))
		return
	case n != t.master:
		fail(b, errNotMaster)
		return
	}
	replicas := t.replicas()
	b.out.Array(len(replicas))
	for _, r := range replicas {
		b.out.Bulk(t.appendLine(nil, r))
	}
}

// clusterFailureReports is CLUSTER COUNT-FAILURE-REPORTS node. Nodes do not gossip about each other, so nobody ever has reported anything.
func clusterFailureReports(_ *session, b *buffers, args [][]byte, t *topology) {
	if t.find(args[2]) == nil {
		fail(b, errUnknownNode(args[2]))
		return
	}
	b.out.Int(0)
}

// showLinks is CLUSTER LINKS: as Redis, one link to each node and one from it. What of them waits to be sent is not known here.
func showLinks(_ *session, b *buffers, _ [][]byte, t *topology) {
	linked := t.linked()
	b.out.Array(2 * len(linked))
	for _, n := range linked {
		for _, direction := range []string{"to", "from"} {
			b.out.Map(3)
			for _, text := range []string{"direction", direction, "node", n.redisID, "events", "r"} {
				b.out.BulkString(text)
			}
		}
	}
}

// linked are the other nodes that are heard of.
func (t *topology) linked() (found []*node) {
	for i := range t.nodes {
		if n := &t.nodes[i]; !n.self && n.Reachable {
			found = append(found, n)
		}
	}
	return found
}

// clusterLinks is how many links there are, for INFO.
func (s *session) clusterLinks() int {
	if c := s.cluster(); c != nil {
		return 2 * len(s.server.topology(c).linked())
	}
	return 0
}

func clusterKeySlot(_ *session, b *buffers, args [][]byte, _ *topology) {
	b.out.Int(int64(types.Slot(args[2])))
}

// clusterKeysInSlot is CLUSTER COUNTKEYSINSLOT slot and GETKEYSINSLOT slot count, of the keys that this node has in the present database: Redis has one in a
// cluster.
func clusterKeysInSlot(s *session, b *buffers, args [][]byte, _ *topology) {
	call := &b.call
	call.Args, call.Staged, call.DB, call.W, call.Ready = args, nil, s.db, &b.out, nil
	if err := s.engine.Data.InSlot(call); err != nil {
		s.broken(b, err)
	}
}

// clusterHelp lists what does something here.
func clusterHelp(_ *session, b *buffers, _ [][]byte, _ *topology) {
	help(b, "CLUSTER", []string{
		"COUNT-FAILURE-REPORTS <node-id>",
		"    Return number of failure reports for <node-id>.",
		"COUNTKEYSINSLOT <slot>",
		"    Return the number of keys in <slot>.",
		"FAILOVER [FORCE|TAKEOVER]",
		"    Promote current replica node to being a master.",
		"GETKEYSINSLOT <slot> <count>",
		"    Return key names stored by current node in a slot.",
		"INFO",
		"    Return information about the cluster.",
		"KEYSLOT <key>",
		"    Return the hash slot for <key>.",
		"MYID",
		"    Return the node id.",
		"MYSHARDID",
		"    Return the node's shard id.",
		"NODES",
		"    Return cluster configuration seen by node. Output format:",
		"    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
		"REPLICAS <node-id>",
		"    Return <node-id> replicas.",
		"SLOTS",
		"    Return information about slots range mappings. Each range is made of:",
		"    start, end, master and replicas IP addresses, ports and ids",
		"SHARDS",
		"    Return information about slot range mappings and the nodes associated with them.",
		"LINKS",
		"    Return information about all network links between this node and its peers.",
		"    Output format is an array where each array element is a map containing attributes of a link",
	})
}
