package types

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// Buckets divide all hashes among them, whatever their number, and one more or less touches one other.
func TestBucketsDivideHashes(t *testing.T) {
	d := rand.New(rand.NewPCG(1, 1))
	before := map[uint32]bool{0: true}
	for n := uint32(1); n < 3000; n++ {
		b := table{buckets: n}
		for i := range n {
			start := b.bucketAt(i)
			if i > 0 && start <= b.bucketAt(i-1) || i == 0 && start != 0 {
				t.Fatalf("%d buckets: bucket %d begins at %d", n, i, start)
			}
			if got := b.indexOf(start); got != i {
				t.Fatalf("%d buckets: %d is the start of %d, not of %d", n, start, i, got)
			}
			end := uint32(1<<32 - 1)
			if i+1 < n {
				end = b.bucketAt(i+1) - 1
			}
			for _, hash := range []uint32{start, end, start + uint32(d.Uint64N(uint64(end-start)+1))} {
				if got := b.bucketOf(hash); got != start {
					t.Fatalf("%d buckets: hash %d is in %d, not in %d", n, hash, got, start)
				}
			}
			if !before[start] {
				t.Fatalf("%d buckets: %d was no bucket before", n, start)
			}
		}
		k, i := b.level()
		lower, upper := halves(k, i)
		if !before[lower] || before[upper] {
			t.Fatalf("%d buckets: %d is divided at %d", n, lower, upper)
		}
		before[upper] = true
	}
}

func TestBucketsOfALargeTable(t *testing.T) {
	for _, n := range []uint32{maxBuckets, maxBuckets - 1, maxBuckets/2 + 1} {
		b := table{buckets: n}
		for _, i := range []uint32{0, 1, n / 2, n - 1} {
			if got := b.indexOf(b.bucketAt(i)); got != i {
				t.Errorf("%d buckets: bucket %d is taken for %d", n, i, got)
			}
		}
		if got := b.bucketOf(1<<32 - 1); got != b.bucketAt(n-1) {
			t.Errorf("%d buckets: the last hash is in %d", n, got)
		}
	}
}

// What lies apart of the elements of one hash has serials of their own, and all begin with the hash.
func TestSerialsAreFree(t *testing.T) {
	apart := func(serial uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.AppendUvarint(nil, 2000<<1|1), serial)
	}
	b := openBucket{entries: append([]byte{2, 'a', 4, 'b', 'c', 2, 'd'}, apart(7<<32|3)...)}
	b.entries = append(append(append(b.entries, apart(9<<32|8)...), make([]byte, 32)...), 0)
	for _, want := range []struct{ hash, taken, free uint64 }{
		{7, 0, 7<<32 | 4}, {9, 0, 9<<32 | 9}, {8, 0, 8<<32 | 1}, {7, 7<<32 | 4, 7<<32 | 5}, {8, 8<<32 | 1, 8<<32 | 2}, {0, 0, 1},
	} {
		if free := b.freeSerial(Hash, uint32(want.hash), want.taken); free != want.free {
			t.Errorf("hash %d, %x is taken: %x, want %x", want.hash, want.taken, free, want.free)
		}
	}
}

// FuzzElements: what is not made of entries is refused, and never reads outside of it.
func FuzzElements(f *testing.F) {
	f.Add(byte(Set), []byte{2, 'a', 4, 'b', 'c'})
	f.Add(byte(Hash), []byte{2, 'a', 4, 'b', 'c'})
	f.Add(byte(Hash), append([]byte{3}, make([]byte, 48)...))
	f.Add(byte(Hash), append(appendMortal(nil, 9), 2, 'a', 4, 'b', 'c'))
	f.Fuzz(func(t *testing.T, of byte, b []byte) {
		n, ok := countEntries(Type(of), b)
		rest := b
		for range n {
			el, after, ok := takeElement(Type(of), rest)
			if !ok || len(el.raw)+len(after) != len(rest) {
				t.Fatalf("%q of %q", el.raw, b)
			}
			rest = after
		}
		if ok && len(rest) > 0 {
			t.Fatalf("%d entries leave %q of %q", n, rest, b)
		}
	})
}
