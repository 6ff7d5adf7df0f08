package server

import (
	"bytes"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"sett/commands"
)

const (
	sampleInterval = 100 * time.Millisecond
	samples        = 16 // the span of a rate, as in Redis: 1.6 s
	shards         = 8  // connections that write statistics at the same time seldom meet in one
)

// stats are the server's figures since the start, or since CONFIG RESETSTAT.
type stats struct {
	names []*commands.Row // all rows, subcommands behind their containers

	shards [shards]shard

	connections atomic.Uint64
	rejected    atomic.Uint64
	panics      atomic.Uint64
	links       atomic.Int64  // streams to the leader
	inDoubt     atomic.Uint64 // replies that became -INDOUBT
	tryAgain    atomic.Uint64 // replies that became -TRYAGAIN
	cutShort    atomic.Uint64 // replies that ended in the middle, with their connection

	queryOverflows  atomic.Uint64 // clients closed for client-query-buffer-limit
	outputOverflows atomic.Uint64 // … and for client-output-buffer-limit

	errorsMu sync.Mutex
	errors   map[string]uint64 // error replies by code; guarded by errorsMu

	unixSec   atomic.Int64 // coarse clock
	peakBytes atomic.Uint64

	peakInput, peakOutput peak // of connections' buffers, bytes

	// rates of the last samples; the ticker writes, INFO reads.
	opsRate, readRate, writeRate rate
}

// shard has its own cache lines.
type shard struct {
	commands, errors        atomic.Uint64
	reads, writes           atomic.Uint64
	readBytes, writtenBytes atomic.Uint64
	rows                    []rowStats // by Row.ID, as the next
	times                   []atomic.Pointer[histogram]
	_                       [64]byte
}

// rowStats are the figures of one command.
type rowStats struct{ calls, ns, failed, rejected atomic.Uint64 }

// total are the sums of all shards.
type total struct {
	commands, errors, reads, writes, readBytes, writtenBytes uint64
}

func (s *stats) init(table *commands.Table) {
	s.errors = make(map[string]uint64)
	for _, row := range table.Rows() {
		s.names = append(append(s.names, row), row.Subcommands...)
	}
	for i := range s.shards {
		s.shards[i].rows = make([]rowStats, table.Len())
		s.shards[i].times = make([]atomic.Pointer[histogram], table.Len())
	}
	s.unixSec.Store(time.Now().Unix())
	s.samplePeak()
}

func (s *stats) now() int64 { return s.unixSec.Load() }

func (s *stats) total() (t total) {
	for i := range s.shards {
		h := &s.shards[i]
		t.commands += h.commands.Load()
		t.errors += h.errors.Load()
		t.reads += h.reads.Load()
		t.writes += h.writes.Load()
		t.readBytes += h.readBytes.Load()
		t.writtenBytes += h.writtenBytes.Load()
	}
	return t
}

// rowTotal is rowStats, summed up.
type rowTotal struct{ calls, ns, failed, rejected uint64 }

func (s *stats) row(row *commands.Row) (t rowTotal) {
	for h := range s.shards {
		r := &s.shards[h].rows[row.ID]
		t.calls += r.calls.Load()
		t.ns += r.ns.Load()
		t.failed += r.failed.Load()
		t.rejected += r.rejected.Load()
	}
	return t
}

// took notes how long each of n commands of a row ran.
func (s *stats) took(id uint64, row *commands.Row, took time.Duration, n uint64) {
	h := &s.shards[id%shards].times[row.ID]
	if h.Load() == nil {
		h.CompareAndSwap(nil, new(histogram))
	}
	if h := h.Load(); h != nil { // else it was reset in between
		h.note(took, n)
	}
}

// times are those of a row's commands.
func (s *stats) times(row *commands.Row) (t times) {
	for i := range s.shards {
		if h := s.shards[i].times[row.ID].Load(); h != nil {
			h.addTo(&t)
		}
	}
	return t
}

// Limits of what DEBUG ERROR, and scripts, can fill the table with.
const (
	maxErrorKinds = 128
	maxErrorCode  = 31 // bytes, with the space behind it
)

// noteError counts an error reply, without its "-", by its code: the first word, ERR if that is too long or all there is.
func (s *stats) noteError(reply []byte) {
	code, _, found := bytes.Cut(reply[:min(len(reply), maxErrorCode)], []byte{' '})
	if !found {
		code = []byte("ERR")
	}
	s.errorsMu.Lock()
	defer s.errorsMu.Unlock()
	if _, known := s.errors[string(code)]; known || len(s.errors) < maxErrorKinds {
		s.errors[string(code)]++
	}
}

func (s *stats) errorKinds() map[string]uint64 {
	s.errorsMu.Lock()
	defer s.errorsMu.Unlock()
	return maps.Clone(s.errors)
}

