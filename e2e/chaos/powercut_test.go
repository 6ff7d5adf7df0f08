package chaos

import (
	"fmt"
	"syscall"
	"time"

	"sett/e2e/process"
	"sett/storage/cutfs"
)

// everysecLoss is how old what a power cut takes may be at most, at fsync everysec.
const everysecLoss = 1500 * time.Millisecond

// cutOne takes the power from one node. If that is a majority, it is cutAll.
func (n *nemesis) cutOne() func() {
	if len(n.c.Others()) == 1 {
		return n.cutAll()
	}
	place := n.anyone()
	n.cut(place)
	return func() { n.c.Launch(place) }
}

// cutAll takes the power from all nodes at once.
func (n *nemesis) cutAll() func() { return n.cutMost(n.c.Others()) }

// cutMajority leaves one node alone, which may be the leader or lack what the others had.
func (n *nemesis) cutMajority() func() {
	return n.cutMost(n.some(len(n.c.Others())/2 + 1))
}

// cutMost takes the power from a majority. Below fsync always that splits the history: clients wait until it is known what is left.
func (n *nemesis) cutMost(places []int) func() {
	at := n.load.hs.now()
	n.cut(places...)
	launch := func() {
		for _, place := range places {
			n.c.Launch(place)
		}
	}
	if fsync() == "always" {
		return launch
	}
	n.load.gate.Lock()
	used := n.load.hs.split()
	return func() {
		defer n.load.gate.Unlock()
		launch()
		n.awaitAll()
		n.lookAfterSplit(used, at)
	}
}

// awaitAll waits until all nodes serve. One that kept its power may have what the others have lost: it ends, to start without that.
func (n *nemesis) awaitAll() {
	n.Helper()
	n.c.Await("a write through each node", func() error {
		for _, place := range n.c.Others() {
			if !n.c.Nodes[place].Runs() {
				n.c.Launch(place)
			}
			if err := n.c.Try(place, "SET", "cluster:service", "again"); err != nil {
				return fmt.Errorf("node %d: %w", place, err)
			}
		}
		return nil
	})
}

// cutWitness takes the power from the only follower that has what the leader has, and then the leader away. What was acknowledged lately may be nowhere
// but there now; the follower that was behind and the one that may have forgotten must not agree on a leader.
func (n *nemesis) cutWitness() func() {
	leader := n.c.AwaitLeader()
	others := n.c.Others(leader)
	n.r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	witness, behind := others[0], others[1]
	catchUp := n.c.Pause(behind)
	time.Sleep(n.hold/10 + n.within(n.hold/10))
	leaderIsBack := n.c.Pause(leader)
	n.cut(witness)
	n.c.Launch(witness)
	catchUp()
	return leaderIsBack
}

// cut takes the power from some nodes and some of what they had not synced.
func (n *nemesis) cut(places ...int) {
	n.Helper()
	for _, place := range places {
		n.c.Nodes[place].Signal(syscall.SIGUSR2)
	}
	for _, place := range places {
		node := n.c.Nodes[place]
		<-node.Exited
		loss, err := cutfs.Lose(node.Dir, n.r)
		if err != nil {
			n.Fatalf("the power of node %d was not cut: %v\n%s", place, err, node.Said())
		}
		n.boots++
		node.Env = []string{fmt.Sprintf("SETT_BOOT=%d", n.boots)}
		n.counts[lostPages] += loss.Pages
	}
}

// lookAfterSplit compares what is left with what must be: all that was acknowledged early enough, and the same on every node. From here on these keys are not
// used.
func (n *nemesis) lookAfterSplit(used []*history, at time.Duration) {
	n.Helper()
	for i, place := range n.c.Others() {
		conn, err := n.c.Nodes[place].TryDial()
		if err != nil {
			n.Fatal(err)
		}
		conn.Patience = time.Minute
		for _, h := range used {
			if !h.cut {
				n.lookAt(conn, h, place, i == 0, at)
			}
		}
		conn.Close()
	}
	for _, h := range used {
		h.cut = true
	}
}

// lookAt reads a key. The first node's answer is the history's last word; the others' must be the same.
func (n *nemesis) lookAt(conn *process.Client, h *history, place int, first bool, at time.Duration) {
	n.Helper()
	o := &operation{action: read, client: clients + place, node: place, call: n.load.hs.now()}
	var reply any
	for _, args := range commands(h, o) {
		var err error
		if reply, err = conn.Do(args...); err != nil {
			n.Fatal(err)
		}
	}
	if refusal, refused := reply.(process.ReplyError); refused {
		n.Fatalf("reading %s through node %d after a power cut: %v", h.key, place, refusal)
	}
	o.result, o.end = result(h.kind, o, reply), n.load.hs.now()
	if first {
		h.left = o.result
		if lost := h.lostBefore(at-everysecLoss, o.result); lost != "" {
			n.Errorf("after a power cut: %s: %s; what is left is %s: %s", h.key, lost, o.result, newVerdict(n).keep(h, nil))
		}
	} else if o.result != h.left {
		n.Errorf("after a power cut: %s is %q on the first node and %q on node %d", h.key, h.left, o.result, place)
	}
}
