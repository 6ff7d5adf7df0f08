package types

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// All keys of the store. Integers are big-endian, so that byte order is number order.
//
//	record       key                                                         value
//	meta         m keyspace(4) slot(2) hash(4) form(1) userkey               see meta.go
//	element      s collection(8) kind(1) suffix
//	  root       s collection(8) 0 0(4)                                      which directories exist: bitmap; see page.go
//	  directory  s collection(8) 1 directory(4)                              which pages exist: bitmap
//	  page       s collection(8) 2 page(4)                                   bytes of a string
//	  bucket     s collection(8) 3 hash(4)                                   elements by name: see table.go
//	  node       s collection(8) 4 node(8)                                   elements by rank, or what lies above them: see tree.go
//	  part       s collection(8) 5 serial(8) number(4)                       bytes of a large element: see datum.go
//	blob header  B blob(8)                                                   length(8) chunk size(4)
//	blob chunk   b blob(8) chunk(4)                                          bytes
//	expiry       x keyspace(4) expireAt(8) kind(1) slot hash form userkey    1; of the key, or of a hash's fields; encoded in ttl/index.go
//	dead         d kind(1) id(8)                                             state(1): reclaim or staged
//	system       ! name                                                      replicated: !keyspaces, !caps and !settings here, others in storage
//	local        ~ name                                                      of this node only
//
// A *place* is slot and hash: SCAN's order. slot is Redis Cluster's, CRC16 of the hash tag; hash is 32 bits of a keyed hash of the name,
// so that any place can be found again by one Seek, whatever happened to the keys in between.
const (
	metaPrefix    = 'm'
	elementPrefix = 's'
	headerPrefix  = 'B'
	chunkPrefix   = 'b'
	deadPrefix    = 'd'
	notedPrefix   = '~' // local records

	// Slots is the number of slots of a keyspace.
	Slots = 16384
	// What ends a meta key: the user key itself, or its SHA-256 if that is longer than MaxNameBytes; see name.go.
	formName = 0
	formSum  = 1

	metaHeadBytes = 12
	placeOffset   = 5
)

// MaxNameBytes is the longest user key that a meta key holds: no key of the store may exceed 32 KiB, and an expiry row adds the most to
// the name.
const MaxNameBytes = 32<<10 - 64

// Kinds of elements. A string's root comes before its directories, and they before its pages, for those who walk all.
const (
	elementRoot      = 0
	elementDirectory = 1
	elementPage      = 2
	elementBucket    = 3
	elementNode      = 4
	elementPart      = 5

	elementBytes = 14 // length of the key of each but the last two
	nodeKeyBytes = 18 // … of a node: a queue uses a number up for every 2 KiB that pass through it
	partKeyBytes = 22 // … and of a part
	blobKeyBytes = 13 // of a chunk of a blob
)

// Kinds of dead records.
const (
	DeadCollection = 0
	DeadBlob       = 1
	DeadKeyspace   = 2
)

// States of dead records.
const (
	Reclaim = 1 // nothing refers to the id: its records can go
	Staged  = 2 // a staged command is still writing them
)

// Keys is the encoder of one store: its hash is keyed with the store's seed.
type Keys struct{ seeded xxhash.Digest }

// New returns the encoder for a store's seed. The seed is part of every meta key: it must never change.
func New(seed [16]byte) Keys {
	var k Keys
	k.seeded.Reset()
	k.seeded.Write(seed[:])
	return k
}

// AppendMeta appends the key of a name's meta record to dst.
func (k *Keys) AppendMeta(dst []byte, keyspace uint32, name []byte) []byte {
	dst = AppendMetaPlace(dst, keyspace, Place{Slot(name), k.hash(name)})
	return appendName(dst, name)
}

func (k *Keys) hash(name []byte) uint32 {
	d := k.seeded
	d.Write(name)
	return uint32(d.Sum64())
}

// Place is where a key stands in the order of SCAN.
type Place struct {
	Slot uint16
	Hash uint32
}

// Before is the order of SCAN.
func (p Place) Before(other Place) bool { return p.Cursor() < other.Cursor() }

// Cursor is the place as a number below 2⁴⁶.
func (p Place) Cursor() uint64 { return uint64(p.Slot)<<32 | uint64(p.Hash) }

// PlaceAt is the inverse of Cursor; ok is false for a number behind the last place.
func PlaceAt(cursor uint64) (p Place, ok bool) {
	return Place{uint16(cursor >> 32), uint32(cursor)}, cursor < Slots<<32
}

// AppendMetaPlace appends the lowest key that a meta record of the place can have.
func AppendMetaPlace(dst []byte, keyspace uint32, p Place) []byte {
	dst = append(dst, metaPrefix)
	dst = binary.BigEndian.AppendUint32(dst, keyspace)
	dst = binary.BigEndian.AppendUint16(dst, p.Slot)
	return binary.BigEndian.AppendUint32(dst, p.Hash)
}

