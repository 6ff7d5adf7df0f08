package replication

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"sett/replication/wal"
	"sett/storage"
)

// ClusterOptions say how a node of a cluster keeps its log, and with whom.
type ClusterOptions struct {
	Dir     *storage.Dir
	Log     *wal.Log                    // raft.log = "wal": already opened; nil: raft-boltdb
	Stream  raft.StreamLayer            // connections between nodes: mesh.StreamLayer(Addr)
	Replace func(*storage.Import) error // switches the store to a copy of another node's data; nil: the store's own
	Copies  Dialer                      // opens a stream for a copy of this node's data to another one; nil: it sends none

	Addr          string // how others reach this node's cluster port
	ID, ClusterID string
	Bootstrap     []Member // not nil: this node begins a new cluster with these voters and the data that it has, unless it has begun one already

	Fsync          Fsync
	Heartbeat      time.Duration
	InFlight       int           // entries
	MarkerInterval time.Duration // how often the log may be cut; 0: never
	DiskStall      time.Duration
	AmnesiaWait    time.Duration
	KeepBytes      *atomic.Int64 // of log, for peers that are behind; its owner may change it
	MemoryBytes    int64         // for the log's end, and entries on their way between nodes; 0: 16 MiB
	Boot           string        // names the machine's boot; "": the system is asked

	Logger *slog.Logger
	Fatal  func(error) // the process must end

	// Took, if set, is told how long TookCommit and TookAppend took, each time.
	Took func(job string, took time.Duration)
}

// Cluster is the log of a node in a cluster: raft. Entries are committed when a majority has them.
//
// The leader's way of an entry: Store.drive → Propose → raft (at most InFlight at once) → fsm → Store.Apply. A node may evaluate while it has a reign:
// from the moment at which raft has applied a barrier of a term in which it leads, until it loses leadership, is refused a proposal, or hands over.
// One goroutine (rule) begins and ends reigns. Proposals and the barrier go to raft under one mutex, in which the reign is looked at: no proposal
// that was made under one reign gets behind the barrier of the next.
type Cluster struct {
	o      ClusterOptions
	logs   *logStore
	votes  votes
	fsm    *fsm
	store  *storage.Store
	copies *Snapshots
	trans  *transport
	raft   *raft.Raft

	succession *succession

	news    news
	peers   peers
	metrics Metrics
	ready   chan struct{} // closed when there is raft
	started bool

	order    sync.Mutex            // whoever hands something to raft's log, or ends a reign
	reign    atomic.Pointer[reign] // nil: this node does not lead
	slots    chan struct{}         // entries on their way
	outcomes chan outcome

	handing      atomic.Bool // leadership is being handed over: no reign begins
	transferring sync.Mutex  // one hand-over at a time
	served       atomic.Bool // this node has caught up once
	amnesiac     atomic.Bool
	diverged     atomic.Bool // this node has started over, and has not caught up since

	confirms confirms
	look     chan struct{} // rule has something to look at

	stop   chan struct{}
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	loops  sync.WaitGroup
	halted sync.Once
}

var _ Log = (*Cluster)(nil)

var errNotLeading = errors.New("this node does not lead")

// outcome is a proposal whose fate is open.
type outcome struct {
	future raft.ApplyFuture
	reign  *reign
	begun  time.Time
	bytes  int
}

// NewCluster opens what raft needs to remember. Nothing runs before Start.
func NewCluster(o ClusterOptions) (*Cluster, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Took == nil {
		o.Took = func(string, time.Duration) {}
	}
	o.InFlight = max(o.InFlight, 1)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, 16<<20)
	if o.KeepBytes == nil {
		o.KeepBytes = new(atomic.Int64)
	}
	c := &Cluster{
		o: o, slots: make(chan struct{}, o.InFlight), outcomes: make(chan outcome, o.InFlight),
		look: make(chan struct{}, 1), stop: make(chan struct{}), ready: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.confirms.init()
	c.succession = newSuccession(c)
	why, err := o.Dir.Diverged()
	if err != nil {
		return nil, err
	}
	c.diverged.Store(why != "")
	if c.votes, err = openVotes(o.Dir.Path(), o.Fatal); err != nil {
		return nil, err
	}
	files, err := openEntries(o.Dir.LogDir(), o.Log)
	if err != nil {
		return nil, errors.Join(err, c.votes.Close())
	}
	c.logs = &logStore{entries: files, logger: o.Logger, fatal: o.Fatal, keep: o.KeepBytes, room: c.waitForStore, diverged: o.Dir.MarkDiverged}
	c.logs.cache.limit = int(o.MemoryBytes / 2)
	c.logs.setLevel(o.Fsync)
	return c, nil
}

