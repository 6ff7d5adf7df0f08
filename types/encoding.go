package types

// Encoding is what OBJECT ENCODING answers for a string, as far as its bytes do not tell. Its number is part of the disk format.
//
// In Redis it depends on who made the string: SET makes "5" an int, APPEND makes it raw, INCRBYFLOAT embstr. A string above EmbstrBytes is raw
// whoever made it, and always Natural here; so is one that lies in pages or in a blob.
type Encoding byte

// The encodings.
const (
	Natural Encoding = iota // as SET makes it: int, embstr or raw, as the bytes are
	Raw                     // it was changed in place
	Embstr                  // its bytes are a number, but it is none
	Private                 // as SET makes it, but a small int is not the one that all keys share
)

// EmbstrBytes is the longest string that Redis embeds in its object.
const EmbstrBytes = 44

// rawEncoding is the encoding of a string that is raw.
func (m *Meta) rawEncoding() Encoding {
	if m.StringLen() > EmbstrBytes {
		return Natural
	}
	return Raw
}

// MarkRaw makes a string raw that somebody was about to change in place and did not. It changes nothing else, so it is quiet.
func (l *Ledger) MarkRaw(r *Record) {
	m := r.Meta
	if m.Encoding = m.rawEncoding(); !r.Exists || m.Encoding == r.Encoding {
		return
	}
	l.Quiet = append(l.Quiet, l.txn.Len())
	l.Put(r, m)
	l.Changes--
}

// Hush makes the Txn's effects from the first on quiet.
func (l *Ledger) Hush(first int) {
	for n := first; n < l.txn.Len(); n++ {
		l.Quiet = append(l.Quiet, n)
	}
}
