package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// large works on one long string, and looks at the time and memory that each command takes, at what it writes to the log, and at what other
// clients notice.
func large(args []string) error {
	fs := flag.NewFlagSet("large", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:6379", "the server")
	mib := fs.Int("mib", 512, "length of the string, MiB")
	slow := fs.Duration("slow", 30*time.Second, "how long a slow client takes to send or read it")
	clients := fs.Bool("slow-clients", false, "only look at what others notice of slow clients")
	fs.Parse(args)

	pid, err := processID(*addr)
	if err != nil {
		return err
	}
	b := &largeBench{addr: *addr, bytes: *mib << 20, slow: *slow, pid: pid}
	defer b.watchMemory()()
	if b.conn, err = net.Dial("tcp", *addr); err != nil {
		return err
	}
	defer b.conn.Close()
	b.r = bufio.NewReaderSize(b.conn, 1<<20)
	if !*clients {
		if err := b.commands(); err != nil {
			return err
		}
	}
	return b.slowClients()
}

type largeBench struct {
	addr  string
	bytes int
	slow  time.Duration
	pid   int
	conn  net.Conn
	r     *bufio.Reader
	peak  atomic.Int64 // RssAnon in KB since it was last asked for
}

func (b *largeBench) watchMemory() (stop func()) {
	end := make(chan struct{})
	go func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
				b.peak.Store(max(b.peak.Load(), int64(rssAnonKB(b.pid))))
			}
		}
	}()
	return func() { close(end) }
}

