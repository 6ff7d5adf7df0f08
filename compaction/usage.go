package compaction

import (
	"sync/atomic"
	"time"

	"sett/storage"
)

// Usage is what the tables hold, in bytes, as a sample of their blocks tells.
type Usage struct {
	Bytes [storage.Causes]int64
	AtMs  int64 // when it was taken, unix ms; 0: never
}

const (
	// sampledBlocks are read for one sample: about 3,000 records, of 50 ms.
	sampledBlocks = 64
	// sampleEvery is the time between two samples, at least; sampleShare how many times as long as one takes it is.
	sampleEvery = 10 * time.Second
	sampleShare = 100
)

// sampling is the keeper's last sample.
type sampling struct {
	last atomic.Pointer[Usage]
	next time.Time // guarded by Keeper.job
}

// Usage returns the last sample.
func (k *Keeper) Usage() Usage {
	if u := k.sample.last.Load(); u != nil {
		return *u
	}
	return Usage{}
}

// sampleIfDue takes a sample now and then.
func (k *Keeper) sampleIfDue() error {
	if k.opts.Layout.Fate == nil || time.Now().Before(k.sample.next) {
		return nil
	}
	return k.takeSample()
}

func (k *Keeper) takeSample() error {
	if k.opts.Layout.Fate == nil {
		return nil
	}
	began := time.Now()
	bytes, err := k.opts.Store.Sample(sampledBlocks, k.opts.Layout.Fate)
	if err == nil {
		k.sample.last.Store(&Usage{Bytes: bytes, AtMs: time.Now().UnixMilli()})
	}
	k.sample.next = time.Now().Add(max(sampleEvery, sampleShare*time.Since(began)))
	return err
}
