package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"sett/storage"
)

// bare is a store behind plain raft, with entries in memory: as little of a node as snapshots need.
type bare struct {
	t         *testing.T
	id        string
	dir       *storage.Dir
	store     *storage.Store
	logs      *raft.InmemStore
	snapshots *Snapshots
	metrics   Metrics
	trans     *bareTransport
	raft      *raft.Raft
	port      net.Listener // for snapshots
	serving   sync.WaitGroup
	stop      chan struct{}
	fails     atomic.Pointer[error]

	// spoil, if set, changes the connections that snapshots are sent over.
	spoil func(net.Conn) net.Conn
}

// bareTransport is raft's, but for snapshots.
type bareTransport struct {
	*raft.NetworkTransport
	rpcs      chan raft.RPC
	stop      chan struct{}
	snapshots *Snapshots
	ports     *sync.Map // of each raft address
}

func (t *bareTransport) Consumer() <-chan raft.RPC { return t.rpcs }

func (t *bareTransport) deliver(rpc raft.RPC) bool {
	select {
	case t.rpcs <- rpc:
		return true
	case <-t.stop:
		return false
	}
}

func (t *bareTransport) InstallSnapshot(_ raft.ServerID, addr raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse,
	data io.Reader) error {
	return t.snapshots.Send(addr, req, resp, data)
}

// The store's log.
func (m *bare) Propose(entry []byte) error {
	f := m.raft.Apply(bytes.Clone(entry), 0)
	go func() {
		if err := f.Error(); err != nil {
			m.fails.Store(&err)
		}
	}()
	return nil
}
func (m *bare) Waits() bool         { return true }
func (m *bare) SyncTo(uint64) error { return nil }
func (m *bare) Trim(uint64)         {}
func (m *bare) Read(index uint64) (uint64, []byte, error) {
	var l raft.Log
	err := m.logs.GetLog(index, &l)
	if l.Type != raft.LogCommand {
		l.Data = nil
	}
	return l.Term, l.Data, err
}

// Raft's FSM.
func (m *bare) Apply(l *raft.Log) any {
	m.snapshots.Passed(l.Index)
	if l.Index <= m.store.Status().Applied {
		return nil
	}
	if err := m.store.Apply(l.Index, l.Term, l.Data); err != nil {
		m.t.Error(err)
	}
	return nil
}
func (m *bare) StoreConfiguration(i uint64, c raft.Configuration) {
	m.snapshots.StoreConfiguration(i, c)
}
func (m *bare) Snapshot() (raft.FSMSnapshot, error) { return m.snapshots.Snapshot(m.stop) }
func (m *bare) Restore(r io.ReadCloser) error       { _, err := m.snapshots.Restore(r); return err }

// newBare starts one that belongs to no cluster, or goes on with what it has.
func newBare(t *testing.T, id, path string, ports *sync.Map, o storage.Options) *bare {
	t.Helper()
	m := &bare{t: t, id: id, logs: raft.NewInmemStore(), stop: make(chan struct{})}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m.dir, err = storage.OpenDir(storage.OSFS{}, path)
	must(err)
	o.MemoryBudget, o.FlushInterval, o.BarrierInterval = storage.MinMemoryBudget, 20*time.Millisecond, 50*time.Millisecond
	o.Fatal = func(err error) { t.Errorf("%s: fatal: %v", id, err) }
	m.store, err = storage.Open(m.dir, o)
	must(err)
	must(m.dir.BeginUse())
	must(m.store.Begin(m, 1, 0))
	m.port, err = net.Listen("tcp", "127.0.0.1:0")
	must(err)
	m.snapshots, err = NewSnapshots(SnapshotOptions{Store: m.store, Metrics: &m.metrics, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		port, ok := ports.Load(addr)
		if !ok {
			return nil, errors.New("no such node")
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", port.(string))
		if err == nil && m.spoil != nil {
			conn = m.spoil(conn)
		}
		return conn, err
	}})
	must(err)
	logger := hclog.NewNullLogger()
	inner, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 2, 2*time.Second, logger)
	must(err)
	m.trans = &bareTransport{inner, make(chan raft.RPC), m.stop, m.snapshots, ports}
	ports.Store(string(inner.LocalAddr()), m.port.Addr().String())
	m.serving.Go(m.pass)
	m.serving.Go(m.receive)
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger, conf.NoSnapshotRestoreOnStart = raft.ServerID(id), logger, true
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 150*time.Millisecond
	conf.CommitTimeout, conf.TrailingLogs, conf.SnapshotInterval = 5*time.Millisecond, 1, time.Hour
	m.raft, err = raft.NewRaft(conf, m, m.logs, m.logs, m.snapshots, m.trans)
	must(err)
	t.Cleanup(m.close)
	return m
}

