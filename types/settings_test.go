package types

import (
	"maps"
	"testing"
)

func TestSettingsRecord(t *testing.T) {
	all := map[string]string{"maxmemory": "100", "notify-keyspace-events": "", "b": string(make([]byte, 300))}
	record := encodeSettings(all)
	pairs, err := DecodeSettings(record)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		got[pairs[i]] = pairs[i+1]
	}
	if !maps.Equal(got, all) {
		t.Errorf("%q", pairs)
	}
	if pairs, err := DecodeSettings(nil); err != nil || pairs != nil {
		t.Errorf("no record: %q, %v", pairs, err)
	}
	whole := 0
	for n := 1; n < len(record); n++ {
		if _, err := DecodeSettings(record[:n]); err == nil {
			whole++
		}
	}
	if whole != len(all) { // cut between two settings, or before all of them: storage's checksum is for that
		t.Errorf("%d beginnings of the record were taken for whole", whole)
	}
	record[0]++
	if _, err := DecodeSettings(record); err == nil {
		t.Error("a record of a newer format was taken")
	}
}
