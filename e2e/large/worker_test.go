package large

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"sett/e2e/process"
)

// class is how long the strings of a key are. COPY and RENAME stay within one.
type class struct {
	name  string
	limit int // bytes
	share int // of 100 commands
	keys  int // of 100 keys
}

var classes = []class{{"small", 5 << 10, 65, 80}, {"medium", 300 << 10, 22, 15}, {"large", 4 << 20, 13, 5}}

const (
	pipelined = 8       // commands in one pipeline
	batchRoom = 4 << 20 // bytes that a transaction may write: batch_max_bytes is twice that
)

// worker is one client and its keys.
type worker struct {
	*run
	id      int
	r       *rand.Rand
	keys    [][]string // by class
	values  values     // what was acknowledged
	pending []operation
	history map[string][]string // the last operations on a key
}

func newWorker(r *run, id, keys int) *worker {
	w := &worker{run: r, id: id, r: rand.New(rand.NewPCG(r.seed, uint64(id))), values: values{}, history: map[string][]string{}}
	for _, c := range classes {
		var names []string
		for i := range max(2, keys*c.keys/100) {
			names = append(names, fmt.Sprintf("%s:%d:%d", c.name, id, i))
		}
		w.keys = append(w.keys, names)
	}
	return w
}

// live works until the server dies or enough is done.
func (w *worker) live() {
	c, err := w.n.TryDial()
	if err != nil {
		w.lost(err, w.reloads.Load())
		return
	}
	defer func() { c.Close() }()
	for w.budget.Add(-pipelined/2) > 0 && !w.Failed() {
		reloads := w.reloads.Load()
		if err := w.pipeline(c, reloads); err == nil {
			continue
		} else if !w.lost(err, reloads) {
			return
		}
		c.Close()
		if c, err = w.n.TryDial(); err != nil {
			w.lost(err, reloads)
			return
		}
		if err := w.resolve(c); err != nil && !w.lost(err, reloads) {
			return
		}
	}
}

// lost is the end of a connection. true: the server lives; a reload has cut a reply short.
func (w *worker) lost(err error, reloads int64) bool {
	switch {
	case w.killed.Load():
		return false
	case w.reloaded(reloads):
		w.cut.Add(1)
		return true
	}
	w.Errorf("client %d has lost its connection: %v; pending: %s", w.id, err, w.pendingText())
	return false
}

// pipeline sends some commands and checks their replies. reloads: counted before.
func (w *worker) pipeline(c *process.Client, reloads int64) error {
	for range 1 + w.r.IntN(pipelined) {
		o := w.choose()
		w.pending = append(w.pending, o)
		for _, key := range o.keys {
			w.history[key] = append(w.history[key], o.text)
			if n := len(w.history[key]); n > 30 {
				w.history[key] = w.history[key][n-30:]
			}
		}
	}
	// The server reads no more while nobody reads its replies.
	sent := make(chan error, 1)
	go func(ops []operation) {
		for i := range ops {
			ops[i].send(c)
		}
		sent <- c.Flush()
	}(slices.Clone(w.pending))
	defer func() { <-sent }()
	for len(w.pending) > 0 {
		o := &w.pending[0]
		got, err := o.receive(c)
		if err != nil {
			c.Close() // ends the sender as well
			return err
		}
		if w.reloaded(reloads) && endedByReload(got) {
			w.ended.Add(1)
		} else if d := differ(got, o.apply(w.values)); d != "" && !w.Failed() {
			w.Errorf("client %d: %s: %s", w.id, o.text, d)
			w.tell(o.keys)
		}
		w.done.Add(1)
		w.pending = w.pending[1:]
	}
	return nil
}

// reloaded tells whether there was a reload since a moment.
func (w *worker) reloaded(since int64) bool { return w.reloads.Load() != since || since%2 == 1 }

// endedByReload tells whether a command has done nothing because the view that it read was ended: COPY of a long string.
func endedByReload(reply any) bool {
	return process.IsError(reply, "TRYAGAIN") || process.IsError(reply, "ERR storage: the outcome of the write is unknown")
}

