package storage

import "sync/atomic"

// ahead is a goroutine that reads records into the cache before commands ask for them. Whoever takes elements off the end of a long list knows which
// come next; a command that has to wait for each of them is given up, and leaves the event loop with its connection.
type ahead struct {
	busy   atomic.Bool   // somebody makes up a request, or it is being served: one at a time
	wanted chan [][]byte // of one request: who made it up does not wait
	of     uint64        // what was read ahead of last, as Pace knows it, and its pace; guarded by the data set's lock
	pace   int
	stop   chan struct{}
	done   chan struct{}
}

func (a *ahead) init() {
	a.wanted, a.stop, a.done = make(chan [][]byte, 1), make(chan struct{}), make(chan struct{})
}

// Has tells whether Get would find the record in memory, or know that there is none.
func (t *Txn) Has(key []byte) bool {
	hash := t.s.hash(key)
	return t.find(hash, key) >= 0 || t.Reader.has(hash, key)
}

// Ahead has records read into the cache by and by that commands will ask for soon. Nobody waits, and nobody can rely on it: keys is called if
// nothing else is being read, and what it returns belongs to the store. Keys that lie side by side are better given in ascending order.
func (r *Reader) Ahead(keys func() [][]byte) {
	if a := &r.s.ahead; a.busy.CompareAndSwap(false, true) {
		a.wanted <- keys()
	}
}

// mostPace is how many times as much is read ahead at a time where that came too late before.
const mostPace = 8

// Pace tells how much should be read ahead of a collection: 1, or more if it was not enough the last time. late says that a command came to what had not
// been read yet. free is false if something is being read ahead already: Ahead would do nothing.
func (t *Txn) Pace(collection uint64, late bool) (pace int, free bool) {
	a := &t.s.ahead
	switch {
	case a.busy.Load():
		return 1, false
	case a.of != collection:
		a.of, a.pace = collection, 1
	case late:
		a.pace = min(2*a.pace, mostPace)
	}
	return a.pace, true
}

// ReadingAhead tells whether records are being read ahead at this moment.
func (s *Store) ReadingAhead() bool { return s.ahead.busy.Load() }

func (s *Store) aheadLoop() {
	defer close(s.ahead.done)
	for {
		select {
		case <-s.ahead.stop:
			return
		case keys := <-s.ahead.wanted:
			s.readAhead(keys)
			s.ahead.busy.Store(false)
		}
	}
}

// aheadAtOnce is how many neighbours are read without looking whether a generation was retired: then they are read again.
const aheadAtOnce = 32

// readAhead reads what the cache lacks. What a generation has of these records is found before what the cache has. An error is left to the command
// that will meet it.
func (s *Store) readAhead(keys [][]byte) {
	missing := keys[:0]
	for _, key := range keys {
		if !s.cache.has(s.hash(key), key) {
			missing = append(missing, key)
		}
	}
	s.stats.Fetched.Add(uint64(len(missing)))
	for n := 0; len(missing) > 0; missing = missing[n:] {
		n = min(neighbours(missing), aheadAtOnce)
		kept, err := s.fetch(missing[:n])
		if !kept && err == nil { // once more: who finds some of what it asked for in memory takes it that all is
			_, err = s.fetch(missing[:n])
		}
		if err != nil {
			return
		}
	}
}

// fetch brings neighbours, or one record, into the cache. It obeys the cache's rule as a command does: if a generation was retired after it had asked
// Badger, what came is not kept.
func (s *Store) fetch(keys [][]byte) (kept bool, err error) {
	retired := s.retired.Load()
	fill := func(key, value []byte) { s.cache.fill(s.hash(key), key, value, retired, &s.retired) }
	if len(keys) > 1 {
		s.gate.enter(true)
		err = s.disk.getNeighbours(keys, fill)
		s.gate.leave()
	} else {
		var value []byte
		if value, err = s.disk.get(keys[0], newest); err == nil {
			fill(keys[0], value)
		}
	}
	return s.retired.Load() == retired, err
}
