package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"sett/commands"
	"sett/config"
	"sett/replication"
	"sett/replication/member"
	"sett/replication/mesh"
	"sett/server"
	"sett/storage"
	"sett/types"
)

// log is what makes batches durable: that of a node alone, or the one that a cluster agrees on.
type log interface {
	storage.Log
	Start(*storage.Store) (replayed int, err error)
	SetFsync(replication.Fsync) error
	Close() (end uint64, err error)
}

// handOverTimeout is how long a leader that stops looks for another one.
const handOverTimeout = 5 * time.Second

// clusterSettings are the settings of [cluster] and [raft]; docs/configuration.md says what each means.
type clusterSettings struct {
	peers      []string // none: this node is alone
	expect     int
	listen     string
	advertise  string
	secret     string
	cert       string
	key        string
	ca         string
	role       string
	clientMode string
	read       string

	forwardTimeout time.Duration
	amnesiaWait    time.Duration
	heartbeat      time.Duration
	markerInterval time.Duration
	diskStall      time.Duration

	log      string
	inFlight int
}

func readCluster(cfg *config.Config) clusterSettings {
	return clusterSettings{
		peers: cfg.Strings("cluster.peers"), expect: cfg.Int("cluster.expect"), listen: cfg.String("cluster.listen"),
		advertise: cfg.String("cluster.advertise"), secret: cfg.String("cluster.secret"), cert: cfg.String("cluster.tls_cert_file"),
		key: cfg.String("cluster.tls_key_file"), ca: cfg.String("cluster.tls_ca_cert_file"), role: cfg.String("cluster.role"),
		clientMode: cfg.String("cluster.client_mode"), read: cfg.String("cluster.read"),
		forwardTimeout: cfg.Duration("cluster.forward_timeout"), amnesiaWait: cfg.Duration("cluster.amnesia_wait"),
		heartbeat: cfg.Duration("raft.heartbeat"), markerInterval: cfg.Duration("raft.marker_interval"), diskStall: cfg.Duration("raft.disk_stall"),
		log: cfg.String("raft.log"), inFlight: cfg.Int("raft.in_flight"),
	}
}

func (c *clusterSettings) alone() bool { return len(c.peers) == 0 }

func (c *clusterSettings) inBolt() bool { return !c.alone() && c.log == "boltdb" }

// others are the other nodes of the cluster, as this one meets them. All nil: it is alone.
type others struct {
	listener net.Listener // the cluster port, until the member has it
	member   *member.Node
	cluster  *replication.Cluster
}

// startOver has a node that has diverged from its cluster begin again with nothing.
func (n *node) startOver() error {
	if n.cluster.alone() {
		return nil
	}
	if err := n.awaitAnotherLeader(); err != nil {
		return err
	}
	why, err := n.dir.StartOver()
	if why != "" && err == nil {
		n.logger.Warn("this node starts over without its data, and takes a copy of its cluster's. Until it has one it serves nobody and does not vote", "why", why)
	}
	return err
}

// listenForNodes opens the cluster port.
func (n *node) listenForNodes() (err error) {
	if n.cluster.alone() {
		return nil
	}
	if n.others.listener, err = net.Listen("tcp", n.cluster.listen); err != nil {
		return fmt.Errorf("cluster.listen: %w", err)
	}
	return nil
}

// findLog finds out which log this node's data comes from: its own, or that of the cluster in which it takes part. To find a cluster may take as long as
// the other nodes need to start.
func (n *node) findLog(fatal func(error)) error {
	if n.cluster.alone() {
		if id := n.dir.Node().ClusterID; id != "" {
			return &storage.RefusedError{Reason: fmt.Sprintf("%s belongs to a node of cluster %s: start it with cluster.peers", n.dir.Path(), id)}
		}
		n.log = replication.NewSolo(n.wal, replication.SoloOptions{Fsync: n.fsync, Logger: n.logger, Fatal: fatal})
		return nil
	}
	found, err := n.findOthers(fatal)
	if err != nil {
		return err
	}
	n.data.Rekey(types.New(n.dir.HashSeed()))
	n.others.cluster, err = replication.NewCluster(replication.ClusterOptions{
		Dir: n.dir, Log: n.wal, Stream: n.others.member.Mesh().StreamLayer(found.Addr),
		Addr: found.Addr, ID: found.ID, ClusterID: found.ClusterID, Bootstrap: found.Bootstrap,
		Fsync: n.fsync, Heartbeat: n.cluster.heartbeat, InFlight: n.cluster.inFlight, MarkerInterval: n.cluster.markerInterval, DiskStall: n.cluster.diskStall,
		AmnesiaWait: n.cluster.amnesiaWait, KeepBytes: &n.keepLog, MemoryBytes: n.store.Budget().Raft,
		Copies: n.dialForCopy, Replace: n.keeper.Replace, Boot: n.disk.boot(),
		Logger: n.logger, Fatal: fatal, Took: n.latency.Took,
	})
	if err != nil {
		return err
	}
	n.others.member.Mesh().Handle(mesh.Snapshot, func(c net.Conn, _ mesh.Identity) { n.others.cluster.ReceiveSnapshot(c) })
	n.log = n.others.cluster
	return nil
}

