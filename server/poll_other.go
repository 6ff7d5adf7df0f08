//go:build !linux

package server

import (
	"errors"
	"syscall"
)

// poller needs Linux. Elsewhere there is no loop, and each connection has a goroutine.
type poller struct{}

type event struct {
	fd    int
	ended bool
}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) add(int) error         { return errors.ErrUnsupported }
func (*poller) remove(int)            {}
func (*poller) look() ([]event, bool) { return nil, false }
func (*poller) wait() ([]event, bool) { return nil, false }
func (*poller) ring()                 {}
func (*poller) close()                {}

func readNow(fd int, p []byte) (int, error)  { return syscall.Read(fd, p) }
func writeNow(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }

func setCork(int) {}

// hungUp tells whether the other side of a socket has closed its end, as far as that can be seen behind what it has sent.
func hungUp(fd int) bool {
	var one [1]byte
	n, _, err := syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
}
