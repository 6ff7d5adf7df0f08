package wal

import (
	"errors"
	"fmt"
	"time"
)

// copyBytes is the largest data that is copied to stand beside others in one write.
const copyBytes = 64 << 10

// batch is the records of one Append on their way into the segments. It is kept to be used again.
type batch struct {
	writes []write
	places []place    // of the records
	taken  []*segment // taken from the prepared ones
	arena  []byte     // record headers and small data; never moved while writes point into it
	seg    *segment
	end    int64
	filled int64 // zeros behind the end, in the last write
}

// write is one system call.
type write struct {
	seg    *segment
	offset int64
	b      []byte
	grows  bool // b is the end of the arena: the next record may join
}

type place struct {
	seg    *segment
	offset int64
}

// keepArenaBytes is how much memory a large batch may leave behind.
const keepArenaBytes = 1 << 20

// Append adds entries; their indexes continue the log's. After an error none of them is in the log, now or later, unless Err says that the log is
// dead: then it is unknown. Entries survive a power cut once Sync has returned.
func (l *Log) Append(entries ...Entry) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	next, _, err := l.position()
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e.Index != next+uint64(i) {
			return fmt.Errorf("log: entry %d cannot be added, entry %d comes next", e.Index, next+uint64(i))
		}
		if e.Kind > MaxKind {
			return fmt.Errorf("log: entry %d is of kind %d, the highest is %d", e.Index, e.Kind, MaxKind)
		}
		if len(e.Data) > MaxDataBytes {
			return fmt.Errorf("log: entry %d has %d bytes, more than %d", e.Index, len(e.Data), MaxDataBytes)
		}
	}
	return l.add(kindEntry, entries)
}

// TrimSuffix takes away all entries from index on, durably; the log goes on with this index.
func (l *Log) TrimSuffix(from uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	next, first, err := l.position()
	switch {
	case err != nil:
		return err
	case from == next:
		return nil
	case from > next || from < first:
		return fmt.Errorf("log: cannot trim from entry %d on, the log has entries %d to %d", from, first, next-1)
	}
	if err := l.add(kindTrim, []Entry{{Index: from}}); err != nil {
		return err
	}
	return l.Sync()
}

// Reset takes away all entries, durably; the log goes on with index next, whatever its last one was.
func (l *Log) Reset(next uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if _, _, err := l.position(); err != nil {
		return err
	}
	if err := l.add(kindReset, []Entry{{Index: next}}); err != nil {
		return err
	}
	return l.Sync()
}

func (l *Log) position() (next, first uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = l.next
	if len(l.runs) > 0 {
		first = l.runs[0].first
	}
	return l.next, first, l.err
}

// add writes records: first it gets all the room they need, so that a full disk refuses them before anything is written.
func (l *Log) add(k kind, entries []Entry) error {
	b := &l.batch
	defer func() { clear(b.writes) }() // they point to the callers' data
	start := time.Now()
	err := l.layOut(b, k, entries)
	if err == nil {
		b.fillPage()
		err = l.write(b)
	}
	if err != nil {
		l.giveBack(b.taken)
		return fmt.Errorf("log: append: %w", err)
	}
	l.publish(b, k, entries)
	l.o.Took(TookAppend, time.Since(start))
	return nil
}

// layOut decides where each record goes.
func (l *Log) layOut(b *batch, k kind, entries []Entry) error {
	l.mu.Lock()
	number, mark := l.nextNumber, l.syncedNumber
	b.seg, b.end = l.segs[len(l.segs)-1], l.end
	l.mu.Unlock()
	b.writes, b.places, b.taken = b.writes[:0], b.places[:0], b.taken[:0]
	b.reserve(entries)
	for i, e := range entries {
		need := space(len(e.Data))
		if b.end+need > b.seg.size && b.end > headerBytes {
			s, err := l.takePrepared()
			if err != nil {
				return err
			}
			b.taken = append(b.taken, s)
			b.seg, b.end = s, headerBytes
		}
		// A segment without a record grows: one that were left empty would look as if its records had been lost.
		if b.end+need > b.seg.size {
			if err := l.grow(b.seg, b.end+need); err != nil {
				return err
			}
		}
		b.places = append(b.places, place{b.seg, b.end})
		r := record{k, len(e.Data), b.seg.secret.sum(e.Data), number + uint64(i), e.Index, e.Term, mark}
		if k == kindEntry {
			r.kind = entryKind(e.Kind)
		}
		b.put(r, e.Data)
	}
	return nil
}

func (b *batch) reserve(entries []Entry) {
	n := pageBytes // for fillPage
	for _, e := range entries {
		n += recordBytes
		if len(e.Data) <= copyBytes {
			n += len(e.Data) + 7
		}
	}
	if cap(b.arena) < n || cap(b.arena) > keepArenaBytes && n <= keepArenaBytes {
		b.arena = make([]byte, 0, n)
	}
	b.arena = b.arena[:0]
}

