package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// An entry is what one append to the log carries: some whole batches, or a part of a large one, or nothing but the close flag.
//
//	header: format(1) level(1) flags(2) group(2) 2 unused · term(8) · number(8) · time ms(8) · payload length(4) · crc32c(4)
//	payload: effects, one behind the other: kind(1) · key length(uvarint) · key, and then
//	  put    value length(uvarint) · value
//	  patch  at(uvarint) · removed(uvarint) · inserted length(uvarint) · inserted; see patch.go
//
// The checksum covers header and payload. All integers are little-endian but those inside keys. The counters that its batches changed
// are puts at the payload's end, one for each keyspace: the value as of the entry's last batch.
const (
	// FormatEntry is the version of this layout. A node that meets a higher one stops instead of guessing.
	FormatEntry = 1
	// FeatureLevel is the highest level of effects that this node understands and writes. At 4 there are settings on which a cluster agrees: a node
	// that passed them over would lead by its own; and lists that say how many of their elements are taken. At 5 pages may be packed.
	FeatureLevel = 5

	entryHeaderBytes = 40
)

// Flags of an entry.
const (
	flagFirst  = 1 << iota // the first entry of a speculation
	flagClose              // the generation ends here
	flagPart               // the payload is a part of one batch
	flagCommit             // … its last part
)

// Kinds of effects. delete-range is reserved.
const (
	effectPut    = 1
	effectDelete = 2
	effectPatch  = 3
	effectRange  = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chain is the place of an entry among all evaluated ones: numbers are never used twice in a term.
type chain struct{ Term, Number uint64 }

// follows is the rule by which every node, in replay too, decides alike whether an entry takes effect.
func (c chain) follows(last chain, first bool) bool {
	switch {
	case c.Term == last.Term:
		return c.Number == last.Number+1 || first && c.Number > last.Number
	default:
		return first && c.Term > last.Term
	}
}

type entryHead struct {
	Flags  uint16
	Chain  chain
	TimeMs int64
}

func (h *entryHead) is(flag uint16) bool { return h.Flags&flag != 0 }

// encodeEntry appends an entry to buf.
func encodeEntry(buf []byte, h entryHead, payload, tail []byte) []byte {
	start := len(buf)
	var b [entryHeaderBytes]byte
	b[0], b[1] = FormatEntry, FeatureLevel
	binary.LittleEndian.PutUint16(b[2:], h.Flags)
	binary.LittleEndian.PutUint64(b[8:], h.Chain.Term)
	binary.LittleEndian.PutUint64(b[16:], h.Chain.Number)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.TimeMs))
	binary.LittleEndian.PutUint32(b[32:], uint32(len(payload)+len(tail)))
	buf = append(append(append(buf, b[:]...), payload...), tail...)
	crc := crc32.Update(crc32.Checksum(buf[start:start+36], castagnoli), castagnoli, buf[start+entryHeaderBytes:])
	binary.LittleEndian.PutUint32(buf[start+36:], crc)
	return buf
}

var errNewerEntry = errors.New("the log holds entries of a newer format or feature level: this node must be upgraded")

// decodeHead reads an entry's header without checking anything but its length.
func decodeHead(e []byte) (h entryHead, err error) {
	if len(e) < entryHeaderBytes {
		return h, fmt.Errorf("log entry of %d bytes is shorter than its header", len(e))
	}
	h.Flags = binary.LittleEndian.Uint16(e[2:])
	h.Chain = chain{binary.LittleEndian.Uint64(e[8:]), binary.LittleEndian.Uint64(e[16:])}
	h.TimeMs = int64(binary.LittleEndian.Uint64(e[24:]))
	return h, nil
}

// EntryTime is when an entry of the log was made.
func EntryTime(entry []byte) (timeMs int64, err error) {
	h, _, err := decodeEntry(entry)
	return h.TimeMs, err
}

// decodeEntry checks an entry and takes it apart; the payload points into it.
func decodeEntry(e []byte) (h entryHead, payload []byte, err error) {
	if h, err = decodeHead(e); err != nil {
		return h, nil, err
	}
	payload = e[entryHeaderBytes:]
	if n := binary.LittleEndian.Uint32(e[32:]); int(n) != len(payload) {
		return h, nil, fmt.Errorf("log entry's payload has %d bytes, its header says %d", len(payload), n)
	}
	crc := crc32.Update(crc32.Checksum(e[:36], castagnoli), castagnoli, payload)
	if crc != binary.LittleEndian.Uint32(e[36:]) {
		return h, nil, errors.New("log entry's checksum does not match")
	}
	if e[0] > FormatEntry || e[1] > FeatureLevel {
		return h, nil, errNewerEntry
	}
	return h, payload, nil
}

func appendPut(buf, key, value []byte) []byte {
	buf = append(buf, effectPut)
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	buf = append(buf, key...)
	buf = binary.AppendUvarint(buf, uint64(len(value)))
	return append(buf, value...)
}

func appendDelete(buf, key []byte) []byte {
	buf = append(buf, effectDelete)
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	return append(buf, key...)
}

var errMalformedEffect = errors.New("log entry holds a malformed effect")

// logged is an effect as the log carries it.
type logged struct {
	key   []byte
	value []byte // of a put; nil: deleted, unless it is a patch
	patch *patch
}

// effects calls f for every effect of a payload, in order, until one fails. Bytes point into the payload.
func effects(payload []byte, f func(e logged) error) error {
	for len(payload) > 0 {
		kind := payload[0]
		key, rest, ok := field(payload[1:])
		if !ok || len(key) == 0 || len(key) > MaxKeyBytes {
			return errMalformedEffect
		}
		e := logged{key: key}
		switch kind {
		case effectPut:
			if e.value, rest, ok = field(rest); !ok || len(e.value) == 0 {
				return errMalformedEffect
			}
		case effectPatch:
			var p patch
			if p, rest, ok = takePatch(rest); !ok {
				return errMalformedEffect
			}
			e.patch = &p
		case effectDelete:
		default:
			return fmt.Errorf("%w (effect of kind %d)", errNewerEntry, kind)
		}
		if err := f(e); err != nil {
			return err
		}
		payload = rest
	}
	return nil
}

// field splits off a length and as many bytes.
func field(b []byte) (value, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n) : w+int(n)], b[w+int(n):], true
}
