package server

import (
	"strconv"
	"strings"

	"sett/commands"
	"sett/resp"
)

// SENTINEL on the ordinary port. Each node of a cluster watches over all the others, so each is a Sentinel for clients that find their master by one:
// of one master, under the name that cluster.name says. A node that is alone has no such command, as any Redis.

func sentinelHandlers(table *commands.Table) map[string]*handler {
	handlers := map[string]*handler{"sentinel": {run: sentinelContainer}}
	for _, sub := range table.Lookup([]byte("sentinel")).Subcommands {
		handlers[sub.Name] = &handler{run: asSentinel(sentinelRefuse)}
	}
	for name, run := range map[string]clusterCommand{
		"ckquorum": ofMaster(sentinelQuorum), "failover": ofMaster(sentinelFailover), "flushconfig": sentinelFlush,
		"get-master-addr-by-name": sentinelAddr, "help": sentinelHelp, "is-master-down-by-addr": sentinelIsDown, "master": ofMaster(sentinelMaster),
		"masters": sentinelMasters, "myid": clusterMyID, "pending-scripts": sentinelScripts, "replicas": ofMaster(sentinelReplicas),
		"sentinels": ofMaster(sentinelSentinels), "slaves": ofMaster(sentinelReplicas),
	} {
		handlers["sentinel|"+name] = &handler{run: asSentinel(run)}
	}
	return handlers
}

func sentinelContainer(s *session, b *buffers, args [][]byte) {
	if s.cluster() == nil {
		fail(b, commands.ErrUnknownCommand(args))
		return
	}
	onlySubcommands(s, b, args)
}

// asSentinel answers as a Redis that is no Sentinel if there is no cluster.
func asSentinel(run clusterCommand) func(*session, *buffers, [][]byte) {
	return func(s *session, b *buffers, args [][]byte) {
		c := s.cluster()
		if c == nil {
			fail(b, commands.ErrUnknownCommand(args))
			return
		}
		run(s, b, args, s.server.topology(c))
	}
}

// ofMaster runs what is about the one master, if that is whom args[2] names and it is known.
func ofMaster(run clusterCommand) clusterCommand {
	return func(s *session, b *buffers, args [][]byte, t *topology) {
		if string(args[2]) != s.server.opts.MasterName || t.master == nil {
			fail(b, errNoSuchMaster)
			return
		}
		run(s, b, args, t)
	}
}

func sentinelRefuse(_ *session, b *buffers, _ [][]byte, _ *topology) { fail(b, errSentinelFixed) }

// sentinelFlush is SENTINEL FLUSHCONFIG: there is nothing that is not on disk.
func sentinelFlush(_ *session, b *buffers, _ [][]byte, _ *topology) { b.out.Status("OK") }

func sentinelScripts(_ *session, b *buffers, _ [][]byte, _ *topology) { b.out.Array(0) }

// sentinelAddr is SENTINEL GET-MASTER-ADDR-BY-NAME. While a leader is being elected it names the last one, as a Sentinel does.
func sentinelAddr(s *session, b *buffers, args [][]byte, t *topology) {
	if string(args[2]) != s.server.opts.MasterName || t.master == nil || t.master.host == "" {
		b.out.NullArray()
		return
	}
	b.out.Array(2)
	b.out.BulkString(t.master.host)
	b.out.BulkString(strconv.Itoa(t.master.port))
}

func sentinelMasters(s *session, b *buffers, _ [][]byte, t *topology) {
	if t.master == nil {
		b.out.Array(0)
		return
	}
	b.out.Array(1)
	sentinelMaster(s, b, nil, t)
}

func sentinelMaster(s *session, b *buffers, _ [][]byte, t *topology) {
	d := t.instance(s.server.opts.MasterName, t.master, "master")
	d.number("info-refresh", t.master.contactMs())
	d.text("role-reported", "master")
	d.number("role-reported-time", t.master.contactMs())
	d.number("config-epoch", int64(t.Term))
	d.number("num-slaves", int64(len(t.replicas())))
	d.number("num-other-sentinels", int64(len(t.nodes)-1))
	d.number("quorum", int64(t.quorum()))
	d.number("failover-timeout", failoverLimit.Milliseconds())
	d.number("parallel-syncs", 1)
	d.show(&b.out)
}

func sentinelReplicas(_ *session, b *buffers, _ [][]byte, t *topology) {
	replicas := t.replicas()
	b.out.Array(len(replicas))
	for _, n := range replicas {
		d := t.instance(n.addr(), n, "slave")
		d.number("info-refresh", n.contactMs())
		d.text("role-reported", "slave")
		d.number("role-reported-time", n.contactMs())
		link, downMs := "ok", int64(0)
		if !n.Reachable || !t.hasLeader() {
			link, downMs = "err", n.contactMs()
		}
		d.number("master-link-down-time", downMs)
		d.text("master-link-status", link)
		d.text("master-host", t.master.host)
		d.number("master-port", int64(t.master.port))
		d.number("slave-priority", int64(priority(n)))
		d.number("slave-repl-offset", int64(n.offset()))
		d.number("replica-announced", 1)
		d.show(&b.out)
	}
}

