package commands

import (
	"slices"
	"sync"
	"sync/atomic"

	"sett/resp"
	"sett/types"
)

// A client that waits in BLPOP or its like is served at evaluation: right behind the command, MULTI or script that made a key ready, under
// the same hold of the lock and as part of the same batch, in the order in which the clients came. So nobody can take the element in between,
// and it is lost to no one: only the reply waits for the commit.

// Blocking is what a row has whose clients may wait. Its Write takes what it finds, or ends in Update.wait.
type Blocking struct {
	On     types.Type                               // what a key must become to be looked at
	Narrow func(args [][]byte, key []byte) [][]byte // the arguments that ask for one of the keys alone
}

// Waiter is a client that waits. Its fields but reply and seen do not change.
type Waiter struct {
	Row       *Row
	Args      [][]byte
	TimeoutMs int64 // 0: none

	db    int
	keys  []waitedKey
	ready func() // called once, when it was served

	state waiterState // guarded by parking.mu
	reply resp.Writer // of whoever has claimed it, then of its owner
	seen  uint64
}

type waitedKey struct {
	name  []byte
	filed string // the meta key; under the data set's lock
}

type waiterState byte

const (
	waits   waiterState = iota
	claimed             // a round under way serves it; the round may be given up
	served
	left
)

// parking is where waiters are. Who parks and who serves holds the data set's lock, who leaves does not.
type parking struct {
	count atomic.Int64 // of filings: 0 spares everybody the lock

	mu      sync.Mutex
	settled sync.Cond // a claim has become an outcome
	byKey   map[string][]*Waiter
}

func (p *parking) init() {
	p.settled.L = &p.mu
	p.byKey = make(map[string][]*Waiter)
}

// SomebodyWaits tells whether there are clients that wait for keys: each is served behind the command that makes its key ready.
func (d *DataSet) SomebodyWaits() bool { return d.parking.count.Load() > 0 }

// wait is how a row ends that found nothing: its client waits for one of the keys. Within a transaction or a script nobody waits:
// then it writes the reply that says so.
func (u *Update) wait(names [][]byte, timeoutMs int64, nothing func()) error {
	u.foundNothing = true
	if u.serving {
		return nil
	}
	if !u.mayPark {
		nothing()
		return nil
	}
	// The waiter is filed at the end of the round, under the same hold of the lock, so nothing can come in between.
	w := &Waiter{Args: cloneArgs(u.Args), TimeoutMs: timeoutMs, db: u.DB}
	w.reply.Proto = u.W.Proto
	for _, name := range names {
		key, err := u.appendMetaKey(nil, name)
		if err != nil {
			return err
		}
		w.keys = append(w.keys, waitedKey{slices.Clone(name), string(key)})
	}
	u.waiter = w
	return nil
}

func cloneArgs(args [][]byte) [][]byte {
	out := make([][]byte, len(args))
	for i, arg := range args {
		out[i] = slices.Clone(arg)
	}
	return out
}

// file enters a waiter under its keys.
func (p *parking) file(w *Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range w.keys {
		p.fileKey(w, w.keys[i].filed)
	}
}

func (p *parking) fileKey(w *Waiter, key string) {
	if list := p.byKey[key]; !slices.Contains(list, w) { // a key may be named twice
		p.byKey[key] = append(list, w)
		p.count.Add(1)
	}
}

// unfile takes a waiter out of all lists; mu is held.
func (p *parking) unfile(w *Waiter) {
	for i := range w.keys {
		key := w.keys[i].filed
		list := p.byKey[key]
		at := slices.Index(list, w)
		if at < 0 {
			continue
		}
		p.count.Add(-1)
		if list = slices.Delete(list, at, at+1); len(list) == 0 {
			delete(p.byKey, key)
		} else {
			p.byKey[key] = list
		}
	}
}

// Served tells whether a waiter has its reply.
func (d *DataSet) Served(w *Waiter) bool {
	d.parking.mu.Lock()
	defer d.parking.mu.Unlock()
	return w.state == served
}

// Leave ends the wait, because time is over or the client gone. false: it was served before, and has its reply.
func (d *DataSet) Leave(w *Waiter) bool {
	p := &d.parking
	p.mu.Lock()
	defer p.mu.Unlock()
	for w.state == claimed {
		p.settled.Wait()
	}
	if w.state == served {
		return false
	}
	w.state = left
	p.unfile(w)
	return true
}

// Reply returns what a waiter that was served gets, once the position is committed.
func (w *Waiter) Reply() (reply []byte, seen uint64) { return w.reply.Bytes(), w.seen }

