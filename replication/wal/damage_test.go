package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sett/storage/crashfs"
)

// layout is a log on disk with known marks, and what each byte of it is.
type layout struct {
	fs      *crashfs.FS
	o       Options
	entries []Entry
	files   []string
	parts   []part
	mark    uint64 // highest mark; number and index are the same here
}

// part is a stretch of bytes that belong together.
type part struct {
	file       string
	begin, end int64
	index      uint64 // of the record; 0 = a segment's header
}

// newLayout makes three segments: a full one, a recycled one that ends with records above all marks and has old records behind them, a prepared one.
func newLayout(t *testing.T) *layout {
	l := &layout{fs: crashfs.New()}
	l.o = Options{FS: l.fs, Dir: "log", SegmentBytes: minSegmentBytes, Seed: [16]byte{9}, inline: true}
	log := mustOpen(t, l.o, Known{})
	add := func(n int) {
		last := log.Last()
		for i := range n {
			e := Entry{Index: last + 1 + uint64(i), Term: 3, Data: bytes.Repeat([]byte{byte(last) + byte(i)}, 333-i)}
			l.entries = append(l.entries, e)
			must(t, log.Append(e))
		}
	}
	for range 9 {
		add(4)
		must(t, log.Sync())
	}
	must(t, log.TrimPrefix(20))
	for log.segs[len(log.segs)-1].reuse == 0 || len(log.segs) < 2 || log.segs[len(log.segs)-1].reuse > 0 && log.end < 5500 {
		add(1)
		must(t, log.Sync())
		if len(log.segs) > 2 {
			must(t, log.TrimPrefix(log.Synced()))
		}
	}
	l.mark = log.Synced()
	add(3)
	if log.metrics.Recycled == 0 || len(log.segs) != 2 {
		t.Fatalf("not the log that was wanted: %d segments, %+v", len(log.segs), log.metrics)
	}
	for len(log.prepared) == 0 {
		log.prepare()
	}
	l.entries = l.entries[log.First()-1:]
	for _, s := range append(log.segs, log.prepared...) {
		file := l.o.path(s.id)
		l.files = append(l.files, file)
		l.parts = append(l.parts, part{file, 0, headerBytes, 0})
	}
	for _, e := range l.entries {
		r, p, _ := find(log.runs, e.Index)
		b, err := log.readSome(e.Index, e.Index, 1<<20, nil)
		must(t, err)
		offset := p.offset
		for i := p.index; i < e.Index; i++ {
			offset += space(len(l.entries[i-l.entries[0].Index].Data))
		}
		l.parts = append(l.parts, part{l.o.path(r.seg.id), offset, offset + recordBytes + int64(len(b[0].Data)), e.Index})
	}
	log.die(ErrClosed)
	return l
}

func (l *layout) part(file string, offset int64) (part, bool) {
	for _, p := range l.parts {
		if p.file == file && p.begin <= offset && offset < p.end {
			return p, true
		}
	}
	return part{}, false
}

func (l *layout) known() Known { return Known{Durable: l.entries[0].Index - 1} }

func flip(t *testing.T, fs *crashfs.FS, path string, offset int64, mask byte) {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	must(t, err)
	b[0] ^= mask
	_, err = f.WriteAt(b[:], offset)
	must(t, err)
}

// opens returns what a log has after damage was done: the index of its last entry, all entries being right, or the DamageError.
func (l *layout) opens(t *testing.T, known Known) (last uint64, damage *DamageError) {
	t.Helper()
	o := l.o
	o.FS = l.fs.Kill()
	l.fs = o.FS.(*crashfs.FS)
	log, err := Open(o, known)
	if errors.As(err, &damage) {
		return 0, damage
	}
	must(t, err)
	defer log.Close()
	got := read(t, log)
	if len(got) > len(l.entries) || !slices.EqualFunc(got, l.entries[:len(got)], equal) {
		t.Fatalf("wrong entries: %d to %d", log.First(), log.Last())
	}
	return log.Last(), nil
}

var allBitsFlag = flag.Bool("wal.allbits", false, "flip every bit of a log, also where nothing is and everywhere in the headers of segments")

