package replication

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes on what raft has to say. What it tells of each step is for those who look for a fault.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(&raftSink{to: to, said: map[string]saying{}})
	return l
}

// quietFor is how long nothing more is said of what raft says again and again, as of each heartbeat to a node that is down.
const quietFor = time.Minute

// raftSink passes a line on at once, and then once in quietFor with a count.
type raftSink struct {
	to *slog.Logger

	mu   sync.Mutex
	said map[string]saying // by message and peer; guarded by mu
}

type saying struct {
	at     time.Time
	unsaid int // since
}

// maySay tells whether a line is to be passed on, and how many were not since the last.
func (s *raftSink) maySay(msg string, args []any, now time.Time) (yes bool, unsaid int) {
	about := msg
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "server-id", "target", "addr":
			about += fmt.Sprint(" ", args[i+1])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.said[about]
	if known && now.Sub(last.at) < quietFor {
		last.unsaid++
		s.said[about] = last
		return false, 0
	}
	if len(s.said) >= maxSayings {
		clear(s.said)
	}
	s.said[about] = saying{at: now}
	return true, last.unsaid
}

// maxSayings is far more than there are messages and peers.
const maxSayings = 1000

// Accept is called for each line. An election is the node's own business to tell; raft's errors are those of a connection, mostly.
func (s *raftSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	as := slog.LevelDebug
	if level >= hclog.Warn {
		as = slog.LevelInfo
	}
	if !s.to.Enabled(context.Background(), as) {
		return
	}
	if as > slog.LevelDebug {
		say, unsaid := s.maySay(msg, args, time.Now())
		if !say {
			return
		}
		if unsaid > 0 {
			args = append(slices.Clip(args), "and_since_the_last_line", unsaid)
		}
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	s.to.Log(context.Background(), as, "raft: "+msg, args...)
}