// serve gives what a batch has made ready to those who wait for it. It runs at the end of the batch's round, under the lock.
func (c *Call) serve(u *Update) error {
	p := &c.d.parking
	if p.count.Load() == 0 {
		return nil
	}
	defer func() {
		if failed := recover(); failed != nil {
			c.settleClaims(false)
			panic(failed)
		}
	}()
	ready := readyKeys{seen: map[string]bool{}}
	if len(u.remap.spaces) > 0 {
		ready.keys = p.refile(u)
	}
	for ready.collect(u, p) {
		for _, key := range ready.take() {
			if err := c.serveKey(u, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// readyKeys are the keys that a batch has changed and somebody waits for, in the order in which it did.
type readyKeys struct {
	keys    []string
	seen    map[string]bool
	effects int // looked at
}

// collect looks at what has come since, also by those who were served.
func (r *readyKeys) collect(u *Update, p *parking) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	u.txn.Effects(func(key []byte) {
		if n++; n <= r.effects || !types.IsMeta(key) || r.seen[string(key)] || len(p.byKey[string(key)]) == 0 {
			return
		}
		r.seen[string(key)] = true
		r.keys = append(r.keys, string(key))
	})
	r.effects = n
	return len(r.keys) > 0
}

func (r *readyKeys) take() []string {
	keys := r.keys
	r.keys = nil
	for _, key := range keys {
		delete(r.seen, key) // it may become ready again
	}
	return keys
}

// serveKey serves those who wait for a key, while there is one.
func (c *Call) serveKey(u *Update, key string) error {
	for _, w := range c.d.parking.waitersOf(key) {
		m, err := types.Lookup(u.txn, []byte(key), u.Now)
		if err != nil {
			return err
		}
		if !m.Exists {
			return nil
		}
		if m.Type != w.Row.Blocking.On {
			continue // it waits for something else
		}
		if err := c.serveWaiter(u, w, key); err != nil {
			return err
		}
	}
	return nil
}

func (p *parking) waitersOf(key string) []*Waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.byKey[key])
}

func (c *Call) serveWaiter(u *Update, w *Waiter, key string) error {
	p := &c.d.parking
	p.mu.Lock()
	free := w.state == waits
	if free {
		w.state = claimed
	}
	p.mu.Unlock()
	if !free {
		return nil
	}
	c.claims = append(c.claims, w)
	w.reply.Reset()
	outer := u.Query
	u.W, u.serving, u.foundNothing = &w.reply, true, false
	err := u.run(w.Row, w.Row.Blocking.Narrow(w.Args, w.nameOf(key)), nil, w.db)
	u.W, u.Args, u.staged, u.DB, u.spaceKnown, u.serving = outer.W, outer.Args, outer.staged, outer.DB, false, false
	if u.foundNothing || err != nil {
		c.claims = c.claims[:len(c.claims)-1]
		p.settle(w, waits)
	}
	return err
}

func (w *Waiter) nameOf(key string) []byte {
	for i := range w.keys {
		if w.keys[i].filed == key {
			return w.keys[i].name
		}
	}
	panic("commands: a waiter is filed under a key that it does not wait for")
}

func (p *parking) settle(w *Waiter, state waiterState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.state = state
	if state == served {
		p.unfile(w)
	}
	p.settled.Broadcast()
}

// settleClaims ends the claims of a round: those whom it has served get their replies, if its batch is part of the log.
func (c *Call) settleClaims(kept bool) {
	for _, w := range c.claims {
		if kept {
			w.seen = c.txn.Seen()
			c.d.parking.settle(w, served)
			w.ready()
		} else {
			c.d.parking.settle(w, waits)
		}
	}
	c.claims = c.claims[:0]
}

// refile puts all waiters under the keys that their databases stand for now, and returns those that are new to them.
func (p *parking) refile(u *Update) (keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	byKey := make(map[string][]*Waiter, len(p.byKey))
	for old, list := range p.byKey {
		for _, w := range list {
			space, err := types.LookupKeyspace(u.txn, w.db)
			if err != nil {
				panic("commands: system records are always in memory")
			}
			key := string(rekey([]byte(old), space))
			for i := range w.keys {
				if w.keys[i].filed == old {
					w.keys[i].filed = key
				}
			}
			if key != old && len(byKey[key]) == 0 {
				keys = append(keys, key)
			}
			byKey[key] = append(byKey[key], w)
		}
	}
	p.byKey = byKey
	slices.Sort(keys) // any order will do, if it is the same in every round
	return keys
}
