package types

import (
	"bytes"
	"crypto/sha256"

	"sett/storage"
)

// A name of up to MaxNameBytes lies in the meta key itself (form 0). Of a longer one the key has the SHA-256 (form 1), and the name is a blob
// that the meta record owns besides what its value owns. It is written when the key is made, and dead when the record is dropped.

// DefaultMaxName is the longest name unless max_name_bytes says otherwise.
const DefaultMaxName = 1 << 20

// nameBlob is the blob that holds a long name; the zero nameBlob is that of a name in its key.
type nameBlob struct{ id, length uint64 }

func hasLongName(key []byte) bool { return key[metaHeadBytes-1] == formSum }

func appendName(dst, name []byte) []byte {
	if len(name) <= MaxNameBytes {
		return append(append(dst, formName), name...)
	}
	sum := sha256.Sum256(name)
	return append(append(dst, formSum), sum[:]...)
}

// InKey tells whether the record's name lies in its key, where KeyName finds it.
func (m *Meta) InKey() bool { return m.name.id == 0 }

// ReadName returns the name of the record under a meta key. It may point into the key.
func (m *Meta) ReadName(g Getter, key []byte) ([]byte, error) {
	if hasLongName(key) == m.InKey() {
		return nil, corruptMeta(key)
	}
	if m.InKey() {
		return KeyName(key), nil
	}
	blob := StagedBlob{m.name.id, m.name.length}.Meta()
	name, err := appendPieces(g, &blob, make([]byte, 0, m.name.length), 0, int(m.name.length))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(name); !bytes.Equal(sum[:], key[metaHeadBytes:]) {
		return nil, &storage.CorruptError{Key: bytes.Clone(key), Reason: "its name is another one's"}
	}
	return name, nil
}

// nameBytes is what the name under a meta key adds to the counter of bytes.
func (m *Meta) nameBytes(key []byte) int64 {
	if m.InKey() {
		return int64(len(KeyName(key)))
	}
	return int64(m.name.length)
}

// nameOf returns the blob of a record's name, which is written if the record is new.
func (l *Ledger) nameOf(r *Record) nameBlob {
	if r.Exists || !hasLongName(r.Key) {
		return r.Meta.name
	}
	if len(r.Name) <= MaxNameBytes {
		panic("types: a record of a long name was opened without it")
	}
	b := nameBlob{l.txn.NewID(), uint64(len(r.Name))}
	l.putBlobHeader(b.id, b.length)
	l.putBlobChunks(b.id, 0, r.Name)
	return b
}

// dropName makes the blob of a record's name dead.
func (l *Ledger) dropName(m *Meta) {
	if !m.InKey() {
		l.putDead(DeadBlob, m.name.id, Reclaim)
	}
}
