package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"sett/storage"
)

// A snapshot is a marker: index, term and configuration of a point up to which Badger durably has every effect. The data are Badger's own, so taking
// one costs a barrier, and raft may forget its log up to there. Another node that needs what was forgotten gets a copy of Badger as it is then, at a
// flush point that is newer than the marker.
//
// The marker lies beside the data, in Badger's directory: whoever switches to other data switches to their marker, in one step.

// SnapshotOptions wire a snapshot store.
type SnapshotOptions struct {
	Store *storage.Store
	// Replace switches the store to a copy, when nobody is at work to give space back; nil: the store's own.
	Replace func(*storage.Import) error
	// Dial opens a stream for a copy to another node.
	Dial    Dialer
	Metrics *Metrics // nil: nobody asks
	Logger  *slog.Logger
}

// Snapshots are raft's snapshot store: of each node the newest marker. What raft calls, it calls from several goroutines.
type Snapshots struct {
	o      SnapshotOptions
	closed context.Context
	close  context.CancelFunc

	passed  atomic.Uint64 // the last entry that raft's FSM has seen in this life
	reading *incoming     // what raft reads from; its main goroutine only

	mu       sync.Mutex // guards the rest
	marker   *markerRecord
	later    []configured       // configurations that were committed behind the marker's, oldest first
	received *storage.Import    // loaded whole, and not taken over yet
	taking   int                // own snapshots, from raft's wish for one to its end
	arriving int                // other nodes', from a stream's request to raft's answer
	idle     *sync.Cond         // taking is 0
	copies   map[*outgoing]bool // being sent
	released []released         // … and sent lately
	pin      time.Duration      // pinAfter, except in tests
}

var _ raft.SnapshotStore = (*Snapshots)(nil)

// markerRecord is the file marker.
type markerRecord struct {
	Format             int
	Index, Term        uint64
	Configuration      []byte // as raft encodes it
	ConfigurationIndex uint64
}

const markerFormat = 1

// configured is a configuration and the entry that it came with.
type configured struct {
	index uint64
	raft.Configuration
}

// released is a copy that was sent: the log behind it stays for a while, for the node that got it goes on from there.
type released struct {
	index uint64
	until time.Time
}

const (
	markedID   = "marker"
	receivedID = "received"

	// pinAfter is how long the log behind a copy stays when it has been sent.
	pinAfter = time.Minute
	// markerWait is how long Persist waits for the barrier that covers it. Raft tries again later.
	markerWait = 30 * time.Second
)

// NewSnapshots opens a node's snapshots.
func NewSnapshots(o SnapshotOptions) (*Snapshots, error) {
	if o.Replace == nil {
		o.Replace = o.Store.Replace
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = new(Metrics)
	}
	s := &Snapshots{o: o, copies: make(map[*outgoing]bool), pin: pinAfter}
	s.idle = sync.NewCond(&s.mu)
	s.closed, s.close = context.WithCancel(context.Background())
	var m markerRecord
	ok, err := o.Store.Marker(&m)
	if err == nil && ok {
		err = m.check()
		s.marker = &m
	}
	return s, err
}

func (m *markerRecord) check() error {
	if m.Format != markerFormat {
		return fmt.Errorf("the marker of a snapshot has format %d, this build knows %d: start a newer sett", m.Format, markerFormat)
	}
	return nil
}

func (m *markerRecord) meta(id string) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: id, Index: m.Index, Term: m.Term,
		Configuration: raft.DecodeConfiguration(m.Configuration), ConfigurationIndex: m.ConfigurationIndex,
	}
}

// Close ends what is being sent or received. Raft has been shut down.
func (s *Snapshots) Close() {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.Broadcast()
	if s.received != nil {
		s.received.Discard()
		s.received = nil
	}
}

// List names the marker.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marker == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.marker.meta(markedID)}, nil
}

// Marker is where the log may begin; its index is 0 if there is none.
func (s *Snapshots) Marker() (m struct{ Index, Term uint64 }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marker != nil {
		m.Index, m.Term = s.marker.Index, s.marker.Term
	}
	return m
}

// Mark writes a marker: a barrier has covered every effect up to its index.
func (s *Snapshots) Mark(index, term uint64, configuration raft.Configuration, configurationIndex uint64) error {
	m := newMarker(index, term, configuration, configurationIndex)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marker != nil && index < s.marker.Index {
		return fmt.Errorf("a marker of entry %d is older than the one of entry %d", index, s.marker.Index)
	}
	if err := s.o.Store.SetMarker(m); err != nil {
		return fmt.Errorf("writing the marker of a snapshot: %w", err)
	}
	s.marked(m)
	return nil
}

func newMarker(index, term uint64, configuration raft.Configuration, configurationIndex uint64) *markerRecord {
	return &markerRecord{markerFormat, index, term, raft.EncodeConfiguration(configuration), configurationIndex}
}

// marked takes over a marker that is durable. mu is held.
func (s *Snapshots) marked(m *markerRecord) {
	s.marker = m
	s.later = slices.DeleteFunc(s.later, func(c configured) bool { return c.index <= m.ConfigurationIndex })
}

