package types

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"sett/storage"
)

// records are what a string can be read from: those that are cold are missed once, as a Reader's.
type records struct {
	values map[string][]byte
	cold   map[string]bool
	missed []string
	asked  int // records read with Get
	walked int // records read with Walk
}

func (r *records) Walk(lower, upper []byte, each func(key, value []byte)) error {
	for _, key := range slices.Sorted(maps.Keys(r.values)) {
		if value := r.values[key]; value != nil && key >= string(lower) && key < string(upper) {
			r.walked++
			each([]byte(key), bytes.Clone(value))
		}
	}
	return nil
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

// pagedString makes a paged string of 3 MiB, a bit over 1 MiB of it over a blob, with pages here and there, short ones among them, some side by
// side.
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
	directories := map[int]bitmap{}
	put := func(page int) {
		b := make([]byte, 1+d.IntN(min(PageBytes, length-page*PageBytes)))
		often := d.IntN(64) // 1/64 of the bytes that are not zero
		for i := range b {
			if d.IntN(64) <= often {
				b[i] = byte(d.Uint32())
			}
		}
		clear(want[page*PageBytes : min(length, (page+1)*PageBytes)])
		copy(want[page*PageBytes:], b)
		r.values[string(appendPage(nil, 9, page))] = packPage(nil, b)
		directories[page/directoryPages] = directories[page/directoryPages].with(page % directoryPages)
	}
	for range 40 {
		put(d.IntN(pagesIn(length)))
	}
	for i := range 60 {
		put(directoryPages - 20 + i) // across the border of two directories
	}
	root := bitmap{0}
	for n, d := range directories {
		r.values[string(appendDirectory(nil, 9, n))] = d
		root = root.with(n)
	}
	r.values[string(appendRoot(nil, 9))] = root
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

// Pieces reads no record twice, and walks where pages lie side by side.
func TestPiecesHoldWhatTheyRead(t *testing.T) {
	r, m, want := pagedString(rand.New(rand.NewPCG(1, 1)))
	if err := readThrough(NewPieces(r, &m, 0, len(want))); err != nil {
		t.Fatal(err)
	}
	if read := r.asked + r.walked; read > len(r.values) || r.walked < 60 {
		t.Errorf("%d records read, %d of them on walks, there are %d", read, r.walked, len(r.values))
	}
}

func TestDamagedPagesAreCorrupt(t *testing.T) {
	r, m, want := pagedString(rand.New(rand.NewPCG(1, 1)))
	root, directory := appendRoot(nil, 9), appendDirectory(nil, 9, 1)
	page := appendPage(nil, 9, directoryPages+bitmap(r.values[string(directory)]).next(0, directoryPages))
	walked := appendPage(nil, 9, directoryPages-10)
	for _, c := range []struct {
		name  string
		key   []byte
		value []byte
	}{
		{"page missing", page, nil},
		{"page missing among others", walked, nil},
		{"page too long", page, make([]byte, PageBytes+1)},
		{"page too long among others", walked, make([]byte, PageBytes+1)},
		{"page packed in the wrong order", page, []byte{9, 1, 3, 1, 0}},
		{"page packed in the wrong order among others", walked, []byte{9, 1, 9, 1, 0}},
		{"packed page with a zero", page, []byte{9, 0, 0}},
		{"packed page without its end", page, []byte{9, 1, 3, 0}},
		{"directory missing", directory, nil},
		{"directory too long", directory, make([]byte, directoryBytes+1)},
		{"root missing", root, nil},
		{"root too long", root, make([]byte, rootBytes+1)},
		{"header missing", appendBlobHeader(nil, 7), nil},
		{"chunk missing", appendBlobChunk(nil, 7, 3), nil},
	} {
		old := r.values[string(c.key)]
		r.values[string(c.key)] = c.value
		if _, err := AppendString(r, &m, nil, 0, len(want)); !errors.As(err, new(*storage.CorruptError)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := readThrough(NewPieces(r, &m, 0, len(want))); !errors.As(err, new(*storage.CorruptError)) {
			t.Errorf("%s, in pieces: %v", c.name, err)
		}
		r.values[string(c.key)] = old
	}
}

// TestPackedPages: what is packed comes back, and is never longer than the page.
func TestPackedPages(t *testing.T) {
	d := rand.New(rand.NewPCG(rand.Uint64(), 0))
	buf := make([]byte, 0, PageBytes)
	for length := range PageBytes + 1 {
		for set := range length + 1 {
			page := make([]byte, length)
			for _, at := range d.Perm(length)[:set] {
				page[at] = byte(1 + d.IntN(255))
			}
			want := bytes.TrimRight(page, "\x00")
			record := packPage([]byte("x"), page)[1:]
			if len(record) > max(1, min(len(want), 2*set+1)) {
				t.Fatalf("%d bytes of %d are set: the record has %d", set, length, len(record))
			}
			if got, ok := unpackPage(buf, record); !ok || !bytes.Equal(got, want) {
				t.Fatalf("%x comes back as %x, %v", want, got, ok)
			}
		}
	}
}

func FuzzUnpackPage(f *testing.F) {
	for _, record := range [][]byte{{0}, {1}, {9, 1, 0}, {9, 1, 3, 1, 0}, {9, 0, 0}, {9, 1, 3, 0}} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		page, ok := unpackPage(make([]byte, 0, PageBytes), bytes.Clone(record))
		if !ok {
			return
		}
		if len(page) > PageBytes {
			t.Fatalf("%x is a page of %d bytes", record, len(page))
		}
		if again, ok := unpackPage(nil, packPage(nil, page)); !ok || !bytes.Equal(again, page) {
			t.Fatalf("%x is %x, which comes back as %x", record, page, again)
		}
	})
}

func readThrough(p *Pieces) error {
	for {
		if piece, err := p.Next(); err != nil || len(piece) == 0 {
			return err
		}
	}
}

func TestBitmap(t *testing.T) {
	var b bitmap
	for _, i := range []int{0, 7, 8, 500, 1023} {
		b = b.with(i)
	}
	for _, c := range []struct{ from, end, want int }{
		{0, 1024, 0}, {1, 1024, 7}, {7, 1024, 7}, {8, 1024, 8}, {9, 1024, 500}, {501, 1024, 1023}, {1023, 1024, 1023},
		{9, 500, 500}, {9, 498, 498}, {9, 501, 500},
	} {
		if got := b.next(c.from, c.end); got != c.want {
			t.Errorf("next from %d on, below %d, is %d, want %d", c.from, c.end, got, c.want)
		}
	}
	if got := b[:63].next(501, 1024); got != 1024 {
		t.Errorf("beyond the bitmap: %d", got)
	}
	if bitmap(nil).has(0) || b.has(1) || !b.has(7) || b.has(1024) {
		t.Error("has")
	}
	if n := b.count(); n != 5 {
		t.Errorf("%d of 5", n)
	}
}
