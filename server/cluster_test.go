package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/replication"
)

// fakeCluster is a cluster whose state is what a test says.
type fakeCluster struct {
	mu      sync.Mutex
	state   replication.State      // guarded by mu
	acked   func(index uint64) int // guarded by mu; nil: nobody
	asked   chan string            // gets "transfer id" and "remove id"
	answer  chan error             // what those return
	metrics replication.Metrics
}

var errNotAsked = errors.New("the test has not expected this")

func (f *fakeCluster) State() replication.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// change is how a test turns the cluster.
func (f *fakeCluster) change(how func(*replication.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := f.state
	state.Members = append([]replication.Member(nil), state.Members...)
	how(&state)
	f.state = state
}

func (f *fakeCluster) acknowledge(count func(index uint64) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = count
}

func (f *fakeCluster) Metrics() *replication.Metrics { return &f.metrics }
func (f *fakeCluster) Leads() bool                   { return f.State().Role == replication.Leader }

func (f *fakeCluster) LeaderAddr() (id, addr string) {
	state := f.State()
	m, _ := state.Member(state.Leader)
	return m.ID, m.Addr
}

func (f *fakeCluster) Confirm(context.Context) error             { return nil }
func (f *fakeCluster) CaughtUp() (time.Duration, bool)           { return 0, f.State().Leader != "" }
func (f *fakeCluster) WaitApplied(context.Context, uint64) error { return nil }

func (f *fakeCluster) Acknowledged(index uint64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.acked == nil {
		return 0
	}
	return f.acked(index)
}

func (f *fakeCluster) Transfer(ctx context.Context, id string) error {
	return f.ask(ctx, "transfer "+id)
}
func (f *fakeCluster) Remove(ctx context.Context, id string) error { return f.ask(ctx, "remove "+id) }

func (f *fakeCluster) ask(ctx context.Context, what string) error {
	if f.asked == nil {
		return errNotAsked
	}
	f.asked <- what
	select {
	case err := <-f.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeCluster) DialLeader(context.Context) (net.Conn, error) { return nil, errNotAsked }

// The three nodes of most tests. Their Redis IDs end in eight zeros.
var (
	idA = strings.Repeat("a", 32)
	idB = strings.Repeat("b", 32)
	idC = strings.Repeat("c", 32)
)

const (
	zeros     = "00000000"
	clusterID = "0123456789abcdef0123456789abcdef"
)

// threeNodes are a, b and c, as a sees them, who leads. All have the whole log.
func threeNodes() replication.State {
	member := func(id, host string) replication.Member {
		return replication.Member{ID: id, Addr: host + ":7380", ClientAddr: host + ":6379", Voter: true, Reachable: true, Match: 90, Applied: 90, Feature: 1}
	}
	return replication.State{
		Role: replication.Leader, ClusterID: clusterID, ID: idA, Term: 7, Leader: idA, First: 11, Last: 90, Committed: 90, Applied: 90,
		Members: []replication.Member{member(idA, "10.0.0.1"), member(idB, "10.0.0.2"), member(idC, "10.0.0.3")},
	}
}

// inClusterOf starts a server that believes to be in a cluster.
func inClusterOf(t *testing.T, state replication.State) (*fakeCluster, *testServer) {
	t.Helper()
	f := &fakeCluster{state: state}
	ts := startServer(t, setup{cluster: f})
	return f, ts
}

// follow makes b the leader.
func follow(s *replication.State) { s.Role, s.Leader = replication.Follower, idB }

// leaderless is after b, who led, has gone.
func leaderless(s *replication.State) {
	s.Role, s.Leader = replication.Candidate, ""
	s.Members[1].Reachable, s.Members[1].LastContact = false, 1500*time.Millisecond
}

// verbatim is a text as RESP2 shows it.
func (c *client) text(words ...string) string {
	c.t.Helper()
	_, body, _ := strings.Cut(c.do(words...), "\r\n")
	return strings.TrimSuffix(body, "\r\n")
}

// TestClusterPictures: the formats are those of Redis 7 with cluster-enabled, one master and two replicas.
func TestClusterPictures(t *testing.T) {
	t.Parallel()
	f, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	c.want(bulk(idA+zeros), "CLUSTER", "MYID")
	c.want(bulk(clusterID+zeros), "CLUSTER", "MYSHARDID")
	c.want(":5061\r\n", "CLUSTER", "KEYSLOT", "foo{bar}")
	slots := func(ids ...string) string {
		text := "*1\r\n*" + string(rune('2'+len(ids))) + "\r\n:0\r\n:16383\r\n"
		for _, id := range ids {
			text += "*4\r\n" + bulk("10.0.0."+string(rune('1'+id[0]-'a'))) + ":6379\r\n" + bulk(id+zeros) + "*0\r\n"
		}
		return text
	}
	c.want(slots(idA, idB, idC), "CLUSTER", "SLOTS")
	inShard := func(id, role, health string) string {
		host := "10.0.0." + string(rune('1'+id[0]-'a'))
		return "*14\r\n" + bulk("id") + bulk(id+zeros) + bulk("port") + ":6379\r\n" + bulk("ip") + bulk(host) + bulk("endpoint") + bulk(host) +
			bulk("role") + bulk(role) + bulk("replication-offset") + ":90\r\n" + bulk("health") + bulk(health)
	}
	shards := "*1\r\n*4\r\n" + bulk("slots") + "*2\r\n:0\r\n:16383\r\n" + bulk("nodes") + "*3\r\n"
	c.want(shards+inShard(idA, "master", "online")+inShard(idB, "replica", "online")+inShard(idC, "replica", "online"), "CLUSTER", "SHARDS")
	info := func(state string, ok, fail string) string {
		return "cluster_state:" + state + "\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:" + ok + "\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:" + fail +
			"\r\ncluster_known_nodes:3\r\ncluster_size:1\r\ncluster_current_epoch:7\r\ncluster_my_epoch:7\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n"
	}
	if got := c.text("CLUSTER", "INFO"); got != info("ok", "16384", "0") {
		t.Errorf("CLUSTER INFO: %q", got)
	}

	f.change(follow)
	c.want(slots(idB, idA, idC), "CLUSTER", "SLOTS")
	c.want(shards+inShard(idB, "master", "online")+inShard(idA, "replica", "online")+inShard(idC, "replica", "online"), "CLUSTER", "SHARDS")

	f.change(leaderless)
	c.want(slots(idB, idA, idC), "CLUSTER", "SLOTS")
	c.want(shards+inShard(idB, "master", "fail")+inShard(idA, "replica", "online")+inShard(idC, "replica", "online"), "CLUSTER", "SHARDS")
	if got := c.text("CLUSTER", "INFO"); got != info("fail", "0", "16384") {
		t.Errorf("CLUSTER INFO without a leader: %q", got)
	}

	f.change(func(s *replication.State) { s.Role, s.Leader, s.Term = replication.Leader, idA, 8 })
	c.want(slots(idA, idC), "CLUSTER", "SLOTS") // as in Redis, without the one that failed
	c.want(shards+inShard(idA, "master", "online")+inShard(idB, "replica", "fail")+inShard(idC, "replica", "online"), "CLUSTER", "SHARDS")
	f.change(func(s *replication.State) {
		s.Members[2].Match, s.Members[2].Applied, s.Members[2].ClientAddr = 0, 0, ""
	})
	if got := c.do("CLUSTER", "SHARDS"); !strings.Contains(got, bulk("health")+bulk("loading")) {
		t.Errorf("a new node: %q", got)
	}
	c.want(slots(idA), "CLUSTER", "SLOTS")
}

// TestClusterNodes: the lines of CLUSTER NODES and REPLICAS.
func TestClusterNodes(t *testing.T) {
	t.Parallel()
	state := threeNodes()
	state.Members[2].LastContact = 400 * time.Millisecond
	show := func(state replication.State, last string) string {
		top := newTopology(state, &last, time.UnixMilli(1_000_000))
		var text []byte
		for i := range top.nodes {
			text = append(top.appendLine(text, &top.nodes[i]), '\n')
		}
		return string(text)
	}
	a, b, c := idA+zeros+" 10.0.0.1:6379@7380 ", idB+zeros+" 10.0.0.2:6379@7380 ", idC+zeros+" 10.0.0.3:6379@7380 "
	want := a + "myself,master - 0 1000000 7 connected 0-16383\n" + b + "slave " + idA + zeros + " 0 1000000 7 connected\n" + c + "slave " + idA + zeros + " 0 999600 7 connected\n"
	if got := show(state, ""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	leaderless(&state)
	want = a + "myself,slave " + idB + zeros + " 0 1000000 7 connected\n" + b + "master,fail? - 998500 998500 7 disconnected 0-16383\n" + c + "slave " + idB + zeros + " 0 999600 7 connected\n"
	if got := show(state, idB); got != want {
		t.Errorf("without a leader, got\n%swant\n%s", got, want)
	}
	state.Role, state.Leader = replication.Leader, idA
	state.Members[1].ClientAddr = ""
	want = a + "myself,master - 0 1000000 7 connected 0-16383\n" + idB + zeros + " :0@0 slave,fail,noaddr " + idA + zeros + " 998500 998500 7 disconnected\n" +
		c + "slave " + idA + zeros + " 0 999600 7 connected\n"
	if got := show(state, idB); got != want {
		t.Errorf("one is lost, got\n%swant\n%s", got, want)
	}
	state = threeNodes()
	state.ID, state.Members = idC, state.Members[:2] // c was removed
	follow(&state)
	if got := show(state, ""); !strings.HasSuffix(got, idC+zeros+" :0@0 myself,slave,noaddr "+idB+zeros+" 0 1000000 7 connected\n") {
		t.Errorf("of one that was removed, got\n%s", got)
	}

	_, ts := inClusterOf(t, threeNodes())
	conn := ts.dial()
	got := conn.do("CLUSTER", "REPLICAS", idA+zeros)
	if !strings.HasPrefix(got, "*2\r\n") || !strings.Contains(got, idB+zeros+" 10.0.0.2:6379@7380 slave "+idA+zeros) {
		t.Errorf("got %q", got)
	}
	conn.want("-ERR The specified node is not a master\r\n", "CLUSTER", "SLAVES", idB+zeros)
	conn.want("-ERR Unknown node abc\r\n", "CLUSTER", "REPLICAS", "abc")
	conn.want("-ERR Unknown node abc\r\n", "CLUSTER", "COUNT-FAILURE-REPORTS", "abc")
	conn.want(":0\r\n", "CLUSTER", "COUNT-FAILURE-REPORTS", idB+zeros)
}

// TestClusterRefusals: what would change what is fixed, with Redis' words where it has some.
func TestClusterRefusals(t *testing.T) {
	t.Parallel()
	_, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	fixed := "-" + string(errSlotsFixed) + "\r\n"
	for _, q := range []struct{ reply, words string }{
		{"-ERR Slot 5 is already busy\r\n", "ADDSLOTS 5"},
		{"-ERR Slot 5 is already busy\r\n", "ADDSLOTS 5 6"},
		{"-ERR Invalid or out of range slot\r\n", "ADDSLOTS 5 16384"},
		{"-ERR Invalid or out of range slot\r\n", "ADDSLOTS x"},
		{"-ERR Slot 1 is already busy\r\n", "ADDSLOTSRANGE 1 2"},
		{"-ERR wrong number of arguments for 'cluster|addslotsrange' command\r\n", "ADDSLOTSRANGE 1 2 3"},
		{fixed, "DELSLOTS 5"}, {fixed, "DELSLOTSRANGE 1 5"}, {fixed, "FLUSHSLOTS"},
		{"+OK\r\n", "SETSLOT 5 STABLE"}, {"+OK\r\n", "SETSLOT 5 NODE " + idA + zeros}, {fixed, "SETSLOT 5 NODE " + idB + zeros},
		{"-ERR Unknown node abc\r\n", "SETSLOT 5 NODE abc"}, {fixed, "SETSLOT 5 IMPORTING " + idB + zeros},
		{"-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP\r\n", "SETSLOT 5 x"},
		{"+STILL 7\r\n", "BUMPEPOCH"},
		{"-ERR The user can assign a config epoch only when the node does not know any other node.\r\n", "SET-CONFIG-EPOCH 1"},
		{"+OK\r\n", "SAVECONFIG"}, {"-ERR syntax error\r\n", "RESET x"}, {"-" + string(errClusterReset) + "\r\n", "RESET HARD"},
		{"-ERR Invalid TCP base port specified: x\r\n", "MEET 1.2.3.4 x"}, {"-ERR Invalid node address specified: x:123\r\n", "MEET x 123"},
		{"+OK\r\n", "MEET 10.0.0.2 6379"}, {"-" + string(errMeet) + "\r\n", "MEET 10.0.0.9 6379"},
		{"-ERR Unknown node abc\r\n", "FORGET abc"}, {"-ERR I tried hard but I can't forget myself...\r\n", "FORGET " + idA + zeros},
		{"-" + string(errForget) + "\r\n", "FORGET " + idB + zeros},
		{"-ERR Unknown node abc\r\n", "REPLICATE abc"}, {"-ERR Can't replicate myself\r\n", "REPLICATE " + idA + zeros},
		{"-ERR I can only replicate a master, not a replica.\r\n", "REPLICATE " + idB + zeros},
		{"-ERR You should send CLUSTER FAILOVER to a replica\r\n", "FAILOVER"}, {"-ERR syntax error\r\n", "FAILOVER xx"},
		{"-ERR unknown subcommand or wrong number of arguments for 'FAILOVER'. Try CLUSTER HELP.\r\n", "FAILOVER FORCE x"},
		{"-ERR unknown subcommand 'FOO'. Try CLUSTER HELP.\r\n", "FOO"},
	} {
		c.want(q.reply, append([]string{"CLUSTER"}, strings.Fields(q.words)...)...)
	}
	c.want("-ERR wrong number of arguments for 'cluster' command\r\n", "CLUSTER")
	for _, name := range []string{"READONLY", "READWRITE", "ASKING"} {
		c.want("+OK\r\n", name)
	}
	c.want("+OK\r\n", "READONLY")
	if got := c.text("CLIENT", "INFO"); !strings.Contains(got, " flags=r ") {
		t.Errorf("CLIENT INFO: %q", got)
	}
	c.want("+RESET\r\n", "RESET")
	if got := c.text("CLIENT", "INFO"); !strings.Contains(got, " flags=N ") {
		t.Errorf("CLIENT INFO after RESET: %q", got)
	}
}

// TestAloneIsNoCluster: without one, nothing of it is there.
func TestAloneIsNoCluster(t *testing.T) {
	t.Parallel()
	c := startServer(t, setup{}).dial()
	off := "-ERR This instance has cluster support disabled\r\n"
	for _, words := range []string{"CLUSTER INFO", "CLUSTER SLOTS", "CLUSTER NODES", "CLUSTER HELP", "READONLY", "READWRITE", "ASKING", "CLUSTER KEYSLOT x", "SETT CLUSTER STATUS"} {
		c.want(off, strings.Fields(words)...)
	}
	c.want("-"+string(errAlone)+"\r\n", "CLUSTER", "MEET", "127.0.0.1", "6379")
	c.want("-ERR unknown command 'sentinel', with args beginning with: 'masters' \r\n", "sentinel", "masters")
	c.want("-ERR unknown command 'SENTINEL', with args beginning with: 'GET-MASTER-ADDR-BY-NAME' 'x' \r\n", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "x")
	c.want("*3\r\n"+bulk("master")+":0\r\n*0\r\n", "ROLE")
}

// TestKeysInSlot: only of the slot, and of this database.
func TestKeysInSlot(t *testing.T) {
	t.Parallel()
	_, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	c.want("+OK\r\n", "MSET", "{a}1", "x", "{a}2", "x", "other", "x")
	slot := strings.TrimSpace(c.do("CLUSTER", "KEYSLOT", "a")[1:])
	c.want(":2\r\n", "CLUSTER", "COUNTKEYSINSLOT", slot)
	if got := c.do("CLUSTER", "GETKEYSINSLOT", slot, "1"); got != "*1\r\n"+bulk("{a}1") && got != "*1\r\n"+bulk("{a}2") {
		t.Errorf("got %q", got)
	}
	c.want("-ERR Invalid slot\r\n", "CLUSTER", "COUNTKEYSINSLOT", "16384")
	c.want("-ERR value is not an integer or out of range\r\n", "CLUSTER", "COUNTKEYSINSLOT", "x")
	c.want("-ERR Invalid slot or number of keys\r\n", "CLUSTER", "GETKEYSINSLOT", "5", "-1")
	c.want("+PONG\r\n", "PING") // and the replies stay in step
}

// TestClusterMetrics: the figures are there in a cluster, with a series for each other node, and not without one.
func TestClusterMetrics(t *testing.T) {
	t.Parallel()
	if got := startServer(t, setup{}).scrape(); strings.Contains(got, "sett_raft_term") || strings.Contains(got, "sett_raft_role") {
		t.Error("a node that is alone has figures of a cluster")
	}
	f, ts := inClusterOf(t, threeNodes())
	f.change(func(s *replication.State) {
		s.Members[1].Match, s.Members[1].Applied, s.Members[1].LastContact = 70, 60, 2*time.Second
		s.Members[1].LagBytes, s.Members[1].Append = 4096, 1500*time.Microsecond
	})
	f.metrics.Elections.Store(3)
	f.metrics.ProposalsInFlight.Store(2)
	ts.latency.Took(replication.TookCommit, 2*time.Millisecond)
	want := func(lines ...string) {
		t.Helper()
		got := ts.scrape()
		for _, line := range lines {
			if !strings.Contains(got, "\n"+line+"\n") {
				t.Errorf("%s is missing", line)
			}
		}
	}
	ofB := `{addr="10.0.0.2:7380",node="` + idB + `"} `
	want(`sett_raft_role{role="leader"} 1`, `sett_raft_role{role="follower"} 0`, "sett_raft_term 7", "sett_raft_lease_valid 1", "sett_raft_has_leader 1",
		"sett_raft_last_index 90", "sett_raft_peer_lag_entries"+ofB+"20", "sett_raft_peer_lag_bytes"+ofB+"4096", "sett_raft_peer_append_seconds"+ofB+"0.0015", "sett_raft_peer_last_contact_seconds"+ofB+"2", "sett_raft_peer_reachable"+ofB+"1",
		"sett_raft_voters 3", "sett_raft_voters_reachable 3", "sett_raft_elections_total 3", "sett_raft_proposals_in_flight 2", "sett_ready 1",
		"sett_raft_commit_duration_seconds_count 1")
	f.change(leaderless)
	want(`sett_raft_role{role="candidate"} 1`, "sett_raft_has_leader 0", "sett_raft_lease_valid 0", "sett_raft_peer_reachable"+ofB+"0", "sett_ready 0",
		"sett_raft_voters_reachable 2")
}
