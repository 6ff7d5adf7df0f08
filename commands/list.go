package commands

import (
	"bytes"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands of lists.
func listRows() []*Row {
	return []*Row{
		{
			Name: "lindex", Arity: 3, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Get an element from a list by its index",
			Complexity: "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or the last element of the list O(1).",
			Read:       lIndex,
		},
		{
			Name: "linsert", Arity: 5, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatList, Group: "list", Since: "2.2.0",
			Summary:    "Insert an element before or after another element in a list",
			Complexity: "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).",
			Write:      lInsert, Derives: true,
		},
		{
			Name: "llen", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Get the length of a list",
			Complexity: "O(1)",
			Read:       lLen,
		},
		{
			Name: "lmove", Arity: 5, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyRW | KeyInsert, First: 2, Last: 0, Step: 1}},
			Categories: CatList, Group: "list", Since: "6.2.0",
			Summary:    "Pop an element from a list, push it to another list and return it",
			Complexity: "O(1)",
			Write:      lMove,
		},
		{
			Name: "lmpop", Arity: -4, Flags: FlagWrite,
			Keys:       []KeySpec{countedKeys(KeyRW|KeyAccess|KeyDelete, 1)},
			Categories: CatList, Group: "list", Since: "7.0.0",
			Summary:    "Pop elements from a list",
			Complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
			Write:      lMPop,
		},
		{
			Name: "lpop", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Remove and get the first elements in a list",
			Complexity: "O(N) where N is the number of elements returned",
			Write:      lPop,
		},
		{
			Name: "lpos", Arity: -3, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatList, Group: "list", Since: "6.0.6",
			Summary:    "Return the index of matching elements on a list",
			Complexity: "O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.",
			Read:       lPos,
			Long:       lPosView,
		},
		{
			Name: "lpush", Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Prepend one or multiple elements to a list",
			Complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
			Write:      lPush,
		},
		{
			Name: "lpushx", Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatList, Group: "list", Since: "2.2.0",
			Summary:    "Prepend an element to a list, only if the list exists",
			Complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
			Write:      lPushX,
		},
		{
			Name: "lrange", Arity: 4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Get a range of elements from a list",
			Complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.",
			Read:       lRange,
			Long:       lRangeView,
		},
		{
			Name: "lrem", Arity: 4, Flags: FlagWrite,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Remove elements from a list",
			Complexity: "O(N+M) where N is the length of the list and M is the number of elements removed.",
			Write:      lRem, Derives: true,
		},
		{
			Name: "lset", Arity: 4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Set the value of an element in a list by its index",
			Complexity: "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).",
			Write:      lSet,
		},
		{
			Name: "ltrim", Arity: 4, Flags: FlagWrite,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Trim a list to the specified range",
			Complexity: "O(N) where N is the number of elements to be removed by the operation.",
			Write:      lTrim,
		},
		{
			Name: "rpop", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Remove and get the last elements in a list",
			Complexity: "O(N) where N is the number of elements returned",
			Write:      rPop,
		},
		{
			Name: "rpoplpush", Arity: 3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyRW | KeyInsert, First: 2, Last: 0, Step: 1}},
			Categories: CatList, Group: "list", Since: "1.2.0",
			Summary:    "Remove the last element in a list, prepend it to another list and return it",
			Complexity: "O(1)",
			Deprecated: "6.2.0", ReplacedBy: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
			Write: rPopLPush,
		},
		{
			Name: "rpush", Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatList, Group: "list", Since: "1.0.0",
			Summary:    "Append one or multiple elements to a list",
			Complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
			Write:      rPush,
		},
		{
			Name: "rpushx", Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatList, Group: "list", Since: "2.2.0",
			Summary:    "Append an element to a list, only if the list exists",
			Complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
			Write:      rPushX,
		},
	}
}

// listState is what the first half of LRANGE and LPOS leaves to the second.
type listState struct {
	from, to int64 // of LRANGE
	find     positions
}

// list opens a list to be read; a key that is not there has no elements.
func (q *Query) list(name []byte) (*types.ListValue, error) {
	m, err := q.lookupOf(name, types.List)
	if err != nil {
		return nil, err
	}
	return q.openList(&m)
}

