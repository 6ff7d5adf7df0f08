package commands

import (
	"cmp"
	"slices"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// What several sets have in common, together, or the first alone.

// sets are the operands of SINTER, SUNION and SDIFF, in the order of the arguments.
type sets []types.Elements

func (q *Query) sets(names [][]byte) (sets, error) {
	// Redis looks at all keys before it knows that the result is empty: one of another type is an error wherever it stands.
	s := make(sets, len(names))
	for i, name := range names {
		if err := q.lookUpElements(&s[i], name, types.Set); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (q *Query) setsAt(v *storage.View, names [][]byte) (sets, error) {
	s := make(sets, len(names))
	for i, name := range names {
		if err := q.viewElements(&s[i], v, name, types.Set); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// inter calls f for the members that all have. The smallest is walked.
func (s sets) inter(f func(member []byte) error) error {
	s = slices.Clone(s)
	slices.SortStableFunc(s, func(a, b types.Elements) int { return cmp.Compare(a.Len(), b.Len()) })
	return s.filter(true, f)
}

// diff calls f for the members that only the first has.
func (s sets) diff(f func(member []byte) error) error { return s.filter(false, f) }

// filter calls f for those members of the first that all others have, or that none of them has.
func (s sets) filter(have bool, f func(member []byte) error) error {
	first, others := &s[0], s[1:]
	if first.Len() == 0 {
		return nil
	}
	if err := s.elements().needOthers(); err != nil {
		return err
	}
	return first.Each(func(el *types.Element) error {
		member, err := first.Name(el)
		if err != nil {
			return err
		}
		for i := range others {
			if _, found, err := others[i].Find(member); found != have || err != nil {
				return err
			}
		}
		return f(member)
	})
}

func (s sets) elements() combined {
	c := make(combined, len(s))
	for i := range s {
		c[i] = &s[i]
	}
	return c
}

// combined are the elements of the sets or sorted sets that a command combines.
type combined []*types.Elements

// few is Query.atOnce for the members of all of them.
func (c combined) few(q *Query) bool {
	members, bytes := int64(0), int64(0)
	for _, e := range c {
		members += e.Len()
		bytes += e.Bytes()
	}
	return q.txn != nil || q.atOnce(members) && bytes <= scanInlineBytes
}

// needOthers asks, within a round, for all that will be looked up in the others while the first is walked.
func (c combined) needOthers() error {
	if !slices.ContainsFunc(c[1:], (*types.Elements).Asks) {
		return nil
	}
	var names [][]byte
	err := c[0].Each(func(el *types.Element) error {
		name, err := c[0].Name(el)
		names = append(names, slices.Clone(name))
		return err
	})
	if err != nil {
		return err
	}
	return c[1:].each(func(e *types.Elements) error { return e.Need(names) })
}

// each calls ask for each of them, so that all that they miss is fetched in one round.
func (c combined) each(ask func(e *types.Elements) error) (missed error) {
	for _, e := range c {
		if err := ask(e); err == storage.ErrMiss {
			missed = err
		} else if err != nil {
			return err
		}
	}
	return missed
}

// all calls f for the members of all of them.
func (s sets) all(f func(member []byte) error) error {
	if err := s.elements().each((*types.Elements).NeedAll); err != nil {
		return err
	}
	for i := range s {
		err := s[i].Each(func(el *types.Element) error {
			member, err := s[i].Name(el)
			if err != nil {
				return err
			}
			return f(member)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// union is all, but once for each member.
func (s sets) union(f func(member []byte) error) error {
	seen := make(map[string]struct{})
	return s.all(func(member []byte) error {
		if _, again := seen[string(member)]; again {
			return nil
		}
		seen[string(member)] = struct{}{}
		return f(member)
	})
}

// combine is what a command does with sets.
type combine func(s sets, f func(member []byte) error) error

func sInter(q *Query) error { return q.combineSets(sets.inter) }

func sUnion(q *Query) error { return q.combineSets(sets.union) }

func sDiff(q *Query) error { return q.combineSets(sets.diff) }

func (q *Query) combineSets(how combine) error {
	s, err := q.sets(q.Args[1:])
	if err != nil || !s.elements().few(q) {
		return err
	}
	q.replied = true
	return q.replyCombined(s, how)
}

func sInterView(q *Query, v *storage.View) error { return q.combineAt(v, sets.inter) }

func sUnionView(q *Query, v *storage.View) error { return q.combineAt(v, sets.union) }

func sDiffView(q *Query, v *storage.View) error { return q.combineAt(v, sets.diff) }

func (q *Query) combineAt(v *storage.View, how combine) error {
	s, err := q.setsAt(v, q.Args[1:])
	if err != nil {
		return err
	}
	return q.replyCombined(s, how)
}

// replyCombined answers with the result, in the order of numbers if Redis would make an intset of it.
func (q *Query) replyCombined(s sets, how combine) error {
	mark, n := q.W.Len(), 0
	var numbers []int64
	err := how(s, func(member []byte) error {
		q.W.Bulk(member)
		if number, isInt := resp.ParseInt(member); isInt && len(numbers) == n && int64(n) < q.set.encodings.SetIntsetEntries.Load() {
			numbers = append(numbers, number)
		}
		n++
		return nil
	})
	if err != nil {
		return err
	}
	if len(numbers) == n {
		slices.Sort(numbers)
		q.W.Truncate(mark)
		for _, number := range numbers {
			q.W.BulkInt(number)
		}
	}
	q.W.SetAt(mark, n)
	return nil
}

// interCard is what SINTERCARD asks for.
type interCard struct {
	names [][]byte
	limit int64 // 0: none
}

func parseInterCard(args [][]byte) (c interCard, err error) {
	if c.names, args, err = countedNames(args); err != nil {
		return c, err
	}
	for ; len(args) > 0; args = args[2:] {
		if !is(args[0], "limit") || len(args) == 1 {
			return c, ErrSyntax
		}
		if c.limit, err = intArg(args[1]); err != nil || c.limit < 0 {
			return c, ErrLimit
		}
	}
	return c, nil
}

// countedNames splits off a number of keys and the keys.
func countedNames(args [][]byte) (names, rest [][]byte, err error) {
	n, err := intArg(args[0])
	switch args = args[1:]; {
	case err != nil || n < 1:
		return nil, nil, ErrNumKeys
	case n > int64(len(args)):
		return nil, nil, ErrTooManyKeys
	}
	return args[:n], args[n:], nil
}

func sInterCard(q *Query) error {
	c, err := parseInterCard(q.Args[1:])
	if err != nil {
		return err
	}
	s, err := q.sets(c.names)
	if err != nil || !s.elements().few(q) {
		return err
	}
	q.replied = true
	return q.replyInterCard(s, c.limit)
}

func sInterCardView(q *Query, v *storage.View) error {
	c, _ := parseInterCard(q.Args[1:])
	s, err := q.setsAt(v, c.names)
	if err != nil {
		return err
	}
	return q.replyInterCard(s, c.limit)
}

func (q *Query) replyInterCard(s sets, limit int64) error {
	return q.replyCount(limit, func(count func() error) error {
		return s.inter(func([]byte) error { return count() })
	})
}

// replyCount answers with how often walk calls count, up to a limit (0: none), which ends the walk.
func (q *Query) replyCount(limit int64, walk func(count func() error) error) error {
	const enough = Error("enough")
	n := int64(0)
	err := walk(func() error {
		if n++; n == limit {
			return enough
		}
		return nil
	})
	if err == nil || err == enough {
		q.W.Int(n)
		return nil
	}
	return err
}

func sInterStore(u *Update) error { return u.storeCombined(sets.inter, smallestOf, nil) }

func sUnionStore(u *Update) error { return u.storeCombined(sets.all, allOf, nil) }

func sDiffStore(u *Update) error { return u.storeCombined(sets.diff, firstOf, u.set.diffConverts) }

// diffConverts tells whether Redis gives up the intset of a difference on the way to it: if subtracting costs less than looking up, it begins with
// all members of the first.
func (d *DataSet) diffConverts(s sets) (converts bool, err error) {
	first, lookups, members := s[0].Len(), int64(0), int64(0)
	for i := range s {
		if s[i].Len() > 0 {
			lookups += first
			members += s[i].Len()
		}
	}
	if lookups/2 <= members {
		return false, nil
	}
	if first > d.encodings.SetIntsetEntries.Load() || !s[0].Converted() {
		return first > d.encodings.SetIntsetEntries.Load(), nil
	}
	err = s[0].Each(func(el *types.Element) error {
		name, err := s[0].Name(el)
		if _, isInt := resp.ParseInt(name); !isInt {
			converts = true
		}
		return err
	})
	return converts, err
}

// storeCombined makes the result the value of the first key, whatever that was; an empty one is no key. walked tells which of the sources
// are walked.
func (u *Update) storeCombined(how combine, walked func([]types.Record) []types.Record, converts func(sets) (bool, error)) error {
	sources, err := u.sources(u.Args[2:], types.Set)
	if err != nil {
		return err
	}
	st := storing{name: u.Args[1], of: types.Set, sources: sources, draw: func(o *operands, r *result) error {
		s, err := o.sets()
		if err == nil && converts != nil {
			r.converted, err = converts(s)
		}
		if err != nil {
			return err
		}
		r.places = make(map[string]int)
		return how(s, func(member []byte) error { return r.add(member, 0) })
	}}
	st.takes(walked(sources)...)
	return u.store(&st)
}

func (o *operands) sets() (sets, error) {
	s := make(sets, len(o.sources))
	for i := range s {
		if err := o.open(&s[i], i, types.Set); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Which of some sources a result is made from by walking them: all, the first, or the smallest.
func allOf(sources []types.Record) []types.Record { return sources }

func firstOf(sources []types.Record) []types.Record { return sources[:1] }

func smallestOf(sources []types.Record) []types.Record {
	i := 0
	for j := range sources {
		if sources[j].Count() < sources[i].Count() {
			i = j
		}
	}
	return sources[i : i+1]
}
