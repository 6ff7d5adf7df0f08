package powercut

import (
	"encoding/binary"
	"fmt"

	"sett/storage"
	"sett/types"
)

// books is the ledger of a store: a types.Ledger in the rounds of a Txn. What is staged stands in system records, for the batches after it, and
// for the lives after this one.
type books struct {
	keys  types.Keys
	txn   storage.Txn
	types types.Ledger
}

// nowMs is when all batches are written: before anything expires.
const nowMs = 1

func slotKey(slot int) []byte { return fmt.Appendf(nil, "!staged%d", slot) }

func (b *books) last() (uint64, error) {
	b.types.Begin(&b.txn, nowMs, types.Options{Keys: &b.keys, PackedMaxEntries: 1})
	value, err := b.txn.Get([]byte(systemKey))
	return ticketOf(value), err
}

func (b *books) begin(life uint32, ticket uint64) error {
	b.txn.Put([]byte(systemKey), ticketValue(life, ticket))
	return b.put(ticketName, ticketValue(life, ticket), 0)
}

func (b *books) key(n name) []byte {
	return b.keys.AppendMeta(nil, uint32(n.keyspace), n.user())
}

func (b *books) need(names ...name) error {
	var keys [][]byte
	for _, n := range names {
		keys = append(keys, b.key(n))
	}
	return b.txn.Need(keys...)
}

func (b *books) open(n name) (types.Record, error) { return b.types.Open(b.key(n), n.user()) }

func (b *books) length(n name) (int, error) {
	r, err := b.open(n)
	return r.StringLen(), err
}

func (b *books) put(n name, value []byte, expireAtMs int64) error {
	r, err := b.open(n)
	if err == nil {
		b.types.PutString(&r, value, expireAtMs)
	}
	return err
}

func (b *books) splice(n name, offset int, piece []byte) error {
	r, err := b.open(n)
	if err != nil {
		return err
	}
	return b.types.Splice(&r, offset, piece)
}

func (b *books) flip(n name, at int) error {
	r, err := b.open(n)
	if err != nil {
		return err
	}
	return b.types.SpliceByte(&r, at, flipped)
}

func flipped(old byte) byte { return ^old }

func (b *books) setField(n name, field string, value []byte) error {
	return b.edit(n, func(e *types.Edit) error {
		if n.isSet() {
			value = nil
			e.Convert() // its members are no numbers
		}
		_, err := e.Put([]byte(field), value)
		return err
	})
}

func (b *books) dropField(n name, field string) error {
	return b.edit(n, func(e *types.Edit) error {
		_, err := e.Remove([]byte(field))
		return err
	})
}

func (b *books) edit(n name, change func(*types.Edit) error) error {
	r, err := b.open(n)
	if err != nil {
		return err
	}
	of := types.Hash
	if n.isSet() {
		of = types.Set
	}
	e, err := b.types.EditElements(&r, of)
	if err == nil {
		err = change(e)
	}
	if err == nil {
		e.Save()
	}
	return err
}

func (b *books) members(n name) (int, error) {
	r, err := b.open(n)
	return int(r.Count()), err
}

func (b *books) push(n name, values [][]byte, left bool) error {
	return b.editList(n, func(s *types.ListValue) error { return s.Push(&b.types, values, left) })
}

func (b *books) pop(n name, count int, left bool) error {
	return b.editList(n, func(s *types.ListValue) error {
		from, popped := int64(0), min(int64(count), s.Len())
		if !left {
			from = s.Len() - popped
		}
		return s.Splice(&b.types, from, from+popped)
	})
}

func (b *books) setMember(n name, at int, value []byte) error {
	return b.editList(n, func(s *types.ListValue) error { return s.Splice(&b.types, int64(at), int64(at)+1, value) })
}

func (b *books) editList(n name, change func(*types.ListValue) error) error {
	r, err := b.open(n)
	if err != nil {
		return err
	}
	var s types.ListValue
	if err = s.Edit(&r); err == nil {
		err = change(&s)
	}
	if err == nil {
		s.Save(&b.types)
	}
	return err
}

func (b *books) setScore(n name, member string, score float64) error {
	return b.editZSet(n, func(e types.ZSetEdit) error {
		_, err := e.Put([]byte(member), score)
		return err
	})
}

func (b *books) dropMember(n name, member string) error {
	return b.editZSet(n, func(e types.ZSetEdit) error {
		_, err := e.Remove([]byte(member))
		return err
	})
}

func (b *books) dropLowest(n name, count int) error {
	return b.editZSet(n, func(e types.ZSetEdit) error { return e.RemoveRange(0, min(int64(count), e.Len())) })
}

func (b *books) editZSet(n name, change func(types.ZSetEdit) error) error {
	r, err := b.open(n)
	if err != nil {
		return err
	}
	e, err := b.types.EditZSet(&r, 1)
	if err == nil {
		err = change(e)
	}
	if err == nil {
		e.Save()
	}
	return err
}

func (b *books) expire(n name, atMs int64) error {
	r, err := b.open(n)
	if err == nil && r.Exists {
		b.types.SetExpire(&r, atMs)
	}
	return err
}

func (b *books) move(from, to name) error {
	source, err := b.open(from)
	if err != nil || !source.Exists || from == to {
		return err
	}
	target, err := b.open(to)
	if err == nil {
		b.types.Move(&source, &target)
	}
	return err
}

func (b *books) remove(n name) error {
	r, err := b.open(n)
	if err == nil && r.Exists {
		b.types.Remove(&r)
	}
	return err
}

// slot is a staged value: id(8) length(8) written(8).
type slot struct {
	blob    types.StagedBlob
	written int
}

func decodeSlot(value []byte) (s slot) {
	if len(value) > 0 {
		s.blob = types.StagedBlob{ID: binary.BigEndian.Uint64(value), Length: binary.BigEndian.Uint64(value[8:])}
		s.written = int(binary.BigEndian.Uint64(value[16:]))
	}
	return s
}

func (b *books) slot(n int) (slot, error) {
	value, err := b.txn.Get(slotKey(n))
	return decodeSlot(value), err
}

func (b *books) setSlot(n int, s slot) {
	value := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.blob.ID), s.blob.Length)
	b.txn.Put(slotKey(n), binary.BigEndian.AppendUint64(value, uint64(s.written)))
}

func (b *books) staged(n int) (length, written int, err error) {
	s, err := b.slot(n)
	return int(s.blob.Length), s.written, err
}

func (b *books) stage(n, length int) error {
	b.setSlot(n, slot{blob: b.types.Stage(uint64(length))})
	return nil
}

func (b *books) fill(n int, next []byte) error {
	s, err := b.slot(n)
	if err != nil {
		return err
	}
	b.types.StageChunks(s.blob, s.written/chunkBytes, next)
	s.written += len(next)
	b.setSlot(n, s)
	return nil
}

func (b *books) adopt(n int, to name, expireAtMs int64) error {
	s, err := b.slot(n)
	if err != nil {
		return err
	}
	r, err := b.open(to)
	if err == nil {
		b.types.PutStaged(&r, s.blob, expireAtMs)
		b.txn.Delete(slotKey(n))
	}
	return err
}

func (b *books) drop(n int) error {
	s, err := b.slot(n)
	if err == nil {
		err = b.types.DropStaged(s.blob)
		b.txn.Delete(slotKey(n))
	}
	return err
}
