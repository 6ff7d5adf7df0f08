package compat

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"sett/e2e/process"
)

var record = flag.Bool("record", false, "write testdata anew from the redis-server that is installed")

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// protocols that each script runs in.
var protocols = []int{2, 3}

// cold are the scripts whose replies depend on data.
var cold = map[string]bool{"bitfield": true, "bitmap": true, "bitop": true, "expire": true, "generic": true, "hyperloglog": true, "keyspace": true, "lcs": true,
	"list": true, "object": true, "scan": true, "string": true, "transaction": true, "set": true, "hash": true, "sort": true}

// TestRecording asks the Redis that is installed whether the recordings are still what it says, or with -record writes them.
func TestRecording(t *testing.T) {
	redis := startRedis(t)
	for _, s := range readScripts(t) {
		t.Run(s.name, func(t *testing.T) {
			for _, proto := range protocols {
				st := newStage(t, redis, proto)
				quiet := func(*line) error { return nil }
				if *record {
					writeRecording(t, s, proto, st, quiet)
				} else {
					compare(t, s, proto, st, quiet)
				}
				st.end()
			}
		})
	}
}

// TestScripts holds sett against the recordings.
func TestScripts(t *testing.T) {
	scripts := readScripts(t)
	for _, proto := range protocols {
		t.Run(fmt.Sprintf("resp%d", proto), func(t *testing.T) {
			sett := startSett(t)
			for _, s := range scripts {
				t.Run(s.name, func(t *testing.T) {
					compare(t, s, proto, newStage(t, sett, proto), func(*line) error { return nil })
				})
			}
		})
	}
}

// TestScriptsCold is TestScripts with everything in Badger and nothing in memory, again and again.
func TestScriptsCold(t *testing.T) {
	sett := startSett(t)
	for _, s := range readScripts(t) {
		if !cold[s.name] {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			st, n := newStage(t, sett, 2), 0
			compare(t, s, 2, st, func(*line) error {
				if n++; n%3 != 0 {
					return nil
				}
				if err := st.admin("DEBUG", "SETT", "FLUSH"); err != nil {
					return err
				}
				return st.admin("DEBUG", "SETT", "DROP-CACHE")
			})
		})
	}
}

// unscripted are commands that no script can call.
var unscripted = map[string]string{"shutdown": "ends the server", "sync": "Redis would become a master", "psync": "Redis would become a master",
	"replconf": "between servers", "client|help": "names what sett has", "bgsave": "Redis would write a file", "bgrewriteaof": "Redis would write a file", "monitor": "never ends",
	"sentinel": "Redis knows it as a Sentinel only"}

// TestEveryCommandHasAScript looks for each command and subcommand of sett in the scripts.
func TestEveryCommandHasAScript(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range readScripts(t) {
		for _, sc := range s.scenes {
			for _, l := range sc.lines {
				if l.kind != settOnly && len(l.args) > 0 {
					seen[strings.ToLower(l.args[0])] = true
					seen[strings.ToLower(strings.Join(l.args[:min(2, len(l.args))], "|"))] = true
				}
			}
		}
	}
	sett := newStage(t, startSett(t), 2)
	list, err := sett.ask("COMMAND", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list.items {
		command, _, _ := strings.Cut(item.body, "|")
		if !seen[item.body] && unscripted[item.body] == "" && unscripted[command] == "" {
			t.Errorf("%s is in no script", item.body)
		}
	}
}

// compare plays a script and holds it against its recording.
func compare(t *testing.T, s *script, proto int, st *stage, before func(*line) error) {
	t.Helper()
	recorded := readRecording(t, s, proto)
	for i, sc := range s.scenes {
		if i >= len(recorded) || recorded[i].title != sc.title {
			t.Fatalf("scenes/%s.txt: scene %q is not recorded: go test ./e2e/compat -run TestRecording/%s -record", s.name, sc.title, s.name)
		}
		answers, n := recorded[i].answers, 0
		err := st.play(sc, before, func(l *line, got string) {
			switch {
			case n >= len(answers) || answers[n].line != l.text:
				t.Fatalf("scripts/%s.txt:%d: %s is not recorded: go test ./e2e/compat -run TestRecording/%s -record", s.name, l.number, l.text, s.name)
			case answers[n].reply != got:
				t.Errorf("scripts/%s.txt:%d, RESP%d: %s\n got %s\nwant %s", s.name, l.number, proto, l.text, block(got), block(answers[n].reply))
			}
			n++
		})
		if err != nil {
			t.Errorf("scripts/%s.txt, RESP%d, %s: %v", s.name, proto, sc.title, err)
		}
	}
}

// block is a reply in a message.
func block(reply string) string {
	return strings.ReplaceAll(strings.TrimSuffix(reply, "\n"), "\n", "\n     ")
}
