package commands

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands that see a string as bits.
func bitmapRows() []*Row {
	return []*Row{
		{
			Name: "bitcount", Arity: -2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatBitmap, Group: "bitmap", Since: "2.6.0",
			Summary:    "Count set bits in a string",
			Complexity: "O(N)",
			Read:       bitCount,
			Long:       scanBits,
		},
		{
			Name: "bitfield", Arity: -2, Flags: FlagWrite | FlagDenyOOM,
			Keys: []KeySpec{{Flags: KeyRW | KeyAccess | KeyUpdate | KeyVariable, First: 1, Last: 0, Step: 1,
				Notes: "This command allows both access and modification of the key"}},
			Categories: CatBitmap, Group: "bitmap", Since: "3.2.0",
			Summary:    "Perform arbitrary bitfield integer operations on strings",
			Complexity: "O(1) for each subcommand specified",
			Write:      bitField,
		},
		{
			Name: "bitfield_ro", Arity: -2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatBitmap, Group: "bitmap", Since: "6.0.0",
			Summary:    "Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD",
			Complexity: "O(1) for each subcommand specified",
			Read:       bitFieldRO,
		},
		{
			Name: "bitop", Arity: -4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 2, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 3, Last: -1, Step: 1}},
			Categories: CatBitmap, Group: "bitmap", Since: "2.6.0",
			Summary:    "Perform bitwise operations between strings",
			Complexity: "O(N)",
			Write:      bitOp, Derives: true,
		},
		{
			Name: "bitpos", Arity: -3, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatBitmap, Group: "bitmap", Since: "2.8.7",
			Summary:    "Find first bit set or clear in a string",
			Complexity: "O(N)",
			Read:       bitPos,
			Long:       scanBits,
		},
		{
			Name: "getbit", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatBitmap, Group: "bitmap", Since: "2.2.0",
			Summary:    "Returns the bit value at offset in the string value stored at key",
			Complexity: "O(1)",
			Read:       getBit,
		},
		{
			Name: "setbit", Arity: 4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatBitmap, Group: "bitmap", Since: "2.2.0",
			Summary:    "Sets or clears the bit at offset in the string value stored at key",
			Complexity: "O(1)",
			Write:      setBit,
		},
	}
}

func getBit(q *Query) error {
	offset, err := q.bitOffset(q.Args[2])
	if err != nil {
		return err
	}
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	at := int(offset >> 3)
	if !m.Exists || at >= m.StringLen() {
		q.W.Int(0)
		return nil
	}
	value, err := q.stringBytes(&m, at, at+1)
	if err != nil {
		return err
	}
	q.W.Int(int64(value[0] >> (7 - offset&7) & 1))
	return nil
}

func setBit(u *Update) error {
	offset, err := u.bitOffset(u.Args[2])
	if err != nil {
		return err
	}
	bit, ok := resp.ParseInt(u.Args[3])
	if !ok || bit&^1 != 0 {
		return ErrBit
	}
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	shift, old := 7-offset&7, byte(0)
	err = u.ledger.SpliceByte(&r, int(offset>>3), func(b byte) byte {
		old = b
		return b&^(1<<shift) | byte(bit)<<shift
	})
	if err != nil {
		return err
	}
	u.W.Int(int64(old >> shift & 1))
	return nil
}

// bitOffset reads an argument that addresses a bit.
func (q *Query) bitOffset(arg []byte) (int64, error) {
	n, ok := resp.ParseInt(arg)
	if !ok || n < 0 || n>>3 >= q.set.maxBulk.Load() {
		return 0, ErrBitOffset
	}
	return n, nil
}

// bitScan is BITCOUNT or BITPOS on its way through a string.
type bitScan struct {
	m           types.Meta
	from, to    int  // the bytes that hold the range of bits
	first, last byte // which bits of the first and of the last byte lie in it

	find   bool // BITPOS
	bit    byte // that it looks for
	beyond bool // it may find a clear bit behind the string

	at    int   // how far it has come
	count int64 // set bits so far
	found int64 // place of the bit, -1: not yet
}

// shortScan is the longest range that is read under the lock.
const shortScan = 64 << 10

func bitCount(q *Query) error {
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	if !m.Exists {
		return q.bitReply(0)
	}
	s := bitScan{m: m}
	switch len(q.Args) {
	case 2:
		s.wholeString()
	case 4, 5:
		start, err := intArg(q.Args[2])
		if err != nil {
			return err
		}
		end, err := intArg(q.Args[3])
		if err != nil {
			return err
		}
		if start < 0 && end < 0 && start > end {
			return q.bitReply(0) // whatever the unit is
		}
		unit, err := bitUnit(q.Args[4:])
		if err != nil {
			return err
		}
		s.between(start, end, unit)
	default:
		return ErrSyntax
	}
	return q.startScan(s)
}

func bitPos(q *Query) error {
	bit, err := intArg(q.Args[2])
	if err != nil {
		return err
	}
	if bit&^1 != 0 {
		return ErrBitPosBit
	}
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	if !m.Exists {
		return q.bitReply(-bit)
	}
	s := bitScan{m: m, find: true, bit: byte(bit), beyond: bit == 0 && len(q.Args) < 5}
	switch len(q.Args) {
	case 3:
		s.wholeString()
	case 4, 5, 6:
		start, err := intArg(q.Args[3])
		if err != nil {
			return err
		}
		unit, err := bitUnit(q.Args[min(5, len(q.Args)):])
		if err != nil {
			return err
		}
		end := int64(-1)
		if len(q.Args) > 4 {
			if end, err = intArg(q.Args[4]); err != nil {
				return err
			}
		}
		s.between(start, end, unit)
	default:
		return ErrSyntax
	}
	return q.startScan(s)
}

