package server

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sett/commands"
	"sett/resp"
)

// DebugAccess says who may use DEBUG.
type DebugAccess string

// The values of enable_debug_command.
const (
	DebugNobody DebugAccess = "no"
	DebugLocal  DebugAccess = "local" // clients on this machine
	DebugAll    DebugAccess = "yes"
)

func (s *session) mayDebug() bool {
	access := s.server.opts.Debug
	return access == DebugAll || access == DebugLocal && s.local
}

// Hooks are what DEBUG does to the storage. They are for tests.
type Hooks interface {
	// Flush writes all recent writes to Badger and makes them durable.
	Flush() error
	PauseFlush(pause bool)
	Compact() error
	DropCache()
	// SetDiskFree makes the disk guard believe in so many free bytes; -1: ask the disk.
	SetDiskFree(bytes int64)
	// Reclaim removes all that is dead, Collect gives back what it took in the value log.
	Reclaim() error
	Collect() error
	// Scrub reads all tables and the value log and compares checksums.
	Scrub() error
	// Reload does what a restart does.
	Reload() error
	SetActiveExpire(active bool)
	// PauseCron stops all that the storage does by itself from time to time, but for what makes writes durable.
	PauseCron(pause bool)
}

// debugCommand is a subcommand of DEBUG. Redis has them in no command table, and neither have we.
type debugCommand struct {
	name        string
	least, most int // number of arguments behind the name
	help        []string
	run         func(s *session, b *buffers, args [][]byte) error // its reply is OK if it writes none
}

// anyNumber of arguments.
const anyNumber = math.MaxInt

func debugCommands() []debugCommand {
	return []debugCommand{
		{"digest", 0, 0, []string{
			"DIGEST",
			"    Output a hex signature representing the current DB content.",
		}, (*session).digest},
		{"digest-value", 0, anyNumber, []string{
			"DIGEST-VALUE <key> [<key> ...]",
			"    Output a hex signature of the values of all the specified keys.",
		}, (*session).digestValues},
		{"error", 1, 1, []string{
			"ERROR <string>",
			"    Return a Redis protocol error with <string> as message. Useful for clients",
			"    unit tests to simulate Redis errors.",
		}, func(_ *session, _ *buffers, args [][]byte) error { return commands.Error(args[0]) }},
		{"loadaof", 0, 0, []string{
			"LOADAOF",
			"    As RELOAD.",
		}, reload},
		{"log", 1, 1, []string{
			"LOG <message>",
			"    Write <message> to the server log.",
		}, debugLog},
		{"object", 1, 1, []string{
			"OBJECT <key>",
			"    Show low level info about `key` and associated value. It is at its place in the",
			"    order of SCAN.",
		}, (*session).object},
		{"panic", 0, 0, []string{
			"PANIC",
			"    Panic in the middle of a command: this connection is closed, others go on.",
		}, func(*session, *buffers, [][]byte) error { panic("DEBUG PANIC") }},
		{"pause-cron", 1, 1, []string{
			"PAUSE-CRON <0|1>",
			"    Stop periodic work: sampling rates, closing idle clients, removing expired keys,",
			"    giving space back.",
		}, pauseCron},
		{"populate", 1, 3, []string{
			"POPULATE <count> [<prefix>] [<size>]",
			"    Create <count> string keys named key:<num>. If <prefix> is specified then",
			"    it is used instead of the 'key' prefix. Keys that exist stay as they are.",
		}, (*session).populate},
		{"protocol", 1, 1, []string{
			"PROTOCOL <type>",
			"    Reply with a test value of the specified type. <type> can be: string,",
			"    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
			"    true, false.",
		}, specimen},
		{"quicklist-packed-threshold", 1, 1, []string{
			"QUICKLIST-PACKED-THRESHOLD <size>",
			"    Checks <size> as Redis does, up to 4GB, and changes nothing: it says which elements",
			"    of a list have a node of their own, and lists have no such nodes here.",
		}, packedThreshold},
		{"reload", 0, 0, []string{
			"RELOAD",
			"    Flush and make durable, forget recent writes and cache, open Badger again, replay the log.",
		}, reload},
		{"set-active-expire", 1, 1, []string{
			"SET-ACTIVE-EXPIRE <0|1>",
			"    Setting it to 0 disables expiring keys in background when they are not",
			"    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
			"    default.",
		}, setActiveExpire},
		{"sleep", 1, 1, []string{
			"SLEEP <seconds>",
			"    Do nothing for <seconds> on this connection. Decimals allowed.",
		}, (*session).sleep},
		{"sett", 1, anyNumber, settHelp, (*session).debugSett},
	}
}

