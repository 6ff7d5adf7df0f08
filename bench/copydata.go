package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// copyData copies all that lives in database 0 of one server into another, with what clients have: there is no DUMP yet.
func copyData(ctx context.Context, from, to string) (keys uint64, err error) {
	c := &copying{}
	if c.from, err = dial(from); err != nil {
		return 0, err
	}
	defer c.from.close()
	if c.to, err = dial(to); err != nil {
		return 0, err
	}
	defer c.to.close()
	cursor := []byte("0")
	for ctx.Err() == nil {
		page, err := c.from.ask("SCAN", cursor, "COUNT", "500")
		if err != nil {
			return c.keys, err
		}
		if err := c.page(page[1].list); err != nil {
			return c.keys, err
		}
		if cursor = page[0].text; string(cursor) == "0" {
			return c.keys, nil
		}
	}
	return c.keys, ctx.Err()
}

type copying struct {
	from, to *client
	keys     uint64
}

// page copies some keys; what most of them are is asked for in one go.
func (c *copying) page(names []answer) error {
	for _, name := range names {
		c.from.add([]byte("TYPE"), name.text)
		c.from.add([]byte("PEXPIRETIME"), name.text)
	}
	about, err := c.from.runFor()
	if err != nil {
		return err
	}
	var strings [][]byte
	for i, name := range names {
		switch kind, ends := string(about[2*i].text), string(about[2*i+1].text); {
		case kind == "none":
		case kind == "string" && ends == "-1":
			strings = append(strings, name.text)
		default:
			if err := c.key(name.text, kind, ends); err != nil {
				return fmt.Errorf("%s: %w", name.text, err)
			}
		}
	}
	return c.strings(strings)
}

// stringsAtOnce bounds what lies in memory: values may have a MiB.
const stringsAtOnce = 50

func (c *copying) strings(names [][]byte) error {
	for len(names) > 0 {
		some := names[:min(stringsAtOnce, len(names))]
		names = names[len(some):]
		for _, name := range some {
			c.from.add([]byte("GET"), name)
		}
		values, err := c.from.runFor()
		if err != nil {
			return err
		}
		for i, name := range some {
			if values[i].text == nil {
				continue // it has died meanwhile
			}
			c.keys++
			c.to.add([]byte("SET"), name, values[i].text)
		}
		if err := c.to.run(); err != nil {
			return err
		}
	}
	return nil
}

// key copies any other key.
func (c *copying) key(name []byte, kind, ends string) error {
	var err error
	switch kind {
	case "string":
		err = c.strings([][]byte{name})
		c.keys--
	case "list":
		err = c.list(name)
	case "hash":
		err = c.scanned("HSCAN", name, "HSET", 0)
	case "set":
		err = c.scanned("SSCAN", name, "SADD", 0)
	case "zset":
		err = c.scanned("ZSCAN", name, "ZADD", 1)
	default:
		err = fmt.Errorf("it is a %s", kind)
	}
	c.keys++
	if err == nil && ends != "-1" {
		c.to.add([]byte("PEXPIREAT"), name, []byte(ends))
		err = c.to.run()
	}
	return err
}

// scanned copies what a scan shows; turned: pairs of it have to be the other way round.
func (c *copying) scanned(scan string, name []byte, add string, turned int) error {
	for cursor := []byte("0"); ; {
		page, err := c.from.ask(scan, name, cursor, "COUNT", "1000")
		if err != nil {
			return err
		}
		words := [][]byte{[]byte(add), name}
		for i := range page[1].list {
			words = append(words, page[1].list[i^turned].text)
		}
		if len(words) > 2 {
			c.to.add(words...)
			if err := c.to.run(); err != nil {
				return err
			}
		}
		if cursor = page[0].text; string(cursor) == "0" {
			return nil
		}
	}
}

func (c *copying) list(name []byte) error {
	const atOnce = 1000
	for first := 0; ; first += atOnce {
		elements, err := c.from.ask("LRANGE", name, strconv.Itoa(first), strconv.Itoa(first+atOnce-1))
		if err != nil || len(elements) == 0 {
			return err
		}
		words := [][]byte{[]byte("RPUSH"), name}
		for _, e := range elements {
			words = append(words, e.text)
		}
		c.to.add(words...)
		if err := c.to.run(); err != nil {
			return err
		}
	}
}

// answer is a reply that is kept: a text, or a list.
type answer struct {
	text []byte // of a status, number or bulk string; nil: null
	list []answer
}

// runFor is run for those who want the replies.
func (c *client) runFor() ([]answer, error) {
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	all := make([]answer, c.sent)
	for i := range all {
		var err error
		if all[i], err = c.answer(); err != nil {
			return nil, err
		}
	}
	c.out, c.sent = c.out[:0], 0
	return all, nil
}

// ask sends one command, whose words are strings or bytes, and returns the list that it is answered with.
func (c *client) ask(words ...any) ([]answer, error) {
	command := make([][]byte, len(words))
	for i, w := range words {
		if text, ok := w.(string); ok {
			command[i] = []byte(text)
		} else {
			command[i] = w.([]byte)
		}
	}
	c.add(command...)
	all, err := c.runFor()
	if err != nil {
		return nil, err
	}
	return all[0].list, nil
}

// answer reads one reply.
func (c *client) answer() (a answer, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	kind, rest := line[0], bytes.TrimRight(line[1:], "\r\n")
	switch n := 0; kind {
	case '-':
		return a, errors.New(string(rest))
	case '$':
		if n = number(rest); n >= 0 {
			a.text = make([]byte, n+2)
			_, err = io.ReadFull(c.r, a.text)
			a.text = a.text[:n]
		}
	case '*':
		a.list = make([]answer, max(0, number(rest)))
		for i := range a.list {
			if a.list[i], err = c.answer(); err != nil {
				return a, err
			}
		}
	default:
		a.text = bytes.Clone(rest)
	}
	return a, err
}