// resolve finds out how much of the last pipeline has taken effect: some first part of it, whole operations.
func (w *worker) resolve(c *process.Client) error {
	var keys []string
	for _, o := range w.pending {
		keys = append(keys, o.keys...)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	found := values{}
	for _, key := range keys {
		reply, err := c.Do("GET", key)
		if err != nil {
			return err
		}
		if text, ok := reply.(string); ok {
			found[key] = []byte(text)
		} else if reply != nil {
			w.Errorf("GET %s: %s", key, process.Short(reply))
		}
	}
	state := w.values.fork(keys)
	for n := 0; ; n++ {
		if sameValues(state, found) {
			w.took.Add(int64(n))
			break
		}
		if n == len(w.pending) {
			w.Errorf("client %d: no first part of %s leads to what is there", w.id, w.pendingText())
			w.tell(keys)
			break
		}
		w.pending[n].apply(state)
	}
	for _, key := range keys {
		delete(w.values, key)
		if value, ok := found[key]; ok {
			w.values[key] = value
		}
	}
	w.pending = nil
	return nil
}

func (w *worker) pendingText() string {
	var texts []string
	for _, o := range w.pending {
		texts = append(texts, o.text)
	}
	return strings.Join(texts, " | ")
}

func (w *worker) tell(keys []string) {
	for _, key := range keys {
		w.Logf("the last operations on %s:\n\t%s", key, strings.Join(w.history[key], "\n\t"))
	}
}

// verify reads all keys, or a part of them.
func (w *worker) verify(c *process.Client, part float64) {
	for _, names := range w.keys {
		for _, key := range names {
			if w.r.Float64() >= part {
				continue
			}
			got, err := c.Do("GET", key)
			if err != nil {
				w.Fatalf("GET %s: %v", key, err)
			}
			if d := differ(got, reply(w.values, key)); d != "" {
				w.Errorf("GET %s: %s", key, d)
				w.tell([]string{key})
				return
			}
		}
	}
}

// choose draws an operation.
func (w *worker) choose() operation {
	if w.r.IntN(100) < 4 {
		return w.transaction()
	}
	o, _ := w.chooseOne(1 << 30)
	return o
}

// transaction draws some operations that fit into a batch.
func (w *worker) transaction() operation {
	var ops []operation
	room := batchRoom
	for range 2 + w.r.IntN(3) {
		o, bytes := w.chooseOne(room)
		ops = append(ops, o)
		room -= bytes
	}
	return together(ops)
}

// chooseOne draws an operation that writes so many bytes at most; it returns how many it writes.
func (w *worker) chooseOne(room int) (o operation, bytes int) {
	kind, names := w.chooseClass()
	limit := classes[kind].limit
	key, other := names[w.r.IntN(len(names))], names[w.r.IntN(len(names))]
	length := len(w.values[key])
	piece := w.piece(min(room, w.pieceBytes(limit)))
	at := w.offset(length, limit-len(piece))
	switch n := w.r.IntN(100); {
	case n < 18 || length > limit:
		value := w.piece(min(room, w.valueBytes(limit)))
		return set(key, value, n < 3), len(value)
	case n < 34:
		return splice(key, -1, piece), len(piece)
	case n < 50:
		return splice(key, at, piece), len(piece)
	case n < 62:
		return setBit(key, 8*at+w.r.IntN(8), w.r.IntN(2) == 0), 0
	case n < 64:
		return getBit(key, 8*at), 0
	case n < 76:
		return getRange(key, at, at+w.pieceBytes(limit)), 0
	case n < 84:
		return get(key), 0
	case n < 86:
		return strlen(key), 0
	case n < 88:
		return mGet(key, other, names[0]), 0
	case n < 92 && other != key && length <= room:
		return copyKey(key, other), length
	case n < 96 && other != key:
		return rename(key, other), 0
	}
	return del(key, w.r.IntN(3) == 0), 0
}

func (w *worker) chooseClass() (kind int, names []string) {
	n := w.r.IntN(100)
	for kind = range classes {
		if n -= classes[kind].share; n < 0 {
			break
		}
	}
	return kind, w.keys[kind]
}

// valueBytes is a length for a whole string: more often short than long.
func (w *worker) valueBytes(limit int) int {
	f := w.r.Float64()
	return int(f * f * f * float64(limit))
}

// pieceBytes is a length for a part.
func (w *worker) pieceBytes(limit int) int {
	if w.r.IntN(10) == 0 {
		return w.valueBytes(limit / 2)
	}
	return w.r.IntN(min(limit, 3000))
}

// offset is a place up to the end of a string, or a little beyond, or anywhere.
func (w *worker) offset(length, limit int) int {
	reach := length
	switch w.r.IntN(10) {
	case 0:
		reach = limit
	case 1:
		reach = length + 3000
	}
	return w.r.IntN(min(reach, limit) + 1)
}

// piece is n random bytes.
func (w *worker) piece(n int) string {
	at := w.r.IntN(len(w.noise) - n)
	return w.noise[at : at+n]
}
