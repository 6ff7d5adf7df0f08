package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whoever writes sees what is there, and goes on seeing it to the end of the round: whether a record comes from a generation, from the memo, from the
// cache or from Badger, and whether it was spliced where it lay or far from there.
func TestWritersReadAndSplice(t *testing.T) {
	dir, l := t.TempDir(), &memLog{}
	s := openStore(t, dir, small(), l)
	rng := rand.New(rand.NewPCG(5, 6))
	const keys = 5 * memoSlots
	model := make(map[string][]byte)
	name := func() []byte { return fmt.Appendf(nil, "m%02d", rng.IntN(keys)) }
	var tx Txn
	for round := range 4000 {
		type seen struct{ key, value, was []byte }
		var all []seen
		now := make(map[string][]byte)
		err := s.Update(&tx, step(func() error {
			all = all[:0]
			clear(now)
			for range rng.IntN(2 * memoSlots) {
				key := name()
				old, err := tx.Get(key)
				if err != nil {
					return err
				}
				want, changed := now[string(key)]
				if !changed {
					want = model[string(key)]
				}
				if !bytes.Equal(old, want) {
					t.Fatalf("round %d: %s is %q, should be %q", round, key, old, want)
				}
				all = append(all, seen{key, old, bytes.Clone(old)})
				switch n := rng.IntN(10); {
				case n < 5:
				case n == 5:
					tx.Delete(key)
					now[string(key)] = nil
				case old == nil || n == 6:
					now[string(key)] = random(rng, 1+rng.IntN(600))
					tx.Put(key, now[string(key)])
				default:
					at := rng.IntN(len(old) + 1)
					removed := rng.IntN(min(len(old)-at, 40) + 1)
					inserted := random(rng, 1+rng.IntN(40))
					now[string(key)] = slices.Replace(bytes.Clone(old), at, at+removed, inserted...)
					tx.Splice(key, old, at, removed, inserted)
				}
			}
			for _, a := range all {
				if !bytes.Equal(a.value, a.was) {
					t.Fatalf("round %d: what was read of %s has changed under its reader", round, a.key)
				}
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range now {
			model[key] = value
		}
		switch rng.IntN(100) {
		case 0, 1, 2:
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		case 3:
			s.DropCache()
		case 4:
			s = reopen(t, s, dir, l)
		}
	}
	for key, value := range model {
		if got := get(t, s, key); got != string(value) {
			t.Errorf("%s is %q, should be %q", key, got, value)
		}
	}
}
