package types

import "encoding/binary"

// StagedBlob is a whole blob that no record owns yet. Its dead record says Staged until a batch adopts it.
type StagedBlob struct{ ID, Length uint64 }

// Stage begins a blob of length bytes: its dead record and its header. The header comes before all chunks, so that a chunk without one is
// garbage whenever it is met.
func (l *Ledger) Stage(length uint64) StagedBlob {
	b := StagedBlob{l.txn.NewID(), length}
	l.putDead(DeadBlob, b.ID, Staged)
	l.putBlobHeader(b.ID, b.Length)
	return b
}

// StageChunks adds bytes to a staged blob: chunk n and those behind it, whole but for the blob's last. It returns how many chunks they were.
func (l *Ledger) StageChunks(b StagedBlob, n int, bytes []byte) int {
	return l.putBlobChunks(b.ID, n, bytes)
}

// DropStaged makes a staged blob dead, unless it is staged no more.
func (l *Ledger) DropStaged(b StagedBlob) error { return l.dropStaged(DeadBlob, b.ID) }

// Meta is the record of a string whose value the blob is.
func (b StagedBlob) Meta() Meta {
	payload := binary.BigEndian.AppendUint64(nil, b.ID)
	return Meta{Exists: true, Type: String, Format: formatBlob, OwnsBlobs: true, Payload: binary.BigEndian.AppendUint64(payload, b.Length)}
}

// PutStaged makes a staged blob the key's value.
func (l *Ledger) PutStaged(r *Record, b StagedBlob, expireAtMs int64) {
	l.key = AppendDead(l.key[:0], DeadBlob, b.ID)
	l.txn.Delete(l.key)
	l.putBlob(r, b.ID, b.Length, expireAtMs)
	l.Adopted = append(l.Adopted, b)
}

func (l *Ledger) putDead(kind byte, id uint64, state byte) {
	l.key = AppendDead(l.key[:0], kind, id)
	l.txn.Put(l.key, []byte{state})
}

func (l *Ledger) putBlobHeader(id, length uint64) {
	var header [blobHeaderBytes]byte
	binary.BigEndian.PutUint64(header[:], length)
	binary.BigEndian.PutUint32(header[8:], uint32(l.options.ChunkBytes))
	l.key = appendBlobHeader(l.key[:0], id)
	l.txn.Put(l.key, header[:])
}

func (l *Ledger) putBlobChunks(id uint64, n int, bytes []byte) (chunks int) {
	for ; len(bytes) > 0; chunks++ {
		chunk := bytes[:min(len(bytes), l.options.ChunkBytes)]
		bytes = bytes[len(chunk):]
		l.key = appendBlobChunk(l.key[:0], id, uint32(n+chunks))
		l.txn.Put(l.key, chunk)
	}
	return chunks
}
