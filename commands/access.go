package commands

import (
	"math/bits"
	"sync/atomic"

	"sett/types"
)

// accesses remembers when keys were used, and how often, for OBJECT IDLETIME and OBJECT FREQ. It is a table of fixed size in memory: a key that
// was not used since the process began counts as used at that moment, and two keys may share a place, so that one of them looks
// younger, or more in demand, than it is.
//
// A place holds, from the highest bit on: unix seconds of the last use (32), and of Redis' LFU counter the minute in which it was last
// brought up to date (24) and its value (8). Nobody holds a lock: of two uses at the same moment one may be lost.
type accesses struct {
	places []atomic.Uint64
	shift  uint8 // of a 64-bit hash, so that a place's number remains
	start  uint64

	counts       atomic.Bool  // the counter is kept: maxmemory_policy is one of LFU
	logFactor    atomic.Int64 // lfu_log_factor
	decayMinutes atomic.Int64 // lfu_decay_time
}

const (
	lfuInitial = 5 // counter of a new key, so that it is not the first to go
	lfuMask    = 1<<32 - 1
	minuteMask = 1<<24 - 1
)

// init makes the table from so much memory. nowMs is what absent keys count from.
func (a *accesses) init(bytes, nowMs int64) {
	n := bits.Len64(uint64(max(bytes/8, 2))) - 1
	a.places, a.shift = make([]atomic.Uint64, 1<<n), uint8(64-n)
	a.start = accessAt(nowMs, lfuInitial)
	a.logFactor.Store(10)
	a.decayMinutes.Store(1)
}

func accessAt(nowMs int64, counter uint8) uint64 {
	return uint64(nowMs/1000)<<32 | lfuAt(nowMs, counter)
}

func lfuAt(nowMs int64, counter uint8) uint64 {
	return uint64(nowMs/60_000)&minuteMask<<8 | uint64(counter)
}

// place finds a key's place by the hash that its meta key begins with.
func (a *accesses) place(metaKey []byte) *atomic.Uint64 {
	place := types.MetaPlace(metaKey)
	hash := uint64(place.Hash) ^ uint64(types.MetaKeyspace(metaKey))<<32
	return &a.places[hash*0x9e3779b97f4a7c15>>a.shift]
}

func (a *accesses) at(place *atomic.Uint64) uint64 {
	if v := place.Load(); v != 0 {
		return v
	}
	return a.start
}

// touch notes that a key was used.
func (a *accesses) touch(metaKey []byte, q *Query) {
	place := a.place(metaKey)
	old := a.at(place)
	now := uint64(q.Now / 1000)
	if a.counts.Load() {
		counter := a.increased(a.decayed(old, q.Now), q)
		place.Store(now<<32 | lfuAt(q.Now, counter))
	} else if old>>32 != now {
		place.Store(now<<32 | old&lfuMask)
	}
}

// made notes that a key is new.
func (a *accesses) made(metaKey []byte, nowMs int64) {
	place := a.place(metaKey)
	if v := accessAt(nowMs, lfuInitial); place.Load() != v {
		place.Store(v)
	}
}

// moved gives a key what is known of another.
func (a *accesses) moved(from, to []byte) { a.place(to).Store(a.place(from).Load()) }

// idleS is how many seconds ago a key was used last.
func (a *accesses) idleS(metaKey []byte, nowMs int64) int64 {
	return max(0, nowMs/1000-int64(a.at(a.place(metaKey))>>32))
}

// frequency is a key's counter at this moment.
func (a *accesses) frequency(metaKey []byte, nowMs int64) int64 {
	return int64(a.decayed(a.at(a.place(metaKey)), nowMs))
}

// decayed is the counter less one for each decay time that has passed since it was brought up to date.
func (a *accesses) decayed(v uint64, nowMs int64) uint8 {
	counter := uint8(v)
	if decay := a.decayMinutes.Load(); decay > 0 {
		minutes := (uint64(nowMs/60_000) - v>>8) & minuteMask
		counter -= uint8(min(minutes/uint64(decay), uint64(counter)))
	}
	return counter
}

// increased is the counter after one more use: the higher it is, the less likely it grows.
func (a *accesses) increased(counter uint8, q *Query) uint8 {
	if counter == 255 {
		return counter
	}
	above := float64(max(0, int(counter)-lfuInitial))
	if chance := float64(q.Random()>>11) / (1 << 53); chance < 1/(above*float64(a.logFactor.Load())+1) {
		counter++
	}
	return counter
}

// SetLFU says whether it is counted how often keys are used: maxmemory_policy is one of LFU.
func (d *DataSet) SetLFU(counts bool) { d.access.counts.Store(counts) }

// SetLFULogFactor changes how fast the counter grows: lfu_log_factor.
func (d *DataSet) SetLFULogFactor(factor int) { d.access.logFactor.Store(int64(factor)) }

// SetLFUDecayTime changes how fast it falls: lfu_decay_time.
func (d *DataSet) SetLFUDecayTime(minutes int) { d.access.decayMinutes.Store(int64(minutes)) }
