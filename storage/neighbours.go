package storage

import (
	"bytes"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"
)

// Records that lie side by side, as the pages of a string do, are read with one iterator: it costs as much as some Gets, and then little for
// each record.
const (
	neighboursAtLeast = 16
	neighboursGap     = 16 // numbers between two of them at most: each record there costs a step
)

// neighbours returns how many of the first keys lie side by side: they ascend, and differ in a number that is their last four bytes. 1 if so
// few do that each is better read by itself.
func neighbours(keys [][]byte) int {
	n := 1
	for n < len(keys) && sideBySide(keys[n-1], keys[n]) {
		n++
	}
	if n < neighboursAtLeast {
		return 1
	}
	return n
}

func sideBySide(a, b []byte) bool {
	n := len(a) - 4
	if n < 0 || len(b) != len(a) || !bytes.Equal(a[:n], b[:n]) {
		return false
	}
	from, to := binary.BigEndian.Uint32(a[n:]), binary.BigEndian.Uint32(b[n:])
	return from < to && to-from <= neighboursGap
}

// getNeighbours calls each with the newest version of records that lie side by side, value nil if there is none. The data set's lock is not
// held.
func (d *disk) getNeighbours(keys [][]byte, each func(key, value []byte)) (err error) {
	d.inUse.RLock()
	defer d.inUse.RUnlock()
	if d.slow != nil {
		defer d.slow()
	}
	defer d.guard(keys[0], &err)
	d.reads.Add(uint64(len(keys)))
	txn := d.db.NewTransactionAt(newest, false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = commonPrefix(keys[0], keys[len(keys)-1])
	it := txn.NewIterator(o)
	defer it.Close()
	it.Seek(keys[0])
	for _, key := range keys {
		for it.Valid() && bytes.Compare(it.Item().Key(), key) < 0 {
			it.Next()
		}
		var value []byte
		if it.Valid() && bytes.Equal(it.Item().Key(), key) {
			if value, err = d.valueOf(it.Item(), key, newest); err != nil {
				return err
			}
		}
		each(key, value)
	}
	return nil
}
