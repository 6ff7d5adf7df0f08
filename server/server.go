package server

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sett/commands"
	"sett/replication/mesh"
	"sett/replication/wal"
	"sett/storage"
)

// Options of a server. Main fills them from the configuration.
type Options struct {
	Table  *commands.Table
	Limits Limits
	TLS    *TLS // behind TLS listeners; nil: there are none

	Password  string // of the default user; "": none
	Protected bool   // protected-mode

	KeepBytes int // the largest buffer of a connection that is kept for the next one; 0: 64 KiB

	Clustered  bool          // this node is, or will be, one of a cluster
	MasterName string        // under which SENTINEL knows this cluster
	DownAfter  time.Duration // nodes that are silent for longer do not count as reachable: for SENTINEL to say

	Debug  DebugAccess // who may use DEBUG
	Config Config      // behind CONFIG
	About  About       // what INFO says about the process
	Logger *slog.Logger

	Observation Observation // what is remembered of commands
	Latency     *Latency    // which the rooms below tell as well; nil: they do not

	// Stop is called by SHUTDOWN, at most once: it begins the end of the process and returns at once. save is false for NOSAVE.
	Stop func(save bool)
	// Fatal ends the process: storage found its own rules broken.
	Fatal func(error)
}

// Limits may change while the server runs (SetLimits).
type Limits struct {
	MaxClients    int
	TimeoutSec    int // an idle connection is closed after it; 0: never
	KeepAliveSec  int // of TCP; 0: off
	MaxQueryBytes int // one command, and what one MULTI holds
	MaxBulkBytes  int // one argument
	MaxArgBytes   int // one argument that is not a value which is staged: part of memory_budget

	MinReplicas       int // writes are refused while there are fewer: this version has none
	MinReplicasLagSec int // 0: MinReplicas does not count

	ForwardTimeout time.Duration // how long a command waits for a leader
	Moved          bool          // clients are sent to the leader, instead of their commands
	Linearizable   bool          // reads, unless a connection has chosen for itself

	// Replies in memory that the client has not taken: beyond hard it is closed at once, beyond soft when it stays so. 0: no limit.
	OutHardBytes, OutSoftBytes, OutSoftSec int
}

// Engine is what commands run on. It is there once the log has been replayed.
type Engine struct {
	Data  *commands.DataSet
	Store Store
	Log   Log // for INFO; may be nil
	Hooks Hooks
	Space func() Space // for INFO; may be nil

	Persist Persistence
	Cluster Cluster           // nil: this node is alone
	Streams func() mesh.Stats // between nodes, for the metrics; may be nil
}

// Space is what INFO says about what is dead and what is given back.
type Space struct {
	DeadWaiting    int64  // dead blobs and collections whose records are not gone yet
	Reclaimed      uint64 // … that are gone
	ReclaimedKeys  uint64
	Orphans        uint64 // chunks that came back, and were removed again
	ValueLogFiles  int
	ValueLogBytes  int64
	BlobBytes      int64 // of live blobs, as of the last look; -1: not known yet
	ForgottenBytes int64 // of the value log, that Badger has forgotten and the next start gives back
	CollectedFiles uint64
	LastCollectMs  int64 // 0: none

	ExpiryLag      time.Duration // how long past its time the oldest key is that was not removed yet; 0: there is none
	ExpiredWaiting int64         // about so many keys and hashes are past the time of theirs, or of a field

	TableBytes, MemtableBytes int64                 // of the disk
	Tables                    [storage.Causes]int64 // what tables hold, as a sample tells
	SampledMs                 int64                 // when that was taken; 0: never
	Jobs                      []SpaceJob

	Deletions       int64  // in Badger, that have not met what they delete: as far as they were counted
	Compactions     uint64 // of ranges of keys, beside those that Badger begins by itself
	CompactionsBusy uint64 // … that were left out, because Badger was at work there
	CompactedBytes  uint64 // read and written by them
	CompactedAway   uint64 // records that they dropped

	ScrubbedBytes uint64
	LastScrubMs   int64 // when a scrub has last found that all is right; 0: none did since the start
}

// SpaceJob is what one of the jobs that give space back has done and has before it.
type SpaceJob struct {
	Name      string
	LastRunMs int64 // unix ms; 0: it gave nothing back since the start
	Did       string
	Before    int64 // bytes on disk of what it worked on the last time
	After     int64
	Runs      uint64
	Moved     int64 // bytes that it has read and written for that
	Backlog   int64 // bytes that wait for it, as far as it knows
	Drain     time.Duration
}

