package replication

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"sett/storage"
)

// maxUntaken is how many committed entries may wait for the store in raft's queue, if they are not too large (see Cluster.waitForStore). A store that waits for its flusher so makes the whole node wait,
// and the leader with it, instead of filling memory.
const maxUntaken = 128

// fsm hands committed entries to the store. Its methods are called by raft's FSM goroutine, applied and wait by any.
type fsm struct {
	store  *storage.Store
	fatal  func(error)
	stop   <-chan struct{}
	copies *Snapshots
	// restore takes over a snapshot, and returns its index.
	restore func(io.ReadCloser) (index uint64, err error)

	taken atomic.Uint64 // the last entry that came by, at least what Badger and the marker had at the start
	dead  bool          // an entry could not be applied: none behind it may be

	mu      sync.Mutex
	waiting map[chan struct{}]uint64 // closed when taken has reached it
}

var (
	_ raft.FSM                = (*fsm)(nil)
	_ raft.ConfigurationStore = (*fsm)(nil)
)

// Apply hands an entry to the store, unless Badger had it at the start.
func (f *fsm) Apply(l *raft.Log) any {
	f.copies.Passed(l.Index)
	if f.dead || l.Index <= f.store.Applied() {
		f.took(l.Index)
		return nil
	}
	if err := f.store.Apply(l.Index, l.Term, l.Data); err != nil {
		f.dead = true
		f.fatal(fmt.Errorf("applying entry %d: %w", l.Index, err))
		return err
	}
	f.took(l.Index)
	return nil
}

// StoreConfiguration is told of committed configurations.
func (f *fsm) StoreConfiguration(index uint64, configuration raft.Configuration) {
	f.copies.StoreConfiguration(index, configuration)
	f.took(index)
}

func (f *fsm) took(index uint64) {
	if index <= f.taken.Load() || f.dead {
		return
	}
	f.taken.Store(index)
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch, upTo := range f.waiting {
		if upTo <= index {
			close(ch)
			delete(f.waiting, ch)
		}
	}
}

// wait returns when an entry that raft hands out has come by.
func (f *fsm) wait(ctx context.Context, index uint64) error {
	f.mu.Lock()
	if f.taken.Load() >= index {
		f.mu.Unlock()
		return nil
	}
	ch := make(chan struct{})
	if f.waiting == nil {
		f.waiting = make(map[chan struct{}]uint64)
	}
	f.waiting[ch] = index
	f.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		f.mu.Lock()
		delete(f.waiting, ch)
		f.mu.Unlock()
		return ctx.Err()
	}
}

// Snapshot gives what a marker needs: what is to be kept is in Badger already, or is being written there.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return f.copies.Snapshot(f.stop) }

// Restore takes over a snapshot that another node has sent.
func (f *fsm) Restore(snapshot io.ReadCloser) error {
	index, err := f.restore(snapshot)
	if err != nil {
		return err
	}
	f.took(index)
	return nil
}
