package ttl

import (
	"testing"
	"time"
)

func TestRestGetsShorterWithTheLag(t *testing.T) {
	const took, locked = 10 * time.Millisecond, 6 * time.Millisecond
	last := rest(0, took, locked)
	if last != 3*took {
		t.Errorf("a sweeper that keeps up rests for %v", last)
	}
	for late := time.Duration(0); late < time.Hour; late = late*5/4 + time.Millisecond {
		now := rest(late, took, locked)
		if now > last || now < 2*locked-took {
			t.Fatalf("%v late: %v, before that %v", late, now, last)
		}
		last = now
	}
	if last != 2*locked-took {
		t.Errorf("a sweeper that is behind rests for %v", last)
	}
	if now := rest(time.Hour, took, took/5); now != 0 {
		t.Errorf("one that is behind and mostly reads rests for %v", now)
	}
}

func TestBatchesFitIntoTheirTime(t *testing.T) {
	s := NewSweeper(SweeperOptions{BatchKeys: 1000})
	batch := func(perKey time.Duration) int { s.fit(s.fits, time.Duration(s.fits)*perKey); return s.fits }
	for range 10 {
		batch(5 * time.Microsecond)
	}
	if s.fits != 50 {
		t.Errorf("%d keys of 5 µs in a batch", s.fits)
	}
	if now := batch(time.Second); now != 25 {
		t.Errorf("one slow batch makes the next one %d keys long", now)
	}
	for range 20 {
		batch(time.Second)
	}
	if s.fits != 1 {
		t.Errorf("%d keys of 1 s in a batch", s.fits)
	}
	for range 20 {
		batch(0)
	}
	if s.fits != 1000 {
		t.Errorf("%d keys that take no time in a batch", s.fits)
	}
}
