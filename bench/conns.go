package main

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conns holds many connections: what an idle one costs, how fast many active ones are, and what those who work notice while they come.
func conns(args []string) error {
	fs := flag.NewFlagSet("conns", flag.ExitOnError)
	ports := fs.String("ports", "6379", "servers on this machine, one after the other")
	n := fs.Int("c", 20_000, "connections")
	active := fs.Int("active", 5_500, "of them active")
	last := fs.Duration("t", 10*time.Second, "how long they are")
	within := fs.Duration("within", 5*time.Second, "all connections are to come within this time")
	others := fs.Int("others", 20, "clients that work while they come")
	fs.Parse(args)

	possible, err := raiseFiles()
	if err != nil {
		return err
	}
	fsync, err := fsyncLatency(".")
	if err != nil {
		return err
	}
	for _, port := range strings.Split(*ports, ",") {
		b := &connsBench{addr: "127.0.0.1:" + port, port: port, fsync: fsync}
		if b.pid, err = processID(b.addr); err != nil {
			return err
		}
		wanted, err := b.allowed(min(*n, possible-*others-64))
		if err != nil {
			return err
		}
		if wanted < *n {
			fmt.Printf("%s: the limits of open files leave room for %d connections, not %d\n", port, wanted, *n)
		}
		if err := b.run(wanted-*others-1, min(*active, wanted), *others, *last, *within); err != nil {
			return fmt.Errorf("port %s: %w", port, err)
		}
	}
	return nil
}

// raiseFiles takes all the open files that this process may have.
func raiseFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	return int(limit.Max), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

type connsBench struct {
	addr, port string
	pid        int
	fsync      time.Duration
	conns      []net.Conn
}

// allowed raises maxclients as far as the server can, up to n, and lets clients come from everywhere on this machine.
func (b *connsBench) allowed(n int) (int, error) {
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := ask(c, r, "CONFIG SET protected-mode no\r\n"); err != nil {
		return 0, err
	}
	for {
		reply, err := ask(c, r, fmt.Sprintf("CONFIG SET maxclients %d\r\n", n))
		if err != nil || reply[0] == '+' {
			return n, err
		}
		words := strings.Fields(reply) // … try with N
		possible, err := strconv.Atoi(words[len(words)-1])
		if err != nil || possible >= n {
			return 0, fmt.Errorf("maxclients: %s", reply)
		}
		n = possible
	}
}

func ask(c net.Conn, r *bufio.Reader, request string) (string, error) {
	if _, err := c.Write([]byte(request)); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	if err == nil && line[0] == '$' && line != "$-1\r\n" {
		size, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
		_, err = r.Discard(size + 2)
	}
	return strings.TrimSpace(line), err
}

func (b *connsBench) run(n, active, others int, last, within time.Duration) error {
	defer b.closeAll()
	quiet, err := b.work(others, within, nil)
	if err != nil {
		return err
	}
	before, cpu := b.settledKB(), cpuSeconds(b.pid)
	var took time.Duration
	busy, err := b.work(others, 0, func() error {
		start := time.Now()
		defer func() { took = time.Since(start) }()
		return b.connect(n, within)
	})
	if err != nil {
		return err
	}
	cpu = cpuSeconds(b.pid) - cpu
	idle := b.settledKB()
	if err := b.pingAll(); err != nil {
		return err
	}
	used := b.settledKB()
	busyCPU := cpuSeconds(b.pid)
	rate, err := b.drive(active, last)
	if err != nil {
		return err
	}
	perCommandUs := (cpuSeconds(b.pid) - busyCPU) * 1e6 / (rate * last.Seconds())
	after := b.settledKB()
	perConn := func(kb int) float64 { return float64(kb-before) / float64(n) }
	if took > within {
		fmt.Printf("%s: that all come within %v was not reached\n", b.port, within)
	}
	fmt.Printf("%s: %d connections in %v (%.2f s of the server's CPU, the others' work included); RssAnon per connection: idle %.1f KiB, after a first command %.1f KiB, after the load %.1f KiB\n",
		b.port, n, took.Round(time.Millisecond), cpu, perConn(idle), perConn(used), perConn(after))
	fmt.Printf("%s: %d active, GET/SET 90/10: %.0f/s (%.1f us of the server's CPU each), no error\n", b.port, active, rate, perCommandUs)
	fmt.Printf("%s: p99 of %d others: %v quiet, %v while they came (%.1f times)\n", b.port, others, quiet.p99, busy.p99, float64(busy.p99)/float64(quiet.p99))
	for name, value := range map[string]float64{
		"idle_kib": perConn(idle), "used_kib": perConn(used), "rate_per_s": rate, "connect_s": took.Seconds(), "p99_ratio": float64(busy.p99) / float64(quiet.p99),
	} {
		unit := name[strings.LastIndexByte(name, '_')+1:]
		if err := save("conns_"+name+"_"+b.port, value, unit, b.fsync); err != nil {
			return err
		}
	}
	return nil
}

