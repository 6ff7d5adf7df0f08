package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/storage"
)

// copyPorts are where the nodes of a trio take copies.
type copyPorts struct {
	mu    sync.Mutex
	ports map[string]net.Listener // by the address of a node's cluster port
	nodes map[string]*Cluster     // that are up
	sent  int                     // streams
	limit int64                   // bytes after which the next stream breaks; 0: none does
	slow  time.Duration           // how long a stream takes to begin
	done  sync.WaitGroup
}

func (p *copyPorts) dial(ctx context.Context, addr string) (net.Conn, error) {
	p.mu.Lock()
	l, limit, slow := p.ports[addr], p.limit, p.slow
	p.sent++
	p.limit = 0
	p.mu.Unlock()
	if l == nil {
		return nil, errors.New("no such node")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err == nil && slow > 0 {
		conn = &slowing{Conn: conn, pause: slow}
	}
	if err == nil && limit > 0 {
		cut := &cutting{Conn: conn}
		cut.after.Store(limit)
		conn = cut
	}
	return conn, err
}

// slowing is a connection that rests before what follows its first message.
type slowing struct {
	net.Conn
	writes int
	pause  time.Duration
}

func (s *slowing) Write(p []byte) (int, error) {
	if s.writes++; s.writes == 3 { // length, request, and then the data
		time.Sleep(s.pause)
	}
	return s.Conn.Write(p)
}

// open has a node take copies.
func (p *copyPorts) open(t *testing.T, addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.ports[addr] = l
	p.mu.Unlock()
	t.Cleanup(func() { l.Close() })
	p.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			c := p.nodes[addr]
			p.mu.Unlock()
			if c == nil {
				conn.Close()
				continue
			}
			p.done.Go(func() { c.ReceiveSnapshot(conn) })
		}
	})
}

func (p *copyPorts) up(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[m.addr] = m.c
	m.c.copies.mu.Lock()
	defer m.c.copies.mu.Unlock()
	m.c.copies.pin = 0
}

func (p *copyPorts) down(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nodes, m.addr)
}

// newCopyingTrio is a cluster whose log is cut soon, so that whoever was away needs a copy.
func newCopyingTrio(t *testing.T, o ClusterOptions) (*trio, *copyPorts) {
	p := &copyPorts{ports: map[string]net.Listener{}, nodes: map[string]*Cluster{}}
	t.Cleanup(p.done.Wait)
	o.Copies, o.MarkerInterval = p.dial, 50*time.Millisecond
	tr := newTrio(t, 3, o)
	for _, m := range tr.nodes {
		p.open(t, m.addr)
		p.up(m)
	}
	return tr, p
}

// fill writes so much that whoever is away finds nothing of use in the log, nor in what the leader remembers of it.
func (tr *trio) fill(what string) {
	tr.t.Helper()
	lead := tr.leader()
	first := func() uint64 { return lead.c.State().First }
	before := lead.c.State().Last
	written := 0
	within(tr.t, "the log is cut", func() bool {
		value := []byte(strings.Repeat(what, 20_000/len(what)))
		var tx storage.Txn
		err := lead.store.Update(&tx, step(func() error {
			for i := range 50 {
				tx.Put(fmt.Appendf(nil, "%s%d", what, i), value)
			}
			return nil
		}))
		if err == nil {
			err = lead.store.Wait(tx.Seen())
		}
		if err != nil {
			lead = tr.leader()
			return false
		}
		written += 50 * len(value)
		return first() > before+1 && written > 10<<20
	})
}

// A node that was away for too long gets a copy of all data, goes on from there, and takes part again: also when it is the one that the others need.
func TestClusterCatchesUpByCopy(t *testing.T) {
	for _, log := range []string{"wal", "bolt"} {
		t.Run(log, func(t *testing.T) {
			o := ClusterOptions{Fsync: Everysec}
			if log == "bolt" {
				o.Boot = "bolt"
			}
			tr, ports := newCopyingTrio(t, o)
			tr.write("a", "1")
			away := tr.nodes[0]
			for round := range 2 {
				ports.down(away)
				tr.stop(away, round%2 == 0)
				tr.fill(fmt.Sprint("round", round))
				ports.mu.Lock()
				sent := ports.sent
				if round == 1 {
					ports.limit = 30_000 // and that in the middle
				}
				ports.mu.Unlock()
				tr.start(away)
				ports.up(away)
				tr.write("a", fmt.Sprint("after ", round))
				tr.everywhere("a", fmt.Sprint("after ", round))
				tr.alike()
				ports.mu.Lock()
				if ports.sent == sent {
					t.Errorf("round %d: no copy was sent", round)
				}
				ports.mu.Unlock()
				for next := range tr.nodes { // the next one may only be away while this one counts
					if m := tr.nodes[(next+round+1)%3]; m.up {
						away = m
						break
					}
				}
			}
			for _, m := range tr.nodes {
				within(t, "old directories go", func() bool {
					dirs, err := filepath.Glob(filepath.Join(m.path, "badger-*"))
					return err == nil && len(dirs) == 1
				})
			}
		})
	}
}

