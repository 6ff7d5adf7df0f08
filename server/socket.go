package server

import (
	"cmp"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is our end of a connection. It is in one of two hands: Go's runtime holds it while a goroutine serves the connection, so that reading
// and writing may wait; the loop holds the bare descriptor, because what the runtime watches wakes one of its threads at all that arrives.
//
// Whoever serves the connection moves it from hand to hand and closes it. Everybody may call abort and setReadDeadline.
type socket struct {
	mu     sync.Mutex
	handle handle          // nil: the descriptor is bare; guarded by mu, but those who serve the connection may look
	raw    syscall.RawConn // of handle
	fd     int             // guarded by mu
	closed bool            // guarded by mu
}

// handle is what a net.Conn and an os.File have in common.
type handle interface {
	io.ReadWriteCloser
	syscall.Conn
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// hold begins with a socket in the runtime's hands. The caller holds mu, or is alone.
func (s *socket) hold(h handle) error {
	raw, err := h.SyscallConn()
	if err != nil {
		return err
	}
	s.handle, s.raw = h, raw
	return raw.Control(func(fd uintptr) { s.fd = int(fd) })
}

// toLoop takes the socket out of the runtime's hands. That takes a new descriptor; after an error all is as it was.
func (s *socket) toLoop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	var fd int
	var failed error
	err := s.raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err := cmp.Or(err, failed); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	s.handle.Close()
	s.handle, s.raw, s.fd = nil, nil, fd
	return nil
}

// toGo gives the socket back to the runtime.
func (s *socket) toGo() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hold(os.NewFile(uintptr(s.fd), "client")) // a descriptor that does not wait: the runtime polls it
}

// abort has all that the connection waits for, or will, fail.
func (s *socket) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case s.fd < 0: // a bare stream
		s.handle.Close()
	case s.handle == nil:
		syscall.Shutdown(s.fd, syscall.SHUT_RDWR)
	default:
		s.raw.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
}

// setReadDeadline is for reads that wait: the loop's do not.
func (s *socket) setReadDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle != nil {
		s.handle.SetReadDeadline(t)
	}
}

// descriptor is what CLIENT LIST shows.
func (s *socket) descriptor() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fd
}

// Close may be called again.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.handle == nil {
		return syscall.Close(s.fd)
	}
	return s.handle.Close()
}