func (b *largeBench) commands() error {
	last := strconv.Itoa(b.bytes - 10)
	random := func(command ...string) func() []string {
		return func() []string {
			c := slices.Clone(command)
			for i := range c {
				if c[i] == "?" {
					c[i] = strconv.Itoa(rand.IntN(b.bytes))
				}
			}
			return c
		}
	}
	fixed := func(command ...string) func() []string { return func() []string { return command } }
	tenBytes := func() []string {
		from := rand.IntN(b.bytes - 10)
		return []string{"GETRANGE", "big", strconv.Itoa(from), strconv.Itoa(from + 9)}
	}
	mib, next := strings.Repeat("sett", 1<<18), 0
	fill := func() []string {
		next++
		return []string{"SETRANGE", "full", strconv.Itoa((next - 1) << 20), mib}
	}
	fmt.Printf("%-26s %8s %10s %12s %10s %9s\n", "command", "times", "ms each", "log bytes", "reads", "RssAnon")
	if err := b.measure("SET", 1, b.set("big")); err != nil {
		return err
	}
	for _, m := range []struct {
		name    string
		times   int
		command func() []string
	}{
		{"STRLEN", 100, fixed("STRLEN", "big")},
		{"GET", 1, fixed("GET", "big")},
		{"GETRANGE of 10 bytes", 1000, tenBytes},
		{"BITCOUNT", 1, fixed("BITCOUNT", "big")},
		{"BITPOS", 1, fixed("BITPOS", "big", "1", last)},
		{"SETBIT, the first", 1, random("SETBIT", "big", "?", "1")},
		{"SETBIT", 1000, random("SETBIT", "big", "?", "1")},
		{"SETRANGE of 100 bytes", 1000, random("SETRANGE", "big", "?", strings.Repeat("r", 100))},
		{"GETRANGE of 10 bytes", 1000, tenBytes},
		{"SETBIT at the end", 1, fixed("SETBIT", "big", strconv.Itoa(b.bytes*8-1), "1")},
		{"GET", 1, fixed("GET", "big")},
		{"BITCOUNT", 1, fixed("BITCOUNT", "big")},
		{"RENAME", 1, fixed("RENAME", "big", "big2")},
		{"COPY", 1, fixed("COPY", "big2", "big3")},
		{"DEL of a copy", 1, fixed("DEL", "big3")},
		{"DEL of a paged one", 1, fixed("DEL", "big2")},
		{"SET of 100 bytes", 1, fixed("SET", "tail", strings.Repeat("t", 100))},
		{"APPEND of 100 bytes", 10_000, fixed("APPEND", "tail", strings.Repeat("a", 100))},
		{"DEL", 1, fixed("DEL", "tail")},
		{"SETRANGE in a new string", 1, fixed("SETRANGE", "full", "1", "x")},
		{"SETRANGE of each MiB", b.bytes >> 20, fill},
		{"GET, all in pages", 1, fixed("GET", "full")},
		{"GETRANGE of 1 MiB", 100, func() []string {
			from := rand.IntN(b.bytes - 1<<20)
			return []string{"GETRANGE", "full", strconv.Itoa(from), strconv.Itoa(from + 1<<20 - 1)}
		}},
		{"BITCOUNT", 1, fixed("BITCOUNT", "full")},
		{"SETBIT", 1000, random("SETBIT", "full", "?", "1")},
		{"DEL", 1, fixed("DEL", "full")},
	} {
		if err := b.measure(m.name, m.times, func() error { return b.do(m.command()...) }); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// set sends a SET of the whole length.
func (b *largeBench) set(key string) func() error {
	return func() error {
		if err := b.send(b.conn, key, 1<<20, 0); err != nil {
			return err
		}
		return b.reply(b.r, 0)
	}
}

// send sends a SET in pieces, with a pause after each.
func (b *largeBench) send(c net.Conn, key string, pieceBytes int, pause time.Duration) error {
	fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n", len(key), key, b.bytes)
	piece := make([]byte, pieceBytes)
	for i := range piece {
		piece[i] = byte(rand.Uint32())
	}
	for left := b.bytes; left > 0; left -= len(piece) {
		if _, err := c.Write(piece[:min(left, len(piece))]); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	_, err := io.WriteString(c, "\r\n")
	return err
}

func (b *largeBench) do(words ...string) error {
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(b.conn, out.String()); err != nil {
		return err
	}
	return b.reply(b.r, 0)
}

// reply reads one reply, a long one in pieces of 1 MiB with a pause after each.
func (b *largeBench) reply(r *bufio.Reader, pause time.Duration) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if line[0] == '-' {
		return fmt.Errorf("the server answered %q", line)
	}
	if line[0] != '$' {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	for left := n + 2; err == nil && n >= 0 && left > 0; {
		piece := min(left, 1<<20)
		_, err = io.CopyN(io.Discard, r, int64(piece))
		left -= piece
		time.Sleep(pause)
	}
	return err
}

// info reads a counter of the server.
func (b *largeBench) info(name string) (n int64) {
	fmt.Fprint(b.conn, "*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n")
	head, _ := b.r.ReadString('\n')
	size, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
	text := make([]byte, size+2)
	io.ReadFull(b.r, text)
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ = strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return n
}

func (b *largeBench) measure(name string, times int, do func() error) error {
	logged, read := b.info("log_entry_bytes"), b.info("badger_reads")
	b.peak.Store(0)
	start := time.Now()
	for range times {
		if err := do(); err != nil {
			return err
		}
	}
	each := time.Since(start) / time.Duration(times)
	time.Sleep(50 * time.Millisecond)
	fmt.Printf("%-26s %8d %10.3f %12d %10d %5d MiB\n", name, times, float64(each.Microseconds())/1000,
		(b.info("log_entry_bytes")-logged)/int64(times), b.info("badger_reads")-read, b.peak.Load()>>10)
	return nil
}

// slowClients sends and reads the string slowly, and tells what others notice.
func (b *largeBench) slowClients() error {
	if err := b.set("slow")(); err != nil {
		return err
	}
	if err := (&server{addr: b.addr}).drain(); err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // and compacted, perhaps
	pieces := b.bytes / (64 << 10)
	pause := b.slow / time.Duration(pieces)
	quiet, err := b.others(func() error { time.Sleep(5 * time.Second); return nil })
	if err != nil {
		return err
	}
	sending, err := b.others(func() error { return b.send(b.conn, "slow2", 64<<10, pause) })
	if err != nil {
		return err
	}
	if err := b.reply(b.r, 0); err != nil {
		return err
	}
	reading, err := b.others(func() error {
		fmt.Fprint(b.conn, "GET slow\r\n")
		return b.reply(b.r, 16*pause)
	})
	if err != nil {
		return err
	}
	fmt.Printf("p99 of others, GET and SET by turns: quiet %v, while a client sends %d MiB slowly %v, while one reads it slowly %v; RssAnon %d MiB\n",
		quiet, b.bytes>>20, sending, reading, b.peak.Load()>>10)
	return nil
}

// others is the p99 of 10 connections that GET and SET short values while work runs.
func (b *largeBench) others(work func() error) (time.Duration, error) {
	stop := make(chan struct{})
	results := make(chan []time.Duration)
	failed := make(chan error, 11)
	b.peak.Store(0)
	const conns = 10
	for range conns {
		go func() {
			took, err := b.other(stop)
			if err != nil {
				failed <- err
			}
			results <- took
		}()
	}
	err := work()
	close(stop)
	var all []time.Duration
	for range conns {
		all = append(all, <-results...)
	}
	select {
	case err = <-failed:
	default:
	}
	if err != nil || len(all) == 0 {
		return 0, err
	}
	slices.Sort(all)
	return all[len(all)*99/100], nil
}

func (b *largeBench) other(stop chan struct{}) (took []time.Duration, err error) {
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return took, nil
		case <-time.After(2 * time.Millisecond):
		}
		start := time.Now()
		if i%2 == 0 {
			fmt.Fprintf(c, "SET other:%d v\r\n", rand.IntN(10_000))
		} else {
			fmt.Fprintf(c, "GET other:%d\r\n", rand.IntN(10_000))
		}
		if err := b.reply(r, 0); err != nil {
			return took, err
		}
		took = append(took, time.Since(start))
	}
}