// A copy may take longer than it is from one marker to the next. The receiver's own markers do not get into its way: one copy is enough, each time.
func TestCopyTakesLongerThanMarkers(t *testing.T) {
	tr, ports := newCopyingTrio(t, ClusterOptions{Fsync: Everysec, Heartbeat: time.Second})
	tr.write("a", "1")
	away := tr.nodes[0]
	if away == tr.leader() {
		away = tr.nodes[1]
	}
	tr.everywhere("a", "1")
	for round := range 2 {
		tr.wires.isolate(away.addr)
		ports.down(away)
		lead := tr.leader()
		tr.fill(fmt.Sprint("round", round))
		within(t, "a log that begins behind what the other node has", func() bool { return tr.leader().c.State().First > away.c.State().Last+1 })
		ports.mu.Lock()
		sent := ports.sent
		ports.slow = 500 * time.Millisecond
		ports.mu.Unlock()
		ports.up(away)
		tr.wires.heal()
		tr.write("a", fmt.Sprint("after ", round))
		tr.everywhere("a", fmt.Sprint("after ", round))
		ports.mu.Lock()
		ports.slow = 0
		if n := ports.sent - sent; n > 1 || n == 0 && lead == tr.leader() { // another one's log may still have all that is needed
			t.Errorf("round %d: %d copies were sent", round, n)
		}
		ports.mu.Unlock()
	}
	tr.alike()
}

// A node that has switched to a copy and ended before raft took its log away drops the log, and goes on.
func TestStaleLogIsDropped(t *testing.T) {
	tr, ports := newCopyingTrio(t, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	away := tr.nodes[1]
	ports.down(away)
	tr.stop(away, false)
	tr.fill("x")
	lead := tr.leader()
	tr.copyByHand(lead, away)
	tr.start(away)
	if first, last := away.c.logs.entries.bounds(); last >= first && last < lead.c.State().First {
		t.Errorf("the log still has entries %d to %d", first, last)
	}
	ports.up(away)
	tr.write("a", "2")
	tr.everywhere("a", "2")
	tr.alike()
}

// What a copy was sent as may end behind the copy's own flush point, where entries without effect follow. The log goes on behind that: there is no gap,
// also if the node is started anew before anything of its own log has come into Badger.
func TestCopyWithEntriesWithoutEffectBehindIt(t *testing.T) {
	tr, ports := newCopyingTrio(t, ClusterOptions{Fsync: Everysec, Heartbeat: 3 * time.Second})
	tr.write("a", "1")
	lead := tr.leader()
	away := tr.nodes[0]
	if away == lead {
		away = tr.nodes[1]
	}
	ports.down(away)
	tr.stop(away, false)
	tr.fill("x")
	lead = tr.leader()
	if err := lead.store.Flush(); err != nil {
		t.Fatal(err)
	}
	effect := lead.store.LastEffect()
	for range 3 {
		if err := lead.c.raft.Barrier(0).Error(); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "a marker behind the flush point", func() bool { return lead.c.copies.Marker().Index >= effect+3 })
	tr.start(away)
	ports.up(away)
	within(t, "a copy", func() bool { return away.c.copies.Marker().Index >= effect+3 })
	if err := lead.c.raft.Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
	within(t, "an entry behind it", func() bool { s := away.c.State(); return s.Last >= s.First && s.First > away.store.Applied()+1 })
	ports.down(away)
	tr.stop(away, false)
	tr.start(away)
	ports.up(away)
	// To end a speculation it reads again what is not in Badger, without what it never had.
	within(t, "it leads", func() bool { tr.leader().c.Transfer(soon(t), away.id); return tr.leader() == away })
	away.store.PauseFlush(true)
	tr.write("a", "3")
	within(t, "it leads no longer", func() bool { away.c.Transfer(soon(t), ""); return tr.leader() != away })
	away.store.PauseFlush(false)
	tr.write("a", "2")
	tr.everywhere("a", "2")
	tr.alike()
}

// copyByHand switches a node that is down to the data of another, but leaves its log.
func (tr *trio) copyByHand(from, to *member) {
	t := tr.t
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	meta, copied, err := from.c.copies.Open(markedID)
	must(err)
	defer copied.Close()
	dir, err := storage.OpenDir(storage.OSFS{}, to.path)
	must(err)
	defer dir.Close()
	store, err := storage.Open(dir, storage.Options{MemoryBudget: storage.MinMemoryBudget})
	must(err)
	i, err := store.NewImport()
	must(err)
	must(i.Load(copied))
	must(i.SetMarker(newMarker(meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex), meta.Index))
	must(store.Replace(i))
	i.Discard()
	must(store.Close(false))
}

// TestLeadsBehindMarker: what a marker covers raft hands out no more, and nobody waits for it: here the configuration, of a cluster without data.
func TestLeadsBehindMarker(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, MarkerInterval: 10 * time.Millisecond})
	tr.leader()
	for _, m := range tr.nodes {
		within(t, "a marker of "+m.id, func() bool { return m.c.copies.Marker().Index > 0 })
	}
	for _, m := range tr.nodes {
		tr.stop(m, true)
	}
	for _, m := range tr.nodes {
		tr.start(m)
	}
	tr.write("a", "1")
}
