package types

import (
	"encoding/binary"
	"testing"
)

func TestMapKeyspace(t *testing.T) {
	record := binary.BigEndian.AppendUint32(nil, FirstKeyspace)
	if got := keyspaceOf(record, 3); got != 3 {
		t.Fatalf("database 3 stands for %d before anything happened", got)
	}
	record = mapKeyspace(record, 3, 100)
	record = mapKeyspace(record, 0, 200)
	record = mapKeyspace(record, 3, 300)
	for db, want := range map[int]uint32{0: 200, 1: 1, 3: 300} {
		if got := keyspaceOf(record, db); got != want {
			t.Errorf("database %d stands for %d, want %d", db, got, want)
		}
	}
	if len(record) != 4+2*8 {
		t.Errorf("record of %d bytes for two databases", len(record))
	}
}
