package config

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/internal/testport"
)

var record = flag.Bool("record", false, "ask the installed redis-server and write testdata/redis.txt anew")

const recorded = "testdata/redis.txt"

// setCases are the CONFIG SETs (names and values in turn) whose replies were recorded, each on a fresh start of this list.
var setCases = [][]string{
	{"maxmemory", "abc"}, {"maxmemory", "1gb"}, {"maxmemory", "1.5gb"}, {"maxmemory", "-1"}, {"maxmemory", "+5"}, {"maxmemory", "0x5"},
	{"maxmemory", "00012"}, {"maxmemory", " 5"}, {"maxmemory", "5b"}, {"maxmemory", "5KB"}, {"maxmemory", "5k"}, {"maxmemory", "5m"},
	{"maxmemory", "1G"}, {"maxmemory", "5mbx"}, {"maxmemory", ""}, {"maxmemory", "kb"}, {"MaxMemory", "x"}, {"MAXMEMORY", "7mb"},
	{"maxmemory-clients", "200%"}, {"maxmemory-clients", "x"}, {"maxmemory-clients", "5%"}, {"maxmemory-clients", "0%"},
	{"maxmemory-clients", "100%"}, {"maxmemory-clients", "-1"}, {"maxmemory-clients", "1.5%"}, {"maxmemory-clients", "1mb"},
	{"maxmemory-policy", "foo"}, {"maxmemory-policy", "ALLKEYS-lru"},
	{"foo", "bar"}, {"port-x", "1", "maxmemory", "x"}, {"maxmemory", "10", "foo"}, {"foo", "1", "maxmemory"},
	{"maxmemory", "10", "MAXMEMORY", "20"}, {"maxmemory", "1", "hz", "x", "databases", "4"}, {"maxmemory", "1", "foo", "x", "databases", "4"},
	{"maxmemory", "11", "hz", "x"}, {"maxmemory", "12", "maxmemory-samples", "9"},
	{"hash-max-listpack-entries", "1", "hash-max-ziplist-entries", "2"}, {"hash-max-ziplist-entries", "x"}, {"slave-priority", "x"}, {"SLAVE-priority", "7"},
	{"hash-max-listpack-entries", "-1"}, {"lua-time-limit", "-1"}, {"lua-time-limit", "7"},
	{"databases", "3"}, {"databases", "16"}, {"dir", "/"}, {"dbfilename", "a"}, {"replicaof", "no one"}, {"unixsocketperm", "700"}, {"tcp-backlog", "511"},
	{"enable-debug-command", "no"}, {"appendfilename", "x"}, {"socket-mark-id", "0"},
	{"appendfsync", "x"}, {"appendfsync", "EverySec"}, {"appendonly", "maybe"}, {"appendonly", "NO"}, {"activedefrag", "yes"}, {"activedefrag", "no"},
	{"timeout", "x"}, {"timeout", "-1"}, {"timeout", "007"}, {"timeout", " 7"}, {"timeout", "-0"}, {"timeout", "1x"}, {"timeout", ""}, {"timeout", "99999999999"},
	{"timeout", "9223372036854775808"}, {"hz", "0"}, {"hz", "1000"}, {"hz", "-1"}, {"list-max-listpack-size", "99999999999"}, {"list-max-listpack-size", "-3"},
	{"hll-sparse-max-bytes", "-5"}, {"hll-sparse-max-bytes", "9223372036854775808"}, {"repl-backlog-size", "99999999999999999999999"}, {"maxclients", "0"}, {"maxclients", "-1"},
	{"repl-backlog-ttl", "-1"}, {"cluster-announce-port", "70000"}, {"slowlog-log-slower-than", "-2"}, {"slowlog-log-slower-than", "-1"},
	{"repl-backlog-size", "0"}, {"tracking-table-max-keys", "1m"}, {"stream-node-max-bytes", "4k"},
	{"loglevel", "x"}, {"loglevel", "WARNING"}, {"loglevel", "debug notice"}, {"oom-score-adj", "x"}, {"oom-score-adj", "relative"}, {"oom-score-adj", "no"},
	{"save", "a"}, {"save", "1"}, {"save", "900 1 300 10"}, {"save", "900 1  300 10"}, {"save", "900  300 10"}, {"save", "0 1"}, {"save", "900 -1"}, {"save", " 900 1"},
	{"save", "900 1 "}, {"save", "+900 01"}, {"save", ""},
	{"client-output-buffer-limit", "normal 1"}, {"client-output-buffer-limit", "foo 1 1 1"}, {"client-output-buffer-limit", "normal x 1 1"},
	{"client-output-buffer-limit", "normal 1mb 2k 3"}, {"client-output-buffer-limit", "Replica 1mb 2k 3 PUBSUB 1 2 4"}, {"client-output-buffer-limit", "pubsub 1 2 0x5"},
	{"client-output-buffer-limit", "normal 1 1 -3"}, {"client-output-buffer-limit", "normal 1  1 1"}, {"client-output-buffer-limit", "master 1 1 1"}, {"client-output-buffer-limit", ""},
	{"notify-keyspace-events", "Q"}, {"notify-keyspace-events", "KA"}, {"notify-keyspace-events", "gxE$"}, {"notify-keyspace-events", "An"}, {"notify-keyspace-events", "gn"},
	{"notify-keyspace-events", "KEgnm"}, {"notify-keyspace-events", "g$lshzxetd"}, {"notify-keyspace-events", "xxg"}, {"notify-keyspace-events", ""},
	{"oom-score-adj-values", "1 2"}, {"oom-score-adj-values", "1 2 9000"}, {"oom-score-adj-values", "5 2 3"}, {"oom-score-adj-values", "5  2 3"}, {"oom-score-adj-values", "1 2 x"},
	{"latency-tracking-info-percentiles", "a"}, {"latency-tracking-info-percentiles", "1_0"}, {"latency-tracking-info-percentiles", "101"}, {"latency-tracking-info-percentiles", "50 99.99 100.0 1e1 0.1234567"},
	{"latency-tracking-info-percentiles", "50  99"}, {"latency-tracking-info-percentiles", "nan"}, {"latency-tracking-info-percentiles", "inf"}, {"latency-tracking-info-percentiles", ""},
	{"proc-title-template", "{foo}"}, {"proc-title-template", ""}, {"proc-title-template", "{{title}"}, {"proc-title-template", "{unixsocket}"}, {"proc-title-template", "abc"},
	{"proc-title-template", "{title} x}"}, {"proc-title-template", "a{"}, {"proc-title-template", "{title} {port} {tls-port}"},
	{"cluster-announce-hostname", "a_b"}, {"cluster-announce-hostname", "a-b.c"}, {"cluster-announce-hostname", strings.Repeat("a", 256)}, {"cluster-announce-hostname", ""},
	{"shutdown-on-sigterm", "x"}, {"shutdown-on-sigterm", "save now"}, {"shutdown-on-sigterm", "force save now"}, {"shutdown-on-sigterm", "save nosave"},
	{"shutdown-on-sigterm", "nosave force"}, {"shutdown-on-sigterm", "NOW"}, {"shutdown-on-sigterm", "force default"}, {"shutdown-on-sigterm", ""},
	{"repl-diskless-load", "x"}, {"repl-diskless-load", "SwapDB"}, {"acl-pubsub-default", "x"}, {"sanitize-dump-payload", "x"}, {"tls-auth-clients", "x"},
	{"cluster-preferred-endpoint-type", "x"}, {"propagation-error-behavior", "x"}, {"jemalloc-bg-thread", "1"}, {"rdb-key-save-delay", "0"}, {"list-max-ziplist-entries", "3"},
	{"include", "x"}, {"masterauth", "s3cret \"x\""}, {"ignore-warnings", "a b"},
}

