package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// table is the result as Markdown. Two figures are those of sett and of Redis.
func (c *comparison) table() string {
	var b strings.Builder
	b.WriteString("| workload | server | commands/s | ratio | CPU µs | p50 ms | p99 | p99.9 | max | RssAnon MiB |\n")
	b.WriteString("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range c.rows {
		for i, s := range r.servers {
			fmt.Fprintf(&b, "| %s | %s | %.0f | %.2f | %.2f | %.2f | %.2f | %.2f | %.1f | %.0f |\n", r.name, s, r.of(i, rate), r.ratio(i), r.of(i, cpu),
				r.of(i, percentile(50)), r.of(i, percentile(99)), r.of(i, percentile(99.9)), r.of(i, percentile(100)), r.of(i, rss))
		}
	}
	return b.String()
}

const (
	page  = "docs/performance.md"
	begin = "<!-- from here on: go run ./bench compare -docs -->\n"
)

// document writes the last part of docs/performance.md, and its pictures.
func (c *comparison) document() error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	kept, _, ok := strings.Cut(string(old), begin)
	if !ok {
		return fmt.Errorf("%s has no line %q", page, strings.TrimSpace(begin))
	}
	var b strings.Builder
	b.WriteString(kept + begin)
	fmt.Fprintf(&b, "\n`%s`, %s, commit %s, fsync %v\\\n%s\n\n%s", strings.TrimSpace(c.command), c.began.Format("2006-01-02"), commit(), c.fsync, box(), c.table())
	for _, r := range c.rows {
		if !strings.HasPrefix(r.name, "set-") && !strings.HasPrefix(r.name, "get-") {
			continue // the table is enough
		}
		over, file := r.throughput(), r.name+"-throughput.svg"
		spread, other := r.distribution(), r.name+"-latency.svg"
		for name, chart := range map[string]*chart{file: over, other: spread} {
			if err := writeFile(filepath.Join("docs", "performance", name), chart.svg()); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "\n![%s](performance/%s) ![%s](performance/%s)\n", over.title, file, spread.title, other)
	}
	return writeFile(page, b.String())
}

func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// box says what machine this is.
func box() string {
	cpu := "unknown processor"
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if _, model, ok := strings.Cut(line, "model name\t: "); ok {
			cpu = strings.TrimSpace(model)
			break
		}
	}
	return fmt.Sprintf("%d × %s, %s", runtime.NumCPU(), cpu, runtime.Version())
}

// throughput shows the run of each server that was the middle one.
func (r *row) throughput() *chart {
	c := &chart{title: r.name + ": thousand commands per second, over the seconds of a run"}
	for i, s := range r.servers {
		middle := r.of(i, rate)
		for _, one := range r.runs[i] {
			if one.rate != middle {
				continue
			}
			l := line{name: s}
			for n, v := range one.series {
				l.points = append(l.points, point{float64(n) / 4, v / 1000})
			}
			c.lines = append(c.lines, l)
			break
		}
	}
	return c
}

// distribution shows how long the slowest commands took.
func (r *row) distribution() *chart {
	percents := []float64{50, 75, 95, 99, 99.9, 100}
	c := &chart{title: r.name + ": latency in ms, by percentile", log: true, labels: []string{"p50", "p75", "p95", "p99", "p99.9", "max"}}
	for i, s := range r.servers {
		l := line{name: s}
		for n, p := range percents {
			l.points = append(l.points, point{float64(n), r.of(i, percentile(p))})
		}
		c.lines = append(c.lines, l)
	}
	return c
}
