package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// foreground is what clients do while data die: writes and reads at a steady rate, and single SETs whose time is measured.
type foreground struct {
	keys  uint64 // among which writes and reads choose
	end   context.CancelFunc
	done  sync.WaitGroup
	mu    sync.Mutex
	took  []time.Duration // of single SETs, since the last cut; guarded by mu
	fails error           // guarded by mu
}

const (
	foregroundRate = 5000 // writes a second, and as many reads
	foregroundTick = 10 * time.Millisecond
	probeTick      = 2 * time.Millisecond
)

// foreground writes all keys once, so that there will be no new ones, and begins. The caller calls stop.
func (s *scene) foreground(ctx context.Context, keys uint64) (*foreground, error) {
	addr := s.server.addr
	if _, err := s.many(ctx, keys, func(c *client, i uint64) { put(c, fmt.Sprintf("fg:%09d", i), 100, i) }); err != nil {
		return nil, err
	}
	f := &foreground{keys: keys}
	ctx, f.end = context.WithCancel(ctx)
	f.done.Go(func() { f.fail(f.load(ctx, addr)) })
	f.done.Go(func() {
		f.fail(f.measure(ctx, addr, func(c *client) {
			c.add([]byte("SET"), fmt.Appendf(nil, "fg:%09d", rand.Uint64N(f.keys)), []byte("probe"))
		}))
	})
	return f, nil
}

func (f *foreground) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = errors.Join(f.fails, err)
}

// stop ends it and tells what went wrong.
func (f *foreground) stop() error {
	f.end()
	f.done.Wait()
	return f.fails
}

func (f *foreground) load(ctx context.Context, addr string) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.close()
	value := make([]byte, 100)
	tick := time.NewTicker(foregroundTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range foregroundRate * foregroundTick / time.Second {
			n := rand.Uint64N(f.keys)
			fill(value, n)
			c.add([]byte("SET"), fmt.Appendf(nil, "fg:%09d", n), value)
			c.add([]byte("GET"), fmt.Appendf(nil, "fg:%09d", rand.Uint64N(f.keys)))
		}
		if err := c.run(); err != nil {
			return err
		}
	}
}

// measure measures commands, one after the other: one that waits delays the next, so that a stop is seen as one long time.
func (f *foreground) measure(ctx context.Context, addr string, add func(c *client)) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.close()
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		add(c)
		begin := time.Now()
		if err := c.run(); err != nil {
			return err
		}
		took := time.Since(begin)
		f.mu.Lock()
		f.took = append(f.took, took)
		f.mu.Unlock()
	}
}

// startReads measures one command, again and again, and nothing else.
func startReads(ctx context.Context, addr, command string) *foreground {
	f := &foreground{}
	ctx, f.end = context.WithCancel(ctx)
	f.done.Go(func() { f.fail(f.measure(ctx, addr, func(c *client) { c.addLine(command) })) })
	return f
}

// latencies are what single SETs took in a while.
type latencies struct{ p50, p99, longest time.Duration }

// cut returns what was measured since the last cut.
func (f *foreground) cut() (l latencies) {
	f.mu.Lock()
	took := f.took
	f.took = nil
	f.mu.Unlock()
	if len(took) == 0 {
		return l
	}
	slices.Sort(took)
	return latencies{took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

// quietTime is how long the quiet times are measured.
const quietTime = 10 * time.Second

// quiet measures an undisturbed while. What came before is forgotten.
func (f *foreground) quiet(ctx context.Context) (l latencies, err error) {
	if err := rest(ctx, 2*time.Second); err != nil {
		return l, err
	}
	f.cut()
	err = rest(ctx, quietTime)
	return f.cut(), err
}

const longestStop = 100 * time.Millisecond

// noticed adds what clients noticed.
func (s *scene) noticed(quiet, meanwhile latencies) {
	s.add("set_p50_quiet_ms", ms(quiet.p50), "ms")
	s.add("set_p50_ms", ms(meanwhile.p50), "ms")
	s.add("set_p99_quiet_ms", ms(quiet.p99), "ms")
	s.add("stop_quiet_ms", ms(quiet.longest), "ms")
	s.limit("set_p99_ms", ms(meanwhile.p99), 2*ms(quiet.p99), "ms")
	s.limit("stop_ms", ms(meanwhile.longest), ms(longestStop), "ms")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
