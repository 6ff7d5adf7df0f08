package types

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A datum is a name (field, member) or a value (of a field, of a list) inside a packed record, a bucket or a leaf:
//
//	inline  uvarint(length·2)      bytes
//	apart   uvarint(length·2 + 1)  serial(8) · SHA-256(32), if it is a name
//
// A name lies apart if it is longer than inlineMaxBytes, and only then: what it is, its length tells. A value may lie either way. What lies apart
// has its bytes in parts of partBytes under its collection, so it is removed with it. Only a spread collection has such: records that many elements
// share stay small.
const (
	inlineMaxBytes = 1 << 10
	partBytes      = 8 << 10

	// Of a hash of Options.ManyFields or more, values of more than fieldInlineMaxBytes lie apart: its buckets, which tell of every field whether it
	// is there, stay in memory when the values do not, so that to set a field reads nothing; and what is written is the value, not its neighbours.
	// Below that a hash is read as a whole more often than not, and the fewer records it lies in, the better.
	fieldInlineMaxBytes = 127
)

type datum struct {
	bytes  []byte // if it is inline
	length int
	serial uint64 // of the parts of one that lies apart, else 0
	sum    []byte // of a name that lies apart: its SHA-256
}

// takeDatum splits a datum off; what it points to lies in b.
func takeDatum(b []byte, name bool) (d datum, rest []byte, ok bool) {
	head, n := binary.Uvarint(b)
	if n <= 0 || head>>1 > maxStringBytes {
		return d, nil, false
	}
	b = b[n:]
	d.length = int(head >> 1)
	if head&1 == 0 {
		if d.length > len(b) || name && d.length > inlineMaxBytes {
			return d, nil, false
		}
		d.bytes = b[:d.length:d.length]
		return d, b[d.length:], true
	}
	size := 8
	if name {
		size += sha256.Size
	}
	if len(b) < size {
		return d, nil, false
	}
	d.serial, d.sum = binary.BigEndian.Uint64(b), b[8:size:size]
	return d, b[size:], d.serial != 0 && d.length > 0 && (!name || d.length > inlineMaxBytes)
}

// appendInline appends a datum with its bytes.
func appendInline(dst, value []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(value))<<1), value...)
}

// appendDatum appends a datum of a spread collection to dst. One that is longer than limit lies apart: its bytes are written.
func (l *Ledger) appendDatum(dst []byte, collection uint64, value []byte, limit int, name bool) []byte {
	if len(value) <= limit || len(value) == 0 {
		return appendInline(dst, value)
	}
	return l.appendApart(dst, collection, l.txn.NewID(), value, name)
}

// appendApart appends a datum that lies apart under a serial, and writes its bytes.
func (l *Ledger) appendApart(dst []byte, collection, serial uint64, value []byte, name bool) []byte {
	for n := 0; n*partBytes < len(value); n++ {
		l.key = appendPart(l.key[:0], collection, serial, n)
		l.txn.Put(l.key, value[n*partBytes:min((n+1)*partBytes, len(value))])
	}
	dst = binary.AppendUvarint(dst, uint64(len(value))<<1|1)
	dst = binary.BigEndian.AppendUint64(dst, serial)
	if name {
		sum := sha256.Sum256(value)
		dst = append(dst, sum[:]...)
	}
	return dst
}

// dropDatum removes the bytes of a datum that lies apart.
func (l *Ledger) dropDatum(collection uint64, d *datum) { l.dropBehind(collection, d, 0) }

// dropBehind removes those parts of a datum that lies apart which one of so many bytes would not have.
func (l *Ledger) dropBehind(collection uint64, d *datum, kept int) {
	if d.serial == 0 {
		return
	}
	for n := (kept + partBytes - 1) / partBytes; n*partBytes < d.length; n++ {
		l.key = appendPart(l.key[:0], collection, d.serial, n)
		l.txn.Delete(l.key)
	}
}

// needs appends the keys of the parts that hold a datum's bytes.
func (d *datum) needs(keys [][]byte, collection uint64) [][]byte {
	if d.serial != 0 {
		for n := 0; n*partBytes < d.length; n++ {
			keys = append(keys, appendPart(nil, collection, d.serial, n))
		}
	}
	return keys
}

// appendHead appends the datum's first bytes, partBytes at most, to dst.
func (d *datum) appendHead(dst []byte, g Getter, collection uint64) ([]byte, error) {
	if d.serial == 0 {
		return append(dst, d.bytes...), nil
	}
	head, err := d.part(g, nil, collection, 0)
	return append(dst, head...), err
}

// part reads a part of a datum that lies apart. key is scratch.
func (d *datum) part(g Getter, key []byte, collection uint64, n int) ([]byte, error) {
	key = appendPart(key[:0], collection, d.serial, n)
	part, err := g.Get(key)
	if err != nil {
		return nil, err
	}
	if want := min(partBytes, d.length-n*partBytes); len(part) != want {
		return nil, corruptCollection(key, fmt.Sprintf("part %d of an element of %d bytes has %d bytes of %d", n, d.length, len(part), want))
	}
	return part, nil
}

// appendTo appends the datum's bytes to dst.
func (d *datum) appendTo(dst []byte, g Getter, collection uint64) ([]byte, error) {
	if d.serial == 0 {
		return append(dst, d.bytes...), nil
	}
	var scratch [partKeyBytes]byte
	for n := 0; n*partBytes < d.length; n++ {
		part, err := d.part(g, scratch[:0], collection, n)
		if err != nil {
			return dst, err
		}
		dst = append(dst, part...)
	}
	return dst, nil
}

// isName tells whether a datum that is a name is this one. sum is the SHA-256 of a name too long to be inline.
func (d *datum) isName(name []byte, sum *[sha256.Size]byte) bool {
	if d.length != len(name) {
		return false
	}
	if d.serial == 0 {
		return bytes.Equal(d.bytes, name)
	}
	return bytes.Equal(d.sum, sum[:])
}

// copyParts copies what lies apart of a datum to another collection.
func (l *Ledger) copyParts(d *datum, from, to uint64) error {
	for n := 0; d.serial != 0 && n*partBytes < d.length; n++ {
		part, err := d.part(l.txn, l.key, from, n)
		if err != nil {
			return err
		}
		l.key = appendPart(l.key[:0], to, d.serial, n)
		l.txn.Put(l.key, part)
	}
	return nil
}
