package powercut

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sett/compaction"
	"sett/replication"
	"sett/storage"
	"sett/types"
)

// childEnv holds the orders of a child. They are all it gets: its standard error is for what must not happen.
const childEnv = "SETT_POWERCUT_CHILD"

// orders are what the parent wants of a child.
type orders struct {
	Folder string // of this life
	Seed   uint64
	Life   uint32
	Fsync  string

	// The kill: Delay after the Nth time that When happens, but not later than Limit after the start.
	When  string
	Nth   int64
	Delay time.Duration
	Limit time.Duration
	// Stop, if it is not 0, is when the child begins to stop cleanly; then Nth counts operations from there on.
	Stop time.Duration
	// Change, if it is not empty, is a level that the child changes to, at ChangeAt.
	Change   string
	ChangeAt time.Duration
}

const writers = 6

// The folder of a life.
func (o orders) base() string    { return filepath.Join(o.Folder, "base") } // the disk before it
func (o orders) disk() string    { return filepath.Join(o.Folder, "disk") } // … and as the kill leaves it
func (o orders) copies() string  { return filepath.Join(o.Folder, "copies") }
func (o orders) journal() string { return filepath.Join(o.Folder, "journal") }

type child struct {
	orders
	recorder *recorder
	node     *node
	keeper   *compaction.Keeper
	stopping atomic.Bool
	copying  sync.Mutex
	copied   int // copies of Badger's files; guarded by copying
}

// runChild lives until its kill.
func runChild() {
	c := &child{}
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &c.orders); err != nil {
		fail(err)
	}
	out, err := os.OpenFile(c.journal(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		fail(err)
	}
	f := &fuse{when: c.When, delay: c.Delay}
	if c.Stop == 0 {
		f.left.Store(c.Nth)
	}
	time.AfterFunc(c.Limit, die)
	c.recorder = &recorder{root: c.disk(), journal: &journal{out: out}, fuse: f}
	fsync, err := replication.ParseFsync(c.Fsync)
	if err != nil {
		fail(err)
	}
	if c.node, err = start(c.recorder, c.disk(), fsync, c.copyBadger, c.copyValues, slog.New(listener{slog.DiscardHandler, c.recorder}), fail); err != nil {
		fail(err)
	}
	headers, chunks := types.BlobRanges()
	c.keeper = compaction.New(compaction.Options{Store: c.node.store, Layout: compaction.Layout{
		Dead: types.DeadRange(), Doomed: types.Doomed, Estate: types.Estate, Bequest: types.Bequest, Noted: types.NotedRange(), NoteValue: types.NoteValue,
		Headers: headers, Chunks: chunks, AppendHeaderOf: types.AppendHeaderOf,
	}})
	for i := range writers {
		go c.write(i)
	}
	if c.Life%3 != 0 {
		go c.tidy()
	}
	if c.Stop > 0 {
		time.AfterFunc(c.Stop, c.stop)
	}
	if c.Change != "" {
		time.AfterFunc(c.ChangeAt, c.change)
	}
	c.watchFlushes()
}

// change changes the fsync level.
func (c *child) change() {
	level, err := replication.ParseFsync(c.Change)
	if err != nil {
		fail(err)
	}
	c.recorder.note(record{kind: noted, path: "change"})
	if err := c.node.solo.SetFsync(level); err == nil {
		c.recorder.note(record{kind: noted, path: "changed", data: []byte(c.Change)})
	} else if !c.stopping.Load() {
		fail(err)
	}
}

// tidy gives space back without a rest.
func (c *child) tidy() {
	for !c.stopping.Load() {
		err := c.keeper.Reclaim()
		if err == nil {
			err = c.keeper.Collect()
		}
		if err == nil {
			err = c.keeper.Compact()
		}
		if err != nil && !c.stopping.Load() && !errors.As(err, new(*storage.MisconfError)) {
			fail(fmt.Errorf("giving space back: %w", err))
		}
		if n := c.keeper.Stats().CollectedFiles.Load(); n > 0 {
			c.recorder.note(record{kind: noted, path: "collected", at: int64(n)})
		}
	}
}

// stop ends the node cleanly, unless the kill comes first.
func (c *child) stop() {
	c.stopping.Store(true)
	c.recorder.note(record{kind: noted, path: "stop"})
	c.recorder.fuse.left.Store(c.Nth)
	c.keeper.Stop()
	if err := c.node.stop(); err != nil {
		fail(err)
	}
	c.recorder.note(record{kind: noted, path: "stopped"})
	die()
}

