package server

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/storage"
)

// TestSlowlog: which commands are remembered, and what of them.
func TestSlowlog(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	log := func() (found []string) {
		for _, e := range ts.slowlog.newest(100) {
			words := make([]string, len(e.args))
			for i, arg := range e.args {
				words[i] = string(arg)
			}
			found = append(found, fmt.Sprintf("%d %s", e.id, strings.Join(words, " ")))
		}
		return found
	}
	want := func(entries ...string) {
		t.Helper()
		if got := log(); strings.Join(got, "|") != strings.Join(entries, "|") {
			t.Errorf("got  %q\nwant %q", got, entries)
		}
	}
	observe := func(slowerThanUs, maxLen int64) {
		ts.SetObservation(func(o *Observation) { o.SlowerThanUs, o.SlowlogMaxLen = slowerThanUs, maxLen })
	}
	c.do("PING")
	want() // it did not take 10 ms
	observe(0, 128)
	c.do("PING")
	c.do("SET", "k", "v")
	c.do("GET") // refused: it did not run
	want("1 SET k v", "0 PING")
	c.want(":2\r\n", "SLOWLOG", "LEN")
	c.want("+OK\r\n", "SLOWLOG", "RESET")
	want("3 SLOWLOG RESET") // SLOWLOG LEN was 2
	observe(0, 2)
	c.do("SET", "a", "1")
	c.do("SET", "b", "1")
	c.do("SET", "c", "1")
	want("6 SET c 1", "5 SET b 1")
	observe(0, 1)
	want("6 SET c 1")
	observe(-1, 128)
	c.do("PING")
	want("6 SET c 1")

	observe(0, 128)
	ts.slowlog.trim(0)
	many := append(make([]string, 0, 40), "DEL")
	for i := range 34 {
		many = append(many, strconv.Itoa(i))
	}
	c.do(many...)
	c.do("SET", "k", strings.Repeat("x", 129))
	c.do("SET", "k", strings.Repeat("x", 128))
	c.do("SET", "k", strings.Repeat("x", 2<<20)) // its bytes are in the store
	c.do("CONFIG", "SET", "requirepass", "secret", "maxclients", "10000")
	want("11 CONFIG SET requirepass (redacted) maxclients 10000", "10 SET k ... (2097152 more bytes)", "9 SET k "+strings.Repeat("x", 128),
		"8 SET k "+strings.Repeat("x", 128)+"... (1 more bytes)", "7 "+strings.Join(many[:31], " ")+" ... (4 more arguments)")

	ts.slowlog.trim(0)
	c.do("MULTI")
	c.do("SET", "k", "1")
	c.do("CONFIG", "GET", "maxclients")
	c.do("EXEC") // the commands in it are remembered instead
	want("14 CONFIG GET maxclients", "13 SET k 1", "12 MULTI")
}

// TestSlowlogReply has the shape that clients parse.
func TestSlowlogReply(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	ts.SetObservation(func(o *Observation) { o.SlowerThanUs = 100_000 })
	c.do("CLIENT", "SETNAME", "me")
	c.do("DEBUG", "SLEEP", "0.10")
	e := ts.slowlog.newest(1)[0]
	if e.took < 100*time.Millisecond || time.Now().Unix()-e.unixSec > 5 || e.addr != c.LocalAddr().String() {
		t.Errorf("%+v", e)
	}
	us := strconv.FormatInt(e.took.Microseconds(), 10)
	entry := fmt.Sprintf("*6\r\n:0\r\n:%d\r\n:%s\r\n*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$4\r\n0.10\r\n$%d\r\n%s\r\n$2\r\nme\r\n", e.unixSec, us, len(e.addr), e.addr)
	c.want("*1\r\n"+entry, "SLOWLOG", "GET")
	c.want("*1\r\n"+entry, "SLOWLOG", "GET", "-1")
	c.want("*0\r\n", "SLOWLOG", "GET", "0")
	for _, bad := range []string{"-2", "x"} {
		c.want("-ERR count should be greater than or equal to -1\r\n", "SLOWLOG", "GET", bad)
	}
	c.want("-ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.\r\n", "SLOWLOG", "get", "1", "2")
}

