package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// The votes file: raft's term and vote, each fsynced before anybody is told, and what this node must remember of its own past:
//
//	unsynced  the boot of the machine in which entries were acknowledged before they were fsynced
//	amnesia   this node may have forgotten entries that it had acknowledged, and has not caught up since
const (
	votesFile   = "votes.db"
	entriesFile = "entries.db" // raft-boltdb's, in the log's directory
	lockTimeout = time.Second

	bootFile = "/proc/sys/kernel/random/boot_id"
)

var (
	keyTerm     = []byte("CurrentTerm") // raft's own name for it
	keyUnsynced = []byte("unsynced")
	keyAmnesia  = []byte("amnesia")
)

// votes is raft's StableStore.
type votes struct {
	*raftboltdb.BoltStore
	fatal func(error)
}

var _ raft.StableStore = votes{}

// votesBytes is more than the file ever needs: its room is taken at once, so that a full disk keeps nobody from voting.
const votesBytes = 256 << 10

func openVotes(dir string, fatal func(error)) (votes, error) {
	path := filepath.Join(dir, votesFile)
	_, statErr := os.Stat(path)
	store, err := openBolt(path)
	if err != nil {
		return votes{}, fmt.Errorf("opening %s: %w", path, err)
	}
	if errors.Is(statErr, os.ErrNotExist) {
		// A vote that a power cut could take away together with its file would be none.
		if err := syncDir(dir); err != nil {
			store.Close()
			return votes{}, err
		}
	}
	if err := allocate(path, votesBytes); err != nil {
		store.Close()
		return votes{}, fmt.Errorf("taking room for %s: %w", path, err)
	}
	return votes{store, fatal}, nil
}

// SetUint64 keeps the term, among others. Raft panics if that fails, so the node ends before, and says why. It also ends when the term would go back: raft's
// answer to a heartbeat, which waits for nobody, may meet the beginning of its own candidacy.
func (v votes) SetUint64(key []byte, n uint64) error {
	if !bytes.Equal(key, keyTerm) {
		return v.BoltStore.SetUint64(key, n)
	}
	known, err := v.term()
	if err == nil && n < known {
		err = fmt.Errorf("term %d follows term %d", n, known)
	}
	if err == nil {
		err = v.BoltStore.SetUint64(key, n)
	}
	if err != nil {
		v.fatal(fmt.Errorf("the term cannot be noted in %s, and without that this node might vote twice: %w", votesFile, err))
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// get returns a value, nil if there is none.
func (v votes) get(key []byte) ([]byte, error) {
	b, err := v.Get(key)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, nil
	}
	return b, err
}

// term is the newest term that raft has known; 0: it has never run here.
func (v votes) term() (uint64, error) {
	b, err := v.get(keyTerm)
	if err != nil || len(b) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// beginLife tells whether this node may have forgotten what it had acknowledged: the machine has been started anew since entries were acknowledged
// that might not have been fsynced, and nobody has stopped the node in an orderly way in between. It notes what the next start needs to know.
func (v votes) beginLife(boot string, clean, syncs bool) (amnesiac bool, err error) {
	unsynced, err := v.get(keyUnsynced)
	if err != nil {
		return false, err
	}
	noted, err := v.get(keyAmnesia)
	if err != nil {
		return false, err
	}
	amnesiac = len(noted) > 0
	if forgot := len(unsynced) > 0 && string(unsynced) != boot && !clean; forgot && !amnesiac {
		if err := v.Set(keyAmnesia, []byte("yes")); err != nil {
			return false, err
		}
		amnesiac = true
	}
	if syncs {
		boot = ""
	}
	return amnesiac, v.noteUnsynced(boot)
}

// noteUnsynced says in which boot of the machine entries are acknowledged before they are fsynced; "": in none.
func (v votes) noteUnsynced(boot string) error {
	if old, err := v.get(keyUnsynced); err != nil || string(old) == boot {
		return err
	}
	return v.Set(keyUnsynced, []byte(boot))
}

func (v votes) recovered() error { return v.Set(keyAmnesia, nil) }

// bootID names the present boot of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile(bootFile)
	return strings.TrimSpace(string(b)), err
}
