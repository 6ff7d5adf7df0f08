package server

import (
	"bytes"
	"maps"
	"runtime/metrics"
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
	rows  map[*commands.Row]int // index of a row's figures
	names []*commands.Row       // the row of an index

	shards [shards]shard

	connections atomic.Uint64
	rejected    atomic.Uint64
	panics      atomic.Uint64
	inDoubt     atomic.Uint64 // replies that became -INDOUBT
	tryAgain    atomic.Uint64 // replies that became -TRYAGAIN
	cutShort    atomic.Uint64 // replies that ended in the middle, with their connection

	queryOverflows  atomic.Uint64 // clients closed for client-query-buffer-limit
	outputOverflows atomic.Uint64 // … and for client-output-buffer-limit

	errorsMu sync.Mutex
	errors   map[string]uint64 // error replies by code; guarded by errorsMu

	unixSec   atomic.Int64 // coarse clock
	peakBytes atomic.Uint64

	// rates of the last samples; the ticker writes, INFO reads.
	opsRate, readRate, writeRate rate
}

// shard has its own cache lines.
type shard struct {
	commands, errors        atomic.Uint64
	reads, writes           atomic.Uint64
	readBytes, writtenBytes atomic.Uint64
	rows                    []rowStats
	_                       [64]byte
}

// rowStats are the figures of one command.
type rowStats struct{ calls, ns, failed, rejected atomic.Uint64 }

// total are the sums of all shards.
type total struct {
	commands, errors, reads, writes, readBytes, writtenBytes uint64
}

func (s *stats) init(table *commands.Table) {
	s.rows, s.errors = make(map[*commands.Row]int), make(map[string]uint64)
	var add func(rows []*commands.Row)
	add = func(rows []*commands.Row) {
		for _, row := range rows {
			s.rows[row] = len(s.names)
			s.names = append(s.names, row)
			add(row.Subcommands)
		}
	}
	add(table.Rows())
	for i := range s.shards {
		s.shards[i].rows = make([]rowStats, len(s.names))
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

func (s *stats) row(i int) (t rowTotal) {
	for h := range s.shards {
		r := &s.shards[h].rows[i]
		t.calls += r.calls.Load()
		t.ns += r.ns.Load()
		t.failed += r.failed.Load()
		t.rejected += r.rejected.Load()
	}
	return t
}

// maxErrorKinds bounds what DEBUG ERROR, and scripts, can fill the table with.
const maxErrorKinds = 128

// noteError counts an error reply, without its "-", by its code.
func (s *stats) noteError(reply []byte) {
	code, _, _ := bytes.Cut(reply, []byte{' '})
	code = bytes.TrimRight(code[:min(len(code), 32)], "\r\n")
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
	s.peakBytes.Store(0)
	s.samplePeak()
}

// sample is called by the ticker alone.
func (s *stats) sample(now time.Time) {
	s.unixSec.Store(now.Unix())
	t := s.total()
	s.opsRate.sample(now, t.commands)
	s.readRate.sample(now, t.readBytes)
	s.writeRate.sample(now, t.writtenBytes)
}

func (s *stats) samplePeak() uint64 {
	used := usedMemory()
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

// usedMemory is what the process holds for data, stacks and the runtime itself, without what it could give back at once.
func usedMemory() uint64 {
	m := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(m)
	return m[0].Value.Uint64() - m[1].Value.Uint64() - m[2].Value.Uint64()
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
		s.shards[id%shards].rows[s.rows[row]].rejected.Add(1)
	}
}

func (n *count) flushRow(s *stats, id uint64) {
	if n.calls == 0 {
		return
	}
	r := &s.shards[id%shards].rows[s.rows[n.row]]
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
