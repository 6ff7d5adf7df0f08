package member

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sett/replication"
	"sett/replication/mesh"
	"sett/storage"
)

// TestAnyStartOrder: nodes with one configuration, started in any order, killed and started again, emptied before they belonged anywhere: one cluster
// comes to life, and everybody is in it. (Who has let another one begin a cluster with it counts as belonging: if too many of those are emptied, nobody
// is left to agree on anything, and the founder has to be emptied as well.)
func TestAnyStartOrder(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			anyStartOrder(t, rand.New(rand.NewPCG(seed, 1)), []int{3, 3, 4, 5, 2, 1}[round%6])
		})
	}
}

func anyStartOrder(t *testing.T, r *rand.Rand, n int) {
	w := newWorld(t)
	boxes := w.boxes(n, nil)
	nap := func() { time.Sleep(time.Duration(r.IntN(int(4 * testInterval)))) }
	for _, i := range r.Perm(n) {
		boxes[i].start()
		nap()
	}
	for range r.IntN(8) {
		b := boxes[r.IntN(n)]
		switch known := b.dir.Node(); {
		case known.ClusterID == "" && r.IntN(2) == 0:
			b.kill() // it may have come to belong somewhere meanwhile
			if d, err := storage.OpenDir(storage.OSFS{}, b.path); err != nil {
				t.Fatal(err)
			} else if known := d.Node(); d.Close() == nil && known.ClusterID == "" && (known.Promised.Founder == "" || known.Promised.Founder == known.ID) {
				b.wipe()
			}
		default:
			b.kill()
		}
		nap()
		b.start()
		nap()
	}
	until(t, "all belong to a cluster", func() bool {
		return !slices.ContainsFunc(boxes, func(b *box) bool { return !b.belongs() })
	}, boxes...)
	w.whole(boxes...)
	w.mu.Lock()
	defer w.mu.Unlock()
	alive := 0
	for _, g := range w.groups {
		if g.alive {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d clusters came to life: %+v", alive, w.groups)
	}
}

func TestFoundersAreForgottenOnceAllHaveTakenPart(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	w.foundersForgotten(boxes...)
	id := boxes[0].found.ClusterID
	for _, b := range boxes {
		b.kill()
		b.start()
	}
	w.whole(boxes...)
	if boxes[0].found.ClusterID != id || boxes[0].found.Bootstrap != nil {
		t.Errorf("%+v", boxes[0].found)
	}
	if boxes[0].dir.HashSeed() != boxes[1].dir.HashSeed() || boxes[0].dir.Seed() == boxes[1].dir.Seed() {
		t.Error("the seeds")
	}
}

func TestAWipedNodeIsANewOne(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	for _, b := range boxes {
		before := b.found.ID
		b.wipe()
		b.start()
		g := w.whole(boxes...) // world complains about voters without data, and about two members at one address
		if b.found.ID == before || g.votes(before) || b.found.Bootstrap != nil {
			t.Errorf("%+v", b.found)
		}
	}
	if len(w.groups) != 1 {
		t.Error(w.groups)
	}
	for _, b := range boxes {
		if strings.Contains(b.log.String(), "this node was removed") {
			t.Errorf("a new node is not the one that was removed: %s", b.log)
		}
	}
}

// TestAVoterWithoutItsData: an old copy of the directory, from before it belonged to the cluster, has the id of a voter.
func TestAVoterWithoutItsData(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	w.foundersForgotten(boxes...)
	b := boxes[1]
	id := b.found.ID
	b.wipe()
	d, err := storage.OpenDir(storage.OSFS{}, b.path)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	text := fmt.Sprintf("{\"ID\":%q}", id)
	sum := crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
	if err := os.WriteFile(filepath.Join(b.path, "node.json"), fmt.Appendf(nil, "%s\n%08x\n", text, sum), 0o640); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	delete(w.groups[boxes[0].found.ClusterID].copied, id)
	w.mu.Unlock()
	b.start()
	w.whole(boxes...)
	if b.found.ID != id {
		t.Fatal("the test has not done what it says")
	}
	if logs := boxes[0].log.String() + boxes[1].log.String() + boxes[2].log.String(); !strings.Contains(logs, "come back without its data") {
		t.Error(logs)
	}
}

func TestReplacingADeadNode(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	dead := boxes[2].found.ID
	boxes[2].kill()
	fresh := w.boxes(1, func(o *Options) { o.Peers, o.Expect = append(slices.Clone(boxes[0].options.Peers), o.Peers...), 3 })[0]
	fresh.start()
	until(t, "the fourth votes", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return fresh.belongs() && w.groups[boxes[0].found.ClusterID].votes(fresh.found.ID)
	}, append(boxes, fresh)...)
	operator := newOperator("of the badger")
	defer operator.Close()
	until(t, "it is removed", func() bool { return Remove(t.Context(), operator, boxes[0].addr, dead[:6]) == nil })
	w.whole(boxes[0], boxes[1], fresh)

	// It comes back from the dead: it stays outside, and says so.
	boxes[2].start()
	until(t, "it notices", func() bool { return boxes[2].node.Removed() }, boxes...)
	if err := Remove(t.Context(), operator, boxes[0].addr, dead); err == nil || !strings.Contains(err.Error(), "no member") {
		t.Error(err)
	}
	w.whole(boxes[0], boxes[1], fresh)
}

