package server

import (
	"math"
	"strconv"
	"time"

	"sett/commands"
	"sett/replication"
	"sett/resp"
)

// What is asked about replication. In a cluster the leader is the master, everybody else its replica, and offsets are indexes of the log. A node
// that is alone is a master whom nobody follows.

func replicationHandlers() map[string]*handler {
	return map[string]*handler{
		"role":      {run: role, early: true},
		"replicaof": {run: replicaof},
		"slaveof":   {run: replicaof},
		"failover":  {run: runFailover},
		"sync":      {run: refuseReplica},
		"psync":     {run: refuseReplica},
		"replconf":  {run: refuseReplica},
		"wait":      {run: wait, blocks: true, travels: true},
		"waitaof":   {run: waitAOF, blocks: true, travels: true},
	}
}

// role is ROLE. Alone, the offset is the index of the last log entry that is committed.
func role(s *session, b *buffers, _ [][]byte) {
	w, c := &b.out, s.cluster()
	switch {
	case c == nil && s.server.opts.Clustered: // it looks for the others
		(&topology{}).showFollower(w)
		return
	case c == nil:
		var offset uint64
		if s.engine != nil {
			offset = s.engine.Store.Status().Applied
		}
		w.Array(3)
		w.BulkString("master")
		w.Uint(offset)
		w.Array(0)
		return
	}
	t := s.server.topology(c)
	if !t.leads() {
		t.showFollower(w)
		return
	}
	replicas := t.connected()
	w.Array(3)
	w.BulkString("master")
	w.Uint(t.Last)
	w.Array(len(replicas))
	for _, n := range replicas {
		w.Array(3)
		w.BulkString(n.host)
		w.BulkString(strconv.Itoa(n.port))
		w.BulkString(strconv.FormatUint(n.offset(), 10))
	}
}

// showFollower is ROLE of a node that does not lead.
func (t *topology) showFollower(w *resp.Writer) {
	host, port, state := "", 0, "connect"
	if t.master != nil {
		host, port = t.master.host, t.master.port
	}
	if t.hasLeader() {
		state = "connected"
	}
	w.Array(5)
	w.BulkString("slave")
	w.BulkString(host)
	w.Int(int64(port))
	w.BulkString(state)
	w.Uint(t.Applied)
}

// roleName is that of INFO.
func (t *topology) roleName() string {
	if t.leads() {
		return "master"
	}
	return "slave"
}

func replicaof(s *session, b *buffers, args [][]byte) {
	none := is(args[1], "no") && is(args[2], "one")
	if none && s.cluster() == nil {
		b.out.Status("OK")
		return
	}
	if port, ok := resp.ParseInt(args[2]); !none && (!ok || port < 0 || port > math.MaxUint16) {
		fail(b, errMasterPort)
		return
	}
	if s.cluster() != nil {
		fail(b, errReplicaOfCluster)
		return
	}
	fail(b, errReplicaOf)
}

func refuseReplica(_ *session, b *buffers, _ [][]byte) { fail(b, errNoReplicas) }

// lacksReplicas tells whether min-replicas-to-write refuses a write, or an EXEC of one. Who does not lead leaves that to who does.
func (s *session) lacksReplicas(row *commands.Row) bool {
	limits := s.server.limits.Load()
	if limits.MinReplicas == 0 || limits.MinReplicasLagSec == 0 || !s.runs(row, (*commands.Row).IsWrite) {
		return false
	}
	c := s.cluster()
	if c == nil {
		return true
	}
	state := c.State()
	return state.Role == replication.Leader && goodReplicas(&state, limits) < limits.MinReplicas
}

// goodReplicas counts those that were heard of within min-replicas-max-lag.
func goodReplicas(state *replication.State, limits *Limits) (good int) {
	for _, m := range state.Members {
		if m.ID != state.ID && m.Reachable && m.LastContact <= time.Duration(limits.MinReplicasLagSec)*time.Second {
			good++
		}
	}
	return good
}

// replication is INFO's section.
func (r *report) replication() {
	c := r.s.cluster()
	switch {
	case c == nil && r.s.server.opts.Clustered: // it looks for the others
		r.line("role:slave")
		r.line("master_link_status:down")
		r.line("connected_slaves:0")
		return
	case c == nil:
		r.line("role:master")
		r.line("connected_slaves:0")
		if r.s.engine != nil {
			r.line("master_repl_offset:%d", r.status().Applied) // entries of the log
		}
		return
	}
	t := r.s.server.topology(c)
	r.line("role:%s", t.roleName())
	offset := t.Last
	if !t.leads() {
		r.follower(t, c.Metrics())
		offset = t.Applied
		r.line("connected_slaves:0")
	} else {
		r.replicas(t)
	}
	r.line("master_failover_state:%s", r.s.server.failover.state())
	r.line("master_replid:%s", redisID(t.ClusterID))
	r.line("master_replid2:%s", redisID(""))
	r.line("master_repl_offset:%d", offset)
	r.line("second_repl_offset:-1")
	if t.Last >= t.First {
		r.line("repl_backlog_active:1")
		r.line("repl_backlog_first_byte_offset:%d", t.First)
		r.line("repl_backlog_histlen:%d", t.Last-t.First+1)
	}
}

func (r *report) follower(t *topology, m *replication.Metrics) {
	host, port, link, contactSec := "", 0, "down", int64(-1)
	if t.master != nil {
		host, port = t.master.host, t.master.port
		contactSec = t.master.contactMs() / 1000
	}
	if t.hasLeader() {
		link = "up"
	}
	r.line("master_host:%s", host)
	r.line("master_port:%d", port)
	r.line("master_link_status:%s", link)
	r.line("master_last_io_seconds_ago:%d", contactSec)
	r.line("master_sync_in_progress:%d", oneIf(m.SnapshotsUnderWay.Load() > 0))
	r.line("slave_read_repl_offset:%d", t.Last)
	r.line("slave_repl_offset:%d", t.Applied)
	if link == "down" {
		r.line("master_link_down_since_seconds:%d", contactSec)
	}
	r.line("slave_priority:%d", priority(t.self()))
	r.line("replica_announced:1")
}

// priority is what Redis' Sentinel goes by: 0 never becomes a master.
func priority(n *node) int {
	if n.Voter {
		return 100
	}
	return 0
}

func (r *report) replicas(t *topology) {
	connected := t.connected()
	r.line("connected_slaves:%d", len(connected))
	if limits := r.s.server.limits.Load(); limits.MinReplicas > 0 && limits.MinReplicasLagSec > 0 {
		r.line("min_slaves_good_slaves:%d", goodReplicas(&t.State, limits))
	}
	for i, n := range connected {
		r.line("slave%d:ip=%s,port=%d,state=online,offset=%d,lag=%d", i, n.host, n.port, n.offset(), n.contactMs()/1000)
	}
}