func TestBitFlips(t *testing.T) {
	l := newLayout(t)
	first, last := l.entries[0].Index, l.entries[len(l.entries)-1].Index
	t.Logf("%d entries, %d to %d, marked up to %d, in %v", len(l.entries), first, last, l.mark, l.files)
	sparse := int64(11)
	step := int64(1)
	switch {
	case *allBitsFlag:
		sparse = 1
	case testing.Short():
		step = 13
	}
	classes := map[string]int{}
	for _, file := range l.files {
		f, err := l.fs.Open(file)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		for bit := int64(0); bit < size*8; bit += step {
			p, used := l.part(file, bit/8)
			if (!used || p.index == 0) && bit%sparse != 0 {
				continue
			}
			flip(t, l.fs, file, bit/8, 1<<(bit%8))
			o := l.o
			o.FS = l.fs
			found, err := Check(o, l.known())
			must(t, err)
			damage := slices.ContainsFunc(found, func(f Finding) bool { return f.Damage })
			what := fmt.Sprintf("bit %d of byte %d of %s (entry %d): %+v", bit%8, bit/8, file, p.index, found)
			switch {
			case !used:
				classes["nothing there"]++
				if len(found) > 0 {
					t.Fatalf("found where nothing is: %s", what)
				}
			case p.index == 0 || p.index <= l.mark:
				classes["damage"]++
				if !damage {
					t.Fatalf("not found: %s", what)
				}
			default:
				classes["cut"]++
				if damage || len(found) == 0 && p.index < last {
					t.Fatalf("not cut: %s", what)
				}
			}
			// Open judges as Check does; whether it then wipes and reads right is looked at for some.
			if bit%97 == 0 || used && p.index > l.mark && bit%7 == 0 {
				damaged := *l
				damaged.fs = l.fs.Kill()
				l.fs = l.fs.Kill()
				got, d := damaged.opens(t, l.known())
				want := last
				if used && p.index > l.mark {
					want = p.index - 1
				}
				if (d != nil) != damage || d == nil && got != want {
					t.Fatalf("open: last %d, wanted %d; %v: %s", got, want, d, what)
				}
			}
			flip(t, l.fs, file, bit/8, 1<<(bit%8))
		}
	}
	t.Log(classes)
	if got, d := l.opens(t, l.known()); got != last || d != nil {
		t.Fatalf("at the end: %d, %v", got, d)
	}
}

// A flip above the marks is damage too where the log is known to have ended cleanly, or where Badger knows more.
func TestKnownEnds(t *testing.T) {
	l := newLayout(t)
	last := l.entries[len(l.entries)-1]
	for _, p := range l.parts {
		if p.index != last.Index {
			continue
		}
		flip(t, l.fs, p.file, p.end-1, 1)
		for _, known := range []Known{{Durable: l.known().Durable, CleanEnd: last.Index}, {Durable: last.Index}} {
			if got, d := l.opens(t, known); d == nil || d.Index != last.Index {
				t.Fatalf("%+v: opened with %d, %v", known, got, d)
			}
		}
		if got, d := l.opens(t, l.known()); got != last.Index-1 {
			t.Fatalf("opened with %d, %v", got, d)
		}
	}
	if _, d := l.opens(t, Known{Durable: l.known().Durable, CleanEnd: last.Index}); d == nil {
		t.Fatal("a log that lacks its clean end was opened")
	}
	if _, d := l.opens(t, Known{Durable: l.known().Durable - 1}); d == nil {
		t.Fatal("a log with a gap behind the durable entry was opened")
	}
}

func TestTruncations(t *testing.T) {
	l := newLayout(t)
	for _, file := range l.files {
		f, err := l.fs.Open(file)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		whole, err := l.fs.ReadFile(file)
		must(t, err)
		for n := int64(0); n < size; n += 61 {
			must(t, f.Truncate(n))
			if got, d := l.opens(t, l.known()); d == nil {
				t.Fatalf("%s of %d bytes: opened with %d", file, n, got)
			}
			f, err = l.fs.Open(file)
			must(t, err)
			_, err = f.WriteAt(whole, 0)
			must(t, err)
		}
	}
}

func TestMissingFiles(t *testing.T) {
	for i := range 2 {
		l := newLayout(t)
		must(t, l.fs.Remove(l.files[i]))
		if got, d := l.opens(t, l.known()); d == nil {
			t.Fatalf("without %s: opened with %d", l.files[i], got)
		}
	}
	// A log that has lost all of its files is seen if its end is known.
	l := newLayout(t)
	for _, file := range l.files {
		must(t, l.fs.Remove(file))
	}
	if _, d := l.opens(t, Known{Durable: 5, CleanEnd: 9}); d == nil {
		t.Fatal("a log without files was opened")
	}
	// Two segments in each other's place.
	l = newLayout(t)
	must(t, l.fs.Rename(l.files[0], "log/x"))
	must(t, l.fs.Rename(l.files[1], l.files[0]))
	must(t, l.fs.Rename("log/x", l.files[1]))
	if _, d := l.opens(t, l.known()); d == nil {
		t.Fatal("exchanged segments were opened")
	}
}

