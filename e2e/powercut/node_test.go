package powercut

import (
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"sett/replication"
	"sett/replication/wal"
	"sett/storage"
)

// dataDir is the data directory's name on the disk that loses its power.
const dataDir = "data"

// node is a store with its log, put together as the server does it, with everything small.
type node struct {
	dir   *storage.Dir
	log   *wal.Log
	store *storage.Store
	solo  *replication.Solo
}

// start opens what is on a disk.
func start(fsys storage.FS, disk string, fsync replication.Fsync, onBarrier, onValues func(string), logger *slog.Logger, fatal func(error)) (n *node, err error) {
	n = &node{}
	defer func() {
		if err != nil {
			n.letGo()
		}
	}()
	if n.dir, err = storage.OpenDir(fsys, filepath.Join(disk, dataDir)); err != nil {
		return n, err
	}
	durable, err := n.dir.Durable()
	if err != nil {
		return n, err
	}
	n.log, err = wal.Open(wal.Options{FS: fsys, Dir: n.dir.LogDir(), SegmentBytes: segmentBytes, Seed: n.dir.Seed()},
		wal.Known{Durable: durable, CleanEnd: n.dir.CleanEnd()})
	if err != nil {
		return n, err
	}
	n.store, err = storage.Open(n.dir, storage.Options{
		MemoryBudget: storage.MinMemoryBudget, GenerationRecords: 2000, FlushInterval: 200 * time.Millisecond, BarrierInterval: 500 * time.Millisecond,
		LogSegmentBytes: segmentBytes, EntryBytes: 16 << 10, OnBarrier: onBarrier, OnValuesSynced: onValues, Logger: logger, Fatal: fatal,
		ValueLogBytes: 1 << 20, StraightBytes: 40 << 10,
	})
	if err != nil {
		return n, err
	}
	if err := n.dir.BeginUse(); err != nil {
		return n, err
	}
	n.solo = replication.NewSolo(n.log, replication.SoloOptions{Fsync: fsync, Fatal: fatal})
	_, err = n.solo.Start(n.store)
	return n, err
}

const segmentBytes = 1 << 20

// letGo ends a node that did not start.
func (n *node) letGo() {
	if n.store != nil {
		n.store.Close(false)
	}
	if n.log != nil {
		n.log.Close()
	}
	if n.dir != nil {
		n.dir.Close()
	}
}

// stop ends a node as a clean stop of the server does.
func (n *node) stop() error {
	err := n.store.Close(true)
	end, lerr := n.solo.Close()
	if err = errors.Join(err, lerr); err == nil {
		err = n.dir.MarkClean(end)
	}
	return errors.Join(err, n.dir.Close())
}
