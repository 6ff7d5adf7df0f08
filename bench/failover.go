package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// failover kills the leader of a cluster again and again, and measures the time until a write through another node is acknowledged that was sent after the
// kill. Before that the cluster may be kept busy for a while, to see that the timeouts that make this fast call no election for nothing.
func failover(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("failover", flag.ExitOnError)
	kills := fs.Int("kills", 50, "how often the leader is killed")
	transfers := fs.Int("transfers", 0, "how often leadership is handed over first, with load through all nodes")
	busy := fs.Duration("busy", 0, "saturate the cluster for so long first and count the elections")
	binary := fs.String("sett", "./sett", "the server's binary")
	sets := fs.String("set", "memory_budget=256MiB", "settings of the nodes, separated by commas")
	port := fs.Int("port", 16400, "the first of six ports")
	dir := fs.String("dir", "", "directory for the nodes' data, removed at the end (a new one in $TMPDIR)")
	fs.Parse(args)

	temp, err := os.MkdirTemp(*dir, "sett-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	fsync, err := fsyncLatency(temp)
	if err != nil {
		return err
	}
	n, err := startNodes(ctx, *binary, temp, *port, strings.Split(*sets, ",")...)
	if err != nil {
		return err
	}
	defer n.stop()
	f := figures{name: "failover", fsync: fsync}
	if *busy > 0 {
		elections, err := n.saturate(ctx, *busy)
		if err != nil {
			return err
		}
		f.add("elections_while_busy", float64(elections), "elections")
	}
	if *transfers > 0 {
		if err := n.handOver(ctx, *transfers, &f); err != nil {
			return err
		}
	}
	var took []time.Duration
	for i := range *kills {
		d, err := n.killLeader(ctx)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i, err)
		}
		took = append(took, d)
		fmt.Printf("  kill %2d: %v\n", i+1, d.Round(time.Millisecond))
	}
	if len(took) > 0 {
		f.add("median_ms", median(took).Seconds()*1e3, "ms")
		f.add("worst_ms", slices.Max(took).Seconds()*1e3, "ms")
		f.add("kills", float64(len(took)), "kills")
	}
	return f.save()
}

// killLeader ends the leader and returns when another node has taken a write. Then the one that was killed is back.
func (n *nodes) killLeader(ctx context.Context) (time.Duration, error) {
	leader, err := n.leader(ctx)
	if err != nil {
		return 0, err
	}
	others := slices.DeleteFunc(slices.Clone(n.all), func(s *server) bool { return s == leader })
	other := others[rand.IntN(len(others))]
	if err := other.do("SET", "failover", "before"); err != nil { // it knows the leader
		return 0, err
	}
	c, err := dial(other.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	leader.process.Kill()
	killed := time.Now()
	for {
		c.out, c.sent = c.out[:0], 0
		c.add([]byte("SET"), []byte("failover"), []byte("after"))
		err := c.run()
		if err == nil {
			break
		}
		if !strings.HasPrefix(err.Error(), "-") || time.Since(killed) > time.Minute {
			return 0, fmt.Errorf("%v after the kill: %w", time.Since(killed), err)
		}
	}
	took := time.Since(killed)
	<-leader.ended
	if err := n.again(ctx, leader); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Second + rand.N(time.Second)): // at any moment between two heartbeats
	}
	return took, nil
}

// saturate keeps the cluster as busy as it can be, through one of its followers and through its leader, and counts elections.
func (n *nodes) saturate(ctx context.Context, last time.Duration) (elections int, err error) {
	before, err := n.term(n.all[0])
	if err != nil {
		return 0, err
	}
	ends := make(chan error, len(n.all))
	for _, s := range n.all {
		l := &loading{keys: 1_000_000, bytes: 100, last: last, conns: 170, depth: 16, quiet: true, server: s, end: time.Now().Add(last), lastMs: time.Now().UnixMilli()}
		for range l.conns {
			go func() { ends <- l.connection(ctx) }()
		}
		defer func() { fmt.Printf("  %s: %.0f writes/s\n", l.server.name, float64(l.done.Load())/last.Seconds()) }()
	}
	for range 170 * len(n.all) {
		if e := <-ends; e != nil {
			err = e
		}
	}
	if err != nil {
		return 0, err
	}
	after, err := n.term(n.all[0])
	return after - before, err
}

// pauseLoad is what goes through one node while leadership is handed over: a connection that writes, and one that reads what it wrote. It notes errors, and
// how long the longest command took since it was last asked.
type pauseLoad struct {
	longest atomic.Int64 // ns

	mu     sync.Mutex
	failed []string
}

func (p *pauseLoad) run(ctx context.Context, addr string, words ...[]byte) {
	c, err := dial(addr)
	if err != nil {
		p.fail(err)
		return
	}
	defer c.close()
	for ctx.Err() == nil {
		c.out, c.sent = c.out[:0], 0
		c.add(words...)
		begun := time.Now()
		if err := c.run(); err != nil {
			p.fail(err)
			if !strings.HasPrefix(err.Error(), "-") {
				return
			}
		}
		for took, longest := int64(time.Since(begun)), p.longest.Load(); took > longest && !p.longest.CompareAndSwap(longest, took); longest = p.longest.Load() {
		}
	}
}

func (p *pauseLoad) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = append(p.failed, err.Error())
}

// handOver has leadership handed over again and again, by different commands through any node, and measures the longest command around each.
func (n *nodes) handOver(ctx context.Context, times int, f *figures) error {
	p := &pauseLoad{}
	loaded, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for i, s := range n.all {
		for j := range 4 {
			key := fmt.Appendf(nil, "handover:%d:%d", i, j)
			running.Go(func() { p.run(loaded, s.addr, []byte("SET"), key, []byte("value")) })
			running.Go(func() { p.run(loaded, s.addr, []byte("GET"), key) })
		}
	}
	var pauses, calm []time.Duration
	refused := 0
	for i := range times {
		p.longest.Store(0)
		time.Sleep(500 * time.Millisecond)
		calm = append(calm, time.Duration(p.longest.Swap(0)))
		leader, err := n.leader(ctx)
		if err != nil {
			stop()
			return err
		}
		words := []string{"SETT", "CLUSTER", "TRANSFER"}
		asked := n.all[i%len(n.all)]
		if i%2 == 1 {
			asked, words = leader, []string{"FAILOVER"}
		}
		if err := asked.do(words...); err != nil {
			refused++
			fmt.Printf("  %s: %v\n", strings.Join(words, " "), err)
		}
		for since := time.Now(); time.Since(since) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			if now, err := n.leader(ctx); err == nil && now != leader {
				break
			}
		}
		time.Sleep(200 * time.Millisecond)
		pauses = append(pauses, time.Duration(p.longest.Load()))
		fmt.Printf("  transfer %2d: longest command %v, without one %v\n", i+1, pauses[i].Round(time.Millisecond), calm[i].Round(time.Millisecond))
	}
	stop()
	running.Wait()
	for _, line := range p.failed[:min(5, len(p.failed))] {
		fmt.Println("  failed:", line)
	}
	f.add("transfer_median_ms", median(pauses).Seconds()*1e3, "ms")
	f.add("transfer_worst_ms", slices.Max(pauses).Seconds()*1e3, "ms")
	f.add("no_transfer_worst_ms", slices.Max(calm).Seconds()*1e3, "ms")
	f.add("transfers", float64(times), "transfers")
	f.add("transfers_refused", float64(refused), "commands")
	f.add("transfer_failed_commands", float64(len(p.failed)), "commands")
	return nil
}
