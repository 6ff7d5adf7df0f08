package wal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

const (
	formatVersion = 2         // 1 had neither resets nor kinds of entries; such a log is read as it is
	headerBytes   = 4096      // of a segment
	recordBytes   = 48        // before a record's data
	pageBytes     = 4096      // segment sizes are multiples of it
	MaxDataBytes  = 1<<28 - 1 // of one entry
)

type kind uint8

const (
	kindEntry kind = 1
	kindTrim  kind = 2
	kindReset kind = 3
	kindOther kind = 8 // … with the entry's Kind, from 1 to MaxKind, added
)

// MaxKind is the highest Kind of an entry.
const MaxKind = 7

// entryKind is the kind of the record of an entry.
func entryKind(k uint8) kind {
	if k == 0 {
		return kindEntry
	}
	return kindOther + kind(k)
}

func (k kind) isEntry() bool { return k == kindEntry || k > kindOther }

// entry is the Kind of the entry whose record has kind k.
func (k kind) entry() uint8 {
	if k > kindOther {
		return uint8(k - kindOther)
	}
	return 0
}

var (
	magic      = []byte("settwal\n")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	be         = binary.BigEndian
)

// header says what a segment file is being used for.
type header struct {
	version uint32
	id      uint64 // also the file's name
	reuse   uint64 // how often the file was used before
	salt    uint64 // random, so that no two uses of any file have the same secret
	size    int64  // the file is at least so long from the beginning; a shorter one has lost something
	base    uint64 // next index of the log when the segment was prepared
}

// secret is what makes a record valid in one use of one segment only. The store's seed is in it, so its users cannot know it.
type secret struct {
	tag        uint32 // first bytes of a record
	head, data uint32 // initial values of the checksums
}

func (h header) secret(seed [16]byte) secret {
	b := append([]byte("sett log record"), seed[:]...)
	b = be.AppendUint64(b, h.id)
	b = be.AppendUint64(b, h.reuse)
	b = be.AppendUint64(b, h.salt)
	sum := sha256.Sum256(b)
	return secret{be.Uint32(sum[0:]), be.Uint32(sum[4:]), be.Uint32(sum[8:])}
}

// page encodes the header. Magic, version and checksum keep their places in every later format.
func (h header) page(seed [16]byte) []byte {
	b := make([]byte, headerBytes)
	copy(b, magic)
	be.PutUint32(b[8:], h.version)
	be.PutUint64(b[16:], h.id)
	be.PutUint64(b[24:], h.reuse)
	be.PutUint64(b[32:], h.salt)
	be.PutUint64(b[40:], uint64(h.size))
	be.PutUint64(b[48:], h.base)
	be.PutUint32(b[12:], pageSum(b, seed))
	return b
}

// parseHeader returns the reason if the page is not a header. Of a header with another version only the version counts.
func parseHeader(b []byte, seed [16]byte) (h header, reason string) {
	if !bytes.Equal(b[:8], magic) {
		return h, "the segment's header does not begin with the magic bytes"
	}
	if pageSum(b, seed) != be.Uint32(b[12:]) {
		return h, "the segment's header fails its checksum (or the log belongs to another store)"
	}
	return header{be.Uint32(b[8:]), be.Uint64(b[16:]), be.Uint64(b[24:]), be.Uint64(b[32:]), int64(be.Uint64(b[40:])), be.Uint64(b[48:])}, ""
}

func pageSum(page []byte, seed [16]byte) uint32 {
	sum := sha256.Sum256(append([]byte("sett log header"), seed[:]...))
	crc := crc32.Update(be.Uint32(sum[:]), castagnoli, page[:12])
	return crc32.Update(crc, castagnoli, page[16:])
}

// record is a record's header.
type record struct {
	kind    kind
	length  int // of the data
	dataSum uint32
	number  uint64
	index   uint64
	term    uint64
	mark    uint64 // all records up to this number were fsynced when this one was written
}

// space is what the record takes in the segment.
func (r record) space() int64 { return space(r.length) }

func space(length int) int64 { return (recordBytes + int64(length) + 7) &^ 7 }

func (s secret) put(b []byte, r record) {
	be.PutUint32(b[0:], s.tag)
	be.PutUint32(b[8:], r.dataSum)
	be.PutUint32(b[12:], uint32(r.kind)<<28|uint32(r.length))
	be.PutUint64(b[16:], r.number)
	be.PutUint64(b[24:], r.index)
	be.PutUint64(b[32:], r.term)
	be.PutUint64(b[40:], r.mark)
	be.PutUint32(b[4:], crc32.Update(s.head, castagnoli, b[8:recordBytes]))
}

// parse tells whether b, of recordBytes, is the header of a record in this use of the segment.
func (s secret) parse(b []byte) (record, bool) {
	if be.Uint32(b) != s.tag || be.Uint32(b[4:]) != crc32.Update(s.head, castagnoli, b[8:recordBytes]) {
		return record{}, false
	}
	w := be.Uint32(b[12:])
	r := record{kind(w >> 28), int(w & MaxDataBytes), be.Uint32(b[8:]), be.Uint64(b[16:]), be.Uint64(b[24:]), be.Uint64(b[32:]), be.Uint64(b[40:])}
	return r, r.kind.isEntry() || r.kind == kindTrim || r.kind == kindReset
}

func (s secret) sum(data []byte) uint32 { return crc32.Update(s.data, castagnoli, data) }
