package types

import (
	"encoding/binary"

	"sett/storage"
)

// What the reclaimer has to know of keys.

// DeadRange is where the dead records lie, those of the oldest ids first within each kind.
func DeadRange() storage.Range { return prefixRange(deadPrefix) }

// BlobRanges are where the headers and the chunks of all blobs lie. Both are in the order of ids.
func BlobRanges() (headers, chunks storage.Range) {
	return prefixRange(headerPrefix), prefixRange(chunkPrefix)
}

// Doomed returns what lies under the id of a dead record, a blob's header first: without it the chunks are garbage whatever happens. ok is
// false if it has to stay: it is staged, or of a kind that is not removed like this.
func Doomed(key, value []byte) (ranges []storage.Range, ok bool) {
	kind, id, ok := DecodeDead(key)
	if !ok || len(value) != 1 || value[0] != Reclaim {
		return nil, false
	}
	switch kind {
	case DeadBlob:
		return []storage.Range{idRange(headerPrefix, id), idRange(chunkPrefix, id)}, true
	case DeadCollection:
		return []storage.Range{idRange(elementPrefix, id)}, true
	}
	return nil, false
}

// AppendHeaderOf appends the key of the header that belongs to a chunk.
func AppendHeaderOf(dst, chunk []byte) []byte {
	return append(append(dst, headerPrefix), chunk[1:min(9, len(chunk))]...)
}

func prefixRange(prefix byte) storage.Range {
	return storage.Range{Lower: []byte{prefix}, Upper: []byte{prefix + 1}}
}

func idRange(prefix byte, id uint64) storage.Range {
	return storage.Range{
		Lower: binary.BigEndian.AppendUint64([]byte{prefix}, id),
		Upper: binary.BigEndian.AppendUint64([]byte{prefix}, id+1),
	}
}
