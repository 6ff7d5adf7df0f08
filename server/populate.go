package server

import (
	"bytes"
	"fmt"

	"sett/commands"
	"sett/resp"
)

// A batch of DEBUG POPULATE has at most so many keys, and so many bytes of values unless it is one.
const (
	populateKeys  = 1000
	populateBytes = 256 << 10
)

// populate is DEBUG POPULATE count [prefix] [size]. It writes as clients do: SETNX, many in a transaction.
func (s *session) populate(b *buffers, args [][]byte) error {
	count, ok := positive(args[0])
	if !ok {
		return errNotPositive
	}
	prefix, size := []byte("key"), int64(0)
	if len(args) > 1 {
		prefix = args[1]
	}
	if len(args) > 2 {
		if size, ok = positive(args[2]); !ok {
			return errNotPositive
		}
	}
	if limit := s.server.limits.Load().MaxBulkBytes; size > int64(limit) {
		return commands.ErrStringTooLong
	}
	p := populator{session: s, setNX: s.server.opts.Table.Lookup([]byte("setnx")), call: commands.Call{DB: s.db}}
	var err error
	for i := int64(0); i < count && err == nil && !s.server.stopping.Load(); i++ {
		err = p.add(fmt.Appendf(nil, "%s:%d", prefix, i), value(i, int(size)))
	}
	if err == nil {
		err = p.write()
	}
	b.call.Seen, b.call.Wrote = p.call.Seen, p.wrote
	return err
}

func positive(arg []byte) (int64, bool) {
	n, ok := resp.ParseInt(arg)
	return n, ok && n >= 0
}

// value is "value:i", filled up with zeros or cut to size; size 0 leaves it as it is.
func value(i int64, size int) []byte {
	v := fmt.Appendf(nil, "value:%d", i)
	if size == 0 {
		return v
	}
	sized := make([]byte, size)
	copy(sized, v)
	return sized
}

// populator gathers keys into batches.
type populator struct {
	session *session
	setNX   *commands.Row
	call    commands.Call
	steps   []commands.Step
	bytes   int
	wrote   bool
}

func (p *populator) add(name, value []byte) error {
	p.steps = append(p.steps, commands.Step{Row: p.setNX, Args: [][]byte{[]byte(p.setNX.Name), name, value}})
	p.bytes += len(value)
	if len(p.steps) < populateKeys && p.bytes < populateBytes {
		return nil
	}
	return p.write()
}

// write runs the batch. Replies that are no numbers are errors, of which the first is returned.
func (p *populator) write() error {
	if len(p.steps) == 0 {
		return nil
	}
	var replies resp.Writer
	p.call.W = &replies
	if err := p.session.engine.Data.Exec(&p.call, p.steps, nil, nil); err != nil {
		return err
	}
	p.wrote = p.wrote || p.call.Wrote
	p.steps, p.bytes = p.steps[:0], 0
	if _, text, failed := bytes.Cut(replies.Bytes(), []byte("-")); failed {
		text, _, _ := bytes.Cut(text, []byte("\r\n"))
		return commands.Error(text)
	}
	return nil
}
