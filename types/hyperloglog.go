package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"sett/storage"
)

// A HyperLogLog is a string in Redis' format, byte for byte:
//
//	"HYLL" · encoding(1): 0 dense, 1 sparse · zeros(3) · cached cardinality(8), little-endian; its highest bit set: not valid · registers
//
// Dense registers are 6 bits each, lowest first, in bytes from the lowest bit on. Sparse ones are a run-length code:
//
//	00xxxxxx            ZERO   x+1 registers are 0
//	01xxxxxx yyyyyyyy   XZERO  xy+1 registers are 0
//	1vvvvvxx            VAL    x+1 registers are v+1
//
// A client can SET any bytes. What does not begin as above is no HyperLogLog (ErrNotHLL), and one whose registers are not 16,384 is
// damaged (ErrCorruptHLL).
const (
	hllHeaderBytes = 16
	hllDense       = 0
	hllSparse      = 1

	hllBits      = 14 // of the hash choose the register
	hllRegisters = 1 << hllBits
	hllRankMax   = 64 - hllBits + 1

	hllDenseBytes = hllHeaderBytes + hllRegisters*6/8
	// hllMaxBytes is the longest string that can be a whole HyperLogLog: sparse, two bytes for each register.
	hllMaxBytes = hllHeaderBytes + 2*hllRegisters

	hllValMax    = 32 // highest value, and longest runs, of the sparse code
	hllValRun    = 4
	hllZeroRun   = 64
	hllXZeroMask = 0x40
)

// Errors of HyperLogLogs.
var (
	ErrNotHLL     = errors.New("types: no HyperLogLog")
	ErrCorruptHLL = errors.New("types: corrupt HyperLogLog")
)

// HyperLogLog is one of them in memory. Its owner may change it.
type HyperLogLog struct{ data []byte }

// NewHyperLogLog returns an empty one.
func NewHyperLogLog() *HyperLogLog {
	h := &HyperLogLog{append([]byte("HYLL\x01"), make([]byte, hllHeaderBytes-5)...)}
	h.data = appendZeros(h.data, hllRegisters)
	return h
}

// ReadHLLHeader reads the header of the one that a string holds: Dense and Cached are all that it is good for.
func ReadHLLHeader(r Reader, m *Meta) (h HyperLogLog, err error) {
	length := m.StringLen()
	if length < hllHeaderBytes {
		return h, ErrNotHLL
	}
	if h.data, err = AppendString(r, m, make([]byte, 0, hllHeaderBytes), 0, hllHeaderBytes); err != nil {
		return h, err
	}
	if !bytes.HasPrefix(h.data, []byte("HYLL")) || h.encoding() > hllSparse || h.Dense() && length != hllDenseBytes {
		return h, ErrNotHLL
	}
	return h, nil
}

// ReadHyperLogLog reads the one that a string holds.
func ReadHyperLogLog(r Reader, m *Meta) (*HyperLogLog, error) {
	h, err := ReadHLLHeader(r, m)
	if err != nil {
		return nil, err
	}
	if m.StringLen() > hllMaxBytes {
		return nil, ErrCorruptHLL
	}
	h.data, err = AppendString(r, m, make([]byte, 0, m.StringLen()), 0, m.StringLen())
	return &h, err
}

// Bytes is the string. It belongs to the HyperLogLog.
func (h *HyperLogLog) Bytes() []byte { return h.data }

func (h *HyperLogLog) encoding() byte { return h.data[4] }

// Dense tells whether the registers are not run-length coded.
func (h *HyperLogLog) Dense() bool { return h.encoding() == hllDense }

// Cached is the cardinality that was counted last, if nothing was added since.
func (h *HyperLogLog) Cached() (n uint64, ok bool) {
	n = binary.LittleEndian.Uint64(h.data[8:])
	return n, n>>63 == 0
}

// Cache keeps the cardinality.
func (h *HyperLogLog) Cache(n uint64) { binary.LittleEndian.PutUint64(h.data[8:], n) }

// Forget says that the cached cardinality is not valid any more.
func (h *HyperLogLog) Forget() { h.data[15] |= 1 << 7 }

// Add adds an element. A sparse HyperLogLog becomes dense when it would exceed sparseMax bytes, or one of its registers the code.
func (h *HyperLogLog) Add(element []byte, sparseMax int64) (changed bool, err error) {
	register, rank := hllPlace(element)
	return h.raise(register, rank, sparseMax)
}

// hllPlace is the register of an element, and how many zeros its hash ends in behind the register's bits, plus one.
func hllPlace(element []byte) (register int, rank byte) {
	hash := murmur64A(element, 0xadc83b19)
	return int(hash & (hllRegisters - 1)), byte(bits.TrailingZeros64(hash>>hllBits|1<<(64-hllBits))) + 1
}

