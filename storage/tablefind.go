package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4/fb"
)

// Finding a record in a table of Badger's (table.go) that lies in memory. Checksums are not looked at: each record has its own. A table that is not
// what it ought to be may make these panic.

// compareKey compares a key of Badger's with one at a version.
func compareKey(stored, key []byte, at uint64) int {
	if c := bytes.Compare(userKey(stored), key); c != 0 {
		return c
	}
	return cmp.Compare(at, version(stored)) // newer ones come first
}

// findStored finds the newest version of a record that is not newer than the one given. It returns the record without its key; its value points into the
// table.
func findStored(data, key []byte, at uint64) (r storedRecord, is uint64, found bool) {
	rest, _, _ := cutTableSum(data)
	end := len(rest) - 4
	index := fb.GetRootAsTableIndex(rest[end-int(binary.BigEndian.Uint32(rest[end:])):end], 0)

	// The first block that begins behind the record: it begins with it, or has nothing of it.
	var b fb.BlockOffset
	from, to, begins := 0, index.OffsetsLength(), false
	for from < to {
		i := int(uint(from+to) / 2)
		index.Offsets(&b, i)
		first := b.KeyBytes()
		if c := bytes.Compare(userKey(first), key); c < 0 || c == 0 && version(first) > at {
			from = i + 1
		} else {
			to, begins = i, c == 0
		}
	}
	if to > 0 {
		index.Offsets(&b, to-1)
		block := mappedBlock(data, &b)
		if i, is, found := block.seek(key, at); found {
			return block.stored(i), is, true
		}
	}
	if !begins {
		return r, 0, false
	}
	index.Offsets(&b, to)
	block := mappedBlock(data, &b)
	return block.stored(0), version(b.KeyBytes()), true
}

func mappedBlock(data []byte, b *fb.BlockOffset) tableBlock {
	from := int(b.Offset())
	entries, _, _ := cutTableSum(data[from : from+int(b.Len())])
	block, err := splitBlock(entries)
	if err != nil {
		panic(err)
	}
	return block
}

// bytesOf returns an entry, how many bytes of its key are those of the block's first key, and how many follow.
func (b tableBlock) bytesOf(i int) (entry []byte, shared, own int) {
	end := len(b.entries)
	if i+1 < b.len() {
		end = int(binary.LittleEndian.Uint32(b.offsets[4*i+4:]))
	}
	entry = b.entries[binary.LittleEndian.Uint32(b.offsets[4*i:]):end]
	return entry, int(binary.LittleEndian.Uint16(entry)), int(binary.LittleEndian.Uint16(entry[2:]))
}

// stored returns a record without its key.
func (b tableBlock) stored(i int) (r storedRecord) {
	entry, _, own := b.bytesOf(i)
	value := entry[entryHeadBytes+own:]
	r.meta = value[0]
	var n int
	r.expiresAt, n = binary.Uvarint(value[2:])
	r.value = value[2+n:]
	return r
}

// seek finds the first entry of a record that is not newer than a version.
func (b tableBlock) seek(key []byte, at uint64) (i int, is uint64, found bool) {
	head, _, own := b.bytesOf(0)
	first := head[entryHeadBytes : entryHeadBytes+own]
	same := 0 // bytes of the first key that are those of key
	for same < len(first) && same < len(key) && first[same] == key[same] {
		same++
	}
	from, to := 0, b.len()
	for from < to {
		i := int(uint(from+to) / 2)
		c, v := b.compare(i, first, same, key)
		if c < 0 || c == 0 && v > at {
			from = i + 1
		} else {
			to, is, found = i, v, c == 0
		}
	}
	return to, is, found
}

// compare compares the key of an entry, which nobody needs as a whole, and returns its version if it is the same.
func (b tableBlock) compare(i int, first []byte, same int, key []byte) (c int, is uint64) {
	entry, shared, own := b.bytesOf(i)
	rest := entry[entryHeadBytes : entryHeadBytes+own]
	length := shared + own - versionBytes // of the key without its version
	if fromFirst := min(shared, length); same < fromFirst {
		if same == len(key) || first[same] > key[same] {
			return 1, 0
		}
		return -1, 0
	} else if c := bytes.Compare(rest[:length-fromFirst], key[fromFirst:]); c != 0 {
		return c, 0
	}
	if own < versionBytes { // the version begins in what is shared
		rest = append(bytes.Clone(first[shared+own-versionBytes:shared]), rest...)
	}
	return 0, version(rest)
}
