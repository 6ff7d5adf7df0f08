package resp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// value is one reply as a client sees it.
type value struct {
	kind  byte // the reply's first byte
	null  bool
	text  string
	items []value
}

// read takes one reply apart. It is strict: what it does not know is an error.
func read(b []byte) (v value, rest []byte, err error) {
	line, rest, found := bytes.Cut(b, []byte("\r\n"))
	if !found || len(line) == 0 || bytes.ContainsAny(line, "\r\n") {
		return v, nil, fmt.Errorf("no line: %.40q", b)
	}
	v = value{kind: line[0], text: string(line[1:])}
	switch v.kind {
	case '+', '-', ':', ',', '(', '#':
		return v, rest, nil
	case '_':
		v.null = true
		return v, rest, nil
	}
	n, err := strconv.Atoi(v.text)
	if err != nil {
		return v, nil, err
	}
	if n == -1 && strings.IndexByte("$*", v.kind) >= 0 {
		return value{kind: v.kind, null: true}, rest, nil
	}
	switch v.kind {
	case '$', '=':
		if n < 0 || len(rest) < n+2 || string(rest[n:n+2]) != "\r\n" {
			return v, nil, fmt.Errorf("bad length: %.40q", b)
		}
		v.text = string(rest[:n])
		return v, rest[n+2:], nil
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return v, nil, fmt.Errorf("unknown reply: %.40q", b)
	}
	v.text = ""
	for range n {
		var item value
		if item, rest, err = read(rest); err != nil {
			return v, nil, err
		}
		v.items = append(v.items, item)
	}
	return v, rest, nil
}
