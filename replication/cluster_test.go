package replication

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"sett/internal/testport"
	"sett/replication/wal"
	"sett/storage"
)

// wires are the connections between the nodes of a test: each way between two can be cut.
type wires struct {
	mu    sync.Mutex
	ends  map[string]*end // by address
	conns map[*wire]bool
	down  map[[2]string]bool // from, to
}

// end is a node's stream layer.
type end struct {
	net.Listener
	addr  string
	wires *wires
}

// wire is a connection as the one sees it that dialed.
type wire struct {
	net.Conn
	from, to string
	wires    *wires
}

func newWires() *wires {
	return &wires{ends: map[string]*end{}, conns: map[*wire]bool{}, down: map[[2]string]bool{}}
}

func (w *wires) listen(t testing.TB, addr string) *end {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{l, l.Addr().String(), w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends[e.addr] = e
	return e
}

func (e *end) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	e.wires.mu.Lock()
	defer e.wires.mu.Unlock()
	if e.wires.cutBetween(e.addr, string(to)) {
		return nil, errors.New("the wire is cut")
	}
	conn, err := net.DialTimeout("tcp", string(to), timeout)
	if err != nil {
		return nil, err
	}
	c := &wire{conn, e.addr, string(to), e.wires}
	e.wires.conns[c] = true
	return c, nil
}

func (w *wires) cutBetween(from, to string) bool {
	return w.down[[2]string{from, to}] || w.down[[2]string{to, from}]
}

func (c *wire) Close() error {
	c.wires.mu.Lock()
	delete(c.wires.conns, c)
	c.wires.mu.Unlock()
	return c.Conn.Close()
}

// isolate cuts a node off from all others.
func (w *wires) isolate(addr string) {
	w.mu.Lock()
	for other := range w.ends {
		if other != addr {
			w.down[[2]string{addr, other}] = true
		}
	}
	var broken []*wire
	for c := range w.conns {
		if w.cutBetween(c.from, c.to) {
			broken = append(broken, c)
		}
	}
	w.mu.Unlock()
	for _, c := range broken {
		c.Close()
	}
}

func (w *wires) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.down)
}

// trio is a cluster in one process.
type trio struct {
	t     testing.TB
	wires *wires
	nodes []*member
	base  string // of their directories
	o     ClusterOptions
	alive sync.RWMutex // who changes member.up, or relies on it
	fatal func(error)  // nil: no node may end
}

// member is a node of it: a store with its log, as main puts them together.
type member struct {
	id, addr, path string
	dir            *storage.Dir
	store          *storage.Store
	c              *Cluster
	up             bool
}

const testHeartbeat = 600 * time.Millisecond

func newTrio(t testing.TB, n int, o ClusterOptions) *trio {
	tr := emptyTrio(t, o)
	for range n {
		tr.add()
	}
	for _, m := range tr.nodes {
		tr.start(m)
	}
	return tr
}

func emptyTrio(t testing.TB, o ClusterOptions) *trio {
	tr := &trio{t: t, wires: newWires(), base: t.TempDir(), o: o}
	t.Cleanup(tr.stopAll) // before the directory goes
	return tr
}

func (tr *trio) stopAll() {
	for _, m := range tr.nodes {
		tr.stop(m, false)
	}
}

// add makes a node, and does not start it.
func (tr *trio) add() *member {
	m := &member{id: fmt.Sprintf("node%d", len(tr.nodes)), addr: testport.Addr(tr.t), path: filepath.Join(tr.base, fmt.Sprint(len(tr.nodes)))}
	tr.nodes = append(tr.nodes, m)
	return m
}

func (tr *trio) members() (all []Member) {
	for _, m := range tr.nodes {
		all = append(all, Member{ID: m.id, Addr: m.addr, Voter: true})
	}
	return all
}

