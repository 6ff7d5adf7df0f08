package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sett/e2e/cluster"
	"sett/e2e/process"
)

// load is all clients. A fault that must not have any waits for the gate.
type load struct {
	c    *cluster.Cluster
	hs   *histories
	seed uint64

	gate    sync.RWMutex // held for reading during an operation
	ended   atomic.Bool
	clients sync.WaitGroup
	acks    atomic.Int64 // acknowledged writes
	opened  atomic.Int64 // connections

	mu       sync.Mutex     // guards the rest
	counts   map[string]int // replies by their first word
	surprise []string       // replies that nobody should get
}

const (
	clients = 12
	pause   = 8 * time.Millisecond // between two operations of a client, on average
	// patience is longer than a node takes to say that it cannot.
	patience = 8 * time.Second
	// staleBound is how old what stale readers see may be.
	staleBound = time.Second
)

// level is what a client reads at.
type level int

const (
	lease level = iota // the default: nothing is said about it
	linearizable
	stale
	levels
)

func (c *client) level() level { return level(c.number % int(levels)) }

func startLoad(c *cluster.Cluster, seed uint64) *load {
	l := &load{c: c, hs: newHistories(), seed: seed, counts: map[string]int{}}
	for number := range clients {
		l.clients.Go(func() { (&client{load: l, number: number, r: rand.New(rand.NewPCG(seed, uint64(number)))}).run() })
	}
	return l
}

func (l *load) end() {
	l.ended.Store(true)
	l.clients.Wait()
}

func (l *load) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

// client runs one operation after the other, on a connection to some node.
type client struct {
	*load
	number int
	r      *rand.Rand
	node   int
	conn   *process.Client // nil: none
	serial int64           // of conn
	uses   int             // of conn
}

func (c *client) run() {
	for !c.ended.Load() {
		time.Sleep(time.Duration(c.r.Int64N(int64(2 * pause))))
		c.gate.RLock()
		if c.connect() {
			c.operate()
		}
		c.gate.RUnlock()
	}
	c.disconnect()
}

// usesMax is small, so that somebody always comes to a node while it is paused, later than what the others have done meanwhile.
const usesMax = 60

// connect has the client change nodes now and then, also without need.
func (c *client) connect() bool {
	if c.conn != nil && c.uses < usesMax {
		c.uses++
		return true
	}
	c.disconnect()
	c.node = c.r.IntN(len(c.c.Nodes))
	conn, err := c.c.Nodes[c.node].TryDial()
	if err != nil {
		c.count("no connection")
		time.Sleep(2 * pause)
		return false
	}
	c.conn, c.uses, conn.Patience, c.serial = conn, 0, patience, c.opened.Add(1)
	return c.choose()
}

// choose tells the node at which level the client reads.
func (c *client) choose() bool {
	level := [levels][]string{linearizable: {"LINEARIZABLE"}, stale: {"STALE", fmt.Sprint(staleBound.Milliseconds())}}[c.level()]
	if level == nil {
		return true
	}
	reply, err := c.conn.Do(append([]string{"SETT", "READ"}, level...)...)
	if err == nil && reply == "OK" {
		return true
	}
	c.count("no level to read at")
	c.disconnect()
	return false
}

func (c *client) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// operate chooses an operation, runs it and notes it.
func (c *client) operate() {
	k := kind(c.r.IntN(int(kinds)))
	h := c.hs.take(k, c.r.IntN(keysInUse))
	o := &operation{action: write, client: c.number, node: c.node}
	switch {
	case c.r.IntN(3) == 0:
		o.action, o.stale = read, c.level() == stale
	case k == register && c.level() != stale && c.r.IntN(3) == 0:
		c.changeRegister(h)
		return
	}
	if o.action == write && k != counter {
		o.value = h.element()
	}
	c.do(h, o, commands(h, o))
}

// commands are what an operation sends, in one go.
func commands(h *history, o *operation) [][]string {
	reads := o.action == read
	switch {
	case h.kind == pair && o.stale:
		return [][]string{{"LRANGE", h.key + ":a", "0", "-1"}} // EXEC travels
	case h.kind == pair && reads:
		return [][]string{{"MULTI"}, {"LRANGE", h.key + ":a", "0", "-1"}, {"LRANGE", h.key + ":b", "0", "-1"}, {"EXEC"}}
	case h.kind == pair:
		return [][]string{{"MULTI"}, {"RPUSH", h.key + ":a", o.value}, {"RPUSH", h.key + ":b", o.value}, {"EXEC"}}
	case o.action == change:
		return [][]string{{"MULTI"}, {"SET", h.key, o.value}, {"EXEC"}}
	case h.kind == list && reads:
		return [][]string{{"LRANGE", h.key, "0", "-1"}}
	case h.kind == list:
		return [][]string{{"RPUSH", h.key, o.value}}
	case h.kind == set && reads:
		return [][]string{{"SMEMBERS", h.key}}
	case h.kind == set:
		return [][]string{{"SADD", h.key, o.value}}
	case reads:
		return [][]string{{"GET", h.key}}
	case h.kind == counter:
		return [][]string{{"INCR", h.key}}
	}
	return [][]string{{"SET", h.key, o.value}}
}