func (m *bare) pass() {
	for {
		select {
		case rpc := <-m.trans.NetworkTransport.Consumer():
			m.trans.deliver(rpc)
		case <-m.stop:
			return
		}
	}
}

func (m *bare) receive() {
	for {
		conn, err := m.port.Accept()
		if err != nil {
			return
		}
		m.serving.Go(func() { m.snapshots.Receive(conn, m.trans.deliver) })
	}
}

func (m *bare) close() {
	select {
	case <-m.stop:
		return
	default:
	}
	close(m.stop)
	m.port.Close()
	m.raft.Shutdown().Error()
	m.trans.NetworkTransport.Close()
	m.snapshots.Close()
	m.store.Close(false)
	m.serving.Wait()
	m.dir.Close()
}

func (m *bare) addr() raft.ServerAddress { return m.trans.LocalAddr() }

// alone begins a cluster of one, and evaluates.
func (m *bare) alone() {
	m.t.Helper()
	err := m.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(m.id), Address: m.addr()}}}).Error()
	if err != nil {
		m.t.Fatal(err)
	}
	m.await("the leader", func() bool { return m.raft.State() == raft.Leader })
	if err := m.raft.Barrier(0).Error(); err != nil {
		m.t.Fatal(err)
	}
	m.store.Lead(m.raft.CurrentTerm())
}

func (m *bare) await(what string, is func() bool) {
	m.t.Helper()
	for start := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			m.t.Fatalf("%s: %s did not come", m.id, what)
		}
	}
}

func (m *bare) set(key, value string) {
	m.t.Helper()
	var tx storage.Txn
	err := m.store.Update(&tx, step(func() error { tx.Put([]byte(key), []byte(value)); return nil }))
	if err == nil {
		err = m.store.Wait(tx.Seen())
	}
	if err != nil {
		m.t.Errorf("writing %s: %v", key, err)
	}
}

// fill writes so many records of 1 KiB, in batches.
func (m *bare) fill(n int, value string) {
	m.t.Helper()
	for i := 0; i < n; {
		var tx storage.Txn
		err := m.store.Update(&tx, step(func() error {
			for end := i + 100; i < min(n, end); i++ {
				tx.Put(fmt.Appendf(nil, "s%08d", i), []byte(strings.Repeat(value, 1024/len(value))))
			}
			return nil
		}))
		if err != nil {
			m.t.Fatal(err)
		}
		if err := m.store.Wait(tx.Seen()); err != nil {
			m.t.Fatal(err)
		}
	}
}

