package commands

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// memLog is a log in memory that commits at once.
type memLog struct {
	mu      sync.Mutex
	store   *storage.Store
	entries [][]byte
	applied uint64
}

func (l *memLog) Propose(entry []byte) error {
	l.mu.Lock()
	l.entries = append(l.entries, append([]byte(nil), entry...))
	l.mu.Unlock()
	return l.apply()
}

func (l *memLog) Waits() bool { return false }

func (l *memLog) apply() error {
	for {
		l.mu.Lock()
		if l.applied == uint64(len(l.entries)) {
			l.mu.Unlock()
			return nil
		}
		entry := l.entries[l.applied]
		l.applied++
		index := l.applied
		l.mu.Unlock()
		if err := l.store.Apply(index, 1, entry); err != nil {
			return err
		}
	}
}

func (l *memLog) SyncTo(uint64) error { return nil }

func (l *memLog) Read(index uint64) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index == 0 || index > l.applied {
		return 0, nil, fmt.Errorf("no entry %d", index)
	}
	return 1, l.entries[index-1], nil
}

func (l *memLog) Trim(uint64) {}

// hands are the clocks of a test.
type hands struct {
	mu   sync.Mutex
	wall time.Time
	mono time.Duration
}

func (h *hands) source() (time.Time, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wall, h.mono
}

func (h *hands) pass(ms int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall = h.wall.Add(time.Duration(ms) * time.Millisecond)
	h.mono += time.Duration(ms) * time.Millisecond
}

func (h *hands) now() int64 {
	wall, _ := h.source()
	return wall.UnixMilli()
}

// house is a data set with all that it needs, on real storage that flushes and reopens at short intervals.
type house struct {
	t     testing.TB
	dir   string
	log   *memLog
	hands *hands
	flush time.Duration // how often a generation is written
	opts  Options

	home  *storage.Dir
	store *storage.Store
	set   *DataSet
}

func newHouse(t testing.TB, opts Options) *house {
	return newFlushingHouse(t, opts, 5*time.Millisecond)
}

func newFlushingHouse(t testing.TB, opts Options, every time.Duration) *house {
	h := &house{t: t, dir: t.TempDir(), log: &memLog{}, opts: opts, flush: every, hands: &hands{wall: time.Now().Truncate(time.Millisecond)}}
	h.open()
	t.Cleanup(func() { h.close() })
	return h
}