// reset is CONFIG RESETSTAT.
func (s *stats) reset() {
	for i := range s.shards {
		h := &s.shards[i]
		for _, n := range []*atomic.Uint64{&h.commands, &h.errors, &h.reads, &h.writes, &h.readBytes, &h.writtenBytes} {
			n.Store(0)
		}
		for r := range h.rows {
			h.times[r].Store(nil)
			row := &h.rows[r]
			for _, n := range []*atomic.Uint64{&row.calls, &row.ns, &row.failed, &row.rejected} {
				n.Store(0)
			}
		}
	}
	for _, n := range []*atomic.Uint64{&s.connections, &s.rejected, &s.panics, &s.inDoubt, &s.tryAgain, &s.cutShort, &s.queryOverflows, &s.outputOverflows} {
		n.Store(0)
	}
	s.errorsMu.Lock()
	clear(s.errors)
	s.errorsMu.Unlock()
}

// sample is called by the ticker alone.
func (s *stats) sample(now time.Time) {
	s.unixSec.Store(now.Unix())
	t := s.total()
	s.opsRate.sample(now, t.commands)
	s.readRate.sample(now, t.readBytes)
	s.writeRate.sample(now, t.writtenBytes)
}

func (s *stats) samplePeak() {
	used, _ := resident()
	s.notePeak(used)
}

// notePeak returns the highest use of memory until now.
func (s *stats) notePeak(used uint64) uint64 {
	for {
		peak := s.peakBytes.Load()
		if used <= peak || s.peakBytes.CompareAndSwap(peak, used) {
			return max(used, peak)
		}
	}
}

// rate is a figure per second, averaged over the last samples. perSec may be read by everyone, the rest is the ticker's.
type rate struct {
	perSec  atomic.Uint64
	last    uint64
	lastAt  time.Time
	history [samples]uint64
	next    int
}

func (r *rate) sample(now time.Time, value uint64) {
	if ms := now.Sub(r.lastAt).Milliseconds(); !r.lastAt.IsZero() && ms > 0 {
		delta := value - r.last
		if value < r.last { // the figures were reset
			delta = value
		}
		r.history[r.next] = delta * 1000 / uint64(ms)
		r.next = (r.next + 1) % samples
		var sum uint64
		for _, v := range r.history {
			sum += v
		}
		r.perSec.Store(sum / samples)
	}
	r.last, r.lastAt = value, now
}

// peak is the highest value of the last seconds.
type peak [peakSec]struct{ sec, highest atomic.Int64 }

const peakSec = 8

func (p *peak) note(sec, value int64) {
	slot := &p[sec%peakSec]
	if old := slot.sec.Load(); old != sec && slot.sec.CompareAndSwap(old, sec) {
		slot.highest.Store(0)
	}
	for {
		highest := slot.highest.Load()
		if value <= highest || slot.highest.CompareAndSwap(highest, value) {
			return
		}
	}
}

func (p *peak) recent(sec int64) (highest int64) {
	for i := range p {
		if sec-p[i].sec.Load() < peakSec {
			highest = max(highest, p[i].highest.Load())
		}
	}
	return highest
}

// count gathers a connection's figures between two waits for input, so that a pipeline touches what is shared only once.
type count struct {
	commands, errors, reads, writes, read, written uint64

	row    *commands.Row // of the next three
	calls  uint64
	ns     uint64
	failed uint64
}

// ran counts one command and looks whether its reply is an error. Commands of one kind follow each other more often than not.
func (n *count) ran(s *stats, id uint64, row *commands.Row, ns int64, reply []byte) {
	if n.row != row {
		n.flushRow(s, id)
		n.row = row
	}
	n.commands++
	n.calls++
	n.ns += uint64(max(ns, 0))
	if len(reply) > 0 && reply[0] == '-' {
		n.failed++
		n.errors++
		s.noteError(reply[1:])
	}
}

// refused counts a command that was not run; row is nil if there is no such command.
func (n *count) refused(s *stats, id uint64, row *commands.Row, reply []byte) {
	n.errors++
	s.noteError(reply[1:])
	if row != nil {
		s.shards[id%shards].rows[row.ID].rejected.Add(1)
	}
}

func (n *count) flushRow(s *stats, id uint64) {
	if n.calls == 0 {
		return
	}
	r := &s.shards[id%shards].rows[n.row.ID]
	r.calls.Add(n.calls)
	r.ns.Add(n.ns)
	if n.failed > 0 {
		r.failed.Add(n.failed)
	}
	n.calls, n.ns, n.failed = 0, 0, 0
}

// flush hands over what was gathered.
func (n *count) flush(s *stats, id uint64) {
	n.flushRow(s, id)
	h := &s.shards[id%shards]
	add(&h.commands, &n.commands)
	add(&h.errors, &n.errors)
	add(&h.reads, &n.reads)
	add(&h.writes, &n.writes)
	add(&h.readBytes, &n.read)
	add(&h.writtenBytes, &n.written)
}

func add(sum *atomic.Uint64, n *uint64) {
	if *n > 0 {
		sum.Add(*n)
		*n = 0
	}
}
