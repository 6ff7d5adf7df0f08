package types

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"sett/storage"
)

// A paged string is one that was changed in place, so that a change of a few bytes writes one page, and never the string:
//
//	page       bytes n·1024 … of the string, 1,024 at most; shorter means that zeros follow, which are cut off but for one byte
//	directory  bitmap of the pages n·1024 … that exist, lowest bit first; zeros at its end are cut off
//
// A page in its directory but not in the store is lost: CorruptError. One in no directory was never written: its bytes are those of the blob
// beneath, zeros beyond it. Strings do not become shorter in place, so a blob beneath is never longer than the string.
const (
	pageBytes      = 1 << 10
	directoryPages = 1 << 10
	directoryBytes = directoryPages / 8

	pagedPayloadBytes = 16
)

func (m *Meta) validPaged() bool {
	want := pagedPayloadBytes
	if m.OwnsBlobs {
		want += blobPayloadBytes
	}
	if len(m.Payload) != want || binary.BigEndian.Uint64(m.Payload) > maxStringBytes {
		return false
	}
	length, collection := m.paged()
	return collection != 0 && (!m.OwnsBlobs || m.validBlob(uint64(length)))
}

// paged returns the length and the collection id of a paged string.
func (m *Meta) paged() (length int, collection uint64) {
	return int(binary.BigEndian.Uint64(m.Payload)), binary.BigEndian.Uint64(m.Payload[8:])
}

// beneath is how many bytes the blob beneath a paged string has; 0: there is none.
func (m *Meta) beneath() int {
	if !m.OwnsBlobs {
		return 0
	}
	_, length := m.blob()
	return int(length)
}

// directory is the bitmap in a directory record: which of its pages exist.
type directory []byte

// next returns the first page from i on that exists, directoryPages if none does.
func (d directory) next(i int) int {
	for i < 8*len(d) {
		if b := d[i>>3] >> (i & 7); b != 0 {
			return i + bits.TrailingZeros8(b)
		}
		i = i&^7 + 8
	}
	return directoryPages
}

func (d directory) has(i int) bool { return d.next(i) == i }

// getDirectory reads a directory; one that is not in the store has no pages.
func getDirectory(g Getter, key []byte) (directory, error) {
	value, err := g.Get(key)
	if err == nil && len(value) > directoryBytes {
		err = corruptString(key, "directory of %d bytes is too long", len(value))
	}
	return value, err
}

// getPage reads a page that its directory has.
func getPage(g Getter, key []byte, n int) ([]byte, error) {
	value, err := g.Get(key)
	if err == nil && (len(value) == 0 || len(value) > pageBytes) {
		err = corruptString(key, "page %d of collection %d is missing, or is none", n, binary.BigEndian.Uint64(key[1:]))
	}
	return value, err
}

// span is a range of bytes.
type span struct{ from, to int }

