package server

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sett/e2e/process"
)

// TestKilledDrafts kills the server while it copies and combines large collections: a destination is not there, or whole, and nothing is left behind.
func TestKilledDrafts(t *testing.T) {
	t.Parallel()
	members := process.Size(60_000, 600_000)
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "storage.barrier_interval=1s")
	n.Start()
	c := n.Dial()
	for from := 0; from < members; from += 1000 {
		items, scores, fields := []string{"SADD", "set"}, []string{"ZADD", "zset"}, []string{"HSET", "hash"}
		for i := from; i < from+1000; i++ {
			member := "member:" + strconv.Itoa(i)
			items, scores, fields = append(items, member), append(scores, strconv.Itoa(i), member), append(fields, member, "value")
		}
		for _, args := range [][]string{items, scores, fields} {
			c.Want(t, 1000, args...)
		}
	}
	for round, command := range [][]string{
		{"COPY", "hash", "made"}, {"ZUNIONSTORE", "made", "2", "zset", "set"}, {"SUNIONSTORE", "made", "set", "nokey"}, {"ZRANGESTORE", "made", "zset", "0", "-1"}, {"COPY", "zset", "made"},
	} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if c, err := n.TryDial(); err == nil {
				c.Do(command...)
				c.Close()
			}
		}()
		for infoNumber(t, c, "staged_bytes") == 0 {
			select {
			case <-ended:
				t.Fatalf("%s: it was not staged", command)
			default:
			}
		}
		time.Sleep(time.Duration(round*10) * time.Millisecond)
		n.Kill()
		<-ended
		n.Start()
		c = n.Dial()
		if is := c.Must(t, "EXISTS", "made"); is == int64(1) || is == 1 {
			c.Want(t, members, map[string]string{"hash": "HLEN", "set": "SCARD", "zset": "ZCARD"}[c.Must(t, "TYPE", "made").(string)], "made")
			c.Want(t, 1, "DEL", "made")
		}
		c.Want(t, 3, "DBSIZE")
		if staged := infoNumber(t, c, "staged_bytes"); staged != 0 {
			t.Errorf("%s: %d bytes are still staged", command, staged)
		}
		for range 3 {
			c.Want(t, "OK", "DEBUG", "SETT", "FLUSH")
			c.Want(t, "OK", "DEBUG", "SETT", "RECLAIM")
		}
		if waiting := infoNumber(t, c, "dead_waiting"); waiting != 0 {
			t.Errorf("%s: %d still wait to be removed", command, waiting)
		}
	}
	// Without a kill, and with clients that leave.
	gone := n.Dial()
	gone.Send("COPY", "zset", "made")
	if err := gone.Flush(); err != nil {
		t.Fatal(err)
	}
	gone.Close()
	c.Want(t, 1, "COPY", "zset", "other")
	c.Want(t, members, "ZCARD", "other")
	n.Stop()
	n.Check()
}
