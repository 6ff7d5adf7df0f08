package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/config"
	"sett/internal/testport"
)

// watcher looks at everything that a running node shows: the fields of INFO, and its metrics.
type watcher struct {
	*caller
	node    *node
	metrics string // address
	shown   map[string]string
	moved   map[string]bool
}

// caller is a client.
type caller struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func call(t *testing.T, port int) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	return &caller{t, conn, bufio.NewReader(conn)}
}

func (c *caller) send(args ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	io.WriteString(c.conn, b.String())
}

// reply is the next reply: the text of a line or a bulk string. Arrays are not needed.
func (c *caller) reply() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "closed"
	}
	line = strings.TrimRight(line, "\r\n")
	n, err := strconv.Atoi(line[1:])
	if line[0] != '$' || err != nil || n < 0 {
		return line
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	return string(b[:n])
}

func (c *caller) do(args ...string) string {
	c.t.Helper()
	c.send(args...)
	return c.reply()
}

func (c *caller) ok(args ...string) {
	c.t.Helper()
	if got := c.do(args...); got != "+OK" {
		c.t.Fatalf("%.200q: %s", args, got)
	}
}

func watch(t *testing.T) *watcher {
	metrics := testport.Addr(t)
	cfg, err := config.Load("", []string{
		"dir=" + t.TempDir(), "port=" + testport.Take(t), "metrics_listen=" + metrics, "memory_budget=128MiB", "disk_reserve=1MiB",
		"enable_debug_command=local", "appendfsync=always", "bind=127.0.0.1", "maxclients=100", "storage.barrier_interval=1s",
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := openLogs(cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(cfg, logs, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(false); err != nil {
			t.Error(err)
		}
		if _, err := http.Get("http://" + metrics + "/healthz"); err == nil {
			t.Error("metrics are served by a node that has stopped")
		}
	})
	return &watcher{caller: call(t, n.plain.Port), node: n, metrics: metrics, moved: make(map[string]bool)}
}

// look returns all fields and metrics. Of a field with parts, and a metric with labels, only whether any moves is of interest.
func (w *watcher) look() map[string]string {
	w.t.Helper()
	shown := make(map[string]string)
	for line := range strings.Lines(w.do("INFO", "everything")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			for _, family := range []string{"cmdstat_", "errorstat_", "latency_percentiles_usec_"} {
				if strings.HasPrefix(name, family) {
					name, value = family, shown[family]+value
				}
			}
			shown[name] = value
		}
	}
	for line := range strings.Lines(w.get("/metrics")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, "sett_") {
			name, _, _ = strings.Cut(name, "{")
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, part); ok && strings.HasSuffix(base, "_seconds") {
					name = base
				}
			}
			shown[name] += value + " "
		}
	}
	return shown
}

