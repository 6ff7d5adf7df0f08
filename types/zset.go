package types

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"sett/storage"
)

// A sorted set has its members in the order of their scores, those of one score in the order of their bytes.
//
//	row    score(8) · member(datum)
//	packed: the rows, in order
//	shape  that of a table, whose entries are rows, and behind it that of an ordered tree of the same rows
//
// The table tells a member's score, the tree its rank and who has another. A member that lies apart does so once, for both rows: it is the
// tree that writes its parts' end. The collection's bytes are those of the tree.
var zsetRows = treeKind{leafBytes: 512, prefix: scoreBytes, name: true, ordered: true, compared: rowAsCompared}

// orderedScore is a score as a number whose order is that of scores, as eight big-endian bytes are. Only -0, which is remembered, has to be
// compared as what it equals.
type orderedScore uint64

const (
	scoreBytes = 8
	scoreSign  = 1 << 63

	lowestScore  = orderedScore(1<<52 - 1)            // of -inf
	highestScore = orderedScore(scoreSign | 2047<<52) // of +inf
	negativeZero = orderedScore(scoreSign - 1)
	zeroScore    = orderedScore(scoreSign)
)

func orderScore(f float64) orderedScore {
	if n := math.Float64bits(f); n&scoreSign == 0 {
		return orderedScore(n | scoreSign)
	} else {
		return orderedScore(^n)
	}
}

// compared is what a score is compared as.
func (s orderedScore) compared() orderedScore {
	if s == negativeZero {
		return zeroScore
	}
	return s
}

// rowAsCompared makes the score of a row what it is compared as.
func rowAsCompared(row []byte) {
	s := orderedScore(binary.BigEndian.Uint64(row))
	binary.BigEndian.PutUint64(row, uint64(s.compared()))
}

func (s orderedScore) float() float64 {
	if s&scoreSign != 0 {
		return math.Float64frombits(uint64(s) &^ scoreSign)
	}
	return math.Float64frombits(^uint64(s))
}

// takeScore splits a score off.
func takeScore(b []byte) (s orderedScore, rest []byte, ok bool) {
	if len(b) < scoreBytes {
		return 0, nil, false
	}
	s = orderedScore(binary.BigEndian.Uint64(b))
	return s, b[scoreBytes:], s >= lowestScore && s <= highestScore
}

// Score is the score of a sorted set's element.
func (el *Element) Score() float64 { return el.score.float() }

// Ranking reads a sorted set. It may be opened again and again, and keeps its scratch.
type Ranking struct {
	Elements         // the scores, by member
	rows     tree    // of a spread one
	target   []byte  // the row that is looked for: score(8) member
	offsets  []int   // scratch of a walk backwards
	shown    Element // the one that a walk is at
}

// Open begins to read the live key that m is the meta record of, within the present round.
func (z *Ranking) Open(r Reader, keys *Keys, key []byte, m *Meta) error {
	if err := z.Elements.Open(r, keys, key, m, ZSet, 0); err != nil {
		return err
	}
	return z.openRows()
}

// OpenView is Open for what a view shows.
func (z *Ranking) OpenView(v *storage.View, keys *Keys, key []byte, m *Meta) error {
	if err := z.Elements.OpenView(v, keys, key, m, ZSet, 0); err != nil {
		return err
	}
	return z.openRows()
}

func (z *Ranking) openRows() error {
	if z.id == 0 {
		return nil
	}
	if _, shape, ok := takeTable(z.shape); !ok || !z.rows.open(&zsetRows, z.id, shape, z.bytes) {
		return z.corrupt()
	}
	return nil
}

// aim makes the row of a score and a member, or what of them stands between two rows, the one that is looked for.
func (z *Ranking) aim(score orderedScore, member []byte) {
	z.target = append(binary.BigEndian.AppendUint64(z.target[:0], uint64(score.compared())), member...)
}

// place returns the rank of the row that was aimed at, or that it would have; see tree.find.
func (z *Ranking) place() (rank int64, found, behind bool, err error) {
	if z.id != 0 {
		if len(z.rows.root) == 0 {
			return 0, false, false, nil
		}
		return z.rows.find(z.from, z.target, z.compare)
	}
	for rest := z.packed; len(rest) > 0; rank++ {
		el, after, ok := takeElement(ZSet, rest)
		if !ok {
			return 0, false, false, z.corrupt()
		}
		if order := z.compareInline(&el); order >= 0 {
			return rank, order == 0, false, nil
		}
		rest = after
	}
	return rank, false, false, nil
}

func (z *Ranking) compareInline(el *Element) int {
	if order := z.compareScores(el); order != 0 {
		return order
	}
	return bytes.Compare(el.name.bytes, z.target[scoreBytes:])
}

func (z *Ranking) compareScores(el *Element) int {
	return cmp.Compare(el.score.compared(), orderedScore(binary.BigEndian.Uint64(z.target)))
}

