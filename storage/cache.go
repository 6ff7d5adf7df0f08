package storage

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"unsafe"
)

// cache keeps records that are in Badger, and the knowledge that a key is not there, within a budget of bytes.
//
// It holds only what is in Badger. The flusher refreshes every key of a generation before it unlinks the generation, and a reader may
// fill in what Badger gave only if no generation was retired since before the reader looked into the table.
//
// A shard is a log of records in segments without pointers, and an index into them. When all segments are full the oldest is written
// anew: records that were read since they got there stay (at most half of it), all others are forgotten.
type cache struct {
	shards       [cacheShards]cacheShard
	segments     *slab
	hits, misses atomic.Uint64
}

const (
	cacheShards     = 16
	segmentBytes    = 512 << 10 // room for seven chunks of a blob
	segmentsAtLeast = 4

	// Larger values come into the cache when somebody reads them, and not because they were written: a few would push out many others.
	refreshBytes = 4 << 10
)

type cacheShard struct {
	mu       sync.Mutex
	size     int       // of a segment, bytes
	limit    int       // segments
	slab     *slab     // where they come from
	segments [][]byte  // each of len size; guarded, as all below, by mu
	used     []int     // bytes used of each
	current  int       // the segment that is being filled
	index    []indexed // open addressing
	indexMap mapped    // the memory of a large index
	live     int       // records in the index
	dead     int       // index places marked as deleted
}

// indexed is a place of the index: where the record lies, in units of 8 bytes, + 1, and above that 32 bits of its hash. So a search looks at
// no records but the one it is for: each would be a miss of the processor's cache.
type indexed uint64

func indexedAt(hash uint64, place int) indexed { return indexed(hash>>28<<32) | indexed(place>>3+1) }

// fits tells whether it may be the record of a hash; the places that are free or deleted do not.
func (x indexed) fits(hash uint64) bool {
	return x>>32 == indexed(hash>>28&(1<<32-1)) && x != indexFree && x != indexDeleted
}

func (x indexed) place() int { return int(uint32(x)-1) << 3 }

// A cached record: hash(8) · key length(4) · value length(4) · size(4) · flags(1) · 3 unused · key · value
const (
	cachedHeader = 24

	cachedAbsent  = 1 << 0 // Badger has no such key
	cachedRead    = 1 << 1 // it was read since it was written
	cachedDropped = 1 << 2 // superseded

	indexFree    indexed = 0
	indexDeleted indexed = 1<<64 - 1
)

// newCache makes an empty cache. A quarter of the budget is for the index: small records need it.
func newCache(budget int) *cache {
	bytes := budget / cacheShards * 3 / 4
	size := max(min(segmentBytes, bytes/segmentsAtLeast), 256) &^ 7
	limit := max(bytes/size, segmentsAtLeast)
	c := &cache{segments: newSlab(cacheShards*limit, size)}
	for i := range c.shards {
		c.shards[i] = cacheShard{slab: c.segments, size: size, limit: limit}
	}
	return c
}

func (c *cache) shard(hash uint64) *cacheShard { return &c.shards[hash>>60] }

// get appends the value to buf. known is false if the cache cannot tell.
func (c *cache) get(hash uint64, key, buf []byte) (out []byte, known, absent bool) {
	s := c.shard(hash)
	s.mu.Lock()
	i := s.find(hash, key)
	if i < 0 {
		s.mu.Unlock()
		c.misses.Add(1)
		return buf, false, false
	}
	r := s.record(i)
	flags := r[20]
	if flags&cachedRead == 0 {
		r[20] = flags | cachedRead
	}
	if flags&cachedAbsent == 0 {
		_, value := keyAndValue(r)
		buf = append(buf, value...)
	}
	s.mu.Unlock()
	c.hits.Add(1)
	return buf, true, flags&cachedAbsent != 0
}