func (q *Query) openList(m *types.Meta) (*types.ListValue, error) {
	if q.elementsOf == nil {
		q.elementsOf = new(types.ListValue)
	}
	return q.elementsOf, q.elementsOf.Open(m)
}

// listAt is list for the second half of a row: as the view shows it that was taken then.
func (q *Query) listAt(v *storage.View, name []byte) (*types.ListValue, error) {
	m, err := q.metaAt(v, name)
	if err != nil {
		return nil, err
	}
	return q.openList(&m)
}

// editList opens a list in order to change it. Only one is open at a time.
func (u *Update) editList(name []byte) (*types.ListValue, error) {
	r, err := u.openOf(name, types.List)
	if err != nil {
		return nil, err
	}
	u.record = r
	if u.elementsOf == nil {
		u.elementsOf = new(types.ListValue)
	}
	return u.elementsOf, u.elementsOf.Edit(&u.record)
}

func lPush(u *Update) error  { return u.push(true, false) }
func rPush(u *Update) error  { return u.push(false, false) }
func lPushX(u *Update) error { return u.push(true, true) }
func rPushX(u *Update) error { return u.push(false, true) }

func (u *Update) push(left, onlyIfThere bool) error {
	s, err := u.editList(u.Args[1])
	if err != nil {
		return err
	}
	if onlyIfThere && s.Len() == 0 {
		u.W.Int(0)
		return nil
	}
	if err := s.Push(&u.ledger, u.Args[2:], left); err != nil {
		return err
	}
	s.Save(&u.ledger)
	u.W.Int(s.Len())
	return nil
}

func lPop(u *Update) error { return u.pop(true) }
func rPop(u *Update) error { return u.pop(false) }

func (u *Update) pop(left bool) error {
	count := int64(-1)
	switch {
	case len(u.Args) > 3:
		return ErrArity(oneOf(left, "lpop", "rpop"))
	case len(u.Args) == 3:
		var err error
		if count, err = positiveArg(u.Args[2], ErrNotPositive); err != nil {
			return err
		}
	}
	s, err := u.editList(u.Args[1])
	switch {
	case err != nil:
		return err
	case s.Len() == 0 && count < 0:
		u.W.Null()
		return nil
	case s.Len() == 0:
		u.W.NullArray()
		return nil
	case count == 0:
		u.W.Array(0)
		return nil
	case count < 0:
		count = 1
	default:
		u.W.Array(int(min(count, s.Len())))
	}
	return u.take(s, left, count)
}

// take writes the elements at an end as bulk strings, and removes them.
func (u *Update) take(s *types.ListValue, left bool, count int64) error {
	count = min(count, s.Len())
	from := int64(0)
	if !left {
		from = s.Len() - count
	}
	var err error
	if left || count == 1 {
		err = u.replyElements(s, from, from+count)
	} else {
		err = u.replyBackward(s, from, from+count)
	}
	if err == nil {
		err = s.Pop(&u.ledger, from, from+count)
	}
	switch err {
	case nil:
		s.Save(&u.ledger)
	case storage.ErrMiss:
		s.ReadAhead(&u.ledger, left)
	}
	return err
}

// replyElements writes the elements [i, j) as bulk strings.
func (q *Query) replyElements(s *types.ListValue, i, j int64) error {
	s.MoveTo(i)
	for ; i < j; i++ {
		_, err := s.Next(q.data)
		var value []byte
		if err == nil {
			value, err = s.Value(q.data)
		}
		if err != nil {
			return s.Fetch(q.data, err, i, j)
		}
		q.W.Bulk(value)
	}
	return nil
}

// replyBackward is replyElements from the last one on.
func (q *Query) replyBackward(s *types.ListValue, i, j int64) error {
	s.MoveTo(j)
	for ; i < j; j-- {
		_, err := s.Prev(q.data)
		var value []byte
		if err == nil {
			value, err = s.Value(q.data)
		}
		if err != nil {
			return s.Fetch(q.data, err, i, j)
		}
		q.W.Bulk(value)
	}
	return nil
}