// Store is what the server itself needs of storage.Store.
type Store interface {
	// Wait returns when all up to the position is committed, or storage.ErrInDoubt.
	Wait(position uint64) error
	// Decided tells whether Wait would return at once.
	Decided(position uint64) bool
	// Notify has tell called when Wait would return at once; false: it would now.
	Notify(position uint64, tell func()) (later bool)
	// Evaluating tells whether this node runs commands: it leads, or is alone.
	Evaluating() bool
	Status() storage.Status
	Stats() *storage.Stats
	Levels() []storage.Level
}

// Log is what INFO says about the log.
type Log interface{ Metrics() wal.Metrics }

// Server is the listeners and connections of one data set.
type Server struct {
	saver        saver
	failover     failover
	lastLeader   atomic.Pointer[string] // ID of the last leader that was known; nil: none was
	halted       atomic.Bool            // DEBUG PAUSE-CRON: the ticker does nothing
	opts         Options
	limits       atomic.Pointer[Limits]
	access       atomic.Pointer[access]
	paused       atomic.Pointer[pause] // written under mu; nil: no pause, or it is over
	observation  atomic.Pointer[Observation]
	engine       atomic.Pointer[Engine] // nil while the log is replayed
	stats        stats
	slowlog      slowlog
	latency      *Latency
	handlers     map[*commands.Row]*handler
	buffers      sync.Pool // of *buffers
	runID        string    // 40 random hex digits, new at each start
	started      time.Time
	startupBytes uint64        // memory used before there was data
	port         atomic.Int64  // of clients that do not speak TLS; 0: none
	leaving      atomic.Bool   // no new connections; those that there are end behind their next reply (leave.go)
	seeking      atomic.Int64  // connections that look for a leader
	openings     chan struct{} // a place for each stream to the leader that is being opened
	lastTurn     time.Duration // lastTurn, but for tests
	stopping     atomic.Bool
	ending       chan struct{} // closed when the server stops
	loop         *loop         // serves what goroutines need not; nil: there is none
	stopOnce     sync.Once

	indexRow  *commands.Row // SETT INDEX
	confirmer confirmer
	leader    leaderWatch // ticker only

	mu        sync.Mutex
	listeners []net.Listener     // guarded by mu
	conns     map[*conn]struct{} // guarded by mu
	parked    map[*conn]struct{} // those that wait for the end of the pause; guarded by mu
	parted    []io.Closer        // sockets that stay open until the process ends; guarded by mu
	clients   atomic.Int64       // len(conns), without those that are forwarded
	blocked   atomic.Int64       // len(parked)
	elsewhere atomic.Int64       // clients for whom the leader waits
	nextID    atomic.Uint64      // of connections
	running   sync.WaitGroup     // goroutines of listeners and connections, and the ticker
}

// New returns a server without listeners. Until Begin it answers every command with -LOADING.
func New(opts Options) *Server {
	opts.KeepBytes = max(opts.KeepBytes, 64<<10)
	s := &Server{opts: opts, conns: make(map[*conn]struct{}), parked: make(map[*conn]struct{}), started: time.Now(), ending: make(chan struct{}),
		openings: make(chan struct{}, maxOpenings), lastTurn: lastTurn}
	var id [20]byte
	rand.Read(id[:]) // never fails
	s.runID = hex.EncodeToString(id[:])
	s.startupBytes, _ = resident()
	s.limits.Store(&opts.Limits)
	s.access.Store(&access{protected: opts.Protected})
	s.SetPassword(opts.Password)
	if s.latency = opts.Latency; s.latency == nil {
		s.latency = NewLatency()
	}
	s.observation.Store(&opts.Observation)
	s.observed(&opts.Observation)
	s.buffers.New = func() any { return new(buffers) }
	s.stats.init(opts.Table)
	s.saver.init(s.started)
	s.handlers = newHandlers(opts.Table)
	s.indexRow, _ = opts.Table.Resolve(askIndex())
	s.loop = startLoop(s)
	s.running.Add(1)
	go s.tick()
	return s
}

// Begin gives the server what commands run on, and lets clients in.
func (s *Server) Begin(engine *Engine) { s.engine.Store(engine) }

// Limits returns the present limits.
func (s *Server) Limits() Limits { return *s.limits.Load() }

// SetLimits changes limits; connections meet them with their next command. change may run more than once.
func (s *Server) SetLimits(change func(*Limits)) {
	for {
		old := s.limits.Load()
		limits := *old
		change(&limits)
		if s.limits.CompareAndSwap(old, &limits) {
			return
		}
	}
}

// Shutdown stops accepting, lets every connection finish the command it runs and send its replies, and closes the connections. One
// that is not done after grace, because its client does not read or the log does not answer, is left to its fate.
func (s *Server) Shutdown(grace time.Duration) {
	if !s.leaving.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	for _, l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.seeOff(grace)
	s.stopping.Store(true)
	close(s.ending)
	s.mu.Lock()
	for c := range s.conns {
		// Those that wait for input end now; those that run a command end when they want more of it.
		c.socket.setReadDeadline(past)
	}
	s.mu.Unlock()
	if s.loop != nil {
		s.loop.poller.ring()
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-time.After(grace):
		s.abortAll()
	}
	select {
	case <-done:
	case <-time.After(shutdownSlack):
		s.opts.Logger.Warn("connections were not done in time", "connections", s.clients.Load())
	}
}