func sentinelSentinels(_ *session, b *buffers, _ [][]byte, t *topology) {
	var others []*node
	for i := range t.nodes {
		if n := &t.nodes[i]; !n.self && n.host != "" {
			others = append(others, n)
		}
	}
	b.out.Array(len(others))
	for _, n := range others {
		d := t.instance(n.redisID, n, "sentinel")
		d.number("last-hello-message", n.contactMs())
		d.text("voted-leader", redisID(t.Leader))
		d.number("voted-leader-epoch", int64(t.Term))
		d.show(&b.out)
	}
}

// instance has the fields that a master, a replica and a Sentinel have in common.
func (t *topology) instance(name string, n *node, role string) *details {
	var d details
	d.text("name", name)
	d.text("ip", n.host)
	d.number("port", int64(n.port))
	d.text("runid", n.redisID)
	flags := t.sentinelFlags(n, role)
	d.text("flags", flags)
	d.number("link-pending-commands", 0)
	d.number("link-refcount", 1)
	pingMs := int64(0)
	if !n.Reachable {
		pingMs = n.contactMs()
	}
	d.number("last-ping-sent", pingMs)
	d.number("last-ok-ping-reply", n.contactMs())
	d.number("last-ping-reply", n.contactMs())
	if strings.HasPrefix(flags, "s_down") {
		d.number("s-down-time", max(0, n.contactMs()-t.downAfter.Milliseconds()))
	}
	d.number("down-after-milliseconds", t.downAfter.Milliseconds())
	return &d
}

// sentinelFlags say that a node does not answer, and of the master that there is none.
func (t *topology) sentinelFlags(n *node, role string) string {
	switch {
	case role == "master" && !t.hasLeader():
		return "s_down,o_down,master"
	case !n.Reachable || n.host == "":
		return "s_down," + role + ",disconnected"
	}
	return role
}

// details are a flat list of names and texts, a map in RESP3.
type details struct{ pairs []string }

func (d *details) text(name, value string) { d.pairs = append(d.pairs, name, value) }

func (d *details) number(name string, n int64) { d.text(name, strconv.FormatInt(n, 10)) }

func (d *details) show(w *resp.Writer) {
	w.Map(len(d.pairs) / 2)
	for _, text := range d.pairs {
		w.BulkString(text)
	}
}

// sentinelQuorum is SENTINEL CKQUORUM.
func sentinelQuorum(_ *session, b *buffers, _ [][]byte, t *topology) {
	usable := t.usable()
	if usable < t.quorum() {
		fail(b, errNoQuorum(usable))
		return
	}
	b.out.Status(strconv.Itoa(usable) + " usable Sentinels. Quorum and failover authorization can be reached")
}

// sentinelIsDown is SENTINEL IS-MASTER-DOWN-BY-ADDR ip port epoch runid, by which Sentinels ask each other; this one gives no votes.
func sentinelIsDown(_ *session, b *buffers, args [][]byte, t *topology) {
	port, ok := resp.ParseInt(args[3])
	_, isNumber := resp.ParseInt(args[4])
	if !ok || !isNumber {
		fail(b, commands.ErrNotInteger)
		return
	}
	n := t.at(string(args[2]), int(port))
	b.out.Array(3)
	b.out.Int(int64(oneIf(n != nil && n == t.master && !t.hasLeader())))
	b.out.BulkString("*")
	b.out.Int(0)
}

// sentinelFailover is SENTINEL FAILOVER master: another node is to lead.
func sentinelFailover(s *session, b *buffers, args [][]byte, t *topology) {
	if len(t.connected()) == 0 {
		fail(b, errNoGoodReplica)
		return
	}
	s.server.beginFailover(b, 0, s.transfer(""))
}

func sentinelHelp(_ *session, b *buffers, _ [][]byte, _ *topology) {
	help(b, "SENTINEL", strings.Split(sentinelHelpText, "\n"))
}

const sentinelHelpText = `CKQUORUM <master-name>
    Check if the current Sentinel configuration is able to reach the quorum
    needed to failover a master and the majority needed to authorize the
    failover.
GET-MASTER-ADDR-BY-NAME <master-name>
    Return the ip and port number of the master with that name.
FAILOVER <master-name>
    Manually failover a master node without asking for agreement from other
    Sentinels
FLUSHCONFIG
    Force Sentinel to rewrite its configuration on disk, including the current
    Sentinel state.
IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>
    Check if the master specified by ip:port is down from current Sentinel's
    point of view.
MASTER <master-name>
    Show the state and info of the specified master.
MASTERS
    Show a list of monitored masters and their state.
MYID
    Return the ID of the Sentinel instance.
PENDING-SCRIPTS
    Get pending scripts information.
REPLICAS <master-name>
    Show a list of replicas for this master and their state.
SENTINELS <master-name>
    Show a list of Sentinel instances for this master and their state.`
