package storage

import (
	"sync"
	"sync/atomic"
	"time"
)

// gate is where iterators over Badger go in and out. Badger deletes a value log file that it has collected when no iterator is open at all:
// under constant scans never. So whoever holds one looks at wanted now and then, and lets go; who would open one waits a moment.
//
// Only Badger's deletion depends on it: an iterator that passes the gate because it must not wait is late, not wrong.
type gate struct {
	wanted atomic.Bool

	mu     sync.Mutex
	open   int
	empty  chan struct{} // made while the gate is wanted: closed when open reaches 0
	passed chan struct{} // … closed when it is wanted no longer
}

// gateWait is how long an iterator waits at the gate: its goroutine may hold another one.
const gateWait = 20 * time.Millisecond

// enter counts an iterator that is about to be opened. Who holds the data set's lock does not wait.
func (g *gate) enter(wait bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if passed := g.passed; wait && passed != nil && g.open > 0 {
		g.mu.Unlock()
		select {
		case <-passed:
		case <-time.After(gateWait):
		}
		g.mu.Lock()
	}
	g.open++
}

// leave counts one that has been closed.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open--; g.open == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// clear waits until no iterator is open for a moment, limit at most.
func (g *gate) clear(limit time.Duration) (cleared bool) {
	g.mu.Lock()
	if g.open == 0 {
		g.mu.Unlock()
		return true
	}
	empty, passed := make(chan struct{}), make(chan struct{})
	g.empty, g.passed = empty, passed
	g.wanted.Store(true)
	g.mu.Unlock()
	select {
	case <-empty:
		cleared = true
	case <-time.After(limit):
	}
	g.mu.Lock()
	g.wanted.Store(false)
	g.empty, g.passed = nil, nil
	g.mu.Unlock()
	close(passed)
	return cleared
}
