package commands

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// BITFIELD sees a string as an array of bits, the highest of each byte first, and reads and writes integers of any width anywhere in it.

// fieldKind is what one operation does.
type fieldKind byte

const (
	fieldGet fieldKind = iota
	fieldSet
	fieldIncrBy
)

// overflowMode says what becomes of a value that its field is too narrow for.
type overflowMode byte

const (
	overflowWrap overflowMode = iota
	overflowSat
	overflowFail
)

// fieldOp is one operation of a BITFIELD.
type fieldOp struct {
	kind     fieldKind
	field    bitInt
	offset   int64 // of its highest bit
	value    int64
	overflow overflowMode
}

// bitInt is the type of a field: i8, u63.
type bitInt struct {
	signed bool
	bits   uint
}

func parseBitInt(arg []byte) (t bitInt, err error) {
	if len(arg) == 0 || arg[0] != 'i' && arg[0] != 'u' {
		return t, ErrBitfieldType
	}
	t.signed = arg[0] == 'i'
	most := int64(63)
	if t.signed {
		most = 64
	}
	n, ok := resp.ParseInt([]byte(CString(arg[1:], len(arg))))
	if !ok || n < 1 || n > most {
		return t, ErrBitfieldType
	}
	t.bits = uint(n)
	return t, nil
}

// limits are the lowest and the highest value of the type.
func (t bitInt) limits() (least, most int64) {
	if t.signed {
		return math.MinInt64 >> (64 - t.bits), math.MaxInt64 >> (64 - t.bits)
	}
	return 0, math.MaxInt64 >> (63 - t.bits)
}

// wrap keeps the bits of v that the field has room for.
func (t bitInt) wrap(v uint64) int64 {
	v <<= 64 - t.bits
	if t.signed {
		return int64(v) >> (64 - t.bits)
	}
	return int64(v >> (64 - t.bits))
}

// add is what an increment makes of a value of the type; ok is false if it does not fit and the mode is to fail.
func (t bitInt) add(value, by int64, mode overflowMode) (sum int64, ok bool) {
	least, most := t.limits()
	sum = value + by
	above := by > 0 && (sum < value || sum > most) // the first: it exceeds even an int64
	below := by < 0 && (sum > value || sum < least)
	return t.settle(uint64(sum), above, below, mode)
}

// fit is what SET makes of a value. One for an unsigned field is taken for unsigned, so that there is none below. And one that is so far below
// the highest that their difference exceeds an int64 counts as above it: Redis' arithmetic, which clients can see.
func (t bitInt) fit(value int64, mode overflowMode) (fitted int64, ok bool) {
	least, most := t.limits()
	above := value > most || !t.signed && value < 0 || t.bits < 64 && most-value < 0
	return t.settle(uint64(value), above, value < least && !above, mode)
}

func (t bitInt) settle(value uint64, above, below bool, mode overflowMode) (int64, bool) {
	least, most := t.limits()
	switch {
	case !above && !below || mode == overflowWrap:
		return t.wrap(value), true
	case mode == overflowFail:
		return 0, false
	case above:
		return most, true
	}
	return least, true
}

// parseFieldOps reads the operations of a BITFIELD, from Args[2] on.
func (q *Query) parseFieldOps() (ops []fieldOp, err error) {
	mode := overflowWrap
	for args := q.Args[2:]; len(args) > 0; {
		op := fieldOp{overflow: mode}
		n := 4
		switch word := args[0]; {
		case is(word, "get") && len(args) >= 3:
			op.kind, n = fieldGet, 3
		case is(word, "set") && len(args) >= 4:
			op.kind = fieldSet
		case is(word, "incrby") && len(args) >= 4:
			op.kind = fieldIncrBy
		case is(word, "overflow") && len(args) >= 2:
			if mode, err = parseOverflow(args[1]); err != nil {
				return nil, err
			}
			args = args[2:]
			continue
		default:
			return nil, ErrSyntax
		}
		if op.field, err = parseBitInt(args[1]); err != nil {
			return nil, err
		}
		if op.offset, err = q.fieldOffset(args[2], op.field.bits); err != nil {
			return nil, err
		}
		if op.kind != fieldGet {
			if op.value, err = intArg(args[3]); err != nil {
				return nil, err
			}
		}
		ops, args = append(ops, op), args[n:]
	}
	return ops, nil
}

