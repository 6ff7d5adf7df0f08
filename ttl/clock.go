package ttl

import (
	"sync"
	"sync/atomic"
	"time"
)

// Source reads the wall clock and a monotonic clock. Tests give their own.
type Source func() (wall time.Time, monotonic time.Duration)

// ClockOptions have the defaults of config.toml in their zero fields.
type ClockOptions struct {
	Source Source
	Step   time.Duration // clock_step, 10 s: a forward step of the wall clock beyond it pauses the sweeper
	Settle time.Duration // clock_settle, 5 min: how long it pauses, and after which time the clock follows a wall that went back
}

// Clock is the time of a data set, in ms since 1970: the wall clock, but never before what it said last.
//
// A wall clock that steps back must not bring dead keys back, nor make the others live on for as long as the step was: Now then goes on
// at the speed of the monotonic clock, and follows the wall back when that has been wrong for Settle. Steps are found by Check, which
// the sweeper calls several times a second; in between Now stands still rather than going back.
type Clock struct {
	source Source
	step   int64 // ms
	settle int64 // ms

	offset atomic.Int64 // of DEBUG SETT CLOCK, ms
	state  atomic.Pointer[clockState]

	mu          sync.Mutex
	wall, mono  int64 // at the last Check; guarded by mu
	backSince   int64 // monotonic time of the last step back, while it is bridged; guarded by mu
	pausedUntil int64 // monotonic time before which the sweeper must wait; guarded by mu
}

// clockState is exchanged whole when time goes back, so that a Now in flight cannot raise the new one's last.
type clockState struct {
	ahead int64 // what Now adds to the wall clock
	last  atomic.Int64
}

// backTolerance is what the wall may seem to go back between two readings of both clocks without being taken for a step, ms.
const backTolerance = 50

// NewClock returns a clock that starts no earlier than lastMs, the time of the last batch in the log.
func NewClock(lastMs int64, opts ClockOptions) *Clock {
	if opts.Source == nil {
		start := time.Now()
		opts.Source = func() (time.Time, time.Duration) { now := time.Now(); return now, now.Sub(start) }
	}
	if opts.Step == 0 {
		opts.Step = 10 * time.Second
	}
	if opts.Settle == 0 {
		opts.Settle = 5 * time.Minute
	}
	c := &Clock{source: opts.Source, step: opts.Step.Milliseconds(), settle: opts.Settle.Milliseconds()}
	c.wall, c.mono = c.read()
	st := &clockState{}
	if lastMs > c.wall+backTolerance {
		st.ahead = lastMs - c.wall
		c.backSince = c.mono
	}
	st.last.Store(max(lastMs, c.wall))
	c.state.Store(st)
	return c
}

// read returns wall clock and monotonic clock in ms, the former with DEBUG's offset.
func (c *Clock) read() (wall, mono int64) {
	w, m := c.source()
	return w.UnixMilli() + c.offset.Load(), m.Milliseconds()
}

// Now returns the time in ms. It is never before what any Now returned earlier, but for Check following the wall back.
func (c *Clock) Now() int64 {
	st := c.state.Load()
	wall, _ := c.source()
	now := wall.UnixMilli() + c.offset.Load() + st.ahead
	return st.raise(now)
}

// Last returns the highest time that Now returned.
func (c *Clock) Last() int64 { return c.state.Load().last.Load() }

// Observe says that a batch of that time exists: of another node, or of this one before a restart.
func (c *Clock) Observe(ms int64) { c.state.Load().raise(ms) }

func (st *clockState) raise(now int64) int64 {
	for {
		last := st.last.Load()
		if now <= last {
			return last
		}
		if st.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// SetOffset moves the wall clock, for tests: a step like any other.
func (c *Clock) SetOffset(ms int64) {
	c.offset.Store(ms)
	c.Check()
}

// Offset is what SetOffset set.
func (c *Clock) Offset() int64 { return c.offset.Load() }

// Check looks for steps of the wall clock. settled is false while keys must not be removed for being past their time: the wall clock
// jumped ahead not long ago, or is behind what it said before, so that one of its readings was wrong. back is true when the clock has
// just followed the wall back: keys that were past their time may live again.
func (c *Clock) Check() (settled, back bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, mono := c.read()
	stepped := (wall - c.wall) - (mono - c.mono)
	c.wall, c.mono = wall, mono
	st := c.state.Load()
	ahead, last := st.ahead, st.last.Load()

	switch {
	case stepped < -backTolerance: // go on from where the time would be now
		ahead -= stepped
	case stepped > backTolerance: // bridge what is left of an earlier step back
		bridged := min(ahead, stepped)
		ahead -= bridged
		if stepped-bridged > c.step {
			c.pausedUntil = mono + c.settle
		}
	}
	if last > wall+ahead+backTolerance { // a batch from a clock that is ahead of ours
		ahead = last - wall
	}
	if ahead > st.ahead {
		c.backSince = mono
	}
	if ahead > 0 && mono-c.backSince >= c.settle {
		ahead, last, back = 0, wall, true
	}
	if ahead != st.ahead {
		c.replace(ahead, last)
	}
	return ahead == 0 && mono >= c.pausedUntil, back
}

// Settled tells whether keys may be removed for being past their time, without Check's consequences: those are the sweeper's.
func (c *Clock) Settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, mono := c.read()
	stepped := (wall - c.wall) - (mono - c.mono)
	return c.state.Load().ahead == 0 && mono >= c.pausedUntil && stepped >= -backTolerance && stepped <= c.step
}

func (c *Clock) replace(ahead, last int64) {
	st := &clockState{ahead: ahead}
	st.last.Store(last)
	c.state.Store(st)
}
