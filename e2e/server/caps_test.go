package server

import (
	"path/filepath"
	"strconv"
	"testing"

	"sett/e2e/process"
)

// TestCaps: a list and a sorted set keep to their caps, whatever happens to them and to the server.
func TestCaps(t *testing.T) {
	t.Parallel()
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "appendfsync=always")
	n.Start()
	c := n.Dial()
	const limit = 500
	c.Want(t, "OK", "SETT", "CAP", "MATCH", "history:*", strconv.Itoa(limit))
	next, score := 0, 0
	push := func(list, board string) {
		t.Helper()
		for range 3 {
			items, members := []string{"LPUSH", list}, []string{"ZADD", board}
			for range limit {
				next++
				score++
				items = append(items, strconv.Itoa(next))
				members = append(members, strconv.Itoa(score), "m"+strconv.Itoa(score))
			}
			c.Want(t, limit, items...)
			c.Want(t, limit, members...)
		}
		c.Want(t, strconv.Itoa(next-limit+1), "LINDEX", list, "-1")
		c.Want(t, limit, "ZCARD", board)
		c.Want(t, 0, "ZRANK", board, "m"+strconv.Itoa(score-limit+1))
	}
	push("history:a", "history:z")
	n.Kill()
	n.Start()
	c = n.Dial()
	push("history:a", "history:z")
	c.Want(t, "OK", "DEBUG", "RELOAD")
	push("history:a", "history:z")
	c.Want(t, "OK", "RENAME", "history:a", "list")
	c.Want(t, 1, "COPY", "history:z", "board")
	c.Want(t, 1, "MOVE", "list", "3")
	c.Want(t, "OK", "SELECT", "3")
	c.Want(t, 1, "COPY", "list", "list", "DB", "0")
	c.Want(t, "OK", "SELECT", "0")
	push("list", "board")
	c.Want(t, 1, "DEL", "board")
	c.Want(t, limit+1, append([]string{"ZADD", "board"}, scores(limit+1)...)...) // the cap was the old key's
	c.Want(t, limit+1, "ZCARD", "board")
	n.Stop()
	n.Check()
}

// scores are so many scores and members.
func scores(n int) (args []string) {
	for i := range n {
		args = append(args, strconv.Itoa(i), "m"+strconv.Itoa(i))
	}
	return args
}
