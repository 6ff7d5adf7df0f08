package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestSetAgreed: what nodes agree on is handed over in its final form, the rest is set here; both, or neither.
func TestSetAgreed(t *testing.T) {
	var told []string
	var outcome error
	for _, test := range []struct {
		pairs   []string
		outcome error  // of agreeing
		told    string // what there was to agree on
		want    string
		clients int // maxclients, afterwards
	}{
		{[]string{"maxclients", "7"}, nil, "", "OK", 7},
		{[]string{"maxmemory", "1kb"}, nil, "maxmemory 1024", "OK", 10_000},
		{[]string{"maxclients", "7", "MAXMEMORY", "1kb", "hash-max-ziplist-value", "5"}, nil, "maxmemory 1024 hash-max-listpack-value 5", "OK", 7},
		{[]string{"maxmemory", "0"}, nil, "maxmemory 0", "OK", 10_000}, // as it is here: elsewhere it may not be
		{[]string{"notify-keyspace-events", "gKE"}, nil, "notify-keyspace-events gKE", "OK", 10_000},
		{[]string{"maxclients", "7", "maxmemory", "1kb"}, errors.New("nobody leads"), "maxmemory 1024", "nobody leads", 10_000},
		{[]string{"maxclients", "x", "maxmemory", "1kb"}, nil, "", "ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument couldn't be parsed into an integer", 10_000},
		{[]string{"maxclients", "7", "maxmemory", "x"}, nil, "", "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value", 10_000},
		{[]string{"maxclients", "13", "maxmemory", "1kb"}, nil, "", "ERR CONFIG SET failed (possibly related to argument 'maxclients') - unlucky", 10_000},
		{[]string{"maxmemory"}, nil, "", "ERR syntax error", 10_000},
	} {
		c := mustLoad(t)
		hookAll(c)
		clients := 10_000
		c.OnChange("maxclients", func(v Value) error {
			if v.Int() == 13 {
				return errors.New("unlucky")
			}
			clients = v.Int()
			return nil
		})
		told, outcome = nil, test.outcome
		got := replyOf(c.SetAgreed(test.pairs, func(pairs []string) error { told = append(told, pairs...); return outcome }))
		if got != test.want || strings.Join(told, " ") != test.told {
			t.Errorf("CONFIG SET %q\n got %s, %q\nwant %s, %q", test.pairs, got, told, test.want, test.told)
		}
		if c.Int("maxclients") != test.clients || clients != test.clients {
			t.Errorf("CONFIG SET %q: maxclients is %d, and was told to be %d", test.pairs, c.Int("maxclients"), clients)
		}
		if c.Bytes("maxmemory") != 0 {
			t.Errorf("CONFIG SET %q set here what has yet to be agreed on", test.pairs)
		}
	}
}

func TestAdopt(t *testing.T) {
	c, err := Load(writeFile(t, "maxmemory = 500\nmaxclients = 70\n"), []string{"hash_max_listpack_entries=9"})
	if err != nil {
		t.Fatal(err)
	}
	hookAll(c)
	var heard []string
	for _, name := range []string{"maxmemory", "hash_max_listpack_entries"} {
		c.OnAgreed(name, func(v Value) { heard = append(heard, name+" "+v.String()) })
	}
	adopt := func(want string, agreed ...string) {
		t.Helper()
		heard = nil
		if err := c.Adopt(agreed); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(heard, ", "); got != want {
			t.Errorf("%q: heard %q, want %q", agreed, got, want)
		}
	}
	adopt("")
	adopt("maxmemory 1000", "maxmemory", "1000")
	adopt("", "maxmemory", "1000", "notify-keyspace-events", "KEA")
	if got := c.Get("maxmemory", "notify-keyspace-events"); !slices.Equal(got, []string{"maxmemory", "1000", "notify-keyspace-events", "AKE"}) {
		t.Errorf("%q", got)
	}
	adopt("maxmemory 500, hash_max_listpack_entries 20", "hash-max-listpack-entries", "20") // what was undone is as in the file again
	lines := c.Overruled()
	if len(lines) != 1 || lines[0] != "--set hash_max_listpack_entries: 9, agreed: 20" {
		t.Errorf("%q", lines)
	}
	adopt("hash_max_listpack_entries 9")
	if lines := c.Overruled(); lines != nil {
		t.Errorf("%q", lines)
	}
	if got := c.Get("notify-keyspace-events"); got[1] != "" {
		t.Errorf("%q", got)
	}

	for _, wrong := range [][]string{{"maxmemory", "1", "nosuch", "2"}, {"maxmemory", "1", "maxclients", "2"}, {"maxmemory", "1", "maxmemory-policy", "luck"}} {
		if err := c.Adopt(wrong); err == nil || c.Bytes("maxmemory") != 500 {
			t.Errorf("%q: %v, maxmemory %d", wrong, err, c.Bytes("maxmemory"))
		}
	}
}

// TestRewriteAgreed: what the nodes have agreed on is what this one runs with, and stands in its file after CONFIG REWRITE.
func TestRewriteAgreed(t *testing.T) {
	c, err := Load(writeFile(t, "maxmemory = 500 # bytes\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Adopt([]string{"maxmemory", "1000"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Rewrite(); err != nil {
		t.Fatal(err)
	}
	again, err := Load(c.SourceFile(), nil)
	if err != nil || again.Bytes("maxmemory") != 1000 {
		t.Errorf("%v, %d", err, again.Bytes("maxmemory"))
	}
}
