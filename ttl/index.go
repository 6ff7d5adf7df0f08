package ttl

import "encoding/binary"

// An expiry row is
//
//	x keyspace(4) expireAt(8) kind(1) slot(2) hash(4) form(1) userkey → 1
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

// RowValue is the value of every row.
var RowValue = []byte{1}

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
