package storage

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// pacer spreads writers over time instead of letting them run into one of two walls.
//
// The first is the memory for recent writes: from half of it on they may come at a rate that falls from twice what the flusher does to half of it. The second
// is level 0, behind which Badger stops the flusher: while it waits to be merged they may come at a rate that falls, as it fills up, from one and a half
// times what merges take out of it.
type pacer struct {
	idle   atomic.Bool // writers pass without asking: what they write meanwhile nobody pays for
	mu     sync.Mutex
	rate   float64 // bytes per second that the flusher has managed lately
	last   int64   // bytes that had been written when the last writer came
	next   time.Time
	level0 level0Pace
}

// level0Pace is what is known of level 0. All but due is guarded by the pacer's lock.
type level0Pace struct {
	due    atomic.Bool // it has as many tables as are merged at once, or more
	full   float64     // 0 … 1: of the tables at which Badger stops
	bytes  int64
	since  time.Time // since then it has been due, or since its last merge
	before int64     // its bytes then
	rate   float64   // bytes per second that merges take out of it; 0: there was none

	flushed, came float64 // bytes of generations, and what they became in level 0; old ones count for less
}

// leastOfRate is how slow writers become because of level 0, as a part of what merges manage. Badger's limit is behind it.
const leastOfRate = 0.1

// level0Stall is how many tables in level 0 stop the flusher.
func level0Stall(b Budget) int { return 2*b.Level0 + 10 }

// look notes what level 0 is like now.
func (p *pacer) look(info badger.LevelInfo, b Budget, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &p.level0
	due := info.NumTables >= b.Level0
	merged := info.Size < l.bytes*3/4
	if merged {
		if !l.since.IsZero() {
			l.managed(float64(l.bytes-info.Size) / max(now.Sub(l.since).Seconds(), 1e-3))
		}
		l.flushed, l.came = l.flushed/2, l.came/2
	} else {
		l.came += float64(max(0, info.Size-l.bytes))
	}
	switch {
	case !due:
		l.since = time.Time{}
	case merged || l.since.IsZero():
		l.since, l.before = now, info.Size
	}
	l.bytes, l.full = info.Size, float64(info.NumTables)/float64(level0Stall(b))
	l.due.Store(due)
}

// managed notes the rate of a merge.
func (l *level0Pace) managed(rate float64) {
	if l.rate == 0 {
		l.rate = rate
		return
	}
	l.rate += (rate - l.rate) / 2
}

// allowed is the rate at which generations may grow because of level 0, in bytes per second; 0: as fast as they can.
func (l *level0Pace) allowed(now time.Time) float64 {
	if !l.due.Load() || l.came == 0 {
		return 0
	}
	rate := l.rate
	if took := now.Sub(l.since).Seconds(); rate == 0 || took*rate > float64(l.before) {
		rate = float64(l.before) / max(took, 1e-3) // this merge takes longer than the others, or it is the first one
	}
	return rate * max(2.5*(1-l.full), leastOfRate) * l.flushed / l.came
}

// flushed notes what a flush managed.
func (p *pacer) flushed(bytes int, took time.Duration) {
	rate := float64(bytes) / max(took.Seconds(), 1e-6)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level0.flushed += float64(bytes)
	if p.rate == 0 {
		p.rate = rate
		return
	}
	p.rate += (rate - p.rate) / 8
}

// delay returns how long a writer waits, when so many bytes have been written since the start and recent writes fill so much of their memory, 0 … 1. Each
// writer pays for the bytes that came since the one before it. They are those of records: memory grows by leaps, which none of them may have to pay for.
func (p *pacer) delay(written int64, full float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.last, p.next = written, p.turn(written, full, now)
	return min(paced(p.next.Sub(now)), 100*time.Millisecond)
}

// onTime lets a writer pass that would not have to wait. One that would does not pay yet: it does when it comes back to wait.
func (p *pacer) onTime(written int64, full float64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	next := p.turn(written, full, now)
	if paced(next.Sub(now)) > 0 {
		return false
	}
	p.last, p.next = written, next
	return true
}

// turn is when a writer who comes now may write. mu is held.
func (p *pacer) turn(written int64, full float64, now time.Time) time.Time {
	if p.idle.Swap(false) {
		p.last, p.next = written, now
	}
	next := p.next
	if next.Before(now) {
		next = now
	}
	grown, allowed := written-p.last, p.level0.allowed(now)
	if full > 0.5 && p.rate > 0 {
		flusher := p.rate * max(3.5-3*full, 0.5) // 2 … 0.5 times
		if allowed == 0 || flusher < allowed {
			allowed = flusher
		}
	}
	if allowed == 0 || grown <= 0 {
		return next
	}
	return next.Add(time.Duration(float64(grown) / allowed * float64(time.Second)))
}

// paced leaves out what is too short to sleep: it adds up.
func paced(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return 0
	}
	return d
}
