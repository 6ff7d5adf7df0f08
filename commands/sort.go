package commands

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"sett/storage"
	"sett/types"
)

// SORT and SORT_RO. How they read the values that BY and GET name is in sortkeys.go.
func sortRows() []*Row {
	const complexity = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N)."
	keys := []KeySpec{
		{Flags: KeyRO | KeyAccess, First: 1, Last: 0, Step: 1},
		{
			Flags: KeyRO | KeyAccess, Where: nowhere,
			Notes: "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
		},
		{
			Flags: KeyOW | KeyUpdate, Where: sortStoreKey,
			Notes: "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
		},
	}
	withoutStore := &Row{Name: "sort", Keys: keys[:2], Read: sortRead, Long: sortView}
	return []*Row{
		{
			Name: "sort", Arity: -2, Flags: FlagWrite | FlagDenyOOM,
			Keys:       keys,
			Categories: CatSet | CatSortedSet | CatList | CatDangerous, Group: "generic", Since: "1.0.0",
			Summary:    "Sort the elements in a list, set or sorted set",
			Complexity: complexity,
			Write:      sortStore,
			Lighter: func(args [][]byte) *Row {
				if s, err := parseSort(args, true); err == nil && s.storing {
					return nil
				}
				return withoutStore
			},
		},
		{
			Name: "sort_ro", Arity: -2, Flags: FlagReadonly,
			Keys:       keys[:2],
			Categories: CatSet | CatSortedSet | CatList | CatDangerous, Group: "generic", Since: "7.0.0",
			Summary:    "Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
			Complexity: complexity,
			Read:       sortReadOnly,
			Long:       sortReadOnlyView,
		},
	}
}

func nowhere([][]byte) int { return 0 }

// sortStoreKey is where COMMAND GETKEYS believes the key behind STORE to be: the last one counts. It takes STORE's own key for a word.
func sortStoreKey(args [][]byte) (at int) {
	for i := 2; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "limit"):
			i += 2
		case is(arg, "get"), is(arg, "by"):
			i++
		case is(arg, "store") && i+1 < len(args):
			at = i + 1
		}
	}
	return at
}

// sortOptions are what the arguments ask for.
type sortOptions struct {
	descending, alpha bool
	asTheyAre         bool        // BY names no pattern
	by                *keyPattern // nil: the elements themselves
	gets              []keyPattern
	offset, limit     int64 // limit < 0: all
	storing           bool
	store             []byte
}

func parseSort(args [][]byte, mayStore bool) (s sortOptions, err error) {
	s.limit = -1
	for args = args[2:]; len(args) > 0; args = args[1:] {
		switch arg, left := args[0], len(args)-1; {
		case is(arg, "asc"):
			s.descending = false
		case is(arg, "desc"):
			s.descending = true
		case is(arg, "alpha"):
			s.alpha = true
		case is(arg, "limit") && left >= 2:
			if s.offset, err = intArg(args[1]); err == nil {
				s.limit, err = intArg(args[2])
			}
			if err != nil {
				return s, err
			}
			args = args[2:]
		case is(arg, "store") && left >= 1 && mayStore:
			s.storing, s.store, args = true, args[1], args[1:]
		case is(arg, "by") && left >= 1:
			p := parseKeyPattern(args[1])
			s.by, args = &p, args[1:]
			s.asTheyAre = s.asTheyAre || p.constant
		case is(arg, "get") && left >= 1:
			s.gets, args = append(s.gets, parseKeyPattern(args[1])), args[1:]
		default:
			return s, ErrSyntax
		}
	}
	return s, nil
}

// window is which of n sorted elements are asked for.
func (s *sortOptions) window(n int64) (start, end int64) {
	start = max(0, s.offset)
	if start >= n {
		return 0, 0
	}
	if s.limit < 0 {
		return start, n
	}
	return start, start + min(s.limit, n-start)
}

// sortItem is an element with what it is sorted by.
type sortItem struct {
	element []byte
	score   float64
	text    []byte // nil: its key is not there, and it comes first
}

func sortRead(q *Query) error { return q.sortAtOnce(true) }

func sortReadOnly(q *Query) error { return q.sortAtOnce(false) }

func (q *Query) sortAtOnce(mayStore bool) error {
	s, err := parseSort(q.Args, mayStore)
	if err != nil {
		return err
	}
	k, err := q.sortedKey(&s, nil)
	if err != nil {
		return err
	}
	lookups := int64(1 + len(s.gets))
	if s.by != nil && !s.asTheyAre {
		lookups++
	}
	if n := k.to - k.from; q.txn == nil && (!q.atOnce(n*lookups) || n*(k.bytes/max(1, k.n)) > scanInlineBytes) {
		return nil
	}
	q.replied = true
	return q.replySorted(&s, k)
}

func sortView(q *Query, v *storage.View) error { return q.sortAt(v, true) }

func sortReadOnlyView(q *Query, v *storage.View) error { return q.sortAt(v, false) }

