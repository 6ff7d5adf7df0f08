package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	c := mustLoad(t)
	if got := c.Int("port"); got != 6379 {
		t.Errorf("port %d", got)
	}
	if got := c.Bytes("memory_budget"); got != gib {
		t.Errorf("memory_budget %d", got)
	}
	if got := c.Bytes("storage.batch_max_bytes"); got != 64*mib {
		t.Errorf("batch_max_bytes %d", got)
	}
	if got := c.Bytes("storage.generation_bytes"); got != 32*mib {
		t.Errorf("generation_bytes %d", got)
	}
	if got := c.Duration("storage.flush_interval"); got != 4*time.Second {
		t.Errorf("flush_interval %v", got)
	}
	if got := c.Duration("tcp_keepalive"); got != 5*time.Minute {
		t.Errorf("tcp_keepalive %v", got)
	}
	if got := c.String("fsync"); got != "everysec" {
		t.Errorf("fsync %q", got)
	}
	if got := c.Strings("bind"); !reflect.DeepEqual(got, []string{"127.0.0.1", "-::1"}) {
		t.Errorf("bind %q", got)
	}
	if got := c.String("dir"); !filepath.IsAbs(got) || filepath.Base(got) != "data" {
		t.Errorf("dir %q", got)
	}
	if c.SourceFile() != "" {
		t.Errorf("SourceFile %q", c.SourceFile())
	}
}

