package server

import (
	"sett/resp"
	"sett/storage"
)

// settSpace is SETT SPACE.
func settSpace(s *session, b *buffers, _ [][]byte) {
	space := Space{BlobBytes: -1}
	if s.engine.Space != nil {
		space = s.engine.Space()
	}
	w := &b.out
	w.Map(11)
	integer := func(name string, n int64) { w.BulkString(name); w.Int(n) }
	integer("disk_bytes", space.TableBytes+space.MemtableBytes+space.ValueLogBytes)
	integer("table_bytes", space.TableBytes)
	integer("memtable_bytes", space.MemtableBytes)
	integer("value_log_bytes", space.ValueLogBytes)
	known(w, "live_bytes", space.live(), space.SampledMs > 0 && space.BlobBytes >= 0)
	w.BulkString("dead_bytes")
	space.dead(w)
	known(w, "sampled", space.SampledMs, space.SampledMs > 0)
	w.BulkString("waiting")
	w.Map(2)
	integer("expired", space.ExpiredWaiting)
	integer("dead", space.DeadWaiting)
	backlog, drainMs := space.backlog()
	integer("backlog_bytes", backlog)
	integer("drain_ms", drainMs)
	w.BulkString("jobs")
	w.Map(len(space.Jobs))
	for i := range space.Jobs {
		space.Jobs[i].show(w)
	}
}

// known is a figure, -1 while it is not known yet.
func known(w *resp.Writer, name string, n int64, is bool) {
	if !is {
		n = -1
	}
	w.BulkString(name)
	w.Int(n)
}

// live is what is of use, in tables and in the value log.
func (s *Space) live() int64 { return s.Tables[storage.Live] + max(0, s.BlobBytes) }

// deadValues is what of the value log is of no use.
func (s *Space) deadValues() int64 { return max(0, s.ValueLogBytes-max(0, s.BlobBytes)) }

// deadInTables is the sum of all causes.
func (s *Space) deadInTables() (bytes int64) {
	for cause := storage.Live + 1; cause < storage.Causes; cause++ {
		bytes += s.Tables[cause]
	}
	return bytes
}

func (s *Space) dead(w *resp.Writer) {
	w.Map(int(storage.Causes))
	for cause := storage.Live + 1; cause < storage.Causes; cause++ {
		known(w, cause.String(), s.Tables[cause], s.SampledMs > 0)
	}
	known(w, "value_log", s.deadValues(), s.BlobBytes >= 0)
}

// backlog is the sum of all jobs': one works at a time.
func (s *Space) backlog() (bytes, drainMs int64) {
	for _, j := range s.Jobs {
		bytes += j.Backlog
		drainMs += j.Drain.Milliseconds()
	}
	return bytes, drainMs
}

func (j *SpaceJob) show(w *resp.Writer) {
	integer := func(name string, n int64) { w.BulkString(name); w.Int(n) }
	w.BulkString(j.Name)
	w.Map(8)
	known(w, "last_run", j.LastRunMs, j.LastRunMs > 0)
	w.BulkString("did")
	w.BulkString(j.Did)
	integer("before_bytes", j.Before)
	integer("after_bytes", j.After)
	integer("runs", int64(j.Runs))
	integer("moved_bytes", j.Moved)
	integer("backlog_bytes", j.Backlog)
	integer("drain_ms", j.Drain.Milliseconds())
}
