package types

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"sett/storage"
	"sett/ttl"
)

// Digest is a hash over the replicated state at a flush point: two nodes that have the same at one index have the same digest there. In it are the
// system records, the meta records of live keyspaces with the collections and blobs that they own, and the rows of their expiry index, each in the
// order of keys. What is dead is not in it, and what only this node knows: nodes reclaim at their own pace.
type Digest struct {
	Sum  [sha256.Size]byte
	Keys uint64
}

// digester computes a Digest.
type digester struct {
	p    *storage.Picture
	dead map[uint32]bool // keyspaces
	sum  hash.Hash
	head []byte
	keys uint64

	records uint64
	passed  func(records uint64) error // nil: nobody wants to know
}

// passedEvery is after how many records somebody is told.
const passedEvery = 4096

// TakeDigest computes the digest of a picture. passed, if it is not nil, is told how many records have been read, and can end it.
func TakeDigest(p *storage.Picture, passed func(records uint64) error) (Digest, error) {
	d := &digester{p: p, passed: passed, dead: make(map[uint32]bool), sum: sha256.New()}
	steps := []func() error{
		d.findDead,
		d.system,
		func() error { return d.keyspaces(metaPrefix, d.meta) },
		func() error { return d.keyspaces(ttl.RowPrefix, d.record) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Digest{}, err
		}
	}
	return Digest{[sha256.Size]byte(d.sum.Sum(nil)), d.keys}, nil
}

// record mixes in a record.
func (d *digester) record(key, value []byte) error {
	d.head = binary.AppendUvarint(d.head[:0], uint64(len(key)))
	d.head = append(d.head, key...)
	d.head = binary.AppendUvarint(d.head, uint64(len(value)))
	d.sum.Write(d.head)
	d.sum.Write(value)
	if d.records++; d.passed != nil && d.records%passedEvery == 0 {
		return d.passed(d.records)
	}
	return nil
}

func (d *digester) findDead() error {
	return d.p.Walk(DeadRange(), func(key, _ []byte) error {
		if kind, id, ok := DecodeDead(key); ok && kind == DeadKeyspace {
			d.dead[uint32(id)] = true
		}
		return nil
	})
}

// system mixes in the system records, but for counters of dead keyspaces: these go when the keyspaces are reclaimed.
func (d *digester) system() error {
	counters := make(map[string]bool, len(d.dead))
	for keyspace := range d.dead {
		counters[string(storage.TallyKey(keyspace))] = true
	}
	return d.p.Walk(prefixRange('!'), func(key, value []byte) error {
		if counters[string(key)] {
			return nil
		}
		return d.record(key, value)
	})
}

// keyspaces visits the records of all live keyspaces.
func (d *digester) keyspaces(prefix byte, visit func(key, value []byte) error) error {
	all := prefixRange(prefix)
	for {
		key, err := d.p.First(all)
		if err != nil || key == nil {
			return err
		}
		keyspace := binary.BigEndian.Uint32(key[1:])
		within := keyspaceRange(prefix, keyspace)
		if !d.dead[keyspace] {
			if err := d.p.Walk(within, visit); err != nil {
				return err
			}
		}
		all.Lower = within.Upper
	}
}

// meta mixes in a meta record with what it owns.
func (d *digester) meta(key, value []byte) error {
	m, err := DecodeMeta(key, value)
	if err != nil {
		return err
	}
	d.keys++
	if err := d.record(key, value); err != nil {
		return err
	}
	blob, collection := m.owned()
	if !m.InKey() {
		if err := d.blob(m.name.id); err != nil {
			return err
		}
	}
	if blob != 0 {
		if err := d.blob(blob); err != nil {
			return err
		}
	}
	if collection == 0 {
		return nil
	}
	return d.p.Walk(idRange(elementPrefix, collection), d.record)
}

func (d *digester) blob(id uint64) error {
	if err := d.p.Walk(idRange(headerPrefix, id), d.record); err != nil {
		return err
	}
	return d.p.Walk(idRange(chunkPrefix, id), d.record)
}