func (q *Query) sortAt(v *storage.View, mayStore bool) error {
	s, err := parseSort(q.Args, mayStore)
	if err != nil {
		return err
	}
	k, err := q.sortedKey(&s, v)
	if err != nil {
		return err
	}
	return q.replySorted(&s, k)
}

func (q *Query) replySorted(s *sortOptions, k *sortedKey) error {
	items, err := q.sorted(s, k)
	if err != nil {
		return err
	}
	if len(s.gets) == 0 {
		q.W.Array(len(items))
		for i := range items {
			q.W.Bulk(items[i].element)
		}
		return nil
	}
	values, err := q.valuesOf(k, s.gets, items)
	if err != nil {
		return err
	}
	q.W.Array(len(values))
	for _, value := range values {
		if value == nil {
			q.W.Null()
		} else {
			q.W.Bulk(value)
		}
	}
	return nil
}

// sortStore makes the result a list. All is read, sorted and written under the lock and in one batch, so batch_max_bytes limits both what is sorted
// and what it becomes.
func sortStore(u *Update) error {
	s, err := parseSort(u.Args, true)
	if err != nil {
		return err
	}
	k, err := u.sortedKey(&s, nil)
	if err != nil {
		return err
	}
	if k.to > k.from && k.bytes/k.n*(k.to-k.from) > u.set.store.Budget().BatchMax {
		return ErrSortTooLarge
	}
	items, err := u.sorted(&s, k)
	if err != nil {
		return err
	}
	var values [][]byte
	if len(s.gets) > 0 {
		values, err = u.valuesOf(k, s.gets, items)
	} else {
		for i := range items {
			values = append(values, items[i].element)
		}
	}
	if err != nil {
		return err
	}
	return u.storeList(s.store, values)
}

// storeList makes values the list at a key, whatever that was, and answers with their number; none are no key.
func (u *Update) storeList(name []byte, values [][]byte) error {
	limit, err := u.overwrite(name, types.List)
	if err != nil {
		return err
	}
	s, err := u.openList(&u.record.Meta)
	if err == nil {
		err = s.Edit(&u.record)
	}
	if err == nil && limit > 0 {
		err = s.SetCap(&u.ledger, limit)
	}
	if err != nil {
		return err
	}
	if len(values) > 0 {
		if err := s.Push(&u.ledger, values, false); err != nil {
			return err
		}
		s.Save(&u.ledger)
		u.counts(len(values))
	}
	u.W.Int(s.Len())
	return nil
}

// sorted is the elements that are asked for, in their order.
func (q *Query) sorted(s *sortOptions, k *sortedKey) ([]sortItem, error) {
	items, err := k.load(q)
	if err != nil || k.inOrder {
		return items, err
	}
	if !s.asTheyAre {
		if err := q.weigh(s, k, items); err != nil {
			return nil, err
		}
		if s.alpha {
			slices.SortStableFunc(items, s.compare)
		} else {
			slices.SortFunc(items, s.compare) // which leaves no two in doubt but those that are the same
		}
	}
	start, end := s.window(int64(len(items)))
	return items[start:end], nil
}

// weigh finds what the elements are sorted by.
func (q *Query) weigh(s *sortOptions, k *sortedKey, items []sortItem) error {
	var weights [][]byte
	if s.by != nil {
		var err error
		if weights, err = q.valuesOf(k, []keyPattern{*s.by}, items); err != nil {
			if err == storage.ErrMiss && s.limit < 0 {
				q.valuesOf(k, s.gets, items) // so that one round fetches these as well
			}
			return err
		}
	}
	for i := range items {
		weight := items[i].element
		if s.by != nil {
			weight = weights[i]
		}
		switch {
		case s.alpha && s.storing:
			items[i].text = weight
		case s.alpha && weight != nil:
			items[i].text = asCString(weight) // Redis asks strcoll, which sees no further
		case !s.alpha && weight != nil:
			var ok bool
			if items[i].score, ok = parseWeight(weight); !ok {
				return ErrSortScore
			}
		}
	}
	return nil
}

// asCString is a string up to its first zero byte.
func asCString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// parseWeight reads a number as C's strtod does; nothing at all is 0.
func parseWeight(b []byte) (score float64, ok bool) {
	const smallest = 0x1p-1022 // below, strtod warns
	if b = asCString(b); len(b) == 0 {
		return 0, true
	}
	score, inRange, ok := strtod(bytes.TrimLeft(b, " \t\n\v\f\r"))
	return score, ok && inRange && !math.IsNaN(score) && (score == 0 || math.Abs(score) >= smallest)
}

func (s *sortOptions) compare(a, b sortItem) int {
	order := 0
	switch {
	case !s.alpha:
		order = cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.element, b.element))
	case a.text == nil || b.text == nil:
		order = oneIf(a.text != nil) - oneIf(b.text != nil)
	default:
		order = bytes.Compare(a.text, b.text)
	}
	if s.descending {
		return -order
	}
	return order
}
