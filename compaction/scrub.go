package compaction

import (
	"sync/atomic"
	"time"

	"sett/storage"
)

const (
	// scrubRate is how many bytes a scrub reads in a second, at least.
	scrubRate = 4 << 20
	// scrubWait is how long after the start the first scrub begins, at most.
	scrubWait = time.Minute
	// scrubCatchUp bounds what is read at once after another job took its time.
	scrubCatchUp = 2 * time.Second
)

// scrubbing is the keeper's reading of all files, over and over. What is not atomic is guarded by Keeper.job.
type scrubbing struct {
	interval atomic.Int64 // between the beginnings of two scrubs, ns; 0: there are none

	pass  *storage.Scrub // nil: none is going on
	next  time.Time      // when the next one begins
	began time.Time
	last  time.Time // when it read something
	owed  float64   // bytes that it may read
}

// SetScrubInterval says how often all files are read; 0 ends that.
func (k *Keeper) SetScrubInterval(d time.Duration) { k.scrubs.interval.Store(int64(d)) }

// scrubIfDue reads a little. A scrub takes half of its interval, less if there is little to read.
func (k *Keeper) scrubIfDue() error {
	c, now := &k.scrubs, time.Now()
	interval := time.Duration(c.interval.Load())
	if interval == 0 {
		c.pass = nil
		return nil
	}
	if c.next.IsZero() {
		c.next = now.Add(min(interval, scrubWait))
	}
	if c.pass == nil {
		if now.Before(c.next) {
			return nil
		}
		c.pass, c.began, c.last, c.owed = k.opts.Store.NewScrub(), now, now, 0
		c.next = now.Add(interval)
	}
	rate := max(scrubRate, float64(c.pass.Bytes())/(interval.Seconds()/2))
	c.owed += rate * min(now.Sub(c.last), scrubCatchUp).Seconds()
	c.last = now
	for c.owed > 0 && c.pass != nil {
		n, err := k.scrubSome()
		if err != nil {
			return err
		}
		c.owed -= float64(n)
	}
	return nil
}

// scrubSome reads a piece. At the end there is no pass any more.
func (k *Keeper) scrubSome() (bytes int64, err error) {
	c := &k.scrubs
	bytes, err = c.pass.Next()
	k.stats.ScrubbedBytes.Add(uint64(bytes))
	if err == nil && bytes == 0 {
		k.opts.Log.Info("scrubbed: all checksums are right", "bytes", c.pass.Bytes(), "took", time.Since(c.began).Round(time.Millisecond))
		k.stats.LastScrubMs.Store(time.Now().UnixMilli())
	}
	if err != nil || bytes == 0 {
		c.pass = nil
	}
	return bytes, err
}

// Scrub reads everything now. For tests and operators.
func (k *Keeper) Scrub() error {
	return k.exclusively(func() error {
		c := &k.scrubs
		for c.pass, c.began = k.opts.Store.NewScrub(), time.Now(); c.pass != nil; {
			select {
			case <-k.until:
				return storage.ErrStopped
			default:
			}
			if _, err := k.scrubSome(); err != nil {
				return err
			}
		}
		return nil
	})
}
