package replication

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// What raft says of each heartbeat to a node that is down is in the log once, and later with a count.
func TestRaftRepeatsItself(t *testing.T) {
	var b bytes.Buffer
	s := &raftSink{to: slog.New(slog.NewTextHandler(&b, nil)), said: map[string]saying{}}
	for range 10 {
		s.Accept("raft", hclog.Error, "failed to heartbeat to", "peer", "a", "error", "refused")
	}
	s.Accept("raft", hclog.Error, "failed to heartbeat to", "peer", "b", "error", "refused")
	if got := strings.Count(b.String(), "failed to heartbeat"); got != 2 {
		t.Errorf("10 lines about one peer and one about another are %d:\n%s", got, b.String())
	}
	if yes, unsaid := s.maySay("failed to heartbeat to", []any{"peer", "a"}, time.Now().Add(2*quietFor)); !yes || unsaid != 9 {
		t.Errorf("a while later: %v, %d were not said", yes, unsaid)
	}
}
