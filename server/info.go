package server

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"sett/commands"
	"sett/replication/wal"
	"sett/storage"
	"sett/ttl"

	"golang.org/x/sys/unix"
)

// About is what INFO says about the process.
type About struct {
	Version      string // of sett
	RedisVersion string // of the Redis that clients may take this server for
	Dir          string
	ConfigFile   string
	MemoryBudget int64
}

// report is INFO's text while it is written.
type report struct {
	s    *session
	call *commands.Call
	text []byte
	now  *storage.Status // see status
}

// status is the store's state, the same in all sections. The log has been replayed.
func (r *report) status() *storage.Status {
	if r.now == nil {
		now := r.s.engine.Store.Status()
		r.now = &now
	}
	return r.now
}

// section is one part of INFO. Only figures that are known are shown: what cannot be known is left out, not 0.
type section struct {
	name    string
	write   func(*report)
	special bool // only in INFO all, or by name
}

var sections = []section{
	{name: "Server", write: (*report).server},
	{name: "Clients", write: (*report).clients},
	{name: "Memory", write: (*report).memory},
	{name: "Persistence", write: (*report).persistence},
	{name: "Stats", write: (*report).stats},
	{name: "Replication", write: (*report).replication},
	{name: "CPU", write: (*report).cpu},
	{name: "Modules", write: func(*report) {}}, // there are none
	{name: "Commandstats", write: (*report).commandStats, special: true},
	{name: "Errorstats", write: (*report).errorStats},
	{name: "Latencystats", write: (*report).latencyStats, special: true},
	{name: "Cluster", write: (*report).cluster},
	{name: "Keyspace", write: (*report).keyspace},
	{name: "Sett", write: (*report).sett},
}

// info is INFO [section …].
func info(s *session, b *buffers, args [][]byte) {
	s.count.flush(&s.server.stats, s.id) // what this connection has done until now
	r := report{s: s, call: &b.call}
	for _, section := range sections {
		if !section.wanted(args[1:]) {
			continue
		}
		if len(r.text) > 0 {
			r.text = append(r.text, "\r\n"...)
		}
		r.line("# %s", section.name)
		section.write(&r)
	}
	b.out.Verbatim("txt", r.text)
}

func (n *section) wanted(args [][]byte) bool {
	if len(args) == 0 {
		return !n.special
	}
	for _, arg := range args {
		if is(arg, n.name) || n.name == "Modules" && is(arg, "module_list") || is(arg, "all") || is(arg, "everything") || is(arg, "default") && !n.special {
			return true
		}
	}
	return false
}

// settings returns the values of parameters as CONFIG GET shows them.
func (r *report) settings(names ...string) map[string]string {
	pairs, found := r.s.server.opts.Config.Get(names...), make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		found[pairs[i]] = pairs[i+1]
	}
	return found
}

func (r *report) line(format string, args ...any) {
	r.text = append(fmt.Appendf(r.text, format, args...), "\r\n"...)
}

// bytes shows a size as a number and for people.
func (r *report) bytes(name string, n uint64) {
	r.line("%s:%d", name, n)
	r.line("%s_human:%s", name, human(n))
}

// human writes a size as Redis does.
func human(n uint64) string {
	units := []string{"B", "K", "M", "G", "T", "P"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 {
		return strconv.FormatUint(n, 10) + "B"
	}
	return fmt.Sprintf("%.2f%s", f, units[i])
}

func (r *report) server() {
	about, now := &r.s.server.opts.About, time.Now()
	r.line("redis_version:%s", about.RedisVersion)
	r.line("sett_version:%s", about.Version)
	r.line("redis_mode:standalone")
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		r.line("os:%s %s %s", cText(name.Sysname[:]), cText(name.Release[:]), cText(name.Machine[:]))
	}
	r.line("arch_bits:%d", strconv.IntSize)
	r.line("go_version:%s", runtime.Version())
	r.line("process_id:%d", os.Getpid())
	r.line("run_id:%s", r.s.server.runID)
	r.line("tcp_port:%d", r.s.server.port.Load())
	r.line("server_time_usec:%d", now.UnixMicro())
	uptimeSec := int64(now.Sub(r.s.server.started).Seconds())
	r.line("uptime_in_seconds:%d", uptimeSec)
	r.line("uptime_in_days:%d", uptimeSec/(24*3600))
	if hz := r.settings("hz")["hz"]; hz != "" {
		r.line("hz:%s", hz)
		r.line("configured_hz:%s", hz)
	}
	r.line("lru_clock:%d", now.Unix()&lruClockMax)
	if path, err := os.Executable(); err == nil {
		r.line("executable:%s", path)
	}
	r.line("config_file:%s", about.ConfigFile)
}

