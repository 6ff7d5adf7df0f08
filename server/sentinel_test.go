package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/replication"
)

// flat reads a flat list of names and texts.
func flat(t *testing.T, reply string) map[string]string {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n")
	found := make(map[string]string)
	for i := 1; i+3 < len(lines); i += 4 {
		found[lines[i+1]] = lines[i+3]
	}
	if n, _ := strconv.Atoi(lines[0][1:]); n != 2*len(found) && n != len(found) {
		t.Fatalf("%d fields in %q", len(found), reply)
	}
	return found
}

// What Redis 7.0.15's Sentinel tells of a master, a replica and a Sentinel, in its order.
const (
	instanceFields = "name ip port runid flags link-pending-commands link-refcount last-ping-sent last-ok-ping-reply last-ping-reply "
	masterFields   = instanceFields + "down-after-milliseconds info-refresh role-reported role-reported-time config-epoch num-slaves num-other-sentinels quorum " +
		"failover-timeout parallel-syncs"
	replicaFields = instanceFields + "down-after-milliseconds info-refresh role-reported role-reported-time master-link-down-time master-link-status " +
		"master-host master-port slave-priority slave-repl-offset replica-announced"
	lostReplicaFields = instanceFields + "s-down-time down-after-milliseconds info-refresh role-reported role-reported-time master-link-down-time " +
		"master-link-status master-host master-port slave-priority slave-repl-offset replica-announced"
	sentinelFields = instanceFields + "down-after-milliseconds last-hello-message voted-leader voted-leader-epoch"
)

// names are the fields of a reply in its order.
func names(reply string) string {
	var found []string
	lines := strings.Split(reply, "\r\n")
	for i := 2; i < len(lines); i += 4 {
		found = append(found, lines[i])
	}
	return strings.Join(found, " ")
}

