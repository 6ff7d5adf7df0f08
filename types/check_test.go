package types

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"sett/storage"
	"sett/ttl"
)

type checkedRecord struct{ key, value []byte }

// soundRecords are those of a store with a short string, one that expires, one in a blob of two chunks, and a dead blob half reclaimed.
func soundRecords(keys *Keys) (records []checkedRecord, tallies map[uint32]storage.Tally) {
	put := func(key, value []byte) { records = append(records, checkedRecord{key, value}) }
	payload := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 7), 100)
	for _, m := range []struct {
		name string
		Meta
	}{
		{"short", Meta{Payload: []byte("abc")}},
		{"mortal", Meta{Payload: []byte("abcd"), ExpireAtMs: 12345}},
		{"long", Meta{Format: formatBlob, OwnsBlobs: true, Payload: payload}},
	} {
		key := keys.AppendMeta(nil, 3, []byte(m.name))
		put(key, AppendMetaRecord(nil, &m.Meta))
		if m.ExpireAtMs != 0 {
			put(ttl.AppendRow(nil, 3, m.ExpireAtMs, key[placeOffset:]), ttl.RowValue)
		}
	}
	for _, blob := range []uint64{7, 8} {
		put(appendBlobHeader(nil, blob), append(binary.BigEndian.AppendUint64(nil, 100), 0, 0, 0, 64))
		put(appendBlobChunk(nil, blob, 0), make([]byte, 64))
	}
	put(appendBlobChunk(nil, 7, 1), make([]byte, 36))
	put(AppendDead(nil, DeadBlob, 8), []byte{Reclaim})
	slices.SortFunc(records, func(a, b checkedRecord) int { return bytes.Compare(a.key, b.key) })
	return records, map[uint32]storage.Tally{3: {Keys: 3, Expires: 1, Bytes: 5 + 3 + 6 + 4 + 4 + 100}}
}

func TestChecker(t *testing.T) {
	seed := [16]byte{1, 2, 3}
	keys := New(seed)
	is := func(prefix byte) func(checkedRecord) bool {
		return func(r checkedRecord) bool { return r.key[0] == prefix }
	}
	for _, c := range []struct {
		name string
		harm func(records []checkedRecord, tallies map[uint32]storage.Tally) []checkedRecord
		want string // "": nothing is wrong
	}{
		{"sound", nil, ""},
		{"chunk missing", drop(appendBlobChunk(nil, 7, 1)), "blob 7 has 1 of its 2 chunks"},
		{"chunk of a dead blob missing", drop(appendBlobChunk(nil, 8, 0)), ""},
		{"blob missing", drop(appendBlobHeader(nil, 7)), "blob 7, is missing"},
		{"meta record missing", drop(keys.AppendMeta(nil, 3, []byte("short"))), "holds 2 keys"},
		{"expiry row missing", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return slices.DeleteFunc(records, is('x'))
		}, "expiry index"},
		{"counter missing", func(records []checkedRecord, tallies map[uint32]storage.Tally) []checkedRecord {
			clear(tallies)
			return records
		}, "its counters say 0"},
		{"name changed", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			i := slices.IndexFunc(records, is('m'))
			records[i].key[len(records[i].key)-1] ^= 1
			return records
		}, "GET does not find it"},
		{"unknown type", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			records[slices.IndexFunc(records, is('m'))].value[0] = 0xf0
			return records
		}, "malformed meta record"},
		{"unknown record", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return append(records, checkedRecord{[]byte("zebra"), []byte{1}})
		}, "no records with such a key"},
		{"blob of the future", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return slices.Insert(records, 0, checkedRecord{appendBlobHeader(nil, 9), append(make([]byte, 8), 0, 0, 0, 64)})
		}, "the next id is 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, tallies := soundRecords(&keys)
			if c.harm != nil {
				records = c.harm(records, tallies)
			}
			checker := NewChecker(&seed)
			var wrong []string
			for _, r := range records {
				if w := checker.Record(r.key, r.value); w != "" {
					wrong = append(wrong, checker.Name(r.key)+": "+w)
				}
			}
			wrong = append(wrong, checker.End(tallies, 9)...)
			if found := strings.Join(wrong, "\n"); (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

func drop(key []byte) func([]checkedRecord, map[uint32]storage.Tally) []checkedRecord {
	return func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
		return slices.DeleteFunc(records, func(r checkedRecord) bool { return bytes.Equal(r.key, key) })
	}
}
