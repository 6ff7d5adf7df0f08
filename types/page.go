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
//	page       bytes n·256 … of the string, 256 at most, packed (sparse.go); shorter means that zeros follow
//	directory  bitmap of the pages n·1024 … that exist, lowest bit first; zeros at its end are cut off
//	root       bitmap of the directories that exist, likewise, but never empty: each paged string has one
//
// What is named above and is not in the store is lost: CorruptError. A page that its directory does not name was never written, nor was any
// of a directory that the root does not name: its bytes are those of the blob beneath, zeros beyond it. Strings do not become shorter in
// place, so a blob beneath is never longer than the string.
//
// PageBytes is what a change of one byte writes; docs/decisions/008-page-size.md says why so much.
const (
	PageBytes      = 256
	directoryPages = 1 << 10
	directoryBytes = directoryPages / 8
	rootBytes      = 1 << 10 // 256 of them for 512 MiB

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

// bitmap is what a root or a directory holds: which of its directories or pages exist.
type bitmap []byte

// next returns the first that exists in [i, end), end if none does.
func (b bitmap) next(i, end int) int {
	for i < min(end, 8*len(b)) {
		if rest := b[i>>3] >> (i & 7); rest != 0 {
			return min(end, i+bits.TrailingZeros8(rest))
		}
		i = i&^7 + 8
	}
	return end
}

func (b bitmap) has(i int) bool { return i>>3 < len(b) && b[i>>3]>>(i&7)&1 != 0 }

// with is the bitmap with one more, in the same memory if that is long enough.
func (b bitmap) with(i int) bitmap {
	b = grow(b, max(len(b), i>>3+1))
	b[i>>3] |= 1 << (i & 7)
	return b
}

// count is how many exist in all.
func (b bitmap) count() (n int) {
	for _, c := range b {
		n += bits.OnesCount8(c)
	}
	return n
}

// getElement reads a root, directory or page (what) that must be there.
func getElement(g Getter, key []byte, maxBytes int, what string) ([]byte, error) {
	value, err := g.Get(key)
	if err == nil && (len(value) == 0 || len(value) > maxBytes) {
		err = corruptString(key, "%s %d of collection %d is missing, or is none", what, elementNumber(key), binary.BigEndian.Uint64(key[1:]))
	}
	return value, err
}

func getRoot(g Getter, key []byte) (bitmap, error) { return getElement(g, key, rootBytes, "root") }

// getDirectory reads directory n; one that the root does not name has no pages.
func getDirectory(g Getter, root bitmap, key []byte, n int) (bitmap, error) {
	if !root.has(n) {
		return nil, nil
	}
	return getElement(g, key, directoryBytes, "directory")
}

// getPage reads a page that its directory names: what the store holds, or what is made of it in buf.
func getPage(g Getter, key, buf []byte) ([]byte, error) {
	record, err := getElement(g, key, PageBytes, "page")
	if err != nil {
		return nil, err
	}
	page, ok := unpackPage(buf, record)
	if !ok {
		err = corruptString(key, "page %d of collection %d is malformed", elementNumber(key), binary.BigEndian.Uint64(key[1:]))
	}
	return page, err
}

// span is a range of bytes.
type span struct{ from, to int }

// pageKeys returns the keys of the pages which hold [from, to) of a paged string, and what of it is read from the blob beneath. A root or
// directories that are not in memory are asked for, together with what will be needed next whatever they say, or is cheap to ask for.
func pageKeys(r Reader, m *Meta, from, to int) (keys [][]byte, beneath []span, err error) {
	_, collection := m.paged()
	first, end := from/PageBytes, pagesIn(to)
	key := make([]byte, 0, elementBytes)
	root, err := getRoot(r, appendRoot(key, collection))
	if err != nil && err != storage.ErrMiss {
		return nil, nil, err
	}
	missed := err == storage.ErrMiss
	for n := first / directoryPages; n*directoryPages < end; n++ {
		if root == nil {
			keys = append(keys, appendDirectory(nil, collection, n))
			continue
		}
		d, err := getDirectory(r, root, appendDirectory(key, collection, n), n)
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
			} else if s := (span{max(from, page*PageBytes), min(to, (page+1)*PageBytes, m.beneath())}); s.from < s.to {
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
func pagesIn(length int) int { return (length + PageBytes - 1) / PageBytes }

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
	first, last, inline := offset/PageBytes, w.end(), 0
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

// editPage is SpliceByte where a directory is, for a page that exists or has nothing beneath; done is false elsewhere.
func (l *Ledger) editPage(r *Record, at int, edit func(old byte) byte) (done bool, err error) {
	_, collection := r.paged()
	n := at / PageBytes
	l.key = appendDirectory(l.key[:0], collection, n/directoryPages)
	d, err := l.txn.Get(l.key)
	exists := bitmap(d).has(n % directoryPages)
	if err != nil || len(d) == 0 || len(d) > directoryBytes || !exists && n*PageBytes < r.beneath() {
		return false, ignoreMiss(err) // the long way asks for all that is missing at once, and finds what is wrong
	}
	l.key = appendPage(l.key[:0], collection, n)
	var page []byte
	if exists {
		if page, err = getPage(l.txn, l.key, l.string); err != nil {
			return false, err
		}
	}
	at -= n * PageBytes
	l.string = append(l.string[:0], page...)
	l.string = grow(l.string, max(len(page), at+1))
	old := l.string[at]
	if l.string[at] = edit(old); l.string[at] == old {
		return true, nil
	}
	length := len(l.string)
	l.string = packPage(l.string, l.string)
	l.txn.Put(l.key, l.string[length:])
	if !exists {
		l.key, l.string = appendDirectory(l.key[:0], collection, n/directoryPages), append(l.string[:0], d...)
		l.string = bitmap(l.string).with(n % directoryPages)
		l.txn.Put(l.key, l.string)
	}
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

	root        bitmap               // nil: it was not read yet
	rootChanged bool                 // or is new
	directoryN  int                  // the number of the directory in hand, -1: none
	directory   [directoryBytes]byte // with all zeros at its end
	changed     bool

	record [PageBytes]byte // scratch
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
	w.collection, w.root, w.rootChanged = l.txn.NewID(), []byte{0}, true
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

// end is the page behind the last that the piece touches; the first is offset/PageBytes.
func (w *pageWriter) end() int { return pagesIn(w.offset + len(w.piece)) }

// kept is what a page holds already of which some stays.
func (w *pageWriter) kept(page int) span {
	s := span{page * PageBytes, min((page+1)*PageBytes, w.old.StringLen())}
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
	first, last := w.offset/PageBytes, w.end()-1
	for page := first; page <= last; page += max(1, last-first) {
		if s := w.kept(page); s.from < s.to {
			if err := ask(needString(w.l.txn, &w.old, s.from, s.to)); err != nil {
				return err
			}
		}
	}
	if w.old.Format == formatPaged {
		keys := [][]byte{appendRoot(nil, w.collection)}
		for n := first / directoryPages; n*directoryPages <= last && n*directoryPages*PageBytes < w.old.StringLen(); n++ {
			keys = append(keys, appendDirectory(nil, w.collection, n))
		}
		if err := ask(w.l.txn.Need(keys...)); err != nil {
			return err
		}
	}
	return missed
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
	start := page * PageBytes
	from, to := max(start, w.offset), min(start+PageBytes, w.offset+len(w.piece))
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
	i := page % directoryPages
	exists := bitmap(w.directory[:]).has(i)
	record := packPage(w.record[:0], value)
	if string(record) == "\x00" && !exists && page*PageBytes >= w.old.beneath() {
		return
	}
	if !exists {
		w.directory[i>>3] |= 1 << (i & 7)
		w.changed = true
	}
	w.l.key = appendPage(w.l.key[:0], w.collection, page)
	w.l.txn.Put(w.l.key, record)
}

// open takes a directory in hand, and writes the one before it.
func (w *pageWriter) open(n int) (err error) {
	if w.directoryN == n {
		return nil
	}
	w.closeDirectory()
	w.directoryN = n
	clear(w.directory[:])
	if w.root == nil {
		w.l.key = appendRoot(w.l.key[:0], w.collection)
		if w.root, err = getRoot(w.l.txn, w.l.key); err != nil {
			return err
		}
	}
	w.l.key = appendDirectory(w.l.key[:0], w.collection, n)
	d, err := getDirectory(w.l.txn, w.root, w.l.key, n)
	copy(w.directory[:], d)
	return err
}

// closeDirectory writes the directory in hand, if it has changed.
func (w *pageWriter) closeDirectory() {
	if !w.changed {
		return
	}
	w.changed = false
	n := w.directoryN
	w.l.key = appendDirectory(w.l.key[:0], w.collection, n)
	w.l.txn.Put(w.l.key, bytes.TrimRight(w.directory[:], "\x00"))
	if !w.root.has(n) {
		w.root, w.rootChanged = bitmap(bytes.Clone(w.root)).with(n), true
	}
}

// close writes what was not written yet of directories and root.
func (w *pageWriter) close() {
	w.closeDirectory()
	if w.rootChanged {
		w.l.key = appendRoot(w.l.key[:0], w.collection)
		w.l.txn.Put(w.l.key, w.root)
	}
}
