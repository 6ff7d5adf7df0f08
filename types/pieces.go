package types

import "encoding/binary"

// Getter is what a string can be read from: a Reader, a Txn, a storage.View. The values that it returns stay as they are while it is used.
type Getter interface {
	Get(key []byte) ([]byte, error)
}

// Pieces reads a part of a string from front to back, and never holds more of it than a chunk.
type Pieces struct {
	from    Getter
	m       Meta
	at, end int
	key     []byte // scratch

	chunkBytes int // of the blob; 0: its header was not read yet
	chunk      []byte
	chunkN     int // the chunk's number; chunk is nil if there is none in hand

	directory  directory
	directoryN int // its number, -1: there is none in hand
	page       []byte
	pageN      int // likewise
}

// NewPieces returns the bytes [from, to) of a string, from ≤ to ≤ StringLen. m may change afterwards.
func NewPieces(g Getter, m *Meta, from, to int) *Pieces {
	p := newPieces(g, m, from, to)
	p.m.Payload = append([]byte(nil), m.Payload...)
	return p
}

func newPieces(g Getter, m *Meta, from, to int) *Pieces {
	return &Pieces{from: g, m: *m, at: from, end: to, directoryN: -1, pageN: -1}
}

// Next returns the next bytes, none at the end. They are valid until the next call and must not be changed.
func (p *Pieces) Next() (piece []byte, err error) {
	if p.at >= p.end {
		return nil, nil
	}
	switch p.m.Format {
	case formatBlob:
		piece, err = p.blobPiece(p.end)
	case formatPaged:
		piece, err = p.pagedPiece()
	default:
		piece = p.m.Payload[p.at:p.end]
	}
	p.at += len(piece)
	return piece, err
}

// blobPiece reads on in the blob, up to end at most.
func (p *Pieces) blobPiece(end int) ([]byte, error) {
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
	start := n * p.chunkBytes
	if p.chunk == nil || p.chunkN != n {
		p.key = appendBlobChunk(p.key[:0], id, uint32(n))
		chunk, err := p.from.Get(p.key)
		if err != nil {
			return nil, err
		}
		if want := min(p.chunkBytes, int(length)-start); len(chunk) != want {
			return nil, corruptString(p.key, "blob %d: chunk %d has %d bytes of %d", id, n, len(chunk), want)
		}
		p.chunk, p.chunkN = chunk, n
	}
	return p.chunk[p.at-start : min(end-start, len(p.chunk))], nil
}

// pagedPiece returns what is left of the page at hand, or, where there are none, reads on in the blob beneath or in what was never written.
func (p *Pieces) pagedPiece() ([]byte, error) {
	_, collection := p.m.paged()
	page := p.at / pageBytes
	if n := page / directoryPages; p.directoryN != n {
		p.key = appendDirectory(p.key[:0], collection, n)
		var err error
		if p.directory, err = getDirectory(p.from, p.key); err != nil {
			return nil, err
		}
		p.directoryN = n
	}
	next := p.directoryN*directoryPages + p.directory.next(page%directoryPages)
	if next > page {
		return p.unwritten(min(p.end, next*pageBytes))
	}
	if p.pageN != page {
		p.key = appendPage(p.key[:0], collection, page)
		value, err := getPage(p.from, p.key, page)
		if err != nil {
			return nil, err
		}
		p.page, p.pageN = value, page
	}
	start := page * pageBytes
	if p.at-start >= len(p.page) {
		return zeros[:min(p.end, start+pageBytes)-p.at], nil
	}
	return p.page[p.at-start : min(p.end-start, len(p.page))], nil
}

// unwritten returns bytes before end that no page holds.
func (p *Pieces) unwritten(end int) ([]byte, error) {
	if p.m.OwnsBlobs {
		if _, length := p.m.blob(); p.at < int(length) {
			return p.blobPiece(min(end, int(length)))
		}
	}
	return zeros[:min(end-p.at, len(zeros))], nil
}

// zeros is what a string holds where nothing was written.
var zeros [16 << 10]byte

// chunkSize reads the size of a blob's chunks from its header.
func chunkSize(key, header []byte, id, length uint64) (int, error) {
	if len(header) != blobHeaderBytes || binary.BigEndian.Uint64(header) != length || binary.BigEndian.Uint32(header[8:]) == 0 {
		return 0, corruptString(key, "header of blob %d is missing or does not fit its meta record", id)
	}
	return int(binary.BigEndian.Uint32(header[8:])), nil
}
