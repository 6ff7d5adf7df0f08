package commands

import (
	"bytes"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands of sets; those that join several are in setalgebra.go.
func setRows() []*Row {
	return []*Row{
		{
			Name: "sadd", Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Add one or more members to a set",
			Complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
			Write:      sAdd,
		},
		{
			Name: "scard", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Get the number of members in a set",
			Complexity: "O(1)",
			Read:       sCard,
		},
		{
			Name: "sdiff", Arity: -2, Flags: FlagReadonly,
			Keys:       allKeys(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Subtract multiple sets",
			Complexity: "O(N) where N is the total number of elements in all given sets.",
			Read:       sDiff,
			Long:       sDiffView,
		},
		{
			Name: "sdiffstore", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 2, Last: -1, Step: 1}},
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Subtract multiple sets and store the resulting set in a key",
			Complexity: "O(N) where N is the total number of elements in all given sets.",
			Write:      sDiffStore, Derives: true,
		},
		{
			Name: "sinter", Arity: -2, Flags: FlagReadonly,
			Keys:       allKeys(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Intersect multiple sets",
			Complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
			Read:       sInter,
			Long:       sInterView,
		},
		{
			Name: "sintercard", Arity: -3, Flags: FlagReadonly,
			Keys:       []KeySpec{countedKeys(KeyRO|KeyAccess, 1)},
			Categories: CatSet, Group: "set", Since: "7.0.0",
			Summary:    "Intersect multiple sets and return the cardinality of the result",
			Complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
			Read:       sInterCard,
			Long:       sInterCardView,
		},
		{
			Name: "sinterstore", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRW | KeyUpdate, First: 1, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 2, Last: -1, Step: 1}},
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Intersect multiple sets and store the resulting set in a key",
			Complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
			Write:      sInterStore, Derives: true,
		},
		{
			Name: "sismember", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Determine if a given value is a member of a set",
			Complexity: "O(1)",
			Read:       sIsMember,
		},
		{
			Name: "smembers", Arity: 2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Get all the members in a set",
			Complexity: "O(N) where N is the set cardinality.",
			Read:       sMembers,
			Long:       sMembersView,
		},
		{
			Name: "smismember", Arity: -3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "6.2.0",
			Summary:    "Returns the membership associated with the given elements for a set",
			Complexity: "O(N) where N is the number of elements being checked for membership",
			Read:       sMIsMember,
		},
		{
			Name: "smove", Arity: 4, Flags: FlagWrite | FlagFast,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyRW | KeyInsert, First: 2, Last: 0, Step: 1}},
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Move a member from one set to another",
			Complexity: "O(1)",
			Write:      sMove,
		},
		{
			Name: "spop", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Remove and return one or multiple random members from a set",
			Complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
			Write:      sPop,
		},
		{
			Name: "srandmember", Arity: -2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Get one or multiple random members from a set",
			Complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
			Read:       sRandMember,
			Long:       sRandMemberView,
		},
		{
			Name: "srem", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Remove one or more members from a set",
			Complexity: "O(N) where N is the number of members to be removed.",
			Write:      sRem,
		},
		{
			Name: "sscan", Arity: -3, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "2.8.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Incrementally iterate Set elements",
			Complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..",
			Read:       sScan,
			Long:       sScanView,
		},
		{
			Name: "sunion", Arity: -2, Flags: FlagReadonly,
			Keys:       allKeys(KeyRO | KeyAccess),
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Add multiple sets",
			Complexity: "O(N) where N is the total number of elements in all given sets.",
			Read:       sUnion,
			Long:       sUnionView,
		},
		{
			Name: "sunionstore", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 2, Last: -1, Step: 1}},
			Categories: CatSet, Group: "set", Since: "1.0.0",
			Summary:    "Add multiple sets and store the resulting set in a key",
			Complexity: "O(N) where N is the total number of elements in all given sets.",
			Write:      sUnionStore, Derives: true,
		},
	}
}

func sAdd(u *Update) error {
	e, err := u.edit(u.Args[1], types.Set)
	if err == nil {
		err = e.Need(u.Args[2:])
	}
	if err != nil {
		return err
	}
	added := int64(0)
	for _, member := range u.Args[2:] {
		is, err := u.addMember(e, member)
		if err != nil {
			return err
		}
		if is {
			added++
		}
	}
	e.Save()
	u.W.Int(added)
	return nil
}

