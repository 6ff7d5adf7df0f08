package damage

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
		step := commands.Step{Row: n.data.Table().Lookup([]byte(args[0])), Args: bytesOf(args)}
		if err := n.stage(&step); err != nil {
			return err
		}
		queued = append(queued, step)
	}
	n.call.DB = db
	n.call.W.Reset()
	err := n.data.Exec(&n.call, queued, nil, nil)
	if reply := n.call.W.Bytes(); err == nil && (reply[0] != '*' || bytes.Contains(reply, []byte("\r\n-"))) {
		err = fmt.Errorf("%.200q: %q", steps, reply)
	}
	if err != nil {
		return err
	}
	return n.store.Wait(n.call.Seen)
}

// stage has a long value arrive as it does on the wire.
func (n *node) stage(step *commands.Step) error {
	last := len(step.Args) - 1
	value := step.Args[last]
	if len(value) <= commands.StagedAbove {
		return nil
	}
	staging, err := n.data.Stage(len(value))
	if err != nil {
		return err
	}
	if err := staging.Write(value); err != nil {
		return err
	}
	blob, err := staging.Finish()
	step.Args[last], step.Staged = nil, []commands.StagedArg{{Arg: last, Blob: blob}}
	return err
}

// abandon begins to stage a value and leaves it there, as a kill does.
func (n *node) abandon() error {
	value := make([]byte, commands.StagedAbove)
	staging, err := n.data.Stage(len(value))
	if err != nil {
		return err
	}
	return staging.Write(value[:300<<10]) // more than a batch of it
}

// do runs one command and returns its reply.
func (n *node) do(db int, args ...string) (string, error) {
	n.call.Row, n.call.Args, n.call.DB = n.data.Table().Lookup([]byte(args[0])), bytesOf(args), db
	n.call.W.Reset()
	if err := n.data.Do(&n.call); err != nil {
		return "", err
	}
	if err := n.store.Wait(n.call.Seen); err != nil || !n.call.W.Streams() {
		return string(n.call.W.Bytes()), err
	}
	return n.streamed()
}

// streamed is a reply that is read while it leaves. If damage is met on the way a connection ends; here that is an error reply.
func (n *node) streamed() (string, error) {
	var reply strings.Builder
	out := n.call.W.Outgoing()
	for {
		piece, err := out.Next()
		if errors.As(err, new(*storage.CorruptError)) {
			return fmt.Sprintf("-CORRUPT after %d bytes: %v", reply.Len(), err), nil
		}
		if err != nil || len(piece) == 0 {
			return reply.String(), err
		}
		reply.Write(piece)
	}
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
