package server

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/e2e/process"

	"golang.org/x/sys/unix"
)

// mount gives the test a file system of its own: ext4 in a file, or, if that is not possible, in memory.
func mount(t *testing.T, mib int) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(image, nil, 0o600))
	must(os.Truncate(image, int64(mib)<<20))
	// -m 0: nothing is set aside for root, who would not notice that the disk is full.
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		t.Logf("mkfs.ext4: %v %s: the file system lies in memory", err, out)
	} else if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Logf("mount: %v %s: the file system lies in memory", err, out)
	} else {
		t.Cleanup(func() { unmount(t, dir) })
		return dir
	}
	mountMemory(t, dir, mib)
	return dir
}

// mountMemory mounts a file system in memory.
func mountMemory(t *testing.T, dir string, mib int) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small file system: %v %s", err, out)
	}
	t.Cleanup(func() { unmount(t, dir) })
}

func unmount(t *testing.T, dir string) {
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		exec.Command("umount", "-l", dir).Run()
		t.Errorf("umount: %v %s", err, out)
	}
}

// free is how much may still be written, in MiB.
func free(t *testing.T, dir string) int {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Error(err)
	}
	return int(int64(s.Bavail) * s.Bsize >> 20)
}

// ballast is a file of somebody else's on the same disk.
type ballast struct{ path string }

// leave makes the ballast so large that so much is left free.
func (b ballast) leave(t *testing.T, mib int) {
	t.Helper()
	have := free(t, filepath.Dir(b.path))
	if have <= mib {
		return
	}
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Error(err)
		return
	}
	// Others write too: the disk may have become full meanwhile.
	if err := unix.Fallocate(int(f.Fd()), 0, info.Size(), int64(have-mib)<<20); err != nil && err != unix.ENOSPC {
		t.Error(err)
	}
}

func (b ballast) remove() { os.Remove(b.path) }

// ledger is what is known of some keys: of each, the versions that it may have; 0 is absent. There is more than one after an error that leaves it
// open, or after the death of the server.
type ledger struct {
	*testing.T
	n        *process.Node
	r        *rand.Rand
	versions map[int][]int
	last     int                      // version given
	note     func(process.ReplyError) // is shown every error; may be nil
	refusal  process.ReplyError       // the last one
}

func (l *ledger) key(i int) string { return "key:" + strconv.Itoa(i) }

// value is made from key and version, 8 to 8,000 bytes.
func (l *ledger) value(i, version int) string {
	seed := uint64(i)<<32 | uint64(version)
	text := fmt.Sprintf("%d:%d:", i, version)
	return text + strings.Repeat(string(rune('a'+seed%26)), int(rand.New(rand.NewPCG(seed, 1)).Uint64N(8000)))
}

// op is a SET (version > 0) or DEL of one key.
type op struct{ i, version int }

// do sends some operations on different keys in one pipeline. full: some were refused because the disk is full. err: the connection has ended.
func (l *ledger) do(c *process.Client, ops []op) (full bool, err error) {
	for _, o := range ops {
		if o.version > 0 {
			c.Send("SET", l.key(o.i), l.value(o.i, o.version))
		} else {
			c.Send([]string{"DEL", "UNLINK"}[o.i%2], l.key(o.i))
		}
	}
	err = c.Flush()
	for _, o := range ops {
		var reply any
		if err == nil {
			reply, err = c.Receive()
		}
		if e, ok := reply.(process.ReplyError); ok && l.note != nil {
			l.note(e)
		}
		switch {
		case err != nil || process.IsError(reply, "INDOUBT"):
			if len(l.versions[o.i]) == 0 {
				l.versions[o.i] = []int{0}
			}
			l.versions[o.i] = append(l.versions[o.i], o.version)
			full = full || err == nil
		case process.IsError(reply, "MISCONF disk of") || process.IsError(reply, "MISCONF the log cannot grow") || process.IsError(reply, "TRYAGAIN"):
			full, l.refusal = true, reply.(process.ReplyError)
		case reply == "OK" || reply == int64(1):
			l.versions[o.i] = []int{o.version}
		case reply == int64(0) && slices.Contains(l.versions[o.i], 0):
			l.versions[o.i] = []int{0}
		default:
			l.Fatalf("%v: %v", o, reply)
		}
	}
	return full, err
}

// set writes the next version of some random keys.
func (l *ledger) set(c *process.Client, keys, n int) (full bool, err error) {
	var ops []op
	for range n {
		if i := l.r.IntN(keys); !slices.ContainsFunc(ops, func(o op) bool { return o.i == i }) {
			l.last++
			ops = append(ops, op{i, l.last})
		}
	}
	return l.do(c, ops)
}

// del removes some of the keys that are there.
func (l *ledger) del(c *process.Client, n int) (gone int, full bool) {
	var ops []op
	for i, versions := range l.versions {
		if len(ops) == n {
			break
		}
		if !slices.Contains(versions, 0) {
			ops = append(ops, op{i, 0})
		}
	}
	full, err := l.do(c, ops)
	if err != nil {
		l.n.Alive()
		l.Fatal(err)
	}
	return len(ops), full
}

