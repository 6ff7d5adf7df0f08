package storage

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// markerFile lies in Badger's directory: what the log wants to remember of a point that Badger covers. It comes and goes with the data.
const markerFile = "marker"

// SetMarker remembers v beside Badger's data: the log has to know, when it starts, what it may have forgotten. It is durable when this returns.
func (s *Store) SetMarker(v any) error {
	s.disk.inUse.RLock() // not while another directory takes this one's place
	defer s.disk.inUse.RUnlock()
	return writeChecked(s.opts.FS, filepath.Join(s.dir(), markerFile), v)
}

// Marker reads what SetMarker wrote; ok is false if nobody did.
func (s *Store) Marker(v any) (ok bool, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	return readChecked(s.opts.FS, filepath.Join(s.dir(), markerFile), v)
}

// Marker reads what Store.SetMarker wrote, before there is a store.
func (d *Dir) Marker(v any) (ok bool, err error) {
	return readChecked(d.fs, filepath.Join(d.BadgerDir(), markerFile), v)
}

// Replace switches the store to a copy that has been loaded, whatever it held before: recent writes, cache and views end, and the next entry is the
// one behind the copy. The switch itself is one rename: a node that dies before it has the old data, whole, and afterwards the new.
//
// The log calls it as it calls Apply. Nobody may be at work on Badger to give space back: what was found dead in the old data need not be so
// in the new.
func (s *Store) Replace(i *Import) error {
	invariant(i.whole && i.s == s, "replacing the data by a copy that is not whole")
	invariant(s.reclaim.waiting.Load() == nil, "replacing the data while something is being removed from them")
	s.views.end() // those who walk let go of Badger earlier
	s.views.endPictures()
	s.disk.inUse.Lock()
	defer s.disk.inUse.Unlock()
	s.applying.Lock()
	defer s.applying.Unlock()
	s.yield("the data were replaced by a copy of another node's")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	old := s.dir()
	if err := s.switchTo(i); err != nil {
		s.opts.Fatal(fmt.Errorf("switching to a copy of another node's data: %w", err))
		return err
	}
	s.opts.Logger.Info("the data are those of another node now", "dir", i.dir, "index", i.at.Index, "term", i.at.Chain.Term)
	s.leftovers.Go(func() {
		if err := removeAll(s.opts.FS, old); err != nil {
			s.opts.Logger.Warn("the old data stay on the disk until the next start", "dir", old, "err", err)
		}
	})
	return nil
}

// switchTo is Replace with everything locked.
func (s *Store) switchTo(i *Import) error {
	if damage := s.Damage(); damage != "" {
		// Badger would wait for ever for a lock that a damaged read has kept (see closeBadger). The next start finds the new data.
		if err := s.data.setCurrent(i.name); err != nil {
			return err
		}
		return fmt.Errorf("the old data are damaged (%s) and cannot be let go of: start the server again", damage)
	}
	if err := s.closeBadger(false); err != nil {
		return err
	}
	s.retired.Add(1) // what was read before goes into the cache no more
	s.views.end()
	s.views.endPictures()
	s.cache.reset()
	s.filter.forget()
	s.deletions.reset()
	s.held, s.replayTo = s.held[:0], 0
	s.setDir(i.dir)
	if err := s.openBadger(); err != nil {
		return err
	}
	if err := s.data.setCurrent(i.name); err != nil {
		return err
	}
	invariant(s.applied == i.at, "the copy is of entry %v, the data are of %v", i.at, s.applied)
	close(s.flush.flushed) // whoever waited for recent writes: there are none
	s.flush.flushed = make(chan struct{})
	s.commit(s.pos)
	if s.OnYield != nil {
		s.OnYield()
	}
	return nil
}

// setCurrent names the Badger directory in use.
func (d *Dir) setCurrent(name string) error {
	if err := writeChecked(d.fs, d.file(currentFile), currentRecord{name}); err != nil {
		return err
	}
	d.current = name
	return nil
}

const badgerPrefix = "badger-"

// badgerNumber is the number in the name of a Badger directory.
func badgerNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, badgerPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

func nextBadgerDir(name string) string {
	n, _ := badgerNumber(name)
	return badgerPrefix + strconv.FormatUint(n+1, 10)
}

// removeLeftovers removes the Badger directories that nobody names: a copy that was not loaded to its end, or data that one has replaced.
func (d *Dir) removeLeftovers() error {
	diverged, err := d.readDiverged()
	if err != nil {
		return err
	}
	names, err := d.fs.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := badgerNumber(name); !ok || name == d.current || name == diverged.Aside {
			continue
		}
		if err := removeAll(d.fs, d.file(name)); err != nil {
			return err
		}
	}
	return nil
}
