package types

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/cespare/xxhash/v2"

	"sett/storage"
	"sett/ttl"
)

func TestSlotIsRedisClusters(t *testing.T) {
	for name, want := range map[string]uint16{ // CLUSTER KEYSLOT of 7.0.15
		"": 0, "foo": 12182, "123456789": 12739, "{user1000}.following": 3443, "{user1000}.followers": 3443, "foo{}{bar}": 8363,
		"foo{{bar}}zap": 4015, "foo{bar}{zap}": 5061, "{": 4092, "{}": 15257, "a{b": 13340, "}{a}": 15495,
		"{a name of more than eight bytes}": 3655, "key:000000012345": 12533,
	} {
		if got := Slot([]byte(name)); got != want {
			t.Errorf("Slot(%q) = %d, want %d", name, got, want)
		}
	}
}

// A long name's key has its SHA-256, at the place that the name itself has.
func TestLongNameOnDisk(t *testing.T) {
	keys := New([16]byte{1, 2, 3})
	name := append(bytes.Repeat([]byte("n"), MaxNameBytes), "{foo}"...)
	key := keys.AppendMeta(nil, 7, name)
	sum := sha256.Sum256(name)
	if want := "m\x00\x00\x00\x07\x2f\x96"; string(key[:7]) != want || key[11] != 1 || string(key[12:]) != string(sum[:]) {
		t.Errorf("meta key %x", key)
	}
}

// The layout is on disk: it must never change.
func TestKeysOnDisk(t *testing.T) {
	keys := New([16]byte{1, 2, 3})
	meta := keys.AppendMeta(nil, 7, []byte("foo"))
	if want := []byte("m\x00\x00\x00\x07\x2f\x96\xe7\x94\xc6\x0f\x00foo"); !bytes.Equal(meta, want) {
		t.Errorf("meta key %q, want %q", meta, want)
	}
	row := ttl.AppendRow(nil, 7, 258, ttl.KindKey, meta[placeOffset:])
	if want := []byte("x\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x01\x02\x00" + string(meta[placeOffset:])); !bytes.Equal(row, want) {
		t.Errorf("expiry row %q, want %q", row, want)
	}
	if got := AppendDead(nil, DeadBlob, 9); string(got) != "d\x01\x00\x00\x00\x00\x00\x00\x00\x09" {
		t.Errorf("dead record %q", got)
	}
	if got := appendBlobHeader(nil, 9); string(got) != "B\x00\x00\x00\x00\x00\x00\x00\x09" {
		t.Errorf("blob header %q", got)
	}
	if got := appendBlobChunk(nil, 9, 3); string(got) != "b\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x03" {
		t.Errorf("blob chunk %q", got)
	}
	if got := appendRoot(nil, 9); string(got) != "s\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00" {
		t.Errorf("root %q", got)
	}
	if got := appendDirectory(nil, 9, 3); string(got) != "s\x00\x00\x00\x00\x00\x00\x00\x09\x01\x00\x00\x00\x03" {
		t.Errorf("directory %q", got)
	}
	if got := appendPage(nil, 9, 1<<32-1); string(got) != "s\x00\x00\x00\x00\x00\x00\x00\x09\x02\xff\xff\xff\xff" {
		t.Errorf("page %q", got)
	}
}

func FuzzMetaKey(f *testing.F) {
	f.Add(uint32(0), []byte("a"), []byte("{a}b"))
	f.Add(uint32(3), bytes.Repeat([]byte("a"), MaxNameBytes), bytes.Repeat([]byte("a"), MaxNameBytes+1))
	f.Add(uint32(1<<24), []byte(""), bytes.Repeat([]byte{0xff}, 300))
	f.Fuzz(func(t *testing.T, keyspace uint32, a, b []byte) {
		if keyspace == 1<<32-1 {
			return
		}
		keys := New([16]byte{7})
		ka, kb := keys.AppendMeta(nil, keyspace, a), keys.AppendMeta([]byte{}, keyspace, b)
		pa, pb := MetaPlace(ka), MetaPlace(kb)
		if !IsMeta(ka) || MetaKeyspace(ka) != keyspace || len(a) <= MaxNameBytes != bytes.Equal(KeyName(ka), a) || pa.Slot != Slot(a) {
			t.Fatalf("%q does not come back from %q", a, ka)
		}
		if pa != pb && pa.Before(pb) != (bytes.Compare(ka, kb) < 0) {
			t.Fatalf("the order of places %v, %v is not that of keys", pa, pb)
		}
		if bytes.Equal(a, b) != bytes.Equal(ka, kb) {
			t.Fatalf("%q and %q do not have keys of their own", a, b)
		}
		if bytes.Compare(AppendMetaPlace(nil, keyspace, pa), ka) > 0 || bytes.Compare(ka, AppendMetaEnd(nil, keyspace)) >= 0 {
			t.Fatalf("%q lies outside its bounds", ka)
		}
		if back, ok := PlaceAt(pa.Cursor()); !ok || back != pa {
			t.Fatalf("place %v comes back as %v", pa, back)
		}
		if len(ka) > storage.MaxKeyBytes {
			t.Fatalf("a meta key of %d bytes", len(ka))
		}
		row, ok := ttl.DecodeRow(ttl.AppendRow(nil, keyspace, 5, ttl.KindKey, ka[placeOffset:]))
		if !ok || row.Keyspace != keyspace || row.ExpireAtMs != 5 || !bytes.Equal(AppendMetaOfRow(nil, row), ka) {
			t.Fatalf("the expiry row of %q does not lead back to it", ka)
		}
	})
}