// changeRegister reads a register and replaces its value if nobody has meanwhile.
func (c *client) changeRegister(h *history) {
	if reply, err := c.conn.Do("WATCH", h.key); err != nil || reply != "OK" {
		c.settle(reply, err)
		c.disconnect() // whether it is watched nobody knows
		return
	}
	was := &operation{action: read, client: c.number, node: c.node}
	if c.do(h, was, commands(h, was)); was.out != acknowledged {
		c.disconnect() // and whatever is watched
		return
	}
	o := &operation{action: change, was: was.result, value: h.element(), client: c.number, node: c.node}
	c.do(h, o, commands(h, o))
}

// do runs an operation and notes it.
func (c *client) do(h *history, o *operation, commands [][]string) {
	o.call, o.serial = c.hs.now(), c.serial
	var replies []any
	var reply any
	err := c.send(commands)
	for range commands {
		if err == nil {
			reply, err = c.conn.Receive()
			replies = append(replies, reply)
		}
	}
	o.end = c.hs.now()
	o.out = c.settle(reply, err)
	execNil := reply == nil && err == nil && len(commands) > 1
	if known := expected(reply); !known || execNil && o.action != change { // who WATCHes nothing gets no nil
		c.mu.Lock()
		c.surprise = append(c.surprise, fmt.Sprintf("%v to %v: %q through node %d: %q", o.call, o.end, commands, c.node, replies))
		c.mu.Unlock()
	}
	if execNil {
		o.out = refused // somebody was faster
	}
	if o.out == acknowledged {
		o.result = result(h.kind, o, reply)
	}
	if o.out == acknowledged && o.action != read {
		c.acks.Add(1)
	}
	h.add(o)
}

func (c *client) send(commands [][]string) error {
	for _, args := range commands {
		c.conn.Send(args...)
	}
	return c.conn.Flush()
}

// refusals are error replies after which nothing has happened, by their first word.
var refusals = []string{"CLUSTERDOWN", "LOADING", "MISCONF", "TRYAGAIN", "EXECABORT", "MASTERDOWN", "NOREPLICAS", "READONLY"}

// settle tells what a reply, or none, says about the operation. Without a reply the connection is of no use any more.
func (c *client) settle(reply any, err error) outcome {
	if err != nil {
		c.count("no reply")
		c.disconnect()
		return unknown
	}
	refusal, is := reply.(process.ReplyError)
	if !is {
		c.count("reply")
		return acknowledged
	}
	word, _, _ := strings.Cut(string(refusal), " ")
	c.count("-" + word)
	if slices.Contains(refusals, word) {
		return refused
	}
	return unknown // -INDOUBT, or what nobody should get
}

// expected tells whether a reply is one that a client may get.
func expected(reply any) bool {
	refusal, is := reply.(process.ReplyError)
	word, _, _ := strings.Cut(string(refusal), " ")
	return !is || word == "INDOUBT" || slices.Contains(refusals, word)
}

// result is a reply as the model has it.
func result(k kind, o *operation, reply any) string {
	switch v := reply.(type) {
	case nil:
		return ""
	case []any:
		switch {
		case k == pair && !o.stale || o.action == change:
			return together(v, o)
		case k == set:
			names := strings.Split(join(v), ",")
			slices.Sort(names)
			return strings.Join(names, ",")
		}
		return join(v)
	}
	return fmt.Sprint(reply)
}

func join(v []any) string {
	var all []string
	for _, one := range v {
		all = append(all, fmt.Sprint(one))
	}
	return strings.Join(all, ",")
}

// together is what EXEC has answered: the same twice, or something that no model accepts.
func together(v []any, o *operation) string {
	if o.action == change {
		return join(v)
	}
	halves := make([]string, len(v))
	for i, one := range v {
		if halves[i] = fmt.Sprint(one); o.action == read {
			elements, _ := one.([]any)
			halves[i] = join(elements)
		}
	}
	if len(halves) != 2 || halves[0] != halves[1] {
		return "different: " + strings.Join(halves, " | ")
	}
	return halves[0]
}
