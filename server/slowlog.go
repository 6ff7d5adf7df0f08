package server

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sett/commands"
	"sett/resp"
)

// slowlog has the last commands that were slow. Any goroutine may use it.
type slowlog struct {
	mu      sync.Mutex
	entries []slowEntry // oldest first; guarded by mu
	nextID  int64       // guarded by mu; RESET does not begin anew
}

type slowEntry struct {
	id      int64
	unixSec int64
	took    time.Duration
	args    [][]byte // copied, trimmed, without secrets
	addr    string
	name    string
}

// What an entry keeps of a command.
const (
	slowArgs     = 32  // arguments, the last of which tells how many there were more
	slowArgBytes = 128 // of each
)

func (l *slowlog) add(s *session, row *commands.Row, args [][]byte, staged []commands.StagedArg, took time.Duration, maxLen int64) {
	e := slowEntry{unixSec: time.Now().Unix(), took: took, args: trimmed(row, args, staged), addr: s.addr, name: s.name}
	l.mu.Lock()
	e.id = l.nextID
	l.nextID++
	l.entries = append(l.entries, e)
	l.mu.Unlock()
	l.trim(maxLen)
}

// trimmed copies what the slow log keeps of a command.
func trimmed(row *commands.Row, args [][]byte, staged []commands.StagedArg) [][]byte {
	secret := secrets(row, args)
	kept := make([][]byte, min(len(args), slowArgs))
	for i := range kept {
		switch {
		case i == slowArgs-1 && len(args) > slowArgs:
			kept[i] = fmt.Appendf(nil, "... (%d more arguments)", len(args)-i)
		case slices.Contains(secret, i):
			kept[i] = []byte("(redacted)")
		case len(args[i]) > slowArgBytes:
			kept[i] = fmt.Appendf(args[i][:slowArgBytes:slowArgBytes], "... (%d more bytes)", len(args[i])-slowArgBytes)
		default:
			kept[i] = bytes.Clone(args[i])
		}
	}
	for _, arg := range staged { // they are in the store, not here
		if arg.Arg < slowArgs-1 || len(args) <= slowArgs {
			kept[arg.Arg] = fmt.Appendf(nil, "... (%d more bytes)", arg.Blob.Length)
		}
	}
	return kept
}

// secretSettings are those of which CONFIG SET must not be found in a log.
var secretSettings = []string{"masteruser", "masterauth", "requirepass", "tls-key-file-pass", "tls-client-key-file-pass"}

// secrets are the arguments that only the server may see.
func secrets(row *commands.Row, args [][]byte) (at []int) {
	switch row.Name {
	case "auth":
		for i := 1; i < len(args); i++ {
			at = append(at, i)
		}
	case "hello":
		for i := 2; i+2 < len(args); i++ {
			if is(args[i], "auth") {
				at = append(at, i+1, i+2)
				i += 2
			}
		}
	case "config|set":
		for i := 2; i+1 < len(args); i += 2 {
			name := strings.ReplaceAll(strings.ToLower(string(args[i])), "_", "-")
			if slices.Contains(secretSettings, name) {
				at = append(at, i+1)
			}
		}
	}
	return at
}

// trim forgets the oldest entries beyond maxLen.
func (l *slowlog) trim(maxLen int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if over := int64(len(l.entries)) - maxLen; over > 0 {
		l.entries = slices.Delete(l.entries, 0, int(over))
	}
}

// added is how many there ever were.
func (l *slowlog) added() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nextID
}

func (l *slowlog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// newest returns up to count entries, newest first.
func (l *slowlog) newest(count int64) []slowEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := slices.Clone(l.entries[len(l.entries)-int(min(count, int64(len(l.entries)))):])
	slices.Reverse(found)
	return found
}

func slowlogReset(s *session, b *buffers, _ [][]byte) {
	s.server.slowlog.trim(0)
	b.out.Status("OK")
}

func slowlogLen(s *session, b *buffers, _ [][]byte) { b.out.Int(int64(s.server.slowlog.len())) }

// slowlogGet is SLOWLOG GET [count].
func slowlogGet(s *session, b *buffers, args [][]byte) {
	count := int64(10)
	if len(args) > 3 {
		fail(b, errSubcommand("SLOWLOG", args[1]))
		return
	}
	if len(args) == 3 {
		n, ok := resp.ParseInt(args[2])
		if !ok || n < -1 {
			fail(b, errSlowlogCount)
			return
		}
		if count = n; n == -1 {
			count = int64(s.server.slowlog.len())
		}
	}
	entries := s.server.slowlog.newest(count)
	b.out.Array(len(entries))
	for _, e := range entries {
		b.out.Array(6)
		b.out.Int(e.id)
		b.out.Int(e.unixSec)
		b.out.Int(e.took.Microseconds())
		b.out.Array(len(e.args))
		for _, arg := range e.args {
			b.out.Bulk(arg)
		}
		b.out.BulkString(e.addr)
		b.out.BulkString(e.name)
	}
}

var slowlogHelp = []string{
	"GET [<count>]",
	"    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
	"    Entries are made of:",
	"    id, timestamp, time in microseconds, arguments array, client IP and port,",
	"    client name",
	"LEN",
	"    Return the length of the slowlog.",
	"RESET",
	"    Reset the slowlog.",
}
