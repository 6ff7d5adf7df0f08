package wal

import (
	"fmt"
	"hash/crc32"
	"io"
)

const windowBytes = 256 << 10

// window reads a segment from its beginning to its end through one buffer.
type window struct {
	file io.ReaderAt
	size int64
	buf  []byte
	at   int64 // offset of buf in the file
	n    int   // how much of buf is filled
}

// bytes returns n bytes at offset, valid until the next call. The caller keeps offset+n ≤ size and n ≤ windowBytes.
func (w *window) bytes(offset int64, n int) ([]byte, error) {
	if offset < w.at || offset+int64(n) > w.at+int64(w.n) {
		if w.buf == nil {
			w.buf = make([]byte, min(windowBytes, w.size))
		}
		want := int(min(windowBytes, w.size-offset))
		w.at, w.n = offset, 0
		got, err := w.file.ReadAt(w.buf[:want], offset)
		if got < want {
			return nil, fmt.Errorf("read at offset %d: %w", offset, err)
		}
		w.n = want
	}
	return w.buf[offset-w.at:][:n], nil
}

// sum is the checksum of n bytes at offset.
func (w *window) sum(initial uint32, offset int64, n int) (uint32, error) {
	crc := initial
	for n > 0 {
		step := min(n, windowBytes)
		b, err := w.bytes(offset, step)
		if err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, castagnoli, b)
		offset += int64(step)
		n -= step
	}
	return crc, nil
}

// record parses the record header at offset. ok also says that the record does not end behind the segment's end.
func (w *window) record(s secret, offset int64) (r record, ok bool, err error) {
	if offset+recordBytes > w.size {
		return r, false, nil
	}
	b, err := w.bytes(offset, recordBytes)
	if err != nil {
		return r, false, err
	}
	r, ok = s.parse(b)
	return r, ok && offset+recordBytes+int64(r.length) <= w.size, nil
}

// find returns the next place at or behind offset, in steps of 8, where a record header is; the segment's size if there is none.
func (w *window) find(s secret, offset int64) (int64, error) {
	for offset+recordBytes <= w.size {
		n := int(min(windowBytes, w.size-offset)) &^ 7
		b, err := w.bytes(offset, n)
		if err != nil {
			return 0, err
		}
		// A header that straddles the end of b is looked at again at the beginning of the next b.
		i := 0
		for ; i+recordBytes <= n; i += 8 {
			if be.Uint32(b[i:]) != s.tag {
				continue
			}
			r, ok := s.parse(b[i : i+recordBytes])
			if ok && offset+int64(i)+recordBytes+int64(r.length) <= w.size {
				return offset + int64(i), nil
			}
		}
		offset += int64(i)
	}
	return w.size, nil
}
