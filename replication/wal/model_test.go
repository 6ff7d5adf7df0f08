package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sett/storage/crashfs"
)

var (
	seedFlag  = flag.Uint64("wal.seed", 0, "seed of the model test; 0 = from the clock")
	stepsFlag = flag.Int("wal.steps", 0, "steps of the model test; 0 = 20,000 (2,000 with -short)")
)

// model is what the log should be: every entry that is in it, and how far it was promised to be durable.
type model struct {
	*testing.T
	r       *rand.Rand
	fs      *crashfs.FS
	o       Options
	log     *Log
	entries map[uint64]Entry // all that were not cut, the trimmed ones too
	next    uint64
	acked   uint64 // synced, as the log said
	durable uint64 // what the store would say
	filled  uint64 // … and up to where it was filled from elsewhere

	// What a cut may have let happen or not.
	trying  []Entry
	trimTo  uint64 // TrimSuffix in flight; 0 = none
	resetTo uint64 // Reset in flight; 0 = none
	counts  map[string]int
	payload []byte
	even    bool // most entries have the same size: new records come to lie exactly where old ones were
}

func newModel(t *testing.T, seed uint64, inline bool) *model {
	m := &model{T: t, r: rand.New(rand.NewPCG(seed, 7)), fs: crashfs.New(), entries: map[uint64]Entry{}, next: 1, counts: map[string]int{}}
	m.payload = make([]byte, 64<<10)
	for i := range m.payload {
		m.payload[i] = byte(m.r.Uint32())
	}
	m.even = m.r.IntN(2) == 0
	if m.r.IntN(2) == 0 {
		m.fs.Writeback(seed)
	}
	m.o = Options{FS: m.fs, Dir: "data/log", SegmentBytes: 12 << 10, Seed: [16]byte{1, 2, 3}, inline: inline}
	if err := m.fs.MkdirAll("data"); err != nil {
		t.Fatal(err)
	}
	if err := m.fs.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	m.open(0)
	return m
}

func TestModel(t *testing.T) {
	seed, steps := *seedFlag, *stepsFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if steps == 0 {
		steps = 20_000
		if testing.Short() {
			steps = 2_000
		}
	}
	for _, inline := range []bool{true, false} {
		t.Run(fmt.Sprintf("inline=%v", inline), func(t *testing.T) {
			steps := steps
			if !inline {
				steps /= 4
			}
			total := map[string]int{}
			var m *model
			defer func() {
				if t.Failed() {
					t.Logf("again: -run 'TestModel/inline=%v' -wal.seed=%d -wal.steps=200; so far %v", inline, seed-1, m.counts)
				}
			}()
			// Many short lives: a long one would rarely be short of entries, segments, or history.
			for done := 0; done < steps; done += 200 {
				seed++
				m = newModel(t, seed, inline)
				for range 200 {
					m.step()
				}
				m.fs.CutAfter(-1)
				if err := m.log.Close(); err != nil {
					t.Fatalf("seed %d: close: %v", seed, err)
				}
				for k, n := range m.counts {
					total[k] += n
				}
			}
			t.Logf("seeds up to %d: %v", seed, total)
			for _, k := range []string{"append", "large", "failed append", "trim prefix", "trim suffix", "reset", "cut in reset", "recycled", "cut", "kill", "cut lost entries", "cut in append", "cut in trim", "cut in open", "clean"} {
				if total[k] == 0 && steps >= 20_000 {
					t.Errorf("%q never happened", k)
				}
			}
		})
	}
}

func (m *model) step() {
	switch p := m.r.IntN(100); {
	case p < 45:
		m.append()
	case p < 62:
		m.sync()
	case p < 72:
		m.read()
	case p < 75:
		m.check(m.log, false)
	case p < 84:
		m.trimPrefix()
	case p < 87:
		m.trimSuffix()
	case p < 88:
		m.fill()
	case p < 91:
		m.failedAppend()
	case p < 93:
		m.reopen()
	case p < 95:
		m.kill()
	case p < 97:
		m.fs.CutAfter(m.r.IntN(30))
		m.counts["armed"]++
	default:
		m.cut()
	}
	if m.log.Err() != nil {
		m.cut()
	}
}

