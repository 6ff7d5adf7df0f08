package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
)

// A copy of a store is its records at a flush point, one after the other in the order of their keys, each with the checksum under which Badger
// holds it:
//
//	head     "settcopy" disk format(4) feature level(4) index(8) time ms(8) term(8) number(8) crc32c(4)
//	chunk    'c' records(4) bytes(4) packed bytes(4) crc32c of this and of what is packed(4) · packed, with s2:
//	           for each record: length of the key(uvarint) length of the value(uvarint) key value
//	trailer  'e' chunks(8) records(8) bytes(8) crc32c of all bytes before they were packed(4) crc32c of this(4)
//
// All integers are big-endian. Everything goes along but what the flusher fills memtables with: dead records as well, and what lies under them, for
// each node reclaims for itself; and, of local records, what the reclaimer has noted to be dead. What owned that may be gone already, so that nobody
// who does not have the notes could find it.

const (
	copyMagic        = "settcopy"
	copyHeadBytes    = len(copyMagic) + 4 + 4 + 32 + 4
	copyChunkBytes   = 1 + 4 + 4 + 4 + 4
	copyTrailerBytes = 1 + 8 + 8 + 8 + 4 + 4
	copyChunk        = 'c'
	copyTrailer      = 'e'

	// A chunk ends with the record that fills it.
	copyChunkLimit = gulpBytes + MaxKeyBytes + 1<<20
)

var (
	replicated = Range{[]byte{0}, []byte{localPrefix}}
	localRange = Range{[]byte{localPrefix}, []byte{localPrefix + 1}}
)

// localPrefix begins the keys of records that are this node's own.
const localPrefix = '~'

// exporter writes a copy.
type exporter struct {
	p       *Picture
	w       io.Writer
	raw     []byte
	packed  []byte
	sum     copySum
	batches uint64 // that the store had taken when the exporter looked last
}

// copySum is what a trailer says.
type copySum struct {
	chunks, records, bytes uint64
	crc                    uint32
}

func (s *copySum) add(raw []byte, records int) {
	s.chunks++
	s.records += uint64(records)
	s.bytes += uint64(len(raw))
	s.crc = crc32.Update(s.crc, castagnoli, raw)
}

// Export writes a copy of the picture to w. It takes as long as w does, holds nothing while it writes, and while others write to the store it reads no
// more of it in a second than Options.CopyRate.
func (p *Picture) Export(ctx context.Context, w io.Writer) error {
	if p.at.Index == 0 {
		return errors.New("storage: there is nothing to copy yet")
	}
	e := &exporter{p: p, w: w, batches: p.s.stats.Batches.Load()}
	if _, err := w.Write(p.at.appendHead(nil)); err != nil {
		return err
	}
	if err := e.send(ctx, replicated, p.read); err != nil {
		return err
	}
	// Now, and not before: what was noted until a record had to go must be seen.
	version := p.s.FlushedIndex()
	notes := func(g *gulp, from, upper []byte) ([]byte, error) { return p.readNotes(g, from, upper, version) }
	if err := e.send(ctx, localRange, notes); err != nil {
		return err
	}
	_, err := w.Write(e.sum.appendTrailer(nil))
	return err
}

func (p point) appendHead(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, copyMagic...)
	dst = binary.BigEndian.AppendUint32(dst, FormatVersion)
	dst = binary.BigEndian.AppendUint32(dst, FeatureLevel)
	dst = append(dst, p.encode()...)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (s *copySum) appendTrailer(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, copyTrailer)
	dst = binary.BigEndian.AppendUint64(dst, s.chunks)
	dst = binary.BigEndian.AppendUint64(dst, s.records)
	dst = binary.BigEndian.AppendUint64(dst, s.bytes)
	dst = binary.BigEndian.AppendUint32(dst, s.crc)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// send writes the chunks of a range.
func (e *exporter) send(ctx context.Context, r Range, read func(g *gulp, from, upper []byte) ([]byte, error)) error {
	var g gulp
	for from := r.Lower; from != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		var err error
		if from, err = read(&g, from, r.Upper); err != nil {
			return err
		}
		chunk := e.pack(&g)
		e.rest(ctx, began)
		if len(chunk) == 0 {
			continue
		}
		if _, err := e.w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// pack makes a chunk, nothing if there are no records to send.
func (e *exporter) pack(g *gulp) []byte {
	e.raw = e.raw[:0]
	records := 0
	for i := range g.records {
		key, stored := g.key(i), g.stored(i)
		if string(key) == fillerKey {
			continue
		}
		records++
		e.raw = binary.AppendUvarint(e.raw, uint64(len(key)))
		e.raw = binary.AppendUvarint(e.raw, uint64(len(stored)))
		e.raw = append(append(e.raw, key...), stored...)
	}
	if records == 0 {
		return nil
	}
	e.sum.add(e.raw, records)
	if need := copyChunkBytes + s2.MaxEncodedLen(len(e.raw)); cap(e.packed) < need {
		e.packed = make([]byte, need)
	}
	b := e.packed[:cap(e.packed)]
	n := len(s2.Encode(b[copyChunkBytes:], e.raw))
	b[0] = copyChunk
	binary.BigEndian.PutUint32(b[1:], uint32(records))
	binary.BigEndian.PutUint32(b[5:], uint32(len(e.raw)))
	binary.BigEndian.PutUint32(b[9:], uint32(n))
	binary.BigEndian.PutUint32(b[13:], chunkCRC(b[:13], b[copyChunkBytes:copyChunkBytes+n]))
	return b[:copyChunkBytes+n]
}

func chunkCRC(head, packed []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, packed)
}

