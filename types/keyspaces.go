package types

import (
	"encoding/binary"

	"sett/storage"
)

// A keyspace is what a database number stands for at a moment. The system record !keyspaces lists the numbers that do not stand for the
// keyspace of the same id: next id(4), then database(4) keyspace(4) for each, in no order. There is no record until the first FLUSHDB
// or SWAPDB, and nothing is as cheap to look up as that.
var keyspacesKey = []byte("!keyspaces")

// FirstKeyspace is the lowest id that FLUSHDB gives; ids below belong to the databases of the same number, MaxDatabases of them.
const (
	FirstKeyspace = 1 << 24
	MaxDatabases  = FirstKeyspace
)

// LookupKeyspace returns the keyspace of a database.
func LookupKeyspace(r Reader, db int) (uint32, error) {
	record, err := r.Get(keyspacesKey)
	if err != nil || len(record) == 0 {
		return uint32(db), err
	}
	return keyspaceOf(record, db), nil
}

func keyspaceOf(record []byte, db int) uint32 {
	for i := 4; i+8 <= len(record); i += 8 {
		if binary.BigEndian.Uint32(record[i:]) == uint32(db) {
			return binary.BigEndian.Uint32(record[i+4:])
		}
	}
	return uint32(db)
}

// SwapKeyspaces exchanges what two databases stand for.
func SwapKeyspaces(t *storage.Txn, a, b int) error {
	record, err := readKeyspaces(t)
	if err != nil {
		return err
	}
	ka, kb := keyspaceOf(record, a), keyspaceOf(record, b)
	record = mapKeyspace(record, a, kb)
	record = mapKeyspace(record, b, ka)
	t.Put(keyspacesKey, record)
	return nil
}

// RenewKeyspace gives a database a new, empty keyspace and returns it; the old one is dead. Its counters go with it, by the reclaimer.
func RenewKeyspace(t *storage.Txn, db int) (next uint32, err error) {
	record, err := readKeyspaces(t)
	if err != nil {
		return 0, err
	}
	next = binary.BigEndian.Uint32(record)
	dead := AppendDead(nil, DeadKeyspace, uint64(keyspaceOf(record, db)))
	binary.BigEndian.PutUint32(record, next+1)
	t.Put(keyspacesKey, mapKeyspace(record, db, next))
	t.Put(dead, []byte{Reclaim})
	return next, nil
}

// readKeyspaces returns a copy of the record that may be changed.
func readKeyspaces(t *storage.Txn) ([]byte, error) {
	record, err := t.Get(keyspacesKey)
	if err != nil {
		return nil, err
	}
	if len(record) == 0 {
		return binary.BigEndian.AppendUint32(nil, FirstKeyspace), nil
	}
	return append([]byte(nil), record...), nil
}

func mapKeyspace(record []byte, db int, keyspace uint32) []byte {
	for i := 4; i+8 <= len(record); i += 8 {
		if binary.BigEndian.Uint32(record[i:]) == uint32(db) {
			binary.BigEndian.PutUint32(record[i+4:], keyspace)
			return record
		}
	}
	record = binary.BigEndian.AppendUint32(record, uint32(db))
	return binary.BigEndian.AppendUint32(record, keyspace)
}
