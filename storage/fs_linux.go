package storage

import (
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync leaves out what a reader does not need (times), so that a write into preallocated space costs no journal commit.
func fdatasync(f *os.File) error {
	return control(f, "fdatasync", func(fd int) error { return unix.Fdatasync(fd) })
}

// allocate extends the file as well, by bytes that read as zeros. A file system that cannot do it returns errors.ErrUnsupported.
func allocate(f *os.File, size int64) error {
	return control(f, "fallocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
}

func control(f *os.File, name string, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) {
		for {
			if serr = call(int(fd)); serr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError(name, serr)
}