func (tr *trio) start(m *member) {
	t := tr.t
	t.Helper()
	tr.alive.Lock()
	defer tr.alive.Unlock()
	var err error
	if m.dir, err = storage.OpenDir(storage.OSFS{}, m.path); err != nil {
		t.Fatal(err)
	}
	if _, err := m.dir.StartOver(); err != nil {
		t.Fatal(err)
	}
	o := tr.o
	if o.Boot == "bolt" {
		o.Boot = ""
	} else {
		o.Log = openWal(t, m.dir)
	}
	so := storage.Options{
		MemoryBudget: storage.MinMemoryBudget, GenerationRecords: 50, FlushInterval: 20 * time.Millisecond, BarrierInterval: 50 * time.Millisecond,
		EntryBytes: 4 << 10,
	}
	if _, ok := t.(*testing.B); ok {
		so = storage.Options{MemoryBudget: 256 << 20}
	}
	m.store, err = storage.Open(m.dir, so)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.ID, o.ClusterID, o.Addr, o.Stream = m.dir, m.id, "test", m.addr, tr.wires.listen(t, m.addr)
	if o.Fatal = tr.fatal; o.Fatal == nil {
		o.Fatal = func(err error) { t.Errorf("%s: fatal: %v", m.id, err) }
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = testHeartbeat
	}
	if o.InFlight == 0 {
		o.InFlight = 2
	}
	o.DiskStall = time.Minute
	if m == tr.nodes[0] {
		o.Bootstrap = tr.members()
	}
	if os.Getenv("SETT_VERBOSE") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", m.id)
	}
	if m.c, err = NewCluster(o); err != nil {
		t.Fatal(err)
	}
	if err := m.dir.BeginUse(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.c.Start(m.store); err != nil {
		t.Fatal(err)
	}
	m.up = true
}

func openWal(t testing.TB, d *storage.Dir) *wal.Log {
	t.Helper()
	durable, err := d.Durable()
	if err != nil {
		t.Fatal(err)
	}
	copied, err := d.Copied()
	if err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(wal.Options{FS: storage.OSFS{}, Dir: d.LogDir(), SegmentBytes: 256 << 10, Seed: d.Seed()},
		wal.Known{Durable: durable, CleanEnd: d.CleanEnd(), Installed: copied})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// stop ends a node. clean: in an orderly way, or as if it were killed (but for what the process would have in its pockets).
func (tr *trio) stop(m *member, clean bool) {
	tr.t.Helper()
	if !m.up {
		return
	}
	tr.alive.Lock()
	m.up = false
	tr.alive.Unlock()
	if !clean {
		m.c.handing.Store(true)
		m.c.endReign()
	}
	m.c.Halt()
	if err := m.store.Close(clean); err != nil {
		tr.t.Errorf("%s: %v", m.id, err)
	}
	end, err := m.c.Close()
	if err != nil {
		tr.t.Errorf("%s: %v", m.id, err)
	}
	if clean {
		if err := m.dir.MarkClean(end); err != nil {
			tr.t.Error(err)
		}
	}
	m.dir.Close()
}

// testPatience is how long a machine may take that does much else.
const testPatience = time.Minute

// within waits for something to become true.
func within(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testPatience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, testPatience)
		}
	}
}

// leader waits for the one node that leads.
func (tr *trio) leader() (lead *member) {
	tr.t.Helper()
	within(tr.t, "a leader", func() bool {
		for _, m := range tr.nodes {
			if m.up && m.c.Leads() && m.store.Evaluating() {
				lead = m
				return true
			}
		}
		return false
	})
	return lead
}

func (m *member) set(key, value string) error {
	var tx storage.Txn
	if err := m.store.Update(&tx, step(func() error { tx.Put([]byte(key), []byte(value)); return nil })); err != nil {
		return err
	}
	return m.store.Wait(tx.Seen())
}

func (m *member) get(key string) (value string, err error) {
	var r storage.Reader
	err = m.store.Read(&r, step(func() error {
		v, err := r.Get([]byte(key))
		value = string(v)
		return err
	}))
	if err == nil {
		err = m.store.Wait(r.Seen())
	}
	return value, err
}

// write writes through whoever leads, until it is acknowledged.
func (tr *trio) write(key, value string) {
	tr.t.Helper()
	within(tr.t, "write "+key, func() bool { return tr.leader().set(key, value) == nil })
}

// everywhere waits until all nodes that are up have a value.
func (tr *trio) everywhere(key, value string) {
	tr.t.Helper()
	for _, m := range tr.nodes {
		if m.up {
			within(tr.t, fmt.Sprintf("%s = %q on %s", key, value, m.id), func() bool {
				got, err := m.get(key)
				return err == nil && got == value
			})
		}
	}
}

