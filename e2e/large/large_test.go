package large

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sett/e2e/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// run is one server and all who work on it.
type run struct {
	*testing.T
	n     *process.Node
	seed  uint64
	r     *rand.Rand
	noise string // values are cut from it

	workers []*worker
	killed  atomic.Bool  // the server is being killed
	reloads atomic.Int64 // begun and ended; odd: one is going on
	budget  atomic.Int64 // operations left in this life

	done, took atomic.Int64 // operations acknowledged, found done after a death
	cut, ended atomic.Int64 // connections that a reload has cut, and commands that it has ended
	chores     map[string]int
}

// TestLargeStrings is the whole harness.
func TestLargeStrings(t *testing.T) {
	clients, keys, lives, operations := 4, process.Size(200, 1000), process.Size(6, 40), process.Size(12_000, 260_000)
	r := &run{T: t, seed: seedOf(t), chores: map[string]int{}}
	t.Logf("SETT_SEED=%d", r.seed)
	r.r = rand.New(rand.NewPCG(r.seed, 1<<32))
	noise := make([]byte, 12<<20)
	rand.NewChaCha8([32]byte{byte(r.seed), byte(r.seed >> 8), byte(r.seed >> 16)}).Read(noise)
	r.noise = string(noise)
	r.n = process.New(t, filepath.Join(t.TempDir(), "data"), "storage.flush_interval=100ms", "storage.generation_bytes=1MiB")
	r.n.Start()
	for id := range clients {
		r.workers = append(r.workers, newWorker(r, id, keys/clients))
	}
	memory := r.n.WatchMemory()
	for life := 1; life <= lives && !t.Failed(); life++ {
		last := life == lives
		r.budget.Store(int64(operations / lives))
		r.live(!last)
		if !last {
			r.n.Start()
			r.afterDeath()
		}
	}
	if t.Failed() {
		memory()
		return
	}
	r.end()
	t.Logf("%d operations in %d lives, and %d found done after a death; reloads have cut %d replies and ended %d commands; chores %v; RssAnon %d MiB at most", r.done.Load(),
		lives, r.took.Load(), r.cut.Load(), r.ended.Load(), r.chores, memory())
}

func seedOf(t *testing.T) uint64 {
	text := os.Getenv("SETT_SEED")
	if text == "" {
		return rand.Uint64() >> 1
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// live lets everybody work. With kill set the server dies at some moment in the second half, else it goes on.
func (r *run) live(kill bool) {
	r.killed.Store(false)
	deadline := int64(r.r.Float64() * float64(r.budget.Load()) / 2)
	var working, others sync.WaitGroup
	for _, w := range r.workers {
		working.Go(w.live)
	}
	stop := make(chan struct{})
	others.Go(func() { r.doChores(stop) })
	worked := make(chan struct{})
	go func() {
		working.Wait()
		close(worked)
	}()
	for running := true; running; {
		select {
		case <-worked:
			running = false
		case <-time.After(time.Millisecond):
			if kill && r.budget.Load() < deadline {
				r.killed.Store(true)
				r.n.Kill()
				<-worked
				running = false
			}
		}
	}
	close(stop)
	if kill { // also if the work was done before
		r.killed.Store(true)
		r.n.Kill()
	}
	others.Wait()
}

// chores are what somebody does beside, and how often of 100.
var chores = []struct {
	share int
	args  string
}{
	{50, "DEBUG SETT FLUSH"}, {25, "DEBUG SETT DROP-CACHE"}, {10, "DEBUG SETT COMPACT"}, {5, "DEBUG RELOAD"}, {5, "DEBUG SETT RECLAIM"}, {5, "DEBUG SETT GC"},
}

func (r *run) doChores(stop chan struct{}) {
	c, err := r.n.TryDial()
	if err != nil {
		return
	}
	defer c.Close()
	dice := rand.New(rand.NewPCG(r.seed, r.r.Uint64()))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(dice.IntN(100)) * time.Millisecond):
		}
		n := dice.IntN(100)
		for _, chore := range chores {
			if n -= chore.share; n < 0 {
				if !r.do(c, chore.args) {
					return
				}
				break
			}
		}
	}
}

// do does a chore; false: the server is gone.
func (r *run) do(c *process.Client, command string) bool {
	if command == "DEBUG RELOAD" {
		r.reloads.Add(1)
		defer r.reloads.Add(1)
	}
	got, err := c.Do(strings.Fields(command)...)
	switch {
	case err != nil:
		if !r.killed.Load() {
			r.Errorf("%s: %v", command, err)
		}
		return false
	case got == "OK":
		r.chores[command]++
	case process.IsError(got, "ERR unknown subcommand") || process.IsError(got, "ERR Unknown subcommand") || process.IsError(got, "ERR syntax"):
		r.chores[command+" (unknown)"]++ // this server does not have it
	default:
		r.Errorf("%s: %s", command, process.Short(got))
	}
	return true
}

// afterDeath finds out what became of the commands in flight, and looks at some keys.
func (r *run) afterDeath() {
	r.killed.Store(false)
	c := r.n.Dial()
	defer c.Close()
	for _, w := range r.workers {
		if err := w.resolve(c); err != nil {
			r.Fatal(err)
		}
		w.verify(c, 0.1)
	}
}

// end looks at everything, in memory and from disk.
func (r *run) end() {
	look := func() {
		c := r.n.Dial()
		keys := 0
		for _, w := range r.workers {
			w.verify(c, 1)
			keys += len(w.values)
		}
		c.Want(r.T, keys, "DBSIZE")
	}
	look()
	c := r.n.Dial()
	r.do(c, "DEBUG RELOAD")
	r.wantSpaceBack(c)
	look()
	r.n.Stop()
	r.n.Check()
}

// wantSpaceBack wants the value log to be not much larger than what lives in it, once everything was done for that.
func (r *run) wantSpaceBack(c *process.Client) {
	const fileBytes = 64 << 20 // of a value log
	before, live, after := r.info(c, "value_log_bytes"), 0, 0
	jobs := func() {
		for range 3 {
			for _, job := range []string{"FLUSH", "RECLAIM", "COMPACT", "GC"} {
				r.do(c, "DEBUG SETT "+job)
			}
		}
		live, after = r.info(c, "blob_bytes"), r.info(c, "value_log_bytes")
		r.Logf("%d MiB of blobs, %d MiB of value log, before it was collected %d MiB", live>>20, after>>20, before>>20)
	}
	jobs()
	if after > 2*live+2*fileBytes { // what Badger forgot at a death, it learns at the next start
		r.n.Stop()
		r.n.Start()
		c = r.n.Dial()
		jobs()
	}
	if after > 2*live+2*fileBytes {
		r.Errorf("the value log has %d MiB, more than twice what lives and two files; %d bytes of it are forgotten", after>>20, r.info(c, "value_log_forgotten_bytes"))
	}
	if waiting := r.info(c, "dead_waiting"); waiting != 0 {
		r.Errorf("%d dead blobs and collections still wait to be removed", waiting)
	}
}

// info is a number of INFO.
func (r *run) info(c *process.Client, name string) int {
	for line := range strings.Lines(c.Must(r.T, "INFO", "sett").(string)) {
		if text, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				r.Fatal(err)
			}
			return n
		}
	}
	r.Fatalf("INFO has no %s", name)
	return 0
}
