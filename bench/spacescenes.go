package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

// put is a SET of a value of some bytes.
func put(c *client, key string, bytes int, n uint64, more ...string) {
	value := make([]byte, bytes)
	fill(value, n)
	words := [][]byte{[]byte("SET"), []byte(key), value}
	for _, m := range more {
		words = append(words, []byte(m))
	}
	c.add(words...)
}

// wave has keys die over some minutes, beside others that stay.
func (b *spaceBench) wave(ctx context.Context, s *scene) error {
	mortal, lasting := b.of(10_000_000), b.of(2_000_000)
	t, err := s.many(ctx, lasting, func(c *client, i uint64) { put(c, fmt.Sprintf("stays:%09d", i), 100, i) })
	if err != nil {
		return err
	}
	f, err := s.foreground(ctx, b.of(1_000_000))
	if err != nil {
		return err
	}
	quiet, err := f.quiet(ctx)
	if err != nil {
		return errors.Join(err, f.stop())
	}
	spread := b.lasting(5 * time.Minute)
	writing := time.Duration(3 * float64(mortal) / t.rate * float64(time.Second)) // they take longer than the others, and are not alone
	deaths := newDeaths(time.Now().Add(5*time.Second+writing), spread)
	t, err = s.many(ctx, mortal, func(c *client, i uint64) {
		put(c, fmt.Sprintf("dies:%09d", i), 100, i, "PXAT", strconv.FormatInt(deaths.draw(i), 10))
	})
	if err != nil {
		return errors.Join(err, f.stop())
	}
	s.add("load_per_s", t.rate, "1/s")
	deaths.count(mortal)
	total, err := s.databaseSize() // before the first of them dies
	if err != nil {
		return errors.Join(err, f.stop())
	}
	if time.Now().After(deaths.first) {
		return errors.Join(errors.New("writing took longer than the keys live: too slow a machine for this scale"), f.stop())
	}
	if err := rest(ctx, time.Until(deaths.first)); err != nil {
		return errors.Join(err, f.stop())
	}
	f.cut()
	cpu := s.server.cpuSeconds()
	lag, err := s.followDeaths(ctx, deaths, total)
	if err := errors.Join(err, f.stop()); err != nil {
		return err
	}
	s.add("expired_per_s", float64(mortal)/spread.Seconds(), "1/s")
	s.add("cpu_share", (s.server.cpuSeconds()-cpu)/spread.Seconds(), "cores")
	s.limit("dbsize_lag_ms", ms(lag), 1000, "ms")
	s.noticed(quiet, f.cut())
	return s.size(ctx)
}

// deaths are the times at which keys die: uniform over a while, and known from a key's number.
type deaths struct {
	first time.Time
	over  time.Duration
	dead  []int // by ms since first: how many have died
}

func newDeaths(first time.Time, over time.Duration) *deaths {
	return &deaths{first: first, over: over, dead: make([]int, over.Milliseconds()+1)}
}

// draw is when key i dies, in unix ms.
func (d *deaths) draw(i uint64) int64 { return d.first.UnixMilli() + d.at(i) }

func (d *deaths) at(i uint64) int64 {
	return int64((i * 0x9e3779b97f4a7c15 >> 20) % uint64(d.over.Milliseconds()))
}

func (d *deaths) count(n uint64) {
	for i := range n {
		d.dead[d.at(i)+1]++
	}
	for i := 1; i < len(d.dead); i++ {
		d.dead[i] += d.dead[i-1]
	}
}

// by is how many have died at a time.
func (d *deaths) by(t time.Time) int {
	return d.dead[min(max(0, t.Sub(d.first).Milliseconds()), int64(len(d.dead)-1))]
}

// followDeaths compares DBSIZE, which was total, with what has died until all have, and returns how far it was behind at worst. What is written meanwhile are
// keys that were there before.
func (s *scene) followDeaths(ctx context.Context, d *deaths, total int) (lag time.Duration, err error) {
	for end := d.first.Add(d.over); ; {
		before := time.Now()
		size, err := s.databaseSize()
		if err != nil {
			return lag, err
		}
		after := time.Now()
		gone := total - size
		if gone > d.by(after) {
			return lag, fmt.Errorf("DBSIZE says that %d have died, but only %d have", gone, d.by(after))
		}
		// Dead as many as had died this long ago.
		since := d.first.Add(time.Duration(max(0, firstAtLeast(d.dead, gone+1)-1)) * time.Millisecond)
		if behind := min(before.Sub(since), before.Sub(d.first)); gone < d.by(before) {
			lag = max(lag, behind)
		}
		if gone == d.dead[len(d.dead)-1] {
			return lag, nil
		}
		if before.After(end.Add(time.Minute)) {
			return max(lag, before.Sub(end)), nil
		}
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return lag, err
		}
	}
}

