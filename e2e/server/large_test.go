package server

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLongNames: a name that is too long gets an error that says so, wherever it stands; one that just fits works.
func TestLongNames(t *testing.T) {
	t.Parallel()
	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	c := n.dial()
	const limit = 32704 // max_name_bytes
	long := strings.Repeat("n", 100_000)
	for _, args := range [][]string{
		{"SET", long, "v"}, {"GET", long}, {"DEL", long}, {"EXISTS", "a", long}, {"MGET", "a", long}, {"MSET", "a", "1", long, "2"},
		{"MSETNX", "a", "1", long, "2"}, {"INCR", long}, {"APPEND", long, "v"}, {"EXPIRE", long, "10"}, {"TTL", long}, {"TYPE", long},
		{"RENAME", "b", long}, {"COPY", "b", long}, {"SETRANGE", long, "5", "v"}, {"SETBIT", long, "5", "1"}, {"WATCH", long},
		{"SET", strings.Repeat("n", limit+1), "v"},
	} {
		c.want(t, "OK", "SET", "b", "v")
		c.refused(t, "max_name_bytes (32704)", args...)
		c.want(t, 1, "DBSIZE") // the connection is usable, and nothing has happened
	}
	c.want(t, "OK", "MULTI")
	c.want(t, "QUEUED", "SET", "a", "1")
	c.want(t, "QUEUED", "SET", long, "2")
	replies := c.must(t, "EXEC").([]any)
	if replies[0] != "OK" || !strings.Contains(fmt.Sprint(replies[1]), "max_name_bytes") {
		t.Errorf("EXEC: %s", short(replies))
	}
	fits := strings.Repeat("n", limit)
	c.want(t, "OK", "SET", fits, "v")
	c.want(t, 1, "EXPIRE", fits, "1000")
	n.restart()
	c = n.dial()
	c.want(t, "v", "GET", fits)
	c.want(t, "OK", "DEBUG", "RELOAD")
	c.want(t, "v", "GET", fits)
	if keys := c.countKeys(t); keys != 3 {
		t.Errorf("%d keys", keys)
	}
	c.want(t, 1, "DEL", fits)
	c.want(t, nil, "GET", fits)
}

// TestLargeValues: a value of exactly 1 MiB works, one byte more does not, however it is made.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	c := n.dial()
	largest := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(largest)
	value := string(largest)
	c.want(t, "OK", "SET", "key", value)
	c.want(t, "OK", "MSET", "b", value, "c", value, "d", value)
	c.refused(t, "string exceeds maximum allowed size", "APPEND", "key", "1")
	c.refused(t, "string exceeds maximum allowed size", "SETRANGE", "key", "1048576", "1")
	c.refused(t, "bit offset is not an integer or out of range", "SETBIT", "key", "8388608", "1")
	c.want(t, 1<<20, "SETRANGE", "key", "1048575", value[1<<20-1:])
	c.want(t, 1<<20-1, "APPEND", "e", value[1:])
	c.want(t, 1<<20, "APPEND", "e", value[:1])
	// Redis' answer to a bulk that is too long is to end the connection.
	second := n.dial()
	if reply, err := second.do("SET", "key", value+"1"); err != nil && !hungUp(err) || err == nil && !strings.Contains(fmt.Sprint(reply), "Protocol error: invalid bulk length") {
		t.Errorf("one byte more: %s, %v", short(reply), err)
	}
	read := func() {
		t.Helper()
		c := n.dial()
		for _, key := range []string{"key", "b", "c", "d"} {
			c.want(t, value, "GET", key)
		}
		c.want(t, value[1:]+value[:1], "GET", "e")
		c.want(t, value[1000:2001], "GETRANGE", "d", "1000", "2000")
		c.want(t, 5, "DBSIZE")
	}
	read()
	n.restart()
	read()
	n.dial().want(t, "OK", "DEBUG", "RELOAD")
	read()
	n.stop()
	n.check()
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
	n := newNode(t, filepath.Join(t.TempDir(), "data"))
	n.start()
	c := n.dial()
	fmt.Fprintf(c.w, "*%d\r\n$4\r\nMSET\r\n", 2_000_001)
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.receive(); err != nil || reply != replyError("ERR Protocol error: invalid multibulk length") {
		t.Errorf("got %v, %v", reply, err)
	}
	n.dial().want(t, 0, "DBSIZE")
}

