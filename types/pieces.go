package types

import (
	"encoding/binary"
	"slices"
)

// Getter is what a string can be read from: a Reader, a Txn, a Walker. The values that it returns stay as they are while it is used.
type Getter interface {
	Get(key []byte) ([]byte, error)
}

// Walker is a Getter to whom a range of records costs less than a Get of each: a storage.View.
type Walker interface {
	Getter
	// Walk calls each for the records of [lower, upper). Key and value are valid until each returns. What it leaves out, Get may still find.
	Walk(lower, upper []byte, each func(key, value []byte)) error
}

// Pieces reads a part of a string from front to back, and never holds more of it than a chunk and aheadPages.
type Pieces struct {
	from    Getter
	walker  Walker // nil: from is none
	m       Meta
	at, end int
	key     []byte // scratch

	chunkBytes int // of the blob; 0: its header was not read yet
	chunk      []byte
	chunkN     int // the chunk's number; chunk is nil if there is none in hand

	root       bitmap // nil: it was not read yet
	directory  bitmap
	directoryN int // its number, -1: there is none in hand
	page       []byte
	pageN      int             // likewise
	unpacked   [PageBytes]byte // where page lies if its record is packed
	ahead      pagesAhead
}

// NewPieces returns the bytes [from, to) of a string, from ≤ to ≤ StringLen. m may change afterwards.
func NewPieces(w Walker, m *Meta, from, to int) *Pieces {
	p := newPieces(w, m, from, to)
	p.walker = w
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
	page := p.at / PageBytes
	if n := page / directoryPages; p.directoryN != n {
		if err := p.openDirectory(n); err != nil {
			return nil, err
		}
	}
	next := p.directoryN*directoryPages + p.directory.next(page%directoryPages, directoryPages)
	if next > page {
		return p.unwritten(min(p.end, next*PageBytes))
	}
	if p.pageN != page {
		value, err := p.readPage(page)
		if err != nil {
			return nil, err
		}
		p.page, p.pageN = value, page
	}
	start := page * PageBytes
	if p.at-start >= len(p.page) {
		return zeros[:min(p.end, start+PageBytes)-p.at], nil
	}
	return p.page[p.at-start : min(p.end-start, len(p.page))], nil
}

func (p *Pieces) openDirectory(n int) (err error) {
	_, collection := p.m.paged()
	if p.root == nil {
		p.key = appendRoot(p.key[:0], collection)
		if p.root, err = getRoot(p.from, p.key); err != nil {
			return err
		}
	}
	p.key = appendDirectory(p.key[:0], collection, n)
	if p.directory, err = getDirectory(p.from, p.root, p.key, n); err == nil {
		p.directoryN = n
	}
	return err
}

// readPage reads a page that exists.
func (p *Pieces) readPage(page int) ([]byte, error) {
	_, collection := p.m.paged()
	if page >= p.ahead.end {
		if err := p.readAhead(page); err != nil {
			return nil, err
		}
	}
	p.key = appendPage(p.key[:0], collection, page)
	if value := p.ahead.page(page); value != nil {
		return value, nil
	}
	return getPage(p.from, p.key, p.unpacked[:0])
}

// aheadPages are read with one Walk. It costs as much as some Gets, whatever it finds.
const (
	aheadPages      = 1 << 10
	aheadPagesLeast = 8
)

// pagesAhead are the pages that were read ahead.
type pagesAhead struct {
	first, end int      // their numbers
	values     [][]byte // nil: that page does not exist, or has to be asked for
	buf        []byte   // where the values lie
}

func (a *pagesAhead) page(n int) []byte {
	if n < a.first || n-a.first >= len(a.values) {
		return nil
	}
	return a.values[n-a.first]
}

// readAhead reads the pages from one on that exists, if they are many.
func (p *Pieces) readAhead(page int) error {
	a := &p.ahead
	directory := p.directoryN * directoryPages
	a.first, a.end, a.values, a.buf = page, min(pagesIn(p.end), directory+directoryPages, page+aheadPages), a.values[:0], a.buf[:0]
	exist := 0
	for i := page - directory; i < a.end-directory; i = p.directory.next(i+1, a.end-directory) {
		exist++
	}
	if p.walker == nil || exist < aheadPagesLeast {
		return nil
	}
	_, collection := p.m.paged()
	a.values = slices.Grow(a.values, a.end-a.first)[:a.end-a.first]
	clear(a.values)
	a.buf = slices.Grow(a.buf, exist*PageBytes)
	return p.walker.Walk(appendPage(nil, collection, a.first), appendPage(nil, collection, a.end), func(key, value []byte) {
		start := len(a.buf)
		page, ok := unpackPage(a.buf[start:], value)
		if !ok {
			return // getPage says so
		}
		a.buf = append(a.buf, page...)
		a.values[elementNumber(key)-a.first] = a.buf[start:len(a.buf):len(a.buf)]
	})
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
