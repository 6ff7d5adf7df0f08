package replication

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// bootNs is the time since the machine was started, in which it was suspended included.
func bootNs() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // there is always such a clock
	}
	return t.Nano()
}

// allocate takes room on the disk for a file, which need not be so long yet. Not every file system can.
func allocate(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, bytes); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return nil
}