// at is all records as of a flush point.
func (m *bare) at(index uint64) map[string]string {
	m.t.Helper()
	m.await("the flush point", func() bool { return m.store.FlushedIndex() >= index })
	p := m.store.Picture()
	defer p.Close()
	if p.Point().Index != index {
		m.t.Fatalf("%s is at entry %d, not %d", m.id, p.Point().Index, index)
	}
	all := map[string]string{}
	err := p.Walk(storage.Range{Lower: []byte{0}, Upper: []byte{'~'}}, func(key, value []byte) error { all[string(key)] = string(value); return nil })
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// forget has raft cut its log.
func (m *bare) forget() {
	m.t.Helper()
	if err := m.raft.Snapshot().Error(); err != nil {
		m.t.Fatal(err)
	}
	if first, _ := m.logs.FirstIndex(); first < 3 {
		m.t.Fatalf("%s: the log still begins at entry %d", m.id, first)
	}
}

func sameData(t *testing.T, a, b *bare) {
	t.Helper()
	if err := a.store.Flush(); err != nil {
		t.Fatal(err)
	}
	index := a.store.FlushedIndex()
	if want, got := a.at(index), b.at(index); !maps.Equal(want, got) {
		t.Fatalf("%s has %d records at entry %d, %s %d, or they differ", a.id, len(want), index, b.id, len(got))
	}
}

// A node that needs what the log has forgotten gets a copy while the leader goes on, and then follows. It starts again with what it got.
func TestSnapshotIsSent(t *testing.T) {
	var ports sync.Map
	a := newBare(t, "a", t.TempDir(), &ports, storage.Options{})
	a.alone()
	a.fill(3000, "first")
	a.forget()
	path := t.TempDir()
	b := newBare(t, "b", path, &ports, storage.Options{})
	if err := a.raft.AddNonvoter("b", b.addr(), 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	a.fill(3000, "second")
	a.set("last", "1")
	sameData(t, a, b)
	if n := b.store.Stats().Entries.Load(); n != 0 {
		t.Errorf("b has proposed %d entries", n)
	}
	metas, err := b.snapshots.List()
	if err != nil || len(metas) != 1 || len(metas[0].Configuration.Servers) == 0 {
		t.Fatalf("b's marker: %+v, %v", metas, err)
	}
	if needed := a.snapshots.Needed(); needed > metas[0].Index {
		t.Errorf("b was sent entry %d, and the log is kept from %d on", metas[0].Index, needed)
	}

	if err := b.store.Barrier(); err != nil { // its log is in memory
		t.Fatal(err)
	}
	b.close()
	again := newBare(t, "b", path, &ports, storage.Options{})
	after, err := again.snapshots.List()
	if err != nil || len(after) != 1 || after[0].Index != metas[0].Index || after[0].Term != metas[0].Term {
		t.Fatalf("after a start: %+v, %v", after, err)
	}
	if got := again.raft.AppliedIndex(); got != metas[0].Index {
		t.Errorf("raft goes on from entry %d", got)
	}
}

// cutting is a connection that breaks, or turns a bit, after so many bytes.
type cutting struct {
	net.Conn
	after atomic.Int64
	flip  bool
}

func (c *cutting) Write(p []byte) (int, error) {
	left := c.after.Add(-int64(len(p)))
	if left > 0 || left < -int64(len(p)) && c.flip {
		return c.Conn.Write(p)
	}
	if c.flip {
		p = bytes.Clone(p)
		p[len(p)/2] ^= 4
		return c.Conn.Write(p)
	}
	c.Conn.Close()
	return 0, net.ErrClosed
}

// A transfer that was cut off, or changed on its way, leaves nothing, and the next one succeeds.
func TestTornTransfers(t *testing.T) {
	var ports sync.Map
	a := newBare(t, "a", t.TempDir(), &ports, storage.Options{})
	a.alone()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 { // nothing that could be packed
		b := make([]byte, 1000)
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		var tx storage.Txn
		if err := a.store.Update(&tx, step(func() error { tx.Put(fmt.Appendf(nil, "s%08d", i), b); return nil })); err != nil {
			t.Fatal(err)
		}
	}
	a.set("last", "1")
	a.forget()
	var attempts atomic.Int64
	a.spoil = func(c net.Conn) net.Conn {
		n := attempts.Add(1)
		if n > 4 {
			return c
		}
		cut := &cutting{Conn: c, flip: n%2 == 0}
		cut.after.Store([]int64{0, 100, 700_000, 1_400_000, 2_900_000}[n])
		return cut
	}
	path := t.TempDir()
	b := newBare(t, "b", path, &ports, storage.Options{})
	if err := a.raft.AddNonvoter("b", b.addr(), 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	sameData(t, a, b)
	if n := attempts.Load(); n != 5 {
		t.Errorf("%d attempts", n)
	}
	// What was cut off at its very beginning the other side has not noticed, or not understood.
	for _, m := range []*bare{a, b} {
		m.await("the end of all transfers", func() bool { return m.metrics.SnapshotsUnderWay.Load() == 0 })
	}
	if sent, failed, bytes := a.metrics.SnapshotsSent.Load(), a.metrics.SnapshotsFailed.Load(), a.metrics.SnapshotSentBytes.Load(); sent != 1 || failed != 4 || bytes < 3_000_000 {
		t.Errorf("%d copies sent, %d failed, %d bytes", sent, failed, bytes)
	}
	if got, failed, bytes := b.metrics.SnapshotsReceived.Load(), b.metrics.SnapshotsFailed.Load(), b.metrics.SnapshotReceivedBytes.Load(); got != 1 || failed < 2 || bytes < 3_000_000 {
		t.Errorf("%d copies received, %d failed, %d bytes", got, failed, bytes)
	}
	if n := a.metrics.Markers.Load(); n != 1 {
		t.Errorf("%d markers", n)
	}
	b.await("the old directories' end", func() bool {
		dirs, err := filepath.Glob(filepath.Join(path, "badger-*"))
		return err == nil && len(dirs) == 1
	})
}

// A marker is written when a barrier has covered what it stands for, and not before.
func TestMarkerWaitsForBarrier(t *testing.T) {
	var ports sync.Map
	a := newBare(t, "a", t.TempDir(), &ports, storage.Options{})
	a.alone()
	a.set("k", "1")
	a.store.PauseFlush(true)
	a.set("k", "2")
	effect := a.store.LastEffect()
	taken := a.raft.Snapshot()
	done := make(chan error, 1)
	go func() { done <- taken.Error() }()
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		if metas, _ := a.snapshots.List(); len(metas) > 0 || a.store.DurableIndex() >= effect {
			t.Fatalf("%v is marked, %d is durable, entry %d is not flushed", metas, a.store.DurableIndex(), effect)
		}
	}
	a.store.PauseFlush(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	metas, _ := a.snapshots.List()
	if len(metas) != 1 || metas[0].Index < effect || a.store.DurableIndex() < effect {
		t.Errorf("marker %+v, durable %d, want %d", metas, a.store.DurableIndex(), effect)
	}
}

// A copy goes with the configuration that was in force at its entry, not with that of the marker, which is older.
func TestCopyKnowsConfiguration(t *testing.T) {
	var ports sync.Map
	a := newBare(t, "a", t.TempDir(), &ports, storage.Options{})
	a.alone()
	a.set("k", "1")
	a.forget()
	if err := a.raft.AddNonvoter("x", "nowhere:1", 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	open := func() *raft.SnapshotMeta {
		meta, copied, err := a.snapshots.Open(markedID)
		if err != nil {
			t.Fatal(err)
		}
		if err := copied.Close(); err != nil {
			t.Fatal(err)
		}
		return meta
	}
	if meta := open(); len(meta.Configuration.Servers) != 1 {
		t.Errorf("before anything was written behind it: %+v", meta)
	}
	a.set("k", "2")
	if err := a.store.Flush(); err != nil {
		t.Fatal(err)
	}
	meta := open()
	if len(meta.Configuration.Servers) != 2 || meta.ConfigurationIndex >= meta.Index || meta.Index != a.store.FlushedIndex() {
		t.Errorf("%+v at flush point %d", meta, a.store.FlushedIndex())
	}
}

// What comes as a snapshot and is none, is refused.
func TestWrongSnapshots(t *testing.T) {
	var ports sync.Map
	a := newBare(t, "a", t.TempDir(), &ports, storage.Options{})
	a.alone()
	a.set("k", "1")
	if err := a.store.Flush(); err != nil {
		t.Fatal(err)
	}
	p := a.store.Picture()
	defer p.Close()
	var copied bytes.Buffer
	if err := p.Export(context.Background(), &copied); err != nil {
		t.Fatal(err)
	}
	at := p.Point()
	b := newBare(t, "b", t.TempDir(), &ports, storage.Options{})
	for what, c := range map[string]struct {
		index, term uint64
		data        []byte
	}{
		"older than it says":   {at.Index - 1, at.Term, copied.Bytes()},
		"of another term":      {at.Index, at.Term + 1, copied.Bytes()},
		"nothing but a byte":   {at.Index, at.Term, []byte{1}},
		"not all of it":        {at.Index, at.Term, copied.Bytes()[:copied.Len()-1]},
		"more than all of it":  {at.Index, at.Term, append(bytes.Clone(copied.Bytes()), 0)},
		"twice what it should": {at.Index, at.Term, append(bytes.Clone(copied.Bytes()), copied.Bytes()...)},
	} {
		sink, err := b.snapshots.Create(raft.SnapshotVersionMax, c.index, c.term, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(sink, bytes.NewReader(c.data))
		if err != nil {
			sink.Cancel()
		} else {
			err = sink.Close()
		}
		if err == nil {
			t.Errorf("a snapshot is accepted: %s", what)
		}
		if metas, _ := b.snapshots.List(); len(metas) > 0 {
			t.Errorf("%s: there is a marker", what)
		}
		if _, _, err := b.snapshots.Open(receivedID); err == nil {
			t.Errorf("%s: it can be opened", what)
		}
	}
}

// Raft takes no snapshot of its own while another node's arrives, and none arrives while raft takes one: the older would take the place of the newer.
func TestOneSnapshotAtATime(t *testing.T) {
	s := openBare(t)
	snapshots, err := NewSnapshots(SnapshotOptions{Store: s.Store})
	must(t, err)
	defer snapshots.Close()
	own, err := snapshots.Snapshot(nil)
	must(t, err)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go io.Copy(io.Discard, theirs)
	delivered, over := make(chan raft.RPC), make(chan struct{})
	go func() {
		defer close(over)
		snapshots.Receive(ours, func(rpc raft.RPC) bool { delivered <- rpc; return true })
	}()
	_, err = theirs.Write([]byte("\x00\x00\x00\x02{}"))
	must(t, err)
	within(t, "it arrives", func() bool {
		another, err := snapshots.Snapshot(nil)
		if err == nil {
			another.Release()
		}
		return errors.Is(err, errArriving)
	})
	select {
	case <-delivered:
		t.Error("it is delivered while raft takes a snapshot")
	case <-time.After(50 * time.Millisecond):
	}
	own.Release()
	rpc := <-delivered
	if _, err := snapshots.Snapshot(nil); !errors.Is(err, errArriving) {
		t.Errorf("raft begins a snapshot before it has answered: %v", err)
	}
	rpc.Respond(&raft.InstallSnapshotResponse{Success: true}, nil)
	<-over
	own, err = snapshots.Snapshot(nil)
	must(t, err)
	own.Release()
	must(t, snapshots.Mark(9, 1, raft.Configuration{}, 1))
	if err := snapshots.Mark(8, 1, raft.Configuration{}, 1); err == nil || snapshots.Marker().Index != 9 {
		t.Errorf("an older marker takes the place of a newer one: %v", err)
	}
}