func parseOverflow(arg []byte) (overflowMode, error) {
	switch {
	case is(arg, "wrap"):
		return overflowWrap, nil
	case is(arg, "sat"):
		return overflowSat, nil
	case is(arg, "fail"):
		return overflowFail, nil
	}
	return 0, ErrBitfieldOverflow
}

// fieldOffset reads an offset in bits, or, after #, in fields of the same width.
func (q *Query) fieldOffset(arg []byte, bits uint) (int64, error) {
	if len(arg) == 0 || arg[0] != '#' {
		return q.bitOffset(arg)
	}
	n, ok := resp.ParseInt(arg[1:])
	if n *= int64(bits); !ok || n < 0 || n>>3 >= q.set.maxBulk.Load() {
		return 0, ErrBitOffset
	}
	return n, nil
}

// bytes is the range of bytes that hold an operation's field, up to nine of them.
func (op *fieldOp) bytes() (from, to int) {
	return int(op.offset >> 3), int((op.offset+int64(op.field.bits)-1)>>3) + 1
}

// get reads the field from the bytes that hold it.
func (op *fieldOp) get(b []byte) int64 {
	var wide [16]byte
	copy(wide[:], b)
	shift := uint(op.offset & 7)
	value := binary.BigEndian.Uint64(wide[:])<<shift | uint64(wide[8])>>(8-shift)
	value >>= 64 - op.field.bits
	return op.field.wrap(value)
}

// put writes the field into the bytes that hold it.
func (op *fieldOp) put(b []byte, value int64) {
	var wide [16]byte
	copy(wide[:], b)
	shift := uint(op.offset & 7)
	mask := ^uint64(0) << (64 - op.field.bits)
	bits := uint64(value) << (64 - op.field.bits)
	high := binary.BigEndian.Uint64(wide[:])
	binary.BigEndian.PutUint64(wide[:], high&^(mask>>shift)|bits>>shift)
	if low := byte(mask << (8 - shift)); shift > 0 && low != 0 {
		wide[8] = wide[8]&^low | byte(bits<<(8-shift))
	}
	copy(b, wide[:])
}

// apply does the operation to the bytes that hold the field. ok is false if the value does not fit and that is to fail: nothing changes.
func (op *fieldOp) apply(b []byte) (reply int64, ok bool) {
	old := op.get(b)
	value := old
	switch op.kind {
	case fieldGet:
		return old, true
	case fieldSet:
		reply = old
		value, ok = op.field.fit(op.value, op.overflow)
	case fieldIncrBy:
		value, ok = op.field.add(old, op.value, op.overflow)
		reply = value
	}
	if ok {
		op.put(b, value)
	}
	return reply, ok
}

func writesField(op fieldOp) bool { return op.kind != fieldGet }

func bitFieldRO(q *Query) error {
	ops, err := q.parseFieldOps()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ops, writesField) {
		return ErrBitfieldReadOnly
	}
	return q.readFields(ops)
}

// readFields replies to operations that only read.
func (q *Query) readFields(ops []fieldOp) error {
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	var missed error
	q.W.Array(len(ops))
	for i := range ops {
		op := &ops[i]
		from, to := op.bytes()
		value, err := q.stringBytes(&m, min(from, m.StringLen()), min(to, m.StringLen()))
		switch {
		case err == storage.ErrMiss:
			missed = err // ask for the others as well
		case err != nil:
			return err
		default:
			q.W.Int(op.get(value))
		}
	}
	return missed
}

func bitField(u *Update) error {
	ops, err := u.parseFieldOps()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(ops, writesField) {
		return u.readFields(ops)
	}
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	f := newFieldPages(u, &r, ops)
	if err := f.load(ops); err != nil {
		return err
	}
	u.W.Array(len(ops))
	grows, changes := f.length > r.StringLen(), 0
	for i := range ops {
		reply, changed, ok := f.apply(&ops[i])
		if !ok {
			u.W.Null()
			continue
		}
		u.W.Int(reply)
		if changed || grows && writesField(ops[i]) {
			changes++
		}
	}
	first := u.txn.Len()
	if err := f.store(); err != nil {
		return err
	}
	u.counts(changes)
	if changes == 0 { // the string grew, and Redis tells nobody
		u.ledger.Hush(first)
	}
	return nil
}

