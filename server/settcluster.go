package server

import (
	"context"
	"strings"
	"time"

	"sett/commands"
	"sett/resp"
)

// settCluster is SETT CLUSTER STATUS | TRANSFER [node] | REMOVE node | HELP. The sub-command `sett cluster` shows the same as a table.
func settCluster(s *session, b *buffers, args [][]byte) {
	if is(args[2], "help") && len(args) == 3 {
		commands.ReplyHelp(&b.out, commands.SettHelp)
		return
	}
	c := s.cluster()
	if c == nil {
		fail(b, errNoCluster)
		return
	}
	t := s.server.topology(c)
	switch {
	case is(args[2], "status") && len(args) == 3:
		t.showStatus(&b.out, c.Leads())
	case is(args[2], "transfer") && len(args) <= 4:
		s.settTransfer(b, args[3:], t)
	case is(args[2], "remove") && len(args) == 4:
		s.settRemove(b, args[3], t)
	default:
		fail(b, errSubcommand("SETT CLUSTER", args[2]))
	}
}

// settLimit is how long SETT CLUSTER waits for the cluster to have done it.
const settLimit = 30 * time.Second

// settTransfer has another node lead and answers when it does, with its ID.
func (s *session) settTransfer(b *buffers, which [][]byte, t *topology) {
	id := ""
	if len(which) > 0 {
		n, err := t.named(which[0])
		if err != nil {
			fail(b, err)
			return
		}
		id = n.ID
		switch {
		case n.ID == t.Leader:
			b.out.BulkString(n.ID) // it does already
			return
		case !n.Voter:
			fail(b, errFailoverNonVoter)
			return
		}
	}
	if s.atOnce(b, s.transfer(id)) {
		leader, _ := s.cluster().LeaderAddr()
		b.out.BulkString(leader)
	}
}

// settRemove takes a node out of the cluster and answers when that is committed.
func (s *session) settRemove(b *buffers, which []byte, t *topology) {
	n, err := t.named(which)
	if err != nil {
		fail(b, err)
		return
	}
	if s.atOnce(b, func(ctx context.Context) error { return s.cluster().Remove(ctx, n.ID) }) {
		b.out.Status("OK")
	}
}

// atOnce waits for a change of the cluster. false: it has replied why there is none.
func (s *session) atOnce(b *buffers, change func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.Background(), settLimit)
	defer cancel()
	if err := change(ctx); err != nil {
		fail(b, err)
		return false
	}
	return true
}

// transfer has another node lead, any if id is "".
func (s *session) transfer(id string) func(context.Context) error {
	c := s.cluster()
	return func(ctx context.Context) error { return c.Transfer(ctx, id) }
}

// named returns the node that an operator means: by its ID, the beginning of one that no other has, or one of its addresses.
func (t *topology) named(which []byte) (*node, error) {
	var found *node
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.redisID == string(which) || n.Addr == string(which) || n.addr() == string(which) {
			return n, nil
		}
		if len(which) == 0 || !strings.HasPrefix(n.ID, strings.ToLower(string(which))) {
			continue
		}
		if found != nil {
			return nil, errAmbiguousNode(which)
		}
		found = n
	}
	if found == nil {
		return nil, errUnknownNode(which)
	}
	return found, nil
}

// showStatus is SETT CLUSTER STATUS: first the cluster, then its nodes, the leader's before the others.
func (t *topology) showStatus(w *resp.Writer, leads bool) {
	text := func(name, value string) { w.BulkString(name); w.BulkString(value) }
	number := func(name string, n uint64) { w.BulkString(name); w.Uint(n) }
	w.Map(12)
	text("health", t.advice())
	text("cluster_id", t.ClusterID)
	text("node_id", t.ID)
	text("role", t.Role.String())
	number("term", t.Term)
	text("leader", t.Leader)
	w.BulkString("lease")
	w.Int(int64(oneIf(leads)))
	number("first_index", t.First)
	number("last_index", t.Last)
	number("committed_index", t.Committed)
	number("applied_index", t.Applied)
	w.BulkString("nodes")
	nodes := t.replicas()
	if t.master != nil {
		nodes = append([]*node{t.master}, nodes...)
	}
	w.Array(len(nodes))
	for _, n := range nodes {
		t.showNode(w, n)
	}
}

// showNode has -1 for what is not known here: ask the leader.
func (t *topology) showNode(w *resp.Writer, n *node) {
	text := func(name, value string) { w.BulkString(name); w.BulkString(value) }
	integer := func(name string, v int64) { w.BulkString(name); w.Int(v) }
	w.Map(11)
	text("id", n.ID)
	text("addr", n.Addr)
	text("client_addr", n.addr())
	text("role", t.roleOf(n))
	integer("voter", int64(oneIf(n.Voter)))
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"reachable", int64(oneIf(n.Reachable))}, {"last_contact_ms", n.contactMs()}, {"match_index", int64(n.Match)}, {"applied_index", int64(n.Applied)},
		{"lag", int64(t.lag(n))},
	} {
		known(w, f.name, f.value, !n.unknown)
	}
	integer("feature_level", int64(n.Feature))
}

// roleOf is what a node is: of others it is known who leads and who may.
func (t *topology) roleOf(n *node) string {
	switch {
	case n.ID == t.Leader:
		return "leader"
	case n.self:
		return t.Role.String()
	case !n.Voter:
		return "replica"
	}
	return "follower"
}

// lag is how many entries a node lacks of those that this one knows.
func (t *topology) lag(n *node) uint64 {
	if n.offset() >= t.Last {
		return 0
	}
	return t.Last - n.offset()
}

// advice is a line for whoever looks at the cluster because something is wrong.
func (t *topology) advice() string {
	var away []string
	for i := range t.nodes {
		if n := &t.nodes[i]; !n.Reachable {
			away = append(away, n.ID[:min(len(n.ID), 8)]+" ("+n.Addr+")")
		}
	}
	switch {
	case t.Leader == "" && t.usable() < t.quorum():
		return "no leader: too few voters reach each other; not reached: " + strings.Join(away, ", ")
	case t.Leader == "":
		return "no leader: an election is going on"
	case len(away) > 0:
		return "served by fewer nodes than there are; not reached: " + strings.Join(away, ", ")
	}
	return "ok"
}
