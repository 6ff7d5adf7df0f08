package expiry

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sett/e2e/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// run is one server and all who work on it.
type run struct {
	*testing.T
	n       *process.Node
	seed    uint64
	workers []*worker
	stopped atomic.Bool // nobody begins another command
	killed  atomic.Bool // the server is being killed
	done    atomic.Int64
	ends    atomic.Int64 // replies that said that something has ended
}

// worker is one client and its items.
type worker struct {
	*run
	r     *rand.Rand
	items []*item

	pending *operation // on pendingItem, sent at sentMs
	on      *item
	sentMs  int64
}

const itemsOfKind = 40 // of each client

// TestExpiry is the whole harness.
func TestExpiry(t *testing.T) {
	clients, rounds, round := 4, process.Size(3, 30), time.Duration(process.Size(1500, 8000))*time.Millisecond
	r := &run{T: t, seed: seedOf(t)}
	t.Logf("SETT_SEED=%d", r.seed)
	r.n = process.New(t, filepath.Join(t.TempDir(), "data"), "storage.flush_interval=50ms", "storage.generation_bytes=1MiB", "storage.barrier_interval=200ms")
	r.n.Start()
	for id := range clients {
		r.workers = append(r.workers, r.newWorker(id))
	}
	random := rand.New(rand.NewPCG(r.seed, 1<<32))
	for i := range rounds {
		if t.Failed() {
			return
		}
		last := i == rounds-1
		r.live(round/2+time.Duration(random.Int64N(int64(round))), !last)
		if !last {
			r.n.Start()
		}
		r.everybody(func(w *worker, c *process.Client) { w.compareAll(c) })
	}
	r.idle()
	r.n.Stop()
	r.n.Check()
	t.Logf("%d commands in %d lives, %d of them met what had ended", r.done.Load(), rounds, r.ends.Load())
	if !t.Failed() && r.ends.Load() < 20 {
		t.Error("hardly anything has ended")
	}
}

