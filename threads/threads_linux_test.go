package threads

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// sliceOf is the slice of the thread that a goroutine gets which does f first. 0: the kernel has none.
func sliceOf(t *testing.T, f func()) uint64 {
	t.Helper()
	slice := make(chan uint64)
	go func() { // the thread ends with it
		runtime.LockOSThread()
		f()
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil || attr.Policy != unix.SCHED_NORMAL {
			slice <- 0
			return
		}
		slice <- attr.Runtime
	}()
	return <-slice
}

func TestSlices(t *testing.T) {
	if sliceOf(t, func() { ask(0, 7_000_000) }) != 7_000_000 {
		t.Skip("the kernel knows no slices, or the process's policy is another one")
	}
	Shorten()
	for range 3 {
		if ns := sliceOf(t, func() {}); ns != shortNs {
			t.Errorf("a thread has a slice of %d ns", ns)
		}
		if ns := sliceOf(t, GiveWay); ns != longNs {
			t.Errorf("one that gives way has a slice of %d ns", ns)
		}
	}
}