// lruClockMax is where Redis' clock of seconds begins anew.
const lruClockMax = 1<<24 - 1

func cText(b []byte) []byte {
	text, _, _ := bytes.Cut(b, []byte{0})
	return text
}

func (r *report) clients() {
	r.line("connected_clients:%d", r.s.server.clients.Load())
	r.line("cluster_connections:%d", r.s.clusterLinks())
	r.line("maxclients:%d", r.s.server.limits.Load().MaxClients)
	st := &r.s.server.stats
	r.line("client_recent_max_input_buffer:%d", st.peakInput.recent(st.now()))
	r.line("client_recent_max_output_buffer:%d", st.peakOutput.recent(st.now()))
	r.line("blocked_clients:%d", r.s.server.blocked.Load()+r.s.server.elsewhere.Load())
}

func (r *report) persistence() {
	r.line("loading:%d", oneIf(r.s.engine == nil))
	running, last := r.s.server.saver.state()
	saveFailed, rewriteFailed := r.s.server.saver.failed()
	if r.s.engine != nil {
		r.line("rdb_changes_since_last_save:%d", r.s.engine.Data.Stats().Changes.Load()-last.changes)
	}
	r.line("rdb_bgsave_in_progress:%d", oneIf(running == bgSave))
	r.line("rdb_last_save_time:%d", last.sec)
	r.line("rdb_last_bgsave_status:%s", okUnless(saveFailed))
	r.line("aof_enabled:1") // sett's log
	r.line("aof_rewrite_in_progress:%d", oneIf(running == bgRewrite))
	r.line("aof_last_bgrewrite_status:%s", okUnless(rewriteFailed))
	if r.s.engine == nil {
		return
	}
	r.line("aof_last_write_status:%s", okUnless(r.status().LogRefused))
}

func okUnless(failed bool) string {
	if failed {
		return "err"
	}
	return "ok"
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *report) stats() {
	st := &r.s.server.stats
	t := st.total()
	r.line("total_connections_received:%d", st.connections.Load())
	r.line("total_commands_processed:%d", t.commands)
	r.line("instantaneous_ops_per_sec:%d", st.opsRate.perSec.Load())
	r.line("total_net_input_bytes:%d", t.readBytes)
	r.line("total_net_output_bytes:%d", t.writtenBytes)
	r.line("instantaneous_input_kbps:%.2f", float64(st.readRate.perSec.Load())/1024)
	r.line("instantaneous_output_kbps:%.2f", float64(st.writeRate.perSec.Load())/1024)
	r.line("rejected_connections:%d", st.rejected.Load())
	if r.s.engine != nil {
		data := r.s.engine.Data.Stats()
		r.line("expired_keys:%d", data.Expired.Load())
		r.line("expired_subkeys:%d", data.ExpiredFields.Load())
		r.line("expire_cycle_cpu_milliseconds:%d", r.s.server.latency.jobs[ttl.TookSweep].sumNs.Load()/1e6)
		r.line("evicted_keys:%d", data.Evicted.Load())
		limits := r.s.engine.Data.Limits()
		r.line("total_eviction_exceeded_time:%d", int64(data.OverLimitMs.Load())+limits.OverLimitMs)
		r.line("current_eviction_exceeded_time:%d", limits.OverLimitMs)
		r.line("keyspace_hits:%d", data.Hits.Load())
		r.line("keyspace_misses:%d", data.Misses.Load())
	}
	r.line("total_error_replies:%d", t.errors)
	r.line("total_reads_processed:%d", t.reads)
	r.line("total_writes_processed:%d", t.writes)
	r.line("client_query_buffer_limit_disconnections:%d", st.queryOverflows.Load())
	r.line("client_output_buffer_limit_disconnections:%d", st.outputOverflows.Load())
}