// fuse kills the process at the moment it was made for.
type fuse struct {
	when  string
	left  atomic.Int64
	delay time.Duration
}

func (f *fuse) saw(moment string) {
	if moment != f.when || f.left.Add(-1) != 0 {
		return
	}
	if f.delay == 0 {
		die()
	}
	time.AfterFunc(f.delay, die)
}

// die is kill -9.
func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// fail ends a child that found something wrong.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(1)
}

func (c *child) write(number int) {
	r := rand.New(rand.NewPCG(c.Seed, uint64(number)))
	b := &books{keys: types.New(c.node.dir.Seed())}
	for {
		time.Sleep(time.Duration(r.Int64N(int64(2 * time.Millisecond))))
		ticket, err := c.writeOne(b)
		switch {
		case err == nil:
			c.recorder.note(record{kind: acked, at: int64(ticket)})
		case c.stopping.Load():
			return
		case errors.As(err, new(*storage.MisconfError)):
			// It is behind: again, after a while.
		default:
			fail(err)
		}
	}
}

func (c *child) writeOne(b *books) (ticket uint64, err error) {
	if err := c.node.store.Admit(false); err != nil {
		return 0, err
	}
	err = c.node.store.Update(&b.txn, step(func() (err error) {
		ticket, err = writeBatch(b, c.Seed, c.Life)
		return err
	}))
	if err != nil {
		return 0, err
	}
	return ticket, c.node.store.Wait(b.txn.Seen())
}

// watchFlushes tells the journal, and the fuse, when there is something to flush.
func (c *child) watchFlushes() {
	for was := false; ; time.Sleep(500 * time.Microsecond) {
		if is := c.node.store.Status().Generations > 1; is != was {
			was = is
			c.recorder.note(record{kind: noted, path: map[bool]string{true: "flush", false: "flushed"}[is]})
		}
	}
}

// listener hears what Badger says while it collects a value log file: it notes when values are moved and nothing is deleted.
type listener struct {
	slog.Handler
	recorder *recorder
}

func (listener) Enabled(context.Context, slog.Level) bool { return true }

func (l listener) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "badger: Total entries: ") && !strings.HasSuffix(r.Message, " Moved: 0") {
		l.recorder.note(record{kind: noted, path: "moved"})
	}
	return nil
}

// copyBadger keeps the files that Badger has mapped as they are after a barrier's fsync.
func (c *child) copyBadger(dir string) {
	c.copying.Lock()
	defer c.copying.Unlock()
	c.recorder.note(record{kind: noted, path: "barrier"})
	files, err := readMapped(dir)
	if err != nil {
		fail(err)
	}
	c.keep(files)
	c.recorder.note(record{kind: noted, path: "copied"})
}

// copyValues keeps the value log as it is after an fsync of that alone, with all else as it was.
func (c *child) copyValues(dir string) {
	c.copying.Lock()
	defer c.copying.Unlock()
	last := filepath.Join(c.base(), dataDir, filepath.Base(dir))
	if c.copied > 0 {
		last = c.copyNumber(c.copied)
	}
	files, err := readMapped(last)
	if err != nil {
		fail(err)
	}
	now, err := readMapped(dir)
	if err != nil {
		fail(err)
	}
	for name, f := range now {
		if strings.HasSuffix(name, ".vlog") {
			files[name] = f
		}
	}
	c.keep(files)
}

func (c *child) copyNumber(n int) string { return filepath.Join(c.copies(), fmt.Sprintf("%06d", n)) }

// keep makes the next copy, and removes the one before.
func (c *child) keep(files map[string]*pages) {
	unfinished := filepath.Join(c.copies(), "unfinished")
	err := os.MkdirAll(unfinished, 0o750)
	for name, f := range files {
		if err == nil {
			err = f.write(filepath.Join(unfinished, name))
		}
	}
	c.copied++
	if err = errors.Join(err, os.Rename(unfinished, c.copyNumber(c.copied))); err != nil {
		fail(err)
	}
	os.RemoveAll(c.copyNumber(c.copied - 1))
}

// isMapped tells whether Badger writes a file only through memory.
func isMapped(name string) bool {
	return strings.HasSuffix(name, ".mem") || strings.HasSuffix(name, ".vlog") || name == "DISCARD"
}