func TestDerivedFollowTheBudget(t *testing.T) {
	c := mustLoad(t, "memory_budget=128MiB")
	for name, want := range map[string]int64{"storage.batch_max_bytes": 8 * mib, "storage.generation_bytes": 4 * mib, "client_query_buffer_limit": 16 * mib} {
		if got := c.Bytes(name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	c = mustLoad(t, "memory_budget=128MiB", "storage.generation_bytes=1MiB")
	if got := c.Bytes("storage.generation_bytes"); got != mib {
		t.Errorf("a value that was given gave way to the derived one: %d", got)
	}
}

// TestTable holds what every row must have.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range Table() {
		for _, k := range g.Keys {
			for _, name := range k.names() {
				if seen[name] {
					t.Errorf("%s stands twice in the table", name)
				}
				seen[name] = true
				if name != strings.ToLower(name) {
					t.Errorf("%s: lookups are by lower case", name)
				}
			}
			if table, _ := k.place(); table != g.Table {
				t.Errorf("%s stands in group %q of table %q", k.Name, g.Title, g.Table)
			}
			if (k.Meaning == Works || k.Meaning == Refused) && k.Effect == "" {
				t.Errorf("%s: no effect described", k.Name)
			}
			if (k.derive == nil) != (k.Rule == "") {
				t.Errorf("%s: a derived default and its rule go together", k.Name)
			}
			if k.Agreed && (k.Change != Live || k.derive != nil || k.Meaning == Refused) {
				t.Errorf("%s: nodes agree on what each of them can set, and not by its memory", k.Name)
			}
			if numeric := k.Kind == Int || k.Kind == Bytes || k.Kind == Duration; numeric && k.Min >= k.Max {
				t.Errorf("%s: from %d to %d", k.Name, k.Min, k.Max)
			}
		}
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sett.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadFile(t *testing.T) {
	file := writeFile(t, `
port = 7001
bind = ["*", "-::*"] # everybody
fsync = "always"
memory_budget = "256MiB"
disk_reserve = 33554432
maxmemory = "1gb"
save = "900 1"
appendonly = true
activerehashing = "no"

[storage]
flush_interval = "200ms"

[log]
segment_bytes = "1mb"
`)
	c, err := Load(file, []string{"port=7002", "tcp-keepalive=60", "storage.barrier_interval=500ms"})
	if err != nil {
		t.Fatal(err)
	}
	got := c.Get("port", "bind", "appendfsync", "fsync", "memory_budget", "disk_reserve", "maxmemory", "save", "appendonly", "activerehashing",
		"storage.flush_interval", "log.segment_bytes", "tcp-keepalive", "storage.barrier_interval")
	values := map[string]string{}
	for i := 0; i < len(got); i += 2 {
		values[got[i]] = got[i+1]
	}
	want := map[string]string{"port": "7002", "bind": "* -::*", "appendfsync": "always", "fsync": "always", "memory_budget": "268435456",
		"disk_reserve": "33554432", "maxmemory": "1073741824", "save": "900 1", "appendonly": "yes", "activerehashing": "no",
		"storage.flush_interval": "200ms", "log.segment_bytes": "1048576", "tcp-keepalive": "60", "storage.barrier_interval": "500ms"}
	if !reflect.DeepEqual(values, want) {
		t.Errorf("got  %v\nwant %v", values, want)
	}
	if c.SourceFile() != file {
		t.Errorf("SourceFile %q", c.SourceFile())
	}
}

// TestLoadSaysWhatIsWrong: each message names the place, the key, and what is allowed.
func TestLoadSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ file, set, want string }{
		{file: "prot = 1", want: "sett.toml:1: there is no setting prot; did you mean port?"},
		{file: "# c\n\ntcp-keepalive = 60", want: "sett.toml:3: there is no setting tcp-keepalive; did you mean tcp_keepalive?"},
		{file: "flush_interval = '1s'", want: "sett.toml:1: there is no setting flush_interval; did you mean storage.flush_interval?"},
		{file: "[storage]\nflush_intervall = '1s'", want: "sett.toml:2: there is no setting storage.flush_intervall; did you mean storage.flush_interval?"},
		{file: "[log]\nport = 3", want: "sett.toml:2: there is no setting log.port; did you mean port at the top level, before the first [table]?"},
		{file: "xyzzy = 3", want: "sett.toml:1: there is no setting xyzzy"},
		{file: "[rafts]\nlog = 'x'\nmore = 1", want: "sett.toml:1: there is no table [rafts]; there are [cluster], [compaction], [log], [raft], [storage], [ttl]"},
		{file: "[[storage]]\nflush_interval = '1s'", want: "sett.toml:1: [[storage]]: write [storage]"},
		{file: "storage = {flush_interval = '1s'}", want: "sett.toml:1: storage is a table: write [storage] on a line of its own, and its keys below"},
		{file: "port = 99999", want: `sett.toml:1: port: "99999" is not possible; it takes a whole number from 0 to 65535`},
		{file: "port = '6379'", want: "sett.toml:1: port: a string is not possible; it takes a whole number from 0 to 65535, without quotes"},
		{file: "port = 6379.5", want: "sett.toml:1: port: a number with a fraction is not possible; it takes a whole number from 0 to 65535, without quotes"},
		{file: "bind = []", want: `sett.toml:1: bind: "" is not possible: an empty list would leave the server without a listener`},
		{file: "bind = [true]", want: "sett.toml:1: bind: an array is not possible; it takes an array of strings, or one string with spaces"},
		{file: "memory_budget = '64MiB'", want: `sett.toml:1: memory_budget: "64MiB" is not possible; it takes 128MiB to 16TiB`},
		{file: "memory_budget = 'lots'", want: `sett.toml:1: memory_budget: "lots" is not possible; it takes 128MiB to 16TiB`},
		{file: "memory_budget = 1e9", want: `sett.toml:1: memory_budget: a number with a fraction is not possible; it takes a whole number of bytes, or a string with a unit, such as "16MiB"`},
		{file: "fsync = 'sometimes'", want: `sett.toml:1: fsync: "sometimes" is not possible; it takes everysec, always, no`},
		{file: "fsync = 1", want: `sett.toml:1: fsync: a number without a unit is not possible; it takes "everysec", "always", "no"`},
		{file: "fsync = 'no'\nappendfsync = 'no'", want: "sett.toml:2: appendfsync is given twice, here and at sett.toml:1"},
		{file: "port = 1\nport = 2", want: "sett.toml:2:1: "},
		{file: "port = \n", want: "sett.toml:1:"},
		{file: "[storage]\nflush_interval = 1", want: `sett.toml:2: storage.flush_interval: a number without a unit is not possible; it takes a string with a unit, such as "200ms", "1s" or "5m"`},
		{file: "[storage]\nflush_interval = '1'", want: `sett.toml:2: storage.flush_interval: "1" is not possible; it takes 1ms to 1m`},
		{file: "aclfile = 'users.acl'", want: "sett.toml:1: aclfile: ACLs are not in this version, and accepting them would leave the server open"},
		{file: "tls_key_file_pass = 'secret'", want: "sett.toml:1: tls_key_file_pass: encrypted private keys cannot be read: use a key file without a password that only sett may read"},
		{file: "dbfilename = 'a/b'", want: `sett.toml:1: dbfilename: "a/b" is not possible: dbfilename can't be a path, just a filename`},
		{file: "memory_budget = '128MiB'\n[storage]\nbatch_max_bytes = '17MiB'", want: "sett.toml:3: storage.batch_max_bytes is more than memory_budget / 8, which is 16MiB"},
		{set: "prot=1", want: "--set prot: there is no such setting; did you mean port?"},
		{set: "flush_interval=1s", want: "--set flush_interval: there is no such setting; did you mean storage.flush_interval?"},
		{set: "port", want: "--set port: it takes key=value"},
		{set: "fsync=sometimes", want: `--set fsync: "sometimes" is not possible; it takes everysec, always, no`},
		{set: "storage.generation_bytes=1GiB", want: "--set storage.generation_bytes: storage.generation_bytes is more than memory_budget / 8, which is 128MiB"},
	} {
		file, sets := "", []string{c.set}
		if c.set == "" {
			file, sets = writeFile(t, c.file), nil
		}
		_, err := Load(file, sets)
		if err == nil {
			t.Errorf("%q was accepted", c.file+c.set)
			continue
		}
		got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", "")
		if strings.HasSuffix(c.want, ":") || strings.HasSuffix(c.want, ": ") {
			if !strings.HasPrefix(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("%q: %q", c.file, got)
			}
		} else if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.file+c.set, got, c.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	_, err := Load(writeFile(t, "prot = 1\nport = 'x'\n"), []string{"foo=1"})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three mistakes: %v", err)
	}
}

