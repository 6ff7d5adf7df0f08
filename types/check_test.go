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

// soundRecords are those of a store with a short string, one that expires, one in a blob of two chunks, one paged over a blob, one with a long
// name, and a dead blob and a dead collection, half reclaimed.
func soundRecords(keys *Keys) (records []checkedRecord, tallies map[uint32]storage.Tally) {
	put := func(key, value []byte) { records = append(records, checkedRecord{key, value}) }
	payload := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 7), 100)
	paged := pagedPayload(5000, 11, 9, 64)
	for _, m := range []struct {
		name string
		Meta
	}{
		{longName, Meta{Payload: []byte("x"), ExpireAtMs: 7, name: nameBlob{10, uint64(len(longName))}}},
		{"paged", Meta{Format: formatPaged, OwnsBlobs: true, Payload: paged}},
		{"short", Meta{Payload: []byte("abc")}},
		{"mortal", Meta{Payload: []byte("abcd"), ExpireAtMs: 12345}},
		{"long", Meta{Format: formatBlob, OwnsBlobs: true, Payload: payload}},
	} {
		key := keys.AppendMeta(nil, 3, []byte(m.name))
		put(key, AppendMetaRecord(nil, &m.Meta))
		if m.ExpireAtMs != 0 {
			put(ttl.AppendRow(nil, 3, m.ExpireAtMs, ttl.KindKey, key[placeOffset:]), ttl.AppendRowValue(nil, m.light(key)))
		}
	}
	for _, blob := range []uint64{7, 8} {
		put(appendBlobHeader(nil, blob), append(binary.BigEndian.AppendUint64(nil, 100), 0, 0, 0, 64))
		put(appendBlobChunk(nil, blob, 0), make([]byte, 64))
	}
	put(appendBlobChunk(nil, 7, 1), make([]byte, 36))
	put(AppendDead(nil, DeadBlob, 8), []byte{Reclaim})
	put(appendBlobHeader(nil, 9), append(binary.BigEndian.AppendUint64(nil, 64), 0, 0, 0, 64))
	put(appendBlobChunk(nil, 9, 0), make([]byte, 64))
	put(appendBlobHeader(nil, 10), append(binary.BigEndian.AppendUint64(nil, uint64(len(longName))), 0, 1, 0, 0))
	put(appendBlobChunk(nil, 10, 0), []byte(longName))
	put(appendRoot(nil, 11), []byte{1})
	put(appendDirectory(nil, 11, 0), []byte{1 << 1, 0, 1 << 3})
	put(appendPage(nil, 11, 1), bytes.Repeat([]byte{7}, PageBytes))
	put(appendPage(nil, 11, 19), bytes.Repeat([]byte{7}, 5000-19*PageBytes))
	put(AppendDead(nil, DeadCollection, 12), []byte{Reclaim})
	put(appendPage(nil, 12, 3), []byte{3, 1, 9, 2, 0})
	slices.SortFunc(records, func(a, b checkedRecord) int { return bytes.Compare(a.key, b.key) })
	return records, map[uint32]storage.Tally{3: {Keys: 5, Expires: 2, Bytes: 5 + 3 + 6 + 4 + 4 + 100 + 5 + 5000 + int64(len(longName)) + 1}}
}

var longName = strings.Repeat("n", MaxNameBytes+1)

