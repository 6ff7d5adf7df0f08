package server

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sett/commands"
)

// SETT DIGEST is the same on two servers that have the same data, whatever kinds of them, and another one as soon as anything differs. What is dead
// is in neither.
func TestSettDigest(t *testing.T) {
	a, b := startServer(t, setup{data: commands.Options{MaxName: 1 << 20}}), startServer(t, setup{})
	c := dial(t, a.addr)
	for i := range 600 {
		id := fmt.Sprint(i)
		for _, args := range [][]string{
			{"SET", "k" + id, strings.Repeat(id, 10)}, {"HSET", "hash", "field" + id, strings.Repeat(id, 20)}, {"ZADD", "zset", id, "member" + id},
			{"RPUSH", "list", strings.Repeat(id, 30)}, {"SADD", "set", id},
		} {
			c.do(args...)
		}
	}
	c.do("SET", "blob", strings.Repeat("blob", 50_000))
	c.do("SETBIT", "pages", "1000000", "1")
	c.do("SET", strings.Repeat("a long name ", 4000), "v")
	c.do("SET", "mortal", "v", "EX", "1000")
	c.do("SELECT", "1")
	c.do("SET", "gone", strings.Repeat("gone", 50_000))
	before := c.do("SETT", "DIGEST")
	c.do("FLUSHDB")
	c.do("SELECT", "0")
	c.do("DEL", "set")

	ask := func(c *client, args ...string) (index, digest, keys string) {
		t.Helper()
		reply := c.do(append([]string{"SETT", "DIGEST"}, args...)...)
		m := regexp.MustCompile(`(?s)index\D*?:(\d+).*?([0-9a-f]{64}).*?:(\d+)`).FindStringSubmatch(reply)
		if m == nil {
			t.Fatalf("%q: %q", args, reply)
		}
		return m[1], m[2], m[3]
	}
	index, digest, keys := ask(c)
	if keys != "607" {
		t.Errorf("%s keys", keys)
	}
	if strings.Contains(before, digest) {
		t.Error("FLUSHDB changed nothing")
	}
	if again, same, _ := ask(c, index); again != index || same != digest {
		t.Errorf("at entry %s: %s, and then %s", index, digest, same)
	}

	p := a.store.Picture()
	var copied bytes.Buffer
	if err := p.Export(context.Background(), &copied); err != nil {
		t.Fatal(err)
	}
	p.Close()
	i, err := b.store.NewImport()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Discard()
	if err := i.Load(&copied); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Replace(i); err != nil {
		t.Fatal(err)
	}
	other := dial(t, b.addr)
	if at, there, n := ask(other); at != index || there != digest || n != keys {
		t.Errorf("entry %s has digest %s, %s keys; the copy says entry %s, %s, %s keys", index, digest, keys, at, there, n)
	}
	if got := other.do("SETT", "DIGEST", "NEXT"); !strings.HasPrefix(got, "-") {
		t.Errorf("a node that does not evaluate makes a flush point: %s", got)
	}
	for _, args := range [][]string{{"HSET", "hash", "field7", "other"}, {"SETRANGE", "pages", "5000", "x"}, {"SETRANGE", "blob", "199999", "x"}, {"PERSIST", "mortal"}} {
		c.do(args...)
		next := strings.TrimSpace(c.do("SETT", "DIGEST", "NEXT"))
		if _, changed, _ := ask(c, strings.TrimPrefix(next, ":")); changed == digest {
			t.Errorf("%q does not change the digest", args)
		} else {
			digest = changed
		}
	}
	for _, args := range [][]string{{"0"}, {"x"}, {"1", "2"}} {
		if got := c.do(append([]string{"SETT", "DIGEST"}, args...)...); !strings.HasPrefix(got, "-ERR") {
			t.Errorf("SETT DIGEST %q: %s", args, got)
		}
	}
}
