package server

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/e2e/process"
)

// TestLongNames: a name that is too long gets an error that says so, wherever it stands; one that just fits works.
func TestLongNames(t *testing.T) {
	t.Parallel()
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "storage.max_name_bytes=65536")
	n.Start()
	c := n.Dial()
	const limit = 65536 // names above 32,704 bytes are not in their keys
	long := strings.Repeat("n", 100_000)
	for _, args := range [][]string{
		{"SET", long, "v"}, {"GET", long}, {"DEL", long}, {"EXISTS", "a", long}, {"MGET", "a", long}, {"MSET", "a", "1", long, "2"},
		{"MSETNX", "a", "1", long, "2"}, {"INCR", long}, {"APPEND", long, "v"}, {"EXPIRE", long, "10"}, {"TTL", long}, {"TYPE", long},
		{"RENAME", "b", long}, {"COPY", "b", long}, {"SETRANGE", long, "5", "v"}, {"SETBIT", long, "5", "1"}, {"WATCH", long},
		{"SET", strings.Repeat("n", limit+1), "v"},
	} {
		c.Want(t, "OK", "SET", "b", "v")
		c.Refused(t, "max_name_bytes (65536)", args...)
		c.Want(t, 1, "DBSIZE") // the connection is usable, and nothing has happened
	}
	c.Want(t, "OK", "MULTI")
	c.Want(t, "QUEUED", "SET", "a", "1")
	c.Want(t, "QUEUED", "SET", long, "2")
	replies := c.Must(t, "EXEC").([]any)
	if replies[0] != "OK" || !strings.Contains(fmt.Sprint(replies[1]), "max_name_bytes") {
		t.Errorf("EXEC: %s", process.Short(replies))
	}
	fits := strings.Repeat("n", limit)
	c.Want(t, "OK", "SET", fits, "v")
	c.Want(t, 1, "EXPIRE", fits, "1000")
	n.Restart()
	c = n.Dial()
	c.Want(t, "v", "GET", fits)
	c.Want(t, "OK", "DEBUG", "RELOAD")
	c.Want(t, "v", "GET", fits)
	if keys := c.CountKeys(t); keys != 3 {
		t.Errorf("%d keys", keys)
	}
	c.Want(t, 1, "DEL", fits)
	c.Want(t, nil, "GET", fits)
}

// TestLargeValues: a value of exactly proto_max_bulk_len works, one byte more does not, however it is made.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "proto_max_bulk_len=1MiB")
	n.Start()
	c := n.Dial()
	largest := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(largest)
	value := string(largest)
	c.Want(t, "OK", "SET", "key", value)
	c.Want(t, "OK", "MSET", "b", value, "c", value, "d", value)
	c.Refused(t, "string exceeds maximum allowed size", "APPEND", "key", "1")
	c.Refused(t, "string exceeds maximum allowed size", "SETRANGE", "key", "1048576", "1")
	c.Refused(t, "bit offset is not an integer or out of range", "SETBIT", "key", "8388608", "1")
	c.Want(t, 1<<20, "SETRANGE", "key", "1048575", value[1<<20-1:])
	c.Want(t, 1<<20-1, "APPEND", "e", value[1:])
	c.Want(t, 1<<20, "APPEND", "e", value[:1])
	// Redis' answer to a bulk that is too long is to end the connection.
	second := n.Dial()
	if reply, err := second.Do("SET", "key", value+"1"); err != nil && !process.HungUp(err) || err == nil && !strings.Contains(fmt.Sprint(reply), "Protocol error: invalid bulk length") {
		t.Errorf("one byte more: %s, %v", process.Short(reply), err)
	}
	read := func() {
		t.Helper()
		c := n.Dial()
		for _, key := range []string{"key", "b", "c", "d"} {
			c.Want(t, value, "GET", key)
		}
		c.Want(t, value[1:]+value[:1], "GET", "e")
		c.Want(t, value[1000:2001], "GETRANGE", "d", "1000", "2000")
		c.Want(t, 5, "DBSIZE")
	}
	read()
	n.Restart()
	read()
	n.Dial().Want(t, "OK", "DEBUG", "RELOAD")
	read()
	n.Stop()
	n.Check()
}

// crowdOfKeys is one batch that sets very many keys.
type crowdOfKeys struct {
	name  string
	keys  int
	sets  []string // of the server
	multi bool     // MULTI with a SET each instead of MSET
	error string   // the reply has it; "": it works
}

// TestTooManyArguments: the protocol has a limit, and the server says so.
func TestTooManyArguments(t *testing.T) {
	t.Parallel()
	n := process.New(t, filepath.Join(t.TempDir(), "data"))
	n.Start()
	c := n.Dial()
	fmt.Fprintf(c.W, "*%d\r\n$4\r\nMSET\r\n", 2_000_001)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.Receive(); err != nil || reply != process.ReplyError("ERR Protocol error: invalid multibulk length") {
		t.Errorf("got %v, %v", reply, err)
	}
	n.Dial().Want(t, 0, "DBSIZE")
}