func (m *model) entry(index uint64) Entry {
	n := m.r.IntN(300)
	if m.even {
		n = 80
	}
	switch m.r.IntN(20) {
	case 0:
		n = m.r.IntN(9 << 10)
	case 1:
		n = 0
	case 2:
		n = 12<<10 - headerBytes - recordBytes - m.r.IntN(3)*8 // fills a segment to its end, or nearly
	}
	if m.r.IntN(200) == 0 {
		n = 10<<10 + m.r.IntN(30<<10)
		if m.r.IntN(8) == 0 {
			n = copyBytes + 1
			m.payload = append(m.payload, make([]byte, max(0, n+200-len(m.payload)))...)
		}
		m.counts["large"]++
	}
	at := m.r.IntN(len(m.payload) - n + 1)
	data := bytes.Clone(m.payload[at : at+n])
	if n >= 8 {
		be.PutUint64(data, m.r.Uint64()) // no two are alike: what was cut and comes back is seen
	}
	return Entry{index, m.r.Uint64N(5), uint8(m.r.UintN(MaxKind + 1)), data}
}

func (m *model) some() []Entry {
	entries := make([]Entry, 1+m.r.IntN(4))
	if m.even {
		entries = make([]Entry, 1+m.r.IntN(12))
	}
	for i := range entries {
		entries[i] = m.entry(m.next + uint64(i))
	}
	return entries
}

// fine tells whether an operation went well. If the power went during it, the cut is carried out; any other error fails the test.
func (m *model) fine(what string, err error) bool {
	m.Helper()
	if err == nil {
		return true
	}
	if !errors.Is(err, crashfs.ErrOff) {
		m.Fatalf("%s: %v", what, err)
	}
	m.counts["cut in "+what]++
	m.cut()
	return false
}

func (m *model) append() {
	m.trying = m.some()
	if !m.fine("append", m.log.Append(m.trying...)) {
		return
	}
	m.counts["append"]++
	m.keep(m.trying)
}

func (m *model) keep(entries []Entry) {
	for _, e := range entries {
		m.entries[e.Index] = e
		m.next = e.Index + 1
	}
	m.trying = nil
	if last := m.log.Last(); last != m.next-1 {
		m.Fatalf("last is %d, not %d", last, m.next-1)
	}
}

// failedAppend has one of the writes of an append fail: then nothing of it may ever be seen.
func (m *model) failedAppend() {
	boom := errors.New("boom")
	after, failed := m.r.IntN(4), false
	m.fs.Fault(func(op, _ string) error {
		if op != "write" || failed {
			return nil
		}
		if after--; after >= 0 {
			return nil
		}
		failed = true
		return boom
	})
	entries := m.some()
	m.trying = entries
	err := m.log.Append(entries...)
	m.fs.Fault(nil)
	if errors.Is(err, boom) && m.log.Err() == nil {
		m.trying = nil
		m.counts["failed append"]++
		return
	}
	if errors.Is(err, boom) {
		m.counts["died"]++
		m.cut()
		return
	}
	if m.fine("append", err) {
		m.keep(entries)
	}
}

func (m *model) sync() {
	before := m.next - 1
	if m.r.IntN(2) == 0 {
		if m.fine("sync", m.log.Sync()) {
			m.ack(before)
		}
		return
	}
	if before == m.durable {
		return
	}
	index := m.durable + 1 + m.r.Uint64N(before-m.durable)
	if m.fine("sync", m.log.SyncTo(index)) {
		m.ack(index)
	}
}

func (m *model) ack(index uint64) {
	if got := m.log.Synced(); got < index || got >= m.next {
		m.Fatalf("synced is %d after a sync to %d of %d", got, index, m.next-1)
	}
	m.acked = max(m.acked, index)
}

