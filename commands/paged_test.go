package commands

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// plainStrings are plain byte slices: the truth for TestPagedStrings.
type plainStrings map[string][]byte

func (p plainStrings) splice(name string, offset int, piece string) string {
	b := bytes.Clone(p[name])
	if end := offset + len(piece); len(b) < end {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[offset:], piece)
	p[name] = b
	return num(len(b))
}

// bitRange is the range [start, end] of bits that BITCOUNT and BITPOS mean.
func bitRange(length int, args []string) (start, end int) {
	start, end = 0, length*8-1
	if len(args) == 0 {
		return start, end
	}
	unit := 8
	if len(args) == 3 && args[2] == "bit" {
		unit = 1
	}
	place := func(arg string) int {
		n, _ := strconv.Atoi(arg)
		if n < 0 {
			n = max(0, n+length*8/unit)
		}
		return n
	}
	start = place(args[0]) * unit
	if len(args) > 1 {
		end = min(end, place(args[1])*unit+unit-1)
	}
	return start, end
}

func bitAt(b []byte, i int) byte { return b[i/8] >> (7 - i%8) & 1 }

func (p plainStrings) bitCount(name string, args []string) string {
	b := p[name]
	if len(args) > 1 {
		from, _ := strconv.Atoi(args[0])
		to, _ := strconv.Atoi(args[1])
		if from < 0 && to < 0 && from > to {
			return num(0)
		}
	}
	n := 0
	start, end := bitRange(len(b), args)
	for i := start; i <= end; {
		if i%8 == 0 && i+7 <= end {
			n += bits.OnesCount8(b[i/8])
			i += 8
		} else {
			n += int(bitAt(b, i))
			i++
		}
	}
	return num(n)
}

func (p plainStrings) bitPos(name string, bit string, args []string) string {
	b, found := p[name]
	want := bit[0] - '0'
	if !found {
		return num(-int(want))
	}
	start, end := bitRange(len(b), args)
	full := []byte{0xff, 0}[want]
	for i := start; i <= end; {
		switch {
		case i%8 == 0 && i+7 <= end && b[i/8] == full:
			i += 8
		case bitAt(b, i) == want:
			return num(i)
		default:
			i++
		}
	}
	if want == 0 && len(args) < 2 && start <= end {
		return num(len(b) * 8)
	}
	return num(-1)
}

func (p plainStrings) run(args []string) string {
	name := args[1]
	if args[0] == "bitop" {
		return p.bitOp(args[1], args[2], args[3:])
	}
	b, found := p[name]
	switch args[0] {
	case "bitfield":
		return p.bitField(name, args[2:])
	case "set":
		p[name] = []byte(args[2])
		return ok
	case "get":
		if !found {
			return null
		}
		return bulk(string(b))
	case "strlen":
		return num(len(b))
	case "append":
		return p.splice(name, len(b), args[2])
	case "setrange":
		at, _ := strconv.Atoi(args[2])
		if args[3] == "" {
			return num(len(b))
		}
		return p.splice(name, at, args[3])
	case "getrange":
		from, _ := strconv.Atoi(args[2])
		to, _ := strconv.Atoi(args[3])
		return bulk(slice(string(b), from, to))
	case "setbit":
		at, _ := strconv.Atoi(args[2])
		old := byte(0)
		if at/8 < len(b) {
			old = b[at/8]
		}
		mask := byte(1) << (7 - at%8)
		next := old &^ mask
		if args[3] == "1" {
			next |= mask
		}
		p.splice(name, at/8, string([]byte{next}))
		return num(int(old >> (7 - at%8) & 1))
	case "getbit":
		if at, _ := strconv.Atoi(args[2]); at/8 < len(b) {
			return num(int(bitAt(b, at)))
		}
		return num(0)
	case "bitcount":
		return p.bitCount(name, args[2:])
	case "bitpos":
		return p.bitPos(name, args[2], args[3:])
	case "incr":
		return "-ERR value is not an integer or out of range\r\n"
	case "rename":
		if !found {
			return "-ERR no such key\r\n"
		}
		delete(p, name)
		p[args[2]] = b
		return ok
	case "copy":
		if name == args[2] {
			return "-ERR source and destination objects are the same\r\n"
		}
		if found {
			p[args[2]] = b
		}
		return truth(found)
	case "del":
		delete(p, name)
		return truth(found)
	}
	panic("the model does not know " + args[0])
}

