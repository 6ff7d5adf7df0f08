package types

// Shape is what SETT INFO tells of how a value lies.
type Shape struct {
	Representation string // of a string inline, blob or paged; of a collection packed or spread
	Buckets        int64  // of a spread hash, set or sorted set
	Depth          int    // levels of a spread list's or sorted set's tree, its root's in the meta record included
}

// Shape takes no more than the meta record.
func (m *Meta) Shape() (s Shape, err error) {
	if m.Type == String {
		return Shape{Representation: [...]string{formatInline: "inline", formatBlob: "blob", formatPaged: "paged"}[m.Format]}, nil
	}
	c := m.collection()
	if c.id == 0 {
		return Shape{Representation: "packed"}, nil
	}
	s.Representation = "spread"
	var t tree
	ok := false
	if m.Type == List {
		ok = t.open(&listTree, c.id, c.shape, c.treeBytes())
	} else {
		var names table
		var rest []byte
		names, rest, ok = takeTable(c.shape)
		s.Buckets = int64(names.buckets)
		if ok && m.Type == ZSet {
			ok = t.open(&zsetRows, c.id, rest, c.bytes)
		}
	}
	if !ok {
		return s, corruptCollection(nil, "the shape of a collection is damaged")
	}
	if t.kind != nil {
		s.Depth = t.height + 1
	}
	return s, nil
}
