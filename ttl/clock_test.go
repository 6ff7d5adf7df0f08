package ttl

import (
	"testing"
	"time"
)

// hands are the two clocks of a test.
type hands struct {
	wall time.Time
	mono time.Duration
}

func (h *hands) source() (time.Time, time.Duration) { return h.wall, h.mono }

func (h *hands) pass(d time.Duration) {
	h.wall = h.wall.Add(d)
	h.mono += d
}

func newHands() (*hands, *Clock) {
	h := &hands{wall: time.UnixMilli(1_000_000_000_000)}
	return h, NewClock(0, ClockOptions{Source: h.source})
}

func TestClockFollowsTheWall(t *testing.T) {
	h, c := newHands()
	for range 10 {
		h.pass(time.Second)
		if got, want := c.Now(), h.wall.UnixMilli(); got != want {
			t.Fatalf("Now %d, want %d", got, want)
		}
		if settled, back := c.Check(); !settled || back {
			t.Fatalf("Check: settled %v, back %v", settled, back)
		}
	}
}

func TestClockGoesOnWhenTheWallStepsBack(t *testing.T) {
	h, c := newHands()
	before := c.Now()
	c.Check()
	h.pass(time.Second)
	h.wall = h.wall.Add(-time.Hour)
	if now := c.Now(); now < before {
		t.Fatalf("time went back by %d ms", before-now)
	}
	if settled, _ := c.Check(); settled {
		t.Fatal("the sweeper may run while the wall is behind")
	}
	if now := c.Now(); now != before+1000 {
		t.Fatalf("Now is %d ms after the last, want 1000", now-before)
	}
	h.pass(time.Minute)
	c.Check()
	if now := c.Now(); now != before+61_000 {
		t.Fatalf("Now is %d ms after the last, want 61000", now-before)
	}
	// The step is taken back: no time is won or lost.
	h.wall = h.wall.Add(time.Hour)
	h.pass(time.Second)
	if settled, back := c.Check(); !settled || back {
		t.Fatalf("after the wall came back: settled %v, back %v", settled, back)
	}
	if now := c.Now(); now != h.wall.UnixMilli() {
		t.Fatalf("Now differs from the wall by %d ms", now-h.wall.UnixMilli())
	}
}

func TestClockFollowsTheWallBackAfterSettling(t *testing.T) {
	h, c := newHands()
	h.wall = h.wall.Add(-time.Hour)
	c.Check()
	for range 4 {
		h.pass(time.Minute)
		if _, back := c.Check(); back {
			t.Fatal("followed too early")
		}
	}
	h.pass(time.Minute)
	if settled, back := c.Check(); !settled || !back {
		t.Fatalf("after settling: settled %v, back %v", settled, back)
	}
	if now := c.Now(); now != h.wall.UnixMilli() {
		t.Fatalf("Now differs from the wall by %d ms", now-h.wall.UnixMilli())
	}
	if _, back := c.Check(); back {
		t.Fatal("back is told twice")
	}
}

func TestClockPausesTheSweeperAfterAStepForward(t *testing.T) {
	h, c := newHands()
	h.wall = h.wall.Add(9 * time.Second)
	if settled, _ := c.Check(); !settled {
		t.Fatal("a small step paused the sweeper")
	}
	h.wall = h.wall.Add(time.Hour)
	for range 5 {
		if settled, _ := c.Check(); settled {
			t.Fatal("the sweeper goes on after a jump")
		}
		h.pass(time.Minute)
	}
	if settled, _ := c.Check(); !settled {
		t.Fatal("the sweeper pauses for too long")
	}
}

// A wall that jumps ahead by mistake and is set right must never let the sweeper run with the wrong time.
func TestClockJumpAndCorrection(t *testing.T) {
	h, c := newHands()
	right := func() int64 { return 1_000_000_000_000 + h.mono.Milliseconds() }
	h.wall = h.wall.Add(time.Hour)
	c.Now()
	c.Check()
	h.pass(time.Minute)
	h.wall = h.wall.Add(-time.Hour)
	for range 20 {
		settled, _ := c.Check()
		if now := c.Now(); settled && now > right()+backTolerance {
			t.Fatalf("the sweeper runs %d ms ahead", now-right())
		}
		h.pass(time.Minute)
	}
	if settled, _ := c.Check(); !settled || c.Now() != right() {
		t.Fatalf("settled %v, %d ms ahead", settled, c.Now()-right())
	}
}

func TestClockStartsAtTheLastBatch(t *testing.T) {
	h := &hands{wall: time.UnixMilli(1_000_000)}
	c := NewClock(1_600_000, ClockOptions{Source: h.source})
	h.pass(time.Second)
	if now := c.Now(); now != 1_601_000 {
		t.Fatalf("Now %d, want 1601000", now)
	}
	c.Observe(1_700_000)
	if now := c.Now(); now != 1_700_000 {
		t.Fatalf("Now %d after a batch of 1700000", now)
	}
	c.Check()
	h.pass(time.Second)
	if now := c.Now(); now != 1_701_000 {
		t.Fatalf("time stands still at %d", now)
	}
}

func TestClockOffset(t *testing.T) {
	h, c := newHands()
	c.SetOffset(5000)
	if now := c.Now(); now != h.wall.UnixMilli()+5000 || c.Offset() != 5000 {
		t.Fatalf("Now is %d ms ahead of the wall", now-h.wall.UnixMilli())
	}
}
