package server

import (
	"time"

	"sett/commands"
)

// Observation says what the server remembers of commands. It may change while the server runs (SetObservation).
type Observation struct {
	SlowerThanUs    int64     // a command that took as long goes into the slow log; negative: none does
	SlowlogMaxLen   int64     // entries of the slow log
	LatencyEventMs  int64     // what took as long is an event of the latency monitor; 0: nothing is
	LatencyTracking bool      // each command's times are counted,
	Percentiles     []float64 // … of which INFO shows these
}

// SetObservation changes what is remembered. change may run more than once.
func (s *Server) SetObservation(change func(*Observation)) {
	for {
		old := s.observation.Load()
		o := *old
		change(&o)
		if s.observation.CompareAndSwap(old, &o) {
			s.observed(&o)
			return
		}
	}
}

func (s *Server) observed(o *Observation) {
	s.slowlog.trim(o.SlowlogMaxLen)
	s.latency.threshold(o.LatencyEventMs)
}

// Events of the latency monitor that commands are.
const (
	eventCommand = "command"
	eventFast    = "fast-command" // it should never be slow: its costs do not depend on what the keys hold
)

// ran counts a command that was run, and remembers it if it was slow.
func (s *session) ran(row *commands.Row, args [][]byte, staged []commands.StagedArg, took time.Duration, reply []byte) {
	s.count.ran(&s.server.stats, s.id, row, int64(took), reply)
	if s.took(row, took, 1) {
		s.remember(row, args, staged, took)
	}
}

// took counts how long each of n commands has taken. slow: that has to be remembered.
func (s *session) took(row *commands.Row, took time.Duration, n uint64) (slow bool) {
	o := s.server.observation.Load()
	if o.LatencyTracking {
		s.server.stats.took(s.id, row, took, n)
	}
	return o.isSlow(took) || o.isSpike(took)
}

func (s *session) remember(row *commands.Row, args [][]byte, staged []commands.StagedArg, took time.Duration) {
	server, o := s.server, s.server.observation.Load()
	if o.isSlow(took) && !row.Flags.Has(commands.FlagSkipSlowlog) {
		server.slowlog.add(s, row, args, staged, took, o.SlowlogMaxLen)
	}
	if o.isSpike(took) {
		event := eventCommand
		if row.Flags.Has(commands.FlagFast) {
			event = eventFast
		}
		server.latency.spike(event, took, time.Now())
	}
}

func (o *Observation) isSlow(took time.Duration) bool {
	return o.SlowerThanUs >= 0 && took.Microseconds() >= o.SlowerThanUs
}

func (o *Observation) isSpike(took time.Duration) bool {
	return o.LatencyEventMs > 0 && took.Milliseconds() >= o.LatencyEventMs
}

func observeHandlers() map[string]*handler {
	return map[string]*handler{
		"slowlog":             {run: onlySubcommands},
		"slowlog|get":         {run: slowlogGet, early: true},
		"slowlog|len":         {run: slowlogLen, early: true},
		"slowlog|reset":       {run: slowlogReset, early: true},
		"slowlog|help":        {run: helpOf("SLOWLOG", slowlogHelp), early: true},
		"latency":             {run: onlySubcommands},
		"latency|latest":      {run: latencyLatest, early: true},
		"latency|history":     {run: latencyHistory, early: true},
		"latency|graph":       {run: latencyGraph, early: true},
		"latency|reset":       {run: latencyReset, early: true},
		"latency|doctor":      {run: latencyDoctor, early: true},
		"latency|histogram":   {run: latencyHistogram, early: true},
		"latency|help":        {run: helpOf("LATENCY", latencyHelp), early: true},
		"memory":              {run: onlySubcommands},
		"memory|stats":        {run: memoryStats},
		"memory|doctor":       {run: memoryDoctor},
		"memory|purge":        {run: memoryPurge, blocks: true},
		"memory|malloc-stats": {run: memoryMallocStats},
		"memory|help":         {run: helpOf("MEMORY", memoryHelp), early: true},
	}
}

func helpOf(container string, lines []string) func(*session, *buffers, [][]byte) {
	return func(_ *session, b *buffers, _ [][]byte) { help(b, container, lines) }
}

// resetStats is CONFIG RESETSTAT: what Redis resets, and no more. Slow log, latency events and the peak of memory stay.
func (s *session) resetStats() {
	s.count.flush(&s.server.stats, s.id)
	s.server.stats.reset()
	if s.engine != nil {
		s.engine.Data.ResetStats()
	}
}