func seedOf(t *testing.T) uint64 {
	text := os.Getenv("SETT_SEED")
	if text == "" {
		return rand.Uint64() >> 1
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func (r *run) newWorker(id int) *worker {
	w := &worker{run: r, r: rand.New(rand.NewPCG(r.seed, uint64(id)))}
	for k := range kinds {
		for n := range itemsOfKind {
			i := &item{kind: k, key: fmt.Sprintf("%d:%d:%d", k, id, n)}
			if k == aField {
				i.key, i.field = fmt.Sprintf("%d:%d:%d", k, id, n%3), fmt.Sprintf("field:%d", n)
			}
			w.items = append(w.items, i)
		}
	}
	return w
}

// live lets everybody work for a while; then the server dies, or goes on.
func (r *run) live(d time.Duration, kill bool) {
	r.stopped.Store(false)
	r.killed.Store(false)
	var all sync.WaitGroup
	for _, w := range r.workers {
		all.Go(w.live)
	}
	all.Go(r.doChores)
	select {
	case <-time.After(d):
	case <-r.n.Exited:
		r.n.Alive()
	}
	if kill {
		r.killed.Store(true)
		r.n.Kill()
	}
	r.stopped.Store(true)
	all.Wait()
}

// doChores has everything done that gives space back, again and again.
func (r *run) doChores() {
	c, err := r.n.TryDial()
	if err != nil {
		return
	}
	defer c.Close()
	for i := 0; !r.stopped.Load(); i++ {
		jobs := []string{"FLUSH", "RECLAIM", "COMPACT", "GC", "DROP-CACHE"}
		if _, err := c.Do("DEBUG", "SETT", jobs[i%len(jobs)]); err != nil {
			return
		}
	}
}

func now() int64 { return time.Now().UnixMilli() }

// live works until it is told to end, or the server has died.
func (w *worker) live() {
	c, err := w.n.TryDial()
	if err != nil {
		return
	}
	defer c.Close()
	for !w.stopped.Load() && !w.Failed() {
		if err := w.step(c); err != nil {
			if !w.killed.Load() {
				w.Errorf("a connection has ended: %v", err)
			}
			return
		}
	}
}

// step sends one command. Every fourth is a look at what ends next.
func (w *worker) step(c *process.Client) error {
	i, o := w.items[w.r.IntN(len(w.items))], operation{}
	if w.r.IntN(4) == 0 {
		i = w.nextToEnd()
		o = i.read()
	} else {
		o = i.choose(w.r, now())
	}
	w.pending, w.on, w.sentMs = &o, i, now()
	reply, err := c.Do(o.args...)
	if err != nil {
		return err
	}
	answered := now()
	if i.life.value != "" && i.life.at(w.sentMs, answered) == dead {
		w.ends.Add(1)
	}
	i.note(o.args)
	if wrong := i.answered(o, reply, w.sentMs, answered); wrong != "" {
		w.Errorf("%s; before: %q", wrong, i.history)
	}
	w.pending = nil
	w.done.Add(1)
	return nil
}

func (i *item) note(args []string) {
	text := fmt.Sprint(now(), " ", args)
	if i.history = append(i.history, text[:min(len(text), 100)]); len(i.history) > 10 {
		i.history = i.history[1:]
	}
}

// nextToEnd is the item whose end is the nearest to now, before or behind it.
func (w *worker) nextToEnd() *item {
	best, nearest, at := w.items[0], int64(1<<62), now()
	for _, i := range w.items {
		if i.life.hi == 0 {
			continue
		}
		if d := max(at-i.life.hi, i.life.lo-at); d < nearest {
			best, nearest = i, d
		}
	}
	return best
}

// everybody has all clients do something on connections of their own.
func (r *run) everybody(do func(w *worker, c *process.Client)) {
	var all sync.WaitGroup
	for _, w := range r.workers {
		c := r.n.Dial()
		all.Go(func() { do(w, c) })
	}
	all.Wait()
}

// compareAll looks at each item. What the last command has done before the server died is found out.
func (w *worker) compareAll(c *process.Client) {
	died := now()
	for _, i := range w.items {
		var o *operation
		if w.pending != nil && w.on == i {
			o = w.pending
		}
		sent := now()
		value, endMs, err := i.show(c)
		if err != nil {
			w.Errorf("%s: %v", i, err)
			return
		}
		if wrong := i.seen(i.outcomes(o, w.sentMs, died), value, endMs, sent, now()); wrong != "" {
			w.Errorf("%s; before: %q", wrong, i.history)
		}
	}
	w.pending = nil
}

// idle waits until nothing that has ended is left, and compares DBSIZE, SCAN and the model.
func (r *run) idle() {
	if r.Failed() {
		return
	}
	c := r.n.Dial()
	for deadline := time.Now().Add(time.Minute); ; {
		from := now()
		names := map[string]bool{}
		if _, err := c.Scan("0", 1000, func(name string) { names[name] = true }); err != nil {
			r.Fatal(err)
		}
		size := c.Must(r.T, "DBSIZE").(int64)
		wrong := r.compareNames(names, from, now())
		if wrong != "" {
			r.Fatal(wrong)
		}
		if size == int64(len(names)) {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("DBSIZE %d, but SCAN shows %d keys", size, len(names))
		}
	}
}

// compareNames judges what a SCAN has shown.
func (r *run) compareNames(names map[string]bool, sent, answered int64) string {
	least, most := map[string]bool{}, map[string]bool{}
	for _, w := range r.workers {
		for _, i := range w.items {
			stage := i.life.at(sent, answered)
			if stage == alive {
				least[i.key] = true
			}
			if stage != dead {
				most[i.key] = true
			}
		}
	}
	for name := range least {
		if !names[name] {
			return fmt.Sprintf("SCAN does not show %s, which lives", name)
		}
	}
	for name := range names {
		if !most[name] {
			return fmt.Sprintf("SCAN shows %s, which does not live", name)
		}
	}
	return ""
}