// has tells whether get would know, and counts as a look at the record. A hit is counted by the get that follows.
func (c *cache) has(hash uint64, key []byte) bool {
	s := c.shard(hash)
	s.mu.Lock()
	i := s.find(hash, key)
	if i >= 0 {
		s.record(i)[20] |= cachedRead
	}
	s.mu.Unlock()
	if i < 0 {
		c.misses.Add(1)
	}
	return i >= 0
}

// fill inserts what Badger gave (value nil: absent), unless a generation was retired since noted.
func (c *cache) fill(hash uint64, key, value []byte, noted uint64, retired *atomic.Uint64) {
	s := c.shard(hash)
	s.mu.Lock()
	if (retired.Load() == noted || planted("cache-ignores-retired")) && s.find(hash, key) < 0 {
		s.insert(hash, key, value, 0)
	}
	s.mu.Unlock()
}

// refresh sets what Badger now holds (value nil: absent), and tells whether it held the record before, as far as the cache knows. Only the
// flusher calls it.
func (c *cache) refresh(hash uint64, key, value []byte) (held bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	var flags byte
	if i := s.find(hash, key); i >= 0 {
		r := s.record(i)
		held = r[20]&cachedAbsent == 0
		size := cachedHeader + len(key) + len(value)
		if have := int(binary.LittleEndian.Uint32(r[16:])); size <= have && have <= 2*size+64 {
			writeCached(r, hash, key, value, have, r[20]&cachedRead)
			return held
		}
		flags = r[20] & cachedRead
		s.drop(i)
	} else if len(value) > refreshBytes {
		return false
	}
	s.insert(hash, key, value, flags)
	return held
}

// forget drops what is known of a key that nobody asks for any more. Only the flusher calls it.
func (c *cache) forget(hash uint64, key []byte) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(hash, key); i >= 0 {
		s.drop(i)
	}
}

// reset empties the cache.
func (c *cache) reset() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.slab.give(s.segments)
		s.indexMap.free()
		s.segments, s.used, s.index, s.current, s.live, s.dead = nil, nil, nil, 0, 0, 0
		s.mu.Unlock()
	}
}

// close gives the memory back. From then on the cache knows nothing, and learns nothing.
func (c *cache) close() {
	c.reset()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.limit, s.size = 0, 0 // nothing fits
		s.mu.Unlock()
	}
	c.segments.memory.free()
}

// bytes is the memory that the cache holds now.
func (c *cache) bytes() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.segments)*s.size + 8*len(s.index)
		s.mu.Unlock()
	}
	return n
}

func keyAndValue(r []byte) (key, value []byte) {
	k, v := binary.LittleEndian.Uint32(r[8:]), binary.LittleEndian.Uint32(r[12:])
	return r[cachedHeader : cachedHeader+k], r[cachedHeader+k : cachedHeader+k+v]
}

func writeCached(r []byte, hash uint64, key, value []byte, size int, flags byte) {
	if value == nil {
		flags |= cachedAbsent
	}
	binary.LittleEndian.PutUint64(r, hash)
	binary.LittleEndian.PutUint32(r[8:], uint32(len(key)))
	binary.LittleEndian.PutUint32(r[12:], uint32(len(value)))
	binary.LittleEndian.PutUint32(r[16:], uint32(size))
	r[20] = flags
	copy(r[cachedHeader:], key)
	copy(r[cachedHeader+len(key):], value)
}

// record returns the record at a place of the index.
func (s *cacheShard) record(i int) []byte { return s.at(s.index[i]) }

func (s *cacheShard) at(x indexed) []byte {
	p := x.place()
	return s.segments[p/s.size][p%s.size:]
}

func (s *cacheShard) find(hash uint64, key []byte) int {
	if s.live == 0 {
		return -1
	}
	mask := uint64(len(s.index) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		x := s.index[i]
		if x == indexFree {
			return -1
		}
		if !x.fits(hash) {
			continue
		}
		r := s.at(x)
		if k, _ := keyAndValue(r); binary.LittleEndian.Uint64(r) == hash && bytes.Equal(k, key) {
			return int(i)
		}
	}
}