// TestLargeBatches: a batch of very many keys takes effect whole, or not at all, whenever the server is killed.
func TestLargeBatches(t *testing.T) {
	// A command has at most 1,048,576 arguments, its name included.
	half, whole := process.Size(100_000, 500_000), process.Size(100_000, 1_000_000)
	roomy, tight := []string{"memory_budget=1GiB", "client_query_buffer_limit=256MiB"}, []string{"memory_budget=128MiB", "client_query_buffer_limit=256MiB"}
	if !process.Full { // what is too much must be less as well
		roomy, tight = append(roomy, "storage.batch_max_bytes=32MiB"), append(tight, "storage.batch_max_bytes=2MiB")
	}
	for _, k := range []crowdOfKeys{
		{name: "MSET", keys: half, sets: roomy},
		{name: "MULTI", keys: whole, sets: roomy, multi: true},
		{name: "MSET with little memory", keys: half, sets: tight, error: "batch_max_bytes"},
		{name: "MULTI with little memory", keys: whole, sets: tight, multi: true, error: "batch_max_bytes"},
		{name: "MULTI longer than the query buffer", keys: whole, sets: append(tight, "client_query_buffer_limit=1MiB"), multi: true, error: "client-query-buffer-limit"},
	} {
		t.Run(k.name, k.test)
	}
}

func (k crowdOfKeys) test(t *testing.T) {
	t.Parallel()
	keys := k.keys
	n := process.New(t, filepath.Join(t.TempDir(), "data"), k.sets...)
	n.Start()
	c := n.Dial()
	c.Want(t, "OK", "SET", "other", "v")
	before := n.Status("RssAnon")
	memory := n.WatchMemory()
	begin := time.Now()
	reply, err := k.write(c, keys, 1)
	took := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d keys: %.80s after %v; RssAnon %d MiB before, %d MiB at most", keys, process.Short(reply), took.Round(time.Millisecond), before, memory())
	if k.error != "" {
		if e, ok := reply.(process.ReplyError); !ok || !strings.Contains(string(e), k.error) {
			t.Errorf("the reply is %s", process.Short(reply))
		}
		c.Want(t, 1, "DBSIZE")
		c.Want(t, "v", "GET", "other")
		n.Restart()
		n.Dial().Want(t, 1, "DBSIZE")
		return
	}
	if _, ok := reply.(process.ReplyError); ok {
		t.Fatalf("the reply is %s", process.Short(reply))
	}
	c.Want(t, keys+1, "DBSIZE")
	last := 1
	for round := 2; round <= process.Size(3, 12); round++ {
		acknowledged := make(chan bool, 1)
		go func() {
			_, err := k.write(c, keys, round)
			acknowledged <- err == nil
		}()
		time.Sleep(time.Duration(rand.Float64() * 1.2 * float64(took)))
		n.Kill()
		known := <-acknowledged
		memory := n.WatchMemory
		n.Start()
		highest := memory()
		c = n.Dial()
		found := k.read(t, c, keys)
		if found != round && (known || found != last) {
			t.Fatalf("round %d (acknowledged: %v): the keys hold %d, held %d before", round, known, found, last)
		}
		last = found
		t.Logf("round %d (acknowledged: %v): the keys hold %d; start in %v, RssAnon %d MiB", round, known, found, n.Started.Round(time.Millisecond), highest())
	}
	if found := c.CountKeys(t); found != keys+1 {
		t.Errorf("%d keys instead of %d", found, keys+1)
	}
	n.Kill()
	n.Check()
}

// write sets all keys to a number, as one batch.
func (k crowdOfKeys) write(c *process.Client, keys, number int) (reply any, err error) {
	value := strconv.Itoa(number)
	if !k.multi {
		args := make([]string, 1, 2*keys+1)
		args[0] = "MSET"
		for i := range keys {
			args = append(args, "key:"+strconv.Itoa(i), value)
		}
		return c.Do(args...)
	}
	c.Send("MULTI")
	sent := 1
	var refused any // the first command that could not be queued
	for i := range keys {
		c.Send("SET", "key:"+strconv.Itoa(i), value)
		if sent++; sent%1000 != 0 && i < keys-1 {
			continue
		}
		if err := c.Flush(); err != nil {
			return nil, err
		}
		for ; sent > 0; sent-- {
			reply, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if refused == nil && reply != "QUEUED" && reply != "OK" {
				refused = reply
			}
		}
	}
	reply, err = c.Do("EXEC")
	if refused != nil && process.IsError(reply, "EXECABORT") {
		return refused, err
	}
	return reply, err
}

// read returns the number that all keys hold.
func (k crowdOfKeys) read(t *testing.T, c *process.Client, keys int) int {
	t.Helper()
	const atOnce = 10_000
	var one any
	for from := 0; from < keys; from += atOnce {
		args := []string{"MGET"}
		for i := from; i < min(keys, from+atOnce); i++ {
			args = append(args, "key:"+strconv.Itoa(i))
		}
		for i, v := range c.Must(t, args...).([]any) {
			if one == nil {
				one = v
			}
			if v == nil || v != one {
				t.Fatalf("key:%d is %v, others are %v", from+i, v, one)
			}
		}
	}
	number, _ := strconv.Atoi(one.(string))
	return number
}
