package storage

import "encoding/binary"

// An arena holds the records of one generation in large pieces of memory without pointers, so that Go's collector never walks them.
// A ref names a place in it: chunk number (high bits) and offset in units of 8 bytes (low bits). 0 is no place.
type ref uint32

const (
	chunkBytes    = 256 << 10
	chunkRefBits  = 15 // chunkBytes / 8 places in a chunk
	chunkRefMask  = 1<<chunkRefBits - 1
	arenaMaxBytes = 1 << (32 - chunkRefBits) * chunkBytes
)

type arena struct {
	chunks [][]byte
	used   int // bytes used of the last chunk
}

// alloc returns a zeroed piece of n bytes that lies in one chunk. The first 8 bytes of the arena stay unused: ref 0 is no place.
func (a *arena) alloc(n int) ref {
	n = (n + 7) &^ 7
	invariant(n <= chunkBytes-8, "record of %d bytes does not fit into an arena chunk", n)
	if len(a.chunks) == 0 || a.used+n > chunkBytes {
		invariant(len(a.chunks) < 1<<(32-chunkRefBits), "arena is full")
		a.chunks = append(a.chunks, make([]byte, chunkBytes))
		a.used = 0
		if len(a.chunks) == 1 {
			a.used = 8
		}
	}
	r := ref(uint32(len(a.chunks)-1)<<chunkRefBits | uint32(a.used>>3))
	a.used += n
	return r
}

func (a *arena) bytes() int { return len(a.chunks) * chunkBytes }

// filled is how much of its memory is in use.
func (a *arena) filled() int { return max(0, a.bytes()-chunkBytes) + a.used }

// pieces is the arena as a reader without the lock may hold it: chunks only grow, and what it looks at there never changes.
type pieces [][]byte

func (p pieces) at(r ref) []byte {
	return p[r>>chunkRefBits][int(r&chunkRefMask)<<3:]
}

// An entry is a key of the generation; it never moves. Its newest version is found through it.
//
//	newest version ref(4) · next entry of the group ref(4) · hash(4) · key length(2) · 2 unused · key
const (
	entryNewest = 0
	entryNext   = 4
	entryHash   = 8
	entryKeyLen = 12
	entryHeader = 16
)

// A version is what one batch made of a key.
//
//	position(8) · previous version ref(4) · value length(4; all ones: deleted) · capacity(4) · 4 unused · value
const (
	versionPos    = 0
	versionPrev   = 8
	versionLen    = 12
	versionCap    = 16
	versionHeader = 24

	deletedLen = 1<<32 - 1
)

func entryKey(e []byte) []byte {
	n := binary.LittleEndian.Uint16(e[entryKeyLen:])
	return e[entryHeader : entryHeader+int(n) : entryHeader+int(n)]
}

func getRef(b []byte, off int) ref    { return ref(binary.LittleEndian.Uint32(b[off:])) }
func putRef(b []byte, off int, r ref) { binary.LittleEndian.PutUint32(b[off:], uint32(r)) }
func versionPosition(v []byte) uint64 { return binary.LittleEndian.Uint64(v[versionPos:]) }
func versionValueLen(v []byte) uint32 { return binary.LittleEndian.Uint32(v[versionLen:]) }
func versionDeleted(v []byte) bool    { return versionValueLen(v) == deletedLen }
func versionCapacity(v []byte) uint32 { return binary.LittleEndian.Uint32(v[versionCap:]) }

// versionValue returns the value, nil if the version is a deletion.
func versionValue(v []byte) []byte {
	n := versionValueLen(v)
	if n == deletedLen {
		return nil
	}
	return v[versionHeader : versionHeader+n : versionHeader+n]
}
