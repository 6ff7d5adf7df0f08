package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sett/storage"
)

const (
	defaultSegmentBytes = 64 << 20
	// firstSegmentBytes keeps a first start short: nobody waits until a whole segment of zeros is written.
	firstSegmentBytes = 1 << 20
	minSegmentBytes   = headerBytes + pageBytes
	// maxPrepared is how many segments may wait for their use. One is made as soon as there is none; trimmed ones are kept up to this number,
	// which is more than a barrier lets go of at once: whoever writes fast writes no zeros.
	maxPrepared = 12
)

// What Options.Took is told about: the names are those of latency events.
const (
	TookAppend = "log-append" // writing entries to the operating system
	TookFsync  = "log-fsync"
)

var (
	ErrClosed  = errors.New("the log is closed")
	ErrNoEntry = errors.New("the log does not have this entry")
)

// Options say where a log is and how it is kept.
type Options struct {
	FS           storage.FS
	Dir          string
	SegmentBytes int64    // 0 = 64 MiB. A larger entry gets a larger segment
	Seed         [16]byte // the store's secret: bytes that a user stores can then never look like a record
	Logger       *slog.Logger
	// Took, if set, is told how long TookAppend and TookFsync took, each time.
	Took func(job string, took time.Duration)

	// Begin says that a store which has entries may be without a log, and begins one behind them. Otherwise its log is lost: TrimPrefix always
	// leaves a segment.
	Begin bool

	// inline has segments prepared by who needs them, so that a test with a seed takes the same way each time.
	inline bool
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = max(minSegmentBytes, (o.SegmentBytes+pageBytes-1)&^(pageBytes-1))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Took == nil {
		o.Took = func(string, time.Duration) {}
	}
	return o
}

// Entry is one entry of the log.
type Entry struct {
	Index, Term uint64
	Kind        uint8 // at most MaxKind; the log keeps it for its owner
	Data        []byte
}

// Metrics count since Open.
type Metrics struct {
	Bytes, Entries, Writes uint64 // written by Append: bytes with record headers, entries, system calls
	Fsyncs                 uint64
	FsyncSum, FsyncMax     time.Duration
	Prepared, Recycled     uint64 // segments made ready: newly written, from trimmed ones
}

// Log is an open log.
type Log struct {
	o Options

	writing sync.Mutex // who adds records
	batch   batch      // guarded by writing

	// shaping is held by who changes the directory: one change at a time, durable before the next. It is taken before mu.
	shaping sync.Mutex
	lastID  uint64 // highest segment id given away; guarded by shaping

	mu         sync.Mutex // guards the rest
	segs       []*segment // in use, oldest first; records are added to the last
	prepared   []*segment // waiting for their use, in order
	runs       []run
	end        int64 // of the records in the last segment
	next       uint64
	nextNumber uint64
	err        error // what killed the log; ErrClosed after Close

	// One sync runs at a time and serves all who called before it began.
	syncing      bool
	synced       sync.Cond // changes of syncing, syncedNumber, err
	syncedNumber uint64
	syncedIndex  uint64

	allocates  bool      // new segments are only allocated, not written: AllocateOnly
	wanted     bool      // a segment is to be prepared
	preparing  sync.Cond // changes of wanted, prepared, tries, err
	tries      uint64    // finished attempts to prepare one
	prepareErr error     // of the last attempt
	preparer   sync.WaitGroup

	metrics Metrics
}

// Open reads the log to its end and makes what it found durable. A *DamageError or *VersionError means that nothing was touched.
func Open(o Options, known Known) (*Log, error) {
	o = o.withDefaults()
	sv, err := o.read()
	if err == nil {
		if d := sv.judge(known); d != nil {
			err = d
		}
	}
	if err == nil {
		err = sv.settle(known)
	}
	if err != nil {
		sv.close()
		return nil, fmt.Errorf("open log %s: %w", o.Dir, err)
	}
	l := &Log{
		o: o, segs: slices.Clone(sv.segs[:sv.active+1]), prepared: slices.Clone(sv.segs[sv.active+1:]), runs: sv.runs, lastID: sv.segs[len(sv.segs)-1].id,
		end: sv.end, next: sv.next, nextNumber: sv.nextNumber, syncedNumber: sv.nextNumber - 1, syncedIndex: sv.next - 1,
	}
	l.synced.L, l.preparing.L = &l.mu, &l.mu
	if !o.inline {
		l.wanted = len(l.prepared) == 0
		l.preparer.Add(1)
		go l.prepareSegments()
	}
	return l, nil
}