// dialForCopy opens a stream for a copy of all data to another node.
func (n *node) dialForCopy(ctx context.Context, addr string) (net.Conn, error) {
	conn, _, err := n.others.member.Mesh().Dial(ctx, addr, mesh.Snapshot)
	return conn, err
}

// findOthers returns when this node belongs to a cluster.
func (n *node) findOthers(fatal func(error)) (found member.Found, err error) {
	tls, err := mesh.LoadTLS(n.cluster.cert, n.cluster.key, n.cluster.ca)
	if err != nil {
		return found, err
	}
	port := n.plain.Port
	if port == 0 {
		port = n.secure.Port
	}
	listener := n.others.listener
	n.others.member, err = member.Open(member.Options{
		Dir: n.dir, Listen: listener, Secret: n.cluster.secret, TLS: tls,
		Peers: n.cluster.peers, Expect: n.cluster.expect, Advertise: n.cluster.advertise, Replica: n.cluster.role == "replica",
		ClientAddr: ":" + strconv.Itoa(port), HasData: n.store.Status().Applied > 0 || n.wal != nil && n.wal.Last() > 0, Version: version,
		Memory: n.cfg.Bytes("memory_budget"), Smallest: n.store.Fit, Digests: digests{n.data}, Fatal: fatal, Logger: n.logger,
	})
	if err != nil {
		return found, err
	}
	n.others.listener = nil
	return n.others.member.Discover(context.Background())
}

// digests are taken for sett verify.
type digests struct{ *commands.DataSet }

func (d digests) Digest(ctx context.Context, index uint64, passed func(records uint64) error) (member.Digest, error) {
	sum, err := d.StateDigest(ctx, index, passed)
	return member.Digest{Sum: hex.EncodeToString(sum.Sum[:]), Keys: sum.Keys}, err
}

// meetOthers gives the server its way to the other nodes, and lets their clients in.
func (n *node) meetOthers(engine *server.Engine) {
	if n.others.cluster == nil {
		return
	}
	v := &view{Cluster: n.others.cluster, member: n.others.member}
	engine.Cluster, engine.Streams = forClients{v}, n.others.member.Mesh().Stats
	n.others.member.Mesh().Handle(mesh.Forward, func(c net.Conn, from mesh.Identity) { n.server.ServeForwarded(c, from.NodeID) })
	n.others.member.Attach(v, func() bool { return n.store.Status().Serving })
}

// handOver has another node lead, before clients notice that this one stops.
func (n *node) handOver() {
	c := n.others.cluster
	if c == nil || !c.Leads() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if err := c.Transfer(ctx, ""); err != nil {
		n.logger.Warn("no other node has taken over: the cluster has no leader until it elects one", "why", err)
	}
}

// leaveOthers ends this node's part in the cluster, before the store is closed.
func (n *node) leaveOthers() {
	if n.others.member != nil {
		n.others.member.Detach()
	}
	if n.others.cluster != nil {
		n.others.cluster.Halt()
	}
}

// close ends what is left of the ways between nodes.
func (o *others) close() error {
	switch {
	case o.member != nil:
		o.member.Mesh().Retire(mesh.Forward, time.Second) // they are told that none of their commands ran
		return o.member.Close()
	case o.listener != nil:
		return o.listener.Close()
	}
	return nil
}

// view is the cluster as the server, and the other nodes, see it: what raft knows, and what the nodes have said of themselves.
type view struct {
	*replication.Cluster
	member *member.Node
}

func (v *view) State() replication.State {
	s := v.Cluster.State()
	v.member.Describe(&s)
	return s
}

// forClients is the view with which clients change the cluster: the member checks what they ask for, and finds the leader.
type forClients struct{ *view }

func (v forClients) Transfer(ctx context.Context, id string) error { return v.member.Transfer(ctx, id) }
func (v forClients) Remove(ctx context.Context, id string) error   { return v.member.Remove(ctx, id) }

var errNoLeader = errors.New("no node leads the cluster at the moment")

// DialLeader opens a stream for a client to the leader's server.
func (v *view) DialLeader(ctx context.Context) (net.Conn, error) {
	id, addr := v.Cluster.LeaderAddr()
	if addr == "" {
		return nil, errNoLeader
	}
	conn, peer, err := v.member.Mesh().Dial(ctx, addr, mesh.Forward)
	if err == nil && peer.NodeID != id {
		conn.Close()
		err = errNoLeader // another node has its address now
	}
	return conn, err
}
