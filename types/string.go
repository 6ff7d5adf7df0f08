package types

import (
	"encoding/binary"
	"fmt"

	"sett/storage"
)

// A string is whole in its meta record, or a blob, or paged:
//
//	format inline  payload: its bytes
//	format blob    payload: blob id(8) length(8); header and chunks under the id
//	format paged   payload: length(8) collection id(8), and blob id(8) length(8) if a blob lies beneath; see page.go
//
// A blob is written once. Writing the whole string makes it whole again, with a blob of its own; what it was before is dead.
const (
	formatInline = 0
	formatBlob   = 1
	formatPaged  = 2

	blobPayloadBytes = 16
	blobHeaderBytes  = 12

	// maxStringBytes is where the root of a paged string ends. proto_max_bulk_len is lower.
	maxStringBytes = 8 * rootBytes * directoryPages * PageBytes
)

func (m *Meta) validString() bool {
	switch m.Format {
	case formatInline:
		return !m.OwnsBlobs
	case formatBlob:
		return m.Encoding == Natural && m.OwnsBlobs && len(m.Payload) == blobPayloadBytes && m.validBlob(maxStringBytes)
	case formatPaged:
		return m.Encoding == Natural && m.validPaged()
	}
	return false
}

// validBlob tells whether the blob that the record owns can be one, of a length up to limit.
func (m *Meta) validBlob(limit uint64) bool {
	id, length := m.blob()
	return id != 0 && length <= limit
}

// blob returns the id and length of the blob that the record owns: the whole string, or what lies beneath its pages.
func (m *Meta) blob() (id, length uint64) {
	b := m.Payload[len(m.Payload)-blobPayloadBytes:]
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
}

// owned returns the ids of the blob and of the collection that die with the record; 0: there is none.
func (m *Meta) owned() (blob, collection uint64) {
	if m.OwnsBlobs {
		blob, _ = m.blob()
	}
	switch {
	case !m.Exists:
	case m.Type == String && m.Format == formatPaged:
		_, collection = m.paged()
	case m.Type != String && m.Format == formatSpread:
		collection = m.collection().id
	}
	return blob, collection
}

// OwnsRecord tells whether a record of the store, the meta record apart, is part of the value or of a long name.
func (m *Meta) OwnsRecord(key []byte) bool {
	if len(key) < 9 {
		return false
	}
	blob, collection := m.owned()
	switch id := binary.BigEndian.Uint64(key[1:]); key[0] {
	case headerPrefix, chunkPrefix:
		return id == blob || id == m.name.id
	case elementPrefix:
		return id == collection
	}
	return false
}

// StringLen is the length of a string in bytes.
func (m *Meta) StringLen() int {
	switch m.Format {
	case formatBlob:
		_, length := m.blob()
		return int(length)
	case formatPaged:
		length, _ := m.paged()
		return length
	}
	return len(m.Payload)
}

// Inline is the string itself, if the meta record holds it.
func (m *Meta) Inline() (value []byte, ok bool) { return m.Payload, m.Format == formatInline }

// AppendString appends the bytes [from, to) of a string to dst; from ≤ to ≤ StringLen. What is not in memory is asked for at once, in two
// steps if it takes a directory or a header to know what it is.
func AppendString(r Reader, m *Meta, dst []byte, from, to int) ([]byte, error) {
	if value, ok := m.Inline(); ok {
		return append(dst, value[from:to]...), nil
	}
	if from == to {
		return dst, nil
	}
	if err := needString(r, m, from, to); err != nil {
		return dst, err
	}
	if m.Format == formatBlob {
		return appendBlob(r, m, dst, from, to)
	}
	return appendPieces(r, m, dst, from, to)
}

// appendBlob is appendPieces for a blob: whole chunks are copied once.
func appendBlob(r Reader, m *Meta, dst []byte, from, to int) ([]byte, error) {
	id, length := m.blob()
	var scratch [blobKeyBytes]byte
	key := appendBlobHeader(scratch[:0], id)
	header, err := r.Get(key)
	if err != nil {
		return dst, err
	}
	chunkBytes, err := chunkSize(key, header, id, length)
	if err != nil {
		return dst, err
	}
	for n := from / chunkBytes; n*chunkBytes < to; n++ {
		start := n * chunkBytes
		key, begin := appendBlobChunk(scratch[:0], id, uint32(n)), len(dst)
		if dst, err = r.Append(dst, key); err != nil {
			return dst[:begin], err
		}
		chunk := dst[begin:]
		if want := min(chunkBytes, int(length)-start); len(chunk) != want {
			return dst[:begin], corruptString(key, "blob %d: chunk %d has %d bytes of %d", id, n, len(chunk), want)
		}
		if first, last := max(from, start)-start, min(to-start, len(chunk)); last-first < len(chunk) {
			dst = dst[:begin+copy(chunk, chunk[first:last])]
		}
	}
	return dst, nil
}

// appendPieces is AppendString for what is known to be in memory.
func appendPieces(g Getter, m *Meta, dst []byte, from, to int) ([]byte, error) {
	p := newPieces(g, m, from, to)
	for {
		piece, err := p.Next()
		if len(piece) == 0 {
			return dst, err
		}
		dst = append(dst, piece...)
	}
}

// needString makes sure that all records which hold [from, to) are in memory.
func needString(r Reader, m *Meta, from, to int) (err error) {
	var keys [][]byte
	inBlob := []span{{from, to}}
	if m.Format == formatPaged {
		if keys, inBlob, err = pageKeys(r, m, from, to); err != nil {
			return err
		}
	}
	if len(inBlob) > 0 {
		if keys, err = appendBlobKeys(keys, r, m, inBlob); err != nil {
			return err
		}
	}
	return r.Need(keys...)
}

// usualChunkBytes is what chunks are asked for together with a header that is not in memory, to save a round. A blob of another chunk
// size costs that round.
const usualChunkBytes = DefaultChunkBytes

// appendBlobKeys appends the keys of the header, if it is not in memory, and of the chunks that hold spans of the blob.
func appendBlobKeys(keys [][]byte, r Reader, m *Meta, spans []span) ([][]byte, error) {
	id, length := m.blob()
	chunkBytes := usualChunkBytes
	key := appendBlobHeader(nil, id)
	header, err := r.Get(key)
	if err == storage.ErrMiss {
		keys = append(keys, key)
	} else if err != nil {
		return nil, err
	} else if chunkBytes, err = chunkSize(key, header, id, length); err != nil {
		return nil, err
	}
	next := 0 // chunks below it are among the keys
	for _, s := range spans {
		for n := max(next, s.from/chunkBytes); n <= (s.to-1)/chunkBytes; n++ {
			keys = append(keys, appendBlobChunk(nil, id, uint32(n)))
			next = n + 1
		}
	}
	return keys, nil
}

func corruptString(key []byte, format string, args ...any) error {
	return &storage.CorruptError{Key: append([]byte(nil), key...), Reason: fmt.Sprintf(format, args...)}
}

// PutString makes value the key's value, inline or as a new blob.
func (l *Ledger) PutString(r *Record, value []byte, expireAtMs int64) {
	l.PutEncoded(r, value, expireAtMs, Natural)
}

// PutEncoded is PutString for a value that has another encoding than SET would give it.
func (l *Ledger) PutEncoded(r *Record, value []byte, expireAtMs int64, e Encoding) {
	m := Meta{Type: String, Format: formatInline, ExpireAtMs: expireAtMs, Payload: value}
	if len(value) <= EmbstrBytes {
		m.Encoding = e // a longer one is raw anyway
	}
	if len(value) <= l.options.ThresholdBytes {
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
