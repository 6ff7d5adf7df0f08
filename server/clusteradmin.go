package server

import (
	"net"
	"strconv"

	"sett/commands"
	"sett/resp"
	"sett/types"
)

// What CLUSTER would change. The slots are the leader's, who leads is decided by an election, and the members by SETT CLUSTER: what asks for a state
// that is there already is answered as Redis would, all else is refused.

// clusterAddSlots is CLUSTER ADDSLOTS and ADDSLOTSRANGE: every slot has its owner.
func clusterAddSlots(_ *session, b *buffers, args [][]byte, _ *topology) {
	if is(args[1], "addslotsrange") && len(args)%2 == 1 {
		fail(b, commands.ErrArity("cluster|addslotsrange"))
		return
	}
	first := int64(-1)
	for _, arg := range args[2:] {
		slot, ok := resp.ParseInt(arg)
		if !ok || slot < 0 || slot >= types.Slots {
			fail(b, errSlotRange)
			return
		}
		if first < 0 {
			first = slot
		}
	}
	fail(b, errSlotBusy(first))
}

// clusterFixed refuses what would leave slots without an owner.
func clusterFixed(_ *session, b *buffers, _ [][]byte, _ *topology) { fail(b, errSlotsFixed) }

// clusterSetSlot is CLUSTER SETSLOT slot STABLE | NODE id | IMPORTING id | MIGRATING id.
func clusterSetSlot(_ *session, b *buffers, args [][]byte, t *topology) {
	slot, ok := resp.ParseInt(args[2])
	if !ok || slot < 0 || slot >= types.Slots {
		fail(b, errSlotRange)
		return
	}
	if is(args[3], "stable") && len(args) == 4 {
		b.out.Status("OK") // none is on its way
		return
	}
	moves := is(args[3], "node") || is(args[3], "importing") || is(args[3], "migrating")
	if !moves || len(args) != 5 {
		fail(b, errSetSlot)
		return
	}
	n := t.find(args[4])
	switch {
	case n == nil:
		fail(b, errUnknownNode(args[4]))
	case is(args[3], "node") && n == t.master:
		b.out.Status("OK")
	default:
		fail(b, errSlotsFixed)
	}
}

func clusterBumpEpoch(_ *session, b *buffers, _ [][]byte, t *topology) {
	b.out.Status("STILL " + strconv.FormatUint(t.Term, 10))
}

func clusterSetEpoch(_ *session, b *buffers, _ [][]byte, _ *topology) { fail(b, errSetEpoch) }

// clusterSaveConfig is CLUSTER SAVECONFIG: the configuration is in the log, on disk before it counts.
func clusterSaveConfig(_ *session, b *buffers, _ [][]byte, _ *topology) { b.out.Status("OK") }

// clusterMeet is CLUSTER MEET ip port: nodes find each other by cluster.peers.
func clusterMeet(_ *session, b *buffers, args [][]byte, t *topology) {
	port, ok := resp.ParseInt(args[3])
	switch {
	case !ok:
		fail(b, errMeetPort(args[3]))
	case net.ParseIP(string(args[2])) == nil || port < 1 || port > 65535:
		fail(b, errMeetAddress(args[2], args[3]))
	case t.at(string(args[2]), int(port)) != nil:
		b.out.Status("OK") // they know each other
	default:
		fail(b, errMeet)
	}
}

// at returns the node that clients reach at an address.
func (t *topology) at(host string, port int) *node {
	for i := range t.nodes {
		if n := &t.nodes[i]; n.host == host && n.port == port {
			return n
		}
	}
	return nil
}

func clusterForget(_ *session, b *buffers, args [][]byte, t *topology) {
	switch n := t.find(args[2]); {
	case n == nil:
		fail(b, errUnknownNode(args[2]))
	case n.self:
		fail(b, errForgetMyself)
	default:
		fail(b, errForget)
	}
}

// clusterReplicate is CLUSTER REPLICATE node: all follow the leader.
func clusterReplicate(_ *session, b *buffers, args [][]byte, t *topology) {
	switch n := t.find(args[2]); {
	case n == nil:
		fail(b, errUnknownNode(args[2]))
	case n.self:
		fail(b, errReplicateMyself)
	case n != t.master:
		fail(b, errReplicateReplica)
	default:
		b.out.Status("OK")
	}
}

func clusterReset(_ *session, b *buffers, args [][]byte, _ *topology) {
	if len(args) > 3 || len(args) == 3 && !is(args[2], "hard") && !is(args[2], "soft") {
		fail(b, commands.ErrSyntax)
		return
	}
	fail(b, errClusterReset)
}

// clusterFailover is CLUSTER FAILOVER [FORCE | TAKEOVER], which asks this node to lead. Only the leader can hand that over, with all that it has
// acknowledged: there is no force that could do without it.
func clusterFailover(s *session, b *buffers, args [][]byte, t *topology) {
	force := len(args) == 3 && (is(args[2], "force") || is(args[2], "takeover"))
	switch {
	case len(args) > 3:
		fail(b, errSubcommand("CLUSTER", args[1]))
	case len(args) == 3 && !force:
		fail(b, commands.ErrSyntax)
	case t.leads():
		fail(b, errFailoverOfMaster)
	case !t.hasLeader():
		fail(b, errFailoverMasterDown)
	default:
		s.server.beginFailover(b, 0, s.transfer(t.ID))
	}
}
