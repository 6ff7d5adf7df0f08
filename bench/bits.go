package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// bits sets random bits of one string. redis-benchmark cannot: its random numbers have leading zeros, which are no offsets.
func bits(args []string) error {
	fs := flag.NewFlagSet("bits", flag.ExitOnError)
	ports := fs.String("ports", "6379,6380", "servers on this machine; the first is what the others are compared with")
	mib := fs.Int("mib", 512, "length of the string, MiB")
	depth := fs.Int("P", 16, "pipeline")
	conns := fs.Int("c", 50, "connections")
	rounds := fs.Int("rounds", 3, "rounds")
	seconds := fs.Float64("s", 20, "how long a run takes, s")
	fs.Parse(args)

	servers := strings.Split(*ports, ",")
	fsync, err := fsyncLatency(".")
	if err != nil {
		return err
	}
	rates, cpus := make([][]float64, len(servers)), make([][]float64, len(servers))
	for range *rounds {
		for i, port := range servers {
			b := bitLoad{port: port, bits: uint64(*mib) << 23, depth: *depth, end: time.Now().Add(time.Duration(*seconds * float64(time.Second)))}
			rate, cpuUs, err := b.run(*conns, *seconds)
			if err != nil {
				return err
			}
			rates[i], cpus[i] = append(rates[i], rate), append(cpus[i], cpuUs)
		}
	}
	fmt.Printf("fsync %v\nsetbit in %d MiB P=%d", fsync, *mib, *depth)
	for i, port := range servers {
		ratio := median(rates[i]) / median(rates[0])
		fmt.Printf("  %s: %.0f/s %.2f (%.2f us CPU; %.0f)", port, median(rates[i]), ratio, median(cpus[i]), rates[i])
		if err := save("bits_"+port, ratio, "ratio", fsync); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

type bitLoad struct {
	port  string
	bits  uint64 // length of the string
	depth int
	end   time.Time
	done  atomic.Int64
}

// run returns commands per second, and the server's CPU time for each until it is drained.
func (b *bitLoad) run(conns int, seconds float64) (rate, cpuUs float64, err error) {
	s, err := running("127.0.0.1:" + b.port)
	if err != nil {
		return 0, 0, err
	}
	before := s.cpuSeconds()
	failed := make(chan error, conns)
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			if err := b.client(); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return 0, 0, err
	default:
	}
	if err := s.drain(); err != nil {
		return 0, 0, err
	}
	n := float64(b.done.Load())
	return n / seconds, (s.cpuSeconds() - before) / n * 1e6, nil
}

func (b *bitLoad) client() error {
	c, err := net.Dial("tcp", "127.0.0.1:"+b.port)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	var out []byte
	for time.Now().Before(b.end) {
		out = out[:0]
		for range b.depth {
			out = fmt.Appendf(out, "SETBIT bench:bits %d 1\r\n", rand.Uint64N(b.bits))
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		for range b.depth {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if line[0] == '-' {
				return errors.New(strings.TrimSpace(line))
			}
		}
		b.done.Add(int64(b.depth))
	}
	return nil
}