// TestLargeBatches: a batch of very many keys takes effect whole, or not at all, whenever the server is killed.
func TestLargeBatches(t *testing.T) {
	// A command has at most 1,048,576 arguments, its name included.
	half, whole := size(100_000, 500_000), size(100_000, 1_000_000)
	roomy, tight := []string{"memory_budget=1GiB"}, []string{"memory_budget=128MiB", "client_query_buffer_limit=256MiB"}
	if !full { // what is too much must be less as well
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
	n := newNode(t, filepath.Join(t.TempDir(), "data"), k.sets...)
	n.start()
	c := n.dial()
	c.want(t, "OK", "SET", "other", "v")
	before := n.status("RssAnon")
	memory := n.watchMemory()
	begin := time.Now()
	reply, err := k.write(c, keys, 1)
	took := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d keys: %.80s after %v; RssAnon %d MiB before, %d MiB at most", keys, short(reply), took.Round(time.Millisecond), before, memory())
	if k.error != "" {
		if e, ok := reply.(replyError); !ok || !strings.Contains(string(e), k.error) {
			t.Errorf("the reply is %s", short(reply))
		}
		c.want(t, 1, "DBSIZE")
		c.want(t, "v", "GET", "other")
		n.restart()
		n.dial().want(t, 1, "DBSIZE")
		return
	}
	if _, ok := reply.(replyError); ok {
		t.Fatalf("the reply is %s", short(reply))
	}
	c.want(t, keys+1, "DBSIZE")
	last := 1
	for round := 2; round <= size(3, 12); round++ {
		acknowledged := make(chan bool, 1)
		go func() {
			_, err := k.write(c, keys, round)
			acknowledged <- err == nil
		}()
		time.Sleep(time.Duration(rand.Float64() * 1.2 * float64(took)))
		n.kill()
		known := <-acknowledged
		memory := n.watchMemory
		n.start()
		highest := memory()
		c = n.dial()
		found := k.read(t, c, keys)
		if found != round && (known || found != last) {
			t.Fatalf("round %d (acknowledged: %v): the keys hold %d, held %d before", round, known, found, last)
		}
		last = found
		t.Logf("round %d (acknowledged: %v): the keys hold %d; start in %v, RssAnon %d MiB", round, known, found, n.started.Round(time.Millisecond), highest())
	}
	if found := c.countKeys(t); found != keys+1 {
		t.Errorf("%d keys instead of %d", found, keys+1)
	}
	n.kill()
	n.check()
}

// write sets all keys to a number, as one batch.
func (k crowdOfKeys) write(c *client, keys, number int) (reply any, err error) {
	value := strconv.Itoa(number)
	if !k.multi {
		args := make([]string, 1, 2*keys+1)
		args[0] = "MSET"
		for i := range keys {
			args = append(args, "key:"+strconv.Itoa(i), value)
		}
		return c.do(args...)
	}
	c.send("MULTI")
	sent := 1
	var refused any // the first command that could not be queued
	for i := range keys {
		c.send("SET", "key:"+strconv.Itoa(i), value)
		if sent++; sent%1000 != 0 && i < keys-1 {
			continue
		}
		if err := c.flush(); err != nil {
			return nil, err
		}
		for ; sent > 0; sent-- {
			reply, err := c.receive()
			if err != nil {
				return nil, err
			}
			if refused == nil && reply != "QUEUED" && reply != "OK" {
				refused = reply
			}
		}
	}
	reply, err = c.do("EXEC")
	if refused != nil && isError(reply, "EXECABORT") {
		return refused, err
	}
	return reply, err
}

// read returns the number that all keys hold.
func (k crowdOfKeys) read(t *testing.T, c *client, keys int) int {
	t.Helper()
	const atOnce = 10_000
	var one any
	for from := 0; from < keys; from += atOnce {
		args := []string{"MGET"}
		for i := from; i < min(keys, from+atOnce); i++ {
			args = append(args, "key:"+strconv.Itoa(i))
		}
		for i, v := range c.must(t, args...).([]any) {
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
