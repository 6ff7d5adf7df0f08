package commands

import (
	"math/bits"
	"sync/atomic"

	"sett/types"
)

// accesses remembers when keys were used, or how often: for OBJECT IDLETIME and OBJECT FREQ, and to choose which keys are evicted. It is a table of
// fixed size in memory, whatever the number of keys. A key's hash names a set of places; when all of them are taken, a key that comes in takes
// the place of the one that is needed least. So of many keys it knows those that matter; one that it does not know counts as used when the
// process began.
//
// A place holds, from the highest bit on, a tag (8): what of the hash tells the keys of a set apart, and a use (24), as Redis has it: unix
// seconds of the last use, or, if uses are counted, the minute in which the counter was last brought up to date (16) and the counter (8).
// Two keys of a set that have the same tag share a place, so that one of them looks younger, or more in demand, than it is.
// Nobody holds a lock: of two uses at the same moment one may be lost.
type accesses struct {
	places []atomic.Uint32
	shift  uint8 // of a 64-bit hash, so that a set's number remains
	startS int64

	counts       atomic.Bool  // the counter is kept: maxmemory_policy is one of LFU
	logFactor    atomic.Int64 // lfu_log_factor
	decayMinutes atomic.Int64 // lfu_decay_time
}

const (
	accessWays  = 16 // places of a set: a line of the processor's cache
	accessBytes = 4

	lfuInitial = 5 // counter of a new key, so that it is not the first to go
	useBits    = 24
	useMask    = 1<<useBits - 1
	minuteMask = 1<<16 - 1

	// aheadS is by how much the clock may have stepped back: a use that seems to be as old as the seconds reach, but for this, is yet to come.
	aheadS = 24 * 3600
)

// init makes the table from so much memory. nowMs is what absent keys count from.
func (a *accesses) init(bytes, nowMs int64) {
	sets := bits.Len64(uint64(max(bytes/accessWays/accessBytes, 2))) - 1
	a.places, a.shift = make([]atomic.Uint32, accessWays<<sets), uint8(64-sets)
	a.startS = nowMs / 1000
	a.logFactor.Store(10)
	a.decayMinutes.Store(1)
}

// find looks for a key's place by the hash that its meta key begins with. It returns the key's set and tag, and the place in the set that
// is the key's, else one that is free, else -1.
func (a *accesses) find(metaKey []byte) (set []atomic.Uint32, tag uint32, way int) {
	hash := accessHash(metaKey)
	from := hash >> a.shift * accessWays
	set = a.places[from : from+accessWays]
	tag = max(uint32(hash>>24)&0xff, 1)
	first := int(hash >> 20)
	for i := range accessWays {
		// Keys never leave, so there is none of them behind a free place.
		way := (first + i) % accessWays
		if v := set[way].Load(); v == 0 || v>>useBits == tag {
			return set, tag, way
		}
	}
	return set, tag, -1
}

func accessHash(metaKey []byte) uint64 {
	return (uint64(types.MetaPlace(metaKey).Hash) ^ uint64(types.MetaKeyspace(metaKey))<<32) * 0x9e3779b97f4a7c15
}

// get returns what is known of a key.
func (a *accesses) get(metaKey []byte) (use uint32, known bool) {
	set, _, way := a.find(metaKey)
	if way < 0 {
		return a.unknown(), false
	}
	if v := set[way].Load(); v != 0 {
		return v & useMask, true
	}
	return a.unknown(), false
}

// unknown is the use of a key that the table does not know.
func (a *accesses) unknown() uint32 {
	if a.counts.Load() {
		return frequencyAt(a.startS, lfuInitial)
	}
	return uint32(a.startS) & useMask
}

func frequencyAt(nowS int64, counter uint8) uint32 {
	return uint32(nowS/60)&minuteMask<<8 | uint32(counter)
}

// set notes a use at a place that find has found.
func (a *accesses) set(set []atomic.Uint32, tag uint32, way int, use uint32, nowS int64) {
	if way < 0 {
		way = a.leastOf(set, nowS)
	}
	if v := tag<<useBits | use&useMask; set[way].Load() != v {
		set[way].Store(v)
	}
}

// leastOf is the place of a set whose key is needed least.
func (a *accesses) leastOf(set []atomic.Uint32, nowS int64) (way int) {
	most := int64(-1)
	for i := range set {
		if score := a.score(set[i].Load()&useMask, nowS); score > most {
			way, most = i, score
		}
	}
	return way
}

// score is the higher, the less a key with such a use is needed.
func (a *accesses) score(use uint32, nowS int64) int64 {
	if a.counts.Load() {
		return 255 - int64(a.decayed(use, nowS))
	}
	return idle(use, nowS)
}

// touch notes that a key was used.
func (a *accesses) touch(metaKey []byte, q *Query) {
	set, tag, way := a.find(metaKey)
	nowS := q.Now / 1000
	if !a.counts.Load() {
		a.set(set, tag, way, uint32(nowS), nowS)
		return
	}
	use := a.unknown()
	if way >= 0 && set[way].Load() != 0 {
		use = set[way].Load()
	}
	a.set(set, tag, way, frequencyAt(nowS, a.increased(a.decayed(use, nowS), q)), nowS)
}

// made notes that a key is new.
func (a *accesses) made(metaKey []byte, nowMs int64) {
	nowS := nowMs / 1000
	use := uint32(nowS)
	if a.counts.Load() {
		use = frequencyAt(nowS, lfuInitial)
	}
	set, tag, way := a.find(metaKey)
	a.set(set, tag, way, use, nowS)
}

// moved gives a key what is known of another.
func (a *accesses) moved(from, to []byte, nowMs int64) {
	use, _ := a.get(from)
	set, tag, way := a.find(to)
	a.set(set, tag, way, use, nowMs/1000)
}

// idleS is how many seconds ago a key was used last.
func (a *accesses) idleS(metaKey []byte, nowMs int64) int64 {
	use, known := a.get(metaKey)
	if !known {
		return max(0, nowMs/1000-a.startS)
	}
	return idle(use, nowMs/1000)
}

func idle(use uint32, nowS int64) int64 {
	age := (uint32(nowS) - use) & useMask
	if age > useMask-aheadS {
		return 0
	}
	return int64(age)
}

// frequency is a key's counter at this moment.
func (a *accesses) frequency(metaKey []byte, nowMs int64) int64 {
	use, _ := a.get(metaKey)
	return int64(a.decayed(use, nowMs/1000))
}

// decayed is the counter less one for each decay time that has passed since it was brought up to date.
func (a *accesses) decayed(use uint32, nowS int64) uint8 {
	counter := uint8(use)
	if decay := a.decayMinutes.Load(); decay > 0 {
		minutes := (uint32(nowS/60) - use>>8) & minuteMask
		counter -= uint8(min(int64(minutes)/decay, int64(counter)))
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

// setCounts says what the table is to know from now on. It begins anew when that changes: a time is no counter.
func (a *accesses) setCounts(counts bool) {
	if a.counts.Swap(counts) == counts {
		return
	}
	for i := range a.places {
		a.places[i].Store(0)
	}
}

// SetLFULogFactor changes how fast the counter grows: lfu_log_factor.
func (d *DataSet) SetLFULogFactor(factor int) { d.access.logFactor.Store(int64(factor)) }

// SetLFUDecayTime changes how fast it falls: lfu_decay_time.
func (d *DataSet) SetLFUDecayTime(minutes int) { d.access.decayMinutes.Store(int64(minutes)) }
