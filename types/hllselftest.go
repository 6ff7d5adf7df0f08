package types

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The sizes of the self-test are Redis'.
const (
	selfTestCycles   = 1000
	selfTestElements = 10_000_000
)

// SelfTestHyperLogLog is PFSELFTEST: it proves that registers keep what is put into them, that both codes count the same, and that the error
// is what it should be.
func SelfTestHyperLogLog(random func() uint64, sparseMax int64) error {
	dense := NewHyperLogLog()
	if err := dense.Densify(); err != nil {
		return err
	}
	for range selfTestCycles {
		if err := dense.testRegisters(random); err != nil {
			return err
		}
	}
	clear(dense.data[hllHeaderBytes:])
	return dense.testError(random(), sparseMax)
}

// testRegisters fills all registers with random values and reads them again.
func (h *HyperLogLog) testRegisters(random func() uint64) error {
	var want Registers
	for i := range want {
		want[i] = byte(random() & 63)
		h.setRegister(i, want[i])
	}
	for i, value := range want {
		if got := h.register(i); got != value {
			return fmt.Errorf("TESTFAILED Register %d should be %d but is %d", i, value, got)
		}
	}
	return nil
}

// testError adds elements to h, which is dense and empty, and to a sparse one, and looks at both at each power of ten.
func (h *HyperLogLog) testError(seed uint64, sparseMax int64) error {
	other := NewHyperLogLog()
	standardError := 1.04 / math.Sqrt(hllRegisters)
	checkpoint := uint64(1)
	var element [8]byte
	for n := uint64(1); n <= selfTestElements; n++ {
		binary.LittleEndian.PutUint64(element[:], n^seed)
		for _, h := range []*HyperLogLog{h, other} {
			if _, err := h.Add(element[:], sparseMax); err != nil {
				return err
			}
		}
		if n != checkpoint {
			continue
		}
		checkpoint *= 10
		if other.Dense() && int64(n) < sparseMax/2 {
			return errors.New("TESTFAILED sparse encoding not used")
		}
		got, _ := h.Count()
		if sparse, _ := other.Count(); sparse != got {
			return errors.New("TESTFAILED dense/sparse disagree")
		}
		most := math.Ceil(standardError * 6 * float64(n))
		if n == 10 {
			most = 1 // two of ten often share a register
		}
		if off := math.Abs(float64(n) - float64(got)); off > most {
			return fmt.Errorf("TESTFAILED Too big error. card:%d abserr:%d", n, uint64(off))
		}
	}
	return nil
}
