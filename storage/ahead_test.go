package storage

import "testing"

// Pace grows where reading ahead came too late, up to a limit, and begins anew for another collection.
func TestPace(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	var tx Txn
	must(t, s.Update(&tx, step(func() error {
		for _, q := range []struct {
			collection uint64
			late       bool
			want       int
		}{{7, true, 1}, {7, false, 1}, {7, true, 2}, {7, true, 4}, {7, false, 4}, {7, true, 8}, {7, true, mostPace}, {8, true, 1}, {7, false, 1}} {
			if pace, free := tx.Pace(q.collection, q.late); pace != q.want || !free {
				t.Errorf("collection %d, late %v: pace %d, free %v; want %d", q.collection, q.late, pace, free, q.want)
			}
		}
		s.ahead.busy.Store(true)
		defer s.ahead.busy.Store(false)
		if _, free := tx.Pace(7, true); free {
			t.Error("nothing is said to be read ahead while something is")
		}
		return nil
	})))
}