func lLen(q *Query) error {
	m, err := q.lookupOf(q.Args[1], types.List)
	if err != nil {
		return err
	}
	q.W.Int(m.Count())
	return nil
}

// place is that of the element with an index, which may count from the end; ok is false if there is none.
func place(s *types.ListValue, index int64) (i int64, ok bool) {
	if index < 0 {
		index += s.Len()
	}
	return index, index >= 0 && index < s.Len()
}

func lIndex(q *Query) error {
	s, err := q.list(q.Args[1])
	if err != nil {
		return err
	}
	if s.Len() == 0 {
		q.W.Null()
		return nil
	}
	index, err := intArg(q.Args[2])
	if err != nil {
		return err
	}
	if i, ok := place(s, index); ok {
		return q.replyElements(s, i, i+1)
	}
	q.W.Null()
	return nil
}

func lSet(u *Update) error {
	s, err := u.editList(u.Args[1])
	if err != nil {
		return err
	}
	if s.Len() == 0 {
		return ErrNoSuchKey
	}
	index, err := intArg(u.Args[2])
	if err != nil {
		return err
	}
	i, ok := place(s, index)
	if !ok {
		return ErrIndexRange
	}
	if err := s.Splice(&u.ledger, i, i+1, u.Args[3]); err != nil {
		return err
	}
	s.Save(&u.ledger)
	u.W.Status("OK")
	return nil
}

// rangeArgs reads the indices of LRANGE and LTRIM.
func rangeArgs(args [][]byte) (start, end int64, err error) {
	if start, err = intArg(args[2]); err == nil {
		end, err = intArg(args[3])
	}
	return start, end, err
}

// span is the range [i, j) of places that two indices mean.
func span(length, start, end int64) (i, j int64) {
	if start < 0 {
		start = max(0, start+length)
	}
	if end < 0 {
		end += length
	}
	j = max(min(end, length-1)+1, 0)
	return min(start, j), j
}

func lRange(q *Query) error {
	start, end, err := rangeArgs(q.Args)
	if err != nil {
		return err
	}
	s, err := q.list(q.Args[1])
	if err != nil {
		return err
	}
	i, j := span(s.Len(), start, end)
	if !q.atOnce(j-i) || q.txn == nil && (j-i)*(s.Bytes()/max(1, s.Len())) > streamBytes {
		q.listState = listState{from: i, to: j}
		return nil
	}
	q.replied = true
	q.W.Array(int(max(0, j-i)))
	return q.replyElements(s, i, j)
}

// lRangeView is LRANGE of many elements.
func lRangeView(q *Query, v *storage.View) error {
	s, err := q.listAt(v, q.Args[1])
	if err != nil {
		return err
	}
	i, j := q.listState.from, q.listState.to
	q.W.Array(int(j - i))
	for s.MoveTo(i); i < j; i++ {
		_, err := s.Next(v)
		var value []byte
		if err == nil {
			value, err = s.Value(v)
		}
		if err != nil {
			return err
		}
		q.W.Bulk(value)
	}
	return nil
}

func lTrim(u *Update) error {
	start, end, err := rangeArgs(u.Args)
	if err != nil {
		return err
	}
	s, err := u.editList(u.Args[1])
	if err != nil {
		return err
	}
	if s.Len() > 0 {
		i, j := span(s.Len(), start, end)
		if err := s.Keep(&u.ledger, i, j); err != nil {
			return err
		}
		s.Save(&u.ledger)
	}
	u.W.Status("OK")
	return nil
}

func lInsert(u *Update) error {
	behind := is(u.Args[2], "after")
	if !behind && !is(u.Args[2], "before") {
		return ErrSyntax
	}
	s, err := u.editList(u.Args[1])
	if err != nil {
		return err
	}
	if s.Len() == 0 {
		u.W.Int(0)
		return nil
	}
	places, err := u.search(s, &listSearch{value: u.Args[3], limit: 1})
	if err != nil {
		return err
	}
	if len(places) == 0 {
		u.W.Int(-1)
		return nil
	}
	i := places[0]
	if behind {
		i++
	}
	if err := s.Splice(&u.ledger, i, i, u.Args[4]); err != nil {
		return err
	}
	s.Save(&u.ledger)
	u.W.Int(s.Len())
	return nil
}

