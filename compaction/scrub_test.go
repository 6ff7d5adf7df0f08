package compaction

import (
	"testing"
	"time"
)

// TestScrubbing: the keeper reads everything again and again, as often as it is told, and not at once.
func TestScrubbing(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.put(ids(1, 30, 1)...)
	w.settled()
	w.must(w.Rotate(nil))
	k := w.keeper
	k.SetScrubInterval(time.Hour)
	w.must(k.scrubIfDue())
	if k.scrubs.pass != nil {
		t.Error("a scrub begins with the start")
	}
	k.scrubs.next = time.Now()
	w.must(k.scrubIfDue())
	if k.scrubs.pass == nil || k.stats.ScrubbedBytes.Load() != 0 {
		t.Errorf("%d bytes are read in no time", k.stats.ScrubbedBytes.Load())
	}
	k.scrubs.last = time.Now().Add(-time.Millisecond)
	w.must(k.scrubIfDue())
	first := k.stats.ScrubbedBytes.Load()
	if first == 0 || k.scrubs.owed > 0 {
		t.Errorf("%d bytes read, %.0f owed", first, k.scrubs.owed)
	}
	for range 100 {
		k.scrubs.last = time.Now().Add(-time.Minute)
		w.must(k.scrubIfDue())
	}
	if k.scrubs.pass != nil || k.stats.LastScrubMs.Load() == 0 || k.scrubs.next.Before(time.Now()) {
		t.Error("the scrub has no end")
	}
	k.SetScrubInterval(0)
	k.scrubs.next = time.Now()
	w.must(k.scrubIfDue())
	if k.scrubs.pass != nil {
		t.Error("it goes on although it was turned off")
	}
}
