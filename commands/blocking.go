package commands

import (
	"math"
	"math/big"

	"sett/types"
)

// The commands that wait until there is something to take. How they wait is in park.go.
func blockingRows() []*Row {
	return []*Row{
		{
			Name: "blpop", Arity: -3, Flags: FlagWrite | FlagNoScript | FlagBlocking,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: -2, Step: 1}},
			Categories: CatList, Group: "list", Since: "2.0.0",
			Summary:    "Remove and get the first element in a list, or block until one is available",
			Complexity: "O(N) where N is the number of provided keys.",
			Write:      bLPop,
			Blocking:   &Blocking{types.List, narrowPop},
		},
		{
			Name: "brpop", Arity: -3, Flags: FlagWrite | FlagNoScript | FlagBlocking,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: -2, Step: 1}},
			Categories: CatList, Group: "list", Since: "2.0.0",
			Summary:    "Remove and get the last element in a list, or block until one is available",
			Complexity: "O(N) where N is the number of provided keys.",
			Write:      bRPop,
			Blocking:   &Blocking{types.List, narrowPop},
		},
		{
			Name: "blmove", Arity: 6, Flags: FlagWrite | FlagDenyOOM | FlagNoScript | FlagBlocking,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyRW | KeyInsert, First: 2, Last: 0, Step: 1}},
			Categories: CatList, Group: "list", Since: "6.2.0",
			Summary:    "Pop an element from a list, push it to another list and return it; or block until one is available",
			Complexity: "O(1)",
			Write:      bLMove,
			Blocking:   &Blocking{types.List, asTheyAre},
		},
		{
			Name: "brpoplpush", Arity: 4, Flags: FlagWrite | FlagDenyOOM | FlagNoScript | FlagBlocking,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyRW | KeyInsert, First: 2, Last: 0, Step: 1}},
			Categories: CatList, Group: "list", Since: "2.2.0",
			Summary:    "Pop an element from a list, push it to another list and return it; or block until one is available",
			Complexity: "O(1)",
			Deprecated: "6.2.0", ReplacedBy: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
			Write:    bRPopLPush,
			Blocking: &Blocking{types.List, asTheyAre},
		},
		{
			Name: "blmpop", Arity: -5, Flags: FlagWrite | FlagBlocking,
			Keys:       []KeySpec{countedKeys(KeyRW|KeyAccess|KeyDelete, 2)},
			Categories: CatList, Group: "list", Since: "7.0.0",
			Summary:    "Pop elements from a list, or block until one is available",
			Complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
			Write:      bLMPop,
			Blocking:   &Blocking{types.List, narrowMPop},
		},
		{
			Name: "bzmpop", Arity: -5, Flags: FlagWrite | FlagBlocking,
			Keys:       []KeySpec{countedKeys(KeyRW|KeyAccess|KeyDelete, 2)},
			Categories: CatSortedSet, Group: "sorted-set", Since: "7.0.0",
			Summary:    "Remove and return members with scores in a sorted set or block until one is available",
			Complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
			Write:      bZMPop,
			Blocking:   &Blocking{types.ZSet, narrowMPop},
		},
		{
			Name: "bzpopmax", Arity: -3, Flags: FlagWrite | FlagNoScript | FlagBlocking | FlagFast,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: -2, Step: 1}},
			Categories: CatSortedSet, Group: "sorted-set", Since: "5.0.0",
			Summary:    "Remove and return the member with the highest score from one or more sorted sets, or block until one is available",
			Complexity: "O(log(N)) with N being the number of elements in the sorted set.",
			Write:      bZPopMax,
			Blocking:   &Blocking{types.ZSet, narrowPop},
		},
		{
			Name: "bzpopmin", Arity: -3, Flags: FlagWrite | FlagNoScript | FlagBlocking | FlagFast,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: -2, Step: 1}},
			Categories: CatSortedSet, Group: "sorted-set", Since: "5.0.0",
			Summary:    "Remove and return the member with the lowest score from one or more sorted sets, or block until one is available",
			Complexity: "O(log(N)) with N being the number of elements in the sorted set.",
			Write:      bZPopMin,
			Blocking:   &Blocking{types.ZSet, narrowPop},
		},
	}
}

