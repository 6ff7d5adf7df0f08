package types

import (
	"bytes"
	"encoding/binary"

	"sett/storage"
)

// A list or a sorted set may have a cap, in its meta record: whatever adds to it drops, in the same batch, what exceeds the cap. A list loses its
// oldest elements, those that are furthest from the end that was pushed onto last; a sorted set its lowest.
//
// The system record !caps lists patterns of names, for the collections that are made by adding elements to a key that is not there, in all databases.
// The first that matches counts:
//
//	cap(uvarint) length(uvarint) pattern · …
var capsKey = []byte("!caps")

// MaxCap is the largest cap.
const MaxCap = 1 << 62

// CapPattern says that collections whose names match get a cap.
type CapPattern struct {
	Pattern []byte
	Cap     int64
}

// CapPatterns returns all of them, in the order in which they are looked at. They point into the record.
func CapPatterns(r Reader) (patterns []CapPattern, err error) {
	record, err := r.Get(capsKey)
	if err != nil {
		return nil, err
	}
	err = eachCapPattern(record, func(p CapPattern) bool {
		patterns = append(patterns, p)
		return true
	})
	return patterns, err
}

// eachCapPattern calls f for the patterns of a record, until it returns false.
func eachCapPattern(record []byte, f func(p CapPattern) bool) error {
	for len(record) > 0 {
		n, size := binary.Uvarint(record)
		length, head := binary.Uvarint(record[max(size, 0):])
		if size <= 0 || head <= 0 || n == 0 || n > MaxCap || length > uint64(len(record)-size-head) {
			return &storage.CorruptError{Key: capsKey, Reason: "patterns of an unknown form"}
		}
		record = record[size+head:]
		if !f(CapPattern{record[:length], int64(n)}) {
			return nil
		}
		record = record[length:]
	}
	return nil
}

// PutCapPattern gives a pattern a cap, or, if that is 0, removes it. A pattern that is there keeps its turn, a new one is the last. A record that would
// exceed the threshold beyond which values are blobs is storage.ErrTooLarge.
func (l *Ledger) PutCapPattern(pattern []byte, n int64) error {
	patterns, err := CapPatterns(l.txn)
	if err != nil {
		return err
	}
	var record []byte
	put := func(p CapPattern) {
		if p.Cap > 0 {
			record = binary.AppendUvarint(binary.AppendUvarint(record, uint64(p.Cap)), uint64(len(p.Pattern)))
			record = append(record, p.Pattern...)
		}
	}
	found := false
	for _, p := range patterns {
		if bytes.Equal(p.Pattern, pattern) {
			p.Cap, found = n, true
		}
		put(p)
	}
	if !found {
		put(CapPattern{pattern, n})
	}
	switch {
	case len(record) > l.options.ThresholdBytes:
		return storage.ErrTooLarge
	case len(record) > 0:
		l.txn.Put(capsKey, record)
	case len(patterns) > 0:
		l.txn.Delete(capsKey)
	}
	return nil
}

// capOfNew is the cap that a collection gets which is made under a name; 0: none.
func (l *Ledger) capOfNew(name []byte) (n int64, err error) {
	record, err := l.txn.Get(capsKey)
	if err != nil || len(record) == 0 {
		return 0, err
	}
	err = eachCapPattern(record, func(p CapPattern) bool {
		if l.options.Matches(p.Pattern, name) {
			n = p.Cap
		}
		return n == 0
	})
	return n, err
}

// Cap is how many elements a collection keeps; 0: all.
func (m *Meta) Cap() int64 {
	if !m.Exists || m.Type == String {
		return 0
	}
	c := m.collection()
	return c.cap
}

// SetCap has a list keep so many elements from now on; 0: all.
func (s *ListValue) SetCap(l *Ledger, n int64) error {
	s.c.cap = n
	return s.trim(l)
}

// trim drops the oldest elements of a list that has grown beyond its cap.
func (s *ListValue) trim(l *Ledger) (err error) {
	if !s.record.Exists && s.record.draft == nil && s.c.cap == 0 {
		if s.c.cap, err = l.capOfNew(s.record.Name); err != nil {
			return err
		}
	}
	over := s.c.count - s.c.cap
	switch {
	case s.c.cap == 0 || over <= 0:
		return nil
	case s.c.newestLast:
		return s.Keep(l, over, s.c.count)
	}
	return s.Keep(l, 0, s.c.cap)
}

// SetCap has a sorted set keep so many members from now on; 0: all. Save drops the others.
func (e ZSetEdit) SetCap(n int64) {
	if e.cap != n {
		e.cap, e.changed = n, true
	}
}

// trim drops the lowest members of a sorted set that has grown beyond its cap.
func (e ZSetEdit) trim() error {
	if e.cap == 0 {
		return nil
	}
	return e.RemoveRange(0, e.count-e.cap)
}