// pageKeys returns the keys of the pages which hold [from, to) of a paged string, and what of it is read from the blob beneath. Directories
// that are not in memory are asked for, together with what will be needed next whatever they say, or is cheap to ask for.
func pageKeys(r Reader, m *Meta, from, to int) (keys [][]byte, beneath []span, err error) {
	_, collection := m.paged()
	first, end := from/pageBytes, pagesIn(to)
	missed := false
	key := make([]byte, 0, elementBytes)
	for n := first / directoryPages; n*directoryPages < end; n++ {
		key = appendDirectory(key[:0], collection, n)
		d, err := getDirectory(r, key)
		if err == storage.ErrMiss {
			missed = true
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for page := max(first, n*directoryPages); page < min(end, (n+1)*directoryPages); page++ {
			if d.has(page % directoryPages) {
				keys = append(keys, appendPage(make([]byte, 0, elementBytes), collection, page))
			} else if s := (span{max(from, page*pageBytes), min(to, (page+1)*pageBytes, m.beneath())}); s.from < s.to {
				beneath = append(beneath, s)
			}
		}
	}
	if !missed {
		return keys, beneath, nil
	}
	if from < m.beneath() {
		id, _ := m.blob()
		keys = append(keys, appendBlobHeader(nil, id))
	}
	if end-first == 1 {
		keys = append(keys, appendPage(nil, collection, first))
	}
	return nil, nil, cmp.Or(r.Need(keys...), storage.ErrMiss)
}

// pagesIn is how many pages length bytes take.
func pagesIn(length int) int { return (length + pageBytes - 1) / pageBytes }

// Splice overwrites a string from offset on, with zeros in any gap before it; the key is made if it does not exist, and keeps its time to
// live if it does. A string that is, or becomes, longer than PackedMaxBytes is paged from then on: a blob stays beneath its pages. A piece
// that is the whole string is written as PutString does, and an empty one changes nothing but the meta record. The string counts as raw from then on.
func (l *Ledger) Splice(r *Record, offset int, piece []byte) error {
	length := r.StringLen()
	end := max(length, offset+len(piece))
	switch {
	case offset == 0 && len(piece) == end:
		l.PutEncoded(r, piece, r.ExpireAtMs, Raw)
		return nil
	case len(piece) == 0 && offset <= length:
		m := r.Meta
		m.Encoding = m.rawEncoding()
		l.Put(r, m)
		return nil
	case end <= l.options.PackedMaxBytes:
		return l.spliceInline(r, offset, piece, end)
	case end > maxStringBytes:
		return storage.ErrTooLarge
	}
	w := newPageWriter(l, &r.Meta, offset, piece)
	if err := w.need(); err != nil {
		return err
	}
	first, last, inline := offset/pageBytes, w.end(), 0
	if value, ok := r.Inline(); ok {
		inline = pagesIn(len(value)) // they become pages, with the piece or without
	}
	for _, pages := range []span{{0, min(first, inline)}, {first, last}, {last, inline}} {
		if err := w.write(pages.from, pages.to); err != nil {
			return err
		}
	}
	w.close()
	l.Put(r, w.meta())
	return nil
}

// SpliceByte is Splice for the byte at a place: edit gets it, 0 beyond the string's end, and returns what it becomes. A byte within the string
// that stays what it is writes nothing.
func (l *Ledger) SpliceByte(r *Record, at int, edit func(old byte) byte) error {
	if r.Format == formatPaged && at < r.StringLen() {
		if done, err := l.editPage(r, at, edit); done || err != nil {
			return err
		}
	}
	l.one[0] = 0
	old := l.one[:]
	within := at < r.StringLen()
	if within {
		var err error
		if old, err = AppendString(l.txn, &r.Meta, old[:0], at, at+1); err != nil {
			return err
		}
	}
	value := edit(old[0])
	if within && value == old[0] {
		l.MarkRaw(r)
		return nil
	}
	return l.Splice(r, at, []byte{value})
}

// editPage is SpliceByte for a page that exists, which needs nothing but the page; done is false if it does not.
func (l *Ledger) editPage(r *Record, at int, edit func(old byte) byte) (done bool, err error) {
	_, collection := r.paged()
	n := at / pageBytes
	l.key = appendDirectory(l.key[:0], collection, n/directoryPages)
	d, err := getDirectory(l.txn, l.key)
	if err != nil || !d.has(n%directoryPages) {
		return false, ignoreMiss(err) // the long way asks for all that is missing at once
	}
	l.key = appendPage(l.key[:0], collection, n)
	page, err := getPage(l.txn, l.key, n)
	if err != nil {
		return false, err
	}
	at -= n * pageBytes
	l.string = append(l.string[:0], page...)
	l.string = grow(l.string, max(len(page), at+1))
	old := l.string[at]
	if l.string[at] = edit(old); l.string[at] == old {
		return true, nil
	}
	value := bytes.TrimRight(l.string, "\x00")
	if len(value) == 0 {
		value = zeros[:1]
	}
	l.txn.Put(l.key, value)
	l.Put(r, r.Meta)
	return true, nil
}

func ignoreMiss(err error) error {
	if err == storage.ErrMiss {
		return nil
	}
	return err
}

// spliceInline changes a copy of the string.
func (l *Ledger) spliceInline(r *Record, offset int, piece []byte, end int) error {
	value, err := AppendString(l.txn, &r.Meta, l.string[:0], 0, r.StringLen())
	if err != nil {
		return err
	}
	value = grow(value, end)
	copy(value[offset:], piece)
	l.string = value
	l.PutEncoded(r, value, r.ExpireAtMs, Raw)
	return nil
}

// grow makes b so long, with zeros.
func grow(b []byte, length int) []byte {
	n := len(b)
	b = slices.Grow(b, length-n)[:length]
	clear(b[n:])
	return b
}

// pageWriter is one Splice of a paged string: it writes pages in ascending order, and the directories that they change.
type pageWriter struct {
	l          *Ledger
	old        Meta // the string as it was
	length     int  // as it will be
	offset     int
	piece      []byte
	collection uint64

	directoryN int                  // the number of the directory in hand, -1: none
	directory  [directoryBytes]byte // with all zeros at its end
	changed    bool
}

func newPageWriter(l *Ledger, old *Meta, offset int, piece []byte) *pageWriter {
	w := &pageWriter{l: l, old: *old, length: max(old.StringLen(), offset+len(piece)), offset: offset, piece: piece, directoryN: -1}
	switch old.Format {
	case formatPaged:
		_, w.collection = old.paged()
		return w
	case formatInline:
		w.old.Payload = bytes.Clone(old.Payload) // it may lie in l.string, after another Splice
	}
	w.collection = l.txn.NewID()
	return w
}

// meta is the record of the string as it will be.
func (w *pageWriter) meta() Meta {
	payload := make([]byte, 0, pagedPayloadBytes+blobPayloadBytes)
	payload = binary.BigEndian.AppendUint64(payload, uint64(w.length))
	payload = binary.BigEndian.AppendUint64(payload, w.collection)
	if w.old.OwnsBlobs {
		id, length := w.old.blob()
		payload = binary.BigEndian.AppendUint64(payload, id)
		payload = binary.BigEndian.AppendUint64(payload, length)
	}
	return Meta{Type: String, Format: formatPaged, OwnsBlobs: w.old.OwnsBlobs, ExpireAtMs: w.old.ExpireAtMs, Payload: payload}
}

// end is the page behind the last that the piece touches; the first is offset/pageBytes.
func (w *pageWriter) end() int { return pagesIn(w.offset + len(w.piece)) }

// kept is what a page holds already of which some stays.
func (w *pageWriter) kept(page int) span {
	s := span{page * pageBytes, min((page+1)*pageBytes, w.old.StringLen())}
	if s.from >= s.to || w.offset <= s.from && s.to <= w.offset+len(w.piece) {
		return span{}
	}
	return s
}

// need asks for all that is not in memory: directories, and what stays of the pages at both ends of the piece.
func (w *pageWriter) need() error {
	var missed error
	ask := func(err error) error {
		if err == storage.ErrMiss {
			missed, err = err, nil
		}
		return err
	}
	if _, ok := w.old.Inline(); ok {
		return nil
	}
	first, last := w.offset/pageBytes, w.end()-1
	for page := first; page <= last; page += max(1, last-first) {
		if s := w.kept(page); s.from < s.to {
			if err := ask(needString(w.l.txn, &w.old, s.from, s.to)); err != nil {
				return err
			}
		}
	}
	for n := first / directoryPages; n*directoryPages <= last && w.mayExist(n); n++ {
		if err := ask(w.l.txn.Need(appendDirectory(nil, w.collection, n))); err != nil {
			return err
		}
	}
	return missed
}

// mayExist tells whether a directory can be in the store already.
func (w *pageWriter) mayExist(n int) bool {
	return w.old.Format == formatPaged && n*directoryPages*pageBytes < w.old.StringLen()
}

// write writes the pages [from, to).
func (w *pageWriter) write(from, to int) error {
	for page := from; page < to; page++ {
		if err := w.open(page / directoryPages); err != nil {
			return err
		}
		value, err := w.page(page)
		if err != nil {
			return err
		}
		w.put(page, value)
	}
	return nil
}

// page returns the bytes that a page will have.
func (w *pageWriter) page(page int) ([]byte, error) {
	start := page * pageBytes
	from, to := max(start, w.offset), min(start+pageBytes, w.offset+len(w.piece))
	kept := w.kept(page)
	if kept.from == kept.to && from == start {
		return w.piece[from-w.offset : to-w.offset], nil
	}
	value, err := appendPieces(w.l.txn, &w.old, w.l.string[:0], kept.from, kept.to)
	w.l.string = value
	if err != nil || from >= to {
		return value, err
	}
	value = grow(value, max(len(value), to-start))
	w.l.string = value
	copy(value[from-start:], w.piece[from-w.offset:to-w.offset])
	return value, nil
}

// put writes a page and notes that it exists. Zeros are not worth a page that does not exist yet, unless they hide bytes beneath.
func (w *pageWriter) put(page int, value []byte) {
	value = bytes.TrimRight(value, "\x00")
	i := page % directoryPages
	exists := directory(w.directory[:]).has(i)
	if len(value) == 0 {
		if !exists && page*pageBytes >= w.old.beneath() {
			return
		}
		value = zeros[:1]
	}
	if !exists {
		w.directory[i>>3] |= 1 << (i & 7)
		w.changed = true
	}
	w.l.key = appendPage(w.l.key[:0], w.collection, page)
	w.l.txn.Put(w.l.key, value)
}

// open takes a directory in hand, and writes the one before it.
func (w *pageWriter) open(n int) error {
	if w.directoryN == n {
		return nil
	}
	w.close()
	w.directoryN = n
	clear(w.directory[:])
	if !w.mayExist(n) {
		return nil
	}
	w.l.key = appendDirectory(w.l.key[:0], w.collection, n)
	d, err := getDirectory(w.l.txn, w.l.key)
	copy(w.directory[:], d)
	return err
}

func (w *pageWriter) close() {
	if w.changed {
		w.l.key = appendDirectory(w.l.key[:0], w.collection, w.directoryN)
		w.l.txn.Put(w.l.key, bytes.TrimRight(w.directory[:], "\x00"))
		w.changed = false
	}
}