func (h *house) open() {
	h.t.Helper()
	var err error
	if h.home, err = storage.OpenDir(storage.OSFS{}, h.dir); err != nil {
		h.t.Fatal(err)
	}
	h.store, err = storage.Open(h.home, storage.Options{
		MemoryBudget: 128 << 20, GenerationRecords: 200, FlushInterval: h.flush, BarrierInterval: 50 * time.Millisecond,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.log.store = h.store
	if err := h.store.Begin(h.log, 1, uint64(len(h.log.entries))); err != nil {
		h.t.Fatal(err)
	}
	h.log.applied = h.store.ReplayFrom() - 1
	if err := h.log.apply(); err != nil {
		h.t.Fatal(err)
	}
	h.store.Lead(1)
	opts := h.opts
	opts.Clock = ttl.NewClock(h.store.LastTime(), ttl.ClockOptions{Source: h.hands.source})
	h.set = NewDataSet(h.store, types.New(h.home.Seed()), opts)
}

func (h *house) close() {
	if err := h.store.Close(false); err != nil {
		h.t.Error(err)
	}
	h.home.Close()
}

// reopen is a restart: what was in memory only comes back from the log.
func (h *house) reopen() {
	h.close()
	h.open()
}

// client is a session: as much of server/ as these tests need.
type client struct {
	h     *house
	call  Call
	w     resp.Writer
	db    int
	multi bool
	bad   bool // a queued command was refused
	steps []Step
	watch Watch
}

func (h *house) client() *client { return &client{h: h} }

// do runs a command and returns the bytes of its reply.
func (c *client) do(words ...string) string {
	args := make([][]byte, len(words))
	for i, word := range words {
		args[i] = []byte(word)
	}
	return c.doArgs(args)
}

func (c *client) doArgs(args [][]byte) string {
	c.h.t.Helper()
	c.w.Reset()
	c.call.W = &c.w
	if err := c.run(args); err != nil && !ReplyError(&c.w, err) {
		c.h.t.Fatalf("%q: %v", args, err)
	}
	return string(c.w.Bytes())
}

func (c *client) run(args [][]byte) error {
	row, err := c.h.set.Table().Resolve(args)
	switch {
	case err != nil:
		if row = c.h.set.Table().Lookup(args[0]); row != nil && row.Name == "exec" {
			c.endMulti()
			return ErrExecRefused(err)
		}
		c.bad = c.multi
		return err
	case row.Name == "watch" && c.multi:
		return ErrWatchInMulti
	case row.Name == "multi" && c.multi:
		return ErrNestedMulti
	case c.multi && row.Name != "exec" && row.Name != "discard":
		c.steps = append(c.steps, Step{Row: row, Args: args})
		c.w.Status("QUEUED")
		return nil
	case row.Session:
		return c.session(row, args)
	}
	c.call.Row, c.call.Args, c.call.DB = row, args, c.db
	return c.h.set.Do(&c.call)
}

func (c *client) session(row *Row, args [][]byte) error {
	set := c.h.set
	switch row.Name {
	case "multi":
		c.multi = true
		c.w.Status("OK")
	case "discard":
		if !c.multi {
			return ErrDiscardNoMulti
		}
		c.endMulti()
		c.w.Status("OK")
	case "exec":
		return c.exec()
	case "watch":
		c.call.Row, c.call.Args, c.call.DB = row, args, c.db
		return set.Watch(&c.call, &c.watch)
	case "unwatch":
		set.Unwatch(&c.watch)
		c.w.Status("OK")
	default:
		c.within(&c.call.update.Query, &Step{Row: row, Args: args}, &c.w, &c.db)
	}
	return nil
}

func (c *client) exec() error {
	if !c.multi {
		return ErrExecNoMulti
	}
	defer c.endMulti()
	if c.bad {
		return ErrExecAbort
	}
	c.call.DB = c.db
	err := c.h.set.Exec(&c.call, c.steps, &c.watch, c.within)
	c.db = c.call.DB
	return err
}

func (c *client) endMulti() {
	c.h.set.Unwatch(&c.watch)
	c.multi, c.bad, c.steps = false, false, nil
}

// within answers the few Session rows that have a meaning in MULTI.
func (c *client) within(_ *Query, step *Step, w *resp.Writer, db *int) {
	switch step.Row.Name {
	case "select":
		n, err := c.h.set.SelectDB(step.Args[1])
		if err != nil {
			ReplyError(w, err)
			return
		}
		*db = n
		w.Status("OK")
	case "echo":
		w.Bulk(step.Args[1])
	case "ping":
		w.Status("PONG")
	default:
		if err := c.h.set.Table().ReplyCommand(w, step.Args); err != nil {
			ReplyError(w, err)
		}
	}
}

// must runs a command whose reply is known.
func (c *client) must(want string, words ...string) {
	c.h.t.Helper()
	if got := c.do(words...); got != want {
		c.h.t.Fatalf("%.300q: got %.300q, want %.300q", words, got, want)
	}
}

// list takes an array of bulk strings apart, which contain no line ends.
func list(t testing.TB, reply string) []string {
	t.Helper()
	rest := reply
	line := func() string {
		for i := range rest {
			if rest[i] == '\r' {
				l := rest[:i]
				rest = rest[i+2:]
				return l
			}
		}
		t.Fatalf("reply %q ends early", reply)
		return ""
	}
	head := line()
	if head[0] != '*' {
		t.Fatalf("reply %q is no array", reply)
	}
	n, _ := strconv.Atoi(head[1:])
	var items []string
	for range n {
		line()
		items = append(items, line())
	}
	return items
}
