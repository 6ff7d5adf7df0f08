package storage

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// A patch is what the log carries of a record that is put again while its generation holds it: the difference. A push onto a list, or a
// field more in a hash, rewrites a record of a KiB and changes a few bytes of it. If they lie far apart, there is a patch for each place, one
// behind the other.
//
// The record that it changes is the one that the log holds before it, within the same generation. So nobody reads to apply it, it never
// depends on what Badger has, and a replay, which begins where a generation does, comes to the same bytes however often it is repeated.
type patch struct {
	at, removed int
	inserted    []byte
}

const (
	patchMinBytes = 48 // shorter values are put whole
	patchOverhead = 6  // what a short patch takes more than its key and what it inserts, at most
)

var errNoImage = errors.New("log entry patches a record that its generation does not hold, or another one")

// appendChange appends the put of a value, or patches of old (nil: there is none), if they are shorter.
func appendChange(buf, key, old, value []byte) []byte {
	if len(old) < patchMinBytes || len(value) < patchMinBytes {
		return appendPut(buf, key, value)
	}
	p := difference(old, value)
	start, gap := len(buf), len(key)+patchOverhead
	for {
		piece, rest := p.split(old, gap)
		buf = piece.append(buf, key)
		if len(buf)-start > len(key)+len(value) {
			return appendPut(buf[:start], key, value)
		}
		if rest.removed == 0 {
			return buf
		}
		p = rest
	}
}

// splice is a value in which removed bytes at an offset give way to others.
type splice struct {
	old         []byte
	at, removed int
	inserted    []byte
}

func (s splice) size() int { return len(s.old) - s.removed + len(s.inserted) }

func (s splice) appendTo(dst []byte) []byte {
	dst = append(append(dst, s.old[:s.at]...), s.inserted...)
	return append(dst, s.old[s.at+s.removed:]...)
}

// appendSplice appends the put of a value that a splice makes, or, if the log holds the one before it, a patch: as appendChange would, without a look at
// what stays.
func appendSplice(buf, key []byte, s splice, held bool) []byte {
	size := s.size()
	if held && len(s.old) >= patchMinBytes && size >= patchMinBytes {
		p := difference(s.old[s.at:s.at+s.removed], s.inserted)
		p.at += s.at
		if len(p.inserted)+patchOverhead <= size {
			return p.append(buf, key)
		}
	}
	buf = append(buf, effectPut)
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	buf = append(buf, key...)
	return s.appendTo(binary.AppendUvarint(buf, uint64(size)))
}

func (p *patch) append(buf, key []byte) []byte {
	buf = append(buf, effectPatch)
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	buf = append(buf, key...)
	buf = binary.AppendUvarint(buf, uint64(p.at))
	buf = binary.AppendUvarint(buf, uint64(p.removed))
	buf = binary.AppendUvarint(buf, uint64(len(p.inserted)))
	return append(buf, p.inserted...)
}

// difference is the one piece in which two values differ; it points into value.
func difference(old, value []byte) patch {
	at := samePrefix(old, value)
	old, value = old[at:], value[at:]
	same := sameSuffix(old, value)
	return patch{at, len(old) - same, value[:len(value)-same]}
}

// split divides a patch at the first gap bytes or more that it leaves as they are; rest removes nothing if there are none. Several counters of a
// record change at once, and what lies between them, the root of a tree for one, stays. Bytes that have moved are not looked for.
func (p patch) split(old []byte, gap int) (piece, rest patch) {
	if p.removed != len(p.inserted) {
		return p, patch{}
	}
	old = old[p.at:][:p.removed]
	for n := 0; n < len(old); {
		if old[n] != p.inserted[n] {
			n++
			continue
		}
		same := samePrefix(old[n:], p.inserted[n:])
		if same >= gap {
			next := n + same
			return patch{p.at, n, p.inserted[:n]}, patch{p.at + next, p.removed - next, p.inserted[next:]}
		}
		n += same
	}
	return p, patch{}
}

func samePrefix(a, b []byte) (n int) {
	end := min(len(a), len(b))
	for ; n+8 <= end; n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for n < end && a[n] == b[n] {
		n++
	}
	return n
}

func sameSuffix(a, b []byte) (n int) {
	end := min(len(a), len(b))
	for ; n+8 <= end; n += 8 {
		if x := binary.LittleEndian.Uint64(a[len(a)-n-8:]) ^ binary.LittleEndian.Uint64(b[len(b)-n-8:]); x != 0 {
			return n + bits.LeadingZeros64(x)>>3
		}
	}
	for n < end && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// takePatch splits a patch off.
func takePatch(b []byte) (p patch, rest []byte, ok bool) {
	at, n := binary.Uvarint(b)
	if n <= 0 || at > 1<<31 {
		return p, nil, false
	}
	removed, m := binary.Uvarint(b[n:])
	if m <= 0 || removed > 1<<31 {
		return p, nil, false
	}
	p.at, p.removed = int(at), int(removed)
	p.inserted, rest, ok = field(b[n+m:])
	return p, rest, ok
}

// apply returns the value that the patch makes of an image.
func (p *patch) apply(image []byte) ([]byte, error) {
	end := p.at + p.removed
	if len(image) < patchMinBytes || end > len(image) || len(image)-p.removed+len(p.inserted) == 0 {
		return nil, errNoImage
	}
	value := make([]byte, 0, len(image)-p.removed+len(p.inserted))
	return append(append(append(value, image[:p.at]...), p.inserted...), image[end:]...), nil
}
