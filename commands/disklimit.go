package commands

import (
	"sync/atomic"
	"time"
)

// diskLimit finds out how many bytes of data fit into max_disk. There is no telling beforehand: values are compressed, names are stored twice or more,
// and what is deleted takes room until it is compacted. So it looks at how large the data directory is: if it is too large, there may be
// as much less data, and then compactions have time to give the space back before it says so again: until the directory has become smaller, and
// becomes smaller no more. The directory grows and shrinks as they come and go: there may be more data if the directory was small for a while.
// With noeviction nothing is found out, and writes are refused as long as the directory is too large.
type diskLimit struct {
	bytes  atomic.Int64 // of the data directory, at the last look
	looked time.Time
	shrunk time.Time // when it was too large last, and the bound lowered for that
	lowest int64     // bytes since then
	fell   time.Time // when it came to be so few
	small  time.Time // since then it has been small
}

const (
	diskInterval = time.Second
	diskSettle   = 30 * time.Second // for compactions, since the last one gave something back: the keeper's jobs come by more often
	diskPatience = 10 * diskSettle  // … if none does

	// The directory is to be between these shares of max_disk, in percent, at its largest. It is brought down to the middle, and up to it by
	// little steps: an eighth in a minute.
	diskLowPercent    = 80
	diskTargetPercent = 90
	diskStep          = 512
)

// look is called by the evictor at each of its rounds.
func (k *diskLimit) look(d *DataSet, now time.Time) {
	l := &d.limits
	limit := l.maxDisk.Load()
	if limit == 0 {
		k.bytes.Store(0)
		l.diskBound.Store(0)
		l.diskFull.Store(false)
		return
	}
	if now.Sub(k.looked) < diskInterval {
		return
	}
	k.looked = now
	size, err := d.store.DiskBytes()
	if err != nil {
		return // files come and go; the guard of the disk reports one that cannot be read at all
	}
	k.bytes.Store(size)
	l.diskFull.Store(size > limit)
	k.adjust(d, size, limit, now)
}

// adjust changes how many bytes of data there may be.
func (k *diskLimit) adjust(d *DataSet, size, limit int64, now time.Time) {
	l := &d.limits
	bound, settled := l.diskBound.Load(), k.settled(size, now)
	switch {
	case !l.policy.Load().evicts:
		bound = 0
	case size > limit && settled:
		if _, err := d.recount(); err != nil {
			return
		}
		bound = max(1, int64(float64(l.used.Load())*diskTargetPercent/100*float64(limit)/float64(size)))
		k.shrunk, k.lowest, k.small = now, size, now
	case size >= limit/100*diskLowPercent:
		k.small = now
	case bound != 0 && now.Sub(k.small) >= 2*diskSettle && bound/2 <= l.used.Load():
		bound += max(1, bound/diskStep) // … as long as it means something: it would rise beyond all numbers
	}
	l.diskBound.Store(bound)
}

// settled tells whether compactions have given back what they will since the bound was lowered. Those of a large directory take long: who did not
// wait for them would have lowered it again and again meanwhile, until hardly any data was left.
func (k *diskLimit) settled(size int64, now time.Time) bool {
	if size < k.lowest-k.lowest/diskStep {
		k.lowest, k.fell = size, now
	}
	return k.fell.After(k.shrunk) && now.Sub(k.fell) >= diskSettle || now.Sub(k.shrunk) >= diskPatience
}
