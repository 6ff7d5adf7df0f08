package commands

import (
	"math"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands of sorted sets; those of ranges are in zsetrange.go, those that join several in zsetalgebra.go.
func zsetRows() []*Row {
	return []*Row{
		{
			Name: "zadd", Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Add one or more members to a sorted set, or update its score if it already exists",
			Complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
			Write:      zAdd,
		},
		{
			Name: "zcard", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Get the number of members in a sorted set",
			Complexity: "O(1)",
			Read:       zCard,
		},
		{
			Name: "zcount", Arity: 4, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.0.0",
			Summary:    "Count the members in a sorted set with scores within the given values",
			Complexity: "O(log(N)) with N being the number of elements in the sorted set.",
			Read:       zCount,
		},
		{
			Name: "zdiff", Arity: -3, Flags: FlagReadonly,
			Keys:       []KeySpec{countedKeys(KeyRO|KeyAccess, 1)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Summary:    "Subtract multiple sorted sets",
			Complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.",
			Read:       zDiff,
			Long:       zDiffView,
		},
		{
			Name: "zdiffstore", Arity: -4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, countedKeys(KeyRO|KeyAccess, 2)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Summary:    "Subtract multiple sorted sets and store the resulting sorted set in a new key",
			Complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.",
			Write:      zDiffStore, Derives: true,
		},
		{
			Name: "zincrby", Arity: 4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Increment the score of a member in a sorted set",
			Complexity: "O(log(N)) where N is the number of elements in the sorted set.",
			Write:      zIncrBy,
		},
		{
			Name: "zinter", Arity: -3, Flags: FlagReadonly,
			Keys:       []KeySpec{countedKeys(KeyRO|KeyAccess, 1)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Summary:    "Intersect multiple sorted sets",
			Complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.",
			Read:       zInter,
			Long:       zInterView,
		},
		{
			Name: "zintercard", Arity: -3, Flags: FlagReadonly,
			Keys:       []KeySpec{countedKeys(KeyRO|KeyAccess, 1)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "7.0.0",
			Summary:    "Intersect multiple sorted sets and return the cardinality of the result",
			Complexity: "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
			Read:       zInterCard,
			Long:       zInterCardView,
		},
		{
			Name: "zinterstore", Arity: -4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, countedKeys(KeyRO|KeyAccess, 2)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.0.0",
			Summary:    "Intersect multiple sorted sets and store the resulting sorted set in a new key",
			Complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.",
			Write:      zInterStore, Derives: true,
		},
		{
			Name: "zlexcount", Arity: 4, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.8.9",
			Summary:    "Count the number of members in a sorted set between a given lexicographical range",
			Complexity: "O(log(N)) with N being the number of elements in the sorted set.",
			Read:       zLexCount,
		},
		{
			Name: "zmpop", Arity: -4, Flags: FlagWrite,
			Keys:       []KeySpec{countedKeys(KeyRW|KeyAccess|KeyDelete, 1)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "7.0.0",
			Summary:    "Remove and return members with scores in a sorted set",
			Complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
			Write:      zMPop,
		},
		{
			Name: "zmscore", Arity: -3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Summary:    "Get the score associated with the given members in a sorted set",
			Complexity: "O(N) where N is the number of members being requested.",
			Read:       zMScore,
		},
		{
			Name: "zpopmax", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatSortedSet, Group: "sorted-set", Since: "5.0.0",
			Summary:    "Remove and return members with the highest scores in a sorted set",
			Complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
			Write:      zPopMax,
		},
		{
			Name: "zpopmin", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatSortedSet, Group: "sorted-set", Since: "5.0.0",
			Summary:    "Remove and return members with the lowest scores in a sorted set",
			Complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
			Write:      zPopMin,
		},
		{
			Name: "zrandmember", Arity: -2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Get one or multiple random elements from a sorted set",
			Complexity: "O(N) where N is the number of elements returned",
			Read:       zRandMember,
			Long:       zRandMemberView,
		},
		{
			Name: "zrange", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Return a range of members in a sorted set",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
			Read:       zRange,
			Long:       zRangeView,
		},
		{
			Name: "zrangebylex", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.8.9",
			Summary:    "Return a range of members in a sorted set, by lexicographical range",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
			Deprecated: "6.2.0", ReplacedBy: "`ZRANGE` with the `BYLEX` argument",
			Read: zRangeByLex,
			Long: zRangeByLexView,
		},
		{
			Name: "zrangebyscore", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.0.5",
			Summary:    "Return a range of members in a sorted set, by score",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
			Deprecated: "6.2.0", ReplacedBy: "`ZRANGE` with the `BYSCORE` argument",
			Read: zRangeByScore,
			Long: zRangeByScoreView,
		},
		{
			Name: "zrangestore", Arity: -5, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 2, Last: 0, Step: 1}},
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Summary:    "Store a range of members from sorted set into another key",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.",
			Write:      zRangeStore, Derives: true,
		},
		{
			Name: "zrank", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.0.0",
			Summary:    "Determine the index of a member in a sorted set",
			Complexity: "O(log(N))",
			Read:       zRank,
			Newer:      withScore,
		},
		{
			Name: "zrem", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Remove one or more members from a sorted set",
			Complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.",
			Write:      zRem,
		},
		{
			Name: "zremrangebylex", Arity: 4, Flags: FlagWrite,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.8.9",
			Summary:    "Remove all members in a sorted set between the given lexicographical range",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
			Write:      zRemRangeByLex, Derives: true,
		},
		{
			Name: "zremrangebyrank", Arity: 4, Flags: FlagWrite,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.0.0",
			Summary:    "Remove all members in a sorted set within the given indexes",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
			Write:      zRemRangeByRank, Derives: true,
		},
		{
			Name: "zremrangebyscore", Arity: 4, Flags: FlagWrite,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Remove all members in a sorted set within the given scores",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
			Write:      zRemRangeByScore, Derives: true,
		},
		{
			Name: "zrevrange", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Return a range of members in a sorted set, by index, with scores ordered from high to low",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
			Deprecated: "6.2.0", ReplacedBy: "`ZRANGE` with the `REV` argument",
			Read: zRevRange,
			Long: zRevRangeView,
		},
		{
			Name: "zrevrangebylex", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.8.9",
			Summary:    "Return a range of members in a sorted set, by lexicographical range, ordered from higher to lower strings.",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
			Deprecated: "6.2.0", ReplacedBy: "`ZRANGE` with the `REV` and `BYLEX` arguments",
			Read: zRevRangeByLex,
			Long: zRevRangeByLexView,
		},
		{
			Name: "zrevrangebyscore", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.2.0",
			Summary:    "Return a range of members in a sorted set, by score, with scores ordered from high to low",
			Complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
			Deprecated: "6.2.0", ReplacedBy: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
			Read: zRevRangeByScore,
			Long: zRevRangeByScoreView,
		},
		{
			Name: "zrevrank", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.0.0",
			Summary:    "Determine the index of a member in a sorted set, with scores ordered from high to low",
			Complexity: "O(log(N))",
			Read:       zRevRank,
			Newer:      withScore,
		},
		{
			Name: "zscan", Arity: -3, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.8.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Incrementally iterate sorted sets elements and associated scores",
			Complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..",
			Read:       zScan,
			Long:       zScanView,
		},
		{
			Name: "zscore", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSortedSet, Group: "sorted-set", Since: "1.2.0",
			Summary:    "Get the score associated with the given member in a sorted set",
			Complexity: "O(1)",
			Read:       zScore,
		},
		{
			Name: "zunion", Arity: -3, Flags: FlagReadonly,
			Keys:       []KeySpec{countedKeys(KeyRO|KeyAccess, 1)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "6.2.0",
			Summary:    "Add multiple sorted sets",
			Complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.",
			Read:       zUnion,
			Long:       zUnionView,
		},
		{
			Name: "zunionstore", Arity: -4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, countedKeys(KeyRO|KeyAccess, 2)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "2.0.0",
			Summary:    "Add multiple sorted sets and store the resulting sorted set in a new key",
			Complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.",
			Write:      zUnionStore, Derives: true,
		},
	}
}

// ranking looks a sorted set up, in memory that the next call uses again; a key that is not there has no members.
func (q *Query) ranking(name []byte) (*types.Ranking, error) {
	m, err := q.lookupOf(name, types.ZSet)
	if err != nil {
		return nil, err
	}
	return &q.ranks, q.ranks.Open(q.data, &q.set.keys, q.key, &m)
}

// rankingAt is ranking for the second half of a row, as elementsAt is elements.
func (q *Query) rankingAt(v *storage.View, name []byte) (*types.Ranking, error) {
	m, err := q.metaAt(v, name)
	if err != nil {
		return nil, err
	}
	return &q.ranks, q.ranks.OpenView(v, &q.set.keys, q.key, &m)
}

// editZSet opens a sorted set in order to change so many of its members.
func (u *Update) editZSet(name []byte, changes int) (e types.ZSetEdit, err error) {
	r, err := u.openOf(name, types.ZSet)
	if err != nil {
		return e, err
	}
	u.record = r
	return u.ledger.EditZSet(&u.record, changes)
}

// zAddition is what ZADD and ZINCRBY ask for.
type zAddition struct {
	nx, xx, gt, lt bool
	ch             bool // changed ones count, too
	incr           bool // the scores are increments
	scores         []float64
	members        [][]byte
}

func (a *zAddition) parse(args [][]byte) error {
	for ; len(args) > 0; args = args[1:] {
		switch arg := args[0]; {
		case is(arg, "nx"):
			a.nx = true
		case is(arg, "xx"):
			a.xx = true
		case is(arg, "gt"):
			a.gt = true
		case is(arg, "lt"):
			a.lt = true
		case is(arg, "ch"):
			a.ch = true
		case is(arg, "incr"):
			a.incr = true
		default:
			return a.parsePairs(args)
		}
	}
	return ErrSyntax
}

func (a *zAddition) parsePairs(pairs [][]byte) error {
	switch {
	case len(pairs)%2 != 0:
		return ErrSyntax
	case a.nx && a.xx:
		return ErrAddNXXX
	case a.gt && a.nx || a.lt && a.nx || a.gt && a.lt:
		return ErrAddGTLT
	case a.incr && len(pairs) > 2:
		return ErrAddIncr
	}
	for i := 0; i < len(pairs); i += 2 {
		score, ok := parseDouble(pairs[i])
		if !ok {
			return ErrNotFloat
		}
		a.scores, a.members = append(a.scores, score), append(a.members, pairs[i+1])
	}
	return nil
}

// skips tells whether the options forbid that a member's score becomes another.
func (a *zAddition) skips(exists bool, old, score float64) bool {
	if !exists {
		return a.xx
	}
	return a.nx || a.lt && score >= old || a.gt && score <= old
}

func zAdd(u *Update) error { return u.addScores(zAddition{}) }

func zIncrBy(u *Update) error { return u.addScores(zAddition{incr: true}) }

func (u *Update) addScores(a zAddition) error {
	a.scores, a.members = u.scores[:0], u.members[:0]
	err := a.parse(u.Args[2:])
	if u.scores, u.members = a.scores, a.members; err != nil {
		return err
	}
	return u.addMembers(&a)
}

func (u *Update) addMembers(a *zAddition) error {
	e, err := u.editZSet(u.Args[1], len(a.scores))
	if err != nil {
		return err
	}
	var sum zAdded
	missed := false
	for i, score := range a.scores {
		member := a.members[i]
		if missed {
			e.Foresee(member, score)
			continue
		}
		err := u.addScore(e, a, member, score, &sum)
		if err == storage.ErrMiss {
			e.Foresee(member, score)
			missed = true
		} else if err != nil {
			return err
		}
	}
	if missed {
		return storage.ErrMiss
	}
	if err := e.Save(); err != nil {
		return err
	}
	switch {
	case a.incr && sum.processed == 0:
		u.W.Null()
	case a.incr:
		u.W.Double(sum.score)
	case a.ch:
		u.W.Int(sum.added + sum.updated)
	default:
		u.W.Int(sum.added)
	}
	return nil
}

// zAdded is what an addition has done so far.
type zAdded struct {
	added, updated, processed int64
	score                     float64 // the last one
}

func (u *Update) addScore(e types.ZSetEdit, a *zAddition, member []byte, score float64, sum *zAdded) error {
	old, exists, err := e.Score(member)
	if err != nil {
		return err
	}
	if exists && a.nx {
		return nil
	}
	if exists && a.incr {
		if score += old; math.IsNaN(score) {
			return ErrScoreNaN
		}
	}
	if a.skips(exists, old, score) {
		return nil
	}
	sum.processed++
	sum.score = score
	switch {
	case !exists:
		sum.added++
	case score != old:
		sum.updated++
	default:
		return nil
	}
	return u.putScore(e, member, score, !exists)
}

// putScore gives a member a score. Redis keeps a sorted set as a listpack, until a member comes that is too long, or too many of them. A listpack
// knows no -0.
func (u *Update) putScore(e types.ZSetEdit, member []byte, score float64, isNew bool) error {
	if limits := &u.set.encodings; isNew && !e.Converted() {
		if int64(len(member)) > limits.ZSetBytes.Load() || e.Len() >= limits.ZSetEntries.Load() {
			e.Convert()
		}
	}
	if score == 0 && !e.Converted() {
		score = 0
	}
	_, err := e.Put(member, score)
	return err
}

func zRem(u *Update) error {
	members := u.Args[2:]
	e, err := u.editZSet(u.Args[1], len(members))
	if err == nil {
		err = e.Need(members)
	}
	if err != nil {
		return err
	}
	removed := int64(0)
	missed := false
	for _, member := range members {
		if missed {
			e.Foresee(member, 0)
			continue
		}
		if e.Len() == 0 {
			break
		}
		is, err := e.Remove(member)
		switch {
		case err == storage.ErrMiss:
			missed = true
		case err != nil:
			return err
		case is:
			removed++
		}
	}
	if missed {
		return storage.ErrMiss
	}
	u.W.Int(removed)
	return e.Save()
}

func zCard(q *Query) error { return q.countElements(types.ZSet) }

func zScore(q *Query) error {
	e, err := q.elements(q.Args[1], types.ZSet)
	if err != nil {
		return err
	}
	return q.replyScore(e, q.Args[2])
}

func zMScore(q *Query) error {
	e, err := q.elements(q.Args[1], types.ZSet)
	if err == nil {
		err = e.Need(q.Args[2:])
	}
	if err != nil {
		return err
	}
	q.W.Array(len(q.Args) - 2)
	for _, member := range q.Args[2:] {
		if err := q.replyScore(e, member); err != nil {
			return err
		}
	}
	return nil
}

func (q *Query) replyScore(e *types.Elements, member []byte) error {
	el, found, err := e.Find(member)
	if err != nil {
		return err
	}
	if found {
		q.W.Double(el.Score())
	} else {
		q.W.Null()
	}
	return nil
}

func zRank(q *Query) error { return q.replyRank(false) }

func zRevRank(q *Query) error { return q.replyRank(true) }

// withScore is what 7.2 adds to ZRANK and ZREVRANK.
func withScore(args [][]byte) bool { return len(args) == 4 && is(args[3], "withscore") }

func (q *Query) replyRank(reverse bool) error {
	withScore := len(q.Args) > 3
	z, err := q.ranking(q.Args[1])
	if err != nil {
		return err
	}
	rank, score, found, err := z.Rank(q.Args[2])
	if reverse {
		rank = z.Len() - 1 - rank
	}
	switch {
	case err != nil:
		return err
	case !found && withScore:
		q.W.NullArray()
	case !found:
		q.W.Null()
	case withScore:
		q.W.Array(2)
		q.W.Int(rank)
		q.W.Double(score)
	default:
		q.W.Int(rank)
	}
	return nil
}

func zPopMin(u *Update) error { return u.popScores(false) }

func zPopMax(u *Update) error { return u.popScores(true) }

func (u *Update) popScores(highest bool) error {
	count := int64(1)
	if len(u.Args) > 3 {
		return ErrSyntax
	}
	if len(u.Args) == 3 {
		var ok bool
		if count, ok = resp.ParseInt(u.Args[2]); !ok || count < 0 {
			return ErrNotPositive
		}
	}
	e, err := u.editZSet(u.Args[1], int(min(count, 2)))
	if err != nil {
		return err
	}
	count = min(count, e.Len())
	if count == 0 {
		u.W.Array(0)
		return nil
	}
	return u.popFrom(e, count, highest, scoresReply{pairs: len(u.Args) == 3 && u.W.Proto >= 3})
}

// popFrom removes the lowest or highest members, which there must be, and answers with them.
func (u *Update) popFrom(e types.ZSetEdit, count int64, highest bool, s scoresReply) error {
	i, j := int64(0), count
	if highest {
		i, j = e.Len()-count, e.Len()
	}
	if err := u.replyRanks(&e.Ranking, i, j, highest, s); err != nil {
		return err
	}
	if err := e.RemoveRange(i, j); err != nil {
		return err
	}
	return e.Save()
}

func zMPop(u *Update) error {
	p, err := parseZMPop(u.Args[1:])
	if err != nil {
		return err
	}
	popped, err := u.popScoresOf(&p)
	if err == nil && !popped {
		u.W.NullArray()
	}
	return err
}

// zPop is what ZMPOP and those that wait ask for.
type zPop struct {
	names   [][]byte
	highest bool
	count   int64
}

// parseZMPop reads a number of keys and what follows it.
func parseZMPop(args [][]byte) (p zPop, err error) {
	names, options, err := manyKeys(args)
	if err != nil {
		return p, err
	}
	if len(options) == 0 || !is(options[0], "min") && !is(options[0], "max") {
		return p, ErrSyntax
	}
	p.names, p.highest = names, is(options[0], "max")
	p.count, err = popCount(options[1:])
	return p, err
}

// popScoresOf takes members off the first of the sorted sets that there is, and answers as ZMPOP does.
func (u *Update) popScoresOf(p *zPop) (popped bool, err error) {
	return u.popFirst(p, 2, scoresReply{pairs: true})
}

// popFirst takes members off the first of the sorted sets that there is, and answers with an array of its name and them.
func (u *Update) popFirst(p *zPop, length int, s scoresReply) (popped bool, err error) {
	for _, name := range p.names {
		e, err := u.editZSet(name, int(min(p.count, 2)))
		if err != nil {
			return false, err
		}
		if e.Len() > 0 {
			u.W.Array(length)
			u.W.Bulk(name)
			return true, u.popFrom(e, min(p.count, e.Len()), p.highest, s)
		}
	}
	return false, nil
}

// manyKeys is countedNames for those commands that answer too few arguments with a syntax error.
func manyKeys(args [][]byte) (names, rest [][]byte, err error) {
	n, ok := resp.ParseInt(args[0])
	switch args = args[1:]; {
	case !ok || n < 1:
		return nil, nil, ErrNumKeys
	case n > int64(len(args)):
		return nil, nil, ErrSyntax
	}
	return args[:n], args[n:], nil
}

func zRandMember(q *Query) error {
	s, err := q.parseScoreSample()
	if err != nil {
		return err
	}
	e, err := q.elements(q.Args[1], types.ZSet)
	if err != nil {
		return err
	}
	return q.replyRandom(e, len(q.Args) == 2, s)
}

func zRandMemberView(q *Query, v *storage.View) error {
	s, _ := q.parseScoreSample()
	e, err := q.elementsAt(v, q.Args[1], types.ZSet)
	if err != nil {
		return err
	}
	return q.replySample(e, s)
}

func (q *Query) parseScoreSample() (sample, error) {
	s, err := q.parsePairSample("withscores")
	s.scores = true
	return s, err
}

func zScan(q *Query) error { return q.scanElements(types.ZSet) }

func zScanView(q *Query, v *storage.View) error { return q.scanElementsAt(v, types.ZSet) }