func (s *cacheShard) drop(i int) {
	s.record(i)[20] |= cachedDropped
	s.index[i] = indexDeleted
	s.live--
	s.dead++
}

func (s *cacheShard) insert(hash uint64, key, value []byte, flags byte) {
	size := align8(cachedHeader + len(key) + len(value))
	if size > s.size/2 {
		return // it would push out everything else
	}
	at := s.room(size)
	writeCached(s.segments[s.current][at:], hash, key, value, size, flags)
	s.link(hash, indexedAt(hash, s.current*s.size+at))
}

// room returns where in the current segment size bytes are free, moving on to the next segment if need be.
func (s *cacheShard) room(size int) int {
	for len(s.segments) == 0 || s.used[s.current]+size > s.size {
		if len(s.segments) < s.limit {
			s.segments = append(s.segments, s.slab.take())
			s.used = append(s.used, 0)
			s.current = len(s.segments) - 1
			continue
		}
		s.current = (s.current + 1) % len(s.segments)
		s.compact(s.current)
	}
	at := s.used[s.current]
	s.used[s.current] += size
	return at
}

// compact makes at least half of a segment free: records that were read move to its front and may be forgotten the next time.
func (s *cacheShard) compact(segment int) {
	b := s.segments[segment]
	kept := 0
	for at := 0; at < s.used[segment]; {
		r := b[at:]
		size := int(binary.LittleEndian.Uint32(r[16:]))
		flags := r[20]
		if flags&cachedDropped == 0 {
			hash := binary.LittleEndian.Uint64(r)
			i := s.placeOf(hash, indexedAt(hash, segment*s.size+at))
			if flags&cachedRead != 0 && kept+size <= s.size/2 {
				r[20] &^= cachedRead
				copy(b[kept:], r[:size])
				s.index[i] = indexedAt(hash, segment*s.size+kept)
				kept += size
			} else {
				s.index[i] = indexDeleted
				s.live--
				s.dead++
			}
		}
		at += size
	}
	s.used[segment] = kept
}

// placeOf finds the index place that points to a record.
func (s *cacheShard) placeOf(hash uint64, place indexed) uint64 {
	mask := uint64(len(s.index) - 1)
	i := hash & mask
	for s.index[i] != place {
		i = (i + 1) & mask
	}
	return i
}

func (s *cacheShard) link(hash uint64, place indexed) {
	if (s.live+s.dead+1)*4 > len(s.index)*3 {
		s.reindex()
	}
	mask := uint64(len(s.index) - 1)
	i := hash & mask
	for s.index[i] != indexFree && s.index[i] != indexDeleted {
		i = (i + 1) & mask
	}
	if s.index[i] == indexDeleted {
		s.dead--
	}
	s.index[i] = place
	s.live++
}

// reindex drops the marks of deleted places, and grows the index if it is really full.
func (s *cacheShard) reindex() {
	old, memory := s.index, s.indexMap
	defer memory.free()
	n := max(len(old), 64)
	if s.live*2 >= n {
		n *= 2
	}
	s.makeIndex(n)
	mask := uint64(n - 1)
	for _, p := range old {
		if p == indexFree || p == indexDeleted {
			continue
		}
		i := binary.LittleEndian.Uint64(s.at(p)) & mask
		for s.index[i] != indexFree {
			i = (i + 1) & mask
		}
		s.index[i] = p
	}
}

// makeIndex sets an empty index of n places. A large one lies in huge pages, as the records do.
func (s *cacheShard) makeIndex(n int) {
	s.dead, s.indexMap = 0, mapped{}
	if n*8 < hugePageBytes/2 {
		s.index = make([]indexed, n)
		return
	}
	s.indexMap = mapMemory(n * 8)
	s.index = unsafe.Slice((*indexed)(unsafe.Pointer(unsafe.SliceData(s.indexMap.bytes))), n)
}
