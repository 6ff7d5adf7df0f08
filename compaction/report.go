package compaction

import (
	"sync"
	"time"
)

// JobReport is what one of the keeper's jobs did and has before it.
type JobReport struct {
	Name string // reclaim, ttl, tombstones, vlog

	// The last time it gave something back. Zero: not since the start.
	LastRun       time.Time
	Did           string // in a few words, for people
	Before, After int64  // bytes on disk of what it worked on

	Runs    uint64        // times it gave something back since the start
	Moved   int64         // bytes it read and wrote for that, as far as it is known
	Backlog int64         // bytes of which it knows that they wait for it: an estimate
	Drain   time.Duration // how long the backlog takes at the present rate; 0: nothing waits
}

// job keeps the report of one job.
type job struct {
	mu     sync.Mutex
	report JobReport
}

const (
	jobReclaim = iota
	jobTTL
	jobTombstones
	jobValueLog
	jobCount
)

var jobNames = [jobCount]string{"reclaim", "ttl", "tombstones", "vlog"}

// Jobs tells what each job did last and what waits for it. Any goroutine may call it; it reads what the keeper knows, and nothing else.
func (k *Keeper) Jobs() []JobReport {
	reports := make([]JobReport, jobCount)
	for i := range k.jobs {
		j := &k.jobs[i]
		j.mu.Lock()
		reports[i] = j.report
		j.mu.Unlock()
		reports[i].Name = jobNames[i]
	}
	return reports
}

// did notes that a job gave something back.
func (j *job) did(what string, before, after, moved int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &j.report
	r.LastRun, r.Did, r.Before, r.After = time.Now(), what, before, after
	r.Runs++
	r.Moved += moved
}

// waits notes what a job has before it.
func (j *job) waits(backlog int64, drain time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.Backlog, j.report.Drain = backlog, drain
}
