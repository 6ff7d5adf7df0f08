package compaction

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"sett/storage"
)

// A node that takes over a copy has the dead with it, reclaimed by halves perhaps, and gets rid of all of that, whenever the copy was made; of what lives it
// loses nothing, though its own data had dead under the same ids, which it was about to remove.
func TestReclaimAfterACopy(t *testing.T) {
	for stage := range 6 {
		t.Run(fmt.Sprint("after ", stage, " runs"), func(t *testing.T) {
			leader := open(t, t.TempDir(), &memoryLog{})
			leader.put(1, 2, 3, 4)
			leader.kill(reclaimable, 1, 3)
			leader.update(func(tx *storage.Txn) {
				for n := range 300 {
					tx.Put(append(key('s', 9), byte(n>>8), byte(n)), []byte("dead"))
					tx.Put(append(key('s', 10), byte(n>>8), byte(n)), []byte("living"))
					value := []byte("v")
					if n < 3 {
						value = binary.BigEndian.AppendUint64(nil, 100+uint64(n))
						tx.Put(append(key('s', 100+uint64(n)), 1), []byte("owned"))
					}
					tx.Put(fmt.Appendf(key('m', 7), "%06d", n), value)
					tx.Put(fmt.Appendf(key('m', 8), "%06d", n), []byte("living"))
				}
				tx.Put(deadKey(deadCollection, 9), []byte{reclaimable})
				tx.Put(deadKey(deadKeyspace, 7), []byte{reclaimable})
			})
			leader.settled()
			for range stage {
				leader.must(leader.keeper.exclusively(func() error { return leader.keeper.reclaim(true) }))
				leader.settled()
			}
			follower := open(t, t.TempDir(), &memoryLog{})
			follower.put(1, 2)
			follower.kill(reclaimable, 2, 4)
			follower.update(func(tx *storage.Txn) {
				tx.Put(append(key('s', 10), 1), []byte("another"))
				tx.Put(deadKey(deadCollection, 10), []byte{reclaimable})
				tx.Put(deadKey(deadKeyspace, 8), []byte{reclaimable})
			})
			follower.settled()
			follower.must(follower.keeper.exclusively(func() error { return follower.keeper.reclaim(true) })) // it remembers what it has cleared
			follower.takeCopy(leader)
			for range 4 {
				follower.must(follower.keeper.Reclaim())
			}
			follower.want("after the copy", "0 dead, 2 headers, 8 chunks, 300 elements")
			if m, notes := follower.count('m'), follower.count('~'); m != 300 || notes > 1 { // a filler
				t.Errorf("%d records and %d notes are left", m, notes)
			}
			follower.DropCache()
			follower.whole(follower.get, 2, 4)
			if value, _ := follower.get(storage.TallyKey(7)); value != nil {
				t.Error("the dead keyspace's counter is left")
			}
		})
	}
}

// takeCopy has a node take over another's data, and evaluate behind them.
func (w *world) takeCopy(from *world) {
	w.t.Helper()
	p := from.Picture()
	defer p.Close()
	var b bytes.Buffer
	w.must(p.Export(context.Background(), &b))
	copied, err := w.NewImport()
	w.must(err)
	defer copied.Discard()
	w.must(copied.Load(&b))
	w.must(w.keeper.Replace(copied))
	w.log.mu.Lock()
	w.log.entries, w.log.trimmed = make([][]byte, p.Point().Index), p.Point().Index
	w.log.mu.Unlock()
	w.Lead(1)
	w.settled()
}
