package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is one connection. Its replies are string, int64, nil, []any, or replyError.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// replyError is an error reply without the "-".
type replyError string

func (e replyError) Error() string { return string(e) }

// isError tells whether a reply is an error that begins like this.
func isError(reply any, beginning string) bool {
	e, ok := reply.(replyError)
	return ok && strings.HasPrefix(string(e), beginning)
}

// dial connects; the connection is closed when the test ends.
func (n *node) dial() *client {
	n.t.Helper()
	c, err := n.tryDial()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(c.close)
	return c
}

func (n *node) tryDial() (*client, error) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+n.port)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReaderSize(conn, 64<<10), bufio.NewWriterSize(conn, 64<<10)}, nil
}

func (c *client) close() { c.conn.Close() }

// send adds a command to what flush will send.
func (c *client) send(args ...string) {
	c.w.WriteByte('*')
	c.w.WriteString(strconv.Itoa(len(args)))
	c.w.WriteString("\r\n")
	for _, arg := range args {
		c.w.WriteByte('$')
		c.w.WriteString(strconv.Itoa(len(arg)))
		c.w.WriteString("\r\n")
		c.w.WriteString(arg)
		c.w.WriteString("\r\n")
	}
}

func (c *client) flush() error {
	c.conn.SetDeadline(time.Now().Add(3 * time.Minute))
	return c.w.Flush()
}

// receive reads one reply; err is the connection's end.
func (c *client) receive() (reply any, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("malformed reply %q", line)
	}
	kind, text := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+':
		return text, nil
	case '-':
		return replyError(text), nil
	case ':':
		return strconv.ParseInt(text, 10, 64)
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return nil, err
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.r, b)
		return string(b[:n]), err
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = c.receive(); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("unknown reply %q", line)
}

// do sends one command and returns its reply.
func (c *client) do(args ...string) (any, error) {
	c.send(args...)
	if err := c.flush(); err != nil {
		return nil, err
	}
	return c.receive()
}

// must is do for commands that have to succeed.
func (c *client) must(t *testing.T, args ...string) any {
	t.Helper()
	reply, err := c.do(args...)
	if e, refused := reply.(replyError); refused {
		err = e
	}
	if err != nil {
		t.Fatalf("%.60q: %v", args, err)
	}
	return reply
}

// want is do for commands whose reply is known.
func (c *client) want(t *testing.T, want any, args ...string) {
	t.Helper()
	if n, ok := want.(int); ok {
		want = int64(n)
	}
	if got := c.must(t, args...); got != want {
		t.Fatalf("%.60q: got %s, want %s", args, short(got), short(want))
	}
}

// refused is do for commands that have to be answered with an error.
func (c *client) refused(t *testing.T, text string, args ...string) {
	t.Helper()
	got, err := c.do(args...)
	if e, ok := got.(replyError); err != nil || !ok || !strings.Contains(string(e), text) {
		t.Fatalf("%.60q: got %s, %v; want an error with %q", args, short(got), err, text)
	}
}

// short is a reply for a message.
func short(reply any) string {
	text := fmt.Sprint(reply)
	return text[:min(len(text), 200)]
}

// scan reads all names with SCAN, from a cursor on, and tells how many calls that took.
func (c *client) scan(cursor string, count int, see func(name string)) (calls int, err error) {
	for {
		cursor, err = c.scanOnce(cursor, count, see)
		calls++
		if err != nil || cursor == "0" {
			return calls, err
		}
	}
}

func (c *client) scanOnce(cursor string, count int, see func(name string)) (next string, err error) {
	reply, err := c.do("SCAN", cursor, "COUNT", strconv.Itoa(count))
	if err != nil {
		return "", err
	}
	parts, ok := reply.([]any)
	if !ok {
		return "", fmt.Errorf("SCAN %s: %v", cursor, reply)
	}
	for _, name := range parts[1].([]any) {
		see(name.(string))
	}
	return parts[0].(string), nil
}

// countKeys compares DBSIZE with what SCAN shows; nobody writes meanwhile.
func (c *client) countKeys(t *testing.T) int {
	t.Helper()
	names := map[string]bool{}
	if _, err := c.scan("0", 1000, func(name string) {
		if names[name] {
			t.Errorf("SCAN shows %q twice in a quiet database", name)
		}
		names[name] = true
	}); err != nil {
		t.Fatal(err)
	}
	c.want(t, len(names), "DBSIZE")
	return len(names)
}

// hungUp tells whether an error is the server's end of the connection.
func hungUp(err error) bool {
	var broken *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) && !broken.Timeout()
}