// each splits an array of maps of RESP2.
func each(reply string) (found []string) {
	_, rest, _ := strings.Cut(reply, "\r\n")
	for _, part := range strings.Split(rest, "*")[1:] {
		found = append(found, "*"+part)
	}
	return found
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	f, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	expect := func(reply, fields string, want map[string]string) {
		t.Helper()
		if got := names(reply); got != fields {
			t.Errorf("fields %s\nwant %s", got, fields)
		}
		got := flat(t, reply)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if got[name] != want[name] {
				t.Errorf("%s is %q, want %q", name, got[name], want[name])
			}
		}
	}
	master := map[string]string{"name": "mymaster", "ip": "10.0.0.1", "port": "6379", "runid": idA + zeros, "flags": "master", "num-slaves": "2",
		"num-other-sentinels": "2", "quorum": "2", "config-epoch": "7", "role-reported": "master", "down-after-milliseconds": "1000"}
	expect(c.do("SENTINEL", "MASTER", "mymaster"), masterFields, master)
	masters := c.do("SENTINEL", "MASTERS")
	if len(each(masters)) != 1 {
		t.Fatalf("got %q", masters)
	}
	expect(each(masters)[0], masterFields, master)
	c.want("*2\r\n"+bulk("10.0.0.1")+bulk("6379"), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
	c.want("*-1\r\n", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "nope")
	for _, name := range []string{"MASTER", "REPLICAS", "SLAVES", "SENTINELS", "CKQUORUM", "FAILOVER"} {
		c.want("-ERR No such master with that name\r\n", "SENTINEL", name, "nope")
	}
	replicas := each(c.do("SENTINEL", "REPLICAS", "mymaster"))
	if len(replicas) != 2 {
		t.Fatalf("%d replicas", len(replicas))
	}
	expect(replicas[1], replicaFields, map[string]string{"name": "10.0.0.3:6379", "ip": "10.0.0.3", "port": "6379", "runid": idC + zeros, "flags": "slave",
		"role-reported": "slave", "master-link-status": "ok", "master-host": "10.0.0.1", "master-port": "6379", "slave-priority": "100", "slave-repl-offset": "90"})
	sentinels := each(c.do("SENTINEL", "SENTINELS", "mymaster"))
	if len(sentinels) != 2 {
		t.Fatalf("%d Sentinels beside this one", len(sentinels))
	}
	expect(sentinels[0], sentinelFields, map[string]string{"name": idB + zeros, "ip": "10.0.0.2", "port": "6379", "flags": "sentinel", "voted-leader": idA + zeros})
	c.want("+3 usable Sentinels. Quorum and failover authorization can be reached\r\n", "SENTINEL", "CKQUORUM", "mymaster")
	c.want(bulk(idA+zeros), "SENTINEL", "MYID")
	c.want("*3\r\n:0\r\n"+bulk("*")+":0\r\n", "SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "6379", "0", "*")
	c.want("*0\r\n", "SENTINEL", "PENDING-SCRIPTS")
	c.want("-"+string(errSentinelFixed)+"\r\n", "SENTINEL", "MONITOR", "a", "127.0.0.1", "6379", "2")
	c.want("-ERR unknown subcommand 'FOO'. Try SENTINEL HELP.\r\n", "SENTINEL", "FOO")
	c.want("-ERR wrong number of arguments for 'sentinel' command\r\n", "SENTINEL")
	c.want("-ERR wrong number of arguments for 'sentinel|master' command\r\n", "SENTINEL", "MASTER")

	f.change(func(s *replication.State) {
		s.Members[1].Reachable, s.Members[1].LastContact = false, 4*time.Second
		s.Members[2].Voter = false
	})
	expect(each(c.do("SENTINEL", "SLAVES", "mymaster"))[0], lostReplicaFields,
		map[string]string{"flags": "s_down,slave,disconnected", "s-down-time": "3000", "master-link-status": "err", "last-ping-sent": "4000"})
	expect(each(c.do("SENTINEL", "SLAVES", "mymaster"))[1], replicaFields, map[string]string{"flags": "slave", "slave-priority": "0"})
	c.want("-"+string(errNoQuorum(1))+"\r\n", "SENTINEL", "CKQUORUM", "mymaster")

	f.change(func(s *replication.State) { *s = threeNodes(); follow(s) })
	c.want("*2\r\n"+bulk("10.0.0.2")+bulk("6379"), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
	f.change(leaderless)
	c.want("*2\r\n"+bulk("10.0.0.2")+bulk("6379"), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
	if got := flat(t, c.do("SENTINEL", "MASTER", "mymaster"))["flags"]; got != "s_down,o_down,master" {
		t.Errorf("flags without a leader: %s", got)
	}
	c.want("*3\r\n:1\r\n"+bulk("*")+":0\r\n", "SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.2", "6379", "0", "*")

	c.do("HELLO", "3")
	if got := c.do("SENTINEL", "MASTERS"); !strings.HasPrefix(got, "*1\r\n%21\r\n") {
		t.Errorf("in RESP3: %q", got)
	}
	c.want("_\r\n", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "nope")
}

// TestNobodyHasLed: a node that has not met a leader yet knows no master.
func TestNobodyHasLed(t *testing.T) {
	t.Parallel()
	state := threeNodes()
	state.Role, state.Leader = replication.Follower, ""
	_, ts := inClusterOf(t, state)
	c := ts.dial()
	c.want("*0\r\n", "SENTINEL", "MASTERS")
	c.want("*-1\r\n", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
	c.want("*0\r\n", "CLUSTER", "SLOTS")
	c.want("*5\r\n"+bulk("slave")+bulk("")+":0\r\n"+bulk("connect")+":90\r\n", "ROLE")
	if got := c.text("CLUSTER", "INFO"); !strings.Contains(got, "cluster_state:fail\r\ncluster_slots_assigned:0\r\n") {
		t.Errorf("got %q", got)
	}
	if got := c.infoValue("replication", "master_link_status"); got != "down" {
		t.Errorf("master_link_status:%s", got)
	}
	if got := ts.notReady(); !slices.Contains(got, noLeaderReason) {
		t.Errorf("ready without a leader: %q", got)
	}
}

// TestRole: ROLE, HELLO and INFO agree about who leads.
func TestRole(t *testing.T) {
	t.Parallel()
	f, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	section := func(name string, want ...string) {
		t.Helper()
		got := c.text("INFO", name)
		for _, line := range want {
			if !strings.Contains(got, "\n"+line+"\r\n") {
				t.Errorf("INFO %s lacks %s:\n%s", name, line, got)
			}
		}
	}
	f.change(func(s *replication.State) {
		s.Members[1].Match, s.Members[1].Applied, s.Members[1].LastContact = 88, 80, 3*time.Second
	})
	c.want("*3\r\n"+bulk("master")+":90\r\n*2\r\n*3\r\n"+bulk("10.0.0.2")+bulk("6379")+bulk("88")+"*3\r\n"+bulk("10.0.0.3")+bulk("6379")+bulk("90"), "ROLE")
	section("replication", "role:master", "connected_slaves:2", "slave0:ip=10.0.0.2,port=6379,state=online,offset=88,lag=3",
		"slave1:ip=10.0.0.3,port=6379,state=online,offset=90,lag=0", "master_failover_state:no-failover", "master_replid:"+clusterID+zeros,
		"master_replid2:"+strings.Repeat("0", 40), "master_repl_offset:90", "second_repl_offset:-1", "repl_backlog_first_byte_offset:11", "repl_backlog_histlen:80")
	section("cluster", "cluster_enabled:1")
	section("server", "redis_mode:standalone")
	if got := c.do("HELLO"); !strings.Contains(got, bulk("mode")+bulk("standalone")+bulk("role")+bulk("master")) {
		t.Errorf("HELLO: %q", got)
	}
	f.change(func(s *replication.State) { s.Members[2].Reachable = false })
	c.want("*3\r\n"+bulk("master")+":90\r\n*1\r\n*3\r\n"+bulk("10.0.0.2")+bulk("6379")+bulk("88"), "ROLE")

	f.change(func(s *replication.State) {
		*s = threeNodes()
		follow(s)
		s.Applied = 85
		s.Members[1].LastContact = 2 * time.Second
	})
	c.want("*5\r\n"+bulk("slave")+bulk("10.0.0.2")+":6379\r\n"+bulk("connected")+":85\r\n", "ROLE")
	section("replication", "role:slave", "master_host:10.0.0.2", "master_port:6379", "master_link_status:up", "master_last_io_seconds_ago:2",
		"master_sync_in_progress:0", "slave_repl_offset:85", "slave_read_repl_offset:90", "slave_priority:100", "connected_slaves:0", "master_repl_offset:85")
	if got := c.do("HELLO"); !strings.Contains(got, bulk("role")+bulk("replica")) {
		t.Errorf("HELLO: %q", got)
	}
	f.metrics.SnapshotsUnderWay.Store(1)
	section("replication", "master_sync_in_progress:1")

	f.change(leaderless)
	c.want("*5\r\n"+bulk("slave")+bulk("10.0.0.2")+":6379\r\n"+bulk("connect")+":85\r\n", "ROLE")
	section("replication", "role:slave", "master_link_status:down", "master_link_down_since_seconds:1")
	c.want("-"+string(errReplicaOfCluster)+"\r\n", "REPLICAOF", "NO", "ONE")
	c.want("-"+string(errReplicaOfCluster)+"\r\n", "REPLICAOF", "10.0.0.9", "6379")
	c.want("-ERR Invalid master port\r\n", "REPLICAOF", "10.0.0.9", "x")
}

// TestWait: WAIT ends when enough have followed, and with what there is when its time is over.
func TestWait(t *testing.T) {
	t.Parallel()
	f, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	have := func(index uint64) (nodes int) { // b has all, c nothing
		return 1
	}
	f.acknowledge(have)
	c.want("+OK\r\n", "SET", "k", "v")
	c.want(":1\r\n", "WAIT", "0", "0")
	c.want(":1\r\n", "WAIT", "1", "0")
	c.want(":1\r\n", "WAIT", "2", "20")
	asked := make(chan uint64, 1000)
	f.acknowledge(func(index uint64) int {
		asked <- index
		if len(asked) > 5 {
			return 2
		}
		return 1
	})
	c.want(":2\r\n", "WAIT", "2", "0")
	if index, applied := <-asked, ts.store.Status().Applied; index != applied {
		t.Errorf("waited for index %d; the write is at %d", index, applied)
	}
	f.acknowledge(have)
	c.send(encode("WAIT", "2", "0"))
	other := ts.dial()
	id := strings.TrimSpace(strings.TrimPrefix(strings.Fields(other.text("CLIENT", "LIST"))[0], "id="))
	for other.do("CLIENT", "UNBLOCK", id) == ":0\r\n" { // until it has begun to wait
		time.Sleep(time.Millisecond)
	}
	if got := c.reply(); got != ":1\r\n" {
		t.Errorf("unblocked: %q", got)
	}
	c.want("*2\r\n:1\r\n:0\r\n", "WAITAOF", "1", "1", "20") // nobody knows what others have on disk
	c.want("*2\r\n:1\r\n:0\r\n", "WAITAOF", "1", "0", "0")
	c.do("MULTI")
	c.do("WAIT", "2", "0")
	c.want("*1\r\n:1\r\n", "EXEC")

	f.change(follow)
	c.want("-"+string(errWaitReplica)+"\r\n", "WAIT", "1", "0")
	c.want("-"+string(errWaitAOFReplica)+"\r\n", "WAITAOF", "1", "1", "0")
}

// TestMinReplicas: writes are refused while too few nodes follow.
func TestMinReplicasInACluster(t *testing.T) {
	t.Parallel()
	f := &fakeCluster{state: threeNodes()}
	ts := startServer(t, setup{cluster: f, limits: func(l *Limits) { l.MinReplicas, l.MinReplicasLagSec = 2, 10 }})
	c := ts.dial()
	c.want("+OK\r\n", "SET", "k", "v")
	if got := c.infoValue("replication", "min_slaves_good_slaves"); got != "2" {
		t.Errorf("%s good replicas", got)
	}
	f.change(func(s *replication.State) { s.Members[1].LastContact = 11 * time.Second })
	c.want("-NOREPLICAS Not enough good replicas to write.\r\n", "SET", "k", "v")
	c.want("$1\r\nv\r\n", "GET", "k")
	f.change(func(s *replication.State) { s.Members[1].LastContact = time.Second })
	c.want("+OK\r\n", "SET", "k", "v")
	f.change(func(s *replication.State) { s.Members[2].Reachable = false })
	c.want("-NOREPLICAS Not enough good replicas to write.\r\n", "SET", "k", "v")
}

// TestFailover: FAILOVER answers at once, and INFO shows that it goes on.
func TestFailover(t *testing.T) {
	t.Parallel()
	f := &fakeCluster{state: threeNodes(), asked: make(chan string, 1), answer: make(chan error)}
	ts := startServer(t, setup{cluster: f})
	c := ts.dial()
	for _, q := range []struct{ reply, words string }{
		{"-ERR FAILOVER target HOST and PORT is not a replica.\r\n", "TO 10.0.0.9 6379"},
		{"-ERR FAILOVER target HOST and PORT is not a replica.\r\n", "TO 10.0.0.1 6379"},
		{"-ERR FAILOVER with force option requires both a timeout and target HOST and IP.\r\n", "FORCE"},
		{"-ERR FAILOVER with force option requires both a timeout and target HOST and IP.\r\n", "TO 10.0.0.2 6379 FORCE"},
		{"-ERR No failover in progress.\r\n", "ABORT"}, {"-ERR FAILOVER timeout must be greater than 0\r\n", "TIMEOUT 0"},
		{"-ERR syntax error\r\n", "x"}, {"-ERR value is not an integer or out of range\r\n", "TO 10.0.0.2 x"},
	} {
		c.want(q.reply, append([]string{"FAILOVER"}, strings.Fields(q.words)...)...)
	}
	state := func() string { return c.infoValue("replication", "master_failover_state") }
	over := func() {
		t.Helper()
		for deadline := time.Now().Add(limit); state() != "no-failover"; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the failover does not end")
			}
		}
	}
	c.want("+OK\r\n", "FAILOVER", "TO", "10.0.0.3", "6379", "TIMEOUT", "60000")
	if got := <-f.asked; got != "transfer "+idC {
		t.Errorf("asked to %s", got)
	}
	if got := state(); got != "failover-in-progress" {
		t.Errorf("master_failover_state:%s", got)
	}
	c.want("-ERR FAILOVER already in progress.\r\n", "FAILOVER")
	f.answer <- nil
	over()
	c.want("+OK\r\n", "FAILOVER")
	if got := <-f.asked; got != "transfer " {
		t.Errorf("asked to %s", got)
	}
	c.want("+OK\r\n", "FAILOVER", "ABORT")
	over()
	c.want("+OK\r\n", "SENTINEL", "FAILOVER", "mymaster")
	<-f.asked
	f.answer <- fmt.Errorf("it does not catch up")
	over()
	if !strings.Contains(ts.lines.String(), "it does not catch up") {
		t.Error("the log does not say why a failover did not happen")
	}

	f.change(follow)
	c.want("-ERR FAILOVER is not valid when server is a replica.\r\n", "FAILOVER")
	c.want("+OK\r\n", "CLUSTER", "FAILOVER")
	if got := <-f.asked; got != "transfer "+idA {
		t.Errorf("asked to %s", got)
	}
	f.answer <- nil
	over()
	f.change(leaderless)
	c.want("-ERR Master is down or failed, please use CLUSTER FAILOVER FORCE\r\n", "CLUSTER", "FAILOVER")
	// Shutdown ends one that is under way.
	f.change(func(s *replication.State) { *s = threeNodes() })
	c.want("+OK\r\n", "FAILOVER")
	<-f.asked
}
