package storage

import (
	"unsafe"

	"sett/storage/prefetch"
)

// Hash is what Foresee knows a record by.
func (r *Reader) Hash(key []byte) uint64 { return r.s.hash(key) }

// Foresee has the processor fetch what lookups of some records will read: where they stand in the tables of the generations and of the cache, then the
// records. A lookup in a large table is mostly waiting for memory, three or four times in turn; told in time, the processor waits for many at once.
// Whether they exist, and are asked for at all, does not matter. It is called in Run.
func (r *Reader) Foresee(hashes []uint64) {
	gens := r.s.gens
	for _, h := range hashes {
		for _, g := range gens {
			prefetch.Line(unsafe.Pointer(&g.table[uint32(h)&uint32(len(g.table)-1)]))
		}
		r.s.cache.foresee(h)
	}
	for _, h := range hashes {
		r.foreseeRecord(h)
	}
}

func (r *Reader) foreseeRecord(hash uint64) {
	gens := r.s.gens
	for i := len(gens) - 1; i >= 0; i-- {
		if e := gens[i].guess(uint32(hash)); e != 0 {
			prefetchRecord(gens[i].pieces().at(e))
			return
		}
	}
	if !r.s.cache.foreseeRecord(hash) {
		r.s.filter.foresee(hash)
	}
}

// prefetchRecord fetches the head of a record, its key, and the beginning of what follows.
func prefetchRecord(b []byte) {
	p := unsafe.Pointer(unsafe.SliceData(b))
	prefetch.Line(p)
	if len(b) > lineBytes {
		prefetch.Line(unsafe.Add(p, lineBytes))
	}
}

const lineBytes = 64 // of the processor's cache

// guess returns the entry that a key of this hash is found in most likely, or 0.
func (g *generation) guess(hash uint32) ref {
	mask := uint32(len(g.table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if s := g.table[i]; s.entry == 0 || s.hash == hash {
			return s.entry
		}
	}
}

func (c *cache) foresee(hash uint64) {
	s := c.shard(hash)
	s.mu.Lock()
	if s.live > 0 {
		prefetch.Line(unsafe.Pointer(&s.index[hash&uint64(len(s.index)-1)]))
	}
	s.mu.Unlock()
}

// foreseeRecord is false if there is no record of such a hash.
func (c *cache) foreseeRecord(hash uint64) bool {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == 0 {
		return false
	}
	mask := uint64(len(s.index) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch x := s.index[i]; {
		case x == indexFree:
			return false
		case x.fits(hash):
			prefetchRecord(s.at(x))
			return true
		}
	}
}

func (f *filter) foresee(hash uint64) {
	if b := f.now.Load(); b != nil {
		prefetch.Line(unsafe.Pointer(unsafe.SliceData(b.block(hash))))
	}
}
