package commands

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"

	"sett/resp"
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
	var err error
	if r.spaces, err = c.d.spaces(&c.reader); err == nil {
		c.view = c.reader.View()
	}
	return err
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
		name, err := w.name(&m)
		if err != nil {
			return err
		}
		digest, err := q.digestKey(v, w.key, name, &m)
		if err != nil {
			return err
		}
		xorDigest(final, digest[:])
	}
	return w.err()
}

func (q *Query) digestKey(v *storage.View, key, name []byte, m *types.Meta) (digest [sha1.Size]byte, err error) {
	mixDigest(&digest, name)
	return digest, q.mixKey(&digest, v, key, m)
}

// mixKey adds what a key holds: type, value, and whether it has a time to live.
func (q *Query) mixKey(digest *[sha1.Size]byte, v *storage.View, key []byte, m *types.Meta) error {
	mixDigest(digest, binary.BigEndian.AppendUint32(nil, uint32(m.Type)))
	if err := q.mixValue(digest, v, key, m); err != nil {
		return err
	}
	if m.ExpireAtMs != 0 {
		xorDigest(digest, []byte("!!expire!!"))
	}
	return nil
}

func (q *Query) mixValue(digest *[sha1.Size]byte, v *storage.View, key []byte, m *types.Meta) error {
	switch m.Type {
	case types.List:
		return mixList(digest, v, m)
	case types.Set, types.Hash, types.ZSet:
		return q.mixElements(digest, v, key, m)
	}
	sum, err := sumString(v, m)
	if err == nil {
		mixSum(digest, sum)
	}
	return err
}

// mixElements adds members, those of a sorted set with their scores, and of a hash fields with their values, in any order.
func (q *Query) mixElements(digest *[sha1.Size]byte, v *storage.View, key []byte, m *types.Meta) error {
	e := &q.found
	if err := e.OpenView(v, &q.set.keys, key, m, m.Type, q.Now); err != nil {
		return err
	}
	return e.Each(func(el *types.Element) error {
		name, err := e.Name(el)
		if err != nil {
			return err
		}
		if m.Type == types.Set {
			xorDigest(digest, name)
			return nil
		}
		var field [sha1.Size]byte
		mixDigest(&field, name)
		if m.Type == types.ZSet {
			mixDigest(&field, resp.AppendDouble(nil, el.Score()))
			xorDigest(digest, field[:])
			return nil
		}
		value, err := e.Value(el)
		if err == nil {
			mixDigest(&field, value)
			if el.ExpireAtMs() != 0 {
				xorDigest(&field, []byte("!!hexpire!!"))
			}
			xorDigest(digest, field[:])
		}
		return err
	})
}

func mixList(digest *[sha1.Size]byte, v *storage.View, m *types.Meta) error {
	var s types.ListValue
	err := s.Open(m)
	for range s.Len() {
		var value []byte
		if _, err = s.Next(v); err == nil {
			value, err = s.Value(v)
		}
		if err != nil {
			return err
		}
		mixDigest(digest, value)
	}
	return err
}

// DigestValues is what DEBUG DIGEST-VALUE answers for c.Args: for each key the digest of what it holds, zeros if there is no such key. It
// reads one view without the lock.
func (d *DataSet) DigestValues(c *Call) (digests [][sha1.Size]byte, err error) {
	r := &valuesRound{call: c}
	c.d = d
	d.begin(c)
	if err = d.store.Read(&c.reader, r); err != nil {
		return nil, err
	}
	defer c.closeView()
	digests = make([][sha1.Size]byte, len(r.metas))
	for i := range r.metas {
		if !r.metas[i].Exists {
			continue
		}
		if err := c.update.mixKey(&digests[i], c.view, r.keys[i], &r.metas[i]); err != nil {
			return nil, err
		}
	}
	c.Seen = max(c.reader.Seen(), c.view.Seen())
	return digests, nil
}

type valuesRound struct {
	call  *Call
	metas []types.Meta // of each key
	keys  [][]byte     // their meta keys
}

func (r *valuesRound) Run() error {
	c := r.call
	c.closeView()
	q := &c.beginRound(&c.reader, nil).Query
	q.begin(c.Args, nil, c.DB)
	r.metas, r.keys = r.metas[:0], r.keys[:0]
	for _, name := range c.Args {
		m, err := q.lookup(name)
		if err != nil {
			return err
		}
		m.Payload = bytes.Clone(m.Payload)
		r.metas, r.keys = append(r.metas, m), append(r.keys, bytes.Clone(q.key))
	}
	c.view = c.reader.View()
	return nil
}

// sumString is SHA-1 of a string, which may be long.
func sumString(v *storage.View, m *types.Meta) (sum [sha1.Size]byte, err error) {
	h := sha1.New()
	pieces := types.NewPieces(v, m, 0, m.StringLen())
	for {
		piece, err := pieces.Next()
		if err != nil {
			return sum, err
		}
		if len(piece) == 0 {
			return [sha1.Size]byte(h.Sum(nil)), nil
		}
		h.Write(piece)
	}
}

// xorDigest adds something whose place does not matter, mixDigest something whose place does; xorSum and mixSum are told its SHA-1.
func xorDigest(digest *[sha1.Size]byte, b []byte) { xorSum(digest, sha1.Sum(b)) }

func mixDigest(digest *[sha1.Size]byte, b []byte) { mixSum(digest, sha1.Sum(b)) }

func xorSum(digest *[sha1.Size]byte, sum [sha1.Size]byte) {
	for i := range digest {
		digest[i] ^= sum[i]
	}
}

func mixSum(digest *[sha1.Size]byte, sum [sha1.Size]byte) {
	xorSum(digest, sum)
	*digest = sha1.Sum(digest[:])
}