// AppendMetaEnd appends the key that follows all meta records of a keyspace.
func AppendMetaEnd(dst []byte, keyspace uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, metaPrefix), keyspace+1)
}

// IsMeta tells whether key is one of a meta record.
func IsMeta(key []byte) bool {
	if len(key) < metaHeadBytes || key[0] != metaPrefix {
		return false
	}
	return key[metaHeadBytes-1] == formName || hasLongName(key) && len(key) == metaHeadBytes+sha256.Size
}

// MetaKeyspace is the keyspace in a meta key.
func MetaKeyspace(key []byte) uint32 { return binary.BigEndian.Uint32(key[1:]) }

// MetaPlace is the place in a meta key.
func MetaPlace(key []byte) Place {
	return Place{binary.BigEndian.Uint16(key[placeOffset:]), binary.BigEndian.Uint32(key[placeOffset+2:])}
}

// KeyName is the user key in a meta key that has it, its SHA-256 in one that has not; it points into the key.
func KeyName(key []byte) []byte { return key[metaHeadBytes:] }

func appendBlobHeader(dst []byte, blob uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, headerPrefix), blob)
}

func appendBlobChunk(dst []byte, blob uint64, chunk uint32) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, chunkPrefix), blob)
	return binary.BigEndian.AppendUint32(dst, chunk)
}

func appendElement(dst []byte, collection uint64, kind byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(dst, elementPrefix), collection), kind)
}

func appendRoot(dst []byte, collection uint64) []byte {
	return binary.BigEndian.AppendUint32(appendElement(dst, collection, elementRoot), 0)
}

func appendDirectory(dst []byte, collection uint64, directory int) []byte {
	return binary.BigEndian.AppendUint32(appendElement(dst, collection, elementDirectory), uint32(directory))
}

func appendPage(dst []byte, collection uint64, page int) []byte {
	return binary.BigEndian.AppendUint32(appendElement(dst, collection, elementPage), uint32(page))
}

// elementNumber is the number of the directory or page that a key is of.
func elementNumber(key []byte) int { return int(binary.BigEndian.Uint32(key[elementBytes-4:])) }

func appendBucket(dst []byte, collection uint64, start uint32) []byte {
	return binary.BigEndian.AppendUint32(appendElement(dst, collection, elementBucket), start)
}

func appendNode(dst []byte, collection, node uint64) []byte {
	return binary.BigEndian.AppendUint64(appendElement(dst, collection, elementNode), node)
}

func appendPart(dst []byte, collection, serial uint64, n int) []byte {
	dst = binary.BigEndian.AppendUint64(appendElement(dst, collection, elementPart), serial)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// splitPart takes the key of a part apart.
func splitPart(key []byte) (serial uint64, n int) {
	return binary.BigEndian.Uint64(key[elementBytes-4:]), int(binary.BigEndian.Uint32(key[partKeyBytes-4:]))
}

// AppendDead appends the key of a dead record.
func AppendDead(dst []byte, kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, deadPrefix, kind), id)
}

// DecodeDead takes the key of a dead record apart.
func DecodeDead(key []byte) (kind byte, id uint64, ok bool) {
	if len(key) != 10 || key[0] != deadPrefix {
		return 0, 0, false
	}
	return key[1], binary.BigEndian.Uint64(key[2:]), true
}

// Slot is the slot of a name in Redis Cluster: of its hash tag, which is what stands between the first { and the next }, if anything
// does, else of the whole name.
func Slot(name []byte) uint16 {
	if open := bytes.IndexByte(name, '{'); open >= 0 {
		if n := bytes.IndexByte(name[open+1:], '}'); n > 0 {
			name = name[open+1 : open+1+n]
		}
	}
	return checksum(name) & (Slots - 1)
}

// checksum is CRC-16/XMODEM, polynomial 0x1021, eight bytes at a time: it is made for every key of every command.
func checksum(b []byte) (crc uint16) {
	for ; len(b) >= 8; b = b[8:] {
		crc = crc16[7][b[0]^byte(crc>>8)] ^ crc16[6][b[1]^byte(crc)] ^ crc16[5][b[2]] ^ crc16[4][b[3]] ^
			crc16[3][b[4]] ^ crc16[2][b[5]] ^ crc16[1][b[6]] ^ crc16[0][b[7]]
	}
	for _, c := range b {
		crc = crc<<8 ^ crc16[0][byte(crc>>8)^c]
	}
	return crc
}

// crc16[n][c] is the checksum of c followed by n zeros.
var crc16 = func() (tables [8][256]uint16) {
	for c := range tables[0] {
		crc := uint16(c) << 8
		for n := range tables {
			for range 8 {
				if crc&0x8000 != 0 {
					crc = crc<<1 ^ 0x1021
				} else {
					crc <<= 1
				}
			}
			tables[n][c] = crc
		}
	}
	return tables
}()
