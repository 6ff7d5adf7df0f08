package types

// Spread is where the elements of a spread hash, set or sorted set lie that are found by name, as far as the collection's meta record tells.
type Spread struct {
	keys *Keys
	id   uint64
	table
}

// SpreadOf is not ok if the elements lie in the meta record itself, or have no names.
func SpreadOf(keys *Keys, m *Meta) (s Spread, ok bool) {
	if !m.Exists || m.Type != Hash && m.Type != Set && m.Type != ZSet {
		return s, false
	}
	c := m.collection()
	if c.id == 0 {
		return s, false
	}
	t, _, ok := takeTable(c.shape)
	return Spread{keys, c.id, t}, ok
}

// AppendBucket appends the key of the record that tells of a name.
func (s *Spread) AppendBucket(dst, name []byte) []byte {
	return appendBucket(dst, s.id, s.bucketOf(s.keys.elementName(name).hash))
}
