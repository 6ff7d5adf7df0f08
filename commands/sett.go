package commands

import (
	"errors"

	"sett/storage"
	"sett/types"
)

// SETT is the container of what Redis has no commands for.
func settRows() []*Row {
	key := func(flags KeyFlags) []KeySpec { return []KeySpec{{Flags: flags, First: 2, Last: 0, Step: 1}} }
	return []*Row{{
		Name: "sett", Arity: -2,
		Group: "sett", Since: "1.0.0",
		Summary:    "A container for what Redis has no commands for",
		Complexity: "Depends on subcommand.",
		Session:    true,
		Subcommands: []*Row{
			{
				Name: "sett|cap", Arity: -3, Flags: FlagWrite,
				Keys:       key(KeyRW | KeyUpdate | KeyDelete), // but for MATCH
				Categories: CatKeyspace, Group: "sett", Since: "1.0.0",
				Summary:    "Have a list keep its newest elements, or a sorted set its highest",
				Complexity: "O(N) where N is the number of elements that are dropped at once, O(M) with M patterns.",
				Write:      settCap,
			},
			{
				Name: "sett|cluster", Arity: -3, Flags: FlagAdmin | FlagStale,
				Group: "sett", Since: "1.0.0",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Show the nodes of the cluster, and change who belongs to it and who leads",
				Complexity: "O(N) where N is the number of nodes",
				Session:    true,
			},
			{
				Name: "sett|digest", Arity: -2, Flags: FlagAdmin,
				Group: "sett", Since: "1.0.0",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Show a hash over all data of this node at an index of the log",
				Complexity: "O(N) where N is the number of keys and elements",
				Session:    true,
			},
			{
				Name: "sett|help", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatKeyspace, Group: "sett", Since: "1.0.0",
				Summary:    "Show helpful text about the different subcommands",
				Complexity: "O(1)",
				Session:    true,
			},
			{
				Name: "sett|index", Arity: 2,
				Categories: CatKeyspace, Group: "sett", Since: "1.0.0",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Show an index of the log that covers all that this connection has seen",
				Complexity: "O(1)",
				Session:    true,
			},
			{
				Name: "sett|info", Arity: 3, Flags: FlagReadonly,
				Keys:       key(KeyRO),
				Categories: CatKeyspace, Group: "sett", Since: "1.0.0",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Show how a value is kept",
				Complexity: "O(1)",
				Read:       settInfo,
			},
			{
				Name: "sett|read", Arity: -3, Flags: FlagFast,
				Categories: CatConnection, Group: "sett", Since: "1.0.0",
				Summary:    "Choose how up to date the reads of this connection are in a cluster",
				Complexity: "O(1)",
				Session:    true,
			},
			{
				Name: "sett|space", Arity: 2,
				Categories: CatKeyspace, Group: "sett", Since: "1.0.0",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Show what takes space on disk, and what gives it back",
				Complexity: "O(1)",
				Session:    true,
			},
			{
				Name: "sett|waitindex", Arity: 4, Flags: FlagBlocking,
				Categories: CatConnection, Group: "sett", Since: "1.0.0",
				Summary:    "Wait until this node has an index of the log",
				Complexity: "O(1)",
				Session:    true,
			},
		},
	}}
}

// SettHelp is SETT HELP.
var SettHelp = []string{
	"SETT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"CAP <key> <n>",
	"    Have the list at <key> keep its newest <n> elements, or the sorted set its",
	"    <n> of the highest scores, now and whenever elements are added. 0: all.",
	"CAP MATCH <pattern> <n>",
	"    Give this cap to lists and sorted sets that are made from now on and whose",
	"    names match, in all databases. The first pattern that matches counts. A new",
	"    one is the last; one that is there keeps its place. 0 removes it.",
	"CAP MATCH",
	"    List the patterns in their order, and their caps.",
	"CLUSTER STATUS",
	"    Show what this node knows of its cluster, and of each node.",
	"CLUSTER TRANSFER [<node>]",
	"    Have another node lead: <node>, or the one that is furthest.",
	"CLUSTER REMOVE <node>",
	"    Take a node out of the cluster; if it leads, another one does first.",
	"    A <node> is its id, the beginning of one, or one of its addresses.",
	"DIGEST [<index>]",
	"    Show a hash over all data of this node, at a point of the log that is made",
	"    for it, or at <index>. Two nodes that have the same hash at the same index",
	"    have the same data.",
	"DIGEST NEXT",
	"    Make such a point, and show its index.",
	"INDEX",
	"    Show an index of the log that covers all that this connection has seen.",
	"INFO <key>",
	"    Show how the value of <key> is kept.",
	"READ LEASE|LINEARIZABLE|STALE <ms>",
	"    Choose how this connection reads in a cluster: from the leader, by its lease",
	"    or after it has asked a majority, or from any node that is no more than <ms>",
	"    behind.",
	"SPACE",
	"    Show what lives on disk, what is dead and why, and what gives it back.",
	"WAITINDEX <index> <timeout>",
	"    Wait until this node has what another one calls <index>, but not for longer",
	"    than <timeout> milliseconds; 0: for ever.",
	"HELP",
	"    Prints this help.",
}

