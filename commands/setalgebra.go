package commands

import (
	"slices"

	"sett/storage"
	"sett/types"
)

// What several sets have in common, together, or the first alone.

// sets are the operands of SINTER, SUNION and SDIFF, in the order of the arguments.
type sets []types.Elements

func (q *Query) sets(names [][]byte) (s sets, err error) {
	// Redis looks at all keys before it knows that the result is empty: one of another type is an error wherever it stands.
	for _, name := range names {
		e, err := q.elements(name, types.Set)
		if err != nil {
			return nil, err
		}
		s = append(s, e)
	}
	return s, nil
}

func (q *Query) setsAt(v *storage.View, names [][]byte) (s sets, err error) {
	for _, name := range names {
		e, err := q.elementsAt(v, name, types.Set)
		if err != nil {
			return nil, err
		}
		s = append(s, e)
	}
	return s, nil
}

// len is the number of members of all of them.
func (s sets) len() (n int64) {
	for i := range s {
		n += s[i].Len()
	}
	return n
}

// inter calls f for the members that all have. The smallest is walked.
func (s sets) inter(f func(member []byte) error) error {
	s = slices.Clone(s)
	slices.SortStableFunc(s, func(a, b types.Elements) int { return int(min(max(a.Len()-b.Len(), -1), 1)) })
	smallest, others := &s[0], s[1:]
	if smallest.Len() == 0 {
		return nil
	}
	if err := s.needOthers(smallest, others); err != nil {
		return err
	}
	return smallest.Each(func(el *types.Element) error {
		member, err := smallest.Name(el)
		if err != nil {
			return err
		}
		for i := range others {
			if _, found, err := others[i].Find(member); !found || err != nil {
				return err
			}
		}
		return f(member)
	})
}

// needOthers asks, within a round, for all that will be looked up in others.
func (s sets) needOthers(walked *types.Elements, others sets) error {
	if len(others) == 0 {
		return nil
	}
	var names [][]byte
	err := walked.Each(func(el *types.Element) error {
		name, err := walked.Name(el)
		names = append(names, slices.Clone(name))
		return err
	})
	for i := range others {
		if err == nil {
			err = others[i].Need(names)
		}
	}
	return err
}

// diff calls f for the members that only the first has.
func (s sets) diff(f func(member []byte) error) error {
	first, others := &s[0], s[1:]
	if first.Len() == 0 {
		return nil
	}
	if err := s.needOthers(first, others); err != nil {
		return err
	}
	return first.Each(func(el *types.Element) error {
		member, err := first.Name(el)
		if err != nil {
			return err
		}
		for i := range others {
			if _, found, err := others[i].Find(member); found || err != nil {
				return err
			}
		}
		return f(member)
	})
}

// union calls f for the members of all of them, once each.
func (s sets) union(f func(member []byte) error) error {
	seen := make(map[string]struct{}, s.len())
	for i := range s {
		err := s[i].Each(func(el *types.Element) error {
			member, err := s[i].Name(el)
			if err != nil {
				return err
			}
			if _, again := seen[string(member)]; again {
				return nil
			}
			seen[string(member)] = struct{}{}
			return f(member)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// combine is what a command does with sets.
type combine func(s sets, f func(member []byte) error) error

func sInter(q *Query) error { return q.combineSets(sets.inter) }

func sUnion(q *Query) error { return q.combineSets(sets.union) }

func sDiff(q *Query) error { return q.combineSets(sets.diff) }

func (q *Query) combineSets(how combine) error {
	s, err := q.sets(q.Args[1:])
	if err != nil || !q.atOnce(s.len()) {
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

func (q *Query) replyCombined(s sets, how combine) error {
	mark, n := q.W.Len(), 0
	err := how(s, func(member []byte) error {
		q.W.Bulk(member)
		n++
		return nil
	})
	if err == nil {
		q.W.SetAt(mark, n)
	}
	return err
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
	if err != nil || !q.atOnce(s.len()) {
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

// errEnough ends a walk.
const errEnough = Error("enough")

func (q *Query) replyInterCard(s sets, limit int64) error {
	n := int64(0)
	err := s.inter(func([]byte) error {
		if n++; n == limit {
			return errEnough
		}
		return nil
	})
	if err == nil || err == errEnough {
		q.W.Int(n)
		return nil
	}
	return err
}

func sInterStore(u *Update) error { return u.storeCombined(sets.inter) }

func sUnionStore(u *Update) error { return u.storeCombined(sets.union) }

func sDiffStore(u *Update) error { return u.storeCombined(sets.diff) }

// storeCombined makes the result the value of the first key, whatever that was; an empty one is no key.
func (u *Update) storeCombined(how combine) error {
	s, err := u.sets(u.Args[2:])
	if err != nil {
		return err
	}
	var members [][]byte
	err = how(s, func(member []byte) error {
		members = append(members, slices.Clone(member))
		return nil
	})
	if err != nil {
		return err
	}
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if r.Exists {
		u.ledger.Remove(&r)
	}
	e, err := u.ledger.EditElements(&r, types.Set)
	if err != nil {
		return err
	}
	for _, member := range members {
		if _, err := u.addMember(e, member); err != nil {
			return err
		}
	}
	e.Save()
	u.W.Int(e.Len())
	return nil
}
