package server

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
)

// memory is where the process' memory is. Pages of files – Badger's tables are mapped – are the operating system's cache: they are in rss
// alone.
type memory struct {
	used uint64 // what is resident and no page of a file: it is what memory_budget means
	peak uint64 // of used
	rss  uint64 // all that is resident; 0: not known

	allocated uint64 // objects in Go's heap, garbage that is not collected yet and memory that was never touched included
	active    uint64 // … and the gaps between them

	recent, recentLimit int64 // recent writes
	cache, cacheLimit   int64 // records that were read
}

func (s *Server) memory() memory {
	var m memory
	m.allocated, m.active, _ = heap()
	m.used, m.rss = resident()
	m.peak = s.stats.notePeak(m.used)
	if e := s.engine.Load(); e != nil {
		now := e.Store.Status()
		m.recent, m.recentLimit, m.cache, m.cacheLimit = now.DirtyBytes, now.DirtyLimit, now.CacheBytes, now.CacheLimit
	}
	return m
}

// heap asks Go's runtime. total is all that it got from the system and did not give back.
func heap() (allocated, active, total uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	n := func(i int) uint64 { return samples[i].Value.Uint64() }
	return n(0), n(0) + n(1), n(2) - n(3)
}

// resident asks the system; where it does not tell, the runtime has to.
func resident() (used, rss uint64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		_, _, total := heap()
		return total, 0
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseUint(kib, 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			rss = n << 10
		case "RssAnon", "RssShmem":
			used += n << 10
		}
	}
	return used, rss
}

// dataset is what of used is the users' data.
func (m *memory) dataset() uint64 { return min(uint64(m.recent+m.cache), m.used) }

// memory is INFO memory.
func (r *report) memory() {
	m := r.s.server.memory()
	r.bytes("used_memory", m.used)
	if m.rss > 0 {
		r.bytes("used_memory_rss", m.rss)
	}
	r.bytes("used_memory_peak", m.peak)
	r.line("used_memory_peak_perc:%.2f%%", 100*float64(m.used)/float64(m.peak))
	r.line("used_memory_overhead:%d", m.used-m.dataset())
	r.line("used_memory_startup:%d", r.s.server.startupBytes)
	r.line("used_memory_dataset:%d", m.dataset())
	r.line("used_memory_dataset_perc:%.2f%%", 100*float64(m.dataset())/float64(m.used))
	r.line("allocator_allocated:%d", m.allocated)
	r.line("allocator_active:%d", m.active)
	if total := totalSystemMemory(); total > 0 {
		r.bytes("total_system_memory", total)
	}
	r.maxmemory()
	if r.s.engine != nil {
		limits := r.s.engine.Data.Limits()
		r.line("stored_bytes:%d", limits.UsedBytes) // what maxmemory is about
		r.line("stored_bytes_limit:%d", limits.BoundBytes)
		if limits.DiskBytes > 0 {
			r.line("stored_disk_bytes:%d", limits.DiskBytes)
		}
	}
	r.line("allocator_frag_ratio:%.2f", ratio(m.active, m.allocated))
	r.line("allocator_frag_bytes:%d", m.active-m.allocated)
	r.line("mem_allocator:go")
	if r.s.engine != nil && r.s.engine.Space != nil {
		r.line("lazyfree_pending_objects:%d", r.s.engine.Space().DeadWaiting)
	}
}

func ratio(a, b uint64) float64 { return float64(a) / float64(max(b, 1)) }

// maxmemory shows the settings as they are.
func (r *report) maxmemory() {
	config := r.settings("maxmemory", "maxmemory-policy")
	if n, err := strconv.ParseUint(config["maxmemory"], 10, 64); err == nil {
		r.bytes("maxmemory", n)
	}
	if policy := config["maxmemory-policy"]; policy != "" {
		r.line("maxmemory_policy:%s", policy)
	}
}

// memoryStats is MEMORY STATS: what of Redis' names has a meaning here, then sett's own.
func memoryStats(s *session, b *buffers, _ [][]byte) {
	m := s.server.memory()
	var keys storedKeys
	if err := keys.count(s, b); err != nil {
		fail(b, err)
		return
	}
	pairs := []struct {
		name  string
		value any
	}{
		{"peak.allocated", int64(m.peak)},
		{"total.allocated", int64(m.used)},
		{"startup.allocated", int64(s.server.startupBytes)},
		{"overhead.total", int64(m.used - m.dataset())},
		{"keys.count", keys.n},
		{"keys.bytes-per-key", keys.bytes / max(keys.n, 1)},
		{"dataset.bytes", int64(m.dataset())},
		{"dataset.percentage", 100 * ratio(m.dataset(), m.used)},
		{"peak.percentage", 100 * ratio(m.used, m.peak)},
		{"allocator.allocated", int64(m.allocated)},
		{"allocator.active", int64(m.active)},
		{"allocator-fragmentation.ratio", ratio(m.active, m.allocated)},
		{"allocator-fragmentation.bytes", int64(m.active - m.allocated)},
		{"memory-budget", s.server.opts.About.MemoryBudget},
		{"recent-writes.bytes", m.recent},
		{"recent-writes.limit", m.recentLimit},
		{"record-cache.bytes", m.cache},
		{"record-cache.limit", m.cacheLimit},
	}
	b.out.Map(len(pairs))
	for _, p := range pairs {
		b.out.BulkString(p.name)
		switch v := p.value.(type) {
		case int64:
			b.out.Int(v)
		case float64:
			b.out.Double(v)
		}
	}
}

// storedKeys are the keys of all databases and their bytes: names and values, in memory or not.
type storedKeys struct{ n, bytes int64 }

func (k *storedKeys) count(s *session, b *buffers) error {
	tallies, err := s.engine.Data.Tallies(&b.call)
	for _, t := range tallies {
		k.n += t.Keys
		k.bytes += t.Bytes
	}
	return err
}

func memoryPurge(_ *session, b *buffers, _ [][]byte) {
	debug.FreeOSMemory()
	b.out.Status("OK")
}

// memoryMallocStats shows what Go's allocator counts, each figure under the runtime's own name.
func memoryMallocStats(_ *session, b *buffers, _ [][]byte) {
	b.out.Verbatim("txt", mallocStats())
}

func mallocStats() (text []byte) {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if strings.HasPrefix(d.Name, "/memory/") || strings.HasPrefix(d.Name, "/gc/") {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	slices.SortFunc(samples, func(a, b metrics.Sample) int { return cmp.Compare(a.Name, b.Name) })
	metrics.Read(samples)
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			text = fmt.Appendf(text, "%s %d\n", s.Name, s.Value.Uint64())
		case metrics.KindFloat64:
			text = fmt.Appendf(text, "%s %g\n", s.Name, s.Value.Float64())
		}
	}
	return text
}

var memoryHelp = []string{
	"DOCTOR",
	"    Return memory problems reports.",
	"MALLOC-STATS",
	"    Return internal statistics report from the memory allocator.",
	"PURGE",
	"    Attempt to purge dirty pages for reclamation by the allocator.",
	"STATS",
	"    Return information about the memory usage of the server.",
	"USAGE <key> [SAMPLES <count>]",
	"    Return memory in bytes used by <key> and its value. Nested values are",
	"    sampled up to <count> times (default: 5, 0 means sample all).",
}

func memoryDoctor(s *session, b *buffers, _ [][]byte) {
	m := s.server.memory()
	b.out.Verbatim("txt", []byte(m.diagnosis(s.server.opts.About.MemoryBudget)))
}
