package commands

import (
	"fmt"
	"testing"

	"sett/resp"
	"sett/storage"
)

// TestHurried: a call that has no time leaves no trace where it would wait or run long, and answers at once where it need not.
func TestHurried(t *testing.T) {
	h := newHouse(t, Options{})
	call := func(hurried bool, words ...string) (*Call, *resp.Writer) {
		w := &resp.Writer{}
		w.Status("before")
		c := &Call{W: w, Hurried: hurried}
		for _, word := range words {
			c.Args = append(c.Args, []byte(word))
		}
		c.Row = h.set.Table().Lookup(c.Args[0])
		return c, w
	}
	want := func(hurried bool, reply string, err error, words ...string) {
		t.Helper()
		c, w := call(hurried, words...)
		gotErr := h.set.Do(c)
		if got := string(w.Bytes()[len("+before\r\n"):]); got != reply || gotErr != err {
			t.Errorf("%.60q, hurried %v: %q, %v; want %q, %v", words, hurried, got, gotErr, reply, err)
		}
	}
	exec := func(hurried bool, reply string, err error, steps ...string) {
		t.Helper()
		c, w := call(hurried, "EXEC")
		var queued []Step
		for _, name := range steps {
			queued = append(queued, Step{Row: h.set.Table().Lookup([]byte(name)), Args: [][]byte{[]byte(name), []byte("k")}})
		}
		gotErr := h.set.Exec(c, queued, &Watch{}, nil)
		if got := string(w.Bytes()[len("+before\r\n"):]); got != reply || gotErr != err {
			t.Errorf("EXEC of %q, hurried %v: %q, %v; want %q, %v", steps, hurried, got, gotErr, reply, err)
		}
	}
	mset := []string{"MSET"}
	for i := range 3000 {
		mset = append(mset, fmt.Sprint("many", i), "v")
	}
	want(false, "+OK\r\n", nil, "SET", "k", "1")
	want(true, "$1\r\n1\r\n", nil, "GET", "k")
	want(true, "+OK\r\n", nil, "SET", "k", "2")
	want(false, "+OK\r\n", nil, "SET", "l", "1")
	want(true, ":1\r\n", nil, "COPY", "k", "l", "REPLACE")
	want(true, "", storage.ErrWouldWait, "KEYS", "*")
	want(true, "", storage.ErrWouldWait, mset...)
	want(false, "*1\r\n$-1\r\n", nil, "MGET", "many0") // whether its absence is known, the filter decides when it is made
	exec(true, "*2\r\n:3\r\n$1\r\n3\r\n", nil, "INCR", "GET")
	exec(true, "", storage.ErrWouldWait, "INCR", "KEYS")
	want(true, "$1\r\n3\r\n", nil, "GET", "k")

	if err := h.store.Flush(); err != nil {
		t.Fatal(err)
	}
	h.store.DropCache()
	stats, position := h.set.Stats().Evaluated.Load(), h.store.Status().Position
	want(true, "", storage.ErrWouldWait, "GET", "k")
	want(true, "", storage.ErrWouldWait, "SET", "k", "4")
	want(true, "", storage.ErrWouldWait, "MGET", "k", "l")
	exec(true, "", storage.ErrWouldWait, "INCR", "GET")
	if now := h.set.Stats().Evaluated.Load(); now != stats {
		t.Errorf("%d commands were counted that did not run", now-stats)
	}
	if now := h.store.Status().Position; now != position {
		t.Errorf("%d batches were written", now-position)
	}
	want(false, "$1\r\n3\r\n", nil, "GET", "k")
	want(true, "$1\r\n3\r\n", nil, "GET", "k") // somebody has brought it into memory
}
