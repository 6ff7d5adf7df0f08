package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"time"
)

// Refusal is why one of two nodes did not want to talk. errors.Is compares its Code only.
type Refusal struct {
	Code   string
	Reason string
	Peer   Identity // who said so, or who was refused, if it had proven who it is
	Theirs bool     // the other side refused
}

func (r *Refusal) Error() string {
	if r.Theirs {
		return "refused by the other side: " + r.Reason
	}
	return r.Reason
}

// Is tells whether a refusal is of the same sort.
func (r *Refusal) Is(other error) bool {
	o, ok := other.(*Refusal)
	return ok && o.Code == r.Code
}

// because is this refusal with more to read.
func (r *Refusal) because(peer Identity, format string, args ...any) *Refusal {
	return &Refusal{Code: r.Code, Reason: fmt.Sprintf(format, args...), Peer: peer}
}

var (
	ErrStranger = &Refusal{Code: "stranger", Reason: "this is not a node of sett"}
	ErrVersion  = &Refusal{Code: "version", Reason: "its hello is of a version that this build does not know"}
	ErrSecret   = &Refusal{Code: "secret", Reason: "cluster.secret differs"}
	ErrSelf     = &Refusal{Code: "self", Reason: "this is the node itself"}
	ErrCopy     = &Refusal{Code: "copy", Reason: "another process uses a copy of this node's data directory"}
	ErrCluster  = &Refusal{Code: "cluster", Reason: "it belongs to another cluster"}
	ErrEpoch    = &Refusal{Code: "epoch", Reason: "it was left behind when its cluster was recovered"}
	ErrBlank    = &Refusal{Code: "blank", Reason: "it does not belong to a cluster yet"}
	ErrNotYet   = &Refusal{Code: "not yet", Reason: "the node is not ready for this kind of stream"}
	ErrGate     = &Refusal{Code: "gate", Reason: "not now"}
	ErrCrowd    = &Refusal{Code: "crowd", Reason: "too many connections that do not say who they are"}
	ErrHello    = &Refusal{Code: "hello", Reason: "its hello makes no sense"}
)

// codeOf sorts an error of a hello.
func codeOf(err error) string {
	var r *Refusal
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &r):
		return r.Code
	case errors.As(err, &notTLS):
		return ErrStranger.Code
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "cut off"
	}
	return "broken"
}

func host(conn net.Conn) string {
	addr := conn.RemoteAddr().String()
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}

// quiet is how long nothing more is said about refusals of one sort after a line about them.
const quiet = 10 * time.Second

// maxSkew is how far wall clocks may be apart without a word.
const maxSkew = 500 * time.Millisecond

// skewAge is how long a clock that was found to be off counts: its node may be gone.
const skewAge = 10 * time.Minute

type skew struct {
	by time.Duration
	at time.Time
}

// tally counts, and says in the log what an operator should know, at most once in a while.
type tally struct {
	log *slog.Logger

	mu     sync.Mutex
	in     [lastKind + 1]uint64 // guarded by mu, like all below
	out    [lastKind + 1]uint64 //
	refuse map[string]uint64    // by code
	said   map[string]time.Time // last line about a code, or about a node's clock
	unsaid map[string]uint64    // refusals since
	skews  map[string]skew      // by node, as last noted
}

func (t *tally) accepted(k Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in[k]++
}

func (t *tally) dialed(k Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out[k]++
}

// refused counts a connection that was not let in.
func (t *tally) refused(code, from string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse == nil {
		t.refuse, t.unsaid = map[string]uint64{}, map[string]uint64{}
	}
	t.refuse[code]++
	if !t.maySay(code) {
		t.unsaid[code]++
		return
	}
	args := []any{"from", from, "why", code, "err", err}
	if r := (*Refusal)(nil); errors.As(err, &r) && r.Peer.NodeID != "" {
		args = append(args, "node", r.Peer.NodeID)
	}
	if n := t.unsaid[code]; n > 0 {
		args = append(args, "and_since_the_last_line", n)
	}
	t.unsaid[code] = 0
	level := slog.LevelWarn
	if code == ErrBlank.Code || code == ErrNotYet.Code { // part of every start
		level = slog.LevelInfo
	}
	t.log.Log(context.Background(), level, "a connection to the cluster port was refused", args...)
}

// maySay tells whether it is time for a line about something. mu is held.
func (t *tally) maySay(about string) bool {
	if t.said == nil {
		t.said = map[string]time.Time{}
	}
	if last, ok := t.said[about]; ok && time.Since(last) < quiet {
		return false
	}
	t.said[about] = time.Now()
	return true
}

// skew notes how far a node's clock is off, and warns.
func (t *tally) skew(node string, by time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.skews == nil {
		t.skews = map[string]skew{}
	}
	t.skews[node] = skew{by, time.Now()}
	if by.Abs() > maxSkew && t.maySay("clock of "+node) {
		t.log.Warn("wall clocks differ: keys may expire early or late when the leader changes; is time synchronised on both machines?",
			"node", node, "ahead_by", by)
	}
}

func (t *tally) stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{Accepted: map[Kind]uint64{}, Dialed: map[Kind]uint64{}, Refused: maps.Clone(t.refuse)}
	for k := firstKind; k <= lastKind; k++ {
		s.Accepted[k], s.Dialed[k] = t.in[k], t.out[k]
	}
	for _, noted := range t.skews {
		if time.Since(noted.at) < skewAge {
			s.Skew = max(s.Skew, noted.by.Abs())
		}
	}
	return s
}
