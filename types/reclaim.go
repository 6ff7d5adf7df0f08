package types

import (
	"encoding/binary"

	"sett/storage"
	"sett/ttl"
)

// What the reclaimer has to know of keys.

// DeadRange is where the dead records lie, those of the oldest ids first within each kind.
func DeadRange() storage.Range { return prefixRange(deadPrefix) }

// BlobRanges are where the headers and the chunks of all blobs lie. Both are in the order of ids.
func BlobRanges() (headers, chunks storage.Range) {
	return prefixRange(headerPrefix), prefixRange(chunkPrefix)
}

// NotedRange is where this node alone notes what a dead keyspace owned: "~" and the dead record that each of them would have. The meta records that
// named them are removed after that.
func NotedRange() storage.Range {
	return storage.Range{Lower: []byte{notedPrefix, deadPrefix}, Upper: []byte{notedPrefix, deadPrefix + 1}}
}

// estatePrefix follows notedPrefix in the note that says of a dead keyspace that all was noted.
const estatePrefix = 'e'

// Doomed returns what lies under the id of a dead record or note, a blob's header first: without it the chunks are garbage whatever happens. ok is
// false if it has to stay: it is staged.
func Doomed(key, value []byte) (ranges []storage.Range, ok bool) {
	kind, id, ok := decodeDoomed(key)
	if !ok || len(value) != 1 || value[0] != Reclaim {
		return nil, false
	}
	switch kind {
	case DeadBlob:
		return []storage.Range{idRange(headerPrefix, id), idRange(chunkPrefix, id)}, true
	case DeadCollection:
		return []storage.Range{idRange(elementPrefix, id)}, true
	case DeadKeyspace:
		return []storage.Range{keyspaceRange(metaPrefix, uint32(id)), keyspaceRange(ttl.RowPrefix, uint32(id))}, true
	}
	return nil, false
}

func decodeDoomed(key []byte) (kind byte, id uint64, ok bool) {
	if len(key) > 0 && key[0] == notedPrefix {
		key = key[1:]
	}
	return DecodeDead(key)
}

// Estate returns where the records lie that own something, of what a dead record names; ok is false if they own nothing. counter is the system
// record that goes with it, noted the key of the note that says that all they own was noted.
func Estate(key []byte) (owners storage.Range, counter, noted []byte, ok bool) {
	kind, id, ok := decodeDoomed(key)
	if !ok || kind != DeadKeyspace {
		return owners, nil, nil, false
	}
	noted = binary.BigEndian.AppendUint32([]byte{notedPrefix, estatePrefix}, uint32(id))
	return keyspaceRange(metaPrefix, uint32(id)), storage.TallyKey(uint32(id)), noted, true
}

// Bequest returns the notes of what a record in a keyspace's estate owns.
func Bequest(key, value []byte) (notes [][]byte, err error) {
	m, err := DecodeMeta(key, value)
	if err != nil {
		return nil, err
	}
	note := func(kind byte, id uint64) { notes = append(notes, AppendDead([]byte{notedPrefix}, kind, id)) }
	blob, collection := m.owned()
	if blob != 0 {
		note(DeadBlob, blob)
	}
	if collection != 0 {
		note(DeadCollection, collection)
	}
	if !m.InKey() {
		note(DeadBlob, m.name.id)
	}
	return notes, nil
}

// NoteValue is what a note says: that it is to be reclaimed.
var NoteValue = []byte{Reclaim}

func keyspaceRange(prefix byte, keyspace uint32) storage.Range {
	return storage.Range{
		Lower: binary.BigEndian.AppendUint32([]byte{prefix}, keyspace),
		Upper: binary.BigEndian.AppendUint32([]byte{prefix}, keyspace+1),
	}
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