// firstAtLeast is the first place of what grows at which it is n.
func firstAtLeast(grows []int, n int) int {
	i, _ := slices.BinarySearch(grows, n)
	return i
}

func (s *scene) databaseSize() (int, error) {
	c, err := dial(s.server.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	c.addLine("DBSIZE")
	all, err := c.runFor()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(all[0].text))
}

// bigDelete removes long collections, and a database of many keys, at once.
func (b *spaceBench) bigDelete(ctx context.Context, s *scene) error {
	const collections = 50
	elements := b.of(1_000_000)
	commands := []string{"HSET c:%d", "SADD c:%d", "ZADD c:%d", "RPUSH c:%d"}
	words := []string{" f:%012[1]d v:%[1]d", " m:%012[1]d", " %[2]d m:%012[1]d", " e:%012[1]d"}
	for i := range collections {
		add := addTen(fmt.Sprintf(commands[i%4], i), words[i%4])
		if _, err := s.many(ctx, elements/10, add); err != nil {
			return err
		}
	}
	if err := s.fillOtherDatabase(ctx, b.of(10_000_000)); err != nil {
		return err
	}
	f, err := s.foreground(ctx, b.of(1_000_000))
	if err != nil {
		return err
	}
	quiet, err := f.quiet(ctx)
	if err == nil {
		err = s.deleteAll(collections)
	}
	if err == nil {
		err = rest(ctx, max(quietTime, b.rest/2))
	}
	if err := errors.Join(err, f.stop()); err != nil {
		return err
	}
	s.noticed(quiet, f.cut())
	return s.size(ctx)
}

func (s *scene) fillOtherDatabase(ctx context.Context, n uint64) error {
	_, err := s.many(ctx, n/100, func(c *client, i uint64) {
		c.addLine("SELECT 1")
		for k := range uint64(100) {
			put(c, fmt.Sprintf("key:%09d", i*100+k), 100, i)
		}
	})
	return err
}