// ours are the parameters that sett shows or treats differently from Redis, and why.
var ours = map[string]string{
	"port":                      "recorded from a test's port",
	"bind":                      "redis.conf's default, not the built-in one",
	"dir":                       "its own directory",
	"proto-max-bulk-len":        "1 MiB in this version",
	"client-query-buffer-limit": "a share of memory_budget",
	"server_cpulist":            "7.2 has another name for it: who reads all parameters and writes them back may do so",
	"bio_cpulist":               "the same",
	"aof_rewrite_cpulist":       "the same",
	"bgsave_cpulist":            "the same",
}

func TestRedisParameters(t *testing.T) {
	c := mustLoad(t)
	hookAll(c)
	for _, line := range recordedLines(t, "param ") {
		name, value, reply := line[0], line[1], line[2]
		got := c.Get(name)
		if len(got) != 2 {
			t.Errorf("CONFIG GET %s: %q", name, got)
			continue
		}
		if _, ok := ours[name]; ok {
			continue
		}
		if got[1] != value {
			t.Errorf("default of %s is %q, in Redis %q", name, got[1], value)
		}
		if set := replyOf(c.Set([]string{name, value})); set != reply {
			t.Errorf("CONFIG SET %s to what it is: %q, in Redis %q", name, set, reply)
		}
	}
	for _, name := range []string{"locale-collate", "set-max-listpack-entries", "set-max-listpack-value", "cluster-announce-human-nodename",
		"server-cpulist", "bio-cpulist", "aof-rewrite-cpulist", "bgsave-cpulist"} {
		if len(c.Get(name)) != 2 {
			t.Errorf("%s of Redis 7.2 is missing", name)
		}
	}
}