// longDice make the commands of TestPagedStrings.
type longDice struct{ dice }

const longest = 300 << 10

// length is one of those around which something changes, most of them short.
func (d longDice) length() int {
	around := []int{0, 1 << 10, 2 << 10, 16 << 10, 64 << 10, 128 << 10, 200 << 10}
	n := around[min(d.IntN(len(around)), d.IntN(len(around)))]
	switch d.IntN(3) {
	case 0:
		return max(0, n+d.IntN(3)-1)
	case 1:
		return n + d.IntN(1500)
	}
	return n + d.IntN(60<<10)
}

// bytes are random, or of one kind.
func (d longDice) bytes(n int) string {
	b := make([]byte, n)
	switch d.IntN(4) {
	case 0:
	case 1:
		for i := range b {
			b[i] = 0xff
		}
	case 2:
		if n > 0 {
			b[d.IntN(n)] = byte(d.IntN(256))
		}
	default:
		for i := range b {
			b[i] = byte(d.Uint32())
		}
	}
	return string(b)
}

func (d longDice) piece() string {
	return d.bytes([]int{d.IntN(4), d.IntN(1500), d.IntN(8000)}[d.IntN(3)])
}

func (d longDice) name() string { return d.pick("a", "b", "c", "d") }

// place is one of a string, counted from either end, or a little beyond.
func (d longDice) place(length int) string {
	n := d.IntN(length + length/8 + 2)
	if d.IntN(3) == 0 {
		n = -n
	}
	return strconv.Itoa(n)
}

func (d longDice) bitArgs(length int) []string {
	unit, total := "byte", length
	if d.IntN(2) == 0 {
		unit, total = "bit", 8*length
	}
	return []string{d.place(total), d.place(total), unit}
}

func (d longDice) command(p plainStrings) []string {
	name := d.name()
	length := len(p[name])
	switch d.IntN(19) {
	case 16:
		return d.bitOp()
	case 17, 18:
		return d.bitField(name, length)
	case 0:
		return []string{"set", name, d.bytes(d.length())}
	case 1, 2:
		if piece := d.piece(); length+len(piece) <= longest {
			return []string{"append", name, piece}
		}
		return []string{"del", name}
	case 3, 4:
		at, piece := d.IntN(length+1), d.piece()
		if d.IntN(3) == 0 {
			at = d.length()
		}
		return []string{"setrange", name, strconv.Itoa(at), piece}
	case 5, 6:
		return []string{"setbit", name, d.int(8 * (length + 10)), d.int(2)}
	case 7:
		return []string{"setbit", name, d.int(8 * longest), d.int(2)}
	case 8:
		return []string{"getbit", name, d.int(8 * (length + 10))}
	case 9:
		return []string{"getrange", name, d.place(length), d.place(length)}
	case 10, 11:
		return append([]string{"bitcount", name}, [][]string{nil, d.bitArgs(length), d.bitArgs(length)[:2]}[d.IntN(3)]...)
	case 12, 13:
		args := d.bitArgs(length)
		if n := d.IntN(4); n < 3 {
			args = []string{d.place(length), d.place(length)}[:min(n, 2)]
		}
		return append([]string{"bitpos", name, d.int(2)}, args...)
	case 14:
		return []string{d.pick("get", "strlen"), name}
	}
	switch n := d.IntN(5); {
	case n < 2 && length > 100:
		return []string{[]string{"del", "incr"}[n], name}
	case n == 2:
		return []string{"copy", name, d.name(), "replace"}
	}
	return []string{"rename", name, d.name()}
}

