package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// writer counts up one key through whoever leads.
type writer struct {
	key   string
	acked atomic.Int64 // highest number acknowledged
	tried atomic.Int64 // highest number that may be there
}

func (w *writer) run(tr *trio, stop chan struct{}) {
	for i := int64(1); ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		w.tried.Store(i)
		if m := tr.who(); m != nil && m.set(w.key, fmt.Sprint(i)) == nil {
			w.acked.Store(i)
		} else {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// reader reads each key from whoever says it leads, and never finds less than what had been acknowledged before.
func reader(tr *trio, writers []*writer, stop chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		w := writers[i%len(writers)]
		before := w.acked.Load()
		m := tr.who()
		if m == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		got, err := m.get(w.key)
		if err != nil || !m.c.Leads() { // the lease is looked at when the value has been read
			continue
		}
		if n, _ := strconv.ParseInt(got, 10, 64); n < before {
			tr.t.Errorf("%s read %s = %d; %d had been acknowledged", m.id, w.key, n, before)
			return
		}
	}
}

// who is a node that says it leads, nil if there is none.
func (tr *trio) who() *member {
	tr.alive.RLock()
	defer tr.alive.RUnlock()
	for _, m := range tr.nodes {
		if m.up && m.c.Leads() {
			now := *m // it may be started anew meanwhile
			return &now
		}
	}
	return nil
}

// TestFaults has nodes killed, cut off, restarted and relieved of leadership while there are writers: nothing that was acknowledged is lost, no read is
// stale, and in the end all nodes have the same. SETT_FAULTS sets how many faults (default 12), SETT_SEED which.
func TestFaults(t *testing.T) {
	faults := 12
	if n, err := strconv.Atoi(os.Getenv("SETT_FAULTS")); err == nil {
		faults = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("SETT_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("SETT_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	tr := newTrio(t, 3, ClusterOptions{Fsync: Everysec, InFlight: 1 + rng.IntN(4)})
	stop, loops := make(chan struct{}), sync.WaitGroup{}
	var writers []*writer
	for i := range 4 {
		w := &writer{key: fmt.Sprint("writer", i)}
		writers = append(writers, w)
		loops.Go(func() { w.run(tr, stop) })
	}
	loops.Go(func() { reader(tr, writers, stop) })
	tr.leader()
	for range faults {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		tr.fault(rng)
	}
	tr.wires.heal()
	for _, m := range tr.nodes {
		if !m.up {
			tr.start(m)
		}
	}
	tr.leader()
	time.Sleep(50 * time.Millisecond)
	close(stop)
	loops.Wait()
	lead := tr.leader()
	var sum int64
	for _, w := range writers {
		got, err := lead.get(w.key)
		n, _ := strconv.ParseInt(got, 10, 64)
		if acked := w.acked.Load(); err != nil || n < acked || n > w.tried.Load() {
			t.Errorf("%s is %q (%v), acknowledged was %d", w.key, got, err, acked)
		}
		sum += w.acked.Load()
	}
	t.Logf("%d writes were acknowledged", sum)
	tr.alike()
}

// fault does something to a node, and sometimes undoes what was done before.
func (tr *trio) fault(rng *rand.Rand) {
	m := tr.nodes[rng.IntN(len(tr.nodes))]
	if lead := tr.who(); lead != nil && rng.IntN(2) == 0 {
		m = tr.node(lead.id)
	}
	down := 0
	for _, o := range tr.nodes {
		if !o.up {
			down++
		}
	}
	what := rng.IntN(6)
	tr.t.Logf("fault %d on %s", what, m.id)
	switch {
	case !m.up:
		tr.start(m)
	case what == 0 && down == 0:
		tr.stop(m, false)
	case what == 1 && down == 0:
		tr.stop(m, true)
		tr.start(m)
	case what == 2:
		tr.wires.isolate(m.addr)
	case what == 3:
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		m.c.Transfer(ctx, "")
	case what == 4 && down == 0:
		for _, o := range tr.nodes {
			tr.stop(o, false)
		}
		for _, o := range tr.nodes {
			tr.start(o)
		}
	default:
		tr.wires.heal()
	}
}

func (tr *trio) node(id string) *member {
	for _, m := range tr.nodes {
		if m.id == id {
			return m
		}
	}
	return nil
}