var settHelp = []string{
	"SETT FLUSH",
	"    Write all recent writes to Badger and make them durable.",
	"SETT PAUSE-FLUSH <0|1>",
	"    1 keeps recent writes from being written to Badger.",
	"SETT COMPACT",
	"    Compact Badger's levels.",
	"SETT RECLAIM",
	"    Remove all that is dead and durable: a whole pass of the reclaimer.",
	"SETT GC",
	"    Collect the value log as far as it is known to be dead.",
	"SETT SCRUB",
	"    Read all tables and the value log and compare their checksums.",
	"SETT CLOCK <milliseconds>",
	"    Move the wall clock that this node believes in, relative to the real one.",
	"SETT DROP-CACHE",
	"    Empty the record cache.",
	"SETT DISK-FREE <bytes>",
	"    Believe that so much disk space is free; -1 asks the disk again.",
}

func runDebug(s *session, b *buffers, args [][]byte) {
	start := b.out.Len()
	err := s.debug(b, args[1], args[2:])
	switch {
	case err != nil:
		b.out.Truncate(start)
		fail(b, err)
	case b.out.Len() == start:
		b.out.Status("OK")
	}
}

// debug replies, or returns an error, or leaves it to the caller to say OK.
func (s *session) debug(b *buffers, name []byte, args [][]byte) error {
	if is(name, "help") && len(args) == 0 {
		var lines []string
		for _, c := range debugCommands() {
			lines = append(lines, c.help...)
		}
		help(b, "DEBUG", lines)
		return nil
	}
	for _, c := range debugCommands() {
		if is(name, c.name) && len(args) >= c.least && len(args) <= c.most {
			return c.run(s, b, args)
		}
	}
	return errDebug(name)
}

func reload(s *session, _ *buffers, _ [][]byte) error {
	now := s.server.beginPoint()
	err := s.engine.Hooks.Reload()
	if err == nil {
		s.server.saver.saved(now)
	}
	return err
}

func debugLog(s *session, _ *buffers, args [][]byte) error {
	s.server.opts.Logger.Warn("DEBUG LOG", "message", string(args[0]))
	return nil
}

// packedThreshold has nothing to set. Redis' tests set it to have elements of a few bytes treated as very large ones.
func packedThreshold(_ *session, _ *buffers, args [][]byte) error {
	const most = 1<<32 - 1<<20
	if bytes, ok := memorySize(args[0]); !ok || bytes > most {
		return errPackedThreshold
	}
	return nil
}