func (r *report) cpu() {
	var self, children unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) == nil && unix.Getrusage(unix.RUSAGE_CHILDREN, &children) == nil {
		r.line("used_cpu_sys:%s", cpuTime(self.Stime))
		r.line("used_cpu_user:%s", cpuTime(self.Utime))
		r.line("used_cpu_sys_children:%s", cpuTime(children.Stime))
		r.line("used_cpu_user_children:%s", cpuTime(children.Utime))
	}
}

func cpuTime(t unix.Timeval) string { return fmt.Sprintf("%d.%06d", t.Sec, t.Usec) }

func (r *report) commandStats() {
	st := &r.s.server.stats
	for _, row := range st.names {
		n := st.row(row)
		if n.calls == 0 && n.rejected == 0 {
			continue
		}
		r.line("cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d", row.Name, n.calls, n.ns/1000,
			float64(n.ns)/1000/float64(max(n.calls, 1)), n.rejected, n.failed)
	}
}

func (r *report) errorStats() {
	kinds := r.s.server.stats.errorKinds()
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		r.line("errorstat_%s:count=%d", kind, kinds[kind])
	}
}

// latencyStats shows percentiles of what was counted since latency-tracking was turned on.
func (r *report) latencyStats() {
	st, o := &r.s.server.stats, r.s.server.observation.Load()
	for _, row := range st.names {
		t := st.times(row)
		if t.count == 0 {
			continue
		}
		shown := make([]string, len(o.Percentiles))
		for i, p := range o.Percentiles {
			shown[i] = fmt.Sprintf("p%s=%.3f", strconv.FormatFloat(p, 'f', -1, 64), float64(t.percentile(p))/1000)
		}
		r.line("latency_percentiles_usec_%s:%s", row.Name, strings.Join(shown, ","))
	}
}

// cluster says enabled where there is one, as clients for a Redis cluster look for. What is of a cluster's mode in other sections stays as in a
// single Redis (decision 019).
func (r *report) cluster() { r.line("cluster_enabled:%d", oneIf(r.s.cluster() != nil)) }

func (r *report) keyspace() {
	if r.s.engine == nil {
		return
	}
	tallies, err := r.s.engine.Data.Tallies(r.call)
	if err != nil {
		return
	}
	for _, t := range tallies {
		line := fmt.Sprintf("db%d:keys=%d,expires=%d", t.DB, t.Keys, t.Expires)
		if t.Mortal > 0 {
			line += fmt.Sprintf(",subexpiry=%d", t.Mortal) // Redis 7.4 has it
		}
		r.line("%s", line)
	}
}

// sett shows what Redis has no name for.
func (r *report) sett() {
	st := &r.s.server.stats
	r.line("memory_budget:%d", r.s.server.opts.About.MemoryBudget)
	r.line("panics:%d", st.panics.Load())
	r.line("replies_in_doubt:%d", st.inDoubt.Load())
	r.line("replies_try_again:%d", st.tryAgain.Load())
	r.line("replies_cut_short:%d", st.cutShort.Load())
	if r.s.engine != nil {
		r.storage()
	}
}

