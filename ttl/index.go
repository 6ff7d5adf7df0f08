package ttl

import (
	"encoding/binary"
	"math"
)

// An expiry row is
//
//	x keyspace(4) expireAt(8) kind(1) slot(2) hash(4) form(1) userkey → 1, or 2 size(uvarint)
//
// 2 says that the key is light: it owns nothing beside its meta record, and counts for size bytes. So whoever knows that the row is there can remove
// the key without reading what it is. Whoever writes the meta record keeps the row true.
//
// What follows kind is the key's meta key without its first five bytes (types/keys.go); the package treats it as opaque bytes, Place.
// Rows of a keyspace are in order of time, so that whoever looks for due ones reads nothing else.
const (
	RowPrefix    = 'x' // of all expiry rows; the keyspace follows
	rowHeadBytes = 1 + 4 + 8 + 1

	// RowOverheadBytes is how much longer the row of a key is than Place.
	RowOverheadBytes = rowHeadBytes
)

// The kinds of rows.
const (
	KindKey    = 0 // the whole key ends
	KindFields = 1 // the first field of a hash does: there is one such row for each hash that has fields which end
)

// The first bytes of rows' values.
const (
	rowHeavy = 1
	rowLight = 2
)

// NotLight is the size of a key that is not light.
const NotLight = -1

// AppendRowValue appends the value of the row of a key that is light, or of any other (NotLight).
func AppendRowValue(dst []byte, size int64) []byte {
	if size < 0 {
		return append(dst, rowHeavy)
	}
	return binary.AppendUvarint(append(dst, rowLight), uint64(size))
}

// DecodeRowValue returns the size of a light key, or NotLight. ok is false if it is the value of no row.
func DecodeRowValue(value []byte) (size int64, ok bool) {
	switch {
	case len(value) == 1 && value[0] == rowHeavy:
		return NotLight, true
	case len(value) > 1 && value[0] == rowLight:
		n, w := binary.Uvarint(value[1:])
		return int64(n), w == len(value)-1 && n <= math.MaxInt64
	}
	return NotLight, false
}

// Due is an expiry row as a view saw it.
type Due struct{ Key, Value []byte }

// Row is an expiry row taken apart.
type Row struct {
	Keyspace   uint32
	ExpireAtMs int64
	Kind       byte
	Place      []byte // points into the key that was decoded
}

// AppendRow appends the key of a row to dst.
func AppendRow(dst []byte, keyspace uint32, expireAtMs int64, kind byte, place []byte) []byte {
	dst = appendBound(dst, keyspace, expireAtMs)
	dst = append(dst, kind)
	return append(dst, place...)
}

// DecodeRow takes a row's key apart; ok is false for any other key.
func DecodeRow(key []byte) (row Row, ok bool) {
	if len(key) < rowHeadBytes || key[0] != RowPrefix {
		return Row{}, false
	}
	return Row{
		Keyspace:   binary.BigEndian.Uint32(key[1:]),
		ExpireAtMs: int64(binary.BigEndian.Uint64(key[5:])),
		Kind:       key[13],
		Place:      key[rowHeadBytes:],
	}, true
}

// appendBound appends the lowest key that a row of the time can have.
func appendBound(dst []byte, keyspace uint32, expireAtMs int64) []byte {
	dst = append(dst, RowPrefix)
	dst = binary.BigEndian.AppendUint32(dst, keyspace)
	return binary.BigEndian.AppendUint64(dst, uint64(expireAtMs))
}