func (w *watcher) get(path string) string {
	w.t.Helper()
	r, err := http.Get("http://" + w.metrics + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return strconv.Itoa(r.StatusCode) + " " + string(b)
}

// moves does something and waits until each of the figures has another value than before.
func (w *watcher) moves(what, figures string, do func()) {
	w.t.Helper()
	before := w.look()
	do()
	left := strings.Fields(figures)
	for _, name := range left {
		w.moved[name] = true
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		w.shown = w.look()
		left = slices.DeleteFunc(left, func(name string) bool { return w.shown[name] != before[name] })
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, name := range left {
				w.t.Errorf("%s: %s stays %q", what, name, before[name])
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pipeline sends n commands, to which the replies do not matter.
func (w *watcher) pipeline(n int, args func(i int) []string) {
	go func() {
		for i := range n {
			w.send(args(i)...)
		}
	}()
	for range n {
		w.reply()
	}
}

// TestEveryFigureMoves: each field of INFO and each metric moves when what it names does. One that is new has to be added here.
func TestEveryFigureMoves(t *testing.T) {
	w := watch(t)
	for _, section := range []func(*testing.T, *watcher){
		// Memory comes before clients: what their buffers took is given back slowly, so that nothing else would be the highest.
		moveServer, moveLog, moveMemory, moveReads, moveClients, moveCommands, moveKeys, moveExpiry, moveLarge, moveRefusals, moveLimits,
	} {
		section(t, w)
	}
	for _, name := range slices.Sorted(maps.Keys(w.look())) {
		_, fact := facts[name]
		switch {
		case !fact && !w.moved[name]:
			t.Errorf("%s = %s: nothing shows that it moves", name, w.shown[name])
		case fact && w.moved[name]:
			t.Errorf("%s moves: it is no fact", name)
		}
	}
}

// facts do not move while a node runs, or cannot be moved here.
var facts = map[string]string{
	"redis_version": "of the build", "sett_version": "of the build", "go_version": "of the build", "arch_bits": "of the build",
	"os": "of the machine", "total_system_memory": "of the machine", "total_system_memory_human": "of the machine",
	"process_id": "of the process", "run_id": "of the process", "executable": "of the process", "used_memory_startup": "of the process",
	"mem_allocator": "of the build", "config_file": "set at the start", "dir": "set at the start",
	"memory_budget": "set at the start", "dirty_limit_bytes": "follows from memory_budget", "cache_limit_bytes": "follows from memory_budget",
	"uptime_in_days": "needs a day", "redis_mode": "one node", "role": "one node", "connected_slaves": "one node", "cluster_enabled": "one node",
	"cluster_connections": "one node",

	"sett_raft_commit_duration_seconds": "one node", "sett_raft_append_duration_seconds": "one node",

	"rdb_bgsave_in_progress": "server.TestBackgroundSave", "aof_rewrite_in_progress": "server.TestBackgroundSave", "aof_enabled": "the log is always on",
	"log_fsync_usec_max": "moves when an fsync is slower than all before",
	"loading":            "1 before Begin: server.TestLoading", "used_cpu_sys_children": "no child processes", "used_cpu_user_children": "no child processes",
	"replies_in_doubt": "server.TestDoubt", "replies_try_again": "server.TestDoubt", "replies_cut_short": "server.TestStreamCutShort",
	"badger_reads_absent": "only until the filter is built, and when it is wrong",
	"locked_reads":        "needs four rounds that miss, each something else", "orphans_removed": "compaction.TestOrphansAreRemoved",
	"sett_space_backlog_bytes": "server.TestSettSpace", "sett_space_drain_seconds": "server.TestSettSpace",
	"range_compactions_busy": "needs Badger at work at the same place for seconds", "sett_range_compactions_busy_total": "as in INFO",
	"value_log_forgotten_bytes": "compaction, storage: files that Badger has forgotten", "damage": "server.TestReadyz",

	"sett_build_info": "of the build", "sett_memory_budget_bytes": "set at the start", "sett_recent_writes_limit_bytes": "follows from memory_budget",
	"sett_cache_limit_bytes": "follows from memory_budget", "sett_replies_in_doubt_total": "as in INFO", "sett_replies_try_again_total": "as in INFO",
	"sett_replies_cut_short_total": "as in INFO", "sett_locked_reads_total": "as in INFO",
	"sett_badger_reads_absent_total": "as in INFO", "sett_orphans_removed_total": "as in INFO",
	"sett_value_log_forgotten_bytes": "as in INFO", "sett_damaged": "server.TestReadyz", "sett_failed_compactions_total": "storage.TestDamageIsNotMerged",
	"sett_level_stale_bytes": "what Badger's compactions happen to have found",
}

func moveServer(_ *testing.T, w *watcher) {
	w.moves("time", "server_time_usec lru_clock uptime_in_seconds used_cpu_user used_cpu_sys sett_uptime_seconds", func() {})
	w.moves("CONFIG SET", "hz configured_hz maxclients maxmemory maxmemory_human maxmemory_policy disk_needed_bytes sett_max_clients sett_disk_needed_bytes", func() {
		w.ok("CONFIG", "SET", "hz", "20", "maxclients", "90", "maxmemory", "5gb", "maxmemory-policy", "allkeys-lru", "disk_reserve", "64mb")
	})
}

func moveClients(t *testing.T, w *watcher) {
	w.moves("CONFIG SET port", "tcp_port", func() { w.ok("CONFIG", "SET", "port", testport.Take(t)) })
	w.moves("a client", "connected_clients total_connections_received sett_connected_clients sett_connections_received_total", func() { call(t, w.node.plain.Port).do("PING") })
	w.moves("one too many", "rejected_connections sett_connections_rejected_total", func() {
		w.ok("CONFIG", "SET", "maxclients", "1")
		call(t, w.node.plain.Port).do("PING")
		w.ok("CONFIG", "SET", "maxclients", "100")
	})
	w.moves("large buffers", "client_recent_max_input_buffer client_recent_max_output_buffer", func() {
		w.ok("SET", "k", strings.Repeat("x", 200_000))
		w.do("GET", "k")
	})
	w.moves("limits of clients", "client_query_buffer_limit_disconnections client_output_buffer_limit_disconnections "+
		"sett_query_limit_disconnections_total sett_output_limit_disconnections_total", func() {
		w.ok("CONFIG", "SET", "client-query-buffer-limit", "1mb", "client-output-buffer-limit", "normal 100000 0 0")
		long := call(t, w.node.plain.Port)
		go long.send("PING", strings.Repeat("x", 2<<20))
		many := make([]string, 100)
		for i := range many {
			many[i] = "k"
		}
		call(t, w.node.plain.Port).send(append([]string{"MGET"}, many...)...)
	})
	w.ok("CONFIG", "SET", "client-query-buffer-limit", "100mb", "client-output-buffer-limit", "normal 0 0 0")
	w.moves("traffic", "total_net_input_bytes total_net_output_bytes total_reads_processed total_writes_processed instantaneous_ops_per_sec "+
		"instantaneous_input_kbps instantaneous_output_kbps sett_network_received_bytes_total sett_network_sent_bytes_total", func() {
		w.pipeline(5000, func(int) []string { return []string{"PING"} })
	})
}

func moveCommands(_ *testing.T, w *watcher) {
	w.moves("a GET", "total_commands_processed cmdstat_ latency_percentiles_usec_ keyspace_hits "+
		"sett_commands_total sett_command_duration_seconds sett_keyspace_hits_total", func() { w.do("GET", "k") })
	w.moves("a GET of nothing", "keyspace_misses sett_keyspace_misses_total", func() { w.do("GET", "nothing") })
	w.moves("errors", "total_error_replies errorstat_ sett_error_replies_total sett_commands_failed_total sett_commands_rejected_total", func() {
		w.do("INCR", "k")
		w.do("GET")
	})
	w.moves("a slow command", "sett_slow_commands_total", func() {
		w.ok("CONFIG", "SET", "slowlog-log-slower-than", "0")
		w.do("PING")
		w.ok("CONFIG", "SET", "slowlog-log-slower-than", "10000")
	})
	w.moves("a paused client", "blocked_clients", func() {
		w.ok("CLIENT", "PAUSE", "100000", "WRITE")
		call(w.t, w.node.plain.Port).send("SET", "k", "paused")
	})
	w.ok("CLIENT", "UNPAUSE")
	w.moves("a panic", "panics sett_panics_total", func() { call(w.t, w.node.plain.Port).do("DEBUG", "PANIC") })
}

func moveLog(_ *testing.T, w *watcher) {
	w.moves("a SET", "position committed_position applied_index master_repl_offset batches log_entries log_entry_bytes log_written_bytes log_writes log_fsyncs "+
		"log_fsync_usec_mean dirty_bytes sett_batches_total sett_log_entries_total sett_log_written_bytes_total sett_log_applied_index "+
		"sett_log_append_duration_seconds sett_log_fsync_duration_seconds sett_recent_writes_bytes", func() { w.ok("SET", "a", "1") })
	w.moves("a flush", "flushed_index durable_index flushes flushed_records flush_usec barriers barrier_usec sett_log_flushed_index "+
		"sett_log_durable_index sett_flush_duration_seconds sett_flushed_records_total sett_barrier_duration_seconds", func() {
		w.ok("SET", "a", "2")
		w.ok("DEBUG", "SETT", "FLUSH")
	})
	w.moves("SAVE", "rdb_last_save_time rdb_changes_since_last_save", func() { w.ok("SAVE") })
	w.ok("DEBUG", "SETT", "PAUSE-FLUSH", "1")
	w.ok("SET", "a", "3")
	w.moves("a save that fails", "rdb_last_bgsave_status", func() { w.do("BGSAVE") })
	w.moves("a rewrite that fails", "aof_last_bgrewrite_status", func() { w.do("BGREWRITEAOF") })
	w.ok("DEBUG", "SETT", "PAUSE-FLUSH", "0")
	w.moves("a lost speculation", "evaluating", func() { w.node.store.Yield() }) // the log takes it up again
	for w.do("SET", "a", "3") != "+OK" {
		time.Sleep(10 * time.Millisecond)
	}
}

func moveMemory(_ *testing.T, w *watcher) {
	value := strings.Repeat("v", 10_000)
	w.ok("CONFIG", "SET", "appendfsync", "no")
	w.ok("DEBUG", "SETT", "PAUSE-FLUSH", "1")
	w.moves("writes that gather", "used_memory used_memory_human used_memory_rss used_memory_rss_human used_memory_peak used_memory_peak_human used_memory_overhead "+
		"used_memory_dataset used_memory_dataset_perc allocator_allocated allocator_active allocator_frag_bytes generations stall_usec "+
		"sett_memory_used_bytes sett_generations sett_stall_duration_seconds", func() {
		w.pipeline(2200, func(i int) []string { return []string{"SET", "many:" + strconv.Itoa(i), value} })
	})
	w.moves("… and are flushed", "used_memory_peak_perc allocator_frag_ratio sett_level_bytes sett_level_tables", func() {
		w.ok("DEBUG", "SETT", "PAUSE-FLUSH", "0")
		w.ok("DEBUG", "SETT", "FLUSH")
		w.ok("MEMORY", "PURGE")
	})
}

func moveReads(_ *testing.T, w *watcher) {
	w.ok("DEBUG", "SETT", "FLUSH")
	w.moves("a cold GET", "badger_reads command_reruns cache_misses sett_badger_reads_total sett_command_reruns_total sett_cache_misses_total", func() {
		w.ok("DEBUG", "SETT", "DROP-CACHE")
		w.do("GET", "many:1")
	})
	w.moves("a warm one", "cache_hits sett_cache_hits_total", func() { w.do("GET", "many:1") })
	w.moves("a key that there is none of", "filter_ruled_out sett_filter_ruled_out_total", func() { w.do("GET", "none:of:it") })
	w.moves("many cold ones", "cache_bytes sett_cache_bytes", func() {
		w.pipeline(2200, func(i int) []string { return []string{"GET", "many:" + strconv.Itoa(i)} })
	})
}

func moveKeys(_ *testing.T, w *watcher) {
	w.moves("keys", "db0 sett_keys sett_expiring_keys sett_key_bytes", func() { w.ok("SET", "lasting", "x", "EX", "1000") })
	w.moves("fields with a time to live", "sett_field_expiring_keys", func() { w.do("HSETEX", "mortal", "EX", "1000", "FIELDS", "1", "f", "v") })
	w.moves("fields that expire", "expired_subkeys sett_expired_fields_total", func() {
		w.pipeline(300, func(i int) []string {
			return []string{"HSETEX", "mortal", "PX", "1", "FIELDS", "1", strconv.Itoa(i), "v"}
		})
	})
	w.moves("keys that expire", "expired_keys expire_cycle_cpu_milliseconds sett_expired_keys_total sett_sweep_duration_seconds", func() {
		w.pipeline(3000, func(i int) []string { return []string{"SET", "brief:" + strconv.Itoa(i), "x", "PX", "1"} })
	})
}

func moveExpiry(_ *testing.T, w *watcher) {
	w.moves("the sweeper rests", "expiry_lag_ms expired_waiting sett_expiry_lag_seconds sett_expired_waiting", func() {
		w.ok("DEBUG", "SET-ACTIVE-EXPIRE", "0")
		w.ok("SET", "late", "x", "PX", "1")
	})
	w.ok("DEBUG", "SET-ACTIVE-EXPIRE", "1")
}

func moveLarge(t *testing.T, w *watcher) {
	large := strings.Repeat("0123456789abcdef", 8<<20/16)
	set := func(i int) []string { return []string{"SET", "large:" + strconv.Itoa(i), large} }
	w.moves("large values", "value_log_bytes value_log_files sett_value_log_bytes sett_value_log_files", func() {
		w.pipeline(10, set)
		w.ok("DEBUG", "SETT", "FLUSH")
	})
	reader, writer := call(t, w.node.plain.Port), call(t, w.node.plain.Port)
	w.moves("a reply that streams", "views sett_views", func() { reader.send("GET", "large:1") })
	reader.conn.Close() // its view would keep what dies
	w.moves("a value that arrives", "staged_bytes sett_staged_bytes", func() {
		fmt.Fprintf(writer.conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s", len(large), large[:len(large)/2])
	})
	writer.conn.Close()
	w.moves("large values die", "dead_waiting lazyfree_pending_objects reclaimed reclaimed_records sett_dead_waiting sett_reclaimed_total sett_reclaimed_records_total", func() {
		for i := 2; i < 10; i++ {
			w.do("DEL", "large:"+strconv.Itoa(i))
		}
		w.ok("DEBUG", "SETT", "FLUSH")
	})
	w.moves("the value log is collected", "value_log_files_collected value_log_last_collected blob_bytes sett_value_log_files_collected_total sett_blob_bytes", func() {
		w.do("DEL", "large:0") // what died before may have been counted already
		for range 3 {
			w.ok("DEBUG", "SETT", "RECLAIM")
			w.ok("DEBUG", "SETT", "FLUSH")
		}
		w.ok("DEBUG", "SETT", "COMPACT")
		w.ok("DEBUG", "SETT", "GC")
	})
	w.moves("a scrub", "scrubbed_bytes last_scrub sett_scrubbed_bytes_total sett_last_scrub_timestamp_seconds", func() { w.ok("DEBUG", "SETT", "SCRUB") })
	w.moves("what tables hold", "table_live_bytes table_dead_bytes sett_table_content_bytes", func() {
		w.pipeline(60_000, func(i int) []string {
			return []string{"SET", "table:" + strconv.Itoa(i%30_000), strings.Repeat("x", 100)}
		})
		w.ok("DEBUG", "SETT", "FLUSH")
		w.ok("DEBUG", "SETT", "RECLAIM")
	})
	w.pipeline(100, func(i int) []string { return []string{"SET", "short:" + strconv.Itoa(i), "lived"} })
	w.ok("DEBUG", "SETT", "FLUSH")
	w.moves("deletions", "deletions_waiting sett_deletions_waiting", func() {
		w.pipeline(100, func(i int) []string { return []string{"DEL", "short:" + strconv.Itoa(i)} })
		w.ok("DEBUG", "SETT", "FLUSH")
	})
	w.moves("they are compacted", "range_compactions range_compacted_bytes range_compacted_records sett_range_compactions_total "+
		"sett_range_compacted_bytes_total sett_range_compacted_records_total", func() { w.ok("DEBUG", "SETT", "COMPACT") })
}

func moveRefusals(t *testing.T, w *watcher) {
	ready := func(want string) {
		t.Helper()
		if got := w.get("/readyz"); !strings.HasPrefix(got, want) {
			t.Errorf("/readyz: %s", got)
		}
	}
	ready("200 ready\n")
	w.moves("a full disk", "disk_free_bytes writes_refused refused_writes sett_ready sett_disk_free_bytes sett_refused_writes_total", func() {
		w.ok("DEBUG", "SETT", "DISK-FREE", "1000")
		w.do("SET", "a", "1")
	})
	ready("503 not ready: writes are refused: disk is full")
	w.ok("DEBUG", "SETT", "DISK-FREE", "-1")
	ready("200 ready\n") // although no write has come that would have looked
	w.moves("a log that takes nothing", "aof_last_write_status", func() { w.node.store.RefuseWrites(errors.New("no room for the log")) })
	ready("503 not ready: writes are refused: no room for the log")
	w.node.store.RefuseWrites(nil)
	ready("200 ready\n")
}

func moveLimits(_ *testing.T, w *watcher) {
	w.moves("less room", "stored_bytes stored_bytes_limit evicted_keys sett_stored_bytes sett_stored_limit_bytes sett_evicted_keys_total "+
		"sett_evict_duration_seconds", func() { w.ok("CONFIG", "SET", "maxmemory", "1mb") }) // the policy is one that evicts
	w.moves("too much data", "total_eviction_exceeded_time current_eviction_exceeded_time sett_over_limit_seconds_total", func() {
		w.ok("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
	})
	w.ok("CONFIG", "SET", "maxmemory", "0")
	w.moves("a limit for the disk", "stored_disk_bytes sett_stored_disk_bytes", func() { w.ok("CONFIG", "SET", "max_disk", "100gb") })
}