// settledKB is RssAnon once it has stopped growing.
func (b *connsBench) settledKB() int {
	last := rssAnonKB(b.pid)
	for range 20 {
		time.Sleep(250 * time.Millisecond)
		now := rssAnonKB(b.pid)
		if now-last < 256 && last-now < 256 {
			return now
		}
		last = now
	}
	return last
}

// connect opens n connections, evenly over half of the time that there is.
func (b *connsBench) connect(n int, within time.Duration) error {
	start := time.Now()
	const step = 50
	for len(b.conns) < n {
		for range min(step, n-len(b.conns)) {
			// One address has some 28,000 ports, and finding the last free ones takes the kernel long.
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+len(b.conns)%4))}}
			c, err := from.Dial("tcp", b.addr)
			if err != nil {
				return err
			}
			c.(*net.TCPConn).SetLinger(0) // leaves no port behind that waits for its time to pass
			b.conns = append(b.conns, c)
		}
		due := start.Add(time.Duration(float64(within) * 0.8 * float64(len(b.conns)) / float64(n)))
		time.Sleep(time.Until(due))
	}
	return nil
}

func (b *connsBench) closeAll() {
	for _, c := range b.conns {
		c.Close()
	}
}

func (b *connsBench) pingAll() error {
	line := make([]byte, 64)
	for i, c := range b.conns {
		if _, err := c.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
			return err
		}
		if n, err := c.Read(line); err != nil || string(line[:n]) != "+PONG\r\n" {
			return fmt.Errorf("connection %d: %q, %w", i, line[:n], err)
		}
	}
	return nil
}

// drive has some of the connections work as fast as they can.
func (b *connsBench) drive(active int, last time.Duration) (rate float64, err error) {
	var done atomic.Int64
	start := time.Now()
	end := start.Add(last)
	failed := make(chan error, active)
	var wg sync.WaitGroup
	for i := range active {
		c := b.conns[i*len(b.conns)/active]
		wg.Go(func() {
			n, err := mix(c, func() bool { return time.Now().Before(end) }, nil)
			done.Add(int64(n))
			if err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-failed:
		return 0, fmt.Errorf("%d of the active connections failed: %w", len(failed)+1, err)
	default:
		return float64(done.Load()) / took.Seconds(), nil
	}
}

// mix runs 90 % GET and 10 % SET on a connection.
func mix(c net.Conn, more func() bool, times *[]time.Duration) (n int, err error) {
	value := strings.Repeat("x", 100)
	r := bufio.NewReaderSize(c, 512)
	for more() {
		request := fmt.Sprintf("*2\r\n$3\r\nGET\r\n$10\r\nkey:%06d\r\n", rand.IntN(100_000))
		if rand.IntN(10) == 0 {
			request = fmt.Sprintf("*3\r\n$3\r\nSET\r\n$10\r\nkey:%06d\r\n$100\r\n%s\r\n", rand.IntN(100_000), value)
		}
		start := time.Now()
		reply, err := ask(c, r, request)
		if err != nil {
			return n, err
		}
		if reply[0] == '-' {
			return n, fmt.Errorf("the server answered %q", reply)
		}
		if times != nil {
			*times = append(*times, time.Since(start))
		}
		n++
	}
	return n, nil
}

type latency struct{ p99 time.Duration }

// work has clients of their own work for a while, or as long as meanwhile takes; each rests a little between two commands.
func (b *connsBench) work(clients int, last time.Duration, meanwhile func() error) (l latency, err error) {
	var stop atomic.Bool
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", b.addr)
			if err != nil {
				failed <- err
				return
			}
			defer c.Close()
			var times []time.Duration
			more := func() bool { time.Sleep(2 * time.Millisecond); return !stop.Load() }
			if _, err := mix(c, more, &times); err != nil {
				failed <- err
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
		})
	}
	if meanwhile != nil {
		err = meanwhile()
	} else {
		time.Sleep(last)
	}
	stop.Store(true)
	wg.Wait()
	select {
	case failure := <-failed:
		return l, failure
	default:
	}
	if err != nil || len(all) == 0 {
		return l, err
	}
	slices.Sort(all)
	return latency{all[len(all)*99/100]}, nil
}
