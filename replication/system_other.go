//go:build !linux

package replication

import "golang.org/x/sys/unix"

// bootNs is the time of a clock that nobody sets. Whether it counts while the machine is suspended depends on the system: only on Linux a lease is known
// to end then.
func bootNs() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // there is always such a clock
	}
	return t.Nano()
}

// allocate does nothing: where the call is missing, a full disk may keep a term from being noted, and the node ends.
func allocate(string, int64) error { return nil }
