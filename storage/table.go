package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dgraph-io/badger/v4/fb"
)

// table reads a table of Badger's without Badger, which answers a damaged one with "not found", with a panic in a goroutine of its own, or
// by ending the process.
//
//	blocks · index (flatbuffer: each block's offset and first key, bloom filter) · length(4) · checksum · length of the checksum(4)
//	block: entries · their offsets(4 each, little-endian) · their number(4) · checksum · length of the checksum(4)
//	entry: bytes shared with the block's first key(2) length of the rest(2), little-endian · rest of the key · value as Badger holds it
//
// A key ends with its version. Nothing is compressed or encrypted.
type table struct {
	f     io.ReaderAt
	index *fb.TableIndex
}

const maxTableSumBytes = 16 // of an encoded checksum

// openTable reads a table's index and checks it.
func openTable(f io.ReaderAt, size int64) (*table, error) {
	foot := make([]byte, min(size, 4+maxTableSumBytes+4))
	if _, err := f.ReadAt(foot, size-int64(len(foot))); err != nil {
		return nil, err
	}
	rest, sum, ok := cutTableSum(foot)
	if !ok || len(rest) < 4 {
		return nil, errors.New("its end is malformed")
	}
	length := int64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	start := size - int64(len(foot)-len(rest)) - 4 - length
	if start < 0 || length == 0 { // the checksum of nothing is no bytes: zeros look like an index of no bytes with the right checksum
		return nil, errors.New("its end is malformed")
	}
	index := make([]byte, length)
	if _, err := f.ReadAt(index, start); err != nil {
		return nil, err
	}
	if !bytes.Equal(sum, tableSum(index)) {
		return nil, errors.New("its index or bloom filter fails its checksum")
	}
	t := &table{f: f, index: fb.GetRootAsTableIndex(index, 0)}
	if t.blocks() == 0 {
		return nil, errors.New("its index names no blocks")
	}
	return t, nil
}

// cutTableSum splits off a checksum and its length at the end of b.
func cutTableSum(b []byte) (rest, sum []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b[len(b)-4:])
	b = b[:len(b)-4]
	if n > maxTableSumBytes || int(n) > len(b) {
		return nil, nil, false
	}
	return b[:len(b)-int(n)], b[len(b)-int(n):], true
}

// tableSum encodes a checksum as Badger does: a protobuf message whose second field is the crc32c; its first one, the algorithm, is 0.
func tableSum(b []byte) []byte {
	crc := crc32.Checksum(b, castagnoli)
	if crc == 0 {
		return nil
	}
	return binary.AppendUvarint([]byte{2 << 3}, uint64(crc))
}

func (t *table) blocks() int { return t.index.OffsetsLength() }

// firstKey returns a block's first key and where the block lies.
func (t *table) firstKey(i int) (key []byte, offset int64, length int) {
	var b fb.BlockOffset
	t.index.Offsets(&b, i)
	return b.KeyBytes(), int64(b.Offset()), int(b.Len())
}

// tableBlock is a block whose checksum is right.
type tableBlock struct {
	entries []byte
	offsets []byte
}

func (t *table) block(i int) (b tableBlock, err error) {
	_, offset, length := t.firstKey(i)
	raw := make([]byte, length)
	if _, err := t.f.ReadAt(raw, offset); err != nil {
		return b, err
	}
	data, sum, ok := cutTableSum(raw)
	if !ok || !bytes.Equal(sum, tableSum(data)) {
		return b, fmt.Errorf("the block at offset %d fails its checksum", offset)
	}
	return splitBlock(data)
}

// splitBlock takes a block without its checksum apart. What the checksum covers is what Badger wrote, so anything odd in it is not damage.
func splitBlock(data []byte) (b tableBlock, err error) {
	if len(data) >= 4 {
		n := int(binary.BigEndian.Uint32(data[len(data)-4:]))
		if end := len(data) - 4 - 4*n; n > 0 && end > 0 {
			return tableBlock{data[:end], data[end : len(data)-4]}, nil
		}
	}
	return b, errors.New("a block with a right checksum is malformed")
}

func (b tableBlock) len() int { return len(b.offsets) / 4 }

// storedRecord is a record as Badger holds it. value is a pointer into the value log if meta says so.
type storedRecord struct {
	key       []byte // with its version
	meta      byte
	expiresAt uint64
	value     []byte
	where     place
}

// place is where something lies in the data directory.
type place struct {
	file   string
	offset int64
}

const (
	metaDeleted = 1 << 0
	metaPointer = 1 << 1

	versionBytes   = 8
	entryHeadBytes = 4
)

// userKey and version take a key of Badger's apart.
func userKey(key []byte) []byte { return key[:len(key)-versionBytes] }

func setVersion(key []byte, version uint64) {
	binary.BigEndian.PutUint64(key[len(key)-versionBytes:], ^version)
}

func version(key []byte) uint64 { return ^binary.BigEndian.Uint64(key[len(key)-versionBytes:]) }

// compareStored is the order of Badger: by key, the newest version first.
func compareStored(a, b []byte) int {
	if c := bytes.Compare(userKey(a), userKey(b)); c != 0 {
		return c
	}
	return bytes.Compare(a[len(a)-versionBytes:], b[len(b)-versionBytes:])
}

var errMalformedEntry = errors.New("a block with a right checksum has a malformed entry")

// entry returns a record of a block. Its value points into the block.
func (b tableBlock) entry(i int) (r storedRecord, err error) {
	at := func(i int) int {
		if i == b.len() {
			return len(b.entries)
		}
		return int(binary.LittleEndian.Uint32(b.offsets[4*i:]))
	}
	start, end := at(i), at(i+1)
	if start+entryHeadBytes > end || end > len(b.entries) {
		return r, errMalformedEntry
	}
	e := b.entries[start:end]
	shared, rest := int(binary.LittleEndian.Uint16(e)), int(binary.LittleEndian.Uint16(e[2:]))
	value := entryHeadBytes + rest
	if entryHeadBytes+shared > len(b.entries) || value+3 > len(e) || shared+rest <= versionBytes {
		return r, errMalformedEntry
	}
	r.key = append(append(r.key, b.entries[entryHeadBytes:entryHeadBytes+shared]...), e[entryHeadBytes:value]...)
	r.meta = e[value]
	expiresAt, n := binary.Uvarint(e[value+2:])
	if n <= 0 {
		return r, errMalformedEntry
	}
	r.expiresAt, r.value = expiresAt, e[value+2+n:]
	return r, nil
}
