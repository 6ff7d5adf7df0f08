package commands

import (
	"bytes"
	"math"
	"strconv"

	"sett/storage"
	"sett/types"
)

// zRangeBy is what a range of a sorted set is counted in.
type zRangeBy byte

const (
	byAny zRangeBy = iota // until the options say
	byRank
	byScore
	byLex
)

// zSpan is a range of a sorted set.
type zSpan struct {
	by              zRangeBy
	start, stop     int64
	lowest, highest types.ScoreBound
	lowLex, highLex types.LexBound
	reverse, anyWay bool // anyWay: the options may still reverse it
	withScores      bool
	offset, limit   int64 // of what lies between the ends; limit < 0: all
	storing         bool
}

// parse reads two ends and the options behind them.
func (s *zSpan) parse(args [][]byte) error {
	s.limit = -1
	low, high := args[0], args[1]
	for args = args[2:]; len(args) > 0; args = args[1:] {
		switch arg := args[0]; {
		case is(arg, "withscores") && !s.storing:
			s.withScores = true
		case is(arg, "limit") && len(args) > 2:
			var err error
			if s.offset, err = intArg(args[1]); err != nil {
				return err
			}
			if s.limit, err = intArg(args[2]); err != nil {
				return err
			}
			args = args[2:]
		case is(arg, "rev") && s.anyWay:
			s.reverse, s.anyWay = true, false
		case is(arg, "bylex") && s.by == byAny:
			s.by = byLex
		case is(arg, "byscore") && s.by == byAny:
			s.by = byScore
		default:
			return ErrSyntax
		}
	}
	if s.by == byAny {
		s.by = byRank
	}
	switch {
	case s.limit != -1 && s.by == byRank:
		return ErrRangeLimit
	case s.withScores && s.by == byLex:
		return ErrLexScores
	}
	if s.reverse && s.by != byRank {
		low, high = high, low
	}
	return s.parseEnds(low, high)
}

func (s *zSpan) parseEnds(low, high []byte) (err error) {
	switch s.by {
	case byScore:
		return s.parseScores(low, high)
	case byLex:
		var one, other bool
		s.lowLex, one = parseLexBound(low)
		s.highLex, other = parseLexBound(high)
		if !one || !other {
			return ErrLexBound
		}
		return nil
	}
	if s.start, err = intArg(low); err == nil {
		s.stop, err = intArg(high)
	}
	return err
}

func (s *zSpan) parseScores(low, high []byte) error {
	var one, other bool
	s.lowest, one = parseScoreBound(low)
	s.highest, other = parseScoreBound(high)
	if !one || !other {
		return ErrScoreBound
	}
	return nil
}

// parseScoreBound reads an end of a range of scores, as leniently as C's strtod does.
func parseScoreBound(arg []byte) (b types.ScoreBound, ok bool) {
	if len(arg) > 0 && arg[0] == '(' {
		b.Exclusive, arg = true, arg[1:]
	}
	if end := bytes.IndexByte(arg, 0); end >= 0 {
		arg = arg[:end]
	}
	if len(arg) == 0 {
		return b, true
	}
	b.Score, _, ok = strtod(bytes.TrimLeft(arg, " \t\n\v\f\r"))
	return b, ok
}

func parseLexBound(arg []byte) (b types.LexBound, ok bool) {
	if len(arg) == 0 {
		return b, false
	}
	switch arg[0] {
	case '+', '-':
		b.End = int(',') - int(arg[0]) // which stands between them
		return b, len(arg) == 1 || arg[1] == 0
	case '(', '[':
		b.Member, b.Exclusive = arg[1:], arg[0] == '('
		return b, true
	}
	return b, false
}

// parseDouble reads a score or a weight.
func parseDouble(arg []byte) (f float64, ok bool) {
	f, inRange, ok := strtod(arg)
	return f, ok && inRange
}

// strtod reads a number as C's strtod does, without the blanks before it; inRange is false for one that no double comes near.
func strtod(arg []byte) (f float64, inRange, ok bool) {
	digits := arg
	if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
		digits = digits[1:]
	}
	text := string(arg)
	switch {
	case is(digits, "inf") || is(digits, "infinity"):
	case !isNumber(digits):
		return 0, false, false
	case len(digits) > 2 && digits[1]|0x20 == 'x' && !bytes.ContainsAny(digits, "pP"):
		text += "p0"
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return f, false, math.IsInf(f, 0)
	}
	return f, f != 0 || allZero(digits), true
}

