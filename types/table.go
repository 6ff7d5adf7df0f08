package types

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// A table finds the elements of a collection by name: the fields of a hash, the members of a set or a sorted set.
//
// Packed, it is a list of entries in the order in which they came. Spread, its entries lie in buckets, about bucketEntries or bucketBytes in
// each (fewBucketBytes while the table is small), by linear hashing in the order of hashes: of n buckets, with 2^k ≤ n < 2^(k+1), the first
// n-2^k of the 2^k equal ranges of hashes are divided in two. So n tells where every name is; one bucket is divided, or two are joined, when a
// name comes or goes; and whoever walks the buckets by their lowest hash, which is their key, may stop and go on after any number of such
// changes. An empty bucket has no record. A random element is that of a random place in a random bucket, drawn again if the bucket is not that
// full: each is as likely.
//
// Of a large hash the values lie apart (datum.go), in the order of hashes, too.
//
//	entry  of a sorted set: score(8) · name(datum) · of a hash: value(datum)
//	       of a hash's field that dies by itself: 1 · expireAt ms(8) · name(datum) · value(datum)
//	shape  buckets(uvarint) · entries of the fullest bucket there ever was(uvarint) · bytes of all entries(uvarint)
const (
	bucketEntries = 8
	bucketBytes   = 256
	maxBuckets    = 1 << 30

	// A table of few bytes is an object more often than not, and read as a whole: it has fewer, larger buckets.
	fewBytes       = 8 << 10
	fewBucketBytes = 512
)

// table is the shape of a spread one.
type table struct {
	buckets uint32
	widest  uint32
	size    int64 // bytes of all entries
}

func (t *table) appendShape(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(t.buckets))
	dst = binary.AppendUvarint(dst, uint64(t.widest))
	return binary.AppendUvarint(dst, uint64(t.size))
}

// takeTable splits the shape of a table off.
func takeTable(b []byte) (t table, rest []byte, ok bool) {
	var v [3]uint64
	for i := range v {
		n := 0
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return t, nil, false
		}
		b = b[n:]
	}
	if v[0] == 0 || v[0] > maxBuckets || v[1] == 0 || v[1] > 1<<31 || v[2] > 1<<62 {
		return t, nil, false
	}
	return table{uint32(v[0]), uint32(v[1]), int64(v[2])}, b, true
}

// wanted is how many buckets a table should have.
func (t *table) wanted(count int64) uint32 {
	n := min(t.size, fewBytes)/fewBucketBytes + max(t.size-fewBytes, 0)/bucketBytes
	n = max(n, count/bucketEntries)
	return uint32(min(max(n, 1), count, maxBuckets))
}

// level is k, and how many ranges of that level are divided.
func (t *table) level() (k int, divided uint32) {
	k = bits.Len32(t.buckets) - 1
	return k, t.buckets - 1<<k
}

// bucketOf returns the lowest hash of the bucket of a hash.
func (t *table) bucketOf(hash uint32) (start uint32) {
	k, divided := t.level()
	if uint64(hash)>>(32-k) < uint64(divided) {
		k++
	}
	return uint32(uint64(hash) >> (32 - k) << (32 - k))
}

// bucketAt returns the lowest hash of bucket i, in the order of hashes.
func (t *table) bucketAt(i uint32) (start uint32) {
	k, divided := t.level()
	if i < 2*divided {
		return uint32(uint64(i) << (31 - k))
	}
	return uint32(uint64(i-divided) << (32 - k))
}

// indexOf is the inverse of bucketAt.
func (t *table) indexOf(start uint32) uint32 {
	k, divided := t.level()
	if i := uint64(start) >> (32 - k); i >= uint64(divided) {
		return uint32(i) + divided
	}
	return uint32(uint64(start) >> (31 - k))
}

// halves are the two buckets that division i at level k makes of one.
func halves(k int, i uint32) (lower, upper uint32) {
	return uint32(uint64(i) << (32 - k)), uint32((2*uint64(i) + 1) << (31 - k))
}

// mortalMark begins the entry of a field that dies: as the head of a name it would be that of an empty one that lies apart, which there is not.
const (
	mortalMark      = 1
	mortalMarkBytes = 1 + timeBytes
	timeBytes       = 8
)

// appendMortal appends what the entry of a field begins with that dies at expireAtMs; 0: never.
func appendMortal(dst []byte, expireAtMs int64) []byte {
	if expireAtMs == 0 {
		return dst
	}
	return binary.BigEndian.AppendUint64(append(dst, mortalMark), uint64(expireAtMs))
}