// TestLatencyEvents: what took too long is remembered, and nothing else.
func TestLatencyEvents(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.do("DEBUG", "SLEEP", "0.02")
	c.want("*0\r\n", "LATENCY", "LATEST")
	if got := c.do("LATENCY", "DOCTOR"); !strings.Contains(got, "Latency monitoring is disabled") {
		t.Error(got)
	}
	ts.SetObservation(func(o *Observation) { o.LatencyEventMs = 10 })
	if got := c.do("LATENCY", "DOCTOR"); !strings.Contains(got, "no latency spike was observed") {
		t.Error(got)
	}
	c.do("DEBUG", "SLEEP", "0.02")
	c.do("PING")
	ts.latency.Took(storage.TookFlush, 30*time.Millisecond)
	ts.latency.Took(storage.TookFlush, 9*time.Millisecond)
	if got := c.do("LATENCY", "LATEST"); !strings.HasPrefix(got, "*2\r\n*4\r\n$12\r\nbadger-flush\r\n") || !strings.Contains(got, ":30\r\n:30\r\n*4\r\n$7\r\ncommand\r\n") {
		t.Errorf("%q", got)
	}
	if got := c.do("LATENCY", "HISTORY", "badger-flush"); !strings.HasPrefix(got, "*1\r\n*2\r\n:") || !strings.HasSuffix(got, "\r\n:30\r\n") {
		t.Errorf("%q", got)
	}
	doctor := c.do("LATENCY", "DOCTOR")
	for _, text := range []string{"1. badger-flush: 1 latency spikes (average 30ms, mean deviation 0ms, period 1.00 sec). Worst all time event 30ms.", "2. command: 1 latency",
		"Badger's disk is slow", "Check your Slow Log"} {
		if !strings.Contains(doctor, text) {
			t.Errorf("%q is missing in %s", text, doctor)
		}
	}
	c.want("*0\r\n", "LATENCY", "HISTORY", "nosuch")
	c.want("-ERR No samples available for event 'nosuch'\r\n", "LATENCY", "GRAPH", "nosuch")
	c.want(":1\r\n", "LATENCY", "RESET", "Badger-Flush", "nosuch")
	c.want(":1\r\n", "LATENCY", "RESET")
	c.want("*0\r\n", "LATENCY", "LATEST")
}

