package types

import "sett/ttl"

// Usage is how many bytes the records of a key have, their keys included: the meta record, the expiry row, a long name, and the value's blob,
// pages, nodes or buckets. Of pages, which may be shorter than PageBytes, and of buckets some samples are read, and the others taken to be like those.
func Usage(r Reader, key []byte, m *Meta, samples int) (bytes int64, err error) {
	bytes = int64(len(key) + len(AppendMetaRecord(nil, m)))
	if m.ExpireAtMs != 0 {
		bytes += int64(len(AppendRowOfMeta(nil, key, ttl.KindKey, m.ExpireAtMs)) + len(ttl.AppendRowValue(nil, m.light(key))))
	}
	if at := m.FieldsExpireAtMs(); at != 0 {
		bytes += int64(len(AppendRowOfMeta(nil, key, ttl.KindFields, at)) + len(ttl.AppendRowValue(nil, ttl.NotLight)))
	}
	if !m.InKey() {
		n, err := blobUsage(r, m.name.id, m.name.length)
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	if m.OwnsBlobs {
		id, length := m.blob()
		n, err := blobUsage(r, id, length)
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	n := int64(0)
	switch {
	case m.Type == String && m.Format == formatPaged:
		n, err = pagesUsage(r, m, samples)
	case (m.Type == Set || m.Type == Hash) && m.Format == formatSpread:
		if n, err = elementsUsage(r, key, m, samples); err == nil && m.FieldsExpireAtMs() != 0 {
			var times int64
			times, err = fieldTimesUsage(r, m, samples)
			n += times
		}
	case m.Type == List && m.Format == formatSpread:
		n, err = treeUsage(r, m, &listTree, m.collection().shape, samples)
	case m.Type == ZSet && m.Format == formatSpread:
		n, err = rankingUsage(r, key, m, samples)
	}
	return bytes + n, err
}

// rankingUsage is that of the table and of the tree. What lies apart does so once: the table's count has it.
func rankingUsage(r Reader, key []byte, m *Meta, samples int) (bytes int64, err error) {
	var z Ranking
	if err := z.Open(r, nil, key, m); err != nil {
		return 0, err
	}
	if bytes, err = elementsUsage(r, key, m, samples); err != nil {
		return 0, err
	}
	_, shape, _ := takeTable(z.shape)
	nodes, err := treeUsage(r, m, &zsetRows, shape, samples)
	return bytes + nodes - z.rows.apart - (z.rows.apart+partBytes-1)/partBytes*partKeyBytes, err
}

// fieldTimesUsage is that of the tree of a hash's fields that die.
func fieldTimesUsage(r Reader, m *Meta, samples int) (int64, error) {
	var t tree
	c := m.collection()
	if _, ok := openFieldTimes(&t, &c); !ok {
		return 0, t.corrupt(0, 0)
	}
	nodes, err := t.usage(r, samples)
	return t.bytes + nodes, err
}

// treeUsage counts elements that lie apart as if they filled their parts.
func treeUsage(r Reader, m *Meta, kind *treeKind, shape []byte, samples int) (bytes int64, err error) {
	c := m.collection()
	var t tree
	if !t.open(kind, c.id, shape, c.treeBytes()) {
		return 0, t.corrupt(0, 0)
	}
	nodes, err := t.usage(r, samples)
	return c.treeBytes() + (t.apart+partBytes-1)/partBytes*partKeyBytes + nodes, err
}

// usage is what the nodes take beside the elements. It reads those above the leaves, or the first samples of each level, and takes the others
// to be like those.
func (t *tree) usage(r Reader, samples int) (bytes int64, err error) {
	nodes, read := 1.0, [][]byte{t.root} // of the level at hand: how many there are, and those that were read
	for level := t.height; level > 0; level-- {
		var below []uint64
		for _, entries := range read {
			for len(entries) > 0 {
				c, size := t.kind.takeChild(entries)
				if size == 0 {
					return 0, t.corruptAbove(level)
				}
				below, entries = append(below, c.node), entries[size:]
			}
		}
		nodes *= float64(len(below)) / float64(len(read))
		if level == 1 {
			break
		}
		if read, err = t.sample(r, level-1, below, samples); err != nil {
			return 0, err
		}
		size := 0
		for _, entries := range read {
			size += nodeKeyBytes + 1 + len(entries)
		}
		bytes += int64(float64(size) * nodes / float64(len(read)))
	}
	return bytes + int64(nodes*(nodeKeyBytes+1)), nil
}

// sample reads the first nodes of some.
func (t *tree) sample(r Reader, level int, nodes []uint64, samples int) (read [][]byte, err error) {
	nodes = nodes[:min(len(nodes), max(1, samples))]
	keys := make([][]byte, len(nodes))
	for i, node := range nodes {
		keys[i] = appendNode(nil, t.collection, node)
	}
	if err := r.Need(keys...); err != nil {
		return nil, err
	}
	for _, node := range nodes {
		entries, err := t.load(r, node, level)
		if err != nil {
			return nil, err
		}
		read = append(read, entries)
	}
	return read, nil
}

// blobUsage needs the header alone: chunks are full but for the last.
func blobUsage(r Reader, id, length uint64) (int64, error) {
	key := appendBlobHeader(nil, id)
	header, err := r.Get(key)
	if err != nil {
		return 0, err
	}
	chunkBytes, err := chunkSize(key, header, id, length)
	if err != nil {
		return 0, err
	}
	chunks := (int64(length) + int64(chunkBytes) - 1) / int64(chunkBytes)
	return int64(len(key)+len(header)) + chunks*int64(len(appendBlobChunk(nil, id, 0))) + int64(length), nil
}

func pagesUsage(r Reader, m *Meta, samples int) (bytes int64, err error) {
	length, collection := m.paged()
	key := appendRoot(nil, collection)
	root, err := getRoot(r, key)
	if err != nil {
		return 0, err
	}
	bytes = int64(len(key) + len(root))
	numbers, keys := make([]int, 0, root.count()), make([][]byte, 0, root.count())
	for n := root.next(0, 8*len(root)); n < 8*len(root); n = root.next(n+1, 8*len(root)) {
		numbers, keys = append(numbers, n), append(keys, appendDirectory(nil, collection, n))
	}
	if err := r.Need(keys...); err != nil {
		return 0, err
	}
	pages, sampled := int64(0), make([][]byte, 0, min(samples, pagesIn(length)))
	for i, n := range numbers {
		d, err := getDirectory(r, root, keys[i], n)
		if err != nil {
			return 0, err
		}
		bytes += int64(len(keys[i]) + len(d))
		pages += int64(d.count())
		for i := d.next(0, directoryPages); i < directoryPages && len(sampled) < samples; i = d.next(i+1, directoryPages) {
			sampled = append(sampled, appendPage(nil, collection, n*directoryPages+i))
		}
	}
	if err := r.Need(sampled...); err != nil || len(sampled) == 0 {
		return bytes, err
	}
	sum := int64(0)
	for _, key := range sampled {
		page, err := getElement(r, key, PageBytes, "page")
		if err != nil {
			return 0, err
		}
		sum += int64(len(key) + len(page))
	}
	return bytes + sum*pages/int64(len(sampled)), nil
}

// elementsUsage knows what all entries take. How many buckets have a record, and what lies apart, the samples tell: buckets from all over the table.
func elementsUsage(r Reader, key []byte, m *Meta, samples int) (bytes int64, err error) {
	var e Elements
	if err := e.Open(r, nil, key, m, m.Type, 0); err != nil {
		return 0, err
	}
	n := min(int64(samples), int64(e.buckets))
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = appendBucket(nil, e.id, e.bucketAt(uint32(int64(i)*int64(e.buckets)/n)))
	}
	if err := r.Need(keys...); err != nil || n == 0 {
		return e.size, err
	}
	sum := int64(0)
	for _, key := range keys {
		entries, err := r.Get(key)
		if err != nil {
			return 0, err
		}
		if entries != nil {
			sum += int64(len(key))
		}
		err = e.each(entries, func(el *Element) error {
			sum += el.name.apart() + el.value.apart()
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return e.size + sum*int64(e.buckets)/n, nil
}

// apart is how many bytes the records take that hold a datum's bytes, if it lies apart.
func (d *datum) apart() int64 {
	if d.serial == 0 {
		return 0
	}
	parts := int64(d.length+partBytes-1) / partBytes
	return int64(d.length) + parts*partKeyBytes
}
