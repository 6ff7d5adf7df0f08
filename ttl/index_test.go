package ttl

import (
	"bytes"
	"math"
	"testing"
)

func FuzzRow(f *testing.F) {
	f.Add(uint32(0), int64(1), int64(2), []byte("place"))
	f.Add(uint32(1<<31), int64(1<<62), int64(255), []byte{})
	f.Fuzz(func(t *testing.T, keyspace uint32, a, b int64, place []byte) {
		if a <= 0 || b <= 0 {
			return
		}
		ka, kb := AppendRow(nil, keyspace, a, KindKey, place), AppendRow(nil, keyspace, b, KindKey, place)
		row, ok := DecodeRow(ka)
		if !ok || row.Keyspace != keyspace || row.ExpireAtMs != a || row.Kind != KindKey || !bytes.Equal(row.Place, place) {
			t.Fatalf("row comes back as %+v", row)
		}
		if (a < b) != (bytes.Compare(ka, kb) < 0) {
			t.Fatalf("rows of %d and %d are not in order of time", a, b)
		}
		if due := bytes.Compare(ka, appendBound(nil, keyspace, b)) < 0; due != (a < b) {
			t.Fatalf("a row of %d below the bound of %d: %v", a, b, due)
		}
	})
}

func TestDecodeRowRefusesOtherKeys(t *testing.T) {
	for _, key := range []string{"", "x", "m\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if row, ok := DecodeRow([]byte(key)); ok {
			t.Errorf("%q decoded as %+v", key, row)
		}
	}
}

func TestRowValues(t *testing.T) {
	for _, size := range []int64{NotLight, 0, 1, 127, 128, 1 << 40, math.MaxInt64} {
		value := AppendRowValue(nil, size)
		if got, ok := DecodeRowValue(value); got != size || !ok || len(value) == 0 {
			t.Errorf("%d becomes %q, and that %d, %v", size, value, got, ok)
		}
	}
	for _, value := range []string{"", "\x00", "\x02", "\x01\x01", "\x03\x01", "\x02\x80", "\x02\x01\x01", "\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if size, ok := DecodeRowValue([]byte(value)); ok {
			t.Errorf("%q is taken for the value of a row: %d", value, size)
		}
	}
}
