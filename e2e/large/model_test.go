package large

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"sett/e2e/process"
)

// values are what keys hold; absent keys are not in it.
type values map[string][]byte

// fork copies some keys.
func (v values) fork(keys []string) values {
	copied := values{}
	for _, key := range keys {
		if value, ok := v[key]; ok {
			copied[key] = slices.Clone(value)
		}
	}
	return copied
}

// operation is one command, or a transaction of several.
type operation struct {
	args  [][]string // commands as they are sent; more than one: MULTI … EXEC around them
	keys  []string   // it reads or writes
	apply func(values) any
	text  string // for people
}

// replies is how many replies it gets.
func (o *operation) replies() int {
	if len(o.args) == 1 {
		return 1
	}
	return len(o.args) + 2
}

func (o *operation) send(c *process.Client) {
	if len(o.args) == 1 {
		c.Send(o.args[0]...)
		return
	}
	c.Send("MULTI")
	for _, args := range o.args {
		c.Send(args...)
	}
	c.Send("EXEC")
}

// receive reads the replies and returns the one that counts.
func (o *operation) receive(c *process.Client) (reply any, err error) {
	for range o.replies() {
		if reply, err = c.Receive(); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

func single(apply func(values) any, text string, keys []string, args ...string) operation {
	return operation{args: [][]string{args}, keys: keys, apply: apply, text: text}
}

// together makes a transaction.
func together(ops []operation) operation {
	o := operation{text: "MULTI"}
	for _, part := range ops {
		o.args = append(o.args, part.args...)
		o.keys = append(o.keys, part.keys...)
		o.text += "; " + part.text
	}
	o.apply = func(v values) any {
		list := []any{}
		for _, part := range ops {
			list = append(list, part.apply(v))
		}
		return list
	}
	return o
}

func reply(v values, key string) any {
	if value, ok := v[key]; ok {
		return string(value)
	}
	return nil
}

func set(key, value string, get bool) operation {
	args := []string{"SET", key, value}
	if get {
		args = append(args, "GET")
	}
	return single(func(v values) any {
		old := reply(v, key)
		v[key] = []byte(value)
		if get {
			return old
		}
		return "OK"
	}, fmt.Sprintf("SET %s %d bytes, GET: %v", key, len(value), get), []string{key}, args...)
}

// splice overwrites from an offset on; -1: at the end.
func splice(key string, offset int, piece string) operation {
	args := []string{"SETRANGE", key, strconv.Itoa(offset), piece}
	if offset < 0 {
		args = []string{"APPEND", key, piece}
	}
	return single(func(v values) any {
		old, exists := v[key]
		at := offset
		if at < 0 {
			at = len(old)
		}
		if piece == "" && (offset >= 0 || exists) {
			return int64(len(old))
		}
		for len(old) < at+len(piece) {
			old = append(old, make([]byte, at+len(piece)-len(old))...)
		}
		copy(old[at:], piece)
		v[key] = old
		return int64(len(old))
	}, fmt.Sprintf("splice %s at %d, %d bytes", key, offset, len(piece)), []string{key}, args...)
}

func setBit(key string, bit int, on bool) operation {
	digit := "0"
	if on {
		digit = "1"
	}
	at, mask := bit>>3, byte(0x80)>>(bit&7)
	return single(func(v values) any {
		value := v[key]
		if len(value) <= at {
			value = append(value, make([]byte, at+1-len(value))...)
		}
		old := bitOf(value, bit)
		value[at] &^= mask
		if on {
			value[at] |= mask
		}
		v[key] = value
		return old
	}, fmt.Sprintf("SETBIT %s %d %s", key, bit, digit), []string{key}, "SETBIT", key, strconv.Itoa(bit), digit)
}

func bitOf(value []byte, bit int) int64 {
	if bit>>3 >= len(value) {
		return 0
	}
	return int64(value[bit>>3] >> (7 - bit&7) & 1)
}

func getBit(key string, bit int) operation {
	return single(func(v values) any { return bitOf(v[key], bit) }, fmt.Sprintf("GETBIT %s %d", key, bit), []string{key},
		"GETBIT", key, strconv.Itoa(bit))
}

func getRange(key string, from, to int) operation {
	return single(func(v values) any {
		value := v[key]
		if from >= len(value) || from > to {
			return ""
		}
		return string(value[from:min(to+1, len(value))])
	}, fmt.Sprintf("GETRANGE %s %d %d", key, from, to), []string{key}, "GETRANGE", key, strconv.Itoa(from), strconv.Itoa(to))
}

func get(key string) operation {
	return single(func(v values) any { return reply(v, key) }, "GET "+key, []string{key}, "GET", key)
}

func mGet(keys ...string) operation {
	return single(func(v values) any {
		list := []any{}
		for _, key := range keys {
			list = append(list, reply(v, key))
		}
		return list
	}, fmt.Sprint("MGET ", keys), keys, append([]string{"MGET"}, keys...)...)
}

func strlen(key string) operation {
	return single(func(v values) any { return int64(len(v[key])) }, "STRLEN "+key, []string{key}, "STRLEN", key)
}

func del(key string, get bool) operation {
	name := "DEL"
	if get {
		name = "GETDEL"
	}
	return single(func(v values) any {
		old := reply(v, key)
		delete(v, key)
		switch {
		case get:
			return old
		case old == nil:
			return int64(0)
		}
		return int64(1)
	}, name+" "+key, []string{key}, name, key)
}

func copyKey(from, to string) operation {
	return single(func(v values) any {
		value, ok := v[from]
		if !ok {
			return int64(0)
		}
		v[to] = slices.Clone(value)
		return int64(1)
	}, "COPY "+from+" "+to, []string{from, to}, "COPY", from, to, "REPLACE")
}

func rename(from, to string) operation {
	return single(func(v values) any {
		value, ok := v[from]
		if !ok {
			return process.ReplyError("ERR no such key")
		}
		delete(v, from)
		v[to] = value
		return "OK"
	}, "RENAME "+from+" "+to, []string{from, to}, "RENAME", from, to)
}

// differ says where two replies differ; "": nowhere.
func differ(got, want any) string {
	switch want := want.(type) {
	case string:
		got, ok := got.(string)
		if !ok || got == want {
			break
		}
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		return fmt.Sprintf("got %d bytes, want %d; they differ from byte %d on: %.20q, want %.20q", len(got), len(want), at, got[at:], want[at:])
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			break
		}
		for i := range want {
			if d := differ(got[i], want[i]); d != "" {
				return fmt.Sprintf("element %d: %s", i, d)
			}
		}
		return ""
	}
	if got == want {
		return ""
	}
	return fmt.Sprintf("got %s, want %s", process.Short(got), process.Short(want))
}

// sameValues compares what some keys hold.
func sameValues(a, b values) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}
