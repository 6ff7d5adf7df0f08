package powercut

import (
	"bytes"
	"encoding/json"
	"errors"
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

	"sett/replication"
	"sett/replication/wal"
	"sett/storage"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		runChild()
	}
	os.Exit(m.Run())
}

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
	cuts, seed := number(t, "SETT_CUTS", 60), number(t, "SETT_SEED", uint64(time.Now().UnixNano()))
	fmt.Printf("powercut: SETT_SEED=%d SETT_CUTS=%d\n", seed, cuts)
	levels := []string{"always", "everysec", "no"}
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
	x, err := r.examiner(o)
	r.must(err)
	r.count(x.scene)
	for i := range cuts {
		r.examine(x, r.r.Uint64(), i == cuts-1)
	}
	if o.Fsync == "always" {
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
	o := orders{Folder: r.folderOf(r.life, ""), Seed: r.seed, Life: r.life, Fsync: r.fsync, Nth: 1 + r.r.Int64N(8)}
	o.Limit = 4 * time.Second
	moments := []string{"time", "time", "time", "stop", "operation", "sync", "rotation", "rotated", "trim", "flush", "flushed", "barrier", "copied", "durable", "durable"}
	o.When = moments[r.r.IntN(len(moments))]
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
	case "durable": // four times in a start, twice in a barrier
		o.Nth = 1 + r.r.Int64N(12)
	case "stop":
		o.When, o.Nth, o.Stop = "operation", 1+r.r.Int64N(60), r.within(2*time.Second)
	}
	if r.r.IntN(2) == 0 {
		o.Delay = r.within(15 * time.Millisecond)
	}
	return o
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
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Signal(syscall.SIGQUIT) })
	err = cmd.Wait()
	late.Stop()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		r.Fatalf("life %d in %s ended by itself (%v):\n%s", r.life, r.folder, err, stderr.Bytes())
	}
}

// examiner looks at the outcomes of one kill.
type examiner struct {
	*scene
	states []*model // that were met: the first is what the life found
}

func (r *run) examiner(o orders) (*examiner, error) {
	s, err := readScene(o)
	return &examiner{s, []*model{r.base}}, err
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
}

// examine makes one cut and looks whether the store that it leaves is right.
func (r *run) examine(x *examiner, seed uint64, next bool) {
	r.counts["cuts"]++
	left, err := x.examine(seed)
	if err != nil {
		r.keep(x, fmt.Errorf("cut %d: %w", seed, err))
	}
	if left.ticket() < x.lastAck() {
		r.counts["cuts that lost acknowledged batches"]++
	}
	if next {
		r.base = left
		r.past = append(r.past, past{r.life, left.ticket()})
		base := r.folderOf(r.life+1, "base")
		r.must(os.MkdirAll(base, 0o750))
		r.must(x.cut(seed, base))
	}
}

// keep ends the test and says how to look at the same life again.
func (r *run) keep(x *examiner, err error) {
	r.Helper()
	r.Fatalf("life %d at level %s, killed at %s (inside %v), %v\nagain: SETT_AGAIN=%s go test -count=1 -v -run TestAgain ./e2e/powercut",
		x.Life, x.Fsync, x.When, x.inside, err, x.Folder)
}

// examine makes a cut and opens what is left, twice. It returns what the store holds.
func (x *examiner) examine(seed uint64) (left *model, err error) {
	disk := filepath.Join(x.Folder, fmt.Sprintf("cut-%d", seed))
	if err := os.MkdirAll(disk, 0o750); err != nil {
		return nil, err
	}
	if err := x.cut(seed, disk); err != nil {
		return nil, err
	}
	if left, err = x.open(disk, nil); err != nil {
		return nil, err
	}
	if _, err = x.open(disk, left); err != nil {
		return nil, fmt.Errorf("after a clean stop: %w", err)
	}
	return left, os.RemoveAll(disk)
}

// open opens a disk, compares all there is, and closes it cleanly. want is nil after a cut: then any ticket will do that the level allows.
func (x *examiner) open(disk string, want *model) (*model, error) {
	n, err := start(&recorder{root: disk}, disk, replication.No, nil, func(err error) { panic(err) })
	if err != nil {
		return nil, fmt.Errorf("the store does not start: %w", err)
	}
	ticket, err := ticketIn(n.store)
	if err == nil && want == nil {
		if want, err = x.expect(ticket); err != nil {
			return nil, errors.Join(err, n.stop())
		}
	}
	if err == nil && ticket != want.ticket() {
		err = fmt.Errorf("the last batch is %d, not %d", ticket, want.ticket())
	}
	if err == nil {
		err = want.compare(n.store)
	}
	return want, errors.Join(err, n.stop())
}

// expect returns what a store must hold that ends with a ticket.
func (x *examiner) expect(ticket uint64) (*model, error) {
	switch had, most := x.states[0].ticket(), max(x.lastAck(), x.states[0].ticket())+writers; {
	case ticket < had:
		return nil, fmt.Errorf("the last batch is %d; the life had begun with %d", ticket, had)
	case ticket < x.promised():
		return nil, fmt.Errorf("the last batch is %d; up to %d they were promised to be durable", ticket, x.promised())
	case ticket > most:
		return nil, fmt.Errorf("the last batch is %d; there were never more than %d", ticket, most)
	}
	near := x.states[0]
	for _, m := range x.states {
		if m.ticket() <= ticket && m.ticket() > near.ticket() {
			near = m
		}
	}
	if near.ticket() < ticket {
		near = near.clone()
		near.advance(x.Seed, x.Life, ticket)
		x.states = append(x.states, near)
	}
	return near, nil
}

// damage flips a bit of an entry that was fsynced, as a later record in the log knows. The start must refuse it. If that entry was trimmed
// away meanwhile, the bit is in nobody's way, and nothing may be lost.
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

func (x *examiner) damage(seed uint64) (refused bool, err error) {
	random := rand.New(rand.NewPCG(seed, 1))
	ticket, ok := x.marked(random)
	if !ok {
		return false, nil
	}
	disk := filepath.Join(x.Folder, "damaged")
	if err := errors.Join(os.MkdirAll(disk, 0o750), x.cut(seed, disk)); err != nil {
		return false, err
	}
	if found, err := flip(disk, ticketValue(x.Life, ticket), random); err != nil || !found {
		return false, errors.Join(err, os.RemoveAll(disk))
	}
	_, err = x.open(disk, nil)
	var damaged *wal.DamageError
	var unfit *storage.RefusedError
	if errors.As(err, &damaged) || errors.As(err, &unfit) {
		refused, err = true, nil
	}
	return refused, errors.Join(err, os.RemoveAll(disk))
}

// flip flips a bit of something that is in the log.
func flip(disk string, what []byte, random *rand.Rand) (found bool, err error) {
	segments, err := filepath.Glob(filepath.Join(disk, dataDir, "log", "*.seg"))
	if err != nil {
		return false, err
	}
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		if at := bytes.Index(b, what); at >= 0 {
			b[at+random.IntN(len(what))] ^= 1 << random.IntN(8)
			return true, os.WriteFile(path, b, 0o640)
		}
	}
	return false, nil
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
	x := &examiner{s, []*model{base}}
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
		t.Logf("cut %d left batch %d of %d, %d were promised", cut, left.ticket(), x.lastAck(), x.promised())
	}
}