// fieldPageBytes is how much is read and written around a field.
const fieldPageBytes = types.PageBytes

// fieldPages are the parts of a string that a BITFIELD is about.
type fieldPages struct {
	u      *Update
	r      *types.Record
	length int // of the string, once it has room for all that is written
	pages  map[int]*fieldPage
}

type fieldPage struct {
	bytes []byte
	dirty bool
}

func newFieldPages(u *Update, r *types.Record, ops []fieldOp) *fieldPages {
	f := &fieldPages{u: u, r: r, length: r.StringLen(), pages: make(map[int]*fieldPage)}
	for i := range ops {
		if _, to := ops[i].bytes(); ops[i].kind != fieldGet {
			f.length = max(f.length, to)
		}
	}
	return f
}

// load reads all pages. The last one of a string that grows will be written, whatever becomes of the operations.
func (f *fieldPages) load(ops []fieldOp) error {
	var missed error
	for i := range ops {
		from, to := ops[i].bytes()
		for n := from / fieldPageBytes; n <= (to-1)/fieldPageBytes; n++ {
			if err := f.loadPage(n); err == storage.ErrMiss {
				missed = err // ask for the others as well
			} else if err != nil {
				return err
			}
		}
	}
	if missed != nil {
		return missed
	}
	if f.length > f.r.StringLen() {
		f.pages[(f.length-1)/fieldPageBytes].dirty = true
	}
	return nil
}

func (f *fieldPages) loadPage(n int) error {
	if f.pages[n] != nil {
		return nil
	}
	if int64(len(f.pages)*fieldPageBytes) > f.u.set.store.Budget().BatchMax {
		return storage.ErrTooLarge
	}
	start, length := n*fieldPageBytes, f.r.StringLen()
	value, err := f.u.stringBytes(&f.r.Meta, min(start, length), min(start+fieldPageBytes, length))
	if err != nil {
		return err
	}
	page := &fieldPage{bytes: make([]byte, max(0, min(fieldPageBytes, f.length-start)))}
	copy(page.bytes, value)
	f.pages[n] = page
	return nil
}

// apply does an operation, whose field may lie across two pages, or behind the end of the string if it only reads.
func (f *fieldPages) apply(op *fieldOp) (reply int64, changed, ok bool) {
	from, to := op.bytes()
	var field, old [9]byte
	f.each(from, to, func(page *fieldPage, at, i int) { field[i] = page.bytes[at] })
	old = field
	reply, ok = op.apply(field[:to-from])
	if changed = field != old; changed {
		f.each(from, to, func(page *fieldPage, at, i int) { page.bytes[at], page.dirty = field[i], true })
	}
	return reply, changed, ok
}

// each calls do for the bytes of a range that the string has: where in which page they are, and where in the range.
func (f *fieldPages) each(from, to int, do func(page *fieldPage, at, i int)) {
	for place := from; place < min(to, f.length); place++ {
		do(f.pages[place/fieldPageBytes], place%fieldPageBytes, place-from)
	}
}

// store writes what has changed.
func (f *fieldPages) store() error {
	changed := false
	for _, n := range slices.Sorted(maps.Keys(f.pages)) {
		if page := f.pages[n]; page.dirty {
			if err := f.u.ledger.Splice(f.r, n*fieldPageBytes, page.bytes); err != nil {
				return err
			}
			changed = true
		}
	}
	if !changed {
		f.u.ledger.MarkRaw(f.r)
	}
	return nil
}

// fieldKeyFlags are what BITFIELD does with its key: it only reads it if all operations do.
func fieldKeyFlags(args [][]byte) KeyFlags {
	for args = args[2:]; len(args) > 0; {
		switch word := args[0]; {
		case is(word, "get") && len(args) >= 3:
			args = args[3:]
		case is(word, "overflow") && len(args) >= 2:
			args = args[2:]
		default:
			return KeyRW | KeyAccess | KeyUpdate | KeyVariable
		}
	}
	return KeyRO | KeyAccess | KeyVariable
}