// addMember adds a member. Redis keeps a set of few integers as an intset, until one comes that is none, or too many.
func (u *Update) addMember(e *types.Edit, member []byte) (added bool, err error) {
	if added, err = e.Put(member, nil); !added || err != nil {
		return added, err
	}
	if !e.Converted() {
		if _, isInt := resp.ParseInt(member); !isInt || e.Len() > u.set.encodings.SetIntsetEntries.Load() {
			e.Convert()
		}
	}
	return true, nil
}

func sRem(u *Update) error {
	e, err := u.edit(u.Args[1], types.Set)
	if err != nil {
		return err
	}
	return u.removeElements(e)
}

// removeElements is SREM and HDEL.
func (u *Update) removeElements(e *types.Edit) error {
	if err := e.Need(u.Args[2:]); err != nil {
		return err
	}
	removed := int64(0)
	for _, name := range u.Args[2:] {
		if e.Len() == 0 {
			break
		}
		is, err := e.Remove(name)
		if err != nil {
			return err
		}
		if is {
			removed++
		}
	}
	e.Save()
	u.W.Int(removed)
	return nil
}

func sCard(q *Query) error { return q.countElements(types.Set) }

func (q *Query) countElements(of types.Type) error {
	e, err := q.elements(q.Args[1], of)
	if err == nil {
		q.W.Int(e.Len())
	}
	return err
}

func sIsMember(q *Query) error { return q.hasElement(types.Set) }

func (q *Query) hasElement(of types.Type) error {
	e, err := q.elements(q.Args[1], of)
	if err != nil {
		return err
	}
	_, found, err := e.Find(q.Args[2])
	if err == nil {
		q.W.Int(int64(oneIf(found)))
	}
	return err
}

func sMIsMember(q *Query) error {
	e, err := q.elements(q.Args[1], types.Set)
	if err == nil {
		err = e.Need(q.Args[2:])
	}
	if err != nil {
		return err
	}
	q.W.Array(len(q.Args) - 2)
	for _, member := range q.Args[2:] {
		_, found, err := e.Find(member)
		if err != nil {
			return err
		}
		q.W.Int(int64(oneIf(found)))
	}
	return nil
}

func sMembers(q *Query) error {
	e, err := q.elements(q.Args[1], types.Set)
	if err != nil || !q.someAtOnce(e, e.Len()) {
		return err
	}
	q.replied = true
	return q.replyMembers(e)
}

func sMembersView(q *Query, v *storage.View) error {
	e, err := q.elementsAt(v, q.Args[1], types.Set)
	if err != nil {
		return err
	}
	return q.replyMembers(e)
}

func (q *Query) replyMembers(e *types.Elements) error {
	q.W.Set(int(e.Len()))
	return e.Each(func(el *types.Element) error { return q.bulkName(e, el) })
}

func sPop(u *Update) error {
	if len(u.Args) > 3 {
		return ErrSyntax
	}
	count := int64(1)
	if len(u.Args) == 3 {
		var ok bool
		if count, ok = resp.ParseInt(u.Args[2]); !ok || count < 0 {
			return ErrNotPositive
		}
	}
	e, err := u.edit(u.Args[1], types.Set)
	switch {
	case err != nil:
		return err
	case len(u.Args) == 2:
		err = u.popMember(e)
	case count >= e.Len():
		if err = u.replyMembers(&e.Elements); err == nil && e.Len() > 0 {
			u.ledger.Remove(&u.record)
		}
		return err
	case e.Len()-count <= count/keepShare:
		err = u.popMost(e, count)
	default:
		err = u.popSome(e, count)
	}
	if err == nil {
		e.Save()
	}
	return err
}

func (u *Update) popMember(e *types.Edit) error {
	if e.Len() == 0 {
		u.W.Null()
		return nil
	}
	el, err := e.Random(u.Random, 1)
	if err != nil {
		return err
	}
	name, err := e.Name(&el)
	if err != nil {
		return err
	}
	u.value = append(u.value[:0], name...) // Remove moves what it points to
	u.W.Bulk(u.value)
	_, err = e.Remove(u.value)
	return err
}

