package storage

import "bytes"

// observed is the system record that somebody wants to hear of.
type observed struct {
	key  []byte // nil: there is none
	tell func(value []byte)
}

// Observe has tell called with a system record's value, nil if there is none: now, and from then on each time that it has another one, or may have,
// because what was evaluated is undone or other data have taken the place of these. It is called under the lock, in the order of the batches, so that
// what it changes holds for the batches that follow; it must not use the store. Called once.
func (s *Store) Observe(key []byte, tell func(value []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = observed{key, tell}
	s.tellObserver()
}

func (o *observed) is(key []byte) bool { return key[0] == '!' && bytes.Equal(key, o.key) }

// tellObserver says what the record is at the moment. The lock is held.
func (s *Store) tellObserver() {
	if s.observed.key == nil {
		return
	}
	r := Reader{s: s}
	value, _ := r.recent(s.hash(s.observed.key), s.observed.key)
	s.observed.tell(value)
}
