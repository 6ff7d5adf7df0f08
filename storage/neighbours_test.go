package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestNeighbours: what is missed side by side, with gaps, absent records and strangers among it, is what is there, old versions or new.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := rand.New(rand.NewPCG(seed, 0))
	s := openStore(t, t.TempDir(), small(), &memLog{})
	key := func(n int) []byte {
		return binary.BigEndian.AppendUint32([]byte("s\x00\x00\x00\x00\x00\x00\x00\x09\x02"), uint32(n))
	}
	want := map[string]string{}
	for range 3 {
		for range 400 {
			n := d.IntN(1500)
			if d.IntN(5) == 0 {
				del(t, s, string(key(n)))
				delete(want, string(key(n)))
			} else {
				want[string(key(n))] = fmt.Sprint(n, ".", d.IntN(1000))
				set(t, s, string(key(n)), want[string(key(n))])
			}
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		var keys [][]byte
		for n := d.IntN(100); n < 1500; n += 1 + d.IntN(1+d.IntN(12)) {
			keys = append(keys, key(n))
			if d.IntN(60) == 0 {
				keys = append(keys, []byte("stranger"), key(d.IntN(1500)))
			}
		}
		s.DropCache()
		var r Reader
		values := make([][]byte, len(keys))
		err := s.Read(&r, step(func() error {
			if err := r.Need(keys...); err != nil {
				return err
			}
			for i, key := range keys {
				value, err := r.Get(key)
				if err != nil {
					return err
				}
				values[i] = bytes.Clone(value)
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			if string(values[i]) != want[string(key)] {
				t.Fatalf("%q is %q, want %q", key, values[i], want[string(key)])
			}
		}
	}
}

func TestSideBySide(t *testing.T) {
	keys := func(names ...string) (keys [][]byte) {
		for _, name := range names {
			keys = append(keys, []byte(name))
		}
		return keys
	}
	run := func(n, by int) (keys [][]byte) {
		for i := range n {
			keys = append(keys, binary.BigEndian.AppendUint32([]byte("b"), uint32(i*by)))
		}
		return keys
	}
	for _, c := range []struct {
		keys [][]byte
		want int
	}{
		{keys("a"), 1}, {keys("abc", "abd"), 1}, {run(15, 1), 1}, {run(16, 1), 16}, {run(100, 16), 100}, {run(100, 17), 1},
		{append(run(20, 1), run(20, 1)...), 20}, {append(run(20, 2), []byte("other")), 20}, {slices.Repeat(keys("0000"), 20), 1},
	} {
		if got := neighbours(c.keys); got != c.want {
			t.Errorf("%d of %q, want %d", got, c.keys, c.want)
		}
	}
}
