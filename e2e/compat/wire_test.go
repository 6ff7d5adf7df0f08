package compat

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// reply is one reply with nothing lost of it: text is its first line, body the bytes behind the line of a string, items what an aggregate holds.
type reply struct {
	kind  byte
	text  string
	body  string
	items []*reply
}

// closed stands for the end of the connection.
const closed = 'x'

func readReply(r *bufio.Reader) (*reply, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("malformed reply %q", line)
	}
	reply := &reply{kind: line[0], text: line[1 : len(line)-2]}
	n := 0
	switch reply.kind {
	case '+', '-', ':', ',', '(', '#', '_':
		return reply, nil
	case '$', '=', '!', '*', '~', '>':
		n, err = strconv.Atoi(reply.text)
	case '%', '|':
		n, err = strconv.Atoi(reply.text)
		n *= 2
	default:
		return nil, fmt.Errorf("unknown reply %q", line)
	}
	switch {
	case err != nil:
		return nil, err
	case n < 0:
	case strings.IndexByte("$=!", reply.kind) >= 0:
		body := make([]byte, n+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		if string(body[n:]) != "\r\n" {
			return nil, fmt.Errorf("the string does not end where %q says", line)
		}
		reply.body = string(body[:n])
	default:
		for range n {
			item, err := readReply(r)
			if err != nil {
				return nil, err
			}
			reply.items = append(reply.items, item)
		}
	}
	if reply.kind == '|' { // an attribute: what it belongs to follows
		item, err := readReply(r)
		if err != nil {
			return nil, err
		}
		reply.items = append(reply.items, item)
	}
	return reply, nil
}

func (r *reply) null() bool {
	return r.kind == '_' || r.text == "-1" && (r.kind == '$' || r.kind == '*')
}

// isText tells whether the reply is a string of bytes.
func (r *reply) isText() bool { return (r.kind == '$' || r.kind == '=') && !r.null() }

func (r *reply) equal(o *reply) bool {
	if r.kind != o.kind || r.text != o.text || r.body != o.body || len(r.items) != len(o.items) {
		return false
	}
	for i := range r.items {
		if !r.items[i].equal(o.items[i]) {
			return false
		}
	}
	return true
}

// String is the reply as recordings have it: a line for each that it consists of. A string's length is that of what is quoted.
func (r *reply) String() string {
	var out strings.Builder
	r.print(&out, "")
	return out.String()
}

func (r *reply) print(out *strings.Builder, indent string) {
	out.WriteString(indent)
	switch {
	case r.kind == closed:
		out.WriteString("closed")
	case r.kind == '!' || r.isText() && r.text != "(any)":
		if r.kind != '$' {
			out.WriteByte(r.kind)
		}
		out.WriteString(quoteShort(r.body))
	default:
		out.WriteByte(r.kind)
		if quoted := quote(r.text); quoted[1:len(quoted)-1] == r.text {
			out.WriteString(r.text)
		} else {
			out.WriteString(quoted)
		}
	}
	out.WriteByte('\n')
	for _, item := range r.items {
		item.print(out, indent+"  ")
	}
}

// shown is how much of a string is written down; the checksum stands for the rest.
const shown = 1024

func quoteShort(s string) string {
	if len(s) <= shown {
		return quote(s)
	}
	return fmt.Sprintf("%s… %d bytes, sha256 %x", quote(s[:64]), len(s), sha256.Sum256([]byte(s)))
}

// quote writes bytes as redis-cli shows and reads them.
func quote(s string) string {
	out := []byte{'"'}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < ' ' || c >= 0x7f:
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return string(append(out, '"'))
}

// link is one connection to a server.
type link struct {
	conn  net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	ended bool
}

// patience is how long a reply may take before the test gives up.
const patience = 15 * time.Second

func newLink(conn net.Conn) *link {
	return &link{conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 64<<10)}
}

// send adds a command to what flush will send.
func (l *link) send(args []string) {
	fmt.Fprintf(l.w, "*%d\r\n", len(args))
	for _, arg := range args {
		l.w.WriteByte('$')
		l.w.WriteString(strconv.Itoa(len(arg)))
		l.w.WriteString("\r\n")
		l.w.WriteString(arg)
		l.w.WriteString("\r\n")
	}
}

func (l *link) flush() {
	l.conn.SetDeadline(time.Now().Add(patience))
	l.w.Flush() // a connection that has ended shows when its reply is read
}

// receive reads one reply. The end of the connection is one as well, again and again; an error is a server that does not speak the protocol, or
// not at all.
func (l *link) receive() (*reply, error) {
	if l.ended {
		return &reply{kind: closed}, nil
	}
	got, err := readReply(l.r)
	var timeout net.Error
	switch {
	case err == nil:
		return got, nil
	case asTimeout(err, &timeout):
		return nil, fmt.Errorf("no reply within %v", patience)
	case endsConnection(err):
		l.ended = true
		return &reply{kind: closed}, nil
	}
	return nil, err
}

// do sends one command and returns its reply.
func (l *link) do(args ...string) (*reply, error) {
	l.send(args)
	l.flush()
	return l.receive()
}
