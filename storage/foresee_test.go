package storage

import (
	"fmt"
	"testing"
	"time"
)

// TestForesee: what is fetched ahead is what a lookup finds, wherever it lies; what is nowhere does no harm.
func TestForesee(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{FlushInterval: time.Hour}, &memLog{})
	key := func(i int) []byte { return fmt.Appendf(nil, "m%08d", i) }
	const each = 500
	for i := range each {
		set(t, s, string(key(i)), "old")
	}
	must(t, s.Flush())
	for i := range each {
		set(t, s, string(key(each+i)), "recent")
	}
	var r Reader
	var hashes []uint64
	must(t, s.Read(&r, step(func() error {
		for i := range 3 * each {
			hash := r.Hash(key(i))
			hashes = append(hashes, hash)
			if i < each {
				if !s.cache.foreseeRecord(hash) {
					t.Errorf("%s is not foreseen in the cache", key(i))
				}
				continue
			}
			g := s.active()
			if e := g.guess(uint32(hash)); i < 2*each && (e == 0 || string(entryKey(g.pieces().at(e))) != string(key(i))) {
				t.Errorf("%s is not foreseen in its generation", key(i)) // 500 hashes of 32 bits are different ones
			}
		}
		r.Foresee(hashes)
		r.Foresee(nil)
		return nil
	})))
}
