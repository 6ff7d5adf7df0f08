package types

import (
	"encoding/binary"
	"math"
	"testing"
)

// element is a different one for each number.
func element(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n*0x9e3779b97f4a7c15) }

func add(t testing.TB, h *HyperLogLog, from, to uint64, sparseMax int64) {
	t.Helper()
	for n := from; n < to; n++ {
		if _, err := h.Add(element(n), sparseMax); err != nil {
			t.Fatal(err)
		}
	}
}

// The standard error is 1.04/√16384 = 0.8 %: more than six times as much means that something is wrong.
func TestHyperLogLogError(t *testing.T) {
	sparse, dense := NewHyperLogLog(), NewHyperLogLog()
	if err := dense.Densify(); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, n := range []uint64{1, 10, 100, 1000, 5000, 20_000, 100_000, 1_000_000} {
		add(t, sparse, last, n, 3000)
		add(t, dense, last, n, 3000)
		last = n
		got, err := sparse.Count()
		if err != nil {
			t.Fatal(err)
		}
		if other, _ := dense.Count(); other != got {
			t.Errorf("%d elements: sparse %d, dense %d", n, got, other)
		}
		if off := math.Abs(float64(got) - float64(n)); off > math.Ceil(6*1.04/128*float64(n)) {
			t.Errorf("%d elements count as %d", n, got)
		}
		if n <= 1000 == sparse.Dense() {
			t.Errorf("%d elements: dense %v", n, sparse.Dense())
		}
	}
}

func TestHyperLogLogUnion(t *testing.T) {
	all := NewHyperLogLog()
	var regs Registers
	for i := range uint64(5) {
		part := NewHyperLogLog()
		add(t, part, i*700, i*700+1000, 3000) // neighbours share 300
		add(t, all, i*700, i*700+1000, 3000)
		if err := regs.Merge(part); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := all.Count()
	if got := regs.Count(); got != want {
		t.Errorf("the union counts %d, all elements together %d", got, want)
	}
	merged := NewHyperLogLog()
	if err := merged.Raise(&regs, 100_000); err != nil {
		t.Fatal(err)
	}
	if got, err := merged.Count(); got != want || err != nil || merged.Dense() {
		t.Errorf("what is made of the registers counts %d, want %d (%v, dense %v)", got, want, err, merged.Dense())
	}
}

func TestSelfTestFindsAWrongRegister(t *testing.T) {
	n := uint64(0)
	random := func() uint64 { n++; return n * 0x9e3779b97f4a7c15 >> 20 }
	h := NewHyperLogLog()
	if err := h.Densify(); err != nil {
		t.Fatal(err)
	}
	if err := h.testRegisters(random); err != nil {
		t.Fatal(err)
	}
	if err := h.testError(1, 1<<40); err == nil { // its registers are full of noise
		t.Error("the test passes with noise in the registers")
	}
}

// FuzzHyperLogLog treats any bytes as Redis does: nothing panics, and what can be read is changed by nothing but what changes it.
func FuzzHyperLogLog(f *testing.F) {
	header := "HYLL\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"
	for _, registers := range []string{"", "\x7f\xff", "\x7f", "\x7f\xfe\xf8", "\x00\x80\xff", "\x7f\xff\x00", "\x3f\xfb\x7f\xbb\xfc\x00"} {
		f.Add([]byte(header+registers), uint16(3), byte(7))
	}
	some := NewHyperLogLog()
	add(f, some, 0, 300, 3000)
	f.Add(some.Bytes(), uint16(16383), byte(32))
	add(f, some, 300, 4000, 3000)
	f.Add(some.Bytes(), uint16(16383), byte(50))
	f.Fuzz(func(t *testing.T, data []byte, register uint16, value byte) {
		h, err := ReadHyperLogLog(nil, &Meta{Exists: true, Payload: data})
		if err != nil {
			return
		}
		var before Registers
		valid := before.Merge(h) == nil
		if count, err := h.Count(); (err == nil) != valid || valid && count != before.Count() {
			t.Fatalf("counts %d (%v), its registers %d", count, err, before.Count())
		}
		h.Runs(func(byte, int, bool) {})
		i, v := int(register)%hllRegisters, value%hllRankMax+1
		changed, err := h.raise(i, v, 3000)
		if err != nil {
			if valid {
				t.Fatal(err)
			}
			return
		}
		var after Registers
		if err := after.Merge(h); err != nil {
			if valid {
				t.Fatal(err)
			}
			return
		}
		if before[i] = max(before[i], v); valid && (after != before || !changed && after[i] > v && after[i] != before[i]) {
			t.Fatalf("register %d raised to %d: something else changed", i, v)
		}
		if err := h.Densify(); err != nil || !h.Dense() || len(h.Bytes()) != hllDenseBytes {
			t.Fatalf("%v: dense %v, %d bytes", err, h.Dense(), len(h.Bytes()))
		}
		var dense Registers
		if dense.Merge(h); dense != after {
			t.Fatal("the dense registers are others")
		}
	})
}