// compare is for tree.find.
func (z *Ranking) compare(row []byte) (int, error) {
	if row[scoreBytes]&0x81 == 0 { // a short member, as nearly all are: what takeElement would do, by hand
		s := orderedScore(binary.BigEndian.Uint64(row))
		if s < lowestScore || s > highestScore {
			return 0, z.corrupt()
		}
		if order := cmp.Compare(s.compared(), orderedScore(binary.BigEndian.Uint64(z.target))); order != 0 {
			return order, nil
		}
		return bytes.Compare(row[scoreBytes+1:], z.target[scoreBytes:]), nil
	}
	el, _, ok := takeElement(ZSet, row)
	if !ok {
		return 0, z.corrupt()
	}
	if el.name.serial == 0 || z.compareScores(&el) != 0 {
		return z.compareInline(&el), nil
	}
	member, err := z.Name(&el)
	if err == storage.ErrMiss {
		return 0, z.needApartOf(z.rows.levels[0].entries)
	}
	return bytes.Compare(member, z.target[scoreBytes:]), err
}

// needApartOf asks for all that lies apart of a leaf's elements.
func (z *Ranking) needApartOf(entries []byte) error {
	var keys [][]byte
	err := z.each(entries, func(el *Element) error {
		keys = el.name.needs(keys, z.id)
		return nil
	})
	if err != nil {
		return err
	}
	if err := z.round.Need(keys...); err != nil {
		return err
	}
	return storage.ErrMiss
}

// Rank is the number of members before one, and its score.
func (z *Ranking) Rank(member []byte) (rank int64, score float64, found bool, err error) {
	el, found, err := z.Find(member)
	if err != nil || !found {
		return 0, 0, false, err
	}
	z.aim(el.score, member)
	rank, found, _, err = z.place()
	if err == nil && !found {
		err = z.corrupt()
	}
	return rank, el.Score(), found, err
}

// ScoreBound is an end of a range of scores.
type ScoreBound struct {
	Score     float64
	Exclusive bool
}

// ScoreRange returns the ranks [i, j) of the members between two scores.
func (z *Ranking) ScoreRange(lowest, highest ScoreBound) (i, j int64, err error) {
	from, to := orderScore(lowest.Score).compared(), orderScore(highest.Score).compared()
	if lowest.Exclusive {
		from++
	}
	if !highest.Exclusive {
		to++ // at NaN, if need be: behind all
	}
	if from >= to {
		return 0, 0, nil
	}
	i, err = z.rankBefore(from, nil)
	// Both are looked for in any case: if neither is in memory, one round fetches both.
	j, other := z.rankBefore(to, nil)
	if err == nil {
		err = other
	}
	return i, max(i, j), err
}

// rankBefore is the number of rows before a score and a member.
func (z *Ranking) rankBefore(score orderedScore, member []byte) (int64, error) {
	switch {
	case score <= lowestScore && len(member) == 0:
		return 0, nil
	case score > highestScore:
		return z.count, nil
	}
	z.aim(score, member)
	rank, _, _, err := z.place()
	return rank, err
}

// LexBound is an end of a range of members.
type LexBound struct {
	Member    []byte
	Exclusive bool
	End       int // -1: before all members, 1: behind them
}

// below tells whether a member lies below the range that begins with the bound, and above the mirror image of it.
func (b *LexBound) below(member []byte) bool {
	if b.End != 0 {
		return b.End > 0
	}
	order := bytes.Compare(member, b.Member)
	return order < 0 || order == 0 && b.Exclusive
}

func (b *LexBound) above(member []byte) bool {
	if b.End != 0 {
		return b.End < 0
	}
	order := bytes.Compare(member, b.Member)
	return order > 0 || order == 0 && b.Exclusive
}

// LexRange returns the ranks [i, j) of the members between two, all scores being the same. If they are not, of few members those are meant that
// Redis comes upon first, from the end that is asked for.
func (z *Ranking) LexRange(lowest, highest LexBound, reverse bool) (i, j int64, err error) {
	switch {
	case z.count == 0 || lowest.End > 0 || highest.End < 0:
		return 0, 0, nil
	case z.id == 0:
		return z.packedLexRange(&lowest, &highest, reverse)
	}
	first, err := z.At(0)
	if err != nil {
		return 0, 0, err
	}
	i, err = z.lexRank(first.score, &lowest, lowest.Exclusive)
	j, other := z.lexRank(first.score, &highest, !highest.Exclusive)
	if err == nil {
		err = other
	}
	return i, max(i, j), err
}

func (z *Ranking) lexRank(score orderedScore, b *LexBound, behind bool) (int64, error) {
	switch {
	case b.End < 0:
		return 0, nil
	case b.End > 0:
		return z.count, nil
	}
	z.aim(score, b.Member)
	if behind {
		z.target = append(z.target, 0) // nothing is between a member and this
	}
	rank, _, _, err := z.place()
	return rank, err
}

