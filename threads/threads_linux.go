package threads

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	shortNs = 100_000    // the least there is
	longNs  = 20_000_000 // more than anybody has who says nothing
)

// Shorten gives the shortest slice to the process's threads, and so to those that they make.
func Shorten() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			ask(id, shortNs)
		}
	}
}

// GiveWay gives the calling goroutine a thread of its own with a long slice, for as long as it lives.
func GiveWay() {
	runtime.LockOSThread()
	ask(0, longNs) // the calling one
}

// LetOthers lets somebody else have the calling goroutine's place in Go's scheduler, and then its thread's processor: the kernel looks only every few ms
// whether a slice is over.
func LetOthers() {
	runtime.Gosched()
	unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

func ask(thread int, sliceNs uint64) {
	if attr, err := unix.SchedGetAttr(thread, 0); err == nil && attr.Policy == unix.SCHED_NORMAL {
		attr.Runtime = sliceNs
		unix.SchedSetAttr(thread, attr, 0) // an error means that there is no such thing
	}
}
