package types

import (
	"encoding/binary"
	"fmt"

	"sett/storage"
)

// A string is whole in its meta record, or a blob:
//
//	format inline  payload: its bytes
//	format blob    payload: blob id(8) length(8); header and chunks under the id
//
// A blob is written once. Whatever changes the string writes a new blob, and the old one is dead.
const (
	formatInline = 0
	formatBlob   = 1

	blobPayloadBytes = 16
	blobHeaderBytes  = 12
)

func (m *Meta) validString() bool {
	if m.Format == formatInline {
		return !m.OwnsBlobs
	}
	return m.Format == formatBlob && m.OwnsBlobs && len(m.Payload) == blobPayloadBytes
}

// blob returns the id and length of the blob that the record owns.
func (m *Meta) blob() (id, length uint64) {
	return binary.BigEndian.Uint64(m.Payload), binary.BigEndian.Uint64(m.Payload[8:])
}

// StringLen is the length of a string in bytes.
func (m *Meta) StringLen() int {
	if m.Format == formatBlob {
		_, length := m.blob()
		return int(length)
	}
	return len(m.Payload)
}

// Inline is the string itself, if the meta record holds it.
func (m *Meta) Inline() (value []byte, ok bool) { return m.Payload, m.Format == formatInline }

// AppendString appends the bytes [from, to) of a string to dst; from ≤ to ≤ StringLen.
func AppendString(r Reader, m *Meta, dst []byte, from, to int) ([]byte, error) {
	if value, ok := m.Inline(); ok {
		return append(dst, value[from:to]...), nil
	}
	if from == to {
		return dst, nil
	}
	id, length := m.blob()
	chunkBytes, err := openBlob(r, id, length, from, to)
	if err != nil {
		return dst, err
	}
	key := make([]byte, 0, 16)
	for at := from; at < to; {
		n := at / chunkBytes
		key = appendBlobChunk(key[:0], id, uint32(n))
		chunk, err := r.Get(key)
		if err != nil {
			return dst, err
		}
		start := n * chunkBytes
		if want := min(chunkBytes, int(length)-start); len(chunk) != want {
			return dst, corruptBlob(key, "blob %d: chunk %d has %d bytes of %d", id, n, len(chunk), want)
		}
		end := min(to, start+len(chunk))
		dst = append(dst, chunk[at-start:end-start]...)
		at = end
	}
	return dst, nil
}

// usualChunkBytes is what chunks are asked for together with a header that is not in memory, to save a round. A blob of another chunk
// size costs that round.
const usualChunkBytes = 64 << 10

// openBlob makes sure that the header and the chunks which hold [from, to) are in memory, and returns the size of its chunks.
func openBlob(r Reader, id, length uint64, from, to int) (chunkBytes int, err error) {
	key := appendBlobHeader(nil, id)
	header, err := r.Get(key)
	if err == storage.ErrMiss {
		return 0, r.Need(append(chunkKeys(id, from, to, usualChunkBytes), key)...)
	}
	if err != nil {
		return 0, err
	}
	if chunkBytes, err = chunkSize(key, header, id, length); err != nil {
		return 0, err
	}
	return chunkBytes, r.Need(chunkKeys(id, from, to, chunkBytes)...)
}

func chunkKeys(id uint64, from, to, chunkBytes int) [][]byte {
	var keys [][]byte
	for n := from / chunkBytes; n <= (to-1)/chunkBytes; n++ {
		keys = append(keys, appendBlobChunk(nil, id, uint32(n)))
	}
	return keys
}

func corruptBlob(key []byte, format string, args ...any) error {
	return &storage.CorruptError{Key: append([]byte(nil), key...), Reason: fmt.Sprintf(format, args...)}
}

// PutString makes value the key's value, inline or as a new blob.
func (l *Ledger) PutString(r *Record, value []byte, expireAtMs int64) {
	m := Meta{Type: String, Format: formatInline, ExpireAtMs: expireAtMs, Payload: value}
	if len(value) <= l.strings.ThresholdBytes {
		l.Put(r, m)
		return
	}
	id := l.txn.NewID()
	l.putBlobHeader(id, uint64(len(value)))
	l.putBlobChunks(id, 0, value)
	l.putBlob(r, id, uint64(len(value)), expireAtMs)
}

// putBlob makes a blob the key's value.
func (l *Ledger) putBlob(r *Record, id, length uint64, expireAtMs int64) {
	var payload [blobPayloadBytes]byte
	binary.BigEndian.PutUint64(payload[:], id)
	binary.BigEndian.PutUint64(payload[8:], length)
	l.Put(r, Meta{Type: String, Format: formatBlob, OwnsBlobs: true, ExpireAtMs: expireAtMs, Payload: payload[:]})
}