func (m *model) read() {
	first, last := m.log.First(), m.log.Last()
	index := m.r.Uint64N(m.next + 2)
	e, err := m.log.Read(index)
	if index < first || index > last {
		if !errors.Is(err, ErrNoEntry) && !errors.Is(err, crashfs.ErrOff) {
			m.Fatalf("read %d of %d..%d: %v", index, first, last, err)
		}
		return
	}
	if m.fine("read", err) {
		m.compare(e)
	}
}

func (m *model) compare(e Entry) {
	m.Helper()
	want, ok := m.entries[e.Index]
	if !ok || want.Term != e.Term || want.Kind != e.Kind || !bytes.Equal(want.Data, e.Data) {
		m.Fatalf("entry %d is wrong (known %v): term %d, %d bytes, not term %d, %d bytes", e.Index, ok, e.Term, len(e.Data), want.Term, len(want.Data))
	}
}

// check reads all of a log.
func (m *model) check(l *Log, opened bool) {
	first, last := l.First(), l.Last()
	if last != m.next-1 || first > m.durable+1 {
		m.Fatalf("the log has %d..%d; wanted up to %d, durable is %d", first, last, m.next-1, m.durable)
	}
	i := first
	err := l.Scan(first, func(e Entry) error {
		if e.Index != i {
			m.Fatalf("scan met entry %d, not %d", e.Index, i)
		}
		m.compare(e)
		i++
		return nil
	})
	if opened && err != nil {
		m.Fatalf("scan: %v", err)
	}
	if err == nil && i != last+1 {
		m.Fatalf("scan ended before entry %d of %d", i, last)
	}
	if !opened {
		m.fine("scan", err)
	}
}

func (m *model) trimPrefix() {
	if m.acked > m.durable {
		m.durable += m.r.Uint64N(m.acked - m.durable + 1)
	}
	was := m.log.Metrics()
	if m.fine("trim", m.log.TrimPrefix(m.durable)) {
		m.counts["trim prefix"]++
		m.counts["recycled"] += int(m.log.Metrics().Recycled - was.Recycled)
	}
}

func (m *model) trimSuffix() {
	most := min(8, m.log.Last()-max(m.durable, m.log.First()-1))
	if most == 0 {
		return
	}
	m.trimTo = m.next - 1 - m.r.Uint64N(most)
	if !m.fine("trim", m.log.TrimSuffix(m.trimTo)) {
		return
	}
	m.counts["trim suffix"]++
	for i := m.trimTo; i < m.next; i++ {
		delete(m.entries, i)
	}
	m.next, m.acked = m.trimTo, min(m.acked, m.trimTo-1)
	if m.log.Synced() != m.next-1 {
		m.Fatalf("synced is %d after trimming from %d on", m.log.Synced(), m.next)
	}
	m.acked = m.next - 1
	m.trimTo = 0
}

// fill is what an installed snapshot means to the log.
func (m *model) fill() {
	m.durable += m.r.Uint64N(m.next - m.durable + 10)
	m.filled = m.durable
	if m.r.IntN(4) == 0 {
		m.fs.CutAfter(m.r.IntN(12))
		m.counts["armed"]++
	}
	m.reset()
}

func (m *model) reset() {
	m.resetTo = m.filled + 1
	if !m.fine("reset", m.log.Reset(m.resetTo)) {
		return
	}
	m.counts["reset"]++
	m.wasReset()
	if first, last, synced := m.log.First(), m.log.Last(), m.log.Synced(); first != m.next || last != m.next-1 || synced != last {
		m.Fatalf("reset to %d: the log has %d..%d, %d synced", m.next, first, last, synced)
	}
}

func (m *model) wasReset() {
	clear(m.entries)
	m.next, m.acked, m.resetTo = m.resetTo, m.resetTo-1, 0
}

