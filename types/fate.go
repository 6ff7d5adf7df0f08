package types

import (
	"encoding/binary"

	"sett/storage"
	"sett/ttl"
)

// Fate tells what a record is that is the newest of its key: storage.Fate. What a flushed database's collections and blobs hold lives until the
// reclaimer has found them; so does what belongs to a key that is past its time.
func Fate(key, value []byte, nowMs int64, get func(key []byte) ([]byte, error)) storage.Cause {
	kind, id, ends := byte(0), uint64(0), int64(0)
	switch {
	case len(key) > 8 && key[0] == elementPrefix:
		kind, id = DeadCollection, binary.BigEndian.Uint64(key[1:])
	case len(key) > 8 && (key[0] == headerPrefix || key[0] == chunkPrefix):
		kind, id = DeadBlob, binary.BigEndian.Uint64(key[1:])
	case IsMeta(key):
		kind, id = DeadKeyspace, uint64(MetaKeyspace(key))
		if m, err := DecodeMeta(key, value); err == nil {
			ends = m.ExpireAtMs
		}
	default:
		row, ok := ttl.DecodeRow(key)
		if !ok {
			return storage.Live
		}
		kind, id, ends = DeadKeyspace, uint64(row.Keyspace), row.ExpireAtMs
	}
	state, err := get(AppendDead(nil, kind, id))
	switch {
	case err == nil && len(state) == 1 && state[0] == Reclaim && kind == DeadKeyspace:
		return storage.FlushedKeyspace
	case err == nil && len(state) == 1 && state[0] == Reclaim:
		return storage.DeadCollection
	case ends != 0 && nowMs > ends:
		return storage.Expired
	}
	return storage.Live
}