// deleteAll measures the DELs and the FLUSHDB, each alone on its connection.
func (s *scene) deleteAll(collections int) error {
	c, err := dial(s.server.addr)
	if err != nil {
		return err
	}
	defer c.close()
	one := func(line string) (time.Duration, error) {
		c.addLine(line)
		begin := time.Now()
		err := c.run()
		return time.Since(begin), err
	}
	var took []time.Duration
	for i := range collections {
		if _, err := one(fmt.Sprintf("TYPE c:%d", i)); err != nil { // its record may have to be read
			return err
		}
		d, err := one(fmt.Sprintf("DEL c:%d", i))
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	if _, err := one("SELECT 1"); err != nil {
		return err
	}
	flush, err := one("FLUSHDB")
	if err != nil {
		return err
	}
	s.add("del_p50_ms", ms(median(took)), "ms")
	s.limit("del_longest_ms", ms(slices.Max(took)), 1, "ms")
	s.limit("flushdb_ms", ms(flush), 1, "ms")
	return nil
}

// leaderboard has members come to a sorted set and leave it at its beginning, where it is read all along.
func (b *spaceBench) leaderboard(ctx context.Context, s *scene) error {
	members, trims, pops := b.of(100_000), b.of(5_000_000), b.of(1_000_000)
	add := func(c *client, i uint64) { c.addLine(fmt.Sprintf("ZADD board %d m:%012d", i, i)) }
	if _, err := s.many(ctx, members, add); err != nil {
		return err
	}
	p := startReads(ctx, s.server.addr, "ZRANGE board 0 10")
	first, last, err := s.firstAndLast(ctx, p, trims+pops, func(c *client, i uint64) {
		add(c, members+i)
		if i%6 == 5 {
			c.addLine("ZPOPMIN board")
		} else {
			c.addLine("ZREMRANGEBYRANK board 0 0")
		}
	})
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	s.add("zrange_p50_first_ms", ms(first.p50), "ms")
	s.add("zrange_p50_last_ms", ms(last.p50), "ms")
	s.add("zrange_p99_first_ms", ms(first.p99), "ms")
	s.limit("zrange_p99_last_ms", ms(last.p99), 2*ms(first.p99), "ms")
	return s.size(ctx)
}

// firstAndLast runs n tasks and returns what reads took during the first and the last tenth.
func (s *scene) firstAndLast(ctx context.Context, p *foreground, n uint64, add func(c *client, i uint64)) (first, last latencies, err error) {
	for tenth := range uint64(10) {
		p.cut()
		t, err := s.many(ctx, n/10, func(c *client, i uint64) { add(c, n/10*tenth+i) })
		if err != nil {
			return first, last, err
		}
		last = p.cut()
		if tenth == 0 {
			first = last
			s.add("first_per_s", t.rate, "1/s")
		}
		if tenth == 9 {
			s.add("last_per_s", t.rate, "1/s")
		}
	}
	return first, last, nil
}

// queueMost is what a drained queue may leave behind.
const queueMost = 100e6

// queue has elements go through a list in which others wait, and drains it.
func (b *spaceBench) queue(ctx context.Context, s *scene) error {
	backlog, pairs := b.of(1_000_000), b.of(10_000_000)
	if _, err := s.many(ctx, backlog/10, addTen("LPUSH queue", " waiting:%012[1]d")); err != nil {
		return err
	}
	t, err := s.many(ctx, pairs, func(c *client, i uint64) {
		c.addLine(fmt.Sprintf("LPUSH queue element:%012d", i))
		c.addLine("RPOP queue")
	})
	if err != nil {
		return err
	}
	s.add("pairs_per_s", t.rate, "1/s")
	if _, err := s.many(ctx, backlog/10+1, func(c *client, _ uint64) { c.addLine("RPOP queue 10") }); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	size, err := diskUsage(s.server.dir)
	s.limit("size_mib", float64(size)/(1<<20), queueMost/(1<<20), "MiB")
	return err
}

// deadScan walks over a database of which most has been deleted.
func (b *spaceBench) deadScan(ctx context.Context, s *scene) error {
	keys := b.of(5_000_000)
	key := func(i uint64) string { return fmt.Sprintf("key:%09d", i) }
	if _, err := s.many(ctx, keys, func(c *client, i uint64) { put(c, key(i), 100, i) }); err != nil {
		return err
	}
	if err := s.server.drain(); err != nil {
		return err
	}
	if _, err := s.many(ctx, keys, func(c *client, i uint64) {
		if rand.Uint64N(10) > 0 {
			c.add([]byte("DEL"), []byte(key(i)))
		}
	}); err != nil {
		return err
	}
	if err := s.server.drain(); err != nil {
		return err
	}
	each, err := scanTime(ctx, s.server.addr)
	if err != nil {
		return err
	}
	s.add("scan_at_once_us", each, "us")
	if err := rest(ctx, b.rest); err != nil {
		return err
	}
	fresh, err := b.start(ctx, s.name+"-fresh", b.port+1)
	if err != nil {
		return err
	}
	defer func() {
		fresh.stop(os.Kill)
		os.RemoveAll(fresh.dir)
	}()
	if _, err := copyData(ctx, s.server.addr, fresh.addr); err != nil {
		return err
	}
	if err := fresh.drain(); err != nil {
		return err
	}
	if each, err = scanTime(ctx, s.server.addr); err != nil {
		return err
	}
	quick, err := scanTime(ctx, fresh.addr)
	s.add("scan_fresh_us", quick, "us")
	s.limit("scan_us", each, 2*quick, "us")
	return err
}

// scanTime is what a whole SCAN takes for each key, the best of three, in microseconds.
func scanTime(ctx context.Context, addr string) (us float64, err error) {
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	for round := range 3 {
		n, begin := 0, time.Now()
		for cursor := []byte("0"); ; {
			page, err := c.ask("SCAN", cursor, "COUNT", "1000")
			if err != nil {
				return 0, err
			}
			n += len(page[1].list)
			if cursor = page[0].text; string(cursor) == "0" || ctx.Err() != nil {
				break
			}
		}
		each := float64(time.Since(begin).Microseconds()) / float64(max(1, n))
		if round == 0 || each < us {
			us = each
		}
	}
	return us, ctx.Err()
}