// Start connects the log with its store and starts raft. It returns at once: the store serves when it may. replayed is how many entries there are to
// replay, if they are all committed.
func (c *Cluster) Start(store *storage.Store) (replayed int, err error) {
	c.store = store
	if c.copies, err = NewSnapshots(SnapshotOptions{Store: store, Replace: c.o.Replace, Dial: c.o.Copies, Metrics: &c.metrics, Logger: c.o.Logger}); err != nil {
		return 0, err
	}
	c.fsm = &fsm{store: store, fatal: c.o.Fatal, stop: c.stop, restore: c.restore, copies: c.copies}
	c.logs.needed = c.copies.Needed
	c.logs.inBadger, c.logs.applied = store.Newest, c.handedOut
	if err := c.begin(); err != nil {
		return 0, err
	}
	marker := c.copies.Marker()
	if marker.Index > 0 {
		if err := c.logs.fit(marker.Index, marker.Term); err != nil {
			return 0, err
		}
	}
	first, last := c.logs.entries.bounds()
	if err := store.Begin(c, first, last); err != nil {
		return 0, err
	}
	c.logs.durable.Store(store.Applied())
	c.fsm.taken.Store(max(store.Applied(), marker.Index)) // raft begins behind the marker, whatever is in Badger: it covers entries without effects
	if from := store.ReplayFrom(); last >= from {
		replayed = int(last + 1 - from)
	}
	if err := c.startRaft(); err != nil {
		return 0, fmt.Errorf("starting raft: %w", err)
	}
	c.started = true
	for _, loop := range []func(){c.rule, c.settle, c.everySecond, c.watch, c.count, c.confirms.run(c), c.catchUp, c.succession.loop, c.beat} {
		c.loops.Add(1)
		go func() {
			defer c.loops.Done()
			loop()
		}()
	}
	return replayed, nil
}

// handedOut is the last entry that the store has been given, or will be: what raft has handed to its FSM goroutine cannot be taken back.
func (c *Cluster) handedOut() uint64 {
	select {
	case <-c.ready:
		return max(c.store.Applied(), c.raft.AppliedIndex())
	default:
		return c.store.Applied()
	}
}

func (c *Cluster) startRaft() error {
	term, err := c.votes.term()
	if err != nil {
		return err
	}
	boot := c.o.Boot
	if boot == "" {
		if boot, err = bootID(); err != nil {
			return err
		}
	}
	c.o.Boot = boot
	amnesiac, err := c.votes.beginLife(boot, c.o.Dir.CleanEnd() > 0, c.o.Fsync == Always || c.o.Log == nil)
	if err != nil {
		return err
	}
	if planted("no-amnesia") {
		amnesiac = false
	}
	amnesiac = amnesiac || c.diverged.Load() // what it had acknowledged it does not have any more
	c.amnesiac.Store(amnesiac)
	logger := raftLogger(c.o.Logger)
	inner := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: attentive{c.o.Stream, c.succession.ends}, MaxPool: 4, MaxRPCsInFlight: 2, Logger: logger, Timeout: min(max(5*c.o.Heartbeat, 2*time.Second), 10*time.Second),
	})
	// A node that has never been in a cluster has nothing to have forgotten.
	c.trans = newTransport(inner, c, term <= soloTerm && !amnesiac)
	c.raft, err = raft.NewRaft(c.raftConfig(amnesiac), c.fsm, c.logs, c.votes, c.copies, c.trans)
	if err != nil {
		inner.Close()
		return err
	}
	c.news.applied = c.applied
	close(c.ready)
	c.trans.start()
	return nil
}

