package commands

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sett/types"
)

// TestMemoryUsage compares with what the store holds of a key, in all forms of a string.
func TestMemoryUsage(t *testing.T) {
	page := strings.Repeat("p", 1<<10)
	for _, form := range []struct {
		name  string
		exact bool // with five samples, too
		make  func(c *client, key string)
	}{
		{"inline", true, func(c *client, key string) { c.must(ok, "set", key, "value") }},
		{"empty", true, func(c *client, key string) { c.must(ok, "set", key, "") }},
		{"expiring", true, func(c *client, key string) { c.must(ok, "set", key, "value", "ex", "100") }},
		{"blob", true, func(c *client, key string) { c.must(ok, "set", key, strings.Repeat("x", 200_000)) }},
		{"paged", false, func(c *client, key string) {
			c.do("setrange", key, "100000", strings.Repeat("y", 5000))
			c.do("setbit", key, "40000000", "1")
		}},
		{"whole pages", true, func(c *client, key string) {
			for i := range 8 {
				c.do("setrange", key, fmt.Sprint(i*1024), page)
			}
		}},
		{"pages over a blob", false, func(c *client, key string) {
			c.must(ok, "set", key, strings.Repeat("x", 100_000))
			for range 10 {
				c.do("setrange", key, fmt.Sprint(rand.IntN(110_000)), "a piece")
			}
			c.do("expire", key, "1000")
		}},
		{"packed list", true, func(c *client, key string) { c.must(num(3), "rpush", key, "a", "b", "c") }},
		{"list of few leaves", true, func(c *client, key string) {
			for range 8 {
				c.do("rpush", key, page[:1000])
			}
			c.must(num(9), "lpush", key, strings.Repeat("x", 20_000))
		}},
		{"list of many leaves", false, func(c *client, key string) {
			args := []string{"rpush", key}
			for i := range 10_000 {
				args = append(args, page[:50+i%100])
			}
			c.must(num(10_000), args...)
		}},
	} {
		for _, key := range []string{"k", strings.Repeat("n", types.MaxNameBytes+1)} {
			h := newHouse(t, Options{})
			c := h.client()
			form.make(c, key)
			if err := h.store.Flush(); err != nil {
				t.Fatal(err)
			}
			h.store.DropCache()
			want := h.storedBytes()
			got := c.do("memory", "usage", key, "samples", "0")
			if got != fmt.Sprintf(":%d\r\n", want) {
				t.Errorf("%s, name of %d bytes: %q, the store has %d", form.name, len(key), got, want)
			}
			if sampled := c.do("memory", "usage", key); form.exact && sampled != got {
				t.Errorf("%s, name of %d bytes: %q with samples", form.name, len(key), sampled)
			}
		}
	}
	c := newHouse(t, Options{}).client()
	c.must(null, "memory", "usage", "nothing")
	c.must("-ERR syntax error\r\n", "memory", "usage", "k", "samples")
	c.must("-ERR syntax error\r\n", "memory", "usage", "k", "samples", "-1")
	c.must("-ERR value is not an integer or out of range\r\n", "memory", "usage", "k", "samples", "x")
}

// storedBytes are the keys and values of all records but those of the store itself.
func (h *house) storedBytes() (bytes int) {
	v, err := h.store.View()
	if err != nil {
		h.t.Fatal(err)
	}
	defer v.Close()
	for _, prefix := range "mxsBb" {
		it := v.Iterate([]byte{byte(prefix)}, []byte{byte(prefix) + 1})
		for ok := it.Seek([]byte{byte(prefix)}); ok; ok = it.Next() {
			bytes += len(it.Key()) + len(it.Value())
		}
		if it.Close(); it.Err() != nil {
			h.t.Fatal(it.Err())
		}
	}
	return bytes
}