// rest waits after a chunk, if somebody has written meanwhile. It goes by bytes, not by the time that they have taken: where processors are scarce the copy
// gets its turn as late as everybody, and need not wait for longer than that.
func (e *exporter) rest(ctx context.Context, began time.Time) {
	batches := e.p.s.stats.Batches.Load()
	if batches == e.batches {
		return
	}
	e.batches = batches
	timer := time.NewTimer(time.Until(began.Add(time.Duration(float64(len(e.raw)) / float64(e.p.s.copyRate.Load()) * float64(time.Second)))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// errCopy is a copy that is not whole.
type errCopy struct{ why string }

func (e errCopy) Error() string { return "storage: the copy is damaged: " + e.why }

func badCopy(format string, args ...any) error { return errCopy{fmt.Sprintf(format, args...)} }

// importer reads a copy.
type importer struct {
	r      io.Reader
	at     point
	packed []byte
	raw    []byte
	sum    copySum
}

// head reads the copy's beginning.
func (m *importer) head() error {
	b := make([]byte, copyHeadBytes)
	if _, err := io.ReadFull(m.r, b); err != nil {
		return fmt.Errorf("storage: reading a copy: %w", err)
	}
	if string(b[:len(copyMagic)]) != copyMagic {
		return badCopy("it does not begin like one")
	}
	sum := binary.BigEndian.Uint32(b[copyHeadBytes-4:])
	if sum != crc32.Checksum(b[:copyHeadBytes-4], castagnoli) {
		return badCopy("its head fails its checksum")
	}
	b = b[len(copyMagic):]
	if format := binary.BigEndian.Uint32(b); format != FormatVersion {
		return fmt.Errorf("storage: the copy has disk format %d, this build has %d: run the same version of sett on all nodes", format, FormatVersion)
	}
	if level := binary.BigEndian.Uint32(b[4:]); level > FeatureLevel {
		return fmt.Errorf("storage: the copy has feature level %d, this build knows %d: update this node", level, FeatureLevel)
	}
	m.at, _ = decodePoint(b[8:40])
	if m.at.Index == 0 {
		return badCopy("it names no entry")
	}
	return nil
}

// next reads the next chunk's records. They are nil behind the last one, and then the trailer has been compared.
func (m *importer) next() (raw []byte, records int, err error) {
	head := make([]byte, copyChunkBytes, copyTrailerBytes)
	if _, err := io.ReadFull(m.r, head); err != nil {
		return nil, 0, fmt.Errorf("storage: reading a copy: %w", err)
	}
	if head[0] == copyTrailer {
		return nil, 0, m.trailer(head)
	}
	records, size, packed := int(binary.BigEndian.Uint32(head[1:])), int(binary.BigEndian.Uint32(head[5:])), int(binary.BigEndian.Uint32(head[9:]))
	if head[0] != copyChunk || size > copyChunkLimit || packed > s2.MaxEncodedLen(copyChunkLimit) {
		return nil, 0, badCopy("chunk %d has no head", m.sum.chunks)
	}
	m.packed = room(m.packed, packed)
	if _, err := io.ReadFull(m.r, m.packed); err != nil {
		return nil, 0, fmt.Errorf("storage: reading a copy: %w", err)
	}
	if binary.BigEndian.Uint32(head[13:]) != chunkCRC(head[:13], m.packed) {
		return nil, 0, badCopy("chunk %d fails its checksum", m.sum.chunks)
	}
	if n, err := s2.DecodedLen(m.packed); err != nil || n != size {
		return nil, 0, badCopy("chunk %d cannot be unpacked", m.sum.chunks)
	}
	m.raw = room(m.raw, size)
	if m.raw, err = s2.Decode(m.raw, m.packed); err != nil {
		return nil, 0, badCopy("chunk %d cannot be unpacked", m.sum.chunks)
	}
	m.sum.add(m.raw, records)
	return m.raw, records, nil
}

func room(b []byte, n int) []byte {
	if cap(b) < n {
		b = make([]byte, n)
	}
	return b[:n]
}

// trailer compares what the copy says of itself with what came. begun is the part of it that was read.
func (m *importer) trailer(begun []byte) error {
	b := begun[:copyTrailerBytes]
	if _, err := io.ReadFull(m.r, b[len(begun):]); err != nil {
		return fmt.Errorf("storage: reading a copy: %w", err)
	}
	if want := m.sum.appendTrailer(nil); string(b) != string(want) {
		return badCopy("its trailer does not fit the %d records that came before", m.sum.records)
	}
	return nil
}

// takeRecord splits the first record off.
func takeRecord(raw []byte) (key, stored, rest []byte, ok bool) {
	k, n := binary.Uvarint(raw)
	if n <= 0 {
		return nil, nil, nil, false
	}
	v, m := binary.Uvarint(raw[n:])
	if m <= 0 {
		return nil, nil, nil, false
	}
	raw = raw[n+m:]
	if k == 0 || k > MaxKeyBytes || uint64(len(raw)) < k || uint64(len(raw))-k < v {
		return nil, nil, nil, false
	}
	return raw[:k], raw[k : k+v], raw[k+v:], true
}