// TestPagedStrings changes long strings in place and reads them in pieces, alone and in MULTI, with flushes, lost caches and restarts in
// between, and compares all with plain byte slices.
func TestPagedStrings(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d -steps=%d", *seed, modelSteps())
	d := longDice{dice{rand.New(rand.NewPCG(*seed, 5))}}
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	p := plainStrings{}
	c := h.client()
	for i := 0; i < modelSteps() && !t.Failed(); i++ {
		switch d.IntN(300) {
		case 0:
			h.reopen()
		case 1, 2, 3:
			h.store.DropCache()
		case 4:
			if err := h.store.Flush(); err != nil {
				t.Fatal(err)
			}
		case 5:
			h.audit()
			p.compareDigest(t, h)
		case 6, 7, 8, 9, 10:
			p.compareMulti(t, i, c, d)
		default:
			args := d.command(p)
			got := c.do(args...)
			compare(t, i, args, got, p.run(args))
		}
	}
	p.compareDigest(t, h)
	h.check()
}

func (p plainStrings) compareMulti(t *testing.T, i int, c *client, d longDice) {
	want := ""
	n := d.IntN(8)
	all := []string{}
	c.must(ok, "multi")
	for range n {
		args := d.command(p)
		all = append(all, args[0], args[1])
		c.must("+QUEUED\r\n", args...)
		want += p.run(args)
	}
	compare(t, i, all, c.do("exec"), fmt.Sprintf("*%d\r\n%s", n, want))
}

