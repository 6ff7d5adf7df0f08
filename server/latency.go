package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sett/commands"
	"sett/replication"
	"sett/replication/wal"
	"sett/resp"
	"sett/storage"
	"sett/ttl"
)

// Latency knows how long things took that no command answers for, and, if it is asked to (latency-monitor-threshold), which of these and
// of the commands took too long. Main makes it first of all, so that the rooms below can tell it. Any goroutine may use it.
type Latency struct {
	jobs        map[string]*histogram // all there are; does not change
	thresholdMs atomic.Int64          // 0: nothing is remembered

	mu     sync.Mutex
	events map[string]*series // guarded by mu
}

// jobs are what the rooms below tell about, in the order of docs/metrics.md.
var jobs = []string{wal.TookAppend, wal.TookFsync, storage.TookFlush, storage.TookBarrier, storage.TookStall, ttl.TookSweep, commands.TookEvict,
	replication.TookCommit, replication.TookAppend}

// NewLatency returns a Latency that has seen nothing.
func NewLatency() *Latency {
	l := &Latency{jobs: make(map[string]*histogram), events: make(map[string]*series)}
	for _, job := range jobs {
		l.jobs[job] = new(histogram)
	}
	return l
}

// Took is told by the rooms below.
func (l *Latency) Took(job string, took time.Duration) {
	l.jobs[job].note(took, 1)
	if ms := l.thresholdMs.Load(); ms > 0 && took.Milliseconds() >= ms {
		l.spike(job, took, time.Now())
	}
}

func (l *Latency) threshold(ms int64) { l.thresholdMs.Store(ms) }

// spike remembers that an event took too long.
func (l *Latency) spike(event string, took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.events[event]
	if s == nil {
		s = new(series)
		l.events[event] = s
	}
	s.add(now.Unix(), took.Milliseconds())
}

// series are the last samples of an event, one per second at most.
type series struct {
	samples []sample // oldest first
	maxMs   int64    // of all times
}

type sample struct{ unixSec, ms int64 }

const seriesSamples = 160

func (s *series) add(unixSec, ms int64) {
	s.maxMs = max(s.maxMs, ms)
	if n := len(s.samples); n > 0 && s.samples[n-1].unixSec == unixSec {
		s.samples[n-1].ms = max(s.samples[n-1].ms, ms)
		return
	}
	if len(s.samples) == seriesSamples {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	s.samples = append(s.samples, sample{unixSec, ms})
}

// bounds are the lowest and highest sample.
func (s *series) bounds() (low, high int64) {
	low, high = s.samples[0].ms, s.samples[0].ms
	for _, p := range s.samples {
		low, high = min(low, p.ms), max(high, p.ms)
	}
	return low, high
}

// event returns a copy of an event's series; it has no samples if there was none.
func (l *Latency) event(name string) series {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.events[name]; s != nil {
		return series{slices.Clone(s.samples), s.maxMs}
	}
	return series{}
}

// names are the events that there were, in alphabetical order.
func (l *Latency) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.events))
}

// forget removes an event and returns how many that were; "" removes all.
func (l *Latency) forget(name string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for event := range l.events {
		if name == "" || strings.EqualFold(name, event) {
			delete(l.events, event)
			n++
		}
	}
	return n
}

func latencyLatest(s *session, b *buffers, _ [][]byte) {
	l := s.server.latency
	start, n := b.out.Len(), 0
	for _, name := range l.names() {
		event := l.event(name)
		if len(event.samples) == 0 {
			continue // reset meanwhile
		}
		last := event.samples[len(event.samples)-1]
		b.out.Array(4)
		b.out.BulkString(name)
		b.out.Int(last.unixSec)
		b.out.Int(last.ms)
		b.out.Int(event.maxMs)
		n++
	}
	b.out.ArrayAt(start, n)
}

func latencyHistory(s *session, b *buffers, args [][]byte) {
	event := s.server.latency.event(string(args[2]))
	b.out.Array(len(event.samples))
	for _, p := range event.samples {
		b.out.Array(2)
		b.out.Int(p.unixSec)
		b.out.Int(p.ms)
	}
}

func latencyReset(s *session, b *buffers, args [][]byte) {
	n := 0
	if len(args) == 2 {
		n = s.server.latency.forget("")
	}
	for _, name := range args[2:] {
		if len(name) > 0 {
			n += s.server.latency.forget(string(name))
		}
	}
	b.out.Int(int64(n))
}