func TestGet(t *testing.T) {
	c := mustLoad(t)
	for _, test := range []struct {
		patterns []string
		want     []string
	}{
		{[]string{"MAXMEMORY", "maxmemory", "MaxMem?ry"}, []string{"MAXMEMORY", "0"}},
		{[]string{"databases", "foo", "port"}, []string{"port", "6379", "databases", "16"}},
		{[]string{"slave-priority"}, []string{"slave-priority", "100"}},
		{[]string{"*-PRIORITY"}, []string{"replica-priority", "100", "slave-priority", "100"}},
		{[]string{"key-load-delay"}, []string{"key-load-delay", "0"}},
		{[]string{"key-load*"}, nil},
		{[]string{"foo", "tcp_keepalive", `d\ir`, ""}, nil},
		{[]string{"fsync", "appendfsync"}, []string{"appendfsync", "everysec", "fsync", "everysec"}},
		{[]string{"storage.generation_*"}, []string{"storage.generation_records", "400000", "storage.generation_bytes", "33554432"}},
		{[]string{"storage.flush_interval", "ttl.clock_settle"}, []string{"storage.flush_interval", "4s", "ttl.clock_settle", "5m"}},
	} {
		if got := c.Get(test.patterns...); !slices.Equal(got, test.want) {
			t.Errorf("CONFIG GET %q: %q", test.patterns, got)
		}
	}
	all := c.Get("*", "*")
	seen := map[string]bool{}
	for i := 0; i < len(all); i += 2 {
		if seen[all[i]] {
			t.Errorf("%s twice", all[i])
		}
		seen[all[i]] = true
	}
	if len(seen) < 200 {
		t.Errorf("CONFIG GET *: %d names", len(seen))
	}
}

func TestSetIsAllOrNothing(t *testing.T) {
	c := mustLoad(t)
	hookAll(c)
	before := c.Get("*")
	for _, test := range []struct {
		pairs []string
		want  string
	}{
		{[]string{"maxmemory", "1", "maxclients", "x"}, "ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument couldn't be parsed into an integer"},
		{[]string{"maxmemory", "1", "tls-port", "7000"}, "ERR CONFIG SET failed (possibly related to argument 'tls-port') - can't set immutable config"},
		{[]string{"maxmemory", "1", "port", "99999"}, "ERR CONFIG SET failed (possibly related to argument 'port') - argument must be between 0 and 65535 inclusive"},
		{[]string{"maxmemory", "1", "databases", "16"}, "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"},
		{[]string{"maxmemory", "1", "storage.flush_interval", "3s"}, "ERR CONFIG SET failed (possibly related to argument 'storage.flush_interval') - can't set immutable config"},
		{[]string{"maxmemory", "1", "storage.flush_interval", "2"}, "ERR CONFIG SET failed (possibly related to argument 'storage.flush_interval') - argument must be a duration such as 200ms, 1s or 5m"},
		{[]string{"maxmemory", "1", "tls-ciphersuites", "x"}, "ERR CONFIG SET failed (possibly related to argument 'tls-ciphersuites') - the cipher suites of TLS 1.3 cannot be chosen here: crypto/tls takes all of them"},
		{[]string{"maxmemory", "1", "dir", "/"}, "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"},
		{[]string{"maxmemory"}, "ERR syntax error"},
	} {
		if got := replyOf(c.Set(test.pairs)); got != test.want {
			t.Errorf("CONFIG SET %q\n got %s\nwant %s", test.pairs, got, test.want)
		}
	}
	if after := c.Get("*"); !slices.Equal(before, after) {
		t.Error("a refused CONFIG SET changed something")
	}
	// What a tool has read it may write back.
	for _, pair := range [][]string{{"port", "6379"}, {"bind", "127.0.0.1 -::1"}, {"storage.flush_interval", "4000ms"}, {"tls-ciphersuites", ""},
		{"memory_budget", "1GiB"}, {"storage.batch_max_bytes", "67108864"}} {
		if err := c.Set(pair); err != nil {
			t.Errorf("CONFIG SET %q: %v", pair, err)
		}
	}
	if err := c.Set([]string{"client-query-buffer-limit", "2mb", "fsync", "ALWAYS"}); err != nil {
		t.Error(err)
	}
	if c.Bytes("client_query_buffer_limit") != 2*mib || c.String("appendfsync") != "always" {
		t.Error("CONFIG SET is not seen")
	}
	if err := c.Set([]string{"client-query-buffer-limit", "auto"}); err != nil || c.Bytes("client_query_buffer_limit") != 128*mib {
		t.Error("auto:", err, c.Bytes("client_query_buffer_limit"))
	}
}

