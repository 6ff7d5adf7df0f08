package member

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"sett/replication"
	"sett/replication/mesh"
	"sett/storage"
)

// How a cluster begins. Every node is started with the same configuration, in any order, at any time, and may be killed at any moment. One that
// belongs to no cluster looks at its peers again and again:
//
//   - If one of them belongs to a cluster it asks to be taken in there.
//   - If expect of them have answered and none belongs to a cluster, one of them begins one: the only one that has data, else the one with the
//     smallest id. It asks each of the others for a promise, and when it has them all it notes durably that it belongs to the new cluster, with those
//     voters. From then on it tells so, and the others are taken in.
//
// Why two clusters never come to life:
//
//  1. A directory belongs to at most one cluster, from Dir.Join on, durably.
//  2. Who begins a cluster has the promise of each of its first members, itself included. Only who belongs to no cluster promises, and keeps at most
//     one promise at a time, durably.
//  3. expect is more than half of the peers. So two sets of first members have a node in common, which has promised both: the later one only after it
//     had taken the former back. It does so if the former founder, asked after the promise was given, belongs to no cluster and does not promise itself
//     any more, or is in a later life: then it has given up, and asks for all promises anew when it tries again. Or if somebody else answers at the
//     address of the former founder: then that one's directory is lost, and with it all that there was of a cluster which nobody else had joined. (Somebody
//     who had joined would say so, and then the first rule holds.)
//  4. Who does not begin a cluster joins only one that a member of it offers.
//
// A directory that was emptied counts as a new node with a new id; that is why it cannot vote or promise twice.

// sayAgain is how often the log says what a node waits for.
const sayAgain = 5 * time.Second

// Discover returns when this node belongs to a cluster, which may take for ever; ctx ends the wait. Meanwhile the log says whom it waits for. An
// error that is a *storage.RefusedError is the operator's to put right.
func (n *Node) Discover(ctx context.Context) (Found, error) {
	known := n.dir.Node()
	if known.ClusterID != "" {
		return n.comeBack(ctx, known)
	}
	tick := time.NewTicker(n.interval / hurry)
	defer tick.Stop()
	var said string
	saidAt := time.Now() // nothing to say at first: they are being asked
	for {
		found, wait, err := n.decide(ctx)
		if err != nil || wait == "" {
			n.setWait("")
			return found, err
		}
		n.setWait(wait)
		if wait != said && time.Since(saidAt) > n.interval || time.Since(saidAt) > sayAgain {
			n.log.Info("this node belongs to no cluster yet", "waits_for", wait)
			said, saidAt = wait, time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Found{}, ctx.Err()
		case <-n.ctx.Done():
			return Found{}, mesh.ErrClosed
		}
	}
}

func (n *Node) setWait(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waitsFor = what
}

// knockTimeout is how long a member that starts waits for the others' first answers, if it does not need them.
const knockTimeout = 500 * time.Millisecond

// comeBack is the start of a node that belongs to a cluster. It needs nobody for it, and does not wait long for those who do not answer. But its
// address may have changed, and the cluster may have been recovered without it.
func (n *Node) comeBack(ctx context.Context, known storage.Node) (Found, error) {
	begun := time.Now()
	for !n.allTried() && ctx.Err() == nil {
		if waited := time.Since(begun); waited > 2*askTimeout || n.metSelf() && waited > knockTimeout {
			break
		}
		select {
		case <-time.After(n.interval / 20):
		case <-ctx.Done():
		}
	}
	n.mu.Lock()
	behind := n.behind != nil
	n.mu.Unlock()
	if behind {
		return Found{}, n.leftBehind()
	}
	addr := n.Addr()
	if addr == "" {
		return Found{}, errors.New("nothing says how the others reach this node: set cluster.advertise")
	}
	if err := n.dir.SetAddr(addr); err != nil {
		return Found{}, err
	}
	return n.found(), nil
}

// metSelf tells whether this node knows how others reach it, in this life.
func (n *Node) metSelf() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self != ""
}

// allTried tells whether each address has been tried at least once.
func (n *Node) allTried() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lines {
		if l.report == nil && (l.err == errNotTried || l.err == nil && !l.mine) {
			return false
		}
	}
	return len(n.lines) > 0
}

// found is what is known once the directory belongs to a cluster.
func (n *Node) found() Found {
	known := n.dir.Node()
	f := Found{ID: known.ID, ClusterID: known.ClusterID, Addr: n.Addr()}
	for _, founder := range known.Founders {
		f.Bootstrap = append(f.Bootstrap, replication.Member{ID: founder.ID, Addr: founder.Addr, Voter: true})
	}
	return f
}

