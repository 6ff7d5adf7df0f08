package replication

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"sett/storage"
)

// What the first version with clusters left on disks, or sends to other nodes, written down anew: this build reads it.

// The votes file: raft-boltdb's two buckets, and our own keys beside raft's.
func TestVotesOfVersion1(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, "votes.db"), 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte("logs")); err != nil {
			return err
		}
		conf, err := tx.CreateBucket([]byte("conf"))
		if err != nil {
			return err
		}
		for key, value := range map[string][]byte{
			"CurrentTerm": {0, 0, 0, 0, 0, 0, 0, 7}, "LastVoteTerm": {0, 0, 0, 0, 0, 0, 0, 7}, "LastVoteCand": []byte("10.0.0.2:7380"), "unsynced": []byte("an older boot"),
		} {
			if err := conf.Put([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, db.Close())
	v, err := openVotes(dir, noFatal(t))
	must(t, err)
	defer v.Close()
	if term, err := v.term(); term != 7 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
	if term, err := v.GetUint64([]byte("LastVoteTerm")); term != 7 || err != nil {
		t.Errorf("vote in term %d, %v", term, err)
	}
	if amnesiac, err := v.beginLife("this boot", false, false); !amnesiac || err != nil {
		t.Errorf("it may have forgotten entries, and does not know: %v", err)
	}
	if noted, err := v.get([]byte("amnesia")); string(noted) != "yes" || err != nil {
		t.Errorf("amnesia: %q, %v", noted, err)
	}
}

// marker1 is the file marker: entry 9 of term 2, and a configuration of one voter as raft encodes it.
const marker1 = `{"Format":1,"Index":9,"Term":2,"Configuration":"gadTZXJ2ZXJzkYOnQWRkcmVzc6NhOjGiSUShYahTdWZmcmFnZQA=","ConfigurationIndex":4}`

func TestMarkerOfVersion1(t *testing.T) {
	s := openBare(t)
	write := func(text string) {
		t.Helper()
		sum := crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
		must(t, os.WriteFile(filepath.Join(s.path, "badger-1", "marker"), fmt.Appendf(nil, "%s\n%08x\n", text, sum), 0o640))
	}
	write(marker1)
	snapshots, err := NewSnapshots(SnapshotOptions{Store: s.Store})
	must(t, err)
	metas, err := snapshots.List()
	snapshots.Close()
	if err != nil || len(metas) != 1 || metas[0].Index != 9 || metas[0].Term != 2 || metas[0].ConfigurationIndex != 4 || len(metas[0].Configuration.Servers) != 1 ||
		metas[0].Configuration.Servers[0] != (raft.Server{ID: "a", Address: "a:1"}) {
		t.Errorf("%+v, %v", metas, err)
	}
	write(strings.Replace(marker1, `"Format":1`, `"Format":2`, 1))
	if _, err := NewSnapshots(SnapshotOptions{Store: s.Store}); err == nil || !strings.Contains(err.Error(), "start a newer sett") {
		t.Errorf("a marker of a newer version: %v", err)
	}
}

// The stream in which a snapshot goes, as its receiver gets it.
func TestSnapshotStreamOfVersion1(t *testing.T) {
	s := openBare(t)
	snapshots, err := NewSnapshots(SnapshotOptions{Store: s.Store})
	must(t, err)
	defer snapshots.Close()
	head := `{"ProtocolVersion":3,"ID":"YQ==","Addr":"YToxMQ==","SnapshotVersion":1,"Term":2,"Leader":"YTox","LastLogIndex":9,"LastLogTerm":2,"Peers":null,` +
		`"Configuration":"gadTZXJ2ZXJzkYOnQWRkcmVzc6NhOjGiSUShYahTdWZmcmFnZQA=","ConfigurationIndex":4,"Size":0}`
	stream := append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	stream = append(stream, 0xff, 0xff, 0xff, 0xff)                                   // a sign of life
	stream = append(append(stream, 0, 0, 0, 6), "badger"...)                          // a frame
	stream = append(append(stream, 0, 0, 0, 5), " sett"...)                           // … and another
	stream = append(stream, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11)                      // the end: so many bytes,
	stream = binary.BigEndian.AppendUint64(stream, xxhash.Sum64String("badger sett")) // and their xxhash64

	ours, theirs := net.Pipe()
	theirs.SetDeadline(time.Now().Add(10 * time.Second))
	go theirs.Write(stream)
	said := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(theirs)
		said <- bytes.TrimLeft(b, ".")
	}()
	snapshots.Receive(ours, func(rpc raft.RPC) bool {
		req := rpc.Command.(*raft.InstallSnapshotRequest)
		data, err := io.ReadAll(rpc.Reader)
		if err != nil || string(data) != "badger sett" || req.Size != 11 || req.LastLogIndex != 9 || req.LastLogTerm != 2 || string(req.ID) != "a" {
			t.Errorf("%q, %v, %+v", data, err, req)
		}
		rpc.Respond(&raft.InstallSnapshotResponse{Term: 2, Success: true}, nil)
		return true
	})
	want := `{"Response":{"ProtocolVersion":0,"ID":null,"Addr":null,"Term":2,"Success":true},"Err":""}`
	if got := <-said; len(got) < 5 || got[0] != 'R' || string(got[5:]) != want {
		t.Errorf("it answers %q", got)
	}
}

// opened is a store without a log.
type opened struct {
	*storage.Store
	path string
}

func openBare(t *testing.T) opened {
	t.Helper()
	path := t.TempDir()
	dir, err := storage.OpenDir(storage.OSFS{}, path)
	must(t, err)
	store, err := storage.Open(dir, storage.Options{MemoryBudget: storage.MinMemoryBudget})
	must(t, err)
	t.Cleanup(func() { store.Close(false); dir.Close() })
	return opened{store, path}
}