// StoreConfiguration is told, in order, of every configuration that is committed behind the marker.
func (s *Snapshots) StoreConfiguration(index uint64, c raft.Configuration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later = append(s.later, configured{index, c.Clone()})
	s.passed.Store(index)
}

// Passed is told that the FSM has seen an entry, and all before it.
func (s *Snapshots) Passed(index uint64) { s.passed.Store(index) }

// configurationAt is the one that was in force at an entry at or behind the marker. mu is held.
func (s *Snapshots) configurationAt(index uint64) (c raft.Configuration, at uint64) {
	c, at = raft.DecodeConfiguration(s.marker.Configuration), s.marker.ConfigurationIndex
	for _, later := range s.later {
		if later.index <= index {
			c, at = later.Configuration, later.index
		}
	}
	return c, at
}

// Create begins a snapshot: this node's own, which is only a marker, or, if something is written to it, another node's.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64,
	_ raft.Transport) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("snapshot version %d", version)
	}
	return &snapshotSink{s: s, marker: newMarker(index, term, configuration, configurationIndex)}, nil
}

// Open returns what was received, or a copy of this node's data that is made while it is read.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case id == receivedID && s.received != nil:
		var m markerRecord
		if ok, err := s.received.Marker(&m); err != nil || !ok {
			return nil, nil, errors.Join(errors.New("what was received has no marker"), err)
		}
		return m.meta(receivedID), &arrived{copied: s.received, marker: &m}, nil
	case id == markedID && s.marker != nil:
		return s.copyOut()
	}
	return nil, nil, fmt.Errorf("there is no snapshot %q", id)
}

// copyOut opens a copy of the newest flush point. Between it and a marker behind it nothing had an effect. mu is held.
func (s *Snapshots) copyOut() (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta := s.marker.meta(markedID)
	picture := s.o.Store.Picture()
	switch at, passed := picture.Point(), s.passed.Load(); {
	case at.Index > meta.Index && at.Index > passed:
		picture.Close()
		return nil, nil, fmt.Errorf("no copy yet: this node's data are of entry %d, and it has read its log up to %d since its start", at.Index, passed)
	case at.Index > meta.Index:
		meta.Index, meta.Term = at.Index, at.Term
		meta.Configuration, meta.ConfigurationIndex = s.configurationAt(at.Index)
	}
	out := &outgoing{s: s, picture: picture, index: meta.Index}
	out.ctx, out.cancel = context.WithCancel(s.closed)
	s.copies[out] = true
	return meta, out, nil
}

// Needed is the first entry that the log must keep for those who get, or got, a copy: they go on behind it, and what they are sent next has to follow
// an entry that the log knows.
func (s *Snapshots) Needed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := uint64(math.MaxUint64)
	for out := range s.copies {
		needed = min(needed, out.index)
	}
	s.released = slices.DeleteFunc(s.released, func(r released) bool { return time.Now().After(r.until) })
	for _, r := range s.released {
		needed = min(needed, r.index)
	}
	return needed
}

// outgoing is a copy of this node's data. It is made while it is read: somebody may only want to know that it is there.
type outgoing struct {
	s       *Snapshots
	picture *storage.Picture
	index   uint64
	ctx     context.Context
	cancel  context.CancelFunc

	r    *io.PipeReader // nil: nobody has read yet
	done chan struct{}  // closed when the copy is no longer made
}

func (o *outgoing) Read(p []byte) (int, error) {
	if o.r == nil {
		var w *io.PipeWriter
		o.r, w = io.Pipe()
		o.done = make(chan struct{})
		go func() {
			defer close(o.done)
			w.CloseWithError(o.picture.Export(o.ctx, w))
		}()
	}
	return o.r.Read(p)
}

// Close ends the copy.
func (o *outgoing) Close() error {
	o.cancel()
	if o.r != nil {
		o.r.Close()
		<-o.done
	}
	o.picture.Close()
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.s.copies[o] {
		delete(o.s.copies, o)
		o.s.released = append(o.s.released, released{o.index, time.Now().Add(o.s.pin)})
	}
	return nil
}

// snapshotSink is a snapshot that is being taken, or received.
type snapshotSink struct {
	s      *Snapshots
	marker *markerRecord

	copied *storage.Import // nil: nothing was written
	from   *incoming       // nil: not from a stream
	w      *io.PipeWriter
	loaded chan error
	ended  bool
	err    error
}

// ID names the snapshot for Open.
func (k *snapshotSink) ID() string {
	if k.copied != nil {
		return receivedID
	}
	return markedID
}

// Write loads another node's data into a directory of their own, beside those in use.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if k.copied == nil {
		k.from = k.s.reading
		k.s.drop()
		copied, err := k.s.o.Store.NewImport()
		if err != nil {
			return 0, err
		}
		r, w := io.Pipe()
		k.copied, k.w, k.loaded = copied, w, make(chan error, 1)
		go func() {
			err := copied.Load(r)
			r.CloseWithError(err) // nil: whoever writes more writes too much
			k.loaded <- err
		}()
	}
	return k.w.Write(p)
}

// drop forgets what was received before, and was not taken over.
func (s *Snapshots) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received != nil {
		s.received.Discard()
		s.received = nil
	}
}