// decide looks at what the others have said, and does what is to be done; wait says what is missing.
func (n *Node) decide(ctx context.Context) (found Found, wait string, err error) {
	if !n.metSelf() {
		return found, "itself: none of the addresses in cluster.peers that answer is this node's (" + n.missing() + "); or set cluster.advertise", nil
	}
	if !n.allTried() {
		return found, "the others to answer", nil
	}
	blank, clusters := n.sortPeers()
	if len(clusters) > 1 {
		return found, "cluster.peers to name the nodes of one cluster: there are " + list(clusters), nil
	}
	if len(clusters) == 1 {
		return n.askIn(ctx, clusters[0])
	}
	if err := n.reconsider(blank); err != nil {
		return found, "", err
	}
	return n.begin(ctx, blank)
}

// candidate is a node that belongs to no cluster, as seen now.
type candidate struct {
	id, boot         string
	addr             string // where it answers
	calls            string // what it says its address is, if it knows
	promised         string
	asked            time.Time // when it was asked for all this
	replica, hasData bool
}

// sortPeers returns who belongs to no cluster, this node included, by id, and the clusters of the others.
func (n *Node) sortPeers() (blank []candidate, clusters []string) {
	own := n.dir.Node()
	blank = []candidate{{own.ID, n.mesh.Self().Boot, n.Addr(), n.Addr(), own.Promised.Founder, time.Now(), n.o.Replica, n.o.HasData}}
	for _, r := range n.reports() {
		switch {
		case !r.fresh:
		case r.ClusterID == "":
			blank = append(blank, candidate{r.ID, r.Boot, r.reached, r.Addr, r.Promised, r.asked, r.Replica, r.HasData})
		case !slices.Contains(clusters, r.ClusterID):
			clusters = append(clusters, r.ClusterID)
		}
	}
	slices.SortFunc(blank, func(a, b candidate) int { return strings.Compare(a.id, b.id) })
	return blank, clusters
}

// missing names the peers that have not answered, and why.
func (n *Node) missing() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, addr := range n.o.Peers {
		if l := n.lines[addr]; l == nil || l.err != nil && !l.mine {
			why := errNotTried
			if l != nil {
				why = l.err
			}
			names = append(names, fmt.Sprintf("%s: %v", addr, plain(why)))
		}
	}
	return list(names)
}

// plain leaves out of an error what the address beside it says already.
func plain(err error) error {
	var refused *mesh.Refusal
	var op *net.OpError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// begin begins a cluster if it is this node's turn.
func (n *Node) begin(ctx context.Context, blank []candidate) (found Found, wait string, err error) {
	if !n.isPeer() {
		return found, "the others to begin a cluster: this node is not in cluster.peers, so it can only join one", nil
	}
	blank = slices.DeleteFunc(blank, func(c candidate) bool { return !slices.Contains(n.o.Peers, c.addr) && c.id != n.dir.Node().ID })
	if len(blank) < n.o.Expect {
		return found, fmt.Sprintf("%d more of %d nodes (%s)", n.o.Expect-len(blank), n.o.Expect, n.missing()), nil
	}
	voters := slices.DeleteFunc(slices.Clone(blank), func(c candidate) bool { return c.replica })
	withData := slices.DeleteFunc(slices.Clone(blank), func(c candidate) bool { return !c.hasData })
	switch {
	case len(voters) == 0:
		return found, "a voter: all have cluster.role replica", nil
	case len(withData) > 1:
		return found, fmt.Sprintf("all but one to have an empty dir: %s at %s and %s at %s both have data",
			short(withData[0].id), withData[0].addr, short(withData[1].id), withData[1].addr), nil
	case len(withData) == 1 && withData[0].replica:
		return found, fmt.Sprintf("%s, which has data, to be a voter", withData[0].addr), nil
	}
	founder := append(withData, voters...)[0]
	if founder.id != n.dir.Node().ID {
		return found, fmt.Sprintf("%s at %s, whose turn it is to begin the cluster", short(founder.id), founder.addr), nil
	}
	return n.beginWith(ctx, blank, voters)
}

// isPeer tells whether one of cluster.peers is this node: the others can find it.
func (n *Node) isPeer() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, addr := range n.o.Peers {
		if addr == n.self || n.lines[addr] != nil && n.lines[addr].mine {
			return true
		}
	}
	return false
}

// beginWith gathers the promises and notes the new cluster.
func (n *Node) beginWith(ctx context.Context, blank, voters []candidate) (found Found, wait string, err error) {
	own := n.dir.Node()
	mine := storage.Promise{Founder: own.ID, Addr: n.Addr(), Boot: n.mesh.Self().Boot}
	if refusal := n.promise(mine); refusal != nil {
		return found, refusal.Error(), nil
	}
	if missing := n.gather(ctx, mine, blank); missing != "" {
		// It must be free for another one. Those who have promised see that it has given up.
		n.changing.Lock()
		defer n.changing.Unlock()
		return found, missing, n.dir.SetPromise(storage.Promise{})
	}
	var id [16]byte
	rand.Read(id[:])
	var founders []storage.Founder
	for _, c := range voters {
		founders = append(founders, storage.Founder{ID: c.id, Addr: cmp.Or(c.calls, c.addr)})
	}
	if err := n.dir.Join(hex.EncodeToString(id[:]), 1, n.dir.Seed(), n.Addr(), founders); err != nil {
		return found, "", err
	}
	n.log.Info("this node begins a cluster", "cluster", n.dir.Node().ClusterID, "voters", len(founders))
	return n.found(), "", nil
}

