package storage

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// edited is a value with a piece of it exchanged; a short one is made long first.
func edited(rng *rand.Rand, value string) string {
	if len(value) < 2*patchMinBytes {
		value += string(random(rng, 2*patchMinBytes))
	}
	at := rng.IntN(len(value) + 1)
	end := at + rng.IntN(min(len(value)-at, 20)+1)
	if len(value) > 600 {
		end = len(value) // it has grown enough
	}
	return value[:at] + string(random(rng, rng.IntN(20)+1)) + value[end:]
}

// random bytes are of few kinds, so that pieces of values look alike.
func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(rng.IntN(2))
	}
	return b
}

func TestPatchMakesTheValue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	patches := make([]int, 4) // how many changes took 0, 1, 2, more
	for range 20_000 {
		old := random(rng, rng.IntN(200))
		value := []byte(edited(rng, string(old)))
		switch rng.IntN(4) {
		case 0:
			value = random(rng, 1+rng.IntN(200))
		case 1: // of the same length, and different in places
			for value = bytes.Clone(old); len(value) == 0; {
				value = random(rng, rng.IntN(200))
			}
			for range min(len(value), rng.IntN(4)) {
				value[rng.IntN(len(value))]++
			}
		}
		buf := appendChange(nil, []byte("k"), old, value)
		if put := appendPut(nil, []byte("k"), value); len(buf) > len(put) {
			t.Fatalf("the change of %q to %q takes %d bytes, a put %d", old, value, len(buf), len(put))
		}
		got, n := old, 0
		err := effects(buf, func(e logged) (err error) {
			if e.patch == nil {
				got = e.value
				return nil
			}
			n++
			got, err = e.patch.apply(got)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, value) {
			t.Fatalf("%q to %q: the log says %q", old, value, got)
		}
		patches[min(n, 3)]++
	}
	for n, met := range patches {
		if met < 500 {
			t.Errorf("%d changes of %d patches", met, n)
		}
	}
}

func TestPatchNeedsItsImage(t *testing.T) {
	image := random(rand.New(rand.NewPCG(1, 2)), 100)
	for _, c := range []struct {
		p     patch
		image []byte
	}{
		{patch{0, 0, []byte("x")}, nil},
		{patch{90, 11, []byte("x")}, image},
		{patch{101, 0, []byte("x")}, image},
		{patch{0, 100, nil}, image},
	} {
		if _, err := c.p.apply(c.image); err != errNoImage {
			t.Errorf("%+v: %v", c.p, err)
		}
	}
}

// A record that is changed again and again costs the log what changes, and the generation its size, not its size each time.
func TestGrowingRecordIsPatched(t *testing.T) {
	l := &memLog{}
	opts := small()
	opts.GenerationRecords, opts.GenerationBytes, opts.FlushInterval = 1<<20, 1<<30, time.Hour
	dir := t.TempDir()
	s := openStore(t, dir, opts, l)
	var tx Txn
	value := bytes.Repeat([]byte("0123456789"), 10)
	for i := range 1000 {
		value = append(value, byte(i))
		if err := s.Update(&tx, step(func() error { tx.Put([]byte("k"), value); return nil })); err != nil {
			t.Fatal(err)
		}
	}
	if logged := s.stats.EntryBytes.Load(); logged > 1000*(entryHeaderBytes+30) {
		t.Errorf("%d bytes in the log", logged)
	}
	if n := s.active().bytes(); n > 2*chunkBytes {
		t.Errorf("the generation takes %d bytes", n)
	}
	if got := get(t, s, "k"); got != string(value) {
		t.Errorf("%q", got)
	}
	s = reopen(t, s, dir, l)
	if got := get(t, s, "k"); got != string(value) {
		t.Errorf("after a restart: %q", got)
	}
}

// A record that is spliced again and again, also twice in a batch and in vain, is what it must be, in the log as well, and costs that no more than
// what has changed.
func TestSplicedRecordIsPatched(t *testing.T) {
	l := &memLog{}
	opts := small()
	opts.GenerationRecords, opts.GenerationBytes, opts.FlushInterval = 1<<20, 1<<30, time.Hour
	dir := t.TempDir()
	s := openStore(t, dir, opts, l)
	rng := rand.New(rand.NewPCG(1, 2))
	key := []byte("k")
	want := random(rng, 2000)
	set(t, s, "k", string(want))
	var tx Txn
	splice := func() {
		old, err := tx.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		at := rng.IntN(len(old) + 1)
		removed := rng.IntN(min(len(old)-at, 20) + 1)
		inserted := random(rng, rng.IntN(20))
		want = slices.Replace(bytes.Clone(old), at, at+removed, inserted...)
		tx.Splice(key, old, at, removed, inserted)
	}
	for i := range 1000 {
		var held []byte // what an older view shows
		var v *View
		if rng.IntN(10) == 0 {
			var err error
			if v, err = s.View(); err != nil {
				t.Fatal(err)
			}
			held = want
		}
		err := s.Update(&tx, step(func() error {
			splice()
			if rng.IntN(4) == 0 {
				splice()
			}
			if before, place := want, tx.Savepoint(); rng.IntN(4) == 0 {
				splice()
				tx.Rollback(place)
				want = before
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if v != nil {
			if got, err := v.Get(key); err != nil || !bytes.Equal(got, held) {
				t.Fatalf("a view shows %q, %v; want %q", got, err, held)
			}
			v.Close()
		}
		if got := get(t, s, "k"); got != string(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		if i%300 == 299 {
			s = reopen(t, s, dir, l)
			if got := get(t, s, "k"); got != string(want) {
				t.Fatalf("after a restart: %q, want %q", got, want)
			}
		}
	}
	if logged := s.stats.EntryBytes.Load(); logged > 100*(entryHeaderBytes+300) {
		t.Errorf("%d bytes in the log for 100 batches", logged)
	}
}
