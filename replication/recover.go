package replication

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"sett/replication/wal"
	"sett/storage"
)

// Recovery has a node go on alone with what it has, when most voters are gone for good and nobody can be elected any more. The server must not run.
//
// It adds one entry to the node's log: a configuration with this node as the only voter, in a term that is newer than any it has known. The
// configuration counts as soon as it is in the log; so at its next start the node elects itself, and with the first entry of that term everything
// in its log is committed: also what no majority had agreed on. What the others had, and this node has not, is lost.
//
// The others must not come back with their old data: two clusters of one name would go their own ways. So the recovery begins a new epoch, and
// it does so first: whoever is still in the old one is not listened to any more.
type Recovery struct {
	// First and Last are the entries of this node's log, Term is the last one's, and At the time when it was made, if it says so.
	First, Last, Term uint64
	At                time.Time
	Members           []Member // of the newest configuration that this node knows
	Epoch             uint64   // that will begin

	dir     *storage.Dir
	entries entries
	votes   votes
	voted   uint64 // the newest term in which this node may have voted
}

// NewRecovery looks at a node's log. log is nil if raft-boltdb has it.
func NewRecovery(dir *storage.Dir, log *wal.Log) (_ *Recovery, err error) {
	r := &Recovery{dir: dir, Epoch: dir.Node().Epoch + 1}
	if dir.Node().ClusterID == "" {
		return nil, errors.New("this data directory belongs to no cluster: there is nothing to recover")
	}
	if r.entries = (walEntries{log}); log == nil {
		store, err := openBolt(filepath.Join(dir.LogDir(), entriesFile))
		if err != nil {
			return nil, err
		}
		r.entries = &boltEntries{store: store}
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.votes, err = openVotes(dir.Path(), func(error) {}); err != nil { // whoever asks for this gets the error
		return nil, err
	}
	if r.voted, err = r.votes.term(); err != nil {
		return nil, err
	}
	if err := r.survey(); err != nil {
		return nil, err
	}
	if len(r.Members) == 0 {
		return nil, errors.New("this node has never heard who belongs to the cluster: it has no data, and nothing is lost without it")
	}
	return r, nil
}

// survey finds the end of the log and the newest configuration, which is in the log or else in the marker.
func (r *Recovery) survey() error {
	var marker struct {
		Index, Term   uint64
		Configuration []byte
	}
	marked, err := r.dir.Marker(&marker)
	if err != nil {
		return err
	}
	r.First, r.Last = r.entries.bounds()
	if r.Last < r.First { // what a copy of another node's data leaves
		r.Last, r.Term = marker.Index, marker.Term
	}
	configuration := marker.Configuration
	for index := r.Last; index >= r.First && index > 0; index-- {
		found, err := r.entries.read(index)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		e := found[0]
		if index == r.Last {
			r.Term = e.Term
		}
		if e.Type == raft.LogCommand && r.At.IsZero() {
			if timeMs, err := storage.EntryTime(e.Data); err == nil {
				r.At = time.UnixMilli(timeMs)
			}
		}
		if e.Type == raft.LogConfiguration {
			configuration = e.Data
			break
		}
	}
	if configuration == nil && !marked {
		return nil
	}
	for _, s := range raft.DecodeConfiguration(configuration).Servers {
		r.Members = append(r.Members, Member{ID: string(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return nil
}

// GoOnAlone does it. If it is cut short it can be done again.
func (r *Recovery) GoOnAlone() error {
	if err := r.dir.StandBy(); err != nil {
		return err
	}
	if err := r.dir.SetEpoch(r.Epoch); err != nil {
		return err
	}
	if err := r.dir.Settle(); err != nil {
		return err
	}
	clean := r.dir.CleanEnd() > 0
	if err := r.dir.BeginUse(); err != nil {
		return err
	}
	self := r.dir.Node()
	term := max(r.Term, r.voted) + 1
	alone := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(self.ID), Address: raft.ServerAddress(self.Addr)}}}
	entry := &raft.Log{Index: r.Last + 1, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(alone)}
	if err := r.entries.append([]*raft.Log{entry}); err != nil {
		return err
	}
	if err := r.entries.sync(); err != nil {
		return err
	}
	if err := r.votes.SetUint64(keyTerm, term); err != nil || !clean {
		return err
	}
	return r.dir.MarkClean(entry.Index)
}

// Close lets go of the files. The wal is its owner's to close.
func (r *Recovery) Close() error {
	var err error
	if b, ok := r.entries.(*boltEntries); ok {
		err = b.close()
	}
	if r.votes.BoltStore != nil {
		err = errors.Join(err, r.votes.Close())
	}
	return err
}
