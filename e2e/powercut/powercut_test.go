package powercut

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		runChild()
	}
	os.Exit(m.Run())
}

var levels = []string{"always", "everysec", "no"}

const (
	cutsPerLife = 10
	livesInARow = 6 // then everything begins anew
)

// run is a row of lives at one fsync level.
type run struct {
	*testing.T
	fsync  string
	seed   uint64
	r      *rand.Rand
	folder string
	life   uint32
	past   []past
	base   *model // what the disk of the next life holds
	counts map[string]int
}

// past is how far the batches of a life are still there.
type past struct {
	Life   uint32
	Ticket uint64
}

func TestPowerCut(t *testing.T) {
	byDefault := uint64(60)
	if testing.Short() {
		byDefault = 15
	}
	cuts, seed := number(t, "SETT_CUTS", byDefault), number(t, "SETT_SEED", uint64(time.Now().UnixNano()))
	fmt.Printf("powercut: SETT_SEED=%d SETT_CUTS=%d\n", seed, cuts)
	for i, fsync := range levels {
		t.Run(fsync, func(t *testing.T) {
			r := &run{T: t, fsync: fsync, seed: seed, r: rand.New(rand.NewPCG(seed, uint64(i))), counts: map[string]int{}}
			share := int(cuts)/len(levels) + min(1, max(0, int(cuts)%len(levels)-i))
			for r.counts["cuts"] < share {
				r.live(min(cutsPerLife, share-r.counts["cuts"]))
			}
			os.RemoveAll(r.folder)
			t.Logf("%v", r.counts)
		})
	}
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// live has a child live and die, and looks at several outcomes of a power cut at that moment. The last one is the next life's beginning.
func (r *run) live(cuts int) {
	if r.life%livesInARow == 0 {
		r.beginAnew()
	}
	r.life++
	o := r.orders()
	r.must(copyDisk(o.base(), o.disk()))
	r.must(os.Mkdir(o.copies(), 0o750))
	r.runChild(o)
	s, err := readScene(o)
	r.must(err)
	r.count(s)
	x := &examiner{s, []*model{r.base}, r.counts}
	for i := range cuts {
		r.examine(x, r.r.Uint64(), i == cuts-1)
	}
	if o.Fsync == "always" && o.Change == "" {
		r.damage(x)
	}
	r.must(os.RemoveAll(o.Folder))
}

// beginAnew begins with an empty disk.
func (r *run) beginAnew() {
	r.must(os.RemoveAll(r.folder))
	folder, err := os.MkdirTemp("", "sett-powercut-")
	r.must(err)
	r.folder, r.base, r.past = folder, newModel(), nil
	r.must(os.MkdirAll(r.folderOf(r.life+1, "base"), 0o750))
}

func (r *run) folderOf(life uint32, name string) string {
	return filepath.Join(r.folder, fmt.Sprintf("life-%d", life), name)
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("life %d in %s: %v", r.life, r.folder, err)
	}
}

// orders draws when the next child dies.
func (r *run) orders() orders {
	o := orders{Folder: r.folderOf(r.life, ""), Seed: r.seed, Life: r.life, Fsync: r.fsync}
	o.When, o.Nth, o.Limit = "time", 1+r.r.Int64N(5), 4*time.Second
	if r.r.IntN(5) > 0 {
		o.When = moments[r.r.IntN(len(moments))]
	}
	if always := os.Getenv("SETT_MOMENT"); always != "" {
		o.When = always
	}
	switch o.When {
	case "time":
		o.Limit = 100*time.Millisecond + r.within(3*time.Second)
	case "operation": // in the first start, or in what a start does after a cut
		o.Nth = 1 + r.r.Int64N(60)
	case "sync":
		o.Nth = 1 + r.r.Int64N(500)
	case "moved":
		o.Nth = 1 + r.r.Int64N(2)
	case "durable": // four times in a start, twice in a barrier
		o.Nth = 1 + r.r.Int64N(12)
	case "stop":
		o.When, o.Nth, o.Stop = "operation", 1+r.r.Int64N(60), r.within(2*time.Second)
	}
	if r.r.IntN(2) == 0 {
		o.Delay = r.within(15 * time.Millisecond)
	}
	if r.r.IntN(5) == 0 {
		o.Change, o.ChangeAt = levels[r.r.IntN(len(levels))], r.within(time.Second)
	}
	return o
}

// moments are what a kill may be aimed at: see moment, and child.stop.
var moments = []string{
	"operation", "sync", "stop", "rotation", "rotation", "rotated", "trim", "trim", "trim", "flush", "flushed", "barrier", "copied", "durable", "durable",
	"moved", "moved", "collected",
}