// ranks returns the ranks [i, j) that a range has.
func (s *zSpan) ranks(z *types.Ranking) (i, j int64, err error) {
	switch s.by {
	case byRank:
		i, j = s.rankRange(z.Len())
		return i, j, nil
	case byScore:
		i, j, err = z.ScoreRange(s.lowest, s.highest)
	case byLex:
		i, j, err = z.LexRange(s.lowLex, s.highLex, s.reverse)
	}
	if err != nil || s.offset < 0 || s.offset >= j-i {
		return 0, 0, err
	}
	if s.reverse {
		j -= s.offset
		if s.limit >= 0 {
			i = max(i, j-s.limit)
		}
		return i, j, nil
	}
	i += s.offset
	if s.limit >= 0 {
		j = min(j, i+min(s.limit, j-i))
	}
	return i, j, nil
}

func (s *zSpan) rankRange(n int64) (i, j int64) {
	start, stop := s.start, s.stop
	if start < 0 {
		start = max(start+n, 0)
	}
	if stop < 0 {
		stop += n
	}
	if start > stop || start >= n {
		return 0, 0
	}
	stop = min(stop, n-1)
	if s.reverse {
		return n - 1 - stop, n - start
	}
	return start, stop + 1
}

// scoresReply is how members and scores are answered.
type scoresReply struct {
	none  bool // no scores
	pairs bool // a member and its score are an array of their own
	bare  bool // they belong to an array that has begun
}

func (q *Query) spanReply(s *zSpan) scoresReply {
	return scoresReply{none: !s.withScores, pairs: q.W.Proto >= 3}
}

func (q *Query) replyRanks(z *types.Ranking, i, j int64, reverse bool, s scoresReply) error {
	q.scoresHead(int(j-i), s)
	return z.Range(i, j, reverse, func(el *types.Element) error {
		member, err := z.Name(el)
		if err == nil {
			q.replyScored(member, el.Score(), s)
		}
		return err
	})
}

func (q *Query) scoresHead(n int, s scoresReply) {
	if s.bare {
		return
	}
	if !s.none && !s.pairs {
		n *= 2
	}
	q.W.Array(n)
}

func (q *Query) replyScored(member []byte, score float64, s scoresReply) {
	if s.pairs && !s.none {
		q.W.Array(2)
	}
	q.W.Bulk(member)
	if !s.none {
		q.W.Double(score)
	}
}

// The commands that differ in what they count in and in the direction they go.
func zRange(q *Query) error           { return q.rangeAtOnce(zSpan{anyWay: true}) }
func zRevRange(q *Query) error        { return q.rangeAtOnce(zSpan{by: byRank, reverse: true}) }
func zRangeByScore(q *Query) error    { return q.rangeAtOnce(zSpan{by: byScore}) }
func zRevRangeByScore(q *Query) error { return q.rangeAtOnce(zSpan{by: byScore, reverse: true}) }
func zRangeByLex(q *Query) error      { return q.rangeAtOnce(zSpan{by: byLex}) }
func zRevRangeByLex(q *Query) error   { return q.rangeAtOnce(zSpan{by: byLex, reverse: true}) }

func (q *Query) rangeAtOnce(s zSpan) error {
	if err := s.parse(q.Args[2:]); err != nil {
		return err
	}
	z, err := q.ranking(q.Args[1])
	if err != nil {
		return err
	}
	i, j, err := s.ranks(z)
	if err != nil || !q.atOnce(j-i) {
		return err
	}
	q.replied = true
	return q.replyRanks(z, i, j, s.reverse, q.spanReply(&s))
}

func zRangeView(q *Query, v *storage.View) error { return q.rangeAt(v, zSpan{anyWay: true}) }
func zRevRangeView(q *Query, v *storage.View) error {
	return q.rangeAt(v, zSpan{by: byRank, reverse: true})
}

func zRangeByScoreView(q *Query, v *storage.View) error { return q.rangeAt(v, zSpan{by: byScore}) }

func zRevRangeByScoreView(q *Query, v *storage.View) error {
	return q.rangeAt(v, zSpan{by: byScore, reverse: true})
}

func zRangeByLexView(q *Query, v *storage.View) error { return q.rangeAt(v, zSpan{by: byLex}) }

func zRevRangeByLexView(q *Query, v *storage.View) error {
	return q.rangeAt(v, zSpan{by: byLex, reverse: true})
}

