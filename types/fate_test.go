package types

import (
	"testing"

	"sett/storage"
	"sett/ttl"
)

func TestFate(t *testing.T) {
	keys := New([16]byte{1})
	meta := func(keyspace uint32, expireAtMs int64) (key, value []byte) {
		m := Meta{Exists: true, Type: String, ExpireAtMs: expireAtMs, Payload: []byte("v")}
		return keys.AppendMeta(nil, keyspace, []byte("name")), AppendMetaRecord(nil, &m)
	}
	dead := map[string]byte{
		string(AppendDead(nil, DeadCollection, 7)): Reclaim, string(AppendDead(nil, DeadCollection, 8)): Staged,
		string(AppendDead(nil, DeadBlob, 9)): Reclaim, string(AppendDead(nil, DeadKeyspace, 3)): Reclaim,
	}
	get := func(key []byte) ([]byte, error) {
		if state, ok := dead[string(key)]; ok {
			return []byte{state}, nil
		}
		return nil, nil
	}
	check := func(want storage.Cause, key, value []byte) {
		t.Helper()
		if got := Fate(key, value, 1000, get); got != want {
			t.Errorf("%q is %v, want %v", key, got, want)
		}
	}
	for keyspace, want := range map[uint32]storage.Cause{0: storage.Live, 3: storage.FlushedKeyspace} {
		key, value := meta(keyspace, 0)
		check(want, key, value)
		row := ttl.AppendRow(nil, keyspace, 2000, ttl.KindKey, key[5:])
		check(want, row, ttl.AppendRowValue(nil, ttl.NotLight))
	}
	key, value := meta(0, 999)
	check(storage.Expired, key, value)
	check(storage.Expired, ttl.AppendRow(nil, 0, 999, ttl.KindKey, key[5:]), ttl.AppendRowValue(nil, ttl.NotLight))
	key, value = meta(0, 1000)
	check(storage.Live, key, value)
	check(storage.DeadCollection, appendBucket(nil, 7, 0), nil)
	check(storage.Live, appendBucket(nil, 8, 0), nil)
	check(storage.Live, appendBucket(nil, 9, 0), nil)
	check(storage.DeadCollection, appendBlobHeader(nil, 9), nil)
	check(storage.DeadCollection, appendBlobChunk(nil, 9, 0), nil)
	check(storage.Live, []byte("!applied"), nil)
	check(storage.Live, AppendDead(nil, DeadBlob, 9), []byte{Reclaim})
}