// Element is one of a hash, a set or a sorted set. It points into memory that is valid as long as that of the record it was read from.
type Element struct {
	name, value datum
	score       orderedScore // of a sorted set's
	expireAtMs  int64        // when a hash's dies; 0: never
	raw         []byte       // the whole entry
}

// takeElement splits an entry off.
func takeElement(of Type, b []byte) (e Element, rest []byte, ok bool) {
	rest = b
	if of == ZSet {
		if e.score, rest, ok = takeScore(b); !ok {
			return e, nil, false
		}
	}
	if of == Hash && len(b) > mortalMarkBytes && b[0] == mortalMark {
		if e.expireAtMs, rest = int64(binary.BigEndian.Uint64(b[1:])), b[mortalMarkBytes:]; e.expireAtMs <= 0 {
			return e, nil, false
		}
	}
	if e.name, rest, ok = takeDatum(rest, true); !ok {
		return e, nil, false
	}
	if of == Hash {
		if e.value, rest, ok = takeDatum(rest, false); !ok {
			return e, nil, false
		}
	}
	e.raw = b[: len(b)-len(rest) : len(b)-len(rest)]
	return e, rest, true
}

// bytes is what an element adds to the collection's.
func (e *Element) bytes() int64 { return int64(e.name.length + e.value.length) }

// ExpireAtMs is when a field dies; 0: never.
func (e *Element) ExpireAtMs() int64 { return e.expireAtMs }

// unmarked is the entry behind the mark of a field that dies.
func (e *Element) unmarked() []byte {
	if e.expireAtMs == 0 {
		return e.raw
	}
	return e.raw[mortalMarkBytes:]
}

// elementName is a name that is looked for.
type elementName struct {
	bytes []byte
	hash  uint32
	sum   [sha256.Size]byte // of a long one
}

func (k *Keys) elementName(name []byte) (n elementName) {
	n.bytes = name
	if len(name) > inlineMaxBytes {
		n.sum = sha256.Sum256(name)
		n.hash = k.hash(n.sum[:])
	} else {
		n.hash = k.hash(name)
	}
	return n
}

// hashOf is the hash of an element's name, whether it lies inline or apart.
func (k *Keys) hashOf(e *Element) uint32 {
	if e.name.serial != 0 {
		return k.hash(e.name.sum)
	}
	return k.hash(e.name.bytes)
}

// find returns the entry of a name among entries, with at, where it begins there. ok is false if there is none; err if they are malformed.
func find(of Type, entries []byte, name *elementName) (e Element, at int, found, ok bool) {
	for at < len(entries) {
		if size, other := shortElement(of, entries[at:]); size > 0 && !bytes.Equal(other, name.bytes) {
			at += size
			continue
		}
		var rest []byte
		if e, rest, ok = takeElement(of, entries[at:]); !ok {
			return e, 0, false, false
		}
		if e.name.isName(name.bytes, &name.sum) {
			return e, at, true, true
		}
		at = len(entries) - len(rest)
	}
	return Element{}, len(entries), false, true
}

// shortElement is takeElement for those who pass an entry by: its length and its name, or 0 if that is not seen at a glance. Not all that may be wrong
// with it is looked at.
func shortElement(of Type, b []byte) (size int, name []byte) {
	switch {
	case of == ZSet:
		size = scoreBytes
	case of == Hash && len(b) > mortalMarkBytes && b[0] == mortalMark:
		size = mortalMarkBytes
	}
	if size >= len(b) || b[size]&0x81 != 0 {
		return 0, nil
	}
	from := size + 1
	if size = from + int(b[from-1]>>1); size > len(b) {
		return 0, nil
	}
	name = b[from:size]
	if of != Hash {
		return size, name
	}
	head, n := binary.Uvarint(b[size:])
	if n <= 0 || head>>1 > uint64(len(b)) && head&1 == 0 {
		return 0, nil
	}
	if size += n; head&1 != 0 {
		size += serialBytes
	} else {
		size += int(head >> 1)
	}
	if size > len(b) {
		return 0, nil
	}
	return size, name
}

// countEntries is the number of entries; ok is false if they are malformed.
func countEntries(of Type, entries []byte) (n int, ok bool) {
	for ; len(entries) > 0; n++ {
		if size, _ := shortElement(of, entries); size > 0 {
			entries = entries[size:]
		} else if _, entries, ok = takeElement(of, entries); !ok {
			return 0, false
		}
	}
	return n, true
}
