package replication

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Without a note of its term a node would be a danger to others: it ends, with a reason, before raft panics.
func TestTermCannotBeNoted(t *testing.T) {
	for name, spoil := range map[string]func(v votes) (term uint64){
		"no disk": func(v votes) uint64 { v.Close(); return 8 },
		"back":    func(votes) uint64 { return 6 },
	} {
		t.Run(name, func(t *testing.T) {
			var why error
			v, err := openVotes(t.TempDir(), func(err error) { why = err })
			must(t, err)
			defer v.Close()
			must(t, v.SetUint64(keyTerm, 7))
			if why != nil {
				t.Fatal(why)
			}
			if err := v.SetUint64(keyTerm, spoil(v)); err == nil || why == nil {
				t.Errorf("the node goes on: %v, %v", err, why)
			}
		})
	}
}

// The room that votes need is there from the start.
func TestVotesHaveRoom(t *testing.T) {
	dir := t.TempDir()
	v, err := openVotes(dir, noFatal(t))
	must(t, err)
	defer v.Close()
	blocks := func() int64 {
		info, err := os.Stat(filepath.Join(dir, votesFile))
		must(t, err)
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	before := blocks()
	if before < votesBytes {
		t.Skipf("this file system takes no room in advance: %d bytes", before)
	}
	for term := range uint64(200) {
		must(t, v.SetUint64(keyTerm, term))
		must(t, v.Set([]byte("LastVoteCand"), []byte("10.0.0.1:7380")))
		must(t, v.SetUint64([]byte("LastVoteTerm"), term))
	}
	if now := blocks(); now > before {
		t.Errorf("%d bytes, and %d after 200 elections", before, now)
	}
}
