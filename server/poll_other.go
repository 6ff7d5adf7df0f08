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