// notYet is a timeout for what is not to happen before we say so.
const notYet = 1000 * time.Hour

// commitTimeout is how soon followers learn what was committed when nothing follows. Raft tells each of them again and again, as long as it leads: at 10 ms
// that was most of what an idle cluster took of the processor.
func commitTimeout(heartbeat time.Duration) time.Duration {
	return min(max(heartbeat/10, 10*time.Millisecond), 50*time.Millisecond)
}

// lookAgain is how often somebody looks who waits for what raft tells nobody.
const lookAgain = time.Millisecond

func (c *Cluster) raftConfig(amnesiac bool) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.o.ID)
	conf.Logger = raftLogger(c.o.Logger)
	// Raft steps down when it has not reached a majority for as long; reads have a lease of their own.
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = c.o.Heartbeat, c.o.Heartbeat, c.o.Heartbeat
	if amnesiac { // it does not stand for election
		conf.HeartbeatTimeout, conf.ElectionTimeout = notYet, notYet
	}
	conf.CommitTimeout = commitTimeout(c.o.Heartbeat)
	conf.MaxAppendEntries = max(int(c.o.MemoryBytes/8/storage.EntryBytes), c.o.InFlight+2)
	conf.BatchApplyCh = true // has room for all that is in flight, and the barrier: nobody waits to hand it over
	conf.ShutdownOnRemove = false
	conf.NoSnapshotRestoreOnStart = true
	conf.NoLegacyTelemetry = true
	if conf.SnapshotInterval = max(c.o.MarkerInterval, 5*time.Millisecond); c.o.MarkerInterval == 0 {
		conf.SnapshotInterval = notYet
	}
	conf.SnapshotThreshold = 1
	conf.TrailingLogs = 64 // but DeleteRange keeps KeepBytes
	return conf
}

// Propose hands an entry to raft. It waits while InFlight entries are on their way.
func (c *Cluster) Propose(entry []byte) error {
	r := c.reign.Load()
	if r == nil {
		return errNotLeading
	}
	select {
	case c.slots <- struct{}{}:
	case <-r.ended:
		return errNotLeading
	}
	data := bytes.Clone(entry) // raft keeps it
	c.order.Lock()
	defer c.order.Unlock()
	if c.reign.Load() != r {
		<-c.slots
		return errNotLeading
	}
	c.metrics.Proposals.Add(1)
	c.metrics.ProposalsInFlight.Add(1)
	c.metrics.InFlightBytes.Add(int64(len(data)))
	begun := time.Now()
	c.outcomes <- outcome{c.raft.Apply(data, 0), r, begun, len(data)}
	return nil
}

// settle is the goroutine that waits for what becomes of proposals. It says nothing to the store of one that was committed: the fsm has. Nor does an
// error say that an entry will not be committed after all.
func (c *Cluster) settle() {
	for {
		select {
		case <-c.stop:
			return
		case o := <-c.outcomes:
			err := c.await(o.future)
			<-c.slots
			c.metrics.ProposalsInFlight.Add(-1)
			c.metrics.InFlightBytes.Add(-int64(o.bytes))
			c.o.Took(TookCommit, time.Since(o.begun))
			if err != nil {
				c.metrics.ProposalsRefused.Add(1)
				o.reign.refused.Store(true)
				poke(c.look)
			}
		}
	}
}

// await waits for raft's answer, which it leaves out when it is shut down.
func (c *Cluster) await(f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-c.stop:
		return raft.ErrRaftShutdown
	}
}

// poke wakes whoever reads from a channel of one place.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Waits is true always: an entry needs a majority.
func (c *Cluster) Waits() bool { return true }

// SyncTo returns once all entries up to index are fsynced in this node's log.
func (c *Cluster) SyncTo(index uint64) error { return c.logs.syncTo(index) }