// compareDigest compares DEBUG DIGEST with that of another store, which has the same strings but was told each as a whole.
func (p plainStrings) compareDigest(t *testing.T, h *house) {
	t.Helper()
	other := newHouse(t, Options{})
	c := other.client()
	for name, value := range p {
		c.must(ok, "set", name, string(value))
	}
	if got, want := h.digest(), other.digest(); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func (h *house) digest() string {
	sum, err := h.set.Digest(&Call{W: &resp.Writer{}})
	if err != nil {
		h.t.Fatal(err)
	}
	return hex.EncodeToString(sum[:])
}

// check is sett check, on records alone; the log is in memory.
func (h *house) check() {
	h.t.Helper()
	if err := h.store.Flush(); err != nil {
		h.t.Fatal(err)
	}
	if err := h.store.Barrier(); err != nil {
		h.t.Fatal(err)
	}
	h.close()
	defer h.open()
	report, err := storage.Check(storage.OSFS{}, h.dir, storage.Checks{
		Log:     func(storage.FS, string, [16]byte, storage.LogKnown) ([]storage.Finding, error) { return nil, nil },
		Records: func(seed *[16]byte) storage.RecordChecker { return types.NewChecker(seed) },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if report.Records < 10 {
		h.t.Errorf("sett check found %d records only", report.Records)
	}
	for _, f := range report.Findings {
		h.t.Error(f)
	}
}

// logged is how many bytes a command adds to the log.
func (c *client) logged(words ...string) (bytes int) {
	c.h.t.Helper()
	c.h.waitForLog()
	before := c.h.log.bytes()
	if got := c.do(words...); strings.HasPrefix(got, "-") {
		c.h.t.Fatalf("%.100q: %q", words, got)
	}
	c.h.waitForLog()
	return c.h.log.bytes() - before
}

func (h *house) waitForLog() {
	h.t.Helper()
	v, err := h.store.View()
	if err != nil {
		h.t.Fatal(err)
	}
	defer v.Close()
	if err := h.store.Wait(v.Seen()); err != nil {
		h.t.Fatal(err)
	}
}

// emptyEntryBytes is the length of an entry without effects: it closes a generation, which time alone may do at any moment.
const emptyEntryBytes = 40

// bytes is the length of all effects.
func (l *memLog) bytes() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		n += len(e) - emptyEntryBytes
	}
	return n
}

func TestChangesInPlaceLogAPage(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	noise := longDice{dice{rand.New(rand.NewPCG(1, 1))}}
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(noise.Uint32())
		}
		return string(b)
	}
	c.must(ok, "set", "blob", random(900_000))
	c.must(ok, "set", "whole", random(100_000))
	c.must(ok, "set", "inline", random(10_000))
	h.reopen()
	for _, step := range []struct {
		limit int
		words []string
	}{
		{1500, []string{"setbit", "blob", "4000000", "1"}}, // one of the two changes something
		{1500, []string{"setbit", "blob", "4000000", "0"}},
		{1500, []string{"setbit", "blob", "4100000", "1"}},
		{1500, []string{"setbit", "blob", "4100000", "0"}},
		{200, []string{"append", "whole", ""}}, // touched, for those who WATCH it
		{1500, []string{"append", "blob", "x"}},
		{2500, []string{"setrange", "blob", "1023", "xx"}},
		{12_000, []string{"setrange", "inline", "5000", "x"}}, // its bytes become pages, once
		{1500, []string{"setrange", "inline", "5000", "y"}},
		{1500, []string{"setbit", "far", "4294967295", "1"}},
		{400, []string{"setbit", "zeros", "4294967295", "0"}},
		{400, []string{"setbit", "zeros", "99", "1"}},
		{100, []string{"setbit", "zeros", "1999", "1"}}, // of its page only what is not zero
		{0, []string{"setbit", "zeros", "99", "1"}},     // as it was
		{0, []string{"setbit", "zeros", "100", "0"}},
		{0, []string{"setrange", "blob", "9999999", ""}},
	} {
		if n := c.logged(step.words...); n > step.limit {
			t.Errorf("%.60q: %d bytes in the log, more than %d", step.words, n, step.limit)
		}
	}
	c.must(num(512<<20), "strlen", "far")
	c.must(num(1), "bitcount", "far", "-100000", "-1")
	c.must(num(4294967295), "bitpos", "far", "1", "-100000")
	c.must(num(0), "setbit", "sparse", "99999999", "1")
	c.must(num(1), "bitcount", "sparse")
	c.must(num(99999999), "bitpos", "sparse", "1")
	c.do("multi") // under the lock, and with the batch's own pages
	c.do("setbit", "sparse", "90000000", "1")
	c.do("bitcount", "sparse")
	c.do("bitpos", "sparse", "1")
	c.do("bitpos", "sparse", "0", "90000000", "90000000", "bit")
	c.must("*4\r\n:0\r\n:2\r\n:90000000\r\n:-1\r\n", "exec")
	h.audit()
	h.check()
}

// A change in place of what is on disk alone reads in two steps at most once the meta record is there, and none of them under the lock.
func TestChangesInPlaceFromCold(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must(ok, "set", "a", strings.Repeat("x", 900_000))
	c.must(num(0), "setbit", "a", "4000000", "1")
	cold := func(limit uint64, want string, words ...string) {
		t.Helper()
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		h.store.DropCache()
		stats := h.store.Stats()
		before := stats.Reruns.Load()
		c.must(want, words...)
		if n := stats.Reruns.Load() - before; n == 0 || n > limit || stats.LockedReads.Load() > 0 {
			t.Errorf("%q: %d reruns, want %d at most; %d reads under the lock", words, n, limit, stats.LockedReads.Load())
		}
	}
	cold(2, ":1\r\n", "getbit", "a", "4000000") // meta record; directory and page
	cold(3, ":1\r\n", "getbit", "a", "2000001") // meta record; directory and header; chunk
	cold(2, ":0\r\n", "setbit", "a", "4000005", "1")
	cold(3, ":0\r\n", "setbit", "a", "2000000", "1")
	cold(3, ":900000\r\n", "setrange", "a", "150000", strings.Repeat("y", 5000))
	cold(3, bulk("xxy"), "getrange", "a", "149998", "150000")
	h.audit()
}