// alike compares what all nodes have in Badger at the same flush point.
func (tr *trio) alike() {
	t := tr.t
	t.Helper()
	tr.write("last", fmt.Sprint(time.Now()))
	within(t, "all nodes alike", func() bool {
		lead := tr.leader()
		if lead.store.Flush() != nil {
			return false
		}
		at := lead.store.Status().Flushed.Index
		var sums []string
		for _, m := range tr.nodes {
			if m.up {
				deadline := time.Now().Add(time.Second)
				for m.store.Status().Flushed.Index < at && time.Now().Before(deadline) {
					time.Sleep(time.Millisecond)
				}
				sums = append(sums, m.sum(t))
			}
		}
		return len(slices.Compact(sums)) == 1
	})
}

// sum is the flush point and a hash over all records.
func (m *member) sum(t testing.TB) string {
	t.Helper()
	h := sha256.New()
	v, err := m.store.View()
	if err != nil {
		return err.Error()
	}
	defer v.Close()
	err = v.Walk([]byte{0}, []byte{255}, func(key, value []byte) {
		fmt.Fprintf(h, "%d %s %d %s ", len(key), key, len(value), value)
	})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestClusterCommits(t *testing.T) {
	for _, log := range []string{"wal", "bolt"} {
		t.Run(log, func(t *testing.T) {
			o := ClusterOptions{Fsync: Everysec}
			if log == "bolt" {
				o.Boot = "bolt"
			}
			tr := newTrio(t, 3, o)
			for i := range 100 {
				tr.write(fmt.Sprint("k", i), "v")
			}
			tr.everywhere("k99", "v")
		})
	}
}

func TestFailOver(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	old := tr.leader()
	tr.stop(old, false)
	tr.write("a", "2")
	tr.start(old)
	tr.everywhere("a", "2")
}

// What a leader writes that has no majority any more is in doubt, and is gone when it follows another.
func TestMinorityLeader(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	tr.write("a", "1")
	old := tr.leader()
	tr.wires.isolate(old.addr)
	var fate error
	if fate = old.set("a", "lost"); fate == nil {
		t.Fatal("a write without a majority was acknowledged")
	}
	if !errors.Is(fate, storage.ErrInDoubt) {
		t.Errorf("the write got %v", fate)
	}
	within(t, "the lease ends", func() bool { return !old.c.Leads() })
	within(t, "another leads", func() bool { return tr.leader() != old })
	tr.write("a", "2")
	tr.wires.heal()
	tr.everywhere("a", "2")
}

func TestRestartsReplay(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec})
	for round := range 3 {
		for i := range 50 {
			tr.write(fmt.Sprint("k", i), fmt.Sprint(round))
		}
		for _, m := range tr.nodes {
			tr.stop(m, round%2 == 0)
		}
		for _, m := range tr.nodes {
			tr.start(m)
		}
		for i := range 50 {
			tr.everywhere(fmt.Sprint("k", i), fmt.Sprint(round))
		}
	}
}

func TestTransferFailsNoWrite(t *testing.T) {
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, Heartbeat: 3 * time.Second}) // an election may leave a write in doubt
	tr.write("a", "0")
	stop, done := make(chan struct{}), make(chan error, 4)
	for w := range 4 {
		go func() {
			var bad error
			for i := 0; ; i++ {
				select {
				case <-stop:
					done <- bad
					return
				default:
				}
				for _, m := range tr.nodes {
					err := m.set(fmt.Sprint("w", w), fmt.Sprint(i))
					if err == nil {
						break
					}
					if !errors.Is(err, storage.ErrNotEvaluating) {
						bad = errors.Join(bad, err)
					}
				}
			}
		}()
	}
	for range 5 {
		old := tr.leader()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := old.c.Transfer(ctx, "")
		cancel()
		if err != nil { // on a busy machine; then there is an election, and still no write fails
			t.Log(err)
			continue
		}
		within(t, "another leads", func() bool { return tr.leader() != old })
	}
	close(stop)
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if s := tr.leader().c.State(); len(s.Members) != 3 || s.Role != Leader || !strings.HasPrefix(s.Leader, "node") {
		t.Errorf("the leader's state is %+v", s)
	}
}