func TestSetAnswersAsRedis(t *testing.T) {
	c := mustLoad(t)
	hookAll(c)
	lines := recordedLines(t, "set ")
	if len(lines) != len(setCases) {
		t.Fatalf("%d cases, %d recorded: go test ./config -run SetAnswers -record", len(setCases), len(lines))
	}
	for i, pairs := range setCases {
		reply, after := lines[i][len(lines[i])-2], lines[i][len(lines[i])-1]
		if got := replyOf(c.Set(pairs)); got != reply {
			t.Errorf("CONFIG SET %q\n sett: %s\nredis: %s", pairs, got, reply)
		}
		if _, ok := ours[strings.ToLower(pairs[0])]; ok {
			continue
		}
		if got := strings.Join(c.Get(pairs[0]), "="); got != after {
			t.Errorf("after CONFIG SET %q, CONFIG GET answers\n sett: %s\nredis: %s", pairs, got, after)
		}
	}
}

func replyOf(err error) string {
	if err == nil {
		return "OK"
	}
	return err.Error()
}

func mustLoad(t *testing.T, sets ...string) *Config {
	t.Helper()
	c, err := Load("", sets)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func hook(c *Config, k *Key) {
	if k.Agreed {
		c.OnAgreed(k.TOML(), func(Value) {})
	} else {
		c.OnChange(k.TOML(), func(Value) error { return nil })
	}
}

func hookAll(c *Config) {
	for _, k := range c.keys {
		if k.Meaning == Works && k.Change == Live {
			hook(c, k)
		}
	}
}

// recordedLines returns the quoted words of the recorded lines that begin with the word.
func recordedLines(t *testing.T, word string) (lines [][]string) {
	t.Helper()
	if *record {
		recordRedis(t)
	}
	data, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), word)
		if !ok {
			continue
		}
		var words []string
		for rest != "" {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				t.Fatalf("%s: %q: %v", recorded, line, err)
			}
			w, _ := strconv.Unquote(quoted)
			words = append(words, w)
			rest = strings.TrimSpace(rest[len(quoted):])
		}
		lines = append(lines, words)
	}
	return lines
}

// recordRedis asks the installed redis-server for all its parameters, and runs setCases.
func recordRedis(t *testing.T) {
	var out strings.Builder
	withRedis(t, func(ask func(args ...string) []string) {
		version := ""
		for line := range strings.Lines(ask("INFO", "server")[0]) {
			if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
				version = strings.TrimSpace(v)
			}
		}
		fmt.Fprintf(&out, "# Redis %s: every parameter, its default, and the reply to CONFIG SET of that default.\n", version)
		all := ask("CONFIG", "GET", "*")
		var params [][2]string
		for i := 0; i < len(all); i += 2 {
			params = append(params, [2]string{all[i], all[i+1]})
		}
		slices.SortFunc(params, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		for _, p := range params {
			if p[0] == "dir" || p[0] == "port" {
				p[1] = "-"
			}
			fmt.Fprintf(&out, "param %q %q %q\n", p[0], p[1], ask("CONFIG", "SET", p[0], p[1])[0])
		}
		out.WriteString("# CONFIG SET, the reply, and what CONFIG GET of the first name answers then.\n")
		for _, pairs := range setCases {
			reply := ask(append([]string{"CONFIG", "SET"}, pairs...)...)[0]
			after := strings.Join(ask("CONFIG", "GET", pairs[0]), "=")
			out.WriteString("set")
			for _, w := range append(slices.Clone(pairs), reply, after) {
				fmt.Fprintf(&out, " %q", w)
			}
			out.WriteString("\n")
		}
	})
	if err := os.WriteFile(recorded, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// withRedis runs a redis-server for f.
func withRedis(t *testing.T, f func(ask func(args ...string) []string)) {
	port := testport.Take(t)
	cmd := exec.Command("redis-server", "--port", port, "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	var conn net.Conn
	var err error
	for range 100 {
		if conn, err = net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	f(func(args ...string) []string {
		fmt.Fprintf(conn, "*%d\r\n", len(args))
		for _, a := range args {
			fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(a), a)
		}
		return readReply(t, in)
	})
}

func readReply(t *testing.T, in *bufio.Reader) []string {
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	line = strings.TrimRight(line, "\r\n")
	switch line[0] {
	case '*':
		n, _ := strconv.Atoi(line[1:])
		var all []string
		for range n {
			all = append(all, readReply(t, in)...)
		}
		return all
	case '$':
		n, _ := strconv.Atoi(line[1:])
		bulk := make([]byte, n+2)
		if _, err := io.ReadFull(in, bulk); err != nil {
			t.Fatal(err)
		}
		return []string{string(bulk[:n])}
	default:
		return []string{line[1:]}
	}
}
