package server

import (
	"runtime"
	"strconv"
	"time"

	"sett/commands"
	"sett/replication/wal"
	"sett/storage"
	"sett/ttl"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the figures of INFO, read when somebody asks. docs/metrics.md is made from the tables below.

// metric is a family of figures of one name.
type metric struct {
	name   string // with its unit, as Prometheus wants it
	help   string
	kind   string // counter, gauge or histogram
	labels []string

	value func(f *figures, put func(value float64, labels ...string)) // of counters and gauges
	times func(f *figures, put func(t times, labels ...string))       // of histograms
}

const (
	counter       = "counter"
	gauge         = "gauge"
	histogramKind = "histogram"
)

// figures is what one scrape sees.
type figures struct {
	server *Server
	total  total
	memory memory

	// Once the log has been replayed; else zero.
	engine *Engine
	now    storage.Status
	sum    *storage.Stats
	levels []storage.Level
	space  *Space
	log    *wal.Metrics
	keys   []commands.DatabaseTally

	cluster *clusterFigures // nil: this node is alone
	limits  commands.Limits
}

func (s *Server) figures() *figures {
	f := &figures{server: s, total: s.stats.total(), memory: s.memory(), engine: s.engine.Load()}
	if f.engine == nil {
		return f
	}
	f.now, f.sum, f.levels = f.engine.Store.Status(), f.engine.Store.Stats(), f.engine.Store.Levels()
	if f.engine.Space != nil {
		space := f.engine.Space()
		f.space = &space
	}
	if f.engine.Log != nil {
		log := f.engine.Log.Metrics()
		f.log = &log
	}
	f.keys, _ = f.engine.Data.Tallies(new(commands.Call)) // none while the data set is not served
	f.limits = f.engine.Data.Limits()
	f.cluster = s.clusterFigures(f.engine)
	return f
}

func allMetrics() []metric {
	var all []metric
	for _, group := range metricGroups() {
		all = append(all, group.metrics...)
	}
	return all
}

type metricGroup struct {
	title   string
	metrics []metric
}

func metricGroups() []metricGroup {
	return []metricGroup{
		{"Server", serverMetrics()},
		{"Clients", clientMetrics()},
		{"Commands", commandMetrics()},
		{"Keys", keyMetrics()},
		{"How much data there may be", limitMetrics()},
		{"Memory", memoryMetrics()},
		{"Log", logMetrics()},
		{"Storage", storageMetrics()},
		{"Space", spaceMetrics()},
		{"Cluster", clusterMetrics()},
	}
}

// plain is a metric without labels; it is absent while read says that it is not known.
func plain(kind, name, help string, read func(*figures) (value float64, known bool)) metric {
	return metric{name: name, help: help, kind: kind, value: func(f *figures, put func(float64, ...string)) {
		if value, known := read(f); known {
			put(value)
		}
	}}
}

// ofServer is plain for what is known from the beginning, ofStore for what is once the log has been replayed.
func ofServer(kind, name, help string, read func(*figures) float64) metric {
	return plain(kind, name, help, func(f *figures) (float64, bool) { return read(f), true })
}

func ofStore(kind, name, help string, read func(*figures) float64) metric {
	return plain(kind, name, help, func(f *figures) (float64, bool) {
		if f.engine == nil {
			return 0, false
		}
		return read(f), true
	})
}

func ofSpace(kind, name, help string, read func(*Space) float64) metric {
	return plain(kind, name, help, func(f *figures) (float64, bool) {
		if f.space == nil {
			return 0, false
		}
		return read(f.space), true
	})
}

func ofLog(kind, name, help string, read func(*wal.Metrics) float64) metric {
	return plain(kind, name, help, func(f *figures) (float64, bool) {
		if f.log == nil {
			return 0, false
		}
		return read(f.log), true
	})
}

// ofJob is the histogram of something that no command answers for.
func ofJob(name, help, job string) metric {
	return metric{name: name, help: help, kind: histogramKind, times: func(f *figures, put func(times, ...string)) {
		put(f.server.latency.jobs[job].times())
	}}
}

// ofRows is one figure for each command that has been asked for.
func ofRows(name, help string, read func(rowTotal) uint64) metric {
	return metric{name: name, help: help, kind: counter, labels: []string{"command"}, value: func(f *figures, put func(float64, ...string)) {
		for _, row := range f.server.stats.names {
			if n := f.server.stats.row(row); n.calls > 0 || n.rejected > 0 {
				put(float64(read(n)), row.Name)
			}
		}
	}}
}

func serverMetrics() []metric {
	return []metric{
		{name: "sett_build_info", help: "Always 1; the labels say what runs.", kind: gauge, labels: []string{"version", "redis_version", "go_version"},
			value: func(f *figures, put func(float64, ...string)) {
				put(1, f.server.opts.About.Version, f.server.opts.About.RedisVersion, runtime.Version())
			}},
		ofServer(gauge, "sett_ready", "1 if /readyz answers 200.", func(f *figures) float64 {
			return float64(oneIf(len(f.server.notReady()) == 0))
		}),
		ofServer(gauge, "sett_uptime_seconds", "Time since the start.", func(f *figures) float64 { return f.server.elapsed().Seconds() }),
	}
}

func clientMetrics() []metric {
	return []metric{
		ofServer(gauge, "sett_connected_clients", "Client connections.", func(f *figures) float64 { return float64(f.server.clients.Load()) }),
		ofServer(gauge, "sett_max_clients", "maxclients.", func(f *figures) float64 { return float64(f.server.limits.Load().MaxClients) }),
		ofServer(counter, "sett_connections_received_total", "Connections accepted, the rejected ones included.", func(f *figures) float64 {
			return float64(f.server.stats.connections.Load())
		}),
		ofServer(counter, "sett_connections_rejected_total", "Connections beyond maxclients.", func(f *figures) float64 {
			return float64(f.server.stats.rejected.Load())
		}),
		ofServer(counter, "sett_query_limit_disconnections_total", "Connections closed for client-query-buffer-limit.", func(f *figures) float64 {
			return float64(f.server.stats.queryOverflows.Load())
		}),
		ofServer(counter, "sett_output_limit_disconnections_total", "Connections closed for client-output-buffer-limit.", func(f *figures) float64 {
			return float64(f.server.stats.outputOverflows.Load())
		}),
		ofServer(counter, "sett_network_received_bytes_total", "Bytes read from clients.", func(f *figures) float64 { return float64(f.total.readBytes) }),
		ofServer(counter, "sett_network_sent_bytes_total", "Bytes written to clients.", func(f *figures) float64 { return float64(f.total.writtenBytes) }),
	}
}

func commandMetrics() []metric {
	return []metric{
		ofRows("sett_commands_total", "Commands run, those within MULTI included.", func(n rowTotal) uint64 { return n.calls }),
		ofRows("sett_commands_failed_total", "Commands that were run and answered an error.", func(n rowTotal) uint64 { return n.failed }),
		ofRows("sett_commands_rejected_total", "Commands that were refused before they ran: wrong number of arguments, -LOADING and the like.",
			func(n rowTotal) uint64 { return n.rejected }),
		{name: "sett_command_duration_seconds", help: "How long commands ran; the wait for the log is not part of it. Absent with latency-tracking no.",
			kind: histogramKind, labels: []string{"command"}, times: func(f *figures, put func(times, ...string)) {
				for _, row := range f.server.stats.names {
					if t := f.server.stats.times(row); t.count > 0 {
						put(t, row.Name)
					}
				}
			}},
		{name: "sett_error_replies_total", help: "Error replies by their first word.", kind: counter, labels: []string{"code"},
			value: func(f *figures, put func(float64, ...string)) {
				for code, n := range f.server.stats.errorKinds() {
					put(float64(n), code)
				}
			}},
		ofServer(counter, "sett_slow_commands_total", "Commands that went into the slow log.", func(f *figures) float64 {
			return float64(f.server.slowlog.added())
		}),
		ofServer(counter, "sett_panics_total", "Commands that panicked; each cost its connection.", func(f *figures) float64 {
			return float64(f.server.stats.panics.Load())
		}),
		ofServer(counter, "sett_replies_in_doubt_total", "Replies that became -INDOUBT.", func(f *figures) float64 { return float64(f.server.stats.inDoubt.Load()) }),
		ofServer(counter, "sett_replies_try_again_total", "Replies that became -TRYAGAIN.", func(f *figures) float64 {
			return float64(f.server.stats.tryAgain.Load())
		}),
		ofServer(counter, "sett_replies_cut_short_total", "Long replies that ended in the middle, with their connection.", func(f *figures) float64 {
			return float64(f.server.stats.cutShort.Load())
		}),
	}
}

func keyMetrics() []metric {
	perDB := func(name, help string, read func(storage.Tally) int64) metric {
		return metric{name: name, help: help, kind: gauge, labels: []string{"db"}, value: func(f *figures, put func(float64, ...string)) {
			for _, t := range f.keys {
				put(float64(read(t.Tally)), strconv.Itoa(t.DB))
			}
		}}
	}
	return []metric{
		perDB("sett_keys", "Keys, expired ones that were not swept yet included.", func(t storage.Tally) int64 { return t.Keys }),
		perDB("sett_expiring_keys", "Keys with a time to live.", func(t storage.Tally) int64 { return t.Expires }),
		perDB("sett_field_expiring_keys", "Hashes with fields that have a time to live.", func(t storage.Tally) int64 { return t.Mortal }),
		perDB("sett_key_bytes", "Bytes of names and values.", func(t storage.Tally) int64 { return t.Bytes }),
		ofStore(counter, "sett_keyspace_hits_total", "Keys that commands looked for and found.", func(f *figures) float64 {
			return float64(f.engine.Data.Stats().Hits.Load())
		}),
		ofStore(counter, "sett_keyspace_misses_total", "Keys that commands looked for in vain.", func(f *figures) float64 {
			return float64(f.engine.Data.Stats().Misses.Load())
		}),
		ofStore(counter, "sett_expired_keys_total", "Expired keys that were removed.", func(f *figures) float64 {
			return float64(f.engine.Data.Stats().Expired.Load())
		}),
		ofStore(counter, "sett_expired_fields_total", "Expired fields of hashes that were removed.", func(f *figures) float64 {
			return float64(f.engine.Data.Stats().ExpiredFields.Load())
		}),
	}
}

func limitMetrics() []metric {
	limit := func(name, help string, read func(commands.Limits) int64) metric {
		return ofStore(gauge, name, help, func(f *figures) float64 { return float64(read(f.limits)) })
	}
	return []metric{
		limit("sett_stored_bytes", "Names and values of all databases.", func(l commands.Limits) int64 { return l.UsedBytes }),
		limit("sett_stored_limit_bytes", "How many there may be: maxmemory, or what fits into max_disk if that is less; 0: no limit.",
			func(l commands.Limits) int64 { return l.BoundBytes }),
		limit("sett_stored_disk_bytes", "The data directory without the log; 0 without max_disk.", func(l commands.Limits) int64 { return l.DiskBytes }),
		ofStore(counter, "sett_evicted_keys_total", "Keys removed because there was too much data.", func(f *figures) float64 {
			return float64(f.engine.Data.Stats().Evicted.Load())
		}),
		ofStore(counter, "sett_over_limit_seconds_total", "Time that there was too much data.", func(f *figures) float64 {
			return float64(int64(f.engine.Data.Stats().OverLimitMs.Load())+f.limits.OverLimitMs) / 1000
		}),
		ofJob("sett_evict_duration_seconds", "Choosing and removing a batch of keys.", commands.TookEvict),
	}
}

func memoryMetrics() []metric {
	return []metric{
		ofServer(gauge, "sett_memory_budget_bytes", "memory_budget.", func(f *figures) float64 { return float64(f.server.opts.About.MemoryBudget) }),
		ofServer(gauge, "sett_memory_used_bytes", "Resident memory that is no page of a file: what memory_budget means, and used_memory of INFO.", func(f *figures) float64 {
			return float64(f.memory.used)
		}),
		ofStore(gauge, "sett_recent_writes_bytes", "Writes that are not in Badger yet (dirty bytes).", func(f *figures) float64 { return float64(f.now.DirtyBytes) }),
		ofStore(gauge, "sett_recent_writes_limit_bytes", "Writers are slowed down from half of it on, and wait at its end.", func(f *figures) float64 {
			return float64(f.now.DirtyLimit)
		}),
		ofStore(gauge, "sett_cache_bytes", "The record cache.", func(f *figures) float64 { return float64(f.now.CacheBytes) }),
		ofStore(gauge, "sett_cache_limit_bytes", "Its limit.", func(f *figures) float64 { return float64(f.now.CacheLimit) }),
		ofStore(counter, "sett_cache_hits_total", "Records found in the cache. Those in recent writes count neither as hits nor as misses.", func(f *figures) float64 {
			return float64(f.now.CacheHits)
		}),
		ofStore(counter, "sett_cache_misses_total", "Records that only Badger could tell about.", func(f *figures) float64 { return float64(f.now.CacheMisses) }),
		ofStore(gauge, "sett_staged_bytes", "Large values that are arriving or being made.", func(f *figures) float64 { return float64(f.engine.Data.StagedBytes()) }),
	}
}

func logMetrics() []metric {
	return []metric{
		ofJob("sett_log_append_duration_seconds", "Writing entries to the operating system.", wal.TookAppend),
		ofJob("sett_log_fsync_duration_seconds", "fsyncs of the log.", wal.TookFsync),
		ofLog(counter, "sett_log_entries_total", "Entries appended; many writes may share one.", func(m *wal.Metrics) float64 { return float64(m.Entries) }),
		ofLog(counter, "sett_log_written_bytes_total", "Bytes appended.", func(m *wal.Metrics) float64 { return float64(m.Bytes) }),
		ofStore(counter, "sett_batches_total", "Commands and MULTIs that wrote.", func(f *figures) float64 { return float64(f.sum.Batches.Load()) }),
		ofStore(gauge, "sett_log_applied_index", "The newest entry.", func(f *figures) float64 { return float64(f.now.Applied) }),
		ofStore(gauge, "sett_log_flushed_index", "The newest entry that is in Badger.", func(f *figures) float64 { return float64(f.now.Flushed.Index) }),
		ofStore(gauge, "sett_log_durable_index", "The newest entry that is in Badger durably: a start replays those behind it.", func(f *figures) float64 {
			return float64(f.now.Durable.Index)
		}),
	}
}

func storageMetrics() []metric {
	perLevel := func(name, help string, read func(storage.Level) int64) metric {
		return metric{name: name, help: help, kind: gauge, labels: []string{"level"}, value: func(f *figures, put func(float64, ...string)) {
			for i, l := range f.levels {
				put(float64(read(l)), strconv.Itoa(i))
			}
		}}
	}
	return []metric{
		ofStore(counter, "sett_badger_reads_total", "Records read from Badger for commands.", func(f *figures) float64 { return float64(f.sum.Fetched.Load()) }),
		ofStore(counter, "sett_badger_reads_absent_total", "Records that commands looked for in Badger and that are not there: the filter could not rule them out.",
			func(f *figures) float64 { return float64(f.sum.FetchedAbsent.Load()) }),
		ofStore(counter, "sett_filter_ruled_out_total", "Lookups of records that are not in Badger, as the filter knew.",
			func(f *figures) float64 { return float64(f.sum.RuledOut.Load()) }),
		ofStore(counter, "sett_command_reruns_total", "Times that a command waited for Badger and ran again.", func(f *figures) float64 { return float64(f.sum.Reruns.Load()) }),
		ofStore(counter, "sett_locked_reads_total", "Commands that read Badger with the lock held, after waiting several times.", func(f *figures) float64 {
			return float64(f.sum.LockedReads.Load())
		}),
		ofStore(gauge, "sett_generations", "Generations of recent writes, the active one included.", func(f *figures) float64 { return float64(f.now.Generations) }),
		ofStore(gauge, "sett_views", "Open views: long reads and replies that stream.", func(f *figures) float64 { return float64(f.now.Views) }),
		ofJob("sett_flush_duration_seconds", "A generation's way into Badger.", storage.TookFlush),
		ofStore(counter, "sett_flushed_records_total", "Records written to Badger.", func(f *figures) float64 { return float64(f.sum.FlushRecords.Load()) }),
		ofStore(counter, "sett_failed_compactions_total", "Compactions that were due and failed: writers are slowed, then refused, unless the next ones succeed.", func(f *figures) float64 {
			return float64(f.sum.MergesFailed.Load())
		}),
		ofJob("sett_barrier_duration_seconds", "Making Badger durable.", storage.TookBarrier),
		ofJob("sett_stall_duration_seconds", "Waits of writers because recent writes fill their share of memory.", storage.TookStall),
		ofStore(counter, "sett_refused_writes_total", "Writes that got -MISCONF: the disk is full, the log does not take them, or the wait was too long.", func(f *figures) float64 {
			return float64(f.sum.Refused.Load())
		}),
		ofJob("sett_sweep_duration_seconds", "Removing a batch of expired keys.", ttl.TookSweep),
		perLevel("sett_level_bytes", "Bytes of tables in a level of Badger.", func(l storage.Level) int64 { return l.Bytes }),
		perLevel("sett_level_tables", "Tables in a level of Badger.", func(l storage.Level) int64 { return int64(l.Tables) }),
		perLevel("sett_level_stale_bytes", "Bytes in a level's tables that Badger knows to be superseded.", func(l storage.Level) int64 { return l.StaleBytes }),
		ofStore(gauge, "sett_damaged", "1 once a read met damage: stop, run sett check, restore a copy.", func(f *figures) float64 {
			return float64(oneIf(f.now.Damage != ""))
		}),
	}
}

func spaceMetrics() []metric {
	return []metric{
		ofStore(gauge, "sett_disk_free_bytes", "Free on the data directory's disk.", func(f *figures) float64 { return float64(f.now.DiskFree) }),
		ofStore(gauge, "sett_disk_needed_bytes", "Below so many free bytes writes are refused: disk_reserve and what is promised already.", func(f *figures) float64 {
			return float64(f.now.DiskNeeded)
		}),
		ofSpace(counter, "sett_scrubbed_bytes_total", "Of tables and value log, what was read to compare its checksums.", func(s *Space) float64 {
			return float64(s.ScrubbedBytes)
		}),
		plain(gauge, "sett_last_scrub_timestamp_seconds", "When a scrub has last read everything and found nothing wrong.", func(f *figures) (float64, bool) {
			if f.space == nil || f.space.LastScrubMs == 0 {
				return 0, false
			}
			return float64(f.space.LastScrubMs) / 1000, true
		}),
		{name: "sett_table_content_bytes", kind: gauge, labels: []string{"kind"},
			help: "What the tables hold: live, or why it is dead. An estimate from a sample of their blocks.",
			value: func(f *figures, put func(float64, ...string)) {
				for cause := storage.Live; f.space != nil && f.space.SampledMs > 0 && cause < storage.Causes; cause++ {
					put(float64(f.space.Tables[cause]), cause.String())
				}
			}},
		{name: "sett_space_backlog_bytes", kind: gauge, labels: []string{"job"},
			help: "What waits for a job that gives space back, as far as it knows.",
			value: func(f *figures, put func(float64, ...string)) {
				for i := 0; f.space != nil && i < len(f.space.Jobs); i++ {
					put(float64(f.space.Jobs[i].Backlog), f.space.Jobs[i].Name)
				}
			}},
		ofSpace(gauge, "sett_space_drain_seconds", "How long all that waits takes at the present rate.", func(s *Space) float64 {
			_, drainMs := s.backlog()
			return float64(drainMs) / 1000
		}),
		ofSpace(gauge, "sett_expiry_lag_seconds", "How long past its time the oldest key or field is that was not removed yet; 0: there is none.", func(s *Space) float64 {
			return s.ExpiryLag.Seconds()
		}),
		ofSpace(gauge, "sett_expired_waiting", "Keys, and hashes with fields, that are past their time and wait to be removed; an estimate beyond eight times ttl.sweep_batch.",
			func(s *Space) float64 { return float64(s.ExpiredWaiting) }),
		ofSpace(gauge, "sett_dead_waiting", "Dead values whose records are not removed yet.", func(s *Space) float64 { return float64(s.DeadWaiting) }),
		ofSpace(counter, "sett_reclaimed_total", "Dead values whose records were removed.", func(s *Space) float64 { return float64(s.Reclaimed) }),
		ofSpace(counter, "sett_reclaimed_records_total", "… and the records.", func(s *Space) float64 { return float64(s.ReclaimedKeys) }),
		ofSpace(counter, "sett_orphans_removed_total", "Chunks that a collection brought back, and that were removed again.", func(s *Space) float64 { return float64(s.Orphans) }),
		ofSpace(gauge, "sett_value_log_bytes", "Badger's value log, where large values lie.", func(s *Space) float64 { return float64(s.ValueLogBytes) }),
		ofSpace(gauge, "sett_value_log_files", "… and its files.", func(s *Space) float64 { return float64(s.ValueLogFiles) }),
		ofSpace(gauge, "sett_value_log_forgotten_bytes", "Of the value log, what only the next start gives back.", func(s *Space) float64 { return float64(s.ForgottenBytes) }),
		ofSpace(gauge, "sett_deletions_waiting", "Deletions in Badger that have not met what they delete, as far as they were counted.", func(s *Space) float64 { return float64(s.Deletions) }),
		ofSpace(counter, "sett_range_compactions_total", "Compactions of ranges of keys, beside those that Badger begins by itself.", func(s *Space) float64 { return float64(s.Compactions) }),
		ofSpace(counter, "sett_range_compactions_busy_total", "… that were left out, because Badger was at work there.", func(s *Space) float64 { return float64(s.CompactionsBusy) }),
		ofSpace(counter, "sett_range_compacted_bytes_total", "Bytes that they have read and written.", func(s *Space) float64 { return float64(s.CompactedBytes) }),
		ofSpace(counter, "sett_range_compacted_records_total", "Records that they have dropped.", func(s *Space) float64 { return float64(s.CompactedAway) }),
		ofSpace(counter, "sett_value_log_files_collected_total", "Files of the value log that were given back.", func(s *Space) float64 { return float64(s.CollectedFiles) }),
		plain(gauge, "sett_blob_bytes", "Of the value log, what lives; as of the last look.", func(f *figures) (float64, bool) {
			if f.space == nil || f.space.BlobBytes < 0 {
				return 0, false
			}
			return float64(f.space.BlobBytes), true
		}),
	}
}

// registry has sett's metrics, and those of Go's runtime and the process.
func (s *Server) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector turns figures into what Prometheus reads.
type collector struct {
	server  *Server
	metrics []metric
	descs   []*prometheus.Desc // of metrics
}

func newCollector(s *Server) *collector {
	c := &collector{server: s, metrics: allMetrics()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	return c
}

func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		descs <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	f := c.server.figures()
	for i, m := range c.metrics {
		desc, kind := c.descs[i], prometheus.GaugeValue
		if m.kind == counter {
			kind = prometheus.CounterValue
		}
		if m.kind == histogramKind {
			m.times(f, func(t times, labels ...string) {
				out <- prometheus.MustNewConstHistogram(desc, t.count, time.Duration(t.sumNs).Seconds(), t.buckets(), labels...)
			})
			continue
		}
		m.value(f, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
		})
	}
}

// bucketBounds are 1.024 µs and four times that, up to 268 ms. What took longer than a second is counted as one, so there is none above.
var bucketBounds = func() (ns []int64) {
	for bound := int64(1024); bound <= 1<<28; bound *= 4 {
		ns = append(ns, bound)
	}
	return ns
}()

func (t *times) buckets() map[float64]uint64 {
	buckets := make(map[float64]uint64)
	for i, count := range t.below(bucketBounds) {
		buckets[time.Duration(bucketBounds[i]).Seconds()] = count
	}
	return buckets
}