// What a string has lost – a page, the directory that named it, the root that named that – is missed by everyone who comes there.
func TestLostElementIsCorruptNotOld(t *testing.T) {
	const collection = "s\x00\x00\x00\x00\x00\x00\x00\x02"
	for name, lost := range map[string][]byte{
		"page":      []byte(collection + "\x02\x00\x00\x09\x00"),
		"directory": []byte(collection + "\x01\x00\x00\x00\x02"),
		"root":      []byte(collection + "\x00\x00\x00\x00\x00"),
	} {
		h := newHouse(t, Options{})
		c := h.client()
		c.must(ok, "set", "a", strings.Repeat("x", 600_000))
		c.must(num(600_000), "setrange", "a", "589824", "yyy")
		var txn storage.Txn
		if err := h.store.Update(&txn, asked(func() error {
			if value, err := txn.Get(lost); err != nil || value == nil {
				t.Fatalf("%s: %q, %v", name, value, err)
			}
			txn.Delete(lost)
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		if name != "root" {
			c.must("$2\r\nxx\r\n", "getrange", "a", "10", "11")
		}
		for _, words := range [][]string{
			{"get", "a"}, {"getrange", "a", "589824", "589825"}, {"setrange", "a", "589826", "z"}, {"bitcount", "a"}, {"getbit", "a", "4718592"},
			{"setbit", "a", "4718592", "1"}, {"bitpos", "a", "0", "589824"}, {"bitpos", "a", "1", "4718592", "-1", "bit"},
		} {
			if got := c.do(words...); !strings.HasPrefix(got, "-CORRUPT ") && (name != "root" || words[0] != "setbit") { // with a directory, it needs no root
				t.Errorf("%q on a string that lost its %s: %.100q", words, name, got)
			}
		}
		c.must(num(600_000), "strlen", "a")
		c.must(num(1), "del", "a")
	}
}

func TestPiecesBeyondABatchChangeNothing(t *testing.T) {
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	c := h.client()
	c.must(ok, "set", "a", strings.Repeat("x", 20_000))
	before := h.digest()
	big := strings.Repeat("y", 9<<20)
	for _, words := range [][]string{{"append", "a", big}, {"setrange", "a", "3", big}, {"setrange", "new", "3", big}} {
		if got := c.do(words...); !strings.HasPrefix(got, "-ERR the effects of this command exceed batch_max_bytes") {
			t.Errorf("%.20q of 9 MiB: %.100q", words, got)
		}
	}
	if h.digest() != before {
		t.Error("something was changed")
	}
	h.audit()
}

func BenchmarkBitCount(b *testing.B) {
	piece := bytes.Repeat([]byte("sett"), 16<<10)
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		countBits(piece)
	}
}

// BenchmarkSetBitInABlob changes one bit of a string of 1 MiB.
func BenchmarkSetBitInABlob(b *testing.B) {
	h := newHouse(b, Options{})
	c := h.client()
	c.must(ok, "set", "a", strings.Repeat("x", 1<<20))
	args := [][][]byte{}
	for i := range 1000 {
		args = append(args, [][]byte{[]byte("setbit"), []byte("a"), []byte(strconv.Itoa(i * 8000)), []byte(strconv.Itoa(i & 1))})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		args[i%1000][3][0] ^= 1
		c.doArgs(args[i%1000])
	}
}

// BenchmarkBitCountOfPages counts 1 MiB of which every page exists.
func BenchmarkBitCountOfPages(b *testing.B) {
	h := newHouse(b, Options{MaxBulk: 512 << 20})
	c := h.client()
	c.must(num(1<<20), "setrange", "a", "1", strings.Repeat("x", 1<<20-1))
	b.SetBytes(1 << 20)
	for b.Loop() {
		c.do("bitcount", "a")
	}
}
