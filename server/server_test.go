package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sett/commands"
	"sett/internal/testlog"
	"sett/storage"
	"sett/types"
)

// memLog is a log in memory. It commits at once, or, with held set, when release is called.
type memLog struct {
	mu      sync.Mutex
	store   *storage.Store
	term    uint64
	held    bool
	forget  bool       // keep nothing: nobody will lose leadership
	entries []memEntry // entries[0] has index 1
	applied int        // handed to Apply
	arrived chan struct{}
	disk    atomic.Pointer[chan struct{}] // set: Propose waits until it is closed, as for an fsync
}

type memEntry struct {
	term uint64
	data []byte
}

func (l *memLog) Propose(entry []byte) error {
	if disk := l.disk.Load(); disk != nil {
		<-*disk
	}
	l.mu.Lock()
	if l.forget {
		l.applied++
		l.mu.Unlock()
		return l.store.Apply(uint64(l.applied), l.term, entry)
	}
	if evaluated := binary.LittleEndian.Uint64(entry[8:]); evaluated != l.term {
		l.mu.Unlock()
		return fmt.Errorf("an entry of term %d comes in term %d", evaluated, l.term)
	}
	l.entries = append(l.entries, memEntry{l.term, bytes.Clone(entry)})
	held := l.held
	l.mu.Unlock()
	select {
	case l.arrived <- struct{}{}:
	default:
	}
	if held {
		return nil
	}
	return l.commit()
}

func (l *memLog) Waits() bool { return l.disk.Load() != nil }

// commit hands all entries to the store.
func (l *memLog) commit() error {
	for {
		l.mu.Lock()
		if l.applied >= len(l.entries) {
			l.mu.Unlock()
			return nil
		}
		e := l.entries[l.applied]
		l.applied++
		index := uint64(l.applied)
		l.mu.Unlock()
		if err := l.store.Apply(index, e.term, e.data); err != nil {
			return err
		}
	}
}

// hold keeps entries from being committed. From here on arrived tells of the next one.
func (l *memLog) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
	select {
	case <-l.arrived:
	default:
	}
}

// release commits what has gathered.
func (l *memLog) release(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	l.held = false
	l.mu.Unlock()
	if err := l.commit(); err != nil {
		t.Fatal(err)
	}
}

// loseLeadership drops the entries that are not committed and begins another term.
func (l *memLog) loseLeadership() {
	l.mu.Lock()
	l.entries = l.entries[:l.applied]
	l.term++
	l.held = false
	term := l.term
	l.mu.Unlock()
	l.store.Yield()
	l.store.Lead(term)
}

func (l *memLog) SyncTo(uint64) error { return nil }

func (l *memLog) Read(index uint64) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index == 0 || int(index) > l.applied {
		return 0, nil, fmt.Errorf("entry %d is not committed", index)
	}
	e := l.entries[index-1]
	return e.term, e.data, nil
}

func (l *memLog) Trim(uint64) {}

// testServer is a server with a store of its own on a free port.
type testServer struct {
	*Server
	t     testing.TB
	addr  string
	log   *memLog
	store *storage.Store
	data  *commands.DataSet
	stops chan bool
	fatal chan error
	lines *testlog.Buffer // of the server's log
}

type setup struct {
	limits  func(*Limits)
	debug   DebugAccess
	loading bool // Begin is left to the test
	data    commands.Options
	tls     *TLS
	latency *Latency
	cluster Cluster // nil: the server is alone
	looks   bool    // … or looks for its cluster
	agreed  []string
}

func startServer(t testing.TB, with setup) *testServer {
	t.Helper()
	dir, err := storage.OpenDir(storage.OSFS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if with.latency == nil {
		with.latency = NewLatency()
	}
	store, err := storage.Open(dir, storage.Options{MemoryBudget: storage.MinMemoryBudget, DiskReserve: 1 << 20, Took: with.latency.Took})
	if err != nil {
		t.Fatal(err)
	}
	log := &memLog{store: store, term: 1, arrived: make(chan struct{}, 1)}
	if err := store.Begin(log, 1, 0); err != nil {
		t.Fatal(err)
	}
	store.Lead(1)
	table := commands.NewTable()
	with.data.Table = table
	data := commands.NewDataSet(store, types.New(dir.Seed()), with.data)
	store.OnYield = data.TouchAllWatched

	ts := &testServer{t: t, log: log, store: store, data: data, stops: make(chan bool, 1), fatal: make(chan error, 1), lines: &testlog.Buffer{}}
	limits := Limits{MaxClients: 100, MaxQueryBytes: 1 << 30, MaxBulkBytes: 512 << 20, MaxArgBytes: 16 << 20}
	if with.limits != nil {
		with.limits(&limits)
	}
	if with.debug == "" {
		with.debug = DebugLocal
	}
	config := &fakeConfig{values: map[string]string{"maxclients": "10000", "requirepass": "", "maxmemory": "0"}, agreed: with.agreed}
	ts.Server = New(Options{
		Table: table, Limits: limits, Debug: with.debug, Clustered: with.looks, MasterName: "mymaster", DownAfter: time.Second, Config: config, TLS: with.tls, Protected: true,
		About:  About{Version: "test", RedisVersion: "7.2.4"},
		Logger: slog.New(slog.NewTextHandler(ts.lines, nil)),
		Stop:   func(save bool) { ts.stops <- save },
		Fatal:  func(err error) { ts.fatal <- err },

		Observation: Observation{SlowerThanUs: 10_000, SlowlogMaxLen: 128, LatencyTracking: true, Percentiles: []float64{50, 99, 99.9}},
		Latency:     with.latency,
	})
	if !with.loading {
		engine := ts.newEngine(data)
		engine.Cluster = with.cluster
		ts.Begin(engine)
	}
	config.set = map[string]func(string){"requirepass": ts.SetPassword}
	listeners, err := Listen([]string{"127.0.0.1"}, 0, 511)
	if err != nil {
		t.Fatal(err)
	}
	ts.addr = listeners[0].Addr().String()
	ts.Serve(listeners)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(ts.lines)
		}
		ts.Shutdown(limit)
		ts.Close()
		if err := store.Close(false); err != nil {
			t.Error(err)
		}
		dir.Close()
	})
	return ts
}

