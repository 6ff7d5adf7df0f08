package server

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var recordFrom = flag.String("record", "", "host:port of a redis-server 7.0.15 with --enable-debug-command yes --appendonly yes (without it, DEBUG LOADAOF ends it); it is emptied, and testdata/*.rec are written anew")

// recordedStep is a line "N> words" or "N! raw" and the line "N< bytes" that answers it.
type recordedStep struct {
	line    int // in the file
	text    string
	conn    int
	send    string
	replies int
	want    string
}

// TestRecorded replays scripts and compares every byte with what redis-server answered.
func TestRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*.rec")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range files {
		scripts := readScripts(t, file)
		if *recordFrom != "" {
			record(t, file, scripts)
			continue
		}
		for _, script := range scripts {
			t.Run(script.name, func(t *testing.T) {
				t.Parallel()
				ts := startServer(t, setup{debug: DebugAll, limits: func(l *Limits) { l.MaxBulkBytes = 512 << 20 }})
				play(t, ts.addr, script.steps, func(s *recordedStep, got string) {
					if got != s.want {
						t.Errorf("%s:%d: %s\n got %s\nwant %s", file, s.line, s.text, strconv.Quote(got), strconv.Quote(s.want))
					}
				})
			})
		}
	}
}

type script struct {
	name  string
	steps []*recordedStep
}

func readScripts(t *testing.T, file string) []*script {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var scripts []*script
	var now *script
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "":
			now = nil
		case strings.HasPrefix(line, "#!"):
		case line[0] == '#':
			if now == nil {
				now = &script{name: strings.TrimPrefix(line, "# ")}
				scripts = append(scripts, now)
			}
		default:
			kind, text, _ := strings.Cut(line[1:], " ")
			step := &recordedStep{line: n, text: line, conn: int(line[0] - '0'), replies: 1}
			switch kind[0] {
			case '<':
				want, err := strconv.Unquote(text)
				if err != nil {
					t.Fatalf("%s:%d: %v", file, n, err)
				}
				now.steps[len(now.steps)-1].want = want
			case '!':
				raw, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
				if err != nil {
					t.Fatalf("%s:%d: %v", file, n, err)
				}
				step.send = raw
				step.replies, _ = strconv.Atoi(kind[1:])
				now.steps = append(now.steps, step)
			default:
				step.send = encode(split(t, text)...)
				now.steps = append(now.steps, step)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return scripts
}

// split makes words of a line; a word in double quotes is written as in Go.
func split(t *testing.T, text string) (words []string) {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			words, text = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		word, _ := strconv.Unquote(quoted)
		words, text = append(words, word), text[len(quoted):]
	}
	return words
}

// play runs a script.
func play(t *testing.T, addr string, steps []*recordedStep, check func(*recordedStep, string)) {
	conns := map[int]*client{}
	for _, s := range steps {
		c := conns[s.conn]
		if c == nil {
			c = dial(t, addr)
			conns[s.conn] = c
		}
		check(s, maskHello(c.exchange(s.send, s.replies)))
	}
}

var helloOwn = regexp.MustCompile(`\$7\r\nversion\r\n\$\d+\r\n[0-9.]+\r\n|\$2\r\nid\r\n:\d+\r\n`)

// maskHello takes out of HELLO's reply what differs from server to server and from connection to connection.
func maskHello(reply string) string {
	if !strings.Contains(reply, "$5\r\nredis\r\n") {
		return reply
	}
	return helloOwn.ReplaceAllString(reply, "…")
}

// exchange sends something and returns what comes back: so many replies, and "closed" if the connection ends.
func (c *client) exchange(raw string, replies int) string {
	if _, err := io.WriteString(c, raw); err != nil {
		return "closed"
	}
	var all strings.Builder
	for ; replies > 0; replies-- {
		reply, err := readReply(c.r)
		all.WriteString(reply)
		if ended(err) {
			all.WriteString("closed")
			return all.String()
		}
		if err != nil {
			c.t.Fatalf("%q: %v", raw, err)
		}
		if strings.HasPrefix(reply, "-ERR Protocol error") || strings.HasPrefix(strings.ToLower(raw[4:]), "$4\r\nquit") {
			replies++ // the end comes, too
		}
	}
	return all.String()
}

func ended(err error) bool {
	var reset *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &reset) && !reset.Timeout()
}

func record(t *testing.T, file string, scripts []*script) {
	recorded := map[int]string{}
	for _, script := range scripts {
		c := dial(t, *recordFrom)
		c.want("+OK\r\n", "FLUSHALL")
		c.want("+OK\r\n", "CONFIG", "SET", "maxclients", "10000", "timeout", "0", "requirepass", "")
		c.Close()
		play(t, *recordFrom, script.steps, func(s *recordedStep, got string) { recorded[s.line] = got })
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(string(old), "\n"), "\n") {
		if len(line) > 2 && line[1] == '<' && line[0] != '#' {
			continue
		}
		fmt.Fprintln(&out, line)
		if got, ok := recorded[i+1]; ok {
			fmt.Fprintf(&out, "%c< %s\n", line[0], strconv.Quote(got))
		}
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
