package commands

import "strings"

// Flags are the command flags of COMMAND, in the order in which it shows them.
type Flags uint32

// The flags.
const (
	FlagWrite Flags = 1 << iota
	FlagReadonly
	FlagDenyOOM
	FlagModule
	FlagAdmin
	FlagPubSub
	FlagNoScript
	FlagBlocking
	FlagLoading
	FlagStale
	FlagSkipMonitor
	FlagSkipSlowlog
	FlagAsking
	FlagFast
	FlagNoAuth
	FlagMayReplicate
	FlagNoMandatoryKeys
	FlagProtected
	FlagNoAsyncLoading
	FlagNoMulti
	FlagAllowBusy
	FlagMovableKeys
)

var flagNames = [...]string{"write", "readonly", "denyoom", "module", "admin", "pubsub", "noscript", "blocking", "loading", "stale",
	"skip_monitor", "skip_slowlog", "asking", "fast", "no_auth", "may_replicate", "no_mandatory_keys", "protected", "no_async_loading",
	"no_multi", "allow_busy", "movablekeys"}

// Has tells whether all of the flags are set.
func (f Flags) Has(flags Flags) bool { return f&flags == flags }

// Categories are the ACL categories, in the order in which COMMAND shows them.
type Categories uint32

// The categories.
const (
	CatKeyspace Categories = 1 << iota
	CatRead
	CatWrite
	CatSet
	CatSortedSet
	CatList
	CatHash
	CatString
	CatBitmap
	CatHyperLogLog
	CatGeo
	CatStream
	CatPubSub
	CatAdmin
	CatFast
	CatSlow
	CatBlocking
	CatDangerous
	CatConnection
	CatTransaction
	CatScripting
)

var categoryNames = [...]string{"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
	"stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting"}

// implied are the categories that follow from flags.
func (f Flags) implied() (c Categories) {
	if f.Has(FlagWrite) {
		c |= CatWrite
	}
	if f.Has(FlagReadonly) {
		c |= CatRead
	}
	if f.Has(FlagAdmin) {
		c |= CatAdmin | CatDangerous
	}
	if f.Has(FlagPubSub) {
		c |= CatPubSub
	}
	if f.Has(FlagBlocking) {
		c |= CatBlocking
	}
	if f.Has(FlagFast) {
		return c | CatFast
	}
	return c | CatSlow
}

// KeyFlags say what a command does with the keys of a KeySpec, in the order in which COMMAND shows them.
type KeyFlags uint16

// The key flags.
const (
	KeyRO KeyFlags = 1 << iota
	KeyRW
	KeyOW
	KeyRM
	KeyAccess
	KeyUpdate
	KeyInsert
	KeyDelete
	KeyNotKey
	KeyIncomplete
	KeyVariable
)

var keyFlagNames = [...]string{"RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags"}

// KeySpec says where keys stand among the arguments: from First, every Step, up to Last, which counts from First, or, if negative, from
// behind the last argument.
type KeySpec struct {
	Flags             KeyFlags
	First, Last, Step int
	Notes             string

	// Counted: argument First is a number, and as many keys follow it.
	Counted bool

	// Keyword, if set: the key stands behind this word, which stands at First or later, if at all.
	Keyword string

	// Where, if set, is where the one key stands, 0: nowhere. COMMAND calls that unknown.
	Where func(args [][]byte) int
}

// moves tells whether nobody knows where the keys are before he has read other arguments.
func (s KeySpec) moves() bool { return s.Counted || s.Keyword != "" || s.Where != nil }

// find is the place of a key that depends on the arguments, 0 if there is none.
func (s *KeySpec) find(args [][]byte) int {
	if s.Where != nil {
		return s.Where(args)
	}
	for i := s.First; i+1 < len(args); i++ {
		if is(args[i], strings.ToLower(s.Keyword)) {
			return i + 1
		}
	}
	return 0
}

func keyAfter(flags KeyFlags, keyword string, from int) KeySpec {
	return KeySpec{Flags: flags, First: from, Step: 1, Keyword: keyword}
}

func oneKey(flags KeyFlags) []KeySpec { return []KeySpec{{Flags: flags, First: 1, Last: 0, Step: 1}} }

func countedKeys(flags KeyFlags, first int) KeySpec {
	return KeySpec{Flags: flags, First: first, Step: 1, Counted: true}
}

func allKeys(flags KeyFlags) []KeySpec { return []KeySpec{{Flags: flags, First: 1, Last: -1, Step: 1}} }