// TestLatencyGraph has a graph that redis-server drew for the same samples.
func TestLatencyGraph(t *testing.T) {
	t.Parallel()
	var s series
	s.add(100, 20)
	s.add(100, 3)
	s.add(102, 50)
	s.add(103, 4)
	want := "command - high 50 ms, low 4 ms (all time high 50 ms)\n" + strings.Repeat("-", 80) + "\n" +
		" # \n" + " | \n" + "o| \n" + "||_\n" + "   \n" + "310\n" + "sss\n"
	if got := string(s.graph("command", 103)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for i := range int64(seriesSamples) {
		s.add(1000+i, i)
	}
	if len(s.samples) != seriesSamples || s.samples[0] != (sample{1000, 0}) || s.maxMs != 159 {
		t.Errorf("%d samples from %v, at most %d", len(s.samples), s.samples[0], s.maxMs)
	}
	for _, test := range []struct {
		sec  int64
		want string
	}{{59, "59s"}, {60, "1m"}, {3600, "1h"}, {90000, "1d"}} {
		if got := ago(test.sec); got != test.want {
			t.Errorf("%d: %s", test.sec, got)
		}
	}
}

// TestLatencyHistogram has the counts at 1, 2, 4 … µs at which they grow; the numbers are those of redis-server for such times.
func TestLatencyHistogram(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	for i, us := range []int{1, 3, 3, 10_158, 20_000, 50_331, 5_000_000} {
		ts.stats.took(uint64(i), ts.opts.Table.Lookup([]byte("get")), time.Duration(us)*time.Microsecond, 1)
	}
	histogram := ":1\r\n:1\r\n:4\r\n:3\r\n:16908\r\n:4\r\n:33816\r\n:5\r\n:67633\r\n:6\r\n:1073741\r\n:7\r\n"
	reply := "$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:7\r\n$14\r\nhistogram_usec\r\n*12\r\n" + histogram
	c.want("*2\r\n"+reply, "LATENCY", "HISTOGRAM", "GET", "nosuch", "set")
	c.do("CONFIG", "GET", "maxclients")
	if got := c.do("LATENCY", "HISTOGRAM", "config"); !strings.HasPrefix(got, "*2\r\n$10\r\nconfig|get\r\n") {
		t.Errorf("%q", got)
	}
	if got := c.infoValue("latencystats", "latency_percentiles_usec_get"); got != "p50=10158.079,p99=1002438.655,p99.9=1002438.655" {
		t.Error(got)
	}
	ts.SetObservation(func(o *Observation) { o.Percentiles = []float64{0, 99.95} })
	if got := c.infoValue("latencystats", "latency_percentiles_usec_get"); got != "p0=1.000,p99.95=1002438.655" {
		t.Error(got)
	}
	ts.SetObservation(func(o *Observation) { o.LatencyTracking = false })
	c.do("CONFIG", "RESETSTAT")
	c.do("GET", "k")
	c.want("*0\r\n", "LATENCY", "HISTOGRAM")
	c.want("$16\r\n# Latencystats\r\n\r\n", "INFO", "latencystats")
}

// TestResetStat resets what Redis does, with what this connection has done before in the same pipeline, and nothing else.
func TestResetStat(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	ts.SetObservation(func(o *Observation) { o.SlowerThanUs = 0 })
	c.do("SET", "k", "v")
	c.do("GET", "k")
	c.do("INCR", "k")
	peak := c.infoValue("memory", "used_memory_peak")
	c.send(encode("GET", "nothing") + encode("CONFIG", "RESETSTAT"))
	c.reply()
	c.reply()
	for _, name := range []string{"keyspace_hits", "keyspace_misses", "total_error_replies", "expired_keys", "total_connections_received"} {
		if got := c.infoValue("stats", name); got != "0" {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got := c.do("INFO", "commandstats"); strings.Contains(got, "cmdstat_get") || !strings.Contains(got, "cmdstat_config|resetstat:calls=1,") {
		t.Error(got)
	}
	if got := c.infoValue("memory", "used_memory_peak"); len(got) < len(peak) || ts.slowlog.len() < 4 {
		t.Errorf("the peak went from %s to %s; the slow log has %d entries", peak, got, ts.slowlog.len())
	}
}

// TestMemoryReplies: MEMORY's reports have what they should.
func TestMemoryReplies(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.do("SET", "k", "value")
	stats := c.do("MEMORY", "STATS")
	for _, want := range []string{"$15\r\ntotal.allocated\r\n:", "$10\r\nkeys.count\r\n:1\r\n", "$18\r\nkeys.bytes-per-key\r\n:6\r\n"} {
		if !strings.Contains(stats, want) {
			t.Errorf("%q is missing in %q", want, stats)
		}
	}
	c.want("+OK\r\n", "MEMORY", "PURGE")
	if got := c.do("MEMORY", "MALLOC-STATS"); !strings.Contains(got, "/memory/classes/heap/objects:bytes ") {
		t.Error(got)
	}
	if got := c.do("MEMORY", "DOCTOR"); !strings.Contains(got, "Sam") {
		t.Error(got)
	}
	const budget = 100 << 20
	for _, test := range []struct {
		m    memory
		want string
	}{
		{memory{used: 1 << 20}, "is empty or is using very little memory"},
		{memory{used: 50 << 20, peak: 60 << 20, recentLimit: 10, recent: 5}, "I can't find any memory issue"},
		{memory{used: 50 << 20, peak: 80 << 20}, " * Peak memory"},
		{memory{used: 101 << 20, peak: 101 << 20}, " * Over budget: The process holds 101.00M, memory_budget is 100.00M"},
		{memory{used: 50 << 20, peak: 50 << 20, recentLimit: 10, recent: 6}, " * Recent writes"},
	} {
		if got := test.m.diagnosis(budget); !strings.Contains(got, test.want) {
			t.Errorf("%+v: %s", test.m, got)
		}
	}
}

// TestReadyz says why clients should go elsewhere.
func TestReadyz(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{loading: true})
	ask := func() string {
		w := httptest.NewRecorder()
		ts.readyz(w, nil)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	want := func(text string) {
		t.Helper()
		if got := ask(); got != text+"\n" {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	want("503 not ready: loading: the log is being replayed")
	ts.Begin(ts.newEngine(ts.data))
	want("200 ready")
	ts.store.SetDiskFree(1)
	want("503 not ready: writes are refused: disk is full")
	ts.store.SetDiskFree(-1)
	want("200 ready")
	ts.store.Yield()
	want("503 not ready: not evaluating: the log does not take entries")
	ts.store.Lead(2)
	want("200 ready")
	ts.Begin(&Engine{Data: ts.data, Store: damaged{ts.store}})
	want("503 not ready: damage: record 1")
	if got := ts.scrape(); !strings.Contains(got, "\nsett_damaged 1\n") {
		t.Error(got)
	}
	if got := ts.dial().infoValue("sett", "damage"); got != "record 1" {
		t.Error(got)
	}
	ts.Begin(ts.newEngine(ts.data))
	ts.Shutdown(0)
	want("503 not ready: stopping")
}

// damaged is a store that has met damage.
type damaged struct{ *storage.Store }

func (d damaged) Status() storage.Status {
	now := d.Store.Status()
	now.Damage = "record 1"
	return now
}

// scrape is what /metrics answers.
func (ts *testServer) scrape() string {
	ts.t.Helper()
	status, body := ts.fetch("/metrics")
	if status != http.StatusOK {
		ts.t.Fatal(status, body)
	}
	return body
}

// fetch asks for a path of metrics_listen.
func (ts *testServer) fetch(path string) (status int, body string) {
	ts.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ts.t.Fatal(err)
	}
	h := ts.ServeMetrics(l)
	defer h.Close()
	r, err := http.Get("http://" + l.Addr().String() + path)
	if err != nil {
		ts.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		ts.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestProfiles are for those who may use DEBUG.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for access, want := range map[DebugAccess]int{DebugNobody: http.StatusNotFound, DebugLocal: http.StatusOK, DebugAll: http.StatusOK} {
		ts := startServer(t, setup{debug: access})
		for _, path := range []string{"/debug/pprof/goroutine?debug=1", "/debug/pprof/profile?seconds=1"} {
			if status, body := ts.fetch(path); status != want || status == http.StatusOK && len(body) < 100 {
				t.Errorf("enable_debug_command %s, %s: %d, %d bytes", access, path, status, len(body))
			}
		}
		if status, body := ts.fetch("/debug/pprof/cmdline"); status != http.StatusNotFound && strings.Contains(body, "-test") {
			t.Errorf("the command line, which may have a password, is shown: %d %q", status, body)
		}
	}
}

// TestMetrics: the metrics are INFO's figures, complete histograms, and there before the log has been replayed.
func TestMetrics(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{loading: true})
	c := ts.dial()
	if got := ts.scrape(); !strings.Contains(got, "\nsett_ready 0\n") || strings.Contains(got, "sett_disk_free_bytes") {
		t.Error(got)
	}
	ts.Begin(ts.newEngine(ts.data))
	c.do("SET", "k", "v")
	c.do("GET", "k")
	c.do("GET", "k", "x")
	c.do("INCR", "k")
	c.do("SELECT", "3")
	c.do("SET", "kk", "v", "EX", "100")
	ts.latency.Took(storage.TookStall, 2*time.Millisecond)
	ts.latency.Took(storage.TookStall, 3*time.Second)
	c.do("INFO") // what the connection has counted by itself is seen from then on
	got := ts.scrape()
	for _, want := range []string{
		`sett_build_info{go_version="`, `sett_commands_total{command="get"} 1`, `sett_commands_total{command="set"} 2`, `sett_commands_rejected_total{command="get"} 1`,
		`sett_commands_failed_total{command="incr"} 1`, `sett_error_replies_total{code="ERR"} 2`, `sett_command_duration_seconds_count{command="set"} 2`,
		`sett_keys{db="0"} 1`, `sett_keys{db="3"} 1`, `sett_expiring_keys{db="3"} 1`, `sett_key_bytes{db="3"} 3`, "sett_keyspace_hits_total 1",
		`sett_stall_duration_seconds_bucket{le="0.001048576"} 0`, `sett_stall_duration_seconds_bucket{le="0.004194304"} 1`,
		`sett_stall_duration_seconds_bucket{le="0.268435456"} 1`, `sett_stall_duration_seconds_bucket{le="+Inf"} 2`, "sett_stall_duration_seconds_sum 3.002",
		"sett_ready 1", "sett_connected_clients 1", `sett_level_tables{level="6"}`, "go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// TestMetricsDocs keeps docs/metrics.md equal to the metrics; -update writes it anew.
func TestMetricsDocs(t *testing.T) {
	t.Parallel()
	const file = "../docs/metrics.md"
	want := metricsDocs()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the metrics say: make docs", file)
	}
}

func metricsDocs() string {
	var b strings.Builder
	b.WriteString(`# Metrics

Generated from ` + "`server/metrics.go`; `make docs` writes it anew." + `

Prometheus finds them on ` + "`http://metrics_listen/metrics`" + `, by default 127.0.0.1:7391. Beside it there are ` + "`/healthz`" + `, which answers 200 as
long as the process lives, and ` + "`/readyz`" + `, which answers 200 if commands of all kinds are served, else 503 and why not: the log is being replayed, a
read met damage, writes are refused (the disk is full, the log does not grow), the log does not take entries, or the server stops; in a
cluster, that this node knows of no leader or has diverged. A node that follows is ready.

They are the figures of INFO, read when somebody asks. CONFIG RESETSTAT begins counters anew that it resets in INFO; Prometheus takes that for a restart.
Those of the log, of storage and of space are absent until the log has been replayed, those of the cluster where there is none. Histograms have buckets from 1.024 µs on, each four times the one
before, up to 268 ms. Go's runtime and the process have their usual ` + "`go_…` and `process_…`.\n")
	for _, group := range metricGroups() {
		fmt.Fprintf(&b, "\n## %s\n\n| name | type | labels | what it says |\n|---|---|---|---|\n", group.title)
		for _, m := range group.metrics {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
		}
	}
	return b.String()
}

// TestMetricNames follow the conventions of Prometheus.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range allMetrics() {
		if seen[m.name] || !strings.HasPrefix(m.name, "sett_") || !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: %q", m.name, m.help)
		}
		seen[m.name] = true
		if total := strings.HasSuffix(m.name, "_total"); total != (m.kind == counter) {
			t.Errorf("%s is a %s", m.name, m.kind)
		}
		if m.kind == histogramKind && !strings.HasSuffix(m.name, "_seconds") {
			t.Errorf("%s has no unit", m.name)
		}
		if (m.kind == histogramKind) != (m.times != nil) || (m.kind == histogramKind) != (m.value == nil) {
			t.Errorf("%s has no source, or two", m.name)
		}
	}
}
