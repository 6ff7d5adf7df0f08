package server

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"sett/commands"
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
	// Reload does what a restart does.
	Reload() error
	SetActiveExpire(active bool)
}

func runDebug(s *session, b *buffers, args [][]byte) {
	if err := s.debug(b, args); err != nil {
		fail(b, err)
	}
}

// debug replies, or returns an error.
func (s *session) debug(b *buffers, args [][]byte) error {
	name, args := args[1], args[2:]
	hooks := s.engine.Hooks
	switch {
	case is(name, "help") && len(args) == 0:
		help(b, "DEBUG", debugHelp)
		return nil
	case is(name, "sleep") && len(args) == 1:
		s.sleep(args[0])
	case is(name, "set-active-expire") && len(args) == 1:
		hooks.SetActiveExpire(atoi(args[0]) != 0)
	case is(name, "reload"), is(name, "loadaof"):
		if err := hooks.Reload(); err != nil {
			return err
		}
	case is(name, "digest") && len(args) == 0:
		return s.digest(b)
	case is(name, "error") && len(args) == 1:
		return commands.Error(args[0])
	case is(name, "panic") && len(args) == 0:
		panic("DEBUG PANIC")
	case is(name, "sett") && len(args) > 0:
		if err := s.debugSett(args[0], args[1:]); err != nil {
			return err
		}
	default:
		return errDebug(name)
	}
	b.out.Status("OK")
	return nil
}

var debugHelp = []string{
	"DIGEST",
	"    Output a hex signature representing the current DB content.",
	"ERROR <string>",
	"    Return a Redis protocol error with <string> as message. Useful for clients",
	"    unit tests to simulate Redis errors.",
	"LOADAOF",
	"    As RELOAD.",
	"PANIC",
	"    Panic in the middle of a command: this connection is closed, others go on.",
	"RELOAD",
	"    Flush and make durable, forget recent writes and cache, open Badger again, replay the log.",
	"SET-ACTIVE-EXPIRE <0|1>",
	"    Setting it to 0 disables expiring keys (and hash-fields) in background.",
	"SLEEP <seconds>",
	"    Do nothing for <seconds> on this connection. Decimals allowed.",
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
	"SETT CLOCK <milliseconds>",
	"    Move the wall clock that this node believes in, relative to the real one.",
	"SETT DROP-CACHE",
	"    Empty the record cache.",
	"SETT DISK-FREE <bytes>",
	"    Believe that so much disk space is free; -1 asks the disk again.",
}

// debugSett are the hooks that Redis has no name for.
func (s *session) debugSett(name []byte, args [][]byte) error {
	hooks := s.engine.Hooks
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
	case is(name, "drop-cache") && len(args) == 0:
		hooks.DropCache()
	case is(name, "clock") && len(args) == 1:
		ms, err := strconv.ParseInt(string(args[0]), 10, 64)
		if err != nil {
			return commands.ErrNotInteger
		}
		s.engine.Data.Clock().SetOffset(ms)
	case is(name, "disk-free") && len(args) == 1:
		bytes, err := strconv.ParseInt(string(args[0]), 10, 64)
		if err != nil {
			return commands.ErrNotInteger
		}
		hooks.SetDiskFree(bytes)
	default:
		return errDebug(name)
	}
	return nil
}

// sleep keeps this connection alone busy. The end of the server ends it.
func (s *session) sleep(arg []byte) {
	seconds, err := strconv.ParseFloat(string(arg), 64)
	if err != nil || !(seconds > 0) {
		return
	}
	select {
	case <-time.After(time.Duration(min(seconds, 1e6) * float64(time.Second))):
	case <-s.server.ending:
	}
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

func (s *session) digest(b *buffers) error {
	b.call.W = &b.out
	digest, err := s.engine.Data.Digest(&b.call)
	if err != nil {
		return err
	}
	b.out.Status(hex.EncodeToString(digest[:]))
	return nil
}
