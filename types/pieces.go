package types

import "encoding/binary"

// Getter is what a string can be read from: a Reader, a Txn, a storage.View.
type Getter interface {
	Get(key []byte) ([]byte, error)
}

// Pieces reads a part of a string from front to back, and never holds more of it than a chunk.
type Pieces struct {
	from       Getter
	m          Meta
	at, end    int
	chunkBytes int // of the blob; 0: not known yet
	key        []byte
}

// NewPieces returns the bytes [from, to) of a string, from ≤ to ≤ StringLen. m may change afterwards.
func NewPieces(g Getter, m *Meta, from, to int) *Pieces {
	p := &Pieces{from: g, m: *m, at: from, end: to}
	p.m.Payload = append([]byte(nil), m.Payload...)
	return p
}

// Next returns the next bytes, none at the end. They are valid until the next call.
func (p *Pieces) Next() ([]byte, error) {
	if p.at == p.end {
		return nil, nil
	}
	if value, ok := p.m.Inline(); ok {
		piece := value[p.at:p.end]
		p.at = p.end
		return piece, nil
	}
	return p.blobPiece()
}

func (p *Pieces) blobPiece() ([]byte, error) {
	id, length := p.m.blob()
	if p.chunkBytes == 0 {
		p.key = appendBlobHeader(p.key[:0], id)
		header, err := p.from.Get(p.key)
		if err != nil {
			return nil, err
		}
		if p.chunkBytes, err = chunkSize(p.key, header, id, length); err != nil {
			return nil, err
		}
	}
	n := p.at / p.chunkBytes
	p.key = appendBlobChunk(p.key[:0], id, uint32(n))
	chunk, err := p.from.Get(p.key)
	if err != nil {
		return nil, err
	}
	start := n * p.chunkBytes
	if want := min(p.chunkBytes, int(length)-start); len(chunk) != want {
		return nil, corruptBlob(p.key, "blob %d: chunk %d has %d bytes of %d", id, n, len(chunk), want)
	}
	piece := chunk[p.at-start : min(p.end-start, len(chunk))]
	p.at += len(piece)
	return piece, nil
}

// chunkSize reads the size of a blob's chunks from its header.
func chunkSize(key, header []byte, id, length uint64) (int, error) {
	if len(header) != blobHeaderBytes || binary.BigEndian.Uint64(header) != length || binary.BigEndian.Uint32(header[8:]) == 0 {
		return 0, corruptBlob(key, "header of blob %d is missing or does not fit its meta record", id)
	}
	return int(binary.BigEndian.Uint32(header[8:])), nil
}