// emptyLex tells whether nothing can be between two ends.
func emptyLex(lowest, highest *LexBound) bool {
	if lowest.End != 0 || highest.End != 0 {
		return lowest.End > 0 || highest.End < 0
	}
	order := bytes.Compare(lowest.Member, highest.Member)
	return order > 0 || order == 0 && (lowest.Exclusive || highest.Exclusive)
}

func (z *Ranking) packedLexRange(lowest, highest *LexBound, reverse bool) (i, j int64, err error) {
	var inside [][]byte
	err = z.each(z.packed, func(el *Element) error {
		inside = append(inside, el.name.bytes)
		return nil
	})
	n := int64(len(inside))
	if err != nil || n == 0 || emptyLex(lowest, highest) || lowest.below(inside[n-1]) || highest.above(inside[0]) {
		return 0, 0, err
	}
	if reverse {
		for j = n; j > 0 && highest.above(inside[j-1]); j-- {
		}
		for i = j; i > 0 && !lowest.below(inside[i-1]); i-- {
		}
		return i, j, nil
	}
	for i < n && lowest.below(inside[i]) {
		i++
	}
	for j = i; j < n && !highest.above(inside[j]); j++ {
	}
	return i, j, nil
}

// At returns the element of a rank, which there must be.
func (z *Ranking) At(rank int64) (el Element, err error) {
	if z.id == 0 {
		return z.nth(z.packed, int(rank))
	}
	if err := z.rows.seek(z.from, rank); err != nil {
		return el, err
	}
	leaf := &z.rows.levels[0]
	return z.nth(leaf.entries, int(rank-leaf.first))
}

// Range calls f for the elements of the ranks [i, j), the last one first if it goes backwards. Within a round, what is not in memory of all of
// them is asked for at once: f may have been called for some by then.
func (z *Ranking) Range(i, j int64, reverse bool, f func(el *Element) error) error {
	if z.id == 0 {
		return z.rangeOf(z.packed, 0, i, j, reverse, f)
	}
	err := z.walkRows(i, j, reverse, f)
	if err == storage.ErrMiss && z.round != nil {
		return z.needRange(i, j)
	}
	return err
}

func (z *Ranking) walkRows(i, j int64, reverse bool, f func(el *Element) error) error {
	for i < j {
		next := i
		if reverse {
			next = j - 1
		}
		if err := z.rows.seek(z.from, next); err != nil {
			return err
		}
		leaf := z.rows.levels[0]
		from, to := max(i, leaf.first), min(j, leaf.first+leaf.count)
		if err := z.rangeOf(leaf.entries, leaf.first, from, to, reverse, f); err != nil {
			return err
		}
		if reverse {
			j = from
		} else {
			i = to
		}
	}
	return nil
}

// needRange asks for the rows [i, j), and then for what lies apart of them.
func (z *Ranking) needRange(i, j int64) error {
	if err := z.rows.need(z.round, i, j, true); err != nil {
		return err
	}
	if z.rows.apart == 0 {
		return storage.ErrMiss
	}
	var keys [][]byte
	err := z.walkRows(i, j, false, func(el *Element) error {
		keys = el.name.needs(keys, z.id)
		return nil
	})
	if err == nil {
		err = z.round.Need(keys...)
	}
	if err == nil {
		err = storage.ErrMiss
	}
	return err
}

// rangeOf is Range for entries that begin with rank first.
func (z *Ranking) rangeOf(entries []byte, first, i, j int64, reverse bool, f func(el *Element) error) error {
	size, ok := zsetRows.skip(entries, i-first)
	if !ok {
		return z.corrupt()
	}
	entries = entries[size:]
	if reverse {
		return z.backwards(entries, j-i, f)
	}
	for ; i < j; i++ {
		if z.shown, entries, ok = takeElement(ZSet, entries); !ok {
			return z.corrupt()
		}
		if err := f(&z.shown); err != nil {
			return err
		}
	}
	return nil
}

// backwards calls f for the first n elements of some entries, the last one first.
func (z *Ranking) backwards(entries []byte, n int64, f func(el *Element) error) error {
	offsets := z.offsets[:0]
	for at := 0; n > 0; n-- {
		offsets = append(offsets, at)
		size := zsetRows.elementSize(entries[at:])
		if size == 0 {
			return z.corrupt()
		}
		at += size
	}
	z.offsets = offsets
	for _, at := range slices.Backward(offsets) {
		var ok bool
		if z.shown, _, ok = takeElement(ZSet, entries[at:]); !ok {
			return z.corrupt()
		}
		if err := f(&z.shown); err != nil {
			return err
		}
	}
	return nil
}