// compare reads keys, all or a random part, and settles what was open.
func (l *ledger) compare(c *process.Client, part float64) {
	l.Helper()
	var chosen []int
	for i := range l.versions {
		if l.r.Float64() < part {
			chosen = append(chosen, i)
		}
	}
	for some := range slices.Chunk(chosen, 200) {
		for _, i := range some {
			c.Send("GET", l.key(i))
		}
		err := c.Flush()
		for _, i := range some {
			var reply any
			if err == nil {
				reply, err = c.Receive()
			}
			if err != nil {
				l.n.Alive()
				l.Fatal(err)
			}
			l.settle(i, reply)
		}
	}
}

func (l *ledger) settle(i int, reply any) {
	l.Helper()
	for _, version := range l.versions[i] {
		if version == 0 && reply == nil || version > 0 && reply == l.value(i, version) {
			l.versions[i] = []int{version}
			return
		}
	}
	l.Fatalf("key %d is %.40s; it may have the versions %v", i, process.Short(reply), l.versions[i])
}

func (l *ledger) live() (keys int) {
	for _, versions := range l.versions {
		if !slices.Contains(versions, 0) {
			keys++
		}
	}
	return keys
}

// fill writes until the disk has been full a few times: in between, compactions and trimming the log give some space back.
func (l *ledger) fill(c *process.Client, keys int) {
	l.Helper()
	for refused := 0; refused < 20; {
		full, err := l.set(c, keys, 50)
		if err != nil {
			l.n.Alive()
			l.Fatal(err)
		}
		if full {
			refused++
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// resumed waits until writes are accepted again.
func (l *ledger) resumed(c *process.Client, keys int) {
	l.Helper()
	begin := time.Now()
	for {
		full, err := l.set(c, keys, 1)
		if err != nil {
			l.n.Alive()
			l.Fatal(err)
		}
		if !full {
			return
		}
		if time.Since(begin) > time.Minute {
			l.Fatalf("writes are still refused a minute after there is space again")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestDiskFull fills a disk again and again, until writes are refused. Reads and deletes go on, a server that is killed starts again, writes
// resume when there is space, and nothing acknowledged is lost.
func TestDiskFull(t *testing.T) {
	for _, reserve := range []string{"32MiB", "1MiB"} {
		t.Run(reserve, func(t *testing.T) {
			t.Parallel()
			testDiskFull(t, reserve)
		})
	}
}

func testDiskFull(t *testing.T, reserve string) {
	disk := mount(t, 400)
	n := process.New(t, filepath.Join(disk, "data"), "disk_reserve="+reserve, "log.segment_bytes=4MiB", "storage.barrier_interval=500ms",
		"storage.flush_interval=200ms")
	l := &ledger{T: t, n: n, r: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), versions: map[int][]int{}}
	b := ballast{filepath.Join(disk, "ballast")}
	n.Start()
	const keys = 1_000_000 // most of those that are written are new
	for cycle := range process.Size(2, 20) {
		c := n.Dial()
		b.leave(t, min(130+l.r.IntN(process.Size(10, 120)), free(t, disk)-30)) // to be given back later
		c.Want(t, "OK", "SELECT", "1")
		c.Want(t, "OK", "SET", "to be flushed", "v")
		c.Want(t, "OK", "SELECT", "0")
		room, begin, first := free(t, disk), time.Now(), l.last
		l.fill(c, keys)
		filled := time.Since(begin)

		atFull := free(t, disk)
		l.compare(c, 0.05)
		gone, refused := l.del(c, 100)
		if refused || gone == 0 {
			t.Fatalf("%d deletes, refused: %v, at %d MiB free: %s", gone, refused, free(t, disk), l.refusal)
		}
		c.Want(t, "OK", "SELECT", "1")
		c.Want(t, "OK", "FLUSHDB")
		c.Want(t, 0, "DBSIZE")
		c.Want(t, "OK", "SELECT", "0")
		if cycle%2 == 1 {
			n.Restart() // while the disk is full
			c = n.Dial()
			l.compare(c, 1)
		}
		n.Alive()

		b.remove()
		removed := time.Now()
		l.resumed(c, keys)
		after := time.Since(removed)
		for l.live() > process.Size(4000, 12_000) {
			l.del(c, 200)
		}
		l.compare(c, 0.2)
		// What was deleted and overwritten takes space until it is compacted.
		c.Want(t, "OK", "DEBUG", "SETT", "FLUSH")
		c.Want(t, "OK", "DEBUG", "SETT", "COMPACT")
		t.Logf("cycle %2d: %3d MiB of room, full after %v and %d SETs with %d MiB left; resumed after %v; RssAnon %d MiB",
			cycle+1, room, filled.Round(100*time.Millisecond), l.last-first, atFull, after.Round(time.Millisecond), n.Status("RssAnon"))
	}
	c := n.Dial()
	l.compare(c, 1)
	c.CountKeys(t)
	n.Restart()
	l.compare(n.Dial(), 1)
	n.Stop()
	n.Check()
}

// TestLogFull: the log has a disk of its own, and cannot grow. Writes get an honest error, reads go on, and writes resume by themselves: when the
// flusher lets the log be trimmed, or when somebody gives space back.
func TestLogFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir := filepath.Join(t.TempDir(), "data")
	logs := filepath.Join(dir, "log")
	if err := os.MkdirAll(logs, 0o750); err != nil {
		t.Fatal(err)
	}
	mountMemory(t, logs, 24)
	n := process.New(t, dir, "log.segment_bytes=4MiB", "storage.barrier_interval=500ms", "storage.flush_interval=200ms")
	l := &ledger{T: t, n: n, r: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), versions: map[int][]int{}}
	b := ballast{filepath.Join(logs, "ballast")}
	n.Start()
	const keys = 5000
	for cycle := range process.Size(2, 10) {
		c := n.Dial()
		c.Want(t, "OK", "CONFIG", "SET", "appendfsync", []string{"everysec", "always"}[cycle%2])
		c.Want(t, "OK", "DEBUG", "SETT", "PAUSE-FLUSH", "1") // so that nothing can be trimmed
		if cycle%2 == 1 {
			b.leave(t, 0)
		}
		errors, begin := map[string]int{}, l.last
		l.note = func(e process.ReplyError) { errors[strings.Fields(string(e))[0]]++ }
		l.fill(c, keys)
		l.note = nil
		l.compare(c, 0.1)
		if cycle%2 == 1 {
			n.Restart() // with a log that cannot grow
			c = n.Dial()
			l.compare(c, 1)
			b.remove()
		} else {
			c.Want(t, "OK", "DEBUG", "SETT", "PAUSE-FLUSH", "0")
		}
		ended := time.Now()
		l.resumed(c, keys)
		t.Logf("cycle %d: refused after %d SETs, %v; resumed after %v", cycle+1, l.last-begin, errors, time.Since(ended).Round(time.Millisecond))
		l.compare(c, 1)
	}
	c := n.Dial()
	c.Want(t, "OK", "DEBUG", "SETT", "PAUSE-FLUSH", "1")
	l.fill(c, keys)
	n.Stop() // while the log cannot grow
	t.Log(n.Said())
	n.Start()
	l.compare(n.Dial(), 1)
	n.Stop()
	n.Check()
}

// TestDiskTaken: somebody else takes all of the disk, the reserve too, while the server is busy. Badger maps the files it writes, so a compaction
// that is running then may end the process (SIGBUS); but nothing acknowledged is lost, and a start says what is wrong, or works.
func TestDiskTaken(t *testing.T) {
	t.Parallel()
	disk := mount(t, 400)
	n := process.New(t, filepath.Join(disk, "data"), "disk_reserve=32MiB", "log.segment_bytes=4MiB", "storage.barrier_interval=500ms",
		"storage.flush_interval=200ms")
	l := &ledger{T: t, n: n, r: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), versions: map[int][]int{}}
	b := ballast{filepath.Join(disk, "ballast")}
	n.Start()
	keys := process.Size(10_000, 50_000)
	deaths, refusals := 0, 0
	for cycle := range process.Size(2, 20) {
		c := n.Dial()
		taken := make(chan struct{})
		go func() {
			defer close(taken)
			time.Sleep(500 * time.Millisecond)
			for left := free(t, disk); left > 0; left = free(t, disk) {
				b.leave(t, left-min(left, 10))
				time.Sleep(50 * time.Millisecond)
			}
		}()
		err := error(nil)
		for refused, done := 0, false; err == nil && (refused < 20 || !done); {
			var full bool
			if full, err = l.set(c, keys, 50); full {
				refused++
				time.Sleep(20 * time.Millisecond)
			}
			select {
			case <-taken:
				done = true
			default:
			}
		}
		<-taken
		left := free(t, disk)
		if err != nil {
			deaths++
			<-n.Exited
			if err := n.TryStart(); err != nil {
				refusals++
				if n.Code != 1 || !strings.Contains(err.Error(), "sett: disk of "+n.Dir) {
					t.Fatal(err)
				}
				b.remove()
				n.Start()
			}
			c = n.Dial()
		}
		l.compare(c, 0.1)
		b.remove()
		removed := time.Now()
		l.resumed(c, keys)
		t.Logf("cycle %2d: %d MiB left, ended: %v; resumed after %v", cycle+1, left, err != nil, time.Since(removed).Round(time.Millisecond))
		l.compare(c, 0.2)
	}
	t.Logf("%d deaths, %d starts refused", deaths, refusals)
	n.Restart()
	l.compare(n.Dial(), 1)
	n.Stop()
	n.Check()
}
