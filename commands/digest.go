package commands

import (
	"crypto/sha1"
	"encoding/binary"

	"sett/storage"
	"sett/types"
)

// Digest is what DEBUG DIGEST answers: Redis' digest of all keys, values, and of which keys have a time to live, in any order. It
// reads one view without the lock. Keys past their time do not count.
func (d *DataSet) Digest(c *Call) (final [sha1.Size]byte, err error) {
	r := &digestRound{call: c}
	c.d = d
	d.begin(c)
	if err = d.store.Read(&c.reader, r); err != nil {
		return final, err
	}
	defer c.closeView()
	for db, space := range r.spaces {
		q := &c.update.Query
		q.space = space
		if err := q.digestKeyspace(c.view, db, &final); err != nil {
			return final, err
		}
	}
	c.Seen = max(c.reader.Seen(), c.view.Seen())
	return final, nil
}

type digestRound struct {
	call   *Call
	spaces []uint32 // of each database
}

func (r *digestRound) Run() error {
	c := r.call
	c.closeView()
	c.beginRound(&c.reader, nil)
	r.spaces = r.spaces[:0]
	for db := range c.d.opts.Databases {
		space, err := types.LookupKeyspace(&c.reader, db)
		if err != nil {
			return err
		}
		r.spaces = append(r.spaces, space)
	}
	c.view = c.reader.View()
	return nil
}

func (q *Query) digestKeyspace(v *storage.View, db int, final *[sha1.Size]byte) error {
	w := q.walk(v)
	defer w.close()
	first := true
	for ok := w.seek(types.Place{}); ok; ok = w.next() {
		m, live, err := w.meta()
		if err != nil {
			return err
		}
		if !live {
			continue
		}
		if first {
			mixDigest(final, binary.BigEndian.AppendUint32(nil, uint32(db)))
			first = false
		}
		digest, err := q.digestKey(viewReader{v}, types.MetaName(w.key), &m)
		if err != nil {
			return err
		}
		xorDigest(final, digest[:])
	}
	return w.err()
}

func (q *Query) digestKey(r types.Reader, name []byte, m *types.Meta) (digest [sha1.Size]byte, err error) {
	mixDigest(&digest, name)
	mixDigest(&digest, binary.BigEndian.AppendUint32(nil, uint32(m.Type)))
	value, err := types.AppendString(r, m, q.value[:0], 0, m.StringLen())
	if err != nil {
		return digest, err
	}
	q.value = value
	mixDigest(&digest, value)
	if m.ExpireAtMs != 0 {
		xorDigest(&digest, []byte("!!expire!!"))
	}
	return digest, nil
}

// xorDigest adds something whose place does not matter, mixDigest something whose place does.
func xorDigest(digest *[sha1.Size]byte, b []byte) {
	sum := sha1.Sum(b)
	for i := range digest {
		digest[i] ^= sum[i]
	}
}

func mixDigest(digest *[sha1.Size]byte, b []byte) {
	xorDigest(digest, b)
	*digest = sha1.Sum(digest[:])
}

// viewReader reads blobs from a view.
type viewReader struct{ *storage.View }

// Need has nothing to do: a view reads Badger.
func (viewReader) Need(...[]byte) error { return nil }

// Tally is not known to a view.
func (viewReader) Tally(uint32) storage.Tally { return storage.Tally{} }
