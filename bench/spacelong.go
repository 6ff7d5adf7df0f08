package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// valueBytes is the size of large values: too large for a table, small enough not to be staged.
const valueBytes = 1 << 20

// largeValues writes, overwrites and deletes large values, kills the server again and again, and compares all of them with what they have to be.
func (b *spaceBench) largeValues(ctx context.Context, s *scene) error {
	const cycles = 20
	v := &values{s: s, versions: make([]uint64, b.of(1000))}
	n := len(v.versions)
	for range cycles {
		if err := ctx.Err(); err != nil {
			return err
		}
		order := rand.Perm(n)
		err := errors.Join(v.write(order), v.write(order[:n/2]), v.remove(order[n/2:n/2+n/3]), s.server.do("DEBUG", "SETT", "RECLAIM"))
		if err == nil {
			err = rest(ctx, b.lasting(10*time.Second))
		}
		if err == nil {
			err = s.killed(ctx, func() error { return v.collectMeanwhile() })
		}
		if err == nil {
			err = v.compare()
		}
		if err != nil {
			return err
		}
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	fields, err := info(s.server.addr, "sett")
	if err != nil {
		return err
	}
	live, fileBytes := float64(v.live()*valueBytes), float64(64<<20)
	var log float64
	fmt.Sscan(fields["value_log_bytes"], &log)
	s.limit("value_log_mib", log/(1<<20), (1.5*live+2*fileBytes)/(1<<20), "MiB")
	s.add("values", float64(v.live()), "values")
	return v.compare()
}

// killed kills the server while something is going on and starts it again.
func (s *scene) killed(ctx context.Context, meanwhile func() error) error {
	s.endLife()
	ended := make(chan error, 1)
	go func() { ended <- meanwhile() }() // it fails when the server goes
	if err := rest(ctx, time.Duration(rand.Int64N(int64(2*time.Second)))); err != nil {
		return err
	}
	s.server.stop(os.Kill)
	<-ended
	next, err := s.b.start(ctx, s.name, s.b.port)
	if err != nil {
		return err
	}
	s.server = next
	s.beginLife()
	return nil
}

// values are the model: what each large value has to be.
type values struct {
	s        *scene
	versions []uint64 // 0: there is none
	last     uint64
}

func (v *values) live() (n int) {
	for _, version := range v.versions {
		if version > 0 {
			n++
		}
	}
	return n
}

func valueName(i int) []byte { return fmt.Appendf(nil, "value:%d", i) }

func (v *values) content(i int) []byte {
	value := make([]byte, valueBytes)
	fill(value, v.versions[i])
	return value
}

func (v *values) write(which []int) error {
	return v.each(which, func(c *client, i int) {
		v.last++
		v.versions[i] = v.last
		c.add([]byte("SET"), valueName(i), v.content(i))
	})
}

func (v *values) remove(which []int) error {
	return v.each(which, func(c *client, i int) {
		v.versions[i] = 0
		c.add([]byte("DEL"), valueName(i))
	})
}

func (v *values) each(which []int, add func(c *client, i int)) error {
	c, err := dial(v.s.server.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for _, i := range which {
		add(c, i)
		if err := c.run(); err != nil {
			return err
		}
	}
	return nil
}

// compare wants each value as it was written last.
func (v *values) compare() error {
	c, err := dial(v.s.server.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for i, version := range v.versions {
		c.add([]byte("GET"), valueName(i))
		got, err := c.runFor()
		switch {
		case err != nil:
			return err
		case version == 0 && got[0].text != nil:
			return fmt.Errorf("%s came back after its DEL", valueName(i))
		case version > 0 && !bytes.Equal(got[0].text, v.content(i)):
			return fmt.Errorf("%s is not what was written last: %d bytes", valueName(i), len(got[0].text))
		}
	}
	return nil
}

// collectMeanwhile has all jobs done at once.
func (v *values) collectMeanwhile() error {
	for _, job := range []string{"RECLAIM", "COMPACT", "GC"} {
		if err := v.s.server.do("DEBUG", "SETT", job); err != nil {
			return err
		}
	}
	return nil
}

// Of the push service: messages come to devices and most are received soon. What is not dies with its device, some time after the first of them, so that
// as much dies as comes long before the size is judged.
const (
	pushRate     = 5000 // messages a second
	pushBytes    = 250
	pushReceived = 0.9
)

// pushService has messages come and go at a steady rate, and follows the size of the data directory.
func (b *spaceBench) pushService(ctx context.Context, s *scene) error {
	whole := b.lasting(time.Hour)
	p := &push{devices: b.of(500_000), lives: max(time.Second, whole/6)}
	end := time.Now().Add(whole)
	f, err := s.foreground(ctx, b.of(100_000))
	if err != nil {
		return err
	}
	load, stop := context.WithDeadline(ctx, end)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- p.run(load, s.server.addr) }()
	var curve []point
	for begin := time.Now(); time.Now().Before(end); {
		size, err := diskUsage(s.server.dir)
		if err != nil {
			return errors.Join(err, f.stop())
		}
		curve = append(curve, point{time.Since(begin).Minutes(), float64(size) / (1 << 20)})
		if rest(ctx, whole/200) != nil {
			break
		}
	}
	if err := errors.Join(<-failed, f.stop()); err != nil {
		return err
	}
	s.add("received", float64(p.received), "messages")
	s.addFlatness(curve)
	if b.picture == "" {
		return nil
	}
	picture := chart{title: "data directory without log, MiB, over minutes", lines: []line{{"push service", curve}}}
	return os.WriteFile(b.picture, []byte(picture.svg()), 0o644)
}

// addFlatness tells how far the size strays from its middle, once as much dies as comes. Between two compactions it rises, so the means of tenths of that
// time are compared; how far single moments are off is told as well.
func (s *scene) addFlatness(curve []point) {
	var moments, tenths []float64
	for _, p := range curve[len(curve)/3:] {
		moments = append(moments, p.y)
	}
	for i := range 10 {
		tenth, sum := moments[i*len(moments)/10:(i+1)*len(moments)/10], 0.0
		if len(tenth) == 0 {
			return
		}
		for _, y := range tenth {
			sum += y
		}
		tenths = append(tenths, sum/float64(len(tenth)))
	}
	s.add("size_mean_mib", median(tenths), "MiB")
	s.add("size_sway_percent", strayPercent(moments), "%")
	s.limit("size_stray_percent", strayPercent(tenths), 10, "%")
}

// strayPercent is how far the farthest of some figures is from the middle one.
func strayPercent(figures []float64) float64 {
	middle := median(figures)
	return 100 * max(slices.Max(figures)/middle-1, 1-slices.Min(figures)/middle)
}

type push struct {
	devices  uint64
	lives    time.Duration // of a device, from the first message on that is not received
	next     uint64        // message
	received uint64
}

// run sends messages until ctx ends. A message is received a second after it came.
func (p *push) run(ctx context.Context, addr string) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.close()
	payload := make([]byte, pushBytes)
	lives := fmt.Appendf(nil, "%d", p.lives.Milliseconds())
	tick := time.NewTicker(foregroundTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range pushRate * foregroundTick / time.Second {
			device, field := p.message(p.next)
			fill(payload, p.next)
			c.add([]byte("HSET"), device, field, payload)
			c.add([]byte("PEXPIRE"), device, lives, []byte("NX"))
			if p.next >= pushRate && rand.Float64() < pushReceived {
				device, field := p.message(p.next - pushRate)
				c.add([]byte("HGETALL"), device)
				c.add([]byte("HDEL"), device, field)
				p.received++
			}
			p.next++
		}
		if err := c.run(); err != nil {
			return err
		}
	}
}

// message is where a message lies.
func (p *push) message(n uint64) (device, field []byte) {
	return fmt.Appendf(nil, "device:%d", n*0x9e3779b97f4a7c15>>16%p.devices), fmt.Appendf(nil, "m:%d", n)
}
