package storage

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sett/threads"
)

// filter knows of most records that are not in Badger that they are not, so that the first write of a key, and a read of one that does not
// exist, need not ask Badger.
//
// It may say "perhaps" of what is not there and never says "no" of what is: a record is entered before its generation is unlinked, and a
// reader asks the filter after the generations. Deleted records stay in it; when they have become too many it is built anew, from Badger's
// keys, in the background. So it is after a start: until it is built nothing is ruled out.
type filter struct {
	words int
	now   atomic.Pointer[bloom] // nil until the first one is built
	next  atomic.Pointer[bloom] // the one that is being built; nil: none is
	left  atomic.Int64          // records deleted since the present one was begun
	due   chan struct{}
	stop  chan struct{}
	done  sync.WaitGroup
}

func (f *filter) init(bytes int64) {
	f.words = int(max(bytes, 4<<10) / 32 * 8) // whole blocks
	f.due, f.stop = make(chan struct{}, 1), make(chan struct{})
}

// filtered tells whether a record is of a kind that is looked up before it exists.
func filtered(key []byte) bool { return key[0] == 'm' || key[0] == 's' }

// rulesOut tells whether a record is certainly not in Badger.
func (f *filter) rulesOut(hash uint64, key []byte) bool {
	b := f.now.Load()
	return b != nil && filtered(key) && !b.has(hash)
}

// crowded tells whether many records get past it that are not in Badger.
func (f *filter) crowded() bool {
	b := f.now.Load()
	return b == nil || b.fuller(crowdedBits)
}

// enter adds a record that is in Badger now. next comes first: when it is gone again, now is what it was.
func (f *filter) enter(hash uint64) {
	if b := f.next.Load(); b != nil {
		b.add(hash)
	}
	if b := f.now.Load(); b != nil {
		b.add(hash)
	}
}

// leave counts a record that is in Badger no longer.
func (f *filter) leave() { f.left.Add(1) }

// remind has the filter built anew if that is worth it. The flusher calls it.
func (f *filter) remind() {
	if b := f.now.Load(); b != nil && b.fuller(fullBits) && f.left.Load() > b.added.Load()/2 {
		select {
		case f.due <- struct{}{}:
		default:
		}
	}
}

// filterLoop is the goroutine that builds filters.
func (s *Store) filterLoop() {
	threads.GiveWay()
	f := &s.filter
	defer f.done.Done()
	for {
		s.buildFilter()
		select {
		case <-f.stop:
			return
		case <-f.due:
		}
	}
}

func (s *Store) buildFilter() {
	f := &s.filter
	b := newBloom(f.words)
	f.left.Store(0)
	f.next.Store(b)
	defer f.next.CompareAndSwap(b, nil)
	start := time.Now()
	for _, kind := range []byte{'m', 's'} {
		for from := []byte{kind}; from != nil; {
			var err error
			if from, err = s.enterSome(b, from); errors.Is(err, ErrReplaced) {
				return // it is due again
			} else if err != nil {
				s.opts.Logger.Warn("the filter of absent keys cannot be built: reads of them ask Badger", "err", err)
				return
			}
			select {
			case <-f.stop:
				return
			case <-time.After(time.Since(start) / filterPause):
			}
			start = time.Now()
		}
	}
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	if f.next.Load() == b { // else it is of data that are there no longer
		f.now.Store(b)
	}
}

// forget begins anew, with other data. disk.inUse is held, alone.
func (f *filter) forget() {
	f.now.Store(nil)
	f.next.Store(nil)
	select {
	case f.due <- struct{}{}:
	default:
	}
}

const (
	filterStep  = 10_000 // keys that are read from Badger at a time
	filterPause = 2      // the part of the time of each step that is rested after it
)

// enterSome enters keys of the kind that from begins with, and returns where to go on, nil at the end.
func (s *Store) enterSome(b *bloom, from []byte) (next []byte, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	if s.filter.next.Load() != b {
		return nil, ErrReplaced
	}
	defer s.disk.guard(from, &err)
	txn := s.disk.db.NewTransactionAt(newest, false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.Prefix = false, from[:1]
	it := txn.NewIterator(o)
	defer it.Close()
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		if n++; n > filterStep {
			return it.Item().KeyCopy(nil), nil
		}
		b.add(s.hash(it.Item().Key()))
	}
	return nil, nil
}

// bloom is a Bloom filter of blocks of 256 bits, in each of which a hash sets one bit in each of eight words of 32 bits: one cache line is
// touched, whatever the answer (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007; the shape is Parquet's).
// With 10 bits for each record it is wrong about 1 % of the absent ones.
type bloom struct {
	words []uint32
	added atomic.Int64 // records that set a bit
}

func newBloom(words int) *bloom { return &bloom{words: make([]uint32, words)} }

const blockWords = 8

var salts = [blockWords]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

func (b *bloom) block(hash uint64) []uint32 {
	i := int(hash>>32*uint64(len(b.words)/blockWords)>>32) * blockWords
	return b.words[i : i+blockWords : i+blockWords]
}

func (b *bloom) add(hash uint64) {
	block, fresh := b.block(hash), false
	for i := range block {
		bit := uint32(1) << (uint32(hash) * salts[i] >> 27)
		if atomic.LoadUint32(&block[i])&bit == 0 {
			atomic.OrUint32(&block[i], bit)
			fresh = true
		}
	}
	if fresh {
		b.added.Add(1)
	}
}

func (b *bloom) has(hash uint64) bool {
	block := b.block(hash)
	for i := range block {
		if atomic.LoadUint32(&block[i])>>(uint32(hash)*salts[i]>>27)&1 == 0 {
			return false
		}
	}
	return true
}

const (
	fullBits    = 10 // for each record: it is wrong often enough to be worth another try when some have left
	crowdedBits = 6  // … about one of twelve absent ones
)

// fuller tells whether it has fewer bits for each record.
func (b *bloom) fuller(bitsEach int64) bool { return b.added.Load() > int64(len(b.words))*32/bitsEach }
