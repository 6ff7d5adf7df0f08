package storage

import "bytes"

// memo has the records that commands which write found in the cache last, so that the next ones need not copy them again: those that come one
// behind the other look at the same records most often, the leaf that is popped from for one. It is guarded by the data set's lock, held to write.
//
// It obeys the cache's rule, as pins do: what was in no generation stays as it was found until the next one is retired.
type memo struct {
	slots [memoSlots]memoSlot
	round uint64 // counts the rounds of all commands
}

const (
	memoSlots    = 8
	memoMaxBytes = 4 << 10 // of a value
)

type memoSlot struct {
	hash       uint64
	key, value []byte // no key: nothing is known
	retired    uint64
	round      uint64 // the last one that was given the value, and may look at it until it ends
}

// lookup is the Reader's, with the memo between the generations and the cache.
func (t *Txn) lookup(hash uint64, key []byte) (value []byte, ok bool) {
	if value, ok := t.recent(hash, key); ok {
		return value, true
	}
	m := &t.s.memo
	slot := &m.slots[hash>>32%memoSlots]
	if slot.hash == hash && slot.retired == t.retired && bytes.Equal(slot.key, key) {
		slot.round = m.round
		return slot.value[:len(slot.value):len(slot.value)], true
	}
	if slot.round == m.round {
		return t.older(hash, key)
	}
	slot.key = slot.key[:0]
	out, known, absent := t.s.cache.get(hash, key, slot.value[:0])
	switch {
	case !known:
		return t.ruledOutOrPinned(hash, key)
	case absent:
		return nil, true
	case len(out) > memoMaxBytes:
		slot.value = nil
		return out, true
	}
	slot.hash, slot.key, slot.value, slot.retired, slot.round = hash, append(slot.key, key...), out, t.retired, m.round
	return out[:len(out):len(out)], true
}

// forget drops all that is known. The lock is held to write.
func (m *memo) forget() {
	for i := range m.slots {
		m.slots[i].key = m.slots[i].key[:0]
	}
}