func (q *Query) rangeAt(v *storage.View, s zSpan) error {
	if err := s.parse(q.Args[2:]); err != nil {
		return err
	}
	z, err := q.rankingAt(v, q.Args[1])
	if err != nil {
		return err
	}
	i, j, err := s.ranks(z)
	if err != nil {
		return err
	}
	return q.replyRanks(z, i, j, s.reverse, q.spanReply(&s))
}

func zCount(q *Query) error { return q.countRange(zSpan{by: byScore, limit: -1}) }

func zLexCount(q *Query) error { return q.countRange(zSpan{by: byLex, limit: -1}) }

func (q *Query) countRange(s zSpan) error {
	if err := s.parseEnds(q.Args[2], q.Args[3]); err != nil {
		return err
	}
	z, err := q.ranking(q.Args[1])
	if err != nil {
		return err
	}
	i, j, err := s.ranks(z)
	if err == nil {
		q.W.Int(j - i)
	}
	return err
}

func zRemRangeByRank(u *Update) error { return u.removeRange(zSpan{by: byRank, limit: -1}) }

func zRemRangeByScore(u *Update) error { return u.removeRange(zSpan{by: byScore, limit: -1}) }

func zRemRangeByLex(u *Update) error { return u.removeRange(zSpan{by: byLex, limit: -1}) }

func (u *Update) removeRange(s zSpan) error {
	if err := s.parseEnds(u.Args[2], u.Args[3]); err != nil {
		return err
	}
	e, err := u.editZSet(u.Args[1], 2)
	if err != nil {
		return err
	}
	i, j, err := s.ranks(&e.Ranking)
	if err != nil {
		return err
	}
	u.W.Int(j - i)
	if u.derive != nil && copyPays(j-i, e.Len()) && u.record.ValueBytes() <= u.set.opts.StagedMax {
		return u.removeDerived(i, j)
	}
	if err := e.RemoveRange(i, j); err != nil {
		return err
	}
	return e.Save()
}

// removeInline is how many members a range may have that is removed under the lock, whatever the size of the sorted set. Each is somewhere in the
// table of names, and costs some µs. A copy costs about as much for each member that there is, and is made several times beside somebody who writes:
// up to removeInlineMax are removed under the lock if they are a small part, one in copyShare, as when the end of a long window is cut off.
const (
	removeInline    = 4 << 10
	removeInlineMax = 16 << 10
	copyShare       = 16
)

// copyPays tells whether n of some members are better removed from a copy.
func copyPays(n, members int64) bool {
	return n > removeInline && n < members && (n > removeInlineMax || n > members/copyShare)
}

// removeDerived removes the ranks [i, j) of u.record from a copy, step by step, without the lock. The copy then takes its place.
func (u *Update) removeDerived(i, j int64) error {
	if !u.derive.current(u) {
		return u.derive.askDraft(u, []types.Record{u.record}, u.record.ValueBytes(), func(s *derived, draft *Drafting) error {
			err := drawCopy(s, draft)
			for end := j; end > i && err == nil; end -= draftMembers {
				err = draft.Do(func(u *Update) error { return u.cutDraft(max(i, end-draftMembers), end) })
			}
			return err
		})
	}
	u.derive.takeDraft(u, &u.record, u.record.ExpireAtMs)
	return nil
}

func zRangeStore(u *Update) error {
	s := zSpan{anyWay: true, storing: true}
	if err := s.parse(u.Args[3:]); err != nil {
		return err
	}
	sources, err := u.sources(u.Args[2:3], types.ZSet)
	if err != nil {
		return err
	}
	z := &u.ranks
	if err := z.Open(u.data, &u.set.keys, sources[0].Key, &sources[0].Meta); err != nil {
		return err
	}
	i, j, err := s.ranks(z)
	if err != nil {
		return err
	}
	st := storing{name: u.Args[1], of: types.ZSet, sources: sources, elements: j - i, bytes: (j - i) * (z.Bytes() / max(1, z.Len()))}
	converted := s.by == byRank && j-i > u.set.encodings.ZSetEntries.Load()
	st.draw = func(o *operands, r *result) error {
		var z types.Ranking
		if err := o.openRanking(&z, 0); err != nil {
			return err
		}
		r.converted = converted
		return z.Range(i, j, s.reverse, func(el *types.Element) error {
			member, err := z.Name(el)
			if err != nil {
				return err
			}
			return r.add(member, el.Score())
		})
	}
	return u.store(&st)
}