// timeoutArg reads a timeout in seconds, and returns it in ms, rounded up; 0: none.
func timeoutArg(arg []byte) (ms int64, err error) {
	f, ok := parseFloat(arg)
	if !ok {
		return 0, ErrTimeout
	}
	if f.IsInf() {
		return 0, ErrTimeoutNegative // as Redis, which overflows
	}
	n, exact := new(big.Float).Mul(f, big.NewFloat(1000)).Int64()
	if exact == big.Below && n < math.MaxInt64 {
		n++
	}
	if n < 0 || n == math.MaxInt64 {
		return 0, ErrTimeoutNegative
	}
	return n, nil
}

func bLPop(u *Update) error { return u.blockingPop(true) }

func bRPop(u *Update) error { return u.blockingPop(false) }

func (u *Update) blockingPop(left bool) error {
	last := len(u.Args) - 1
	timeoutMs, err := timeoutArg(u.Args[last])
	if err != nil {
		return err
	}
	names := u.Args[1:last]
	for _, name := range names {
		s, err := u.editList(name)
		if err != nil {
			return err
		}
		if s.Len() > 0 {
			u.W.Array(2)
			u.W.Bulk(name)
			return u.take(s, left, 1)
		}
	}
	return u.wait(names, timeoutMs, u.W.NullArray)
}

// narrowPop is for commands of the form NAME key … timeout.
func narrowPop(args [][]byte, key []byte) [][]byte {
	return [][]byte{args[0], key, args[len(args)-1]}
}

func bLMove(u *Update) error {
	from, to, err := moveSides(u.Args)
	if err != nil {
		return err
	}
	return u.blockingMove(from, to, u.Args[5])
}

func bRPopLPush(u *Update) error { return u.blockingMove(false, true, u.Args[3]) }

func (u *Update) blockingMove(fromLeft, toLeft bool, timeout []byte) error {
	timeoutMs, err := timeoutArg(timeout)
	if err != nil {
		return err
	}
	moved, err := u.moveElement(fromLeft, toLeft)
	if moved || err != nil {
		return err
	}
	return u.wait(u.Args[1:2], timeoutMs, u.W.Null)
}

func asTheyAre(args [][]byte, _ []byte) [][]byte { return args }

func bLMPop(u *Update) error {
	p, err := parseMPop(u.Args[2:])
	if err != nil {
		return err
	}
	timeoutMs, err := timeoutArg(u.Args[1])
	if err != nil {
		return err
	}
	popped, err := u.popMany(&p)
	if popped || err != nil {
		return err
	}
	return u.wait(p.names, timeoutMs, u.W.NullArray)
}

// narrowMPop is for commands of the form NAME timeout numkeys key … options.
func narrowMPop(args [][]byte, key []byte) [][]byte {
	_, options, _ := countedNames(args[2:])
	return append([][]byte{args[0], args[1], []byte("1"), key}, options...)
}

func bZPopMin(u *Update) error { return u.blockingPopScore(false) }

func bZPopMax(u *Update) error { return u.blockingPopScore(true) }

func (u *Update) blockingPopScore(highest bool) error {
	last := len(u.Args) - 1
	timeoutMs, err := timeoutArg(u.Args[last])
	if err != nil {
		return err
	}
	p := zPop{names: u.Args[1:last], highest: highest, count: 1}
	popped, err := u.popFirst(&p, 3, scoresReply{bare: true})
	if popped || err != nil {
		return err
	}
	return u.wait(p.names, timeoutMs, u.W.NullArray)
}

func bZMPop(u *Update) error {
	p, err := parseZMPop(u.Args[2:])
	if err != nil {
		return err
	}
	timeoutMs, err := timeoutArg(u.Args[1])
	if err != nil {
		return err
	}
	popped, err := u.popScoresOf(&p)
	if popped || err != nil {
		return err
	}
	return u.wait(p.names, timeoutMs, u.W.NullArray)
}
