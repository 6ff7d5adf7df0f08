package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sett/replication/wal"
	"sett/storage"
	"sett/ttl"
)

// LATENCY DOCTOR and MEMORY DOCTOR speak as Redis' do. Their advice is for sett: what helps a server that forks and keeps its data in
// memory would be none here.

func latencyDoctor(s *session, b *buffers, _ [][]byte) {
	b.out.Verbatim("txt", []byte(s.server.latency.diagnosis(s.server.observation.Load(), time.Now().Unix())))
}

const (
	latencyOff = "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use " +
		"\"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it. If we weren't in a deep space mission I'd suggest to " +
		"take a look at https://redis.io/topics/latency-monitor.\n"
	latencyFine = "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit. " +
		"I honestly think you ought to sit down calmly, take a stress pill, and think things over.\n"
	latencySpikes = "Dave, I have observed latency spikes in this Redis instance. You don't mind talking about it, do you Dave?\n\n"
	latencyAdvice = "\nI have a few advices for you:\n\n"
)

func (l *Latency) diagnosis(o *Observation, nowSec int64) string {
	names := l.names()
	switch {
	case len(names) == 0 && o.LatencyEventMs == 0:
		return latencyOff
	case len(names) == 0:
		return latencyFine
	}
	var text strings.Builder
	text.WriteString(latencySpikes)
	var advice []string
	for i, name := range names {
		event := l.event(name)
		if len(event.samples) == 0 {
			continue // reset meanwhile
		}
		mean, deviation := event.spread()
		periodSec := max(nowSec-event.samples[0].unixSec, 1)
		fmt.Fprintf(&text, "%d. %s: %d latency spikes (average %dms, mean deviation %dms, period %.2f sec). Worst all time event %dms.\n",
			i+1, name, len(event.samples), mean, deviation, float64(periodSec)/float64(len(event.samples)), event.maxMs)
		for _, a := range adviceFor(name, o) {
			if !slices.Contains(advice, a) {
				advice = append(advice, a)
			}
		}
	}
	text.WriteString(latencyAdvice)
	for _, a := range advice {
		text.WriteString("- " + a + "\n")
	}
	return text.String()
}

// spread is the mean of the samples and their mean deviation from it.
func (s *series) spread() (meanMs, deviationMs int64) {
	n := int64(len(s.samples))
	for _, p := range s.samples {
		meanMs += p.ms
	}
	meanMs /= n
	for _, p := range s.samples {
		deviationMs += max(p.ms-meanMs, meanMs-p.ms)
	}
	return meanMs, deviationMs / n
}

func adviceFor(event string, o *Observation) []string {
	switch event {
	case eventCommand:
		advice := []string{"Check your Slow Log to understand what are the commands you are running which are too slow to execute. " +
			"Please check https://redis.io/commands/slowlog for more information."}
		switch {
		case o.SlowerThanUs < 0:
			advice = append(advice, fmt.Sprintf("There are latency issues with potentially slow commands you are using. Try to enable the Slow Log "+
				"with 'CONFIG SET slowlog-log-slower-than %d'.", o.LatencyEventMs*1000))
		case o.SlowerThanUs/1000 > o.LatencyEventMs:
			advice = append(advice, fmt.Sprintf("Your current Slow Log configuration only logs events that are slower than your configured latency "+
				"monitor threshold. Please use 'CONFIG SET slowlog-log-slower-than %d'.", o.LatencyEventMs*1000))
		}
		return append(advice, "Commands that read records which are not in memory wait for the disk: compare badger_reads and cache_misses in INFO sett, "+
			"and give the server a larger memory_budget if they grow.")
	case eventFast:
		return []string{"Commands that cost little were slow: the process got no CPU time, waited for a record from the disk, or for room for its writes. " +
			"Lower the load of the system; check 'redis-cli --intrinsic-latency 100', and cache_misses and stall_usec in INFO sett."}
	case wal.TookFsync, wal.TookAppend:
		return []string{"The log's disk is slow. With appendfsync always every write waits for it, with everysec those that are a second ahead. Use a local SSD, " +
			"and keep other processes off it."}
	case storage.TookFlush, storage.TookBarrier:
		return []string{"Badger's disk is slow at writing in bulk. Commands do not wait for that by themselves; if recent writes fill up meanwhile there are " +
			"events of the kind stall."}
	case storage.TookStall:
		return []string{"Writers waited because recent writes fill their share of memory: the disk does not keep up. Write more slowly, use a faster disk, " +
			"or give the server a larger memory_budget."}
	case ttl.TookSweep:
		return []string{"The removal of expired keys takes the lock for a batch at a time: lower ttl.sweep_batch, and spread the times at which keys expire."}
	}
	return nil
}

const (
	memoryEmpty = "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these conditions. " +
		"Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be back to our programming as soon as I " +
		"finished rebooting.\n"
	memoryFine   = "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
	memoryIssues = "Sam, I detected a few issues in this Redis instance memory implants:\n\n"
	memoryEnd    = "I'm here to keep you safe, Sam. I want to help you.\n"

	smallMemory = 5 << 20 // less is not worth a diagnosis
)

// diagnosis looks for what can be wrong with the memory of a server that keeps its data on disk.
func (m *memory) diagnosis(budget int64) string {
	if m.used < smallMemory {
		return memoryEmpty
	}
	var issues []string
	if float64(m.peak) > 1.5*float64(m.used) {
		issues = append(issues, "Peak memory: In the past this instance used more than 150% the memory that is currently using. Go gives memory back "+
			"to the system by and by; MEMORY PURGE does it at once, for the price of a garbage collection.")
	}
	if budget > 0 && int64(m.used) > budget {
		issues = append(issues, fmt.Sprintf("Over budget: The process holds %s, memory_budget is %s. Buffers of clients with large commands or replies come on "+
			"top of what is divided: look for them, or raise the budget.", human(m.used), human(uint64(budget))))
	}
	if m.recentLimit > 0 && m.recent > m.recentLimit/2 {
		issues = append(issues, "Recent writes: They fill more than half of their share, so that writers are slowed down. The disk does not keep up with them: "+
			"see LATENCY DOCTOR.")
	}
	if len(issues) == 0 {
		return memoryFine
	}
	text := memoryIssues
	for _, issue := range issues {
		text += " * " + issue + "\n\n"
	}
	return text + memoryEnd
}
