package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Client is one connection. Its replies are string, int64, nil, []any, or ReplyError.
type Client struct {
	W        *bufio.Writer // for what Send cannot say
	Patience time.Duration // how long Flush and what is received after it may take

	conn net.Conn
	r    *bufio.Reader
}

// ReplyError is an error reply without the "-".
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// IsError tells whether a reply is an error that begins like this.
func IsError(reply any, beginning string) bool {
	e, ok := reply.(ReplyError)
	return ok && strings.HasPrefix(string(e), beginning)
}

// Dial connects; the connection is closed when the test ends.
func (n *Node) Dial() *Client {
	n.t.Helper()
	c, err := n.TryDial()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(c.Close)
	return c
}

// TryDial is Dial for servers that may have ended. The client is the caller's to close.
func (n *Node) TryDial() (*Client, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(n.Host, n.Port), 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &Client{Patience: 3 * time.Minute, W: bufio.NewWriterSize(conn, 64<<10), conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.conn.Close() }

// Ended tells whether the server has closed the connection, as pools look before they hand one out.
func (c *Client) Ended() bool {
	c.conn.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
	_, err := c.r.Peek(1)
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// Send adds a command to what Flush will send.
func (c *Client) Send(args ...string) {
	c.W.WriteByte('*')
	c.W.WriteString(strconv.Itoa(len(args)))
	c.W.WriteString("\r\n")
	for _, arg := range args {
		c.W.WriteByte('$')
		c.W.WriteString(strconv.Itoa(len(arg)))
		c.W.WriteString("\r\n")
		c.W.WriteString(arg)
		c.W.WriteString("\r\n")
	}
}

// Flush sends.
func (c *Client) Flush() error {
	c.conn.SetDeadline(time.Now().Add(c.Patience))
	return c.W.Flush()
}

// Receive reads one reply; err is the connection's end.
func (c *Client) Receive() (reply any, err error) {
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
		return ReplyError(text), nil
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
			if list[i], err = c.Receive(); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("unknown reply %q", line)
}

// Do sends one command and returns its reply.
func (c *Client) Do(args ...string) (any, error) {
	c.Send(args...)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return c.Receive()
}

// Must is Do for commands that have to succeed.
func (c *Client) Must(t testing.TB, args ...string) any {
	t.Helper()
	reply, err := c.Do(args...)
	if e, refused := reply.(ReplyError); refused {
		err = e
	}
	if err != nil {
		t.Fatalf("%.60q: %v", args, err)
	}
	return reply
}

// Want is Do for commands whose reply is known.
func (c *Client) Want(t testing.TB, want any, args ...string) {
	t.Helper()
	if n, ok := want.(int); ok {
		want = int64(n)
	}
	if got := c.Must(t, args...); got != want {
		t.Fatalf("%.60q: got %s, want %s", args, Short(got), Short(want))
	}
}

// Refused is Do for commands that have to be answered with an error.
func (c *Client) Refused(t testing.TB, text string, args ...string) {
	t.Helper()
	got, err := c.Do(args...)
	if e, ok := got.(ReplyError); err != nil || !ok || !strings.Contains(string(e), text) {
		t.Fatalf("%.60q: got %s, %v; want an error with %q", args, Short(got), err, text)
	}
}

// Short is a reply for a message.
func Short(reply any) string {
	text := fmt.Sprint(reply)
	return text[:min(len(text), 200)]
}

// Scan reads all names with SCAN, from a cursor on, and tells how many calls that took.
func (c *Client) Scan(cursor string, count int, see func(name string)) (calls int, err error) {
	for {
		cursor, err = c.ScanOnce(cursor, count, see)
		calls++
		if err != nil || cursor == "0" {
			return calls, err
		}
	}
}

// ScanOnce is one SCAN.
func (c *Client) ScanOnce(cursor string, count int, see func(name string)) (next string, err error) {
	reply, err := c.Do("SCAN", cursor, "COUNT", strconv.Itoa(count))
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

// CountKeys compares DBSIZE with what SCAN shows; nobody writes meanwhile.
func (c *Client) CountKeys(t testing.TB) int {
	t.Helper()
	names := map[string]bool{}
	if _, err := c.Scan("0", 1000, func(name string) {
		if names[name] {
			t.Errorf("SCAN shows %q twice in a quiet database", name)
		}
		names[name] = true
	}); err != nil {
		t.Fatal(err)
	}
	c.Want(t, len(names), "DBSIZE")
	return len(names)
}

// HungUp tells whether an error is the server's end of the connection.
func HungUp(err error) bool {
	var broken *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) && !broken.Timeout()
}
