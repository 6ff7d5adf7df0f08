package commands

import (
	"bytes"

	"sett/storage"
	"sett/types"
)

// sortedKey is the list, set or sorted set that is sorted, read within a round or from a view.
type sortedKey struct {
	view     *storage.View // nil: within a round
	n, bytes int64
	from, to int64 // the elements that are read
	backward bool  // … the last one first
	inOrder  bool  // … and those are the result
	list     *types.ListValue
	ranking  *types.Ranking
	set      *types.Elements
}

// sortedKey looks the key up that is to be sorted. Of one that has an order and keeps it only what is asked for is read.
func (q *Query) sortedKey(s *sortOptions, v *storage.View) (*sortedKey, error) {
	k := &sortedKey{view: v}
	m, err := k.lookup(q, q.Args[1])
	if err != nil || !m.Exists {
		return k, err
	}
	switch m.Type {
	case types.List:
		if k.list, err = q.openList(&m); err == nil {
			k.n, k.bytes = k.list.Len(), k.list.Bytes()
		}
	case types.ZSet:
		k.ranking = &q.ranks
		if err = k.openRanking(q, &m); err == nil {
			k.n, k.bytes = k.ranking.Len(), k.ranking.Bytes()
		}
	case types.Set:
		k.set = &q.found
		if err = k.openElements(q, k.set, &m); err == nil {
			k.n, k.bytes = k.set.Len(), k.set.Bytes()
		}
		if s.asTheyAre && s.storing { // a set has no order, and what is stored must have one
			s.asTheyAre, s.alpha, s.by = false, true, nil
		}
	default:
		err = ErrWrongType
	}
	k.to = k.n
	if k.inOrder = s.asTheyAre && k.set == nil; k.inOrder {
		if k.from, k.to = s.window(k.n); s.descending {
			k.backward = true
			k.from, k.to = k.n-k.to, k.n-k.from
		}
	}
	return k, err
}

func (k *sortedKey) lookup(q *Query, name []byte) (types.Meta, error) {
	if k.view != nil {
		return q.metaAt(k.view, name)
	}
	return q.lookup(name)
}

func (k *sortedKey) openRanking(q *Query, m *types.Meta) error {
	if k.view != nil {
		return k.ranking.OpenView(k.view, &q.set.keys, q.key, m)
	}
	return k.ranking.Open(q.data, &q.set.keys, q.key, m)
}

func (k *sortedKey) openElements(q *Query, e *types.Elements, m *types.Meta) error {
	if k.view != nil {
		return e.OpenView(k.view, &q.set.keys, q.key, m, m.Type, q.Now)
	}
	return e.Open(q.data, &q.set.keys, q.key, m, m.Type, q.Now)
}

// load reads the elements.
func (k *sortedKey) load(q *Query) (items []sortItem, err error) {
	items = make([]sortItem, 0, k.to-k.from)
	add := func(element []byte, err error) error {
		if err == nil {
			items = append(items, sortItem{element: append(make([]byte, 0, len(element)), element...)})
		}
		return err
	}
	switch {
	case k.list != nil:
		err = k.loadList(q, add)
	case k.ranking != nil:
		err = k.ranking.Range(k.from, k.to, k.backward, func(el *types.Element) error { return add(k.ranking.Name(el)) })
	case k.set != nil:
		err = k.set.Each(func(el *types.Element) error { return add(k.set.Name(el)) })
	}
	return items, err
}

func (k *sortedKey) loadList(q *Query, add func(element []byte, err error) error) error {
	var from types.Getter = q.data
	if k.view != nil {
		from = k.view
	}
	step := k.list.Next
	if k.list.MoveTo(k.from); k.backward {
		step = k.list.Prev
		k.list.MoveTo(k.to)
	}
	for range k.to - k.from {
		_, err := step(from)
		if err == nil {
			err = add(k.list.Value(from))
		}
		if err != nil && k.view == nil {
			err = k.list.Fetch(q.data, err, k.from, k.to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keyPattern is what BY and GET make the names of keys of.
type keyPattern struct {
	itself         bool // "#": the element itself
	constant       bool // there is nothing to put the element in the place of, so no key is meant
	prefix, suffix []byte
	field          []byte // nil: the key is a string, else a hash
}

// parseKeyPattern reads a pattern as a C string, but for what follows the last thing that was looked for.
func parseKeyPattern(arg []byte) (p keyPattern) {
	text := asCString(arg)
	p.itself = string(text) == "#"
	star := bytes.IndexByte(text, '*')
	if p.constant = star < 0; p.constant {
		return p
	}
	p.prefix, p.suffix = arg[:star], arg[star+1:]
	if arrow := bytes.Index(text[star+1:], []byte("->")); arrow >= 0 && star+1+arrow+2 < len(text) {
		p.suffix, p.field = p.suffix[:arrow], p.suffix[arrow+2:]
	}
	return p
}

// valuesOf is what the patterns mean for all items: nil where nothing is found. Within a round, all that is not in memory is asked for at once: first
// the keys, then what lies outside of their meta records.
func (q *Query) valuesOf(k *sortedKey, patterns []keyPattern, items []sortItem) ([][]byte, error) {
	if err := q.needKeysOf(k, patterns, items); err != nil {
		return nil, err
	}
	var missed error
	values := make([][]byte, 0, len(items)*len(patterns))
	for i := range items {
		for j := range patterns {
			value, err := q.valueOf(k, &patterns[j], items[i].element)
			if err == storage.ErrMiss {
				missed = err
			} else if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
	}
	return values, missed
}

func (q *Query) needKeysOf(k *sortedKey, patterns []keyPattern, items []sortItem) error {
	if k.view != nil {
		return nil
	}
	var keys [][]byte
	for i := range items {
		for j := range patterns {
			if p := &patterns[j]; !p.constant && p.names(q, items[i].element) {
				key, err := q.appendMetaKey(nil, q.value)
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
		}
	}
	return q.data.Need(keys...)
}

// names makes q.value the name that an element gives. false: there can be no such key.
func (p *keyPattern) names(q *Query, element []byte) bool {
	q.value = append(append(append(q.value[:0], p.prefix...), element...), p.suffix...)
	return len(q.value) <= q.set.opts.MaxName
}

// valueOf is what a pattern means for an element, in memory of its own.
func (q *Query) valueOf(k *sortedKey, p *keyPattern, element []byte) ([]byte, error) {
	switch {
	case p.itself:
		return element, nil
	case p.constant || !p.names(q, element):
		return nil, nil
	}
	m, err := k.lookup(q, q.value)
	switch {
	case err != nil || !m.Exists:
		return nil, err
	case p.field == nil && m.Type == types.String:
		return k.stringOf(q, &m)
	case p.field != nil && m.Type == types.Hash:
		return k.fieldOf(q, &m, p.field)
	}
	return nil, nil
}

func (k *sortedKey) stringOf(q *Query, m *types.Meta) ([]byte, error) {
	n := m.StringLen()
	value := make([]byte, 0, n)
	if k.view == nil {
		return types.AppendString(q.data, m, value, 0, n)
	}
	pieces := types.NewPieces(k.view, m, 0, n)
	for {
		piece, err := pieces.Next()
		if len(piece) == 0 {
			return value, err
		}
		value = append(value, piece...)
	}
}

func (k *sortedKey) fieldOf(q *Query, m *types.Meta, field []byte) ([]byte, error) {
	var hash types.Elements
	if err := k.openElements(q, &hash, m); err != nil {
		return nil, err
	}
	el, found, err := hash.Find(field)
	if err != nil || !found {
		return nil, err
	}
	value, err := hash.Value(&el)
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(value)), value...), nil
}
