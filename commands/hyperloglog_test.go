package commands

import (
	"strconv"
	"strings"
	"testing"
)

// A full disk refuses PFADD, but PFCOUNT is a read: only the cardinality is not kept.
func TestPFCountNeedsNoDisk(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must(num(1), "pfadd", "h", "a", "b", "c")
	counted := func() bool { return c.do("getrange", "h", "15", "15") == bulk("\x00") }
	h.store.SetDiskFree(0)
	if got := c.do("pfadd", "h", "d"); !strings.HasPrefix(got, "-MISCONF ") {
		t.Fatalf("PFADD on a full disk: %q", got)
	}
	c.must(num(3), "pfcount", "h")
	if counted() {
		t.Error("the cardinality was written to a full disk")
	}
	h.store.SetDiskFree(1 << 40)
	c.must(num(3), "pfcount", "h")
	if !counted() {
		t.Error("the cardinality was not kept")
	}
	if n := c.logged("pfcount", "h"); n != 0 {
		t.Errorf("the second PFCOUNT wrote %d bytes", n)
	}
}

// A dense HyperLogLog has 12 KiB; an element changes one byte of them.
func TestPFAddLogsAPage(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must(num(1), "pfadd", "h", "a")
	c.must(num(1), "pfdebug", "todense", "h")
	c.must(num(1), "pfadd", "h", "b") // becomes pages
	if n := c.logged("pfadd", "h", "another", "element"); n > 4000 {
		t.Errorf("PFADD of two elements logs %d bytes", n)
	}
	c.must(num(4), "pfcount", "h")
	h.reopen()
	h.client().must(num(4), "pfcount", "h")
}

// What PFCOUNT has written within a transaction is part of it.
func TestPFCountInATransaction(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must(num(1), "pfadd", "h", "a")
	c.must(ok, "multi")
	c.do("pfcount", "h")
	c.do("getrange", "h", "8", "15")
	c.do("pfadd", "h", "b")
	c.do("pfcount", "h", "h")
	c.do("pfcount", "nokey")
	c.must("*5\r\n:1\r\n$8\r\n\x01\x00\x00\x00\x00\x00\x00\x00\r\n:1\r\n:2\r\n:0\r\n", "exec")
	h.audit()
}

// FuzzHyperLogLogCommands: whatever bytes a client has SET, the commands answer and leave the store in order.
func FuzzHyperLogLogCommands(f *testing.F) {
	header := "HYLL\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x80"
	for _, registers := range []string{"", "\x7f\xff", "\x7f", "\x7f\xfe\xf8", "\x3f\xfb\x7f\xbb\xfc\x00"} {
		f.Add(header + registers)
	}
	f.Add("HYLL\x00" + strings.Repeat("\xff", 12299))
	h := newHouse(f, Options{})
	c := h.client()
	f.Fuzz(func(t *testing.T, value string) {
		h.t = t
		c.must(ok, "set", "h", value)
		c.must(ok, "set", "g", header+"\x7f\xff")
		for _, words := range []string{"pfcount h", "pfadd h a b c", "pfcount h g", "pfmerge g h", "pfdebug decode h", "pfdebug getreg h", "pfcount h"} {
			got := c.do(strings.Fields(words)...)
			if got[0] == '-' && !strings.HasPrefix(got, "-WRONGTYPE Key is not") && !strings.HasPrefix(got, "-INVALIDOBJ ") &&
				got != "-"+string(ErrDenseHLL)+"\r\n" {
				t.Fatalf("%s: %.100q", words, got)
			}
		}
	})
}

// BenchmarkPFAdd adds elements, one at a time, to one that is dense and full.
func BenchmarkPFAdd(b *testing.B) {
	h := newHouse(b, Options{})
	c := h.client()
	args := [][]byte{[]byte("pfadd"), []byte("h"), nil}
	for i := range 200_000 {
		args = append(args, strconv.AppendInt(nil, int64(i), 10))
	}
	c.doArgs(args)
	args = args[:3]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		args[2] = strconv.AppendInt(args[2][:0], int64(i), 10)
		c.doArgs(args)
	}
}

// BenchmarkPFCount counts one whose cardinality is kept.
func BenchmarkPFCount(b *testing.B) {
	h := newHouse(b, Options{})
	c := h.client()
	c.do("pfadd", "h", "a", "b", "c")
	c.do("pfdebug", "todense", "h")
	for b.Loop() {
		c.do("pfcount", "h")
	}
}
