package damage

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"sett/commands"
	"sett/replication"
	"sett/replication/wal"
	"sett/resp"
	"sett/storage"
	"sett/types"
)

// node is a server without its network.
type node struct {
	dir   *storage.Dir
	log   *wal.Log
	store *storage.Store
	solo  *replication.Solo
	data  *commands.DataSet
	call  commands.Call
}

const segmentBytes = 1 << 20

// start puts a node together as main does. Flushes and barriers come when they are asked for.
func start(path string, fsync replication.Fsync) (n *node, err error) {
	n = &node{}
	defer func() {
		if err != nil {
			n.letGo()
		}
	}()
	if n.dir, err = storage.OpenDir(storage.OSFS{}, path); err != nil {
		return n, err
	}
	durable, err := n.dir.Durable()
	if err != nil {
		return n, err
	}
	n.log, err = wal.Open(wal.Options{FS: storage.OSFS{}, Dir: n.dir.LogDir(), SegmentBytes: segmentBytes, Seed: n.dir.Seed()},
		wal.Known{Durable: durable, CleanEnd: n.dir.CleanEnd()})
	if err != nil {
		return n, err
	}
	n.store, err = storage.Open(n.dir, storage.Options{
		MemoryBudget: storage.MinMemoryBudget, FlushInterval: time.Hour, BarrierInterval: time.Hour, LogSegmentBytes: segmentBytes,
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		return n, err
	}
	if err := n.dir.BeginUse(); err != nil {
		return n, err
	}
	n.solo = replication.NewSolo(n.log, replication.SoloOptions{Fsync: fsync, Fatal: func(err error) { panic(err) }})
	if _, err = n.solo.Start(n.store); err != nil {
		return n, err
	}
	n.data = commands.NewDataSet(n.store, types.New(n.dir.Seed()), commands.Options{})
	n.call.W = &resp.Writer{}
	return n, nil
}

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

// stop is a clean stop.
func (n *node) stop() error {
	err := n.store.Close(true)
	end, lerr := n.solo.Close()
	if err = errors.Join(err, lerr); err == nil {
		err = n.dir.MarkClean(end)
	}
	return errors.Join(err, n.dir.Close())
}

// multi runs commands as one transaction and waits until it is committed.
func (n *node) multi(db int, steps ...[]string) error {
	var queued []commands.Step
	for _, args := range steps {
		queued = append(queued, commands.Step{Row: n.data.Table().Lookup([]byte(args[0])), Args: bytesOf(args)})
	}
	n.call.DB = db
	n.call.W.Reset()
	err := n.data.Exec(&n.call, queued, nil, nil)
	if err == nil && n.call.W.Bytes()[0] != '*' {
		err = fmt.Errorf("%q: %q", steps, n.call.W.Bytes())
	}
	if err != nil {
		return err
	}
	return n.store.Wait(n.call.Seen)
}

// do runs one command and returns its reply.
func (n *node) do(db int, args ...string) (string, error) {
	n.call.Row, n.call.Args, n.call.DB = n.data.Table().Lookup([]byte(args[0])), bytesOf(args), db
	n.call.W.Reset()
	if err := n.data.Do(&n.call); err != nil {
		return "", err
	}
	return string(n.call.W.Bytes()), n.store.Wait(n.call.Seen)
}

func bytesOf(args []string) [][]byte {
	b := make([][]byte, len(args))
	for i, a := range args {
		b[i] = []byte(a)
	}
	return b
}

func bulk(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

const null = "$-1\r\n"
