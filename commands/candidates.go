package commands

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// search finds keys to evict. A hand goes round through all databases, in the order of places; as places are those of a keyed hash of the names,
// the keys that it meets are as good as drawn at random, none is left out, and of what was removed behind it nothing is in its way. For each key that
// is to go it looks at maxmemory_samples. Those that are next on the list wait for the next batch, as in Redis' pool. It reads a view, and
// what is known of their use from memory.
type search struct {
	data *DataSet
	seed uint64 // of the random policies

	space uint32 // where the hand is
	from  []byte // the key that it comes to next, of a meta record or of an expiry row; nil: the keyspace's first
	rows  bool   // it is among the expiry rows
	began int64  // unix ms: when it began at the first row

	found []candidate
	text  []byte // keys of those found in this batch
	pool  []candidate
}

// candidate is a key that may be evicted.
type candidate struct {
	key   []byte // its meta key
	score int64  // the highest goes first
}

const (
	poolKeys = 64 // that wait for the next batch

	victimsBytes = 256 << 10 // of the names of a batch, about: it must not be larger than batch_max_bytes

	// rowsShare: where fewer than one of so many keys has a time to live they are looked for among the expiry rows, which are in order of time, so that
	// neighbours are not as good as drawn at random.
	rowsShare = 64

	// rowsAgainMs is how often those that die first are looked for from the beginning: the hand does not walk over the rows that it has removed.
	rowsAgainMs = 1000

	// lookedMax is how many records a batch looks at, at most: a view should not be open for long.
	lookedMax = 1 << 16
	// textMax is how many bytes their names may have.
	textMax = 4 << 20
)

// victims returns the meta keys of up to n keys, worst first, valid until the next call; none if it has found none in this stretch.
func (s *search) victims(p *policy, tallies []dbTally, n int, nowMs int64) ([][]byte, error) {
	want := n
	if p.by != byChance && p.by != byTime {
		want = n * int(min(s.data.limits.samples.Load(), lookedMax))
	}
	s.text, s.found = s.text[:0], append(s.found[:0], s.pool...)
	s.pool = s.pool[:0]
	if p.by == byTime && nowMs-s.began >= rowsAgainMs {
		s.space, s.from, s.began, s.found = 0, nil, nowMs, s.found[:0]
	}
	view, err := s.data.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	if err := s.gather(view, p, tallies, len(s.found)+want); err != nil {
		return nil, err
	}
	for i := range s.found {
		s.rate(p, &s.found[i], nowMs)
	}
	// A key may have been waiting and been met again: it has one score, so it stands beside itself.
	slices.SortFunc(s.found, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.score, a.score), bytes.Compare(a.key, b.key)) })
	s.found = slices.CompactFunc(s.found, func(a, b candidate) bool { return bytes.Equal(a.key, b.key) })
	var victims [][]byte
	for size := 0; len(victims) < min(n, len(s.found)) && size < victimsBytes; {
		key := s.found[len(victims)].key
		victims, size = append(victims, key), size+len(key)
	}
	n = len(victims)
	if p.by == byUse || p.by == byFrequency {
		for _, c := range s.found[n:min(n+poolKeys, len(s.found))] {
			s.pool = append(s.pool, candidate{key: bytes.Clone(c.key)})
		}
	}
	return victims, nil
}

// rate says how much a candidate deserves to go.
func (s *search) rate(p *policy, c *candidate, nowMs int64) {
	access := &s.data.access
	switch p.by {
	case byTime: // meet has
	case byChance:
		s.seed += 0x9e3779b97f4a7c15
		c.score = int64(mix(s.seed) >> 1)
	default:
		use, known := access.get(c.key)
		c.score = access.score(use, nowMs/1000)
		if !known {
			c.score++ // it has not been used since those that are known
		}
	}
}

// gather moves the hand on until there are so many candidates, or it has come round.
func (s *search) gather(v *storage.View, p *policy, tallies []dbTally, want int) error {
	tallies = slices.DeleteFunc(slices.Clone(tallies), func(t dbTally) bool { return p.volatile && t.Expires == 0 })
	if len(tallies) == 0 {
		return nil
	}
	at := slices.IndexFunc(tallies, func(t dbTally) bool { return t.space == s.space })
	if at < 0 {
		at, s.from = 0, nil
	}
	looked, more := 0, 0
	if p.by == byTime {
		more = want // those that die first are of any database
	}
	for range len(tallies) + 1 {
		t := &tallies[at]
		rows := p.by == byTime || p.volatile && t.Expires < t.Keys/rowsShare
		if s.space != t.space || s.rows != rows {
			s.space, s.rows, s.from = t.space, rows, nil
		}
		err := s.walk(v, p, want, &looked)
		tired, done := looked >= lookedMax || len(s.text) >= textMax, len(s.found) >= want && (more == 0 || len(tallies) == 1)
		if err != nil || tired || done {
			return err
		}
		want += more
		s.from = nil
		at = (at + 1) % len(tallies)
		s.space = tallies[at].space
	}
	return nil
}

// walk moves the hand through a keyspace. It is at its end if it has found less than it wants. Damaged records are passed over.
func (s *search) walk(v *storage.View, p *policy, want int, looked *int) error {
	lower, upper := types.AppendMetaPlace(nil, s.space, types.Place{}), types.AppendMetaEnd(nil, s.space)
	if s.rows {
		lower, upper = ttl.AppendRow(nil, s.space, 0, 0, nil), ttl.AppendRow(nil, s.space+1, 0, 0, nil)
	}
	if s.from == nil {
		s.from = lower
	}
	for {
		it := v.Iterate(lower, upper)
		err := s.stretch(it, p, want, looked)
		it.Close()
		var corrupt *storage.CorruptError
		if !errors.As(err, &corrupt) || bytes.Compare(corrupt.Key, s.from) < 0 {
			return err
		}
		s.from = append(bytes.Clone(corrupt.Key), 0)
	}
}

func (s *search) stretch(it *storage.Iterator, p *policy, want int, looked *int) error {
	for ok := it.Seek(s.from); ok; ok = it.Next() {
		if len(s.found) >= want || *looked >= lookedMax || len(s.text) >= textMax {
			s.from = bytes.Clone(it.Key())
			return nil
		}
		*looked++
		if err := s.meet(p, it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Err()
}

// meet makes a candidate of the key whose record, or row, the hand has come to.
func (s *search) meet(p *policy, key, value []byte) error {
	start, dies := len(s.text), int64(0)
	if s.rows {
		row, ok := ttl.DecodeRow(key)
		if !ok || row.Kind != ttl.KindKey {
			return nil
		}
		s.text = types.AppendMetaOfRow(s.text, row)
		dies = row.ExpireAtMs
	} else {
		if p.volatile {
			m, err := types.DecodeMeta(key, value)
			if err != nil || m.ExpireAtMs == 0 {
				return err
			}
		}
		s.text = append(s.text, key...)
	}
	s.found = append(s.found, candidate{key: s.text[start:len(s.text):len(s.text)], score: -dies})
	return nil
}