// Read returns a committed entry. Raft's own are empty.
func (c *Cluster) Read(index uint64) (term uint64, entry []byte, err error) {
	var l raft.Log
	if err := c.logs.GetLog(index, &l); err != nil {
		return 0, nil, fmt.Errorf("entry %d: %w", index, err)
	}
	if l.Type != raft.LogCommand {
		return l.Term, nil, nil
	}
	return l.Term, l.Data, nil
}

// Trim tells that everything up to index is durable in Badger.
func (c *Cluster) Trim(index uint64) {
	c.logs.durable.Store(index)
	if err := c.logs.trim(); err != nil && !errors.Is(err, wal.ErrClosed) {
		c.o.Logger.Warn("cannot trim the log; it will be tried again", "up_to", index, "err", err)
	}
}

// Level is the present fsync level.
func (c *Cluster) Level() Fsync { return c.logs.level() }

// SetFsync changes the level, as Solo.SetFsync does.
func (c *Cluster) SetFsync(f Fsync) error {
	if f == Always {
		c.logs.setLevel(f)
	} else if c.o.Log != nil {
		// Before anything is acknowledged that is not fsynced, it is noted that this may happen.
		if err := c.votes.noteUnsynced(c.o.Boot); err != nil {
			return err
		}
	}
	if err := c.logs.sync(); err != nil {
		return err
	}
	c.logs.setLevel(f)
	if f == Always {
		return c.votes.noteUnsynced("")
	}
	return nil
}

// Metrics count since the start.
func (c *Cluster) Metrics() *Metrics { return &c.metrics }

// waitForStore waits until the store has taken most of what was committed: all that would not be in memory but for raft's queue.
func (c *Cluster) waitForStore() {
	<-c.ready
	last := c.raft.AppliedIndex()
	upTo := last - min(last, maxUntaken)
	if first := c.logs.cached(); first > 0 {
		upTo = max(upTo, min(last, first-1))
	}
	if c.fsm.taken.Load() < upTo {
		c.fsm.wait(c.ctx, c.passing(upTo))
	}
}

// everySecond is the goroutine that fsyncs at level everysec.
func (c *Cluster) everySecond() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		if c.Level() == Everysec && c.logs.unsynced() {
			done := c.logs.working()
			err := c.logs.sync()
			if done(); err != nil {
				return
			}
		}
	}
}

// watch is the goroutine that ends a node whose disk hangs: its heartbeats would go on, and nobody else would be elected. It counts how often it finds
// the disk at the same job. A clock would go on while the process, or the machine, is stopped, and all goes on afterwards.
func (c *Cluster) watch() {
	every := min(max(c.o.DiskStall/10, time.Millisecond), time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	job, looks := uint64(0), 0
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		if now := c.logs.busy.Load(); now != job || now == 0 {
			job, looks = now, 0
			continue
		}
		if looks++; c.o.DiskStall > 0 && time.Duration(looks)*every >= c.o.DiskStall {
			c.o.Fatal(fmt.Errorf("the log has not taken an entry for %v (raft.disk_stall): this node ends, so that another can lead", c.o.DiskStall))
			return
		}
	}
}

// Halt ends this node's part in the cluster, leadership first: nothing is applied any more. The store is closed next, then the log with Close.
func (c *Cluster) Halt() {
	c.halted.Do(func() {
		if !c.started {
			c.cancel()
			return
		}
		if c.reign.Load() != nil {
			ctx, cancel := context.WithTimeout(c.ctx, 3*c.o.Heartbeat)
			if err := c.Transfer(ctx, ""); err != nil {
				c.o.Logger.Info("leadership was not handed over", "why", err)
			}
			cancel()
		}
		c.handing.Store(true)
		c.endReign()
		close(c.stop)
		c.cancel()
		c.copies.Close() // raft would wait for what is on its way
		c.store.Hurry()  // … and for an entry that waits for a flusher which has no room
		c.raft.Shutdown().Error()
		c.loops.Wait()
	})
}

// Close fsyncs and closes the log and returns its end. The store is closed before.
func (c *Cluster) Close() (end uint64, err error) {
	c.Halt()
	_, end = c.logs.entries.bounds()
	return end, errors.Join(c.logs.entries.close(), c.votes.Close())
}