// put lays a record behind the one before, in the same write if it can.
func (b *batch) put(r record, data []byte) {
	n := len(b.arena)
	b.arena = b.arena[:n+recordBytes]
	b.seg.secret.put(b.arena[n:], r)
	large := len(data) > copyBytes
	if !large {
		b.arena = append(b.arena, data...)
		for len(b.arena)%8 != 0 {
			b.arena = append(b.arena, 0)
		}
	}
	if w := b.last(); w != nil && w.grows && w.seg == b.seg {
		w.b = w.b[:len(w.b)+len(b.arena)-n]
	} else {
		b.writes = append(b.writes, write{b.seg, b.end, b.arena[n:], true})
	}
	if large {
		b.writes = append(b.writes, write{b.seg, b.end + recordBytes, data, false})
	}
	b.end += r.space()
}

// fillPage adds zeros up to the end of the page that the batch ends in, if it is the first in it. The kernel would read from the disk what it is not
// given of a page that is not in memory: those of a segment that was used before are not, or no longer.
func (b *batch) fillPage() {
	b.filled = 0
	w := b.last()
	if w == nil || !w.grows {
		return // data that is not ours to add to
	}
	rest := -b.end & (pageBytes - 1)
	if page := b.end + rest - pageBytes; page >= w.offset && b.end+rest <= b.seg.size {
		b.filled, b.arena = rest, append(b.arena, zeros[:rest]...)
		w.b = w.b[:len(w.b)+int(rest)]
	}
}

var zeros [pageBytes]byte

func (b *batch) last() *write {
	if len(b.writes) == 0 {
		return nil
	}
	return &b.writes[len(b.writes)-1]
}

// write writes the batch. What it has written of one that fails it wipes.
func (l *Log) write(b *batch) error {
	for i, w := range b.writes {
		if _, err := w.seg.file.WriteAt(w.b, w.offset); err != nil {
			if werr := wipe(b.writes[:i+1]); werr != nil {
				return l.die(fmt.Errorf("%w; and it could not be taken back: %w", err, werr))
			}
			return err
		}
	}
	return nil
}

func wipe(writes []write) error {
	for _, w := range writes {
		// The space was there and stays: this fails only if the device does. zero syncs.
		if err := zero(w.seg.file, w.offset, w.offset+int64(len(w.b))); err != nil {
			return err
		}
	}
	return nil
}

// publish makes the records part of the log.
func (l *Log) publish(b *batch, k kind, entries []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = append(l.segs, b.taken...)
	for i, p := range b.places {
		if p.seg.first == 0 {
			p.seg.first = l.nextNumber
		}
		p.seg.dirty = true
		l.nextNumber++
		switch k {
		case kindTrim:
			l.runs, l.next = cut(l.runs, entries[i].Index), entries[i].Index
			continue
		case kindReset:
			l.runs, l.next = nil, entries[i].Index
			continue
		}
		l.runs = note(l.runs, p.seg, p.offset, entries[i].Index)
		l.next++
		l.metrics.Entries++
	}
	for _, w := range b.writes {
		l.metrics.Bytes += uint64(len(w.b))
	}
	l.metrics.Bytes -= uint64(b.filled)
	l.metrics.Writes += uint64(len(b.writes))
	l.end = b.end
	if len(b.taken) > 0 && len(l.prepared) == 0 {
		l.wanted = true
		l.preparing.Broadcast()
	}
}

// grow makes a segment without records large enough. Log.writing is held.
func (l *Log) grow(s *segment, size int64) error {
	err := s.grow((size+pageBytes-1)&^(pageBytes-1), l.o.Seed)
	if errors.Is(err, errHalfBegun) {
		return l.die(err)
	}
	return err
}

// takePrepared gets the next prepared segment, and waits for one if there is none. Log.writing is held.
func (l *Log) takePrepared() (*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for tries := l.tries; len(l.prepared) == 0; {
		if l.err != nil {
			return nil, l.err
		}
		if l.tries > tries && l.prepareErr != nil {
			return nil, l.prepareErr
		}
		if l.o.inline {
			l.mu.Unlock()
			l.prepare()
			l.mu.Lock()
			continue
		}
		l.wanted = true
		l.preparing.Broadcast()
		l.preparing.Wait()
	}
	s := l.prepared[0]
	l.prepared = l.prepared[1:]
	return s, nil
}

// giveBack returns segments in which nothing is to their place before the other prepared ones.
func (l *Log) giveBack(taken []*segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prepared = append(append([]*segment(nil), taken...), l.prepared...)
}