func TestNewerVersionAndOtherSeed(t *testing.T) {
	l := newLayout(t)
	o := l.o
	o.Seed[3]++
	if _, err := Open(o, l.known()); !errors.As(err, new(*DamageError)) {
		t.Fatalf("with another seed: %v", err)
	}
	page, err := l.fs.ReadFile(l.files[0])
	must(t, err)
	h, reason := parseHeader(page[:headerBytes], l.o.Seed)
	if reason != "" {
		t.Fatal(reason)
	}
	h.version++
	f, err := l.fs.Open(l.files[0])
	must(t, err)
	_, err = f.WriteAt(h.page(l.o.Seed), 0)
	must(t, err)
	var newer *VersionError
	if _, err := Open(l.o, l.known()); !errors.As(err, &newer) || newer.Version != formatVersion+1 {
		t.Fatalf("of a newer version: %v", err)
	}
	if _, err := Check(l.o, l.known()); !errors.As(err, &newer) {
		t.Fatalf("check of a newer version: %v", err)
	}
}

// A log of version 1 has no kinds of entries and no resets; otherwise it is the same.
func TestVersion1(t *testing.T) {
	l := newLayout(t)
	for _, file := range l.files {
		page, err := l.fs.ReadFile(file)
		must(t, err)
		h, reason := parseHeader(page[:headerBytes], l.o.Seed)
		if reason != "" {
			t.Fatal(reason)
		}
		h.version = 1
		f, err := l.fs.Open(file)
		must(t, err)
		_, err = f.WriteAt(h.page(l.o.Seed), 0)
		must(t, err)
	}
	log := mustOpen(t, l.o, l.known())
	for _, e := range l.entries {
		got, err := log.Read(e.Index)
		if err != nil || got.Kind != 0 || !bytes.Equal(got.Data, e.Data) {
			t.Fatalf("entry %d: %+v, %v", e.Index, got, err)
		}
	}
	must(t, log.Append(Entry{Index: log.Last() + 1, Kind: MaxKind}))
	must(t, log.Close())
}

// Damage that happens while the log is open is met by the read.
func TestDamageUnderRead(t *testing.T) {
	l := newLayout(t)
	l.fs = l.fs.Kill()
	l.o.FS = l.fs
	log := mustOpen(t, l.o, l.known())
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		p := l.parts[len(l.files)+r.IntN(len(l.entries))]
		offset, mask := p.begin+r.Int64N(p.end-p.begin), byte(1)<<r.IntN(8)
		flip(t, l.fs, p.file, offset, mask)
		var d *DamageError
		if _, err := log.Read(p.index); !errors.As(err, &d) {
			t.Fatalf("byte %d of entry %d: %v", offset-p.begin, p.index, err)
		}
		if err := log.Scan(log.First(), func(Entry) error { return nil }); !errors.As(err, &d) || d.Index != p.index {
			t.Fatalf("byte %d of entry %d: scan: %v", offset-p.begin, p.index, err)
		}
		flip(t, l.fs, p.file, offset, mask)
	}
	must(t, log.Close())
}

// Bytes that a user stored are no records, even if they are copies of some.
func TestImitation(t *testing.T) {
	fs := crashfs.New()
	o := Options{FS: fs, Dir: "log", SegmentBytes: 1 << 20, Seed: [16]byte{9}, inline: true}
	log := mustOpen(t, o, Known{})
	var fakes []byte
	for number := range uint64(200) {
		b := make([]byte, recordBytes+8)
		// All but the store's seed can be known.
		log.segs[0].header.secret([16]byte{}).put(b, record{kindEntry, 8, 0, number + 2, number + 2, 1, 1 << 40})
		fakes = append(fakes, b...)
	}
	must(t, log.Append(Entry{Index: 1, Term: 1, Data: fakes}, Entry{Index: 2, Term: 1, Data: []byte("two")}))
	log.die(ErrClosed)
	flip(t, fs, o.path(1), headerBytes+5, 1)
	o.FS = fs.Kill()
	log = mustOpen(t, o, Known{})
	if log.Last() != 0 {
		t.Fatalf("the log has entries up to %d", log.Last())
	}
	must(t, log.Close())
}
