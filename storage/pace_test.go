package storage

import (
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// TestPaceOfLevel0 simulates writers that are faster than merges: they are never stopped by level 0, never all but stopped, and get what merges manage.
func TestPaceOfLevel0(t *testing.T) {
	b := BudgetFor(256 << 20)
	const (
		tick      = 10 * time.Millisecond
		fastest   = 300e6 // bytes per second
		fixed     = 5.0   // seconds of a merge, whatever it merges: the base level
		perTable  = 0.1
		simulated = 300 * time.Second
		settled   = 60 * time.Second
	)
	p := &pacer{}
	now := time.Unix(1700000000, 0)
	start := now
	var recent, written, slowest float64
	tables, merging := 0, 0
	var merged time.Time
	slowest = fastest
	for ; now.Sub(start) < simulated; now = now.Add(tick) {
		rate := p.level0.allowed(now)
		switch {
		case recent >= float64(b.Recent):
			rate = 0
		case rate == 0 || rate > fastest:
			rate = fastest
		}
		recent += rate * tick.Seconds()
		for recent >= float64(b.MemTable) && tables < level0Stall(b) {
			recent -= float64(b.MemTable)
			tables++
			p.flushed(int(b.MemTable), tick)
		}
		if merging > 0 && now.After(merged) {
			tables -= merging
			merging = 0
		}
		if merging == 0 && tables >= b.Level0 {
			merging, merged = tables, now.Add(time.Duration((fixed+perTable*float64(tables))*float64(time.Second)))
		}
		p.look(badger.LevelInfo{NumTables: tables, Size: int64(tables) * b.MemTable}, b, now)
		if now.Sub(start) < settled {
			continue
		}
		if written += rate * tick.Seconds(); tables >= level0Stall(b) {
			t.Fatalf("after %v level 0 is full", now.Sub(start))
		}
		slowest = min(slowest, rate)
	}
	managed := float64(b.Level0) * float64(b.MemTable) / (fixed + perTable*float64(b.Level0)) // with the smallest merges
	average := written / (simulated - settled).Seconds()
	if average < 0.9*managed || slowest < average/4 {
		t.Errorf("%.0f MB/s, at times %.0f, where merges manage %.0f", average/1e6, slowest/1e6, managed/1e6)
	}
	t.Logf("%.0f MB/s, at times %.0f, where merges manage %.0f", average/1e6, slowest/1e6, managed/1e6)
}

// TestWhoPays: writers pay for what is written while they are paced, and for nothing that came before.
func TestWhoPays(t *testing.T) {
	p := &pacer{}
	p.flushed(100<<20, time.Second)
	p.idle.Store(true)
	const full = 0.75 // 1.25 times what the flusher manages
	for _, step := range []struct {
		written int64
		want    time.Duration
	}{{5 << 30, 0}, {5<<30 + 10<<20, 80 * time.Millisecond}} {
		if d := p.delay(step.written, full); d != step.want {
			t.Errorf("at %d bytes: %v, want %v", step.written, d, step.want)
		}
	}
	p.idle.Store(true) // all pass unasked for a while
	if !p.onTime(9<<30, full) {
		t.Error("a writer pays for what came unasked")
	}
}

// TestNoLeaps: memory for recent writes grows by leaps, what writers pay for does not.
func TestNoLeaps(t *testing.T) {
	o := small()
	o.GenerationRecords, o.FlushInterval = 1<<20, time.Hour
	s := openStore(t, t.TempDir(), o, &memLog{})
	var leap int64
	for i := range 20_000 {
		dirty, written := s.dirty.Load(), s.written.Load()
		set(t, s, fmt.Sprintf("k%d", i), "value")
		leap = max(leap, s.dirty.Load()-dirty)
		if n := s.written.Load() - written; n <= 0 || n > 256 {
			t.Fatalf("a record of a few bytes counts as %d", n)
		}
	}
	if leap < chunkBytes {
		t.Errorf("memory grows by %d bytes at most: this test shows nothing", leap)
	}
}