// raise makes a register at least value.
func (h *HyperLogLog) raise(register int, value byte, sparseMax int64) (changed bool, err error) {
	if !h.Dense() {
		if changed, err = h.raiseSparse(register, value, sparseMax); err != errSparseFull {
			return changed, err
		}
		if err = h.Densify(); err != nil {
			return false, err
		}
	}
	if h.register(register) >= value {
		return false, nil
	}
	h.setRegister(register, value)
	return true, nil
}

// densePlace is where a dense register begins: the byte of the string, and the bit of that byte. The last one ends with the string.
func densePlace(i int) (at, shift int) { return hllHeaderBytes + i*6/8, i * 6 & 7 }

func (h *HyperLogLog) register(i int) byte {
	at, shift := densePlace(i)
	return registerIn(h.data[at:], shift)
}

func (h *HyperLogLog) setRegister(i int, value byte) {
	at, shift := densePlace(i)
	setRegisterIn(h.data[at:], shift, value)
}

// registerIn reads the register that begins at a bit of the first byte, and may end in the second.
func registerIn(b []byte, shift int) byte {
	v := uint(b[0]) >> shift
	if shift > 2 {
		v |= uint(b[1]) << (8 - shift)
	}
	return byte(v & 63)
}

func setRegisterIn(b []byte, shift int, value byte) {
	b[0] = b[0]&^byte(63<<shift) | value<<shift
	if shift > 2 {
		b[1] = b[1]&^byte(63>>(8-shift)) | value>>(8-shift)
	}
}

// AddToDense is Add for a few elements and a dense HyperLogLog in the store: it reads and writes nothing but their registers.
// raised is how many elements raised one.
func (l *Ledger) AddToDense(r *Record, elements [][]byte) (raised int, err error) {
	var missed error
	for round := range 2 {
		for _, element := range elements {
			i, rank := hllPlace(element)
			at, shift := densePlace(i)
			b, err := AppendString(l.txn, &r.Meta, make([]byte, 0, 2), at, min(at+2, hllDenseBytes))
			switch {
			case err == storage.ErrMiss:
				missed = err // ask for the others as well
			case err != nil:
				return 0, err
			case round == 1 && registerIn(b, shift) < rank:
				raised++
				setRegisterIn(b, shift, rank)
				if err := l.Splice(r, at, b); err != nil {
					return 0, err
				}
			}
		}
		if missed != nil {
			return 0, missed
		}
	}
	if raised > 0 {
		err = l.SpliceByte(r, hllHeaderBytes-1, func(b byte) byte { return b | 1<<7 }) // as Forget
	}
	return raised, err
}

// sparseRun is one opcode of the sparse code.
type sparseRun struct {
	value byte // of the registers
	count int  // how many registers
	bytes int  // how many bytes the opcode has
}

// run reads the opcode at a place. The second byte of an XZERO that is cut off counts as 0, as in Redis.
func (h *HyperLogLog) run(at int) sparseRun {
	switch op := h.data[at]; {
	case op&0x80 != 0:
		return sparseRun{op>>2&31 + 1, int(op&3) + 1, 1}
	case op&hllXZeroMask != 0:
		low := byte(0)
		if at+1 < len(h.data) {
			low = h.data[at+1]
		}
		return sparseRun{0, int(op&63)<<8 | int(low) + 1, 2}
	default:
		return sparseRun{0, int(op) + 1, 1}
	}
}

// Runs calls f for each run of equal registers of a sparse HyperLogLog, whether they are 16,384 or not. wide says that its opcode is XZERO.
func (h *HyperLogLog) Runs(f func(value byte, count int, wide bool)) {
	for at := hllHeaderBytes; at < len(h.data); {
		r := h.run(at)
		f(r.value, r.count, r.bytes == 2)
		at += r.bytes
	}
}

// each calls f for each run of equal registers, the first of which is i. It stops at an error.
func (h *HyperLogLog) each(f func(i int, value byte, count int)) error {
	if h.Dense() {
		for i := range hllRegisters {
			f(i, h.register(i), 1)
		}
		return nil
	}
	i := 0
	for at := hllHeaderBytes; at < len(h.data); {
		r := h.run(at)
		if i+r.count > hllRegisters {
			return ErrCorruptHLL
		}
		f(i, r.value, r.count)
		i, at = i+r.count, at+r.bytes
	}
	if i != hllRegisters {
		return ErrCorruptHLL
	}
	return nil
}

// Densify makes a sparse HyperLogLog dense. What is cached stays valid.
func (h *HyperLogLog) Densify() error {
	if h.Dense() {
		return nil
	}
	dense := &HyperLogLog{make([]byte, hllDenseBytes)}
	copy(dense.data, h.data[:hllHeaderBytes])
	dense.data[4] = hllDense
	err := h.each(func(i int, value byte, count int) {
		for n := i; value > 0 && n < i+count; n++ {
			dense.setRegister(n, value)
		}
	})
	if err == nil {
		h.data = dense.data
	}
	return err
}

// errSparseFull says that the sparse code cannot hold a change.
var errSparseFull = errors.New("types: the sparse code is full")

