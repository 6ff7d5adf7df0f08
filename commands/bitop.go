package commands

import (
	"encoding/binary"

	"sett/storage"
	"sett/types"
)

// bitOperation is what BITOP does to the bits of its sources.
type bitOperation byte

const (
	bitAnd bitOperation = iota
	bitOr
	bitXor
	bitNot
)

func parseBitOperation(arg []byte) (op bitOperation, ok bool) {
	for op, word := range []string{"and", "or", "xor", "not"} {
		if is(arg, word) {
			return bitOperation(op), true
		}
	}
	return 0, false
}

// bitOp makes the result under the lock if its sources are short, or if it is one step of several and they fit into a batch; else it is
// derived from a view.
func bitOp(u *Update) error {
	op, ok := parseBitOperation(u.Args[1])
	if !ok {
		return ErrSyntax
	}
	if op == bitNot && len(u.Args) != 4 {
		return ErrBitOpNot
	}
	sources, length, total, err := u.bitSources(u.Args[3:])
	if err != nil {
		return err
	}
	to, err := u.open(u.Args[2])
	if err != nil {
		return err
	}
	if err := u.putBits(&to, op, sources, length, total); err != nil {
		return err
	}
	u.W.Int(int64(length))
	return nil
}

// bitSources opens the sources; length is that of the longest, total that of all.
func (u *Update) bitSources(names [][]byte) (sources []types.Record, length, total int, err error) {
	for _, name := range names {
		m, err := u.lookupOf(name, types.String)
		if err != nil {
			return nil, 0, 0, err
		}
		sources = append(sources, types.Record{Meta: m, Key: append([]byte(nil), u.key...), Name: name})
		length = max(length, m.StringLen())
		total += m.StringLen()
	}
	return sources, length, total, nil
}

func (u *Update) putBits(to *types.Record, op bitOperation, sources []types.Record, length, total int) error {
	switch {
	case length == 0:
		if to.Exists {
			u.ledger.Remove(to)
		}
		return nil
	case total > StagedAbove && u.derive != nil:
		if !u.derive.current(u) {
			return u.derive.ask(u, sources, length, func(s *derived, staging *Staging) error { return s.pourBits(op, staging) })
		}
		u.derive.takeBlob(u, to, 0)
		return nil
	case int64(total) > u.set.store.Budget().BatchMax:
		return storage.ErrTooLarge
	}
	result, err := u.combine(op, sources, length)
	if err == nil {
		u.ledger.PutEncoded(to, result, 0, types.Raw)
	}
	return err
}

// combine computes the whole result. What is not in memory of all sources is asked for at once.
func (u *Update) combine(op bitOperation, sources []types.Record, length int) ([]byte, error) {
	result := make([]byte, length)
	var missed error
	for i := range sources {
		m := &sources[i].Meta
		value, err := u.stringBytes(m, 0, m.StringLen())
		switch {
		case err == storage.ErrMiss:
			missed = err
		case err != nil:
			return nil, err
		default:
			op.take(result, value, i == 0)
		}
	}
	op.finish(result)
	return result, missed
}

// bitWindow is how much of the result is made at a time.
const bitWindow = 256 << 10

// pourBits makes the result window by window, so that it takes no more memory for many sources than for one.
func (s *derived) pourBits(op bitOperation, staging *Staging) error {
	window := make([]byte, min(bitWindow, s.length))
	for at := 0; at < s.length; at += len(window) {
		window = window[:min(len(window), s.length-at)]
		for i := range s.sources {
			if err := s.takeBits(op, window, &s.sources[i].Meta, at, i == 0); err != nil {
				return err
			}
		}
		op.finish(window)
		if err := staging.Write(window); err != nil {
			return err
		}
	}
	return nil
}

// takeBits combines a window, which begins at a place of the string, with what one source has there.
func (s *derived) takeBits(op bitOperation, window []byte, m *types.Meta, at int, first bool) error {
	from, to := min(at, m.StringLen()), min(at+len(window), m.StringLen())
	pieces := types.NewPieces(s.view, m, from, to)
	rest := window
	for {
		piece, err := pieces.Next()
		if err != nil {
			return err
		}
		if len(piece) == 0 {
			op.take(rest, nil, first)
			return nil
		}
		op.take(rest[:len(piece)], piece, first)
		rest = rest[len(piece):]
	}
}

// take combines dst with a source, which has zeros behind its end.
func (op bitOperation) take(dst, src []byte, first bool) {
	n := len(src)
	switch {
	case first:
		copy(dst, src)
		clear(dst[n:])
	case op == bitAnd:
		combineWords(dst[:n], src, func(a, b uint64) uint64 { return a & b })
		clear(dst[n:])
	case op == bitOr:
		combineWords(dst[:n], src, func(a, b uint64) uint64 { return a | b })
	case op == bitXor:
		combineWords(dst[:n], src, func(a, b uint64) uint64 { return a ^ b })
	}
}

// finish is the rest of the operation, once all sources are in.
func (op bitOperation) finish(dst []byte) {
	if op == bitNot {
		combineWords(dst, dst, func(a, _ uint64) uint64 { return ^a })
	}
}

// combineWords changes dst, which is as long as src, eight bytes at a time.
func combineWords(dst, src []byte, f func(a, b uint64) uint64) {
	for ; len(dst) >= 8; dst, src = dst[8:], src[8:] {
		binary.LittleEndian.PutUint64(dst, f(binary.LittleEndian.Uint64(dst), binary.LittleEndian.Uint64(src)))
	}
	for i := range dst {
		dst[i] = byte(f(uint64(dst[i]), uint64(src[i])))
	}
}