func (m *model) reopen() {
	if !m.fine("close", m.log.Close()) {
		return
	}
	m.counts["clean"]++
	m.acked = m.next - 1
	m.open(m.next - 1)
}

func (m *model) kill() {
	m.leave()
	m.fs = m.fs.Kill()
	m.counts["kill"]++
	m.open(0)
}

func (m *model) cut() {
	m.leave()
	if m.r.IntN(4) == 0 {
		m.counts["kill in the middle"]++
		m.fs = m.fs.Kill()
		m.open(0)
		return
	}
	m.counts["cut"]++
	// Other outcomes of the same cut.
	for range 2 {
		other := *m
		other.fs = m.fs.Cut(m.r)
		other.entries = map[uint64]Entry{}
		for i, e := range m.entries {
			other.entries[i] = e
		}
		other.open(0)
		other.leave()
	}
	m.fs = m.fs.Cut(m.r)
	m.open(0)
}

// leave has the goroutines of the log end, as with a process.
func (m *model) leave() {
	m.log.die(errors.New("left"))
	m.log.preparer.Wait()
}

// open opens what a stop of some kind has left, sometimes with another cut in the middle, and takes over what it finds if it is right.
func (m *model) open(cleanEnd uint64) {
	known := Known{Durable: m.durable, CleanEnd: cleanEnd, Installed: m.filled}
	for {
		m.o.FS = m.fs
		if m.r.IntN(4) == 0 {
			m.noDamage(known)
		}
		if m.r.IntN(4) == 0 {
			m.fs.CutAfter(m.r.IntN(12))
		}
		l, err := Open(m.o, known)
		if err == nil {
			m.fs.CutAfter(-1)
			m.log = l
			if _, err = m.fs.Exists(m.o.Dir); err == nil {
				break
			}
			m.leave() // the power went when the log was preparing a segment
		}
		if !errors.Is(err, crashfs.ErrOff) {
			m.Fatalf("open: %v (acked %d, durable %d, next %d)", err, m.acked, m.durable, m.next)
		}
		m.counts["cut in open"]++
		m.fs = m.fs.Cut(m.r)
	}
	m.settle(m.log)
	m.check(m.log, true)
	if m.log.Synced() != m.log.Last() {
		m.Fatalf("opened with entry %d of %d synced", m.log.Synced(), m.log.Last())
	}
	m.acked = m.next - 1
	if m.log.Last() < m.filled { // its owner's first deed
		m.reset()
	}
}

func (m *model) noDamage(known Known) {
	found, err := Check(m.o, known)
	if err != nil && !errors.Is(err, crashfs.ErrOff) {
		m.Fatalf("check: %v", err)
	}
	for _, f := range found {
		if f.Damage {
			m.Fatalf("check: %+v", f)
		}
	}
}

// settle decides what of that which was under way has happened, and forgets what is lost.
func (m *model) settle(l *Log) {
	last, least := l.Last(), m.acked
	if m.resetTo != 0 && last == m.resetTo-1 && l.First() > last {
		m.wasReset()
		m.trying, m.trimTo = nil, 0
		m.counts["cut behind reset"]++
		return
	}
	m.resetTo = 0
	if m.trimTo != 0 {
		least = min(least, m.trimTo-1)
	}
	if last < least {
		m.Fatalf("the log ends with entry %d; %d was synced", last, least)
	}
	if last >= m.next {
		if int(last-m.next) >= len(m.trying) {
			m.Fatalf("the log ends with entry %d; it never had more than %d and %d", last, m.next-1, len(m.trying))
		}
		for _, e := range m.trying[:last-m.next+1] {
			m.entries[e.Index] = e
		}
	}
	if last+1 < m.next {
		m.counts["cut lost entries"]++
	}
	for i := last + 1; i < m.next; i++ {
		delete(m.entries, i)
	}
	m.next, m.trying, m.trimTo = last+1, nil, 0
}
