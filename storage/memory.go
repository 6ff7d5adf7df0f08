package storage

import "sync"

// Memory that is used in no order at all, as the cache's is, costs a miss of the processor's address translation with each access, unless it
// lies in huge pages. Go's heap has none to rely on, so this memory is mapped beside it. GOMEMLIMIT does not count it: Budget.Mapped.

const hugePageBytes = 2 << 20

// mapped is memory beside Go's heap; the zero value is none.
type mapped struct {
	bytes []byte
	whole []byte // as the system knows it; nil: bytes are of Go's heap
}

// mapMemory returns at least n zeroed bytes. They take room when they are first used, a huge page at a time. If the system has no such memory they
// come from Go's heap.
func mapMemory(n int) mapped {
	n = (n + hugePageBytes - 1) &^ (hugePageBytes - 1)
	if m, ok := mapHuge(n); ok {
		return m
	}
	return mapped{bytes: make([]byte, n)}
}

// slab hands out the parts of mapped memory, all of one size, in the order in which they are asked for.
type slab struct {
	mu       sync.Mutex
	memory   mapped
	partSize int
	used     int      // bytes that were handed out once; guarded, as back, by mu
	back     [][]byte // parts that nobody has any more
}

func newSlab(parts, partSize int) *slab {
	return &slab{memory: mapMemory(parts * partSize), partSize: partSize}
}

// take returns a part, with any content. Nobody takes more than newSlab was told.
func (s *slab) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.back); n > 0 {
		part := s.back[n-1]
		s.back = s.back[:n-1]
		return part
	}
	part := s.memory.bytes[s.used : s.used+s.partSize : s.used+s.partSize]
	s.used += s.partSize
	return part
}

// give takes parts back.
func (s *slab) give(parts [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back = append(s.back, parts...)
}