// raiseSparse is raise on the sparse code: it splits the run that has the register, and joins what has become equal.
func (h *HyperLogLog) raiseSparse(register int, value byte, sparseMax int64) (changed bool, err error) {
	if value > hllValMax {
		return false, errSparseFull
	}
	before, at, first := -1, hllHeaderBytes, 0 // the opcode before, the one that has the register, and the first register of that
	var r sparseRun
	for ; at < len(h.data); at += r.bytes {
		if r = h.run(at); register < first+r.count {
			break
		}
		before, first = at, first+r.count
	}
	switch {
	case at >= len(h.data) || at+r.bytes > len(h.data):
		return false, ErrCorruptHLL // it ends before the register
	case r.value >= value:
		return false, nil
	}
	split := make([]byte, 0, 5)
	split = appendRun(split, r.value, register-first)
	split = appendRun(split, value, 1)
	split = appendRun(split, r.value, first+r.count-register-1)
	if grown := len(split) - r.bytes; grown > 0 && int64(len(h.data)+grown) > sparseMax {
		return false, errSparseFull
	}
	tail := append(split, h.data[at+r.bytes:]...)
	h.data = append(h.data[:at], tail...)
	if before < 0 {
		before = hllHeaderBytes
	}
	h.join(before)
	h.Forget()
	return true, nil
}

func appendRun(code []byte, value byte, count int) []byte {
	switch {
	case count == 0:
		return code
	case value > 0:
		return append(code, 0x80|(value-1)<<2|byte(count-1))
	}
	return appendZeros(code, count)
}

func appendZeros(code []byte, count int) []byte {
	if count--; count < hllZeroRun {
		return append(code, byte(count))
	}
	return append(code, hllXZeroMask|byte(count>>8), byte(count))
}

// joinOpcodes is how many opcodes join looks at, counting one that it has joined with the next anew.
const joinOpcodes = 5

// join makes one opcode of neighbours of equal value, as far as one can hold them.
func (h *HyperLogLog) join(at int) {
	for n := 0; n < joinOpcodes && at < len(h.data); n++ {
		r := h.run(at)
		if next := at + r.bytes; r.value > 0 && next < len(h.data) && h.data[next]&0x80 != 0 {
			if other := h.run(next); other.value == r.value && r.count+other.count <= hllValRun {
				h.data[next] = appendRun(nil, r.value, r.count+other.count)[0]
				h.data = append(h.data[:at], h.data[next:]...)
				continue
			}
		}
		at += r.bytes
	}
}

// Registers are all registers, a byte each.
type Registers [hllRegisters]byte

// Merge raises the registers to those of h.
func (regs *Registers) Merge(h *HyperLogLog) error {
	return h.each(func(i int, value byte, count int) {
		for n := i; value > 0 && n < i+count; n++ {
			regs[n] = max(regs[n], value)
		}
	})
}

// Raise raises the registers of h to regs.
func (h *HyperLogLog) Raise(regs *Registers, sparseMax int64) error {
	for i, value := range regs {
		if value > 0 {
			if _, err := h.raise(i, value, sparseMax); err != nil {
				return err
			}
		}
	}
	return nil
}

// Count is the estimated cardinality.
func (regs *Registers) Count() uint64 {
	var histogram [64]int
	for _, value := range regs {
		histogram[value]++
	}
	return estimate(&histogram)
}

// Count is the estimated cardinality.
func (h *HyperLogLog) Count() (uint64, error) {
	var histogram [64]int
	err := h.each(func(_ int, value byte, count int) { histogram[value] += count })
	return estimate(&histogram), err
}

// estimate is Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284), of how many registers have
// each value. The conversions keep compilers from joining a product and a sum into one rounding: the result is Redis', to the last bit.
func estimate(histogram *[64]int) uint64 {
	const (
		m        = float64(hllRegisters)
		alphaInf = 0.721347520444481703680 // 0.5 / ln 2
	)
	z := m * tau((m-float64(histogram[hllRankMax]))/m)
	for i := hllRankMax - 1; i >= 1; i-- {
		z += float64(histogram[i])
		z *= 0.5
	}
	z += float64(m * sigma(float64(histogram[0])/m))
	e := math.Round(float64(float64(alphaInf*m)*m) / z)
	if math.IsInf(e, 1) {
		return 1 << 63 // what the processor makes of it: registers like these were never counted
	}
	return uint64(e)
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		last := z
		z += float64(x * y)
		y += y
		if z == last {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		last := z
		y *= 0.5
		z -= float64(float64((1-x)*(1-x)) * y)
		if z == last {
			return z / 3
		}
	}
}

// murmur64A is Austin Appleby's MurmurHash2 of 64 bits.
func murmur64A(b []byte, seed uint64) uint64 {
	const (
		m = 0xc6a4a7935bd1e995
		r = 47
	)
	h := seed ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * m
		k = (k ^ k>>r) * m
		h = (h ^ k) * m
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		h = (h ^ binary.LittleEndian.Uint64(tail[:])) * m
	}
	h = (h ^ h>>r) * m
	return h ^ h>>r
}