// shutdownSlack is what connections get to notice that their time is over.
const shutdownSlack = time.Second

// abortAll ends all that connections wait for.
func (s *Server) abortAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.abort()
	}
}

// abort has all fail that the connection waits for.
func (c *conn) abort() {
	if l := c.forwards.Load(); l != nil {
		l.stream.Close()
	}
	c.socket.abort()
}

// Close ends what Shutdown leaves: the connection that asked for SHUTDOWN, whose client takes its end for the end of the process.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, socket := range s.parted {
		socket.Close()
	}
	s.parted = nil
	if s.loop != nil {
		s.loop.end()
	}
}

// stop is SHUTDOWN.
func (s *Server) stop(save bool) {
	s.stopOnce.Do(func() { s.opts.Stop(save) })
}

// admit registers a connection, unless there are too many or the server stops.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.forwarded && int(s.clients.Load()) >= s.limits.Load().MaxClients || s.leaving.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	if !c.forwarded {
		s.clients.Add(1)
	}
	s.running.Add(1)
	return true
}

// forget is the end of a connection; with part set its socket stays open.
func (s *Server) forget(c *conn, part bool) {
	defer s.running.Done()
	s.remove(c)
	if part {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.parted = append(s.parted, c)
		return
	}
	c.Close()
}

// remove takes a connection out of the list, unless it was killed before.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.conns[c]; there && !c.forwarded {
		s.clients.Add(-1)
	}
	delete(s.conns, c)
}

// tick samples rates ten times a second, looks for connections that are to be closed once a second, and for new certificates once a minute.
func (s *Server) tick() {
	defer s.running.Done()
	t := time.NewTicker(sampleInterval)
	defer t.Stop()
	var nodes nodeWatch
	for n := 1; ; n++ {
		select {
		case <-s.ending:
			return
		case now := <-t.C:
			if s.halted.Load() {
				continue
			}
			s.stats.sample(now)
			s.watchLeader(now)
			if n%10 == 0 {
				s.stats.samplePeak()
				s.closeOverdue(now.Unix())
				s.watchNodes(&nodes, now)
				s.dropIdleLinks(now.Unix())
			}
			if n%filesEvery == 0 && s.opts.TLS != nil {
				s.opts.TLS.CheckFiles()
			}
			if p := s.paused.Load(); p != nil && s.pausing() == nil {
				s.paused.CompareAndSwap(p, nil)
			}
		}
	}
}

// filesEvery is after how many samples TLS files are looked at: a minute.
const filesEvery = int(time.Minute / sampleInterval)

// strangerPatienceSec is how long a reply to a client that has yet to authenticate may wait to be taken.
const strangerPatienceSec = 1

// closeOverdue ends connections that have waited for their client for longer than they may.
func (s *Server) closeOverdue(nowSec int64) {
	limits := s.limits.Load()
	if limits.TimeoutSec == 0 && limits.OutSoftBytes == 0 && s.access.Load().password == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		since := c.waitingSince.Load()
		if since == 0 {
			continue
		}
		unsent, waitedSec := int(c.unsent.Load()), nowSec-since
		switch {
		case limits.TimeoutSec > 0 && waitedSec > int64(limits.TimeoutSec), c.stranger.Load() && unsent > 0 && waitedSec > strangerPatienceSec:
			c.socket.abort()
		case c.softOverdue(unsent, limits, nowSec):
			s.overflowed(&c.peer, c.seen())
			c.socket.abort()
		}
	}
}

// softOverdue tells whether the client has been above the soft limit for longer than it may.
func (p *peer) softOverdue(unsent int, limits *Limits, nowSec int64) bool {
	if limits.OutSoftBytes == 0 || unsent < limits.OutSoftBytes {
		p.softSince = 0
		return false
	}
	if p.softSince == 0 {
		p.softSince = nowSec
	}
	return nowSec-p.softSince > int64(limits.OutSoftSec)
}

// overflowed notes that a client is closed because it does not take its replies, or asks for too much at a time.
func (s *Server) overflowed(p *peer, shown portrait) {
	s.stats.outputOverflows.Add(1)
	s.opts.Logger.Warn("closing a client that exceeds client-output-buffer-limit", "client", string(p.appendTo(nil, shown, time.Now().Unix())))
}

// fatal ends the process. It does not return in production; a test's may.
func (s *Server) fatal(err error) {
	s.opts.Logger.Error("a rule of the storage is broken: the process must end", "err", err)
	s.opts.Fatal(err)
}