// Close makes the snapshot one that Open finds. It may be called again.
func (k *snapshotSink) Close() error {
	if k.ended {
		return k.err
	}
	k.ended = true
	if k.copied == nil {
		m := k.marker
		if k.err = k.s.Mark(m.Index, m.Term, raft.DecodeConfiguration(m.Configuration), m.ConfigurationIndex); k.err == nil {
			k.s.o.Metrics.Markers.Add(1)
		}
		return k.err
	}
	k.w.Close()
	if k.err = <-k.loaded; k.err == nil {
		k.err = k.fits()
	}
	if k.err == nil {
		k.err = k.copied.SetMarker(k.marker, k.marker.Index)
	}
	if k.err != nil {
		k.copied.Discard()
		return k.err
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.received = k.copied
	return nil
}

// fits compares what has come with what raft was told.
func (k *snapshotSink) fits() error {
	at, m := k.copied.Point(), k.marker
	if at.Index > m.Index || at.Term > m.Term || at.Index == m.Index && at.Term != m.Term {
		return fmt.Errorf("a copy of entry %d of term %d came as a snapshot of entry %d of term %d", at.Index, at.Term, m.Index, m.Term)
	}
	return nil
}

// Cancel ends a snapshot that will not be whole.
func (k *snapshotSink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended, k.err = true, errors.New("the snapshot was given up")
	if k.from != nil {
		k.from.giveUp(k.err)
	}
	if k.copied != nil {
		k.w.CloseWithError(k.err)
		<-k.loaded
		k.copied.Discard()
	}
	return nil
}

// arrived is another node's data, loaded, as FSM.Restore gets them: there is nothing to read.
type arrived struct {
	copied *storage.Import
	marker *markerRecord
}

func (*arrived) Read([]byte) (int, error) { return 0, io.EOF }
func (*arrived) Close() error             { return nil }

// Restore switches the store to what was received, and returns the index that it is of. This node's own snapshot is restored already: it is in Badger.
func (s *Snapshots) Restore(snapshot io.ReadCloser) (index uint64, err error) {
	for {
		wrapped, ok := snapshot.(raft.ReadCloserWrapper)
		if !ok {
			break
		}
		snapshot = wrapped.WrappedReadCloser()
	}
	switch from := snapshot.(type) {
	case *outgoing:
		return from.index, nil
	case *arrived:
		return from.marker.Index, s.takeOver(from)
	}
	return 0, fmt.Errorf("a %T is no snapshot", snapshot)
}

func (s *Snapshots) takeOver(from *arrived) error {
	err := s.o.Replace(from.copied)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == from.copied {
		s.received = nil
	}
	from.copied.Discard()
	if err == nil {
		s.later = nil
		s.marked(from.marker)
		s.passed.Store(from.marker.Index)
	}
	return err
}

// Raft takes snapshots beside its main goroutine, which receives those of others. One that it had begun before, and ends afterwards, would take the place of
// the one that was received: raft would not know any more what its log follows, and be sent another copy, and another. So it is one or the other.

var errArriving = errors.New("another node's snapshot is arriving: there is none of this node's own meanwhile")

// Snapshot is what raft's FSM answers when raft wants one. stop ends the wait for the barrier.
func (s *Snapshots) Snapshot(stop <-chan struct{}) (raft.FSMSnapshot, error) {
	effect := s.o.Store.LastEffect()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.arriving > 0 {
		return nil, errArriving
	}
	s.taking++
	return &coming{s, s.o.Store, effect, stop}, nil
}

// arrives keeps raft from beginning snapshots until raft has answered what arrives.
func (s *Snapshots) arrives() (answered func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arriving++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.arriving--
	}
}

func (s *Snapshots) isArriving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arriving > 0
}

// awaitIdle returns when raft is through with the snapshots that it has begun.
func (s *Snapshots) awaitIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taking > 0 && s.closed.Err() == nil {
		s.idle.Wait()
	}
}

// coming is a snapshot for which a barrier is missing.
type coming struct {
	s      *Snapshots
	store  *storage.Store
	effect uint64 // the last entry up to then that had one
	stop   <-chan struct{}
}

// Persist returns when a barrier has covered every effect up to the snapshot: raft's log may be cut then. It gives up when another node's arrives, which
// would wait for it.
func (c *coming) Persist(raft.SnapshotSink) error {
	late := time.NewTimer(markerWait)
	defer late.Stop()
	for c.store.DurableIndex() < c.effect {
		if c.store.FlushedIndex() >= c.effect {
			if err := c.store.Barrier(); err != nil {
				return err
			}
			continue
		}
		if c.s.isArriving() {
			return errArriving
		}
		c.store.CloseGeneration() // on the leader; the others wait for it
		select {
		case <-c.stop:
			return raft.ErrRaftShutdown
		case <-late.C:
			return fmt.Errorf("entry %d has not come into Badger within %v: the log stays longer", c.effect, markerWait)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Release is told that raft is through with it.
func (c *coming) Release() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.taking--; c.s.taking == 0 {
		c.s.idle.Broadcast()
	}
}
