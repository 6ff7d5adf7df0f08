package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A script has one command per line, as one would type it into redis-cli:
//
//	## SET and its options              a scene: it begins with empty databases and new connections
//	# why this is asked                 a comment
//	SET k "a\x00b"                      arguments are quoted as in redis-cli
//	SET k "ab"*5000                     a quoted argument, so many times
//	2> GET k                            on the second connection
//	@within(95..100) TTL k              a mask hides what may differ: mask_test.go has them all
//	@send GET k                         is sent, and its reply is not waited for
//	@receive                            reads the next reply
//	@raw "PING\r\n"                     bytes instead of a command
//	@wait 5                             so many milliseconds pass
//	@sett DEBUG SETT FLUSH              is for sett only, its reply is no matter
//	= "abc"                             behind a command that Redis 7.0.15 is not asked: its reply, as 7.2 has it
//	=3 ="txt:abc"                       the same for one protocol
type script struct {
	name   string
	scenes []*scene
}

type scene struct {
	title string
	lines []*line
}

type line struct {
	number int    // in the file
	text   string // the line itself
	kind   lineKind
	client int
	masks  []mask
	args   []string
	raw    string    // of @raw
	waitMs int       // of @wait
	want   [4]string // what stands behind =, by protocol
}

type lineKind int

const (
	command  lineKind = iota
	send              // no reply is read
	receive           // nothing is sent
	raw               // bytes
	settOnly          // not for Redis
	wait
)

func readScripts(t *testing.T) (scripts []*script) {
	t.Helper()
	files, err := filepath.Glob("scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseScript(string(text))
		if err != nil {
			t.Fatalf("%s:%v", file, err)
		}
		s.name = strings.TrimSuffix(filepath.Base(file), ".txt")
		scripts = append(scripts, s)
	}
	return scripts
}

func parseScript(text string) (*script, error) {
	s := &script{}
	var now *scene
	for i, text := range strings.Split(text, "\n") {
		text = strings.TrimSpace(text)
		title, begins := strings.CutPrefix(text, "## ")
		switch {
		case begins:
			now = &scene{title: title}
			s.scenes = append(s.scenes, now)
			continue
		case text == "" || text[0] == '#' && !begins:
			continue
		case now == nil:
			return nil, fmt.Errorf("%d: a line before the first scene", i+1)
		}
		if protos, want, ok := expectation(text); ok && len(now.lines) > 0 {
			for _, proto := range protos {
				now.lines[len(now.lines)-1].want[proto] += want + "\n"
			}
			continue
		}
		l, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
		l.number = i + 1
		now.lines = append(now.lines, l)
	}
	return s, nil
}

// expectation reads a line that begins with =.
func expectation(text string) (protos []int, want string, ok bool) {
	which, want, ok := strings.Cut(text, " ")
	switch {
	case !ok:
	case which == "=":
		return protocols, want, true
	case which == "=2":
		return protocols[:1], want, true
	case which == "=3":
		return protocols[1:], want, true
	}
	return nil, "", false
}

func parseLine(text string) (*line, error) {
	l := &line{text: text, client: 1}
	if who, rest, ok := strings.Cut(text, "> "); ok && len(who) == 1 && who[0] >= '1' && who[0] <= '9' {
		l.client, text = int(who[0]-'0'), rest
	}
	for strings.HasPrefix(text, "@") {
		word, rest, _ := strings.Cut(text, " ")
		text = strings.TrimLeft(rest, " ")
		switch word {
		case "@send":
			l.kind = send
		case "@receive":
			l.kind = receive
		case "@raw":
			l.kind = raw
		case "@sett":
			l.kind = settOnly
		case "@wait":
			l.kind = wait
		default:
			m, err := newMask(word[1:])
			if err != nil {
				return nil, err
			}
			l.masks = append(l.masks, m)
		}
	}
	args, err := words(text)
	switch {
	case err != nil:
		return nil, err
	case l.kind == receive && len(args) == 0:
	case len(args) == 0:
		return nil, fmt.Errorf("no command in %q", l.text)
	case l.kind == raw:
		l.raw = strings.Join(args, "")
	case l.kind == wait:
		l.waitMs, err = strconv.Atoi(args[0])
	default:
		l.args = args
	}
	return l, err
}

// words makes arguments of a line.
func words(text string) (args []string, err error) {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			args, text = append(args, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		text = text[len(quoted):]
		if strings.HasPrefix(text, "*") {
			digits, rest, _ := strings.Cut(text[1:], " ")
			n, err := strconv.Atoi(digits)
			if err != nil {
				return nil, err
			}
			word, text = strings.Repeat(word, n), rest
		}
		args = append(args, word)
	}
	return args, nil
}

// play runs a scene and gives each reply, masked and printed, to see. A stage that does not play on is an error.
func (st *stage) play(sc *scene, before func(*line) error, see func(l *line, got string)) error {
	if err := st.begin(); err != nil {
		return err
	}
	for _, l := range sc.lines {
		if want := l.want[st.proto]; want != "" && !st.server.sett {
			see(l, want)
			continue
		}
		if err := before(l); err != nil {
			return fmt.Errorf("line %d: %s: %w", l.number, l.text, err)
		}
		got, err := st.run(l)
		if err != nil {
			return fmt.Errorf("line %d: %s: %w", l.number, l.text, err)
		}
		if got != nil {
			for _, m := range l.masks {
				got = m.hide(got)
			}
			see(l, got.String())
		}
	}
	return st.settle()
}

// run runs one line; lines without a reply return nil.
func (st *stage) run(l *line) (*reply, error) {
	conn, err := st.link(l.client)
	if err != nil {
		return nil, err
	}
	switch l.kind {
	case wait:
		time.Sleep(time.Duration(l.waitMs) * time.Millisecond)
		return nil, nil
	case settOnly:
		if st.server.sett {
			_, err = conn.do(l.args...)
		}
		return nil, err
	case raw:
		conn.w.WriteString(l.raw)
		conn.flush()
	case receive:
		conn.flush() // and with it the patience begins
	default:
		conn.send(l.args)
		conn.flush()
	}
	if l.kind == send {
		return nil, nil
	}
	return conn.receive()
}