// settle makes the log on disk what the survey says it is: what lies behind its end is wiped, what is left is fsynced. A power cut in the middle
// leaves something that is judged alike, because nothing below the end is touched.
func (sv *survey) settle(known Known) error {
	o := sv.o
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return err
	}
	if err := o.removeTemp(); err != nil {
		return err
	}
	// Names that a killed process left are there, but perhaps not on disk.
	if err := errors.Join(o.FS.SyncDir(filepath.Dir(o.Dir)), o.FS.SyncDir(o.Dir)); err != nil {
		return err
	}
	if sv.nextNumber == 0 {
		sv.next, sv.nextNumber = known.Durable+1, 1
	}
	if len(sv.segs) == 0 {
		s, err := o.create(header{id: 1, size: min(o.SegmentBytes, firstSegmentBytes), base: sv.next}, true)
		if err != nil {
			return err
		}
		sv.segs = []*segment{s}
		return nil
	}
	if sv.stop != nil {
		o.Logger.Warn("log cut where a power failure or kill had left it incomplete", "segment", segmentName(sv.stop.segment),
			"offset", sv.stop.offset, "reason", sv.stop.reason, "last", sv.next-1, "records_dropped", sv.lost)
		if err := sv.wipeRest(); err != nil {
			return err
		}
	}
	for _, s := range sv.segs {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// wipeRest makes that no record behind the end can ever be met again: those in the last segment are overwritten, segments with others are removed,
// the newest first.
func (sv *survey) wipeRest() error {
	a := sv.active
	if sv.wipe[a] > 0 {
		if err := zero(sv.segs[a].file, sv.end, sv.wipe[a]); err != nil {
			return err
		}
	}
	if sv.segs[a].first >= sv.nextNumber {
		sv.segs[a].first = 0
	}
	used := false
	for _, end := range sv.wipe[a+1:] {
		used = used || end > 0
	}
	for i := len(sv.segs) - 1; used && i > a; i-- {
		s := sv.segs[i]
		if err := sv.o.FS.Remove(sv.o.path(s.id)); err != nil {
			return err
		}
		if err := sv.o.FS.SyncDir(sv.o.Dir); err != nil {
			return err
		}
		s.file.Close()
		sv.segs = sv.segs[:i]
	}
	return nil
}

// First is the index of the first entry, Last that of the last one. A log without entries has First = Last+1, the index of the next.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.runs) > 0 {
		return l.runs[0].first
	}
	return l.next
}

// Last is the index of the last entry.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - 1
}

// Metrics returns the counters.
func (l *Log) Metrics() Metrics {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.metrics
}

// Err tells what killed the log: an fsync that failed, or an append that could not be taken back. Whether entries that were not synced before are in
// the log is then unknown; only the next Open can tell. nil as long as the log is well.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// die remembers the first error that makes the log useless.
func (l *Log) die(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dieLocked(err)
}

func (l *Log) dieLocked(err error) error {
	if l.err == nil {
		l.err = err
		l.synced.Broadcast()
		l.preparing.Broadcast()
	}
	return l.err
}

// Close syncs and ends the log.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	err := l.Sync()
	if errors.Is(err, ErrClosed) {
		return err
	}
	l.die(ErrClosed)
	l.preparer.Wait()
	l.shaping.Lock()
	defer l.shaping.Unlock()
	for _, s := range slices.Concat(l.segs, l.prepared) {
		s.pin.Lock()
		s.gone = true
		err = errors.Join(err, s.file.Close())
		s.pin.Unlock()
	}
	return err
}