// bitUnit reads the optional argument that says what a range counts: bytes, or bits (unit 8 of them to a byte).
func bitUnit(args [][]byte) (unit int64, err error) {
	switch {
	case len(args) == 0 || is(args[0], "byte"):
		return 1, nil
	case is(args[0], "bit"):
		return 8, nil
	}
	return 0, ErrSyntax
}

func (s *bitScan) wholeString() { s.between(0, -1, 1) }

// between sets the range. Negative places count from the end of the string.
func (s *bitScan) between(start, end, unit int64) {
	total := int64(s.m.StringLen()) * unit
	if start < 0 {
		start = max(0, total+start)
	}
	if end < 0 {
		end = max(0, total+end)
	}
	end = min(end, total-1)
	if start > end {
		return // from and to are 0: nothing
	}
	s.first, s.last = 0xff, 0xff
	if unit == 8 {
		s.first, s.last = 0xff>>(start&7), 0xff<<(7-end&7)
		start, end = start>>3, end>>3
	}
	s.from, s.to = int(start), int(end)+1
	if s.to-s.from == 1 {
		s.first, s.last = s.first&s.last, 0xff
	}
}

// startScan replies at once if the range is short, and leaves the rest to scanBits.
func (q *Query) startScan(s bitScan) error {
	s.at, s.found = s.from, -1
	if s.to-s.from > shortScan {
		s.m.Payload = bytes.Clone(s.m.Payload)
		q.bits = s
		return nil
	}
	value, err := q.stringBytes(&s.m, s.from, s.to)
	if err != nil {
		return err
	}
	s.take(value)
	return q.bitReply(s.result())
}

func (q *Query) bitReply(n int64) error {
	q.replied = true
	q.W.Int(n)
	return nil
}

// scanBits is Long of BITCOUNT and BITPOS.
func scanBits(q *Query, v *storage.View) error {
	s := &q.bits
	pieces := types.NewPieces(q.over(v, &s.m, asIs), &s.m, s.from, s.to)
	for s.found < 0 {
		piece, err := pieces.Next()
		if err != nil {
			return err
		}
		if len(piece) == 0 {
			break
		}
		s.take(piece)
	}
	q.W.Int(s.result())
	return nil
}

// take looks at the next bytes.
func (s *bitScan) take(piece []byte) {
	if s.find {
		if i := s.position(piece); i >= 0 {
			s.found = int64(s.at)*8 + int64(i)
		}
	} else {
		s.count += s.number(piece)
	}
	s.at += len(piece)
}

func (s *bitScan) result() int64 {
	switch {
	case !s.find:
		return s.count
	case s.found < 0 && s.beyond && s.from < s.to:
		return int64(s.to) * 8
	}
	return s.found
}

// number is how many bits of a piece are set and lie in the range.
func (s *bitScan) number(piece []byte) int64 {
	n := countBits(piece)
	if s.at == s.from && len(piece) > 0 {
		n -= bits.OnesCount8(piece[0] &^ s.first)
	}
	if end := len(piece) - 1; s.at+end == s.to-1 && end >= 0 {
		n -= bits.OnesCount8(piece[end] &^ s.last)
	}
	return int64(n)
}

// position returns where in a piece the bit that is looked for comes first, -1 if it does not.
func (s *bitScan) position(piece []byte) int {
	if len(piece) == 0 {
		return -1
	}
	invert := s.bit - 1 // so that a set bit is looked for
	from, to := 0, len(piece)
	if s.at == s.from {
		if b := (piece[0] ^ invert) & s.first; b != 0 {
			return bits.LeadingZeros8(b)
		}
		from = 1
	}
	if s.at+to == s.to {
		to = max(from, to-1)
	}
	if i := findBit(piece[from:to], invert); i >= 0 {
		return from*8 + i
	}
	if to < len(piece) {
		if b := (piece[to] ^ invert) & s.last; b != 0 {
			return to*8 + bits.LeadingZeros8(b)
		}
	}
	return -1
}

// countBits is the number of set bits, 32 bytes at a time.
func countBits(b []byte) (n int) {
	for ; len(b) >= 32; b = b[32:] {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(b)) + bits.OnesCount64(binary.LittleEndian.Uint64(b[8:])) +
			bits.OnesCount64(binary.LittleEndian.Uint64(b[16:])) + bits.OnesCount64(binary.LittleEndian.Uint64(b[24:]))
	}
	for _, c := range b {
		n += bits.OnesCount8(c)
	}
	return n
}

// findBit returns the place of the first set bit of b, each byte changed by invert, or -1.
func findBit(b []byte, invert byte) int {
	word := uint64(invert) * 0x0101010101010101
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if w := binary.BigEndian.Uint64(b[i:]) ^ word; w != 0 {
			return i*8 + bits.LeadingZeros64(w)
		}
	}
	for ; i < len(b); i++ {
		if c := b[i] ^ invert; c != 0 {
			return i*8 + bits.LeadingZeros8(c)
		}
	}
	return -1
}
