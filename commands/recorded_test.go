package commands

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/resp"
)

var record = flag.String("record", "", "address of a redis-server 7.0.15 whose replies are written into testdata/*.redis; it is flushed")

// TestRecorded runs the scripts in testdata and compares the replies with those of Redis, byte for byte.
//
// A script has a command behind "> " (or "2> " for a second client and so on), quoted as in redis-cli, and its reply in the next
// line, quoted as in Go. "! 100" lets 100 ms pass, "# …" is a comment, and an empty line begins anew: with empty databases and new
// clients.
func TestRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*.redis")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".redis"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if *record != "" {
				recordScript(t, file, script)
				return
			}
			runScript(t, script)
		})
	}
}

// scriptLine is a command with the client that sends it, or something else if args is nil.
type scriptLine struct {
	text   string
	client int
	args   [][]byte
	passMs int
}

func parseLine(t *testing.T, text string) (l scriptLine) {
	l.text = text
	if ms, ok := strings.CutPrefix(text, "! "); ok {
		l.passMs, _ = strconv.Atoi(ms)
		return l
	}
	who, command, ok := strings.Cut(text, "> ")
	if !ok || len(who) > 1 {
		return l
	}
	if who != "" {
		l.client = int(who[0] - '0')
	}
	args, err := resp.Parse([]byte(command+"\n"), nil)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	for _, arg := range args {
		l.args = append(l.args, bytes.Clone(arg))
	}
	return l
}

func runScript(t *testing.T, script []byte) {
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	clients := map[int]*client{}
	lines := bufio.NewScanner(bytes.NewReader(script))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		l := parseLine(t, lines.Text())
		h.hands.pass(l.passMs)
		if l.text == "" {
			h.client().must("+OK\r\n", "flushall")
			clients = map[int]*client{}
		}
		if l.args == nil {
			continue
		}
		c := clients[l.client]
		if c == nil {
			c = h.client()
			clients[l.client] = c
		}
		got := c.doArgs(l.args)
		lines.Scan()
		n++
		want, err := strconv.Unquote(lines.Text())
		if err != nil {
			t.Fatalf("line %d: %q is no reply", n, lines.Text())
		}
		if got != want {
			t.Errorf("line %d: %s\n got  %q\n want %q", n, l.text, got, want)
		}
	}
}

// recordScript writes Redis' replies into a script.
func recordScript(t *testing.T, file string, script []byte) {
	var out strings.Builder
	clients := map[int]net.Conn{}
	send := func(client int, args [][]byte) string {
		if clients[client] == nil {
			conn, err := net.Dial("tcp", *record)
			if err != nil {
				t.Fatal(err)
			}
			clients[client] = conn
		}
		var request strings.Builder
		fmt.Fprintf(&request, "*%d\r\n", len(args))
		for _, arg := range args {
			fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(arg), arg)
		}
		conn := clients[client]
		if _, err := io.WriteString(conn, request.String()); err != nil {
			t.Fatal(err)
		}
		return readReply(t, bufio.NewReader(conn))
	}
	begin := func() {
		for _, conn := range clients {
			conn.Close()
		}
		clear(clients)
		send(0, [][]byte{[]byte("flushall")})
		clients[0].Close()
		clear(clients)
	}
	begin()
	lines := bufio.NewScanner(bytes.NewReader(script))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l := parseLine(t, lines.Text())
		if _, err := strconv.Unquote(l.text); err == nil {
			continue // an old reply
		}
		out.WriteString(l.text + "\n")
		time.Sleep(time.Duration(l.passMs) * time.Millisecond)
		switch {
		case l.text == "":
			begin()
		case l.args != nil:
			out.WriteString(strconv.Quote(send(l.client, l.args)) + "\n")
		}
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readReply returns the bytes of one RESP2 reply.
func readReply(t *testing.T, r *bufio.Reader) string {
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(line[1 : len(line)-2])
	switch {
	case line[0] == '$' && n >= 0:
		body := make([]byte, n+2)
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		line += string(body)
	case line[0] == '*':
		for range max(n, 0) {
			line += readReply(t, r)
		}
	}
	return line
}