func (u *Update) popSome(e *types.Edit, count int64) error {
	members, err := u.sampleMembers(e, count)
	if err == nil {
		err = e.Need(members)
	}
	if err != nil {
		return err
	}
	u.W.Set(int(count))
	for _, member := range members {
		u.W.Bulk(member)
		if _, err := e.Remove(member); err != nil {
			return err
		}
	}
	return nil
}

func (u *Update) sampleMembers(e *types.Edit, count int64) (members [][]byte, err error) {
	err = u.takeSample(&e.Elements, e.Len(), count, func(el *types.Element) error {
		name, err := e.Name(el)
		members = append(members, bytes.Clone(name))
		return err
	})
	return members, err
}

// keepShare: if fewer than one of so many stay, Redis makes a new set of them, whose encoding is then that of a new one.
const keepShare = 5

func (u *Update) popMost(e *types.Edit, count int64) error {
	stay, err := u.sampleMembers(e, e.Len()-count)
	if err != nil {
		return err
	}
	stays := make(map[string]struct{}, len(stay))
	for _, member := range stay {
		stays[string(member)] = struct{}{}
	}
	u.W.Set(int(count))
	err = e.Each(func(el *types.Element) error {
		name, err := e.Name(el)
		if _, stays := stays[string(name)]; !stays && err == nil {
			u.W.Bulk(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	e.Clear()
	for _, member := range stay {
		if _, err := u.addMember(e, member); err != nil {
			return err
		}
	}
	return nil
}

func sRandMember(q *Query) error {
	s, err := parseSetSample(q.Args)
	if err != nil {
		return err
	}
	e, err := q.elements(q.Args[1], types.Set)
	if err != nil {
		return err
	}
	return q.replyRandom(e, len(q.Args) == 2, s)
}

func sRandMemberView(q *Query, v *storage.View) error {
	s, _ := parseSetSample(q.Args)
	e, err := q.elementsAt(v, q.Args[1], types.Set)
	if err != nil {
		return err
	}
	return q.replySample(e, s)
}

func parseSetSample(args [][]byte) (s sample, err error) {
	switch {
	case len(args) > 3:
		err = ErrSyntax
	case len(args) == 3:
		s.count, err = sampleCount(args[2])
	}
	return s, err
}

// replyRandom is the first half of SRANDMEMBER and HRANDFIELD.
func (q *Query) replyRandom(e *types.Elements, one bool, s sample) error {
	if e.Ending() && !q.someAtOnce(e, e.Len()) {
		return nil // those that are not past their time may be few: all are looked at
	}
	q.replied = true
	switch {
	case one:
		return q.replyOne(e)
	case e.Len() == 0 || s.count == 0:
		q.W.Array(0)
		return nil
	}
	return q.sampleAtOnce(e, s)
}

// replyOne replies with one of the elements, or null.
func (q *Query) replyOne(e *types.Elements) error {
	if e.Len() == 0 {
		q.W.Null()
		return nil
	}
	defer e.ForgetLive()
	el, found, err := e.RandomLive(q.Random, 1)
	switch {
	case err != nil:
		return err
	case !found:
		q.W.Null()
		return nil
	}
	return q.bulkName(e, &el)
}

func sMove(u *Update) error {
	from, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	to, err := u.openBeside(u.Args[2])
	switch {
	case err != nil:
		return err
	case !from.Exists:
		u.W.Int(0)
		return nil
	case from.Type != types.Set || to.Exists && to.Type != types.Set:
		return ErrWrongType
	}
	member := u.Args[3]
	if string(from.Key) == string(to.Key) {
		e, err := u.ledger.EditElements(&from, types.Set)
		if err != nil {
			return err
		}
		_, found, err := e.Find(member)
		u.W.Int(int64(oneIf(found)))
		return err
	}
	e, err := u.ledger.EditElements(&from, types.Set)
	if err != nil {
		return err
	}
	removed, err := e.Remove(member)
	if err != nil || !removed {
		u.W.Int(0)
		return err
	}
	e.Save()
	if e, err = u.ledger.EditElements(&to, types.Set); err != nil {
		return err
	}
	if _, err = u.addMember(e, member); err != nil {
		return err
	}
	e.Save()
	u.W.Int(1)
	return nil
}

func sScan(q *Query) error { return q.scanElements(types.Set) }

func sScanView(q *Query, v *storage.View) error { return q.scanElementsAt(v, types.Set) }