func lRem(u *Update) error {
	count, err := intArg(u.Args[2])
	if err != nil {
		return err
	}
	limit := max(count, -count)
	if limit <= 0 { // all, also if there is no number -count: C's is below 0, and never reached
		limit = -1
	}
	s, err := u.editList(u.Args[1])
	if err != nil {
		return err
	}
	places, err := u.search(s, &listSearch{value: u.Args[3], limit: limit, backward: count < 0, removes: true})
	if err != nil {
		return err
	}
	if len(places) > 0 {
		if err := s.RemoveAt(&u.ledger, places); err != nil {
			return err
		}
		s.Save(&u.ledger)
	}
	u.W.Int(int64(len(places)))
	return nil
}

// positions is what LPOS looks for.
type positions struct {
	backward bool
	rank     int64 // the first match that counts
	count    int64 // how many of them, 0: all; -1: the first, and not as an array
	limit    int64 // elements looked at, at most
}

func (p *positions) parse(args [][]byte) error {
	*p = positions{rank: 1, count: -1}
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return ErrSyntax
		}
		var err error
		switch option, value := args[i], args[i+1]; {
		case is(option, "rank"):
			if p.rank, err = intArg(value); err != nil {
				return err
			}
			if p.rank == 0 {
				return ErrRankZero
			}
		case is(option, "count"):
			p.count, err = positiveArg(value, ErrCountNegative)
		case is(option, "maxlen"):
			p.limit, err = positiveArg(value, ErrMaxLenNegative)
		default:
			return ErrSyntax
		}
		if err != nil {
			return err
		}
	}
	if p.rank < 0 {
		p.backward, p.rank = true, -p.rank
	}
	if p.rank < 0 { // there is no number -rank: C's is below 0, any match comes behind it, and none is the count-th
		p.count = min(p.count, 0)
	}
	return nil
}

// positiveArg reads a number from 0 on; whatever else it is has the same error.
func positiveArg(b []byte, wrong error) (int64, error) {
	n, ok := resp.ParseInt(b)
	if !ok || n < 0 {
		return 0, wrong
	}
	return n, nil
}

func lPos(q *Query) error {
	p := &q.listState.find
	if err := p.parse(q.Args[3:]); err != nil {
		return err
	}
	s, err := q.list(q.Args[1])
	if err != nil {
		return err
	}
	if p.limit == 0 || p.limit > s.Len() {
		p.limit = s.Len()
	}
	if !q.atOnce(p.limit) {
		return nil
	}
	q.replied = true
	if err := q.replyPositions(s, q.data); err != nil {
		return s.FetchAhead(q.data, err, p.backward)
	}
	return nil
}

// lPosView is LPOS of a long list.
func lPosView(q *Query, v *storage.View) error {
	s, err := q.listAt(v, q.Args[1])
	if err != nil {
		return err
	}
	return q.replyPositions(s, v)
}

func (q *Query) replyPositions(s *types.ListValue, from types.Getter) error {
	p := &q.listState.find
	before := min(max(p.rank, 1)-1, s.Len()) // the matches that do not count
	f := types.Finding{Value: q.Args[2], Limit: -1, Backward: p.backward}
	if p.count != 0 {
		f.Limit = before + min(max(p.count, 1), s.Len())
	}
	mark, written := q.W.Len(), 0
	s.Begin(&f)
	for left, over := p.limit, false; left > 0 && !over; left -= searchStep {
		var err error
		if over, err = s.Search(from, &f, min(left, searchStep)); err != nil {
			return err
		}
		for _, place := range f.Places {
			if before--; before < 0 {
				q.W.Int(place)
				written++
			}
		}
		f.Places = f.Places[:0]
	}
	switch {
	case p.count >= 0:
		q.W.ArrayAt(mark, written)
	case written == 0:
		q.W.Null()
	}
	return nil
}

// atLeft reads LEFT or RIGHT.
func atLeft(arg []byte) (left bool, err error) {
	if left = is(arg, "left"); !left && !is(arg, "right") {
		err = ErrSyntax
	}
	return left, err
}