func latencyGraph(s *session, b *buffers, args [][]byte) {
	event := s.server.latency.event(string(args[2]))
	if len(event.samples) == 0 {
		fail(b, errNoSamples(args[2]))
		return
	}
	b.out.Verbatim("txt", event.graph(string(args[2]), time.Now().Unix()))
}

const (
	graphColumns = 80
	graphRows    = 4
	graphMarks   = "_o#" // a third of a row, two thirds, a whole one
)

// graph draws the samples as Redis does: a column each, and below it how long ago it was.
func (s *series) graph(name string, nowSec int64) []byte {
	low, high := s.bounds()
	text := fmt.Appendf(nil, "%s - high %d ms, low %d ms (all time high %d ms)\n", name, high, low, s.maxMs)
	text = append(text, strings.Repeat("-", graphColumns)+"\n"...)
	for i := 0; i < len(s.samples); i += graphColumns {
		if i > 0 {
			text = append(text, '\n')
		}
		text = appendColumns(text, s.samples[i:min(i+graphColumns, len(s.samples))], low, high, nowSec)
	}
	return text
}

func appendColumns(text []byte, samples []sample, low, high, nowSec int64) []byte {
	steps, span := int64(len(graphMarks)*graphRows), max(high-low, 1)
	line := make([]byte, len(samples))
	for row := range graphRows {
		for i, p := range samples {
			mark := min((p.ms-low)*steps/span, steps-1) - int64((graphRows-row-1)*len(graphMarks))
			switch {
			case mark < 0:
				line[i] = ' '
			case mark < int64(len(graphMarks)):
				line[i] = graphMarks[mark]
			default:
				line[i] = '|'
			}
		}
		text = append(append(text, line...), '\n')
	}
	text = append(append(text, strings.Repeat(" ", len(samples))...), '\n')
	for row := 0; ; row++ {
		more := false
		for i, p := range samples {
			line[i] = ' '
			if label := ago(nowSec - p.unixSec); row < len(label) {
				line[i], more = label[row], true
			}
		}
		if !more {
			return text
		}
		text = append(append(text, line...), '\n')
	}
}

// ago is a short word for a time.
func ago(sec int64) string {
	switch {
	case sec < 60:
		return fmt.Sprintf("%ds", sec)
	case sec < 3600:
		return fmt.Sprintf("%dm", sec/60)
	case sec < 24*3600:
		return fmt.Sprintf("%dh", sec/3600)
	}
	return fmt.Sprintf("%dd", sec/(24*3600))
}

// latencyHistogram is LATENCY HISTOGRAM [command …].
func latencyHistogram(s *session, b *buffers, args [][]byte) {
	st := &s.server.stats
	rows := st.names
	if len(args) > 2 {
		rows = nil
		for _, name := range args[2:] {
			if row := s.server.opts.Table.Find(name); row != nil {
				rows = append(append(rows, row), row.Subcommands...)
			}
		}
	}
	all := make([]times, 0, len(rows))
	rows = slices.DeleteFunc(slices.Clone(rows), func(row *commands.Row) bool {
		t := st.times(row)
		if t.count > 0 {
			all = append(all, t)
		}
		return t.count == 0
	})
	b.out.Map(len(rows))
	for i, row := range rows {
		b.out.BulkString(row.Name)
		all[i].reply(&b.out)
	}
}

// reply writes the steps at which the count grows.
func (t *times) reply(w *resp.Writer) {
	before := uint64(0)
	steps := slices.DeleteFunc(t.doublings(), func(s step) bool {
		grows := s.count > before
		before = s.count
		return !grows
	})
	w.Map(2)
	w.BulkString("calls")
	w.Int(int64(t.count))
	w.BulkString("histogram_usec")
	w.Map(len(steps))
	for _, s := range steps {
		w.Int(s.toNs / 1000)
		w.Int(int64(s.count))
	}
}

var latencyHelp = []string{
	"DOCTOR",
	"    Return a human readable latency analysis report.",
	"GRAPH <event>",
	"    Return an ASCII latency graph for the <event> class.",
	"HISTORY <event>",
	"    Return time-latency samples for the <event> class.",
	"LATEST",
	"    Return the latest latency samples for all events.",
	"RESET [<event> ...]",
	"    Reset latency data of one or more <event> classes.",
	"    (default: reset all data for all event classes)",
	"HISTOGRAM [COMMAND ...]",
	"    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
	"    If no commands are specified then all histograms are replied.",
}
