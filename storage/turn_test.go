package storage

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestWaitersComeBetween: who runs one command after the other, as a pipeline does, leaves the lock to who waits for it.
func TestWaitersComeBetween(t *testing.T) {
	o := small()
	o.GenerationRecords = 1 << 20
	s := openStore(t, t.TempDir(), o, &memLog{forgetful: true})
	var ran atomic.Int64 // commands of the pipeline
	var stop atomic.Bool
	busy := step(func() error {
		for start := time.Now(); time.Since(start) < 20*time.Microsecond; {
		}
		return nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		var tx Txn
		for !stop.Load() {
			if err := s.Update(&tx, busy); err != nil {
				t.Error(err)
				return
			}
			ran.Add(1)
		}
	}()
	var between []int64
	for range 101 {
		time.Sleep(100 * time.Microsecond)
		var tx Txn
		before := ran.Load()
		must(t, s.Update(&tx, step(func() error { between = append(between, ran.Load()-before); return nil })))
	}
	stop.Store(true)
	<-done
	slices.Sort(between)
	if n := between[len(between)/2]; n > 5 { // 50 without letOthers
		t.Errorf("%d commands run before the one that waits: %v", n, between)
	}
}
