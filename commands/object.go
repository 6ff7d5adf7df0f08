package commands

import (
	"sett/resp"
	"sett/types"
)

// The commands that look at how a key is kept. Redis' answers come from its objects in memory; here they come from what the meta record knows
// of a string's history (types.Encoding) and from the table of accesses.

func objectRow() *Row {
	key := []KeySpec{{Flags: KeyRO, First: 2, Last: 0, Step: 1}}
	return &Row{
		Name: "object", Arity: -2,
		Group: "generic", Since: "2.2.3",
		Summary:    "A container for object introspection commands",
		Complexity: "Depends on subcommand.",
		Session:    true,
		Subcommands: []*Row{
			{
				Name: "object|encoding", Arity: 3, Flags: FlagReadonly,
				Keys:       key,
				Categories: CatKeyspace, Group: "generic", Since: "2.2.3",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Inspect the internal encoding of a Redis object",
				Complexity: "O(1)",
				Read:       objectEncoding,
			},
			{
				Name: "object|freq", Arity: 3, Flags: FlagReadonly,
				Keys:       key,
				Categories: CatKeyspace, Group: "generic", Since: "4.0.0",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Get the logarithmic access frequency counter of a Redis object",
				Complexity: "O(1)",
				Read:       objectFreq,
			},
			{
				Name: "object|help", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatKeyspace, Group: "generic", Since: "6.2.0",
				Summary:    "Show helpful text about the different subcommands",
				Complexity: "O(1)",
				Session:    true,
			},
			{
				Name: "object|idletime", Arity: 3, Flags: FlagReadonly,
				Keys:       key,
				Categories: CatKeyspace, Group: "generic", Since: "2.2.3",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Get the time since a Redis object was last accessed",
				Complexity: "O(1)",
				Read:       objectIdleTime,
			},
			{
				Name: "object|refcount", Arity: 3, Flags: FlagReadonly,
				Keys:       key,
				Categories: CatKeyspace, Group: "generic", Since: "2.2.3",
				Tips:       []string{"nondeterministic_output"},
				Summary:    "Get the number of references to the value of the key",
				Complexity: "O(1)",
				Read:       objectRefCount,
			},
		},
	}
}

// ObjectHelp is OBJECT HELP.
var ObjectHelp = []string{
	"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"ENCODING <key>",
	"    Return the kind of internal representation used in order to store the value",
	"    associated with a <key>.",
	"FREQ <key>",
	"    Return the access frequency index of the <key>. The returned integer is",
	"    proportional to the logarithm of the recent access frequency of the key.",
	"IDLETIME <key>",
	"    Return the idle time of the <key>, that is the approximated number of",
	"    seconds elapsed since the last access to the key.",
	"REFCOUNT <key>",
	"    Return the number of references of the value associated with the specified",
	"    <key>.",
	"HELP",
	"    Prints this help.",
}

// object looks up the key that OBJECT asks about and hands it to reply; null if there is none.
func (q *Query) object(reply func(m *types.Meta) error) error {
	m, err := q.peek(q.Args[2])
	if err != nil {
		return err
	}
	if !m.Exists {
		q.W.Null()
		return nil
	}
	return reply(&m)
}

func objectEncoding(q *Query) error {
	return q.object(func(m *types.Meta) error {
		q.W.BulkString(encodingOf(m))
		return nil
	})
}

// stringEncoding is the name of a string's encoding in Redis.
func stringEncoding(m *types.Meta) string {
	_, isInt := asInt(m)
	switch {
	case m.StringLen() > types.EmbstrBytes || m.Encoding == types.Raw:
		return "raw"
	case isInt && m.Encoding != types.Embstr:
		return "int"
	}
	return "embstr"
}

// asInt reads a string whose bytes are a number in its canonical form.
func asInt(m *types.Meta) (int64, bool) {
	value, ok := m.Inline()
	if !ok || m.Type != types.String || len(value) > maxIntChars {
		return 0, false
	}
	return resp.ParseInt(value)
}

// sharedInts are the numbers for which Redis keeps one object that all keys share, and what it answers for their references.
const (
	sharedInts     = 10_000
	sharedRefCount = 1<<31 - 1
)

func objectRefCount(q *Query) error {
	return q.object(func(m *types.Meta) error {
		n, ok := asInt(m)
		if ok && n >= 0 && n < sharedInts && m.Encoding == types.Natural && !q.set.limits.wantsUses() {
			q.W.Int(sharedRefCount)
		} else {
			q.W.Int(1)
		}
		return nil
	})
}

func objectIdleTime(q *Query) error {
	return q.object(func(*types.Meta) error {
		if q.set.access.counts.Load() {
			return ErrNoIdleTime
		}
		q.W.Int(q.set.access.idleS(q.key, q.Now))
		return nil
	})
}

func objectFreq(q *Query) error {
	return q.object(func(*types.Meta) error {
		if !q.set.access.counts.Load() {
			return ErrNoFrequency
		}
		q.W.Int(q.set.access.frequency(q.key, q.Now))
		return nil
	})
}
