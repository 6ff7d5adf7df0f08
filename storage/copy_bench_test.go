package storage

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkCopy makes a copy of SETT_COPY_MB megabytes (default 64), records of 1 KiB and some chunks of 64 KiB, and loads it, with the smallest
// memory budget. It reports what each takes for itself, and how much of what a writer does alone it does meanwhile.
func BenchmarkCopy(b *testing.B) {
	mb := 64
	if v, err := strconv.Atoi(os.Getenv("SETT_COPY_MB")); err == nil {
		mb = v
	}
	o := Options{FS: OSFS{}, MemoryBudget: MinMemoryBudget, Fatal: func(err error) { b.Error(err) }}
	s := openStore(b, b.TempDir(), o, &memLog{forgetful: true})
	rng := rand.New(rand.NewPCG(1, 1))
	fillForCopy(b, s, rng, mb)
	alone := writeFor(b, s, rng, 2*time.Second, nil)
	must(b, s.Flush())

	other := openStore(b, b.TempDir(), o, &memLog{})
	file, err := os.Create(filepath.Join(b.TempDir(), "copy"))
	must(b, err)
	defer file.Close()
	raw := float64(mb)
	for b.Loop() {
		must(b, file.Truncate(0))
		p := s.Picture()
		start, cpu := time.Now(), cpuTime()
		must(b, p.Export(context.Background(), &offsetWriter{f: file}))
		b.ReportMetric(raw/time.Since(start).Seconds(), "exportMB/s")
		b.ReportMetric(raw/(cpuTime()-cpu).Seconds(), "exportMB/cpu-s")

		stop := make(chan struct{})
		var beside sync.WaitGroup
		beside.Go(func() {
			for start := time.Now(); time.Since(start) < 2*time.Second; {
				p.Export(context.Background(), io.Discard)
			}
			close(stop)
		})
		b.ReportMetric(writeFor(b, s, rng, time.Hour, stop)/alone*100, "writer-%")
		beside.Wait()
		p.Close()

		i, err := other.NewImport()
		must(b, err)
		debug.FreeOSMemory()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak uint64
		ended := make(chan struct{})
		beside.Go(func() { peak = heapPeak(ended) })
		start, cpu = time.Now(), cpuTime()
		must(b, i.Load(io.NewSectionReader(file, 0, 1<<40)))
		b.ReportMetric(raw/time.Since(start).Seconds(), "importMB/s")
		b.ReportMetric(raw/(cpuTime()-cpu).Seconds(), "importMB/cpu-s")
		close(ended)
		beside.Wait()
		b.ReportMetric(float64(peak-min(peak, before.HeapInuse))/(1<<20), "heap+MiB")
		start = time.Now()
		must(b, other.Replace(i))
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "switch-ms")
		i.Discard()
	}
}

type offsetWriter struct {
	f  *os.File
	at int64
}

func (w *offsetWriter) Write(p []byte) (n int, err error) {
	n, err = w.f.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}

// cpuTime is the processor's time that this process has used: others may use it as well.
func cpuTime() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heapPeak watches the heap until ended.
func heapPeak(ended chan struct{}) (peak uint64) {
	var m runtime.MemStats
	for {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
		select {
		case <-ended:
			return peak
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func fillForCopy(b *testing.B, s *Store, rng *rand.Rand, mb int) {
	chunk := make([]byte, 64<<10)
	for i := range chunk {
		chunk[i] = byte(rng.Uint32())
	}
	for at := range mb {
		must(b, s.Admit(false))
		var tx Txn
		must(b, s.Update(&tx, step(func() error {
			for i := range 896 {
				tx.Put([]byte(metaKey(0, (at*977+i*31)%16384, fmt.Sprint("key", at, ":", i))), []byte(strings.Repeat(fmt.Sprint(rng.Uint32()), 100)))
			}
			for i := range 2 {
				tx.Put(fmt.Appendf(nil, "b%08d%04d", at, i), chunk)
			}
			return nil
		})))
		must(b, s.Wait(tx.Seen()))
	}
	must(b, s.Flush())
}

// writeFor writes for a while, or until stop, and returns batches per second.
func writeFor(b *testing.B, s *Store, rng *rand.Rand, long time.Duration, stop chan struct{}) float64 {
	start, n := time.Now(), 0
	for time.Since(start) < long {
		select {
		case <-stop:
			return float64(n) / time.Since(start).Seconds()
		default:
		}
		must(b, s.Admit(false))
		var tx Txn
		must(b, s.Update(&tx, step(func() error {
			tx.Put([]byte(metaKey(0, rng.IntN(16384), fmt.Sprint("w", rng.IntN(100_000)))), []byte("some value that is not too short"))
			return nil
		})))
		must(b, s.Wait(tx.Seen()))
		n++
	}
	return float64(n) / time.Since(start).Seconds()
}