func FuzzMetaRecord(f *testing.F) {
	f.Add([]byte{0, 0}, int64(0))
	f.Add(append([]byte{0, flagLongName}, pagedPayload(9, 1<<20, 0, 0)...), int64(4))
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 'x'}, int64(3))
	f.Add(append([]byte{1, 2}, pagedPayload(0, 1, 7, 100)[8:]...), int64(1))
	f.Add(append([]byte{2, 0}, pagedPayload(100, 1, 0, 0)...), int64(1))
	f.Add([]byte{byte(Hash) << 4, 0, stateMortal, 1, 0, 0, 0, 0, 0, 0, 0, 9, 2, 'a', 2, 'b'}, int64(1))
	f.Add(append([]byte{2, 2}, pagedPayload(100, 1, 7, 100)...), int64(1))
	f.Fuzz(func(t *testing.T, record []byte, expireAt int64) {
		m, err := DecodeMeta([]byte("key"), record)
		if err != nil {
			return
		}
		if m.Type == String && (m.StringLen() < 0 || m.StringLen() > maxStringBytes) {
			t.Fatalf("%x is a string of %d bytes", record, m.StringLen())
		}
		if again := AppendMetaRecord(nil, &m); !bytes.Equal(again, record) {
			t.Fatalf("%x comes back as %x", record, again)
		}
		if expireAt <= 0 {
			return
		}
		m.ExpireAtMs = expireAt
		back, err := DecodeMeta(nil, AppendMetaRecord(nil, &m))
		if err != nil || back.ExpireAtMs != expireAt || !bytes.Equal(back.Payload, m.Payload) || back.Type != m.Type || back.name != m.name {
			t.Fatalf("%+v comes back as %+v, %v", m, back, err)
		}
	})
}

func TestMetaExpiresAfterItsMillisecond(t *testing.T) {
	m := Meta{ExpireAtMs: 100}
	if m.ExpiredAt(100) || !m.ExpiredAt(101) {
		t.Error("a key lives in the millisecond of its expireAt and not in the next")
	}
	if m = (Meta{}); m.ExpiredAt(1 << 60) {
		t.Error("a key without a time died")
	}
}

func TestDamagedMetaRecords(t *testing.T) {
	for _, payload := range [][]byte{
		pagedPayload(100, 0, 0, 0), pagedPayload(100, 1, 7, 101), pagedPayload(1<<43, 1, 0, 0), pagedPayload(1<<63, 1, 0, 0), pagedPayload(100, 1, 7, 100)[:31],
	} {
		for flags := byte(0); flags <= flagOwnsBlobs; flags += flagOwnsBlobs {
			if m, err := DecodeMeta([]byte("k"), append([]byte{formatPaged, flags}, payload...)); err == nil {
				t.Errorf("%x decoded as %+v", payload, m)
			}
		}
	}
	for _, name := range [][]byte{pagedPayload(0, 1<<20, 0, 0), pagedPayload(9, MaxNameBytes, 0, 0), pagedPayload(9, 1<<60, 0, 0), make([]byte, 15)} {
		if m, err := DecodeMeta([]byte("k"), append([]byte{0, flagLongName}, name...)); err == nil {
			t.Errorf("name %x decoded as %+v", name, m)
		}
	}
	for _, record := range [][]byte{{}, {0}, {0, 4}, {0, 1, 0}, {0xf0, 0}, {2, 0}, {1, 0, 1, 2}, {0, 2}, {1, 2, 0}, {0, 1, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if m, err := DecodeMeta([]byte("k"), record); err == nil {
			t.Errorf("%x decoded as %+v", record, m)
		}
	}
}

func TestHashIsXXHashOfSeedAndName(t *testing.T) {
	seed := [16]byte{1, 2, 3}
	keys := New(seed)
	for _, name := range []string{"", "foo", "a name of more than thirty-two bytes, which are xxhash's blocks"} {
		want := uint32(xxhash.Sum64(append(seed[:], name...)))
		if got := MetaPlace(keys.AppendMeta(nil, 0, []byte(name))).Hash; got != want {
			t.Errorf("hash of %q is %x, want %x", name, got, want)
		}
	}
}
