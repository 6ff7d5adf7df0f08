package storage

import "encoding/binary"

// Tally counts what a keyspace holds: exactly what has been written and not been deleted or swept.
type Tally struct {
	Keys    int64 // keys
	Expires int64 // keys with a time to live
	Bytes   int64 // names and values, as far as the writer counted them
	Mortal  int64 // hashes with fields that have a time to live
}

func (t Tally) plus(d Tally) Tally {
	return Tally{t.Keys + d.Keys, t.Expires + d.Expires, t.Bytes + d.Bytes, t.Mortal + d.Mortal}
}

const tallyPrefix = "!n"

// TallyKey is the system record with a keyspace's tally.
func TallyKey(keyspace uint32) []byte { return appendTallyKey(nil, keyspace) }

// A keyspace's tally is the system record "!n" keyspace(4) → keys(8) expires(8) bytes(8), and mortal(8) unless it is 0, big-endian.
func appendTallyKey(b []byte, keyspace uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, tallyPrefix...), keyspace)
}

func appendTally(b []byte, t Tally) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Keys))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Bytes))
	if t.Mortal != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Mortal))
	}
	return b
}

// decodeTally reads a tally record; ok is false for any other record.
func decodeTally(key, value []byte) (keyspace uint32, t Tally, ok bool) {
	if len(key) != len(tallyPrefix)+4 || string(key[:len(tallyPrefix)]) != tallyPrefix || len(value) != 24 && len(value) != 32 {
		return 0, t, false
	}
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(value[i:])) }
	t = Tally{Keys: n(0), Expires: n(8), Bytes: n(16)}
	if len(value) == 32 {
		t.Mortal = n(24)
	}
	return binary.BigEndian.Uint32(key[len(tallyPrefix):]), t, true
}
