package server

import (
	"sync"
	"time"

	"sett/commands"
)

// Persistence is what SAVE and its like ask of the rooms below.
type Persistence interface {
	// Save writes all recent writes to Badger and makes them durable: a start would find nothing to replay, and the log may forget.
	Save() error
	// Sync fsyncs the log: all that is committed survives a power cut.
	Sync() error
}

// saver makes the durable points that clients ask for. What Redis does with a forked child – an RDB file, a shorter AOF – is the same here:
// Persistence.Save, which stops nobody. One runs at a time; another one may be scheduled behind it.
type saver struct {
	mu        sync.Mutex
	running   job   // guarded by mu, like the rest
	scheduled job   // runs next
	last      point // that was made; at first the start

	saveFailed, rewriteFailed bool // the last BGSAVE, the last BGREWRITEAOF
}

// job is what a saver does in the background.
type job int

const (
	noJob job = iota
	bgSave
	bgRewrite
)

func (s *saver) init(start time.Time) { s.last.sec = start.Unix() }

// startSave runs a job in the background, unless one runs already: then it is scheduled, if that is wanted. It returns the job that ran before.
func (s *Server) startSave(j job, schedule bool) (before job) {
	v := &s.saver
	v.mu.Lock()
	defer v.mu.Unlock()
	before = v.running
	switch {
	case before == noJob && s.begin():
		v.running = j
		go s.saveInBackground(s.engine.Load().Persist, j)
	case before != noJob && before != j && schedule:
		v.scheduled = j
	}
	return before
}

// saveInBackground is the goroutine of the jobs.
func (s *Server) saveInBackground(p Persistence, j job) {
	defer s.running.Done()
	for j != noJob {
		now := s.beginPoint()
		err := p.Save()
		if err != nil {
			s.opts.Logger.Error("the data could not be saved in the background", "err", err)
		}
		j = s.saver.ended(j, now, err)
	}
}

// ended notes how a job went and returns the next.
func (v *saver) ended(j job, p point, err error) job {
	if err == nil {
		v.saved(p)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if j == bgRewrite {
		v.rewriteFailed = err != nil
	} else {
		v.saveFailed = err != nil
	}
	v.running, v.scheduled = v.scheduled, noJob
	return v.running
}

// point is a durable point that is about to be made: of all that was written until now.
type point struct {
	sec     int64  // unix time
	changes uint64 // commands.Stats.Changes
}

func (s *Server) beginPoint() point {
	return point{time.Now().Unix(), s.engine.Load().Data.Stats().Changes.Load()}
}

// saved notes that a durable point has been made.
func (v *saver) saved(p point) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = point{max(v.last.sec, p.sec), max(v.last.changes, p.changes)}
}

// begin counts a goroutine that Shutdown waits for, unless the server stops.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.running.Add(1)
	return true
}

// state is what runs now, and the last point.
func (v *saver) state() (running job, last point) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.running, v.last
}

// failed tells how the last jobs went.
func (v *saver) failed() (save, rewrite bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.saveFailed, v.rewriteFailed
}

func saveHandlers() map[string]*handler {
	return map[string]*handler{
		"save":         {run: save, blocks: true},
		"bgsave":       {run: bgsave},
		"bgrewriteaof": {run: bgrewriteaof},
		"lastsave":     {run: lastsave, early: true},
	}
}

func save(s *session, b *buffers, _ [][]byte) {
	v := &s.server.saver
	if running, _ := v.state(); running == bgSave {
		fail(b, errSaving)
		return
	}
	now := s.server.beginPoint()
	if err := s.engine.Persist.Save(); err != nil {
		s.server.opts.Logger.Error("the data could not be saved", "err", err)
		fail(b, err)
		return
	}
	v.saved(now)
	b.out.Status("OK")
}

func bgsave(s *session, b *buffers, args [][]byte) {
	schedule := len(args) == 2 && is(args[1], "schedule")
	if len(args) > 1 && !schedule {
		fail(b, commands.ErrSyntax)
		return
	}
	switch before := s.server.startSave(bgSave, schedule || s.multi); {
	case before == bgSave:
		fail(b, errSaving)
	case before == bgRewrite && !schedule && !s.multi:
		fail(b, errRewriteRuns)
	case before == bgRewrite || s.multi:
		b.out.Status("Background saving scheduled")
	default:
		b.out.Status("Background saving started")
	}
}

func bgrewriteaof(s *session, b *buffers, _ [][]byte) {
	switch before := s.server.startSave(bgRewrite, true); {
	case before == bgRewrite:
		fail(b, errRewriting)
	case before == bgSave || s.multi:
		b.out.Status("Background append only file rewriting scheduled")
	default:
		b.out.Status("Background append only file rewriting started")
	}
}

func lastsave(s *session, b *buffers, _ [][]byte) {
	_, last := s.server.saver.state()
	b.out.Int(last.sec)
}