// gather asks all others for their promise; missing is what it did not get.
func (n *Node) gather(ctx context.Context, mine storage.Promise, others []candidate) (missing string) {
	for _, c := range others {
		if c.id == mine.Founder {
			continue
		}
		r, err := n.askOnce(ctx, c.addr, c.id, question{Op: opFound, Addr: mine.Addr}, askTimeout)
		if err == nil && r.Error != "" {
			err = errors.New(r.Error)
		}
		if err != nil {
			return fmt.Sprintf("the promise of %s at %s (%v)", short(c.id), c.addr, plain(err))
		}
	}
	return ""
}

// promise notes a promise if nothing speaks against it.
func (n *Node) promise(p storage.Promise) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	known := n.dir.Node()
	switch {
	case known.ClusterID != "":
		return errors.New("it belongs to a cluster")
	case known.Promised.Founder != "" && known.Promised.Founder != p.Founder:
		return fmt.Errorf("the promise of %s was given to %s at %s", short(known.ID), short(known.Promised.Founder), known.Promised.Addr)
	case n.o.HasData && p.Founder != known.ID:
		return errors.New("it has data, and so begins the cluster itself")
	}
	n.promisedAt = time.Now()
	return n.dir.SetPromise(p)
}

// reconsider takes a promise back that cannot have led to a cluster; see rule 3 above.
func (n *Node) reconsider(blank []candidate) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	p := n.dir.Node().Promised
	if p.Founder == "" {
		return nil
	}
	void := slices.ContainsFunc(blank, func(c candidate) bool {
		gaveUp := c.id == p.Founder && (c.boot != p.Boot || c.promised != p.Founder)
		replaced := c.id != p.Founder && (c.addr == p.Addr || c.calls == p.Addr)
		return c.asked.After(n.promisedAt) && (gaveUp || replaced) // what was said before the promise tells nothing
	})
	if !void {
		return nil
	}
	return n.dir.SetPromise(storage.Promise{})
}

// askIn asks the members of a cluster, and their leader, to be taken in.
func (n *Node) askIn(ctx context.Context, cluster string) (found Found, wait string, err error) {
	if n.o.HasData {
		return found, "", &storage.RefusedError{Reason: fmt.Sprintf("%s has data of its own, and the nodes in cluster.peers belong to cluster %s already: "+
			"to join it this node needs an empty dir", n.dir.Path(), cluster)}
	}
	why := "a member of it that answers"
	asked := map[string]bool{}
	var ask []string
	for _, r := range n.reports() {
		if r.fresh && r.ClusterID == cluster {
			ask = append(ask, r.reached)
		}
	}
	for len(ask) > 0 {
		addr := ask[0]
		ask = ask[1:]
		if asked[addr] {
			continue
		}
		asked[addr] = true
		r, err := n.askOnce(ctx, addr, "", question{Op: opJoin, Addr: n.Addr()}, changeTimeout)
		switch {
		case err != nil:
			why = fmt.Sprintf("%s (%v)", addr, plain(err))
		case r.Welcome != nil:
			return n.enter(r.Welcome)
		case r.Leader != "":
			ask = append([]string{r.Leader}, ask...)
		case r.Error != "":
			why = fmt.Sprintf("%s, which says: %s", addr, r.Error)
		}
	}
	return found, fmt.Sprintf("cluster %s to take it in: %s", short(cluster), why), nil
}

// enter notes durably that this node belongs to a cluster.
func (n *Node) enter(w *admission) (found Found, wait string, err error) {
	var seed [16]byte
	if b, err := hex.DecodeString(w.HashSeed); err != nil || len(b) != len(seed) || len(w.ClusterID) != 32 {
		return found, "an answer that makes sense", nil
	} else {
		copy(seed[:], b)
	}
	n.changing.Lock() // no promise meanwhile
	defer n.changing.Unlock()
	if err := n.dir.Join(w.ClusterID, w.Epoch, seed, n.Addr(), nil); err != nil {
		return found, "", err
	}
	n.log.Info("this node has joined the cluster", "cluster", w.ClusterID)
	return n.found(), "", nil
}

// askOnce asks one question over a stream of its own, of the node with an id, if one is given.
func (n *Node) askOnce(ctx context.Context, addr, id string, q question, timeout time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, peer, err := n.mesh.Dial(ctx, addr, mesh.Control)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	if id != "" && peer.NodeID != id {
		return reply{}, fmt.Errorf("another node is there now")
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	return exchange(conn, q, timeout)
}