func (r *report) storage() {
	now, sum := r.status(), r.s.engine.Store.Stats()
	r.line("dir:%s", r.s.server.opts.About.Dir)
	r.line("evaluating:%d", oneIf(now.Evaluating))
	r.line("position:%d", now.Position)
	r.line("committed_position:%d", now.Committed)
	r.line("applied_index:%d", now.Applied)
	r.line("flushed_index:%d", now.Flushed.Index)
	r.line("durable_index:%d", now.Durable.Index)
	r.line("generations:%d", now.Generations)
	r.line("dirty_bytes:%d", now.DirtyBytes)
	r.line("dirty_limit_bytes:%d", now.DirtyLimit)
	r.line("views:%d", now.Views)
	r.line("staged_bytes:%d", r.s.engine.Data.StagedBytes())
	r.line("cache_bytes:%d", now.CacheBytes)
	r.line("cache_limit_bytes:%d", now.CacheLimit)
	r.line("cache_hits:%d", now.CacheHits)
	r.line("cache_misses:%d", now.CacheMisses)
	if now.Refusal != "" {
		r.line("writes_refused:%s", strings.ReplaceAll(now.Refusal, "\n", " "))
	}
	if damage := now.Damage; damage != "" {
		r.line("damage:%s", strings.ReplaceAll(damage, "\n", " "))
	}
	r.line("disk_free_bytes:%d", now.DiskFree)
	r.line("disk_needed_bytes:%d", now.DiskNeeded)
	r.line("batches:%d", sum.Batches.Load())
	r.line("log_entries:%d", sum.Entries.Load())
	r.line("log_entry_bytes:%d", sum.EntryBytes.Load())
	r.line("badger_reads:%d", sum.Fetched.Load())
	r.line("badger_reads_absent:%d", sum.FetchedAbsent.Load())
	r.line("filter_ruled_out:%d", sum.RuledOut.Load())
	r.line("command_reruns:%d", sum.Reruns.Load())
	r.line("locked_reads:%d", sum.LockedReads.Load())
	r.line("flushes:%d", sum.Flushes.Load())
	r.line("flushed_records:%d", sum.FlushRecords.Load())
	r.line("flush_usec:%d", sum.FlushNs.Load()/1000)
	r.line("barriers:%d", sum.Barriers.Load())
	r.line("barrier_usec:%d", sum.BarrierNs.Load()/1000)
	r.line("stall_usec:%d", sum.StallNs.Load()/1000)
	r.line("refused_writes:%d", sum.Refused.Load())
	if r.s.engine.Space != nil {
		r.space(r.s.engine.Space())
	}
	if r.s.engine.Log != nil {
		r.log(r.s.engine.Log.Metrics())
	}
}

func (r *report) space(s Space) {
	if s.SampledMs > 0 {
		r.line("table_live_bytes:%d", s.Tables[storage.Live])
		r.line("table_dead_bytes:%d", s.deadInTables())
	}
	r.line("expiry_lag_ms:%d", s.ExpiryLag.Milliseconds())
	r.line("expired_waiting:%d", s.ExpiredWaiting)
	r.line("dead_waiting:%d", s.DeadWaiting)
	r.line("reclaimed:%d", s.Reclaimed)
	r.line("reclaimed_records:%d", s.ReclaimedKeys)
	r.line("orphans_removed:%d", s.Orphans)
	r.line("value_log_files:%d", s.ValueLogFiles)
	r.line("value_log_bytes:%d", s.ValueLogBytes)
	if s.BlobBytes >= 0 {
		r.line("blob_bytes:%d", s.BlobBytes)
	}
	r.line("value_log_forgotten_bytes:%d", s.ForgottenBytes)
	r.line("value_log_files_collected:%d", s.CollectedFiles)
	r.line("deletions_waiting:%d", s.Deletions)
	r.line("range_compactions:%d", s.Compactions)
	r.line("range_compactions_busy:%d", s.CompactionsBusy)
	r.line("range_compacted_bytes:%d", s.CompactedBytes)
	r.line("range_compacted_records:%d", s.CompactedAway)
	if s.LastCollectMs > 0 {
		r.line("value_log_last_collected:%d", s.LastCollectMs)
	}
	r.line("scrubbed_bytes:%d", s.ScrubbedBytes)
	if s.LastScrubMs > 0 {
		r.line("last_scrub:%d", s.LastScrubMs)
	}
}

func (r *report) log(m wal.Metrics) {
	r.line("log_written_bytes:%d", m.Bytes)
	r.line("log_writes:%d", m.Writes)
	r.line("log_fsyncs:%d", m.Fsyncs)
	if m.Fsyncs > 0 {
		r.line("log_fsync_usec_mean:%d", m.FsyncSum.Microseconds()/int64(m.Fsyncs))
		r.line("log_fsync_usec_max:%d", m.FsyncMax.Microseconds())
	}
}
