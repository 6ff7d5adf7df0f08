package wal

import (
	"errors"
	"fmt"
	"io"
)

// scanBytes is how much of the log a Scan reads at a time, beside what a single larger entry takes.
const scanBytes = 256 << 10

// Read returns an entry, verified. Its data is the caller's.
func (l *Log) Read(index uint64) (Entry, error) {
	entries, err := l.readSome(index, index, 2*pointBytes, nil)
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

// ReadSome returns the entry at index, and those behind it that come with one read of so many bytes, verified. Their data is the caller's.
func (l *Log) ReadSome(index uint64, bytes int) ([]Entry, error) {
	return l.readSome(index, l.Last(), bytes, nil)
}

// Scan calls f for the entries from index to what is the last one now, verified and in order. An entry's data is valid until f returns. f may call
// any method of the log. If entries are trimmed away meanwhile, Scan ends with ErrNoEntry.
func (l *Log) Scan(from uint64, f func(Entry) error) error {
	last := l.Last()
	buf := make([]byte, scanBytes)
	for from <= last {
		entries, err := l.readSome(from, last, len(buf), buf)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := f(e); err != nil {
				return err
			}
		}
		from += uint64(len(entries))
	}
	return nil
}

// readSome returns at least the entry at index and those behind it, up to last, that come with one read of n bytes into buf. The entry may have been
// appended since the caller asked for the last one.
func (l *Log) readSome(index, last uint64, n int, buf []byte) ([]Entry, error) {
	l.mu.Lock()
	r, at, ok := find(l.runs, index)
	err := l.err
	l.mu.Unlock()
	if errors.Is(err, ErrClosed) {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("log: read entry %d: %w", index, ErrNoEntry)
	}
	s := r.seg
	s.pin.RLock()
	defer s.pin.RUnlock()
	if s.gone {
		return nil, fmt.Errorf("log: read entry %d: %w", index, ErrNoEntry)
	}
	for {
		entries, need, err := s.parse(at, index, min(max(index, last), r.last), n, buf)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		// The first entry is larger than the buffer.
		n, buf = need, nil
	}
}

// parse reads n bytes from the place of an entry and returns the entries from first to last in them. If not even one is whole, need is what to read.
func (s *segment) parse(at point, first, last uint64, n int, buf []byte) (entries []Entry, need int, err error) {
	n = int(min(int64(n), s.size-at.offset))
	if buf == nil {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(io.NewSectionReader(s.file, at.offset, int64(n)), buf); err != nil {
		return nil, 0, fmt.Errorf("log: %s at offset %d: %w", segmentName(s.id), at.offset, err)
	}
	damaged := func(off int, index uint64, reason string) error {
		return &DamageError{s.id, at.offset + int64(off), index, reason}
	}
	off := 0
	for index := at.index; index <= last; {
		if off+recordBytes > n {
			if at.offset+int64(n) == s.size && len(entries) == 0 {
				return nil, 0, damaged(off, index, "the segment ends here")
			}
			return entries, n + scanBytes, nil
		}
		r, ok := s.secret.parse(buf[off : off+recordBytes])
		if !ok {
			return nil, 0, damaged(off, index, "the record's header fails its checksum")
		}
		begin, end := off+recordBytes, off+recordBytes+r.length
		if end > n {
			return entries, end, nil
		}
		off += int(r.space())
		if !r.kind.isEntry() {
			continue
		}
		if r.index != index {
			return nil, 0, damaged(begin-recordBytes, index, fmt.Sprintf("the record is that of entry %d", r.index))
		}
		data := buf[begin:end:end]
		if index >= first {
			if s.secret.sum(data) != r.dataSum {
				return nil, 0, damaged(begin-recordBytes, index, "the entry's data fails its checksum")
			}
			entries = append(entries, Entry{r.index, r.term, r.kind.entry(), data})
		}
		index++
	}
	return entries, 0, nil
}