// memorySize reads digits, of which there may be none, and a unit.
func memorySize(arg []byte) (bytes uint64, ok bool) {
	end := 0
	for end < len(arg) && arg[end] >= '0' && arg[end] <= '9' {
		end++
	}
	units := map[string]uint64{"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30}
	unit, ok := units[strings.ToLower(string(arg[end:]))]
	if !ok || end == 0 {
		return 0, ok
	}
	n, err := strconv.ParseUint(string(arg[:end]), 10, 64)
	if err != nil || n > math.MaxUint64/unit {
		return math.MaxUint64, true
	}
	return n * unit, true
}

func pauseCron(s *session, _ *buffers, args [][]byte) error {
	pause := atoi(args[0]) != 0
	s.server.halted.Store(pause)
	s.engine.Hooks.PauseCron(pause)
	return nil
}

func setActiveExpire(s *session, _ *buffers, args [][]byte) error {
	s.engine.Hooks.SetActiveExpire(atoi(args[0]) != 0)
	return nil
}

// debugSett are the hooks that Redis has no name for.
func (s *session) debugSett(_ *buffers, args [][]byte) error {
	hooks := s.engine.Hooks
	name, args := args[0], args[1:]
	switch {
	case is(name, "flush") && len(args) == 0:
		return hooks.Flush()
	case is(name, "pause-flush") && len(args) == 1:
		hooks.PauseFlush(atoi(args[0]) != 0)
	case is(name, "compact") && len(args) == 0:
		return hooks.Compact()
	case is(name, "reclaim") && len(args) == 0:
		return hooks.Reclaim()
	case is(name, "gc") && len(args) == 0:
		return hooks.Collect()
	case is(name, "scrub") && len(args) == 0:
		return hooks.Scrub()
	case is(name, "drop-cache") && len(args) == 0:
		hooks.DropCache()
	case is(name, "clock") && len(args) == 1:
		ms, ok := resp.ParseInt(args[0])
		if !ok {
			return commands.ErrNotInteger
		}
		s.engine.Data.Clock().SetOffset(ms)
	case is(name, "disk-free") && len(args) == 1:
		bytes, ok := resp.ParseInt(args[0])
		if !ok {
			return commands.ErrNotInteger
		}
		hooks.SetDiskFree(bytes)
	default:
		return errDebug(name)
	}
	return nil
}

// sleep keeps this connection alone busy. The end of the server ends it.
func (s *session) sleep(_ *buffers, args [][]byte) error {
	seconds, err := strconv.ParseFloat(string(args[0]), 64)
	if err != nil || !(seconds > 0) {
		return nil
	}
	select {
	case <-time.After(time.Duration(min(seconds, 1e6) * float64(time.Second))):
	case <-s.server.ending:
	}
	return nil
}

// atoi is C's: what is no number counts as 0.
func atoi(arg []byte) int64 {
	end := 0
	for end < len(arg) && (arg[end] >= '0' && arg[end] <= '9' || end == 0 && (arg[0] == '-' || arg[0] == '+')) {
		end++
	}
	n, err := strconv.ParseInt(string(arg[:end]), 10, 64)
	if err != nil {
		return min(n, math.MaxInt64)
	}
	return n
}

func (s *session) digest(b *buffers, _ [][]byte) error {
	b.call.W = &b.out
	digest, err := s.engine.Data.Digest(&b.call)
	if err != nil {
		return err
	}
	b.out.Status(hex.EncodeToString(digest[:]))
	return nil
}

func (s *session) digestValues(b *buffers, keys [][]byte) error {
	b.call.Args, b.call.DB, b.call.W = keys, s.db, &b.out
	digests, err := s.engine.Data.DigestValues(&b.call)
	if err != nil {
		return err
	}
	b.out.Array(len(digests))
	for i := range digests {
		b.out.Status(hex.EncodeToString(digests[i][:]))
	}
	return nil
}

// object asks what OBJECT knows of a key.
func (s *session) object(b *buffers, args [][]byte) error {
	ask := func(what string) (string, error) {
		var reply resp.Writer
		call := commands.Call{
			Row: s.server.opts.Table.Find([]byte("object|" + what)), Args: [][]byte{[]byte("object"), []byte(what), args[0]}, DB: s.db, W: &reply,
		}
		err := s.engine.Data.Do(&call)
		b.call.Seen = max(b.call.Seen, call.Seen)
		text := string(reply.Bytes())
		if failed, ok := strings.CutPrefix(text, "-"); ok && err == nil && what != "idletime" {
			err = commands.Error(strings.TrimSuffix(failed, "\r\n"))
		}
		return text, err
	}
	encoding, err := ask("encoding")
	if err != nil {
		return err
	}
	if encoding == "$-1\r\n" {
		return commands.ErrNoSuchKey
	}
	references, err := ask("refcount")
	if err != nil {
		return err
	}
	idle, err := ask("idletime")
	if err != nil {
		return err
	}
	lines := strings.Split(encoding, "\r\n")
	text := fmt.Sprintf("Value at:%#x refcount:%s encoding:%s", s.engine.Data.Cursor(args[0]), strings.Trim(references, ":\r\n"), lines[1])
	if sec, err := strconv.ParseInt(strings.Trim(idle, ":\r\n"), 10, 64); err == nil { // not with an lfu policy
		text += fmt.Sprintf(" lru:%d lru_seconds_idle:%d", (s.engine.Data.Clock().Now()/1000-sec)&lruMask, sec)
	}
	b.out.Status(text)
	return nil
}

// lruMask leaves the bits of a time in seconds that Redis keeps with each object.
const lruMask = 1<<24 - 1
