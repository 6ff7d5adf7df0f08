package wal

import (
	"errors"
	"fmt"
)

// prepareSegments is the goroutine that makes segments before they are needed.
func (l *Log) prepareSegments() {
	defer l.preparer.Done()
	for {
		l.mu.Lock()
		for l.err == nil && !l.wanted {
			l.preparing.Wait()
		}
		dead := l.err != nil
		l.mu.Unlock()
		if dead {
			return
		}
		l.prepare()
	}
}

// prepare makes one segment, if there is none yet.
func (l *Log) prepare() {
	l.shaping.Lock()
	defer l.shaping.Unlock()
	l.mu.Lock()
	h := header{id: l.lastID + 1, size: l.o.SegmentBytes, base: l.next}
	needed, written := len(l.prepared) == 0 && l.err == nil, !l.allocates
	l.mu.Unlock()
	var s *segment
	var err error
	if needed {
		s, err = l.o.create(h, written)
	}
	l.prepareDone(s, err)
}

// AllocateOnly says whether new segments are only allocated: half the bytes to write, but each first fsync of a page has to note that it is in use.
// It is for logs whose fsyncs are few.
func (l *Log) AllocateOnly(only bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allocates = only
}

// Reserve makes sure that there is a prepared segment: that appends have room again after one was refused.
func (l *Log) Reserve() error {
	l.prepare()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return l.err
	case len(l.prepared) == 0:
		return l.prepareErr
	}
	return nil
}

// prepareDone hands out the result of an attempt. Log.shaping is held.
func (l *Log) prepareDone(s *segment, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = false
	l.tries++
	l.prepareErr = err
	if err != nil {
		l.prepareErr = fmt.Errorf("prepare a segment: %w", err)
	}
	if s != nil {
		l.lastID = s.id
		l.prepared = append(l.prepared, s)
		l.metrics.Prepared++
	}
	l.preparing.Broadcast()
}

// TrimPrefix lets go of entries up to index, as far as they fill whole segments. The last segment with a synced record always stays: a log that
// ever had one is then never without, and its loss is seen.
func (l *Log) TrimPrefix(upTo uint64) error {
	l.shaping.Lock()
	defer l.shaping.Unlock()
	for {
		s, recycle, err := l.trimmable(upTo)
		if s == nil || err != nil {
			return err
		}
		if err := l.drop(s, recycle); err != nil {
			return fmt.Errorf("log: trim: %w", err)
		}
		if !recycle {
			continue
		}
		if err := l.recycle(s); err != nil {
			return fmt.Errorf("log: recycle a segment: %w", err)
		}
	}
}

// trimmable returns the oldest segment if it may go, and whether it is of use as a prepared one.
func (l *Log) trimmable(upTo uint64) (s *segment, recycle bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, false, l.err
	}
	if len(l.segs) < 2 || l.segs[1].first > l.syncedNumber {
		return nil, false, nil
	}
	s = l.segs[0]
	for _, r := range l.runs {
		if r.seg == s && r.last > upTo {
			return nil, false, nil
		}
	}
	return s, s.size == l.o.SegmentBytes && len(l.prepared) < maxPrepared, nil
}

// drop takes the oldest segment's name away, durably, before anybody sees it gone. With rename the file stays, under the temporary name.
func (l *Log) drop(s *segment, rename bool) error {
	s.pin.Lock()
	defer s.pin.Unlock()
	var err error
	if rename {
		err = l.o.FS.Rename(l.o.path(s.id), l.o.temp())
	} else {
		err = l.o.FS.Remove(l.o.path(s.id))
	}
	if err != nil {
		return err
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.die(err)
	}
	s.gone = true
	l.mu.Lock()
	l.segs = l.segs[1:]
	for len(l.runs) > 0 && l.runs[0].seg == s {
		l.runs = l.runs[1:]
	}
	l.mu.Unlock()
	if rename {
		return nil
	}
	return s.file.Close()
}

// recycle makes a dropped segment the newest prepared one.
func (l *Log) recycle(s *segment) error {
	l.mu.Lock()
	h := header{id: l.lastID + 1, reuse: s.reuse + 1, size: s.size, base: l.next}
	l.mu.Unlock()
	fresh, err := l.o.adopt(s.file, h)
	if err != nil {
		s.file.Close()
		return errors.Join(err, l.o.removeTemp())
	}
	l.prepareDone(fresh, nil)
	l.mu.Lock()
	l.metrics.Prepared--
	l.metrics.Recycled++
	l.mu.Unlock()
	return nil
}

// BytesBehind is about how many bytes of segments lie behind an entry; of one that is gone it is all that there are.
func (l *Log) BytesBehind(index uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index+1 >= l.next {
		return 0
	}
	sum, from := int64(0), l.segs[0].id
	if r, at, ok := find(l.runs, index+1); ok {
		sum, from = -at.offset, r.seg.id
	}
	for i, s := range l.segs {
		switch {
		case s.id < from:
		case i == len(l.segs)-1:
			sum += l.end
		default:
			sum += s.size
		}
	}
	return sum
}

// Behind returns the highest index with at least so many bytes of segments behind it, 0 if there is none: what may go if so much is to stay.
func (l *Log) Behind(bytes int64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.segs) - 1
	for kept := l.end; at > 0 && kept < bytes; at-- {
		kept += l.segs[at-1].size
	}
	if at < 0 || len(l.runs) == 0 {
		return 0
	}
	index := l.runs[0].first - 1
	for _, r := range l.runs {
		if r.seg.id < l.segs[at].id {
			index = r.last
		}
	}
	return index
}
