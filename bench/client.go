package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
)

// client is a connection that sends commands in pipelines and allocates nothing for them: what a load generator takes of the machine, the
// server does not get.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	out  []byte
	sent int // commands in out

	words [][]byte // scratch of addLine
}

func dial(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (c *client) close() { c.conn.Close() }

// add puts a command into the pipeline.
func (c *client) add(words ...[]byte) {
	c.out = append(c.out, '*')
	c.out = strconv.AppendInt(c.out, int64(len(words)), 10)
	for _, w := range words {
		c.out = append(c.out, "\r\n$"...)
		c.out = strconv.AppendInt(c.out, int64(len(w)), 10)
		c.out = append(append(c.out, "\r\n"...), w...)
	}
	c.out = append(c.out, "\r\n"...)
	c.sent++
}

// addLine puts a command into the pipeline whose words are separated by spaces.
func (c *client) addLine(line string) {
	words := c.words[:0]
	for len(line) > 0 {
		word, rest, _ := strings.Cut(line, " ")
		words, line = append(words, []byte(word)), rest
	}
	c.words = words
	c.add(words...)
}

// run sends the pipeline and reads its replies.
func (c *client) run() error {
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	for ; c.sent > 0; c.sent-- {
		if _, err := c.reply(); err != nil {
			return err
		}
	}
	c.out = c.out[:0]
	return nil
}

// reply reads one reply and returns its first line, which is valid until the next call; what follows that of a bulk string is skipped. Of an array
// nothing is returned.
func (c *client) reply() (line []byte, err error) {
	if line, err = c.r.ReadSlice('\n'); err != nil {
		return nil, err
	}
	switch line[0] {
	case '-':
		return nil, errors.New(strings.TrimSpace(string(line)))
	case '$':
		if n := number(line[1:]); n >= 0 {
			_, err = c.r.Discard(n + 2)
		}
	case '*':
		for range max(0, number(line[1:])) {
			if _, err := c.reply(); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	return line, err
}

// text runs one command and returns its reply, a string.
func (c *client) text(words ...string) (string, error) {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	c.add(args...)
	if _, err := c.conn.Write(c.out); err != nil {
		return "", err
	}
	c.out, c.sent = c.out[:0], 0
	head, err := c.r.ReadString('\n')
	switch {
	case err != nil:
		return "", err
	case head[0] != '$':
		return "", errors.New(strings.TrimSpace(head))
	}
	b := make([]byte, max(0, number([]byte(head[1:])))+2)
	_, err = io.ReadFull(c.r, b)
	return string(b), err
}

// number reads the digits of a line; it is -1 for what is none.
func number(line []byte) (n int) {
	if line[0] == '-' {
		return -1
	}
	for _, b := range line {
		if b < '0' || b > '9' {
			break
		}
		n = n*10 + int(b-'0')
	}
	return n
}

// info asks a server for a section of INFO.
func info(addr, section string) (map[string]string, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	text, err := c.text("INFO", section)
	if err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}