func (r *run) within(limit time.Duration) time.Duration {
	return time.Duration(r.r.Int64N(int64(limit)))
}

func (r *run) runChild(o orders) {
	text, err := json.Marshal(o)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(o.Folder, "orders"), text, 0o640))
	text, err = json.Marshal(r.past)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(o.Folder, "past"), text, 0o640))

	cmd := exec.Command(os.Args[0])
	text, _ = json.Marshal(o)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	r.must(cmd.Start())
	ended := make(chan struct{})
	go interrupt(cmd.Process, ended)
	err = cmd.Wait()
	close(ended)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		r.Fatalf("life %d in %s ended by itself (%v):\n%s", r.life, r.folder, err, stderr.Bytes())
	}
}

func (r *run) count(s *scene) {
	r.counts["lives"]++
	r.counts["acknowledged"] += len(s.acks)
	for _, what := range s.inside {
		r.counts["killed in "+what]++
	}
	if len(s.acks) == 0 {
		r.counts["killed in start"]++
	}
	if s.changedAt > 0 {
		r.counts["level changed"]++
	}
	r.counts["value log files collected"] += s.collected
	if s.stopped {
		r.counts["stopped cleanly"]++
	}
	r.Logf("life %d, at %s, killed at %s, inside %v: %d batches acknowledged, up to %d of %d promised", s.Life, s.Fsync, s.When, s.inside, len(s.acks),
		s.promised(), s.lastAck())
}

// examine makes one cut and looks whether the store that it leaves is right.
func (r *run) examine(x *examiner, seed uint64, next bool) {
	r.counts["cuts"]++
	left, err := x.examine(seed)
	if err != nil {
		r.keep(x, fmt.Errorf("cut %d: %w", seed, err))
	}
	if left.ticket < x.lastAck() {
		r.counts["cuts that lost acknowledged batches"]++
	}
	if next {
		r.base = left
		r.past = append(r.past, past{r.life, left.ticket})
		base := r.folderOf(r.life+1, "base")
		r.must(os.MkdirAll(base, 0o750))
		r.must(x.cut(seed, base))
	}
}

// interrupt has a child that hangs show its goroutines. It counts seconds in which it runs itself: somebody may have stopped us both.
func interrupt(child *os.Process, ended <-chan struct{}) {
	for range 60 {
		select {
		case <-ended:
			return
		case <-time.After(time.Second):
		}
	}
	child.Signal(syscall.SIGQUIT)
}

// keep ends the test and says how to look at the same life again.
func (r *run) keep(x *examiner, err error) {
	r.Helper()
	r.Fatalf("life %d at level %s, killed at %s (inside %v), %v\nagain: SETT_AGAIN=%s go test -count=1 -v -run TestAgain ./e2e/powercut",
		x.Life, x.Fsync, x.When, x.inside, err, x.Folder)
}

// damage makes one cut with damage in it.
func (r *run) damage(x *examiner) {
	seed := r.r.Uint64()
	refused, err := x.damage(seed)
	if err != nil {
		r.keep(x, fmt.Errorf("with a bit flipped below the mark (%d): %w", seed, err))
	}
	if refused {
		r.counts["damaged logs refused"]++
	}
}

// TestAgain looks at a life that was kept: SETT_AGAIN names its folder, SETT_CUTS how many cuts, SETT_SEED the first one (then only that).
func TestAgain(t *testing.T) {
	folder := os.Getenv("SETT_AGAIN")
	if folder == "" {
		t.Skip("SETT_AGAIN names no folder")
	}
	var o orders
	var before []past
	for name, v := range map[string]any{"orders": &o, "past": &before} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatal(err)
		}
	}
	o.Folder = strings.TrimSuffix(folder, "/")
	base := newModel()
	for _, p := range before {
		base.advance(o.Seed, p.Life, p.Ticket)
	}
	s, err := readScene(o)
	if err != nil {
		t.Fatal(err)
	}
	x := &examiner{s, []*model{base}, map[string]int{}}
	seed, cuts := number(t, "SETT_SEED", 0), number(t, "SETT_CUTS", 50)
	if seed != 0 {
		cuts = 1
	}
	for i := range cuts {
		cut := seed + i
		os.RemoveAll(filepath.Join(o.Folder, fmt.Sprintf("cut-%d", cut)))
		left, err := x.examine(cut)
		if err != nil {
			t.Fatalf("cut %d: %v", cut, err)
		}
		t.Logf("cut %d left batch %d of %d, %d were promised", cut, left.ticket, x.lastAck(), x.promised())
	}
}