func lMove(u *Update) error {
	from, to, err := moveSides(u.Args)
	if err != nil {
		return err
	}
	return u.moveOrNull(from, to)
}

// moveSides reads the two ends of LMOVE and BLMOVE.
func moveSides(args [][]byte) (fromLeft, toLeft bool, err error) {
	if fromLeft, err = atLeft(args[3]); err == nil {
		toLeft, err = atLeft(args[4])
	}
	return fromLeft, toLeft, err
}

func rPopLPush(u *Update) error { return u.moveOrNull(false, true) }

func (u *Update) moveOrNull(fromLeft, toLeft bool) error {
	moved, err := u.moveElement(fromLeft, toLeft)
	if err == nil && !moved {
		u.W.Null()
	}
	return err
}

// moveElement takes an element off one list and pushes it onto another, or onto the same.
func (u *Update) moveElement(fromLeft, toLeft bool) (moved bool, err error) {
	s, err := u.editList(u.Args[1])
	if err != nil || s.Len() == 0 {
		return false, err
	}
	i := int64(0)
	if !fromLeft {
		i = s.Len() - 1
	}
	value, err := s.At(u.data, i)
	if err != nil {
		return false, s.Fetch(u.data, err, i, i+1)
	}
	u.W.Bulk(value)
	same := bytes.Equal(u.Args[1], u.Args[2])
	if !same || s.Len() > 1 && fromLeft != toLeft {
		if err := s.Pop(&u.ledger, i, i+1); err != nil {
			return false, err
		}
		if !same {
			s.Save(&u.ledger)
			if s, err = u.editList(u.Args[2]); err != nil {
				return false, err // what the first list has lost it has again
			}
		}
		i = 0
		if !toLeft {
			i = s.Len()
		}
		if err := s.Splice(&u.ledger, i, i, value); err != nil {
			return false, err
		}
	}
	s.Save(&u.ledger)
	return true, nil
}

func lMPop(u *Update) error {
	p, err := parseMPop(u.Args[1:])
	if err != nil {
		return err
	}
	popped, err := u.popMany(&p)
	if err == nil && !popped {
		u.W.NullArray()
	}
	return err
}

// mPop is what LMPOP and BLMPOP ask for.
type mPop struct {
	names [][]byte
	left  bool
	count int64
}

// parseMPop reads a number of keys and what follows it.
func parseMPop(args [][]byte) (p mPop, err error) {
	names, options, err := manyKeys(args)
	switch {
	case err != nil:
		return p, err
	case len(options) == 0:
		return p, ErrSyntax
	}
	p.names = names
	if p.left, err = atLeft(options[0]); err == nil {
		p.count, err = popCount(options[1:])
	}
	return p, err
}

// popCount reads the COUNT that may end LMPOP and ZMPOP; without it, it is 1.
func popCount(options [][]byte) (count int64, err error) {
	switch {
	case len(options) == 0:
		return 1, nil
	case !is(options[0], "count") || len(options) == 1:
		return 0, ErrSyntax
	}
	if count, err = positiveArg(options[1], ErrCountZero); err != nil || count == 0 {
		return 0, ErrCountZero
	}
	if len(options) > 2 {
		return 0, ErrSyntax
	}
	return count, nil
}

// popMany takes elements off the first of the lists that there is.
func (u *Update) popMany(p *mPop) (popped bool, err error) {
	for _, name := range p.names {
		s, err := u.editList(name)
		if err != nil {
			return false, err
		}
		if s.Len() > 0 {
			u.W.Array(2)
			u.W.Bulk(name)
			u.W.Array(int(min(p.count, s.Len())))
			return true, u.take(s, p.left, p.count)
		}
	}
	return false, nil
}

// copyList gives to the list of from. It must fit into a batch.
func (u *Update) copyList(from, to *types.Record) error {
	s, err := u.openList(&from.Meta)
	if err == nil && s.Bytes() > u.set.store.Budget().BatchMax {
		err = storage.ErrTooLarge
	}
	if err != nil {
		return err
	}
	return u.ledger.CopyList(s, from, to)
}
