package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// space measures whether dead data goes away by itself: what the data directory takes, beside a fresh sett into which the surviving data was
// copied, and what clients notice meanwhile. A scene is one way in which data die.
func space(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("space", flag.ExitOnError)
	b := spaceBench{}
	fs.Float64Var(&b.scale, "scale", 1, "how much of everything there is: keys, elements, bytes, minutes")
	fs.DurationVar(&b.rest, "rest", 2*time.Minute, "how long a server is left alone before its size is taken")
	fs.BoolVar(&b.control, "control", false, "measure with all that gives space back turned off")
	only := fs.String("only", "wave,delete,leaderboard,queue,scan,values,push", "scenes")
	fs.StringVar(&b.binary, "sett", "./sett", "the server's binary")
	fs.IntVar(&b.port, "port", 16379, "port of the servers that are started")
	fs.StringVar(&b.temp, "dir", "", "directory for their data, removed at the end (a new one in $TMPDIR)")
	fs.IntVar(&b.budgetMiB, "budget", 1024, "memory_budget, MiB")
	sets := fs.String("set", "", "further settings of sett, separated by commas")
	fs.StringVar(&b.picture, "picture", "", "file for the curve of the push service (SVG)")
	fs.Parse(args)
	b.sets = []string{fmt.Sprintf("memory_budget=%dMiB", b.budgetMiB)}
	if *sets != "" {
		b.sets = append(b.sets, strings.Split(*sets, ",")...)
	}

	var err error
	if b.temp, err = os.MkdirTemp(b.temp, "sett-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.temp)
	if b.fsync, err = fsyncLatency(b.temp); err != nil {
		return err
	}
	scenes := map[string]func(context.Context, *scene) error{
		"wave": b.wave, "delete": b.bigDelete, "leaderboard": b.leaderboard, "queue": b.queue, "scan": b.deadScan, "values": b.largeValues, "push": b.pushService,
	}
	var missed []string
	for _, name := range strings.Split(*only, ",") {
		run := scenes[name]
		if run == nil {
			return fmt.Errorf("-only %s: there is no such scene", name)
		}
		s := &scene{b: &b, name: name, figures: figures{name: b.nameOf(name), fsync: b.fsync}}
		err := s.play(ctx, run)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		missed = append(missed, s.missed...)
	}
	if len(missed) > 0 {
		return fmt.Errorf("beyond their limits: %s", strings.Join(missed, ", "))
	}
	return nil
}

type spaceBench struct {
	scale   float64
	rest    time.Duration
	control bool
	binary  string
	port    int
	temp    string
	sets    []string
	picture string

	budgetMiB int
	fsync     time.Duration
}

func (b *spaceBench) nameOf(scene string) string {
	if b.control {
		return "space_control_" + scene
	}
	return "space_" + scene
}

// of is a number at this scale.
func (b *spaceBench) of(n uint64) uint64 { return max(1, uint64(float64(n)*b.scale)) }

// lasting is a time at this scale, at least a few seconds.
func (b *spaceBench) lasting(d time.Duration) time.Duration {
	return max(5*time.Second, time.Duration(float64(d)*b.scale))
}

// start runs a sett on a directory of that name.
func (b *spaceBench) start(ctx context.Context, name string, port int) (*server, error) {
	s, err := startSett(ctx, name, b.binary, filepath.Join(b.temp, name), port, b.sets...)
	if err == nil && b.control {
		err = s.do("DEBUG", "PAUSE-CRON", "1")
	}
	return s, err
}

// scene is one way in which data die, on a server of its own.
type scene struct {
	crowd
	figures
	b      *spaceBench
	name   string
	missed []string // limits

	// What the server did in all its lives; each begins with beginLife and ends with endLife.
	peak        func() int
	peakKB      int
	loggedMiB   float64
	receivedMiB float64
}

func (s *scene) beginLife() { s.peak = watchPeak(s.server.pid) }

func (s *scene) endLife() {
	s.peakKB = max(s.peakKB, s.peak())
	logged, _ := s.server.counter("sett", "log_written_bytes")
	received, _ := s.server.counter("stats", "total_net_input_bytes")
	s.loggedMiB += float64(logged) / (1 << 20)
	s.receivedMiB += float64(received) / (1 << 20)
}

// play runs a scene and saves its figures.
func (s *scene) play(ctx context.Context, run func(context.Context, *scene) error) error {
	begin := time.Now()
	var err error
	if s.server, err = s.b.start(ctx, s.name, s.b.port); err != nil {
		return err
	}
	s.conns, s.depth = 10, 16
	defer func() { // the server may be another one by now
		s.server.stop(os.Kill)
		os.RemoveAll(s.server.dir)
	}()
	s.beginLife()
	tables := watchTables(s.server.dir)
	err = run(ctx, s)
	s.endLife()
	written, _ := tables.stop()
	if err != nil {
		return err
	}
	s.add("received_mib", s.receivedMiB, "MiB")
	s.add("log_mib", s.loggedMiB, "MiB")
	s.add("tables_mib", float64(written)/(1<<20), "MiB")
	s.limit("rss_anon_peak_mib", float64(s.peakKB)/1024, float64(s.b.budgetMiB), "MiB")
	s.add("minutes", time.Since(begin).Minutes(), "min")
	return s.save()
}

// limit adds a figure that must not be larger than most.
func (s *scene) limit(name string, value, most float64, unit string) {
	s.add(name, value, unit)
	verdict := "ok"
	if value > most {
		verdict = "BEYOND IT"
		s.missed = append(s.missed, s.name+" "+name)
	}
	fmt.Printf("%s: %s %.4g %s, limit %.4g: %s\n", s.name, name, value, unit, most, verdict)
}

const (
	sizeFactor = 1.3
	sizeFixed  = 64 << 20
)

// size compares the data directory with that of a fresh sett that holds the same.
func (s *scene) size(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	full, err := diskUsage(s.server.dir)
	if err != nil {
		return err
	}
	fresh, err := s.b.start(ctx, s.name+"-fresh", s.b.port+1)
	if err != nil {
		return err
	}
	defer func() {
		fresh.stop(os.Kill)
		os.RemoveAll(fresh.dir)
	}()
	keys, err := copyData(ctx, s.server.addr, fresh.addr)
	if err != nil {
		return err
	}
	if err := fresh.drain(); err != nil {
		return err
	}
	if err := rest(ctx, s.b.rest); err != nil {
		return err
	}
	live, err := diskUsage(fresh.dir)
	if err != nil {
		return err
	}
	s.add("keys_left", float64(keys), "keys")
	s.add("live_mib", float64(live)/(1<<20), "MiB")
	s.limit("size_mib", float64(full)/(1<<20), (sizeFactor*float64(live)+sizeFixed)/(1<<20), "MiB")
	return nil
}

// settle leaves the server alone for a while. What it has done with its space is shown.
func (s *scene) settle(ctx context.Context) error {
	before, err := diskUsage(s.server.dir)
	if err != nil {
		return err
	}
	s.add("size_before_rest_mib", float64(before)/(1<<20), "MiB")
	if err := s.server.drain(); err != nil {
		return err
	}
	return rest(ctx, s.b.rest)
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// diskUsage is du of a data directory without its log.
func diskUsage(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went meanwhile
		case err != nil:
			return err
		case e.IsDir() && e.Name() == "log":
			return filepath.SkipDir
		}
		var st syscall.Stat_t
		if syscall.Lstat(path, &st) == nil {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes, err
}