// settCap tells its forms apart by the number of arguments, so that a key may be called MATCH.
func settCap(u *Update) error {
	matches := is(u.Args[2], "match")
	switch len(u.Args) {
	case 3:
		if matches {
			return u.listCaps()
		}
	case 4:
		return u.capKey(u.Args[2], u.Args[3])
	case 5:
		if matches {
			return u.capPattern(u.Args[3], u.Args[4])
		}
	}
	return ErrSyntax
}

// capArg reads a number of elements.
func capArg(arg []byte) (int64, error) {
	n, err := positiveArg(arg, ErrCap)
	if n > types.MaxCap {
		err = ErrCap
	}
	return n, err
}

func (u *Update) listCaps() error {
	patterns, err := types.CapPatterns(u.data)
	if err != nil {
		return err
	}
	u.W.Map(len(patterns))
	for _, p := range patterns {
		u.W.Bulk(p.Pattern)
		u.W.Int(p.Cap)
	}
	return nil
}

func (u *Update) capPattern(pattern, arg []byte) error {
	n, err := capArg(arg)
	if err == nil {
		err = u.ledger.PutCapPattern(pattern, n)
	}
	if errors.Is(err, storage.ErrTooLarge) {
		return ErrCapPatterns(u.set.opts.Values.ThresholdBytes)
	}
	if err == nil {
		u.W.Status("OK")
	}
	return err
}

func (u *Update) capKey(name, arg []byte) error {
	n, err := capArg(arg)
	if err != nil {
		return err
	}
	m, err := u.peek(name)
	switch {
	case err != nil:
		return err
	case !m.Exists:
		return ErrNoSuchKey
	case m.Type == types.List:
		err = u.capList(name, n)
	case m.Type == types.ZSet:
		err = u.capZSet(name, n)
	default:
		return ErrWrongType
	}
	if err == nil {
		u.W.Status("OK")
	}
	return err
}

func (u *Update) capList(name []byte, n int64) error {
	s, err := u.editList(name)
	if err == nil {
		err = s.SetCap(&u.ledger, n)
	}
	if err == nil {
		s.Save(&u.ledger)
	}
	return err
}

func (u *Update) capZSet(name []byte, n int64) error {
	e, err := u.editZSet(name, 2)
	if err != nil {
		return err
	}
	e.SetCap(n)
	return e.Save()
}

// settInfo shows how a value is kept. What a representation has not is left out.
func settInfo(q *Query) error {
	m, err := q.peek(q.Args[2])
	if err != nil {
		return err
	}
	if !m.Exists {
		return ErrNoSuchKey
	}
	memory, err := types.Usage(q.data, q.key, &m, sampledPages)
	if err != nil {
		return err
	}
	shape, err := m.Shape()
	if err != nil {
		return err
	}
	fields := []infoField{{"type", m.Type.String()}, {"representation", shape.Representation}}
	number := func(name string, value int64, shown bool) {
		if shown {
			fields = append(fields, infoField{name, value})
		}
	}
	number("elements", m.Count(), m.Type != types.String)
	number("bytes", m.ValueBytes(), true)
	number("memory", memory, true)
	number("buckets", shape.Buckets, shape.Buckets > 0)
	number("depth", int64(shape.Depth), shape.Depth > 0)
	number("cap", m.Cap(), m.Type == types.List || m.Type == types.ZSet)
	ttlMs := int64(-1)
	if m.ExpireAtMs != 0 {
		ttlMs = m.ExpireAtMs - q.Now
	}
	number("ttl", ttlMs, true)
	q.W.Map(len(fields))
	for _, f := range fields {
		q.W.BulkString(f.name)
		if text, ok := f.value.(string); ok {
			q.W.BulkString(text)
		} else {
			q.W.Int(f.value.(int64))
		}
	}
	return nil
}

// infoField is one of SETT INFO's, its value a string or an int64.
type infoField struct {
	name  string
	value any
}