// pagedPayload is what the meta record of a paged string says; blob 0: nothing lies beneath.
func pagedPayload(length, collection, blob, blobLength uint64) (payload []byte) {
	for _, n := range []uint64{length, collection, blob, blobLength} {
		if blob != 0 || len(payload) < pagedPayloadBytes {
			payload = binary.BigEndian.AppendUint64(payload, n)
		}
	}
	return payload
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
		{"meta record missing", drop(keys.AppendMeta(nil, 3, []byte("short"))), "holds 4 keys"},
		{"expiry row missing", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return slices.DeleteFunc(records, is('x'))
		}, "expiry index"},
		{"expiry row of another size", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			i := slices.IndexFunc(records, func(r checkedRecord) bool { return r.key[0] == 'x' && len(r.value) > 1 })
			records[i].value = ttl.AppendRowValue(nil, 3)
			return records
		}, "expiry index"},
		{"expiry row of no form", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			records[slices.IndexFunc(records, is('x'))].value = []byte{3}
			return records
		}, "malformed expiry row"},
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
		{"page missing", drop(appendPage(nil, 11, 19)), "has lost 1 pages"},
		{"directory missing", drop(appendDirectory(nil, 11, 0)), "has lost 1 pages or directories"},
		{"root missing", drop(appendRoot(nil, 11)), "has lost the root"},
		{"root names one more", replace(appendRoot(nil, 11), []byte{5}), "has lost 1 pages or directories"},
		{"root does not name a directory", replace(appendRoot(nil, 11), []byte{0}), "1 pages or directories that nothing names"},
		{"root too long", replace(appendRoot(nil, 11), bytes.Repeat([]byte{1}, rootBytes+1)), "malformed root"},
		{"all pages missing", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return slices.DeleteFunc(records, func(r checkedRecord) bool { return bytes.HasPrefix(r.key, appendRoot(nil, 11)[:9]) })
		}, "has lost the root"},
		{"page of a dead collection missing", drop(appendPage(nil, 12, 3)), ""},
		{"dead record of a collection missing", drop(AppendDead(nil, DeadCollection, 12)), "collection 12 is nobody's: its 1 records"},
		{"meta record of a paged string missing", drop(keys.AppendMeta(nil, 3, []byte("paged"))), "collection 11 is nobody's: its 4 records"},
		{"name missing", drop(appendBlobHeader(nil, 10)), "its name, blob 10, is missing"},
		{"name in pieces", drop(appendBlobChunk(nil, 10, 0)), "blob 10 has 0 of its 1 chunks"},
		{"name of another", replace(appendBlobChunk(nil, 10, 0), []byte("o"+longName[1:])), "its name, blob 10, is another one's"},
		{"name not owned", replace(keys.AppendMeta(nil, 3, []byte(longName)), []byte{0, 0, 'x'}), "its name is missing"},
		{"blob beneath missing", drop(appendBlobHeader(nil, 9)), "blob 9, is missing"},
		{"page too long", replace(appendPage(nil, 11, 19), bytes.Repeat([]byte{7}, 5001-19*PageBytes)), "does not fit its string"},
		{"packed page too long", replace(appendPage(nil, 11, 19), []byte{5000 - 19*PageBytes, 1, 0}), "does not fit its string"},
		{"page packed in the wrong order", replace(appendPage(nil, 11, 1), []byte{9, 1, 3, 2, 0}), "malformed page"},
		{"page longer than a page", replace(appendPage(nil, 11, 1), make([]byte, PageBytes+1)), "malformed page"},
		{"directory too long", replace(appendDirectory(nil, 11, 0), bytes.Repeat([]byte{1}, 129)), "malformed directory"},
		{"directory has one more", replace(appendDirectory(nil, 11, 0), []byte{1<<1 | 1<<2, 0, 1 << 3}), "has lost 1 pages"},
		{"directory has one less", replace(appendDirectory(nil, 11, 0), []byte{1 << 1}), "1 pages or directories that nothing names"},
		{"collection dead and alive", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			i := slices.IndexFunc(records, is('d'))
			return slices.Insert(records, i, checkedRecord{AppendDead(nil, DeadCollection, 11), []byte{Reclaim}})
		}, "collection 11 belongs to another key or is dead"},
		{"collection of a dead keyspace", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			i := slices.IndexFunc(records, is('m'))
			return slices.Insert(records, i, checkedRecord{AppendDead(nil, DeadKeyspace, 3), []byte{Reclaim}})
		}, ""},
		{"collection moved from a dead keyspace", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return movedFrom(records, &keys, 2)
		}, ""},
		{"collection moved from a dead keyspace that is newer", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return movedFrom(records, &keys, 4)
		}, ""},
		{"collection of the future", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			i := slices.IndexFunc(records, is('d'))
			return slices.Insert(records, i, checkedRecord{AppendDead(nil, DeadCollection, 13), []byte{Reclaim}})
		}, "the next id is 13"},
		{"strange element", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return append(records[:len(records)-1], checkedRecord{appendElement(nil, 12, 9), []byte{1}})
		}, "malformed key of an element"},
		{"blob of the future", func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
			return slices.Insert(records, 0, checkedRecord{appendBlobHeader(nil, 13), append(make([]byte, 8), 0, 0, 0, 64)})
		}, "the next id is 13"},
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
			wrong = append(wrong, checker.End(tallies, 13)...)
			if found := strings.Join(wrong, "\n"); (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// movedFrom makes the paged string one that was moved from a dead keyspace, the records of which are seen again while they are removed.
func movedFrom(records []checkedRecord, keys *Keys, keyspace uint32) []checkedRecord {
	i := slices.IndexFunc(records, func(r checkedRecord) bool { return bytes.Equal(r.key, keys.AppendMeta(nil, 3, []byte("paged"))) })
	old := checkedRecord{keys.AppendMeta(nil, keyspace, []byte("paged")), records[i].value}
	at, _ := slices.BinarySearchFunc(records, old.key, func(r checkedRecord, key []byte) int { return bytes.Compare(r.key, key) })
	records = slices.Insert(records, at, old)
	dead := AppendDead(nil, DeadKeyspace, uint64(keyspace))
	at, _ = slices.BinarySearchFunc(records, dead, func(r checkedRecord, key []byte) int { return bytes.Compare(r.key, key) })
	return slices.Insert(records, at, checkedRecord{dead, []byte{Reclaim}})
}

func drop(key []byte) func([]checkedRecord, map[uint32]storage.Tally) []checkedRecord {
	return func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
		return slices.DeleteFunc(records, func(r checkedRecord) bool { return bytes.Equal(r.key, key) })
	}
}

func replace(key, value []byte) func([]checkedRecord, map[uint32]storage.Tally) []checkedRecord {
	return func(records []checkedRecord, _ map[uint32]storage.Tally) []checkedRecord {
		i := slices.IndexFunc(records, func(r checkedRecord) bool { return bytes.Equal(r.key, key) })
		records[i].value = value
		return records
	}
}