func TestHooks(t *testing.T) {
	c := mustLoad(t)
	if err := c.Set([]string{"maxclients", "5"}); err == nil || !strings.Contains(err.Error(), "can't set immutable config") {
		t.Errorf("a live key that nobody listens to was set: %v", err)
	}
	var calls []string
	c.OnChange("maxclients", func(v Value) error {
		if v.Int() == 6 && c.Int("maxclients") == 6 {
			t.Error("stored before the hook agreed")
		}
		calls = append(calls, "maxclients "+v.String())
		return nil
	})
	c.OnChange("appendfsync", func(v Value) error {
		calls = append(calls, "fsync "+v.String())
		if v.String() == "no" {
			return errors.New("not today")
		}
		return nil
	})
	if err := c.Set([]string{"maxclients", "5", "fsync", "everysec"}); err != nil {
		t.Error(err)
	}
	if err := c.Set([]string{"maxclients", "6", "fsync", "no"}); err == nil || err.Error() != "ERR CONFIG SET failed (possibly related to argument 'fsync') - not today" {
		t.Error(err)
	}
	if want := []string{"maxclients 5", "maxclients 6", "fsync no", "maxclients 5"}; !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}
	if c.Int("maxclients") != 5 || c.String("fsync") != "everysec" {
		t.Error("a refused change was stored")
	}
}

// TestUnwired: what works must be read, and what is live must be listened to.
func TestUnwired(t *testing.T) {
	c := mustLoad(t)
	if got := c.Unwired(); !slices.Contains(got, "port is never read") || !slices.Contains(got, "maxclients is live and nobody has registered for changes") {
		t.Errorf("%q", got)
	}
	hookAll(c)
	for _, k := range c.keys {
		if k.Meaning == Works {
			c.Value(k.TOML())
		}
	}
	if got := c.Unwired(); got != nil {
		t.Errorf("%q", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	c, err := Load(writeFile(t, "port = 7001\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.OnChange("maxclients", func(v Value) error { _ = c.Int("maxclients"); return nil })
	c.OnAgreed("maxmemory", func(Value) {})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 50 {
				switch i {
				case 0, 1:
					if err := c.Set([]string{"maxclients", []string{"10", "20"}[j%2], "maxmemory", []string{"10", "20"}[j%2]}); err != nil {
						t.Error(err)
					}
				case 2:
					if got := c.Get("maxclients", "maxmemory"); j > 0 && got[1] != got[3] && got[1] != "10000" {
						t.Errorf("half a CONFIG SET is visible: %q", got)
					}
				case 3:
					if j%10 == 0 {
						if err := c.Rewrite(); err != nil {
							t.Error(err)
						}
					}
				}
			}
		})
	}
	all.Wait()
}

func TestMatchName(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "abc", true}, {"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"A?C", "abc", true}, {"a?c", "ac", false},
		{"[a-c]x", "bx", true}, {"[c-a]x", "bx", true}, {"[^a-c]x", "bx", false}, {"[^a]x", "bx", true}, {"[B]x", "bx", true}, {"[a", "a", true}, {"[a", "b", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {`[\]]`, "]", true}, {"a*b*c*d", "a1b2c3d", true}, {"a*b*c*d", "a1b2c3", false}, {"", "", true}, {"", "a", false},
		{"**a**", "xax", true}, {"a\\", "a\\", true}, {"[]", "a", false}, {"[a-]", "-", false},
	} {
		if got := matchName(test.pattern, test.name); got != test.want {
			t.Errorf("matchName(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
	if matchName(strings.Repeat("a*", 2000)+"b", strings.Repeat("a", 60)) {
		t.Error("matched")
	}
}