func (ts *testServer) newEngine(data *commands.DataSet) *Engine {
	return &Engine{Data: data, Store: ts.store, Hooks: testHooks{ts.store}, Persist: testHooks{ts.store}}
}

type testHooks struct{ *storage.Store }

func (h testHooks) Flush() error {
	if err := h.Store.Flush(); err != nil {
		return err
	}
	return h.Barrier()
}

func (h testHooks) Save() error { return h.Flush() }
func (h testHooks) Sync() error { return nil }

func (testHooks) SetActiveExpire(bool) {}
func (testHooks) PauseCron(bool)       {}
func (testHooks) Scrub() error         { return nil }

// Space is given back by a room that this one does not know.
func (testHooks) Reclaim() error { return nil }
func (testHooks) Collect() error { return nil }

type fakeConfig struct {
	values map[string]string
	set    map[string]func(string)
	agreed []string // names that the nodes agree on
}

func (c *fakeConfig) Get(patterns ...string) (pairs []string) {
	for _, p := range patterns {
		if v, ok := c.values[p]; ok {
			pairs = append(pairs, p, v)
		}
	}
	return pairs
}

func (c *fakeConfig) Set(pairs []string) error {
	if len(pairs)%2 != 0 {
		return errors.New("ERR syntax error")
	}
	for i := 0; i < len(pairs); i += 2 {
		if _, ok := c.values[pairs[i]]; !ok {
			return fmt.Errorf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", pairs[i])
		}
		c.values[pairs[i]] = pairs[i+1]
		if set := c.set[pairs[i]]; set != nil {
			set(pairs[i+1])
		}
	}
	return nil
}

func (c *fakeConfig) SetAgreed(pairs []string, agree func([]string) error) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if slices.Contains(c.agreed, pairs[i]) {
			if err := agree(pairs[i : i+2]); err != nil {
				return err
			}
		} else if err := c.Set(pairs[i : i+2]); err != nil {
			return err
		}
	}
	return nil
}

func (c *fakeConfig) Rewrite() error {
	return errors.New("ERR The server is running without a config file")
}

// client is one raw connection.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// limit is how long a reply may take before a test gives up. It decides nothing else.
const limit = time.Minute

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(limit))
	t.Cleanup(func() { c.Close() })
	return newClient(t, c)
}

func newClient(t testing.TB, c net.Conn) *client {
	return &client{t: t, Conn: c, r: bufio.NewReaderSize(c, 64<<10)}
}

func (ts *testServer) dial() *client {
	ts.t.Helper()
	return dial(ts.t, ts.addr)
}

// encode is a command as clients send it.
func encode(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads the raw bytes of one reply.
func (c *client) reply() string {
	c.t.Helper()
	reply, err := readReply(c.r)
	if err != nil {
		c.t.Fatalf("reading a reply: %v (so far %q)", err, reply)
	}
	return reply
}

func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return line, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		_, err := io.ReadFull(r, body)
		return line + string(body), err
	case '*', '~', '>', '%':
		if line[0] == '%' {
			n *= 2
		}
		for ; n > 0; n-- {
			element, err := readReply(r)
			line += element
			if err != nil {
				return line, err
			}
		}
	}
	return line, nil
}

func (c *client) do(words ...string) string {
	c.t.Helper()
	c.send(encode(words...))
	return c.reply()
}

func (c *client) want(reply string, words ...string) {
	c.t.Helper()
	if got := c.do(words...); got != reply {
		c.t.Fatalf("%q: got %q, want %q", words, got, reply)
	}
}

// wantClosed expects that the server has closed the connection after what was read.
func (c *client) wantClosed() {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if len(b) > 0 || err != nil && !ended(err) {
		c.t.Fatalf("the connection is not closed: %q, %v", b, err)
	}
}

// infoValue is one figure of INFO.
func (c *client) infoValue(section, name string) string {
	c.t.Helper()
	for line := range strings.Lines(c.do("INFO", section)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}
	c.t.Fatalf("INFO %s has no %s", section, name)
	return ""
}
