package types

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"sett/storage"
)

// records are what a string can be read from: those that are cold are missed once, as a Reader's.
type records struct {
	values map[string][]byte
	cold   map[string]bool
	missed []string
	asked  int // records read
}

func (r *records) Append(dst, key []byte) ([]byte, error) {
	value, err := r.Get(key)
	return append(dst, value...), err
}

func (r *records) Get(key []byte) ([]byte, error) {
	if r.cold[string(key)] {
		r.missed = append(r.missed, string(key))
		return nil, storage.ErrMiss
	}
	r.asked++
	return r.values[string(key)], nil
}

func (r *records) Need(keys ...[]byte) error {
	for _, key := range keys {
		r.Get(key)
	}
	if len(r.missed) > 0 {
		return storage.ErrMiss
	}
	return nil
}

func (r *records) Tally(uint32) storage.Tally { return storage.Tally{} }

// fetch warms what was missed, and returns how many records that were.
func (r *records) fetch() (n int) {
	for _, key := range r.missed {
		if r.cold[key] {
			delete(r.cold, key)
			n++
		}
	}
	r.missed = nil
	return n
}

// pagedString makes a paged string of 3 MiB, a bit over 1 MiB of it over a blob, with pages here and there, short ones among them.
func pagedString(d *rand.Rand) (r *records, m Meta, want []byte) {
	const length, beneath, chunk = 3<<20 + 5, 1<<20 + 333, 64 << 10
	r = &records{values: map[string][]byte{}, cold: map[string]bool{}}
	want = make([]byte, length)
	for i := range beneath {
		want[i] = byte(d.Uint32())
	}
	r.values[string(appendBlobHeader(nil, 7))] = []byte{0, 0, 0, 0, 0, beneath >> 16, beneath >> 8 & 0xff, beneath & 0xff, 0, chunk >> 16, chunk >> 8 & 0xff, 0}
	for n := 0; n*chunk < beneath; n++ {
		r.values[string(appendBlobChunk(nil, 7, uint32(n)))] = bytes.Clone(want[n*chunk : min(beneath, (n+1)*chunk)])
	}
	directories := map[int][]byte{}
	for range 40 {
		page := d.IntN(pagesIn(length))
		b := make([]byte, 1+d.IntN(min(pageBytes, length-page*pageBytes)))
		for i := range b {
			b[i] = byte(d.Uint32())
		}
		clear(want[page*pageBytes : min(length, (page+1)*pageBytes)])
		copy(want[page*pageBytes:], b)
		r.values[string(appendPage(nil, 9, page))] = b
		n, i := page/directoryPages, page%directoryPages
		for len(directories[n]) <= i/8 {
			directories[n] = append(directories[n], 0)
		}
		directories[n][i/8] |= 1 << (i % 8)
	}
	for n, d := range directories {
		r.values[string(appendDirectory(nil, 9, n))] = d
	}
	return r, Meta{Exists: true, Format: formatPaged, OwnsBlobs: true, Payload: pagedPayload(length, 9, 7, beneath)}, want
}

func TestPagedStringIsReadFromPagesBlobAndNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := rand.New(rand.NewPCG(seed, 0))
	r, m, want := pagedString(d)
	for range 300 {
		from := d.IntN(len(want) + 1)
		to := min(len(want), from+d.IntN(1<<d.IntN(22)))
		got, err := AppendString(r, &m, []byte("x"), from, to)
		if err != nil || !bytes.Equal(got[1:], want[from:to]) || got[0] != 'x' {
			t.Fatalf("[%d, %d): wrong bytes, or %v", from, to, err)
		}
		pieces := NewPieces(r, &m, from, to)
		for at := from; at < to; {
			piece, err := pieces.Next()
			if err != nil || len(piece) == 0 || !bytes.Equal(piece, want[at:at+len(piece)]) {
				t.Fatalf("[%d, %d) at %d: wrong piece, or %v", from, to, at, err)
			}
			at += len(piece)
		}
		if piece, err := pieces.Next(); len(piece) > 0 || err != nil {
			t.Fatalf("[%d, %d): %d bytes behind the end, %v", from, to, len(piece), err)
		}
	}
}

// What is cold is asked for in two steps, and nothing is asked for that is not needed, but for one page.
func TestPagedStringFromCold(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := rand.New(rand.NewPCG(seed, 0))
	for range 40 {
		r, m, want := pagedString(d)
		for key := range r.values {
			r.cold[key] = true
		}
		from := d.IntN(len(want))
		to := min(len(want), from+1+d.IntN(1<<d.IntN(22)))
		for step := 0; ; step++ {
			got, err := AppendString(r, &m, nil, from, to)
			if err == nil {
				if !bytes.Equal(got, want[from:to]) {
					t.Fatalf("[%d, %d): wrong bytes", from, to)
				}
				break
			}
			if err != storage.ErrMiss || step == 2 || r.fetch() == 0 {
				t.Fatalf("[%d, %d): step %d: %v", from, to, step, err)
			}
		}
	}
}

func TestPiecesHoldAChunkInHand(t *testing.T) {
	r, m, want := pagedString(rand.New(rand.NewPCG(1, 1)))
	pieces := NewPieces(r, &m, 0, len(want))
	for {
		piece, err := pieces.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(piece) == 0 {
			break
		}
	}
	if limit := len(r.values) + 1; r.asked > limit { // one directory has no pages
		t.Errorf("%d records read, there are %d", r.asked, limit)
	}
}

func TestDamagedPagesAreCorrupt(t *testing.T) {
	r, m, want := pagedString(rand.New(rand.NewPCG(1, 1)))
	directory := appendDirectory(nil, 9, 1)
	page := appendPage(nil, 9, directoryPages+directoryOf(r, directory).next(0))
	for _, c := range []struct {
		name  string
		key   []byte
		value []byte
	}{
		{"page missing", page, nil},
		{"page too long", page, make([]byte, pageBytes+1)},
		{"directory too long", directory, make([]byte, directoryBytes+1)},
		{"header missing", appendBlobHeader(nil, 7), nil},
		{"chunk missing", appendBlobChunk(nil, 7, 3), nil},
	} {
		old := r.values[string(c.key)]
		r.values[string(c.key)] = c.value
		_, err := AppendString(r, &m, nil, 0, len(want))
		if !errors.As(err, new(*storage.CorruptError)) {
			t.Errorf("%s: %v", c.name, err)
		}
		r.values[string(c.key)] = old
	}
}

func directoryOf(r *records, key []byte) directory { return r.values[string(key)] }

func TestDirectory(t *testing.T) {
	d := make(directory, directoryBytes)
	for _, page := range []int{0, 7, 8, 500, 1023} {
		d[page/8] |= 1 << (page % 8)
	}
	for _, c := range []struct{ from, want int }{{0, 0}, {1, 7}, {7, 7}, {8, 8}, {9, 500}, {501, 1023}, {1023, 1023}} {
		if got := d.next(c.from); got != c.want {
			t.Errorf("next page from %d on is %d, want %d", c.from, got, c.want)
		}
	}
	if got := d[:63].next(501); got != directoryPages {
		t.Errorf("a page beyond the directory: %d", got)
	}
	if directory(nil).has(0) || d.has(1) || !d.has(7) {
		t.Error("has")
	}
}