// TestLeftBehind: whoever did not take part in a recovery ends when he hears of it, and does not start again; all at once they would be a majority.
func TestLeftBehind(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	w.foundersForgotten(boxes...)
	boxes[2].kill()
	d, err := storage.OpenDir(storage.OSFS{}, boxes[2].path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetEpoch(2); err != nil {
		t.Fatal(err)
	}
	d.Close()
	boxes[2].start()
	var refused *storage.RefusedError
	for _, b := range boxes[:2] {
		if err := <-b.ended; !errors.As(err, &refused) || !strings.Contains(refused.Reason, "recovered without") {
			t.Error(err)
		}
		b.kill()
		b.start()
		<-b.done
		if !errors.As(b.err, &refused) {
			t.Error(b.err)
		}
	}
	if len(boxes[2].ended) > 0 {
		t.Error("the one that was recovered has ended")
	}
}

func TestReplicasNeverVote(t *testing.T) {
	w := newWorld(t)
	boxes := w.boxes(4, nil)
	boxes[3].options.Replica = true
	for _, b := range boxes {
		b.start()
	}
	until(t, "it takes part", func() bool { return boxes[3].belongs() }, boxes...)
	until(t, "three vote", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		g := w.groups[boxes[3].found.ClusterID]
		return len(g.members) == 4 && g.leader != ""
	}, boxes...)
	leader := func() *box {
		for _, b := range boxes {
			if b.belongs() && b.seat.State().Role == replication.Leader {
				return b
			}
		}
		return boxes[0]
	}
	for range 3 * caughtUpLooks { // it is caught up all the time
		was := leader().node
		seen := was.lookedAt(boxes[3].found.ID)
		until(t, "another look", func() bool { return was.lookedAt(boxes[3].found.ID).After(seen) }, boxes...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.groups[boxes[3].found.ClusterID].votes(boxes[3].found.ID) {
		t.Error("it votes")
	}
}

// lookedAt is when the last report of a node came.
func (n *Node) lookedAt(id string) (at time.Time) {
	for _, r := range n.reports() {
		if r.ID == id {
			at = r.at
		}
	}
	return at
}

func TestWhoHasDataBegins(t *testing.T) {
	w := newWorld(t)
	boxes := w.boxes(3, nil)
	for i, b := range boxes {
		b.options.HasData = i == 1
		b.start()
	}
	w.whole(boxes...)
	if boxes[1].found.Bootstrap == nil || boxes[0].dir.HashSeed() != boxes[1].dir.Seed() {
		t.Errorf("%+v", boxes[1].found)
	}

	// Who comes later with data of its own is turned away, its data untouched.
	late := w.boxes(1, func(o *Options) { o.Peers, o.Expect = append(slices.Clone(boxes[0].options.Peers), o.Peers...), 3 })[0]
	late.options.HasData = true
	late.start()
	<-late.done
	var refused *storage.RefusedError
	if !errors.As(late.err, &refused) || !strings.Contains(refused.Reason, "has data of its own") || late.dir.Node().ClusterID != "" {
		t.Error(late.err)
	}
}

func TestTwoWithDataWait(t *testing.T) {
	w := newWorld(t)
	boxes := w.boxes(3, nil)
	for i, b := range boxes {
		b.options.HasData = i > 0
		b.start()
	}
	until(t, "they say so", func() bool {
		r, err := boxes[0].node.askOnce(t.Context(), boxes[1].addr, "", question{Op: opStatus}, askTimeout)
		return err == nil && r.Report != nil && strings.Contains(r.Report.WaitsFor, "both have data")
	}, boxes...)
	if len(w.groups) > 0 {
		t.Error("a cluster began")
	}
	boxes[2].wipe()
	boxes[2].options.HasData = false
	boxes[2].start()
	w.whole(boxes...)
}

func TestTwoClustersInPeers(t *testing.T) {
	w := newWorld(t)
	one, other := w.boxes(1, nil)[0], w.boxes(1, nil)[0]
	one.start()
	other.start()
	w.whole(one)
	w.whole(other)
	between := w.boxes(1, func(o *Options) { o.Peers, o.Expect = append(o.Peers, one.addr, other.addr), 2 })[0]
	between.start()
	until(t, "it says so", func() bool { return strings.Contains(between.log.String(), "name the nodes of one cluster") }, between)
	if between.belongs() {
		t.Error("it has chosen one")
	}
	between.kill() // it would choose if it saw only one

	// A member whose peers name a node of another cluster goes on without it.
	one.kill()
	one.options.Peers, one.options.Expect = []string{one.addr, other.addr}, 2
	one.start()
	w.whole(one)
	until(t, "it is refused", func() bool { return other.node.Mesh().Stats().Refused[mesh.ErrCluster.Code] > 0 }, one, other)
	w.whole(other)
}

func TestSaysWhomItWaitsFor(t *testing.T) {
	w := newWorld(t)
	boxes := w.boxes(3, nil)
	boxes[0].start()
	boxes[1].start()
	until(t, "a line about the third", func() bool {
		return strings.Contains(boxes[0].log.String(), "1 more of 3 nodes ("+boxes[2].addr+": connect: connection refused)")
	}, boxes...)
	if strings.Contains(boxes[0].log.String(), "refused\" from=127.") {
		t.Errorf("meeting oneself is nothing to warn of: %s", boxes[0].log)
	}
}

func TestANodeThatHasMoved(t *testing.T) {
	w := newWorld(t)
	boxes := w.boxes(3, nil)
	for _, b := range boxes {
		b.start()
	}
	g := w.whole(boxes...)
	for _, b := range boxes { // the leader, sooner or later
		b.kill()
		b.addr = w.boxes(1, nil)[0].addr
		b.options.Advertise = b.addr
		b.start()
		until(t, "its new address", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.ContainsFunc(g.members, func(m replication.Member) bool {
				return b.belongs() && m.ID == b.found.ID && m.Addr == b.addr && m.Voter
			})
		}, boxes...)
	}
	w.whole(boxes...)
}

func TestWhatOperatorsAsk(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	operator := newOperator("of the badger")
	defer operator.Close()
	ctx := t.Context()
	until(t, "all see each other", func() bool {
		for _, b := range boxes {
			r, err := Status(ctx, operator, b.addr)
			if err != nil || !r.Ready || len(r.Members) != 3 || r.Leader == "" || r.Addr != b.addr {
				return false
			}
			for _, m := range r.Members {
				if !m.Reachable || !strings.HasSuffix(m.ClientAddr, ":7001") || m.Applied == 0 || m.Match == 0 {
					return false
				}
			}
		}
		return true
	}, boxes...)
	r, err := Status(ctx, operator, boxes[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	next := boxes[slices.IndexFunc(boxes, func(b *box) bool { return b.found.ID != r.Leader })]
	if err := Transfer(ctx, operator, boxes[0].addr, next.addr); err != nil {
		t.Fatal(err)
	}
	until(t, "it leads", func() bool { return next.seat.State().Role == replication.Leader })
	if err := Transfer(ctx, operator, boxes[0].addr, "ffffffff"); err == nil || !strings.Contains(err.Error(), "no member") {
		t.Error(err)
	}

	// With one of three down nobody else may be removed.
	other := boxes[slices.IndexFunc(boxes, func(b *box) bool { return b != next })]
	down := boxes[slices.IndexFunc(boxes, func(b *box) bool { return b != next && b != other })]
	down.kill()
	until(t, "it is seen to be down", func() bool {
		err := Remove(ctx, operator, next.addr, other.addr)
		return err != nil && strings.Contains(err.Error(), "could not agree")
	}, boxes...)

	// Whoever is to be removed while it leads hands on first.
	down.start()
	w.whole(boxes...)
	until(t, "the leader is removed", func() bool { return Remove(ctx, operator, other.addr, next.found.ID) == nil }, boxes...)
	until(t, "it notices", func() bool { return next.node.Removed() }, boxes...)

	strange := newOperator("of the bear")
	defer strange.Close()
	if _, err := Status(ctx, strange, boxes[0].addr); !errors.Is(err, mesh.ErrSecret) {
		t.Error(err)
	}
}

func TestInvitation(t *testing.T) {
	w := newWorld(t)
	boxes := w.founded(3)
	guest := w.boxes(1, func(o *Options) { o.Peers, o.Expect = []string{boxes[0].addr[:len(boxes[0].addr)-1] + "x:1"}, 1 })[0]
	guest.options.Advertise = guest.addr
	guest.start()
	operator := newOperator("of the badger")
	defer operator.Close()
	if err := Invite(t.Context(), operator, guest.addr, []string{boxes[1].addr}); err != nil {
		t.Fatal(err)
	}
	w.whole(append(boxes, guest)...)
	if err := Invite(t.Context(), operator, guest.addr, []string{boxes[1].addr}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Error(err)
	}
}

func TestOptionsThatCouldBeginTwoClusters(t *testing.T) {
	for _, o := range []Options{
		{Peers: []string{"a:1", "b:1"}, Expect: 3},
		{Peers: []string{"a:1", "b:1", "c:1", "d:1"}, Expect: 2},
	} {
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "cluster.expect") {
			t.Error(err)
		}
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	w := newWorld(t)
	b := w.boxes(1, nil)[0]
	b.start()
	w.whole(b)
	operator := newOperator("of the badger")
	defer operator.Close()
	for q, want := range map[string]string{"dance": "knows nothing", opJoin: "only nodes join", opRemove: "no member"} {
		r, err := ask(t.Context(), operator, b.addr, question{Op: q, Target: "nobody"})
		if err != nil || !strings.Contains(r.Error, want) {
			t.Errorf("%s: %+v, %v", q, r, err)
		}
	}
	conn, _, err := operator.Dial(context.Background(), b.addr, mesh.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 'x'})
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a frame of 4 GiB was answered")
	}
}

func newOperator(secret string) *mesh.Mesh { return Operator(secret, nil) }
