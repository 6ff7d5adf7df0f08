package cluster

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sett/e2e/process"
)

// load writes keys of which each has one value, through all of some nodes, and reads back what was acknowledged, until it is ended. A client whose
// connection ends goes on with the next node.
type load struct {
	c      *Cluster
	places []int
	ended  atomic.Bool
	done   sync.WaitGroup

	mu      sync.Mutex // guards the rest
	acked   []string   // each key's value is its name
	indoubt []string
	refused []string // error replies but -INDOUBT
	wrong   []string // reads of what was acknowledged that did not show it
	broken  int      // connections that ended
	cut     []string // commands that were sent over an open connection and never answered
}

const loadClients = 6

// startLoad begins to write and read through these nodes, or all.
func startLoad(c *Cluster, places ...int) *load {
	if len(places) == 0 {
		places = c.Others()
	}
	l := &load{c: c, places: places}
	for number := range loadClients {
		l.done.Go(func() { l.client(number) })
	}
	return l
}

var loads atomic.Int64 // so that two loads of a process never write the same key

func (l *load) client(number int) {
	r, id := rand.New(rand.NewPCG(uint64(number), 1)), loads.Add(1)
	at := number
	for n := 0; !l.ended.Load(); at++ {
		conn, err := l.c.Nodes[l.places[at%len(l.places)]].TryDial()
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		conn.Patience = 30 * time.Second
		for err == nil && !l.ended.Load() && !conn.Ended() {
			n++
			err = l.write(conn, at%len(l.places), fmt.Sprintf("load:%d:%d", id, n))
			if err == nil && n%3 == 0 && !conn.Ended() {
				err = l.read(conn, r)
			}
		}
		if !l.ended.Load() {
			l.mu.Lock()
			if l.broken++; err != nil {
				l.cut = append(l.cut, fmt.Sprintf("through node %d: %v", l.places[at%len(l.places)], err))
			}
			l.mu.Unlock()
		}
		conn.Close()
	}
}

func (l *load) write(conn *process.Client, place int, key string) error {
	reply, err := conn.Do("SET", key, key)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case reply == "OK":
		l.acked = append(l.acked, key)
	case process.IsError(reply, "INDOUBT"):
		l.indoubt = append(l.indoubt, fmt.Sprintf("%s through node %d, after %d acknowledged ones: %v", key, l.places[place], len(l.acked), reply))
	default:
		l.refused = append(l.refused, fmt.Sprintf("SET: %v", reply))
	}
	return nil
}

func (l *load) read(conn *process.Client, r *rand.Rand) error {
	l.mu.Lock()
	key := ""
	if n := len(l.acked); n > 0 {
		key = l.acked[n-1-r.IntN(min(n, 20))]
	}
	l.mu.Unlock()
	if key == "" {
		return nil
	}
	reply, err := conn.Do("GET", key)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if refusal, refused := reply.(process.ReplyError); refused {
		l.refused = append(l.refused, "GET: "+string(refusal))
	} else if reply != key {
		l.wrong = append(l.wrong, fmt.Sprintf("%s, acknowledged, read as %v", key, reply))
	}
	return nil
}

// progress waits for so many acknowledgements from here on.
func (l *load) progress(writes int) {
	l.c.t.Helper()
	begin := l.count()
	l.c.Await(strconv.Itoa(writes)+" more acknowledged writes", func() error {
		if n := l.count() - begin; n < writes {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// end stops the load and looks for every acknowledged write, through every node.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.ended.Store(true)
	l.done.Wait()
	t.Logf("%d writes acknowledged, %d in doubt, %d replies refused (%.3q), %d connections broken, %d in the middle of a command", len(l.acked), len(l.indoubt), len(l.refused),
		l.refused[:min(3, len(l.refused))], l.broken, len(l.cut))
	for _, wrong := range l.wrong {
		t.Error(wrong)
	}
	for _, place := range l.places {
		l.look(t, l.c.Nodes[place].Dial())
	}
}

func (l *load) look(t *testing.T, conn *process.Client) {
	t.Helper()
	lost := 0
	for keys := l.acked; len(keys) > 0; {
		n := min(100, len(keys))
		for _, key := range keys[:n] {
			conn.Send("GET", key)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys[:n] {
			reply, err := conn.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if reply != key {
				if lost++; lost <= 5 {
					t.Errorf("%s was acknowledged, and now it is %v", key, reply)
				}
			}
		}
		keys = keys[n:]
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged writes are lost", lost, len(l.acked))
	}
}

// unharmed fails the test if a client noticed more than the end of a connection.
func (l *load) unharmed(t *testing.T) {
	t.Helper()
	if len(l.indoubt) > 0 {
		t.Errorf("%d writes were answered with -INDOUBT:\n%s", len(l.indoubt), strings.Join(l.indoubt, "\n"))
	}
	// A server that stops waits 0.2 s for each client's next command. On a busy machine one of many clients may be held up for longer, and its
	// command crosses the end of the connection.
	if len(l.cut) > l.broken/4 {
		t.Errorf("%d commands were never answered, such as one %s", len(l.cut), l.cut[0])
	}
	if len(l.refused) > 0 {
		t.Errorf("%d commands were refused, such as %s", len(l.refused), l.refused[0])
	}
}
