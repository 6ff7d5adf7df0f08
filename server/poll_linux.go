package server

import (
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller tells the loop which of its sockets have something. It tells of each arrival once: what was not read then is for the loop to remember.
type poller struct {
	epoll  int
	bell   int         // an eventfd: ring ends the wait
	rung   atomic.Bool // … and need not be done twice
	system [256]unix.EpollEvent
	events []event
}

// event is what has happened to a socket.
type event struct {
	fd    int
	ended bool // the client will send no more
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{epoll: epoll, bell: bell}
	if err := p.add(bell); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add begins to watch a descriptor. Closing it ends that.
func (p *poller) add(fd int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1), Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &e))
}

func (p *poller) remove(fd int) { unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// look returns what has happened since the last call, without waiting: so Go's scheduler need not know of the system call.
func (p *poller) look() (events []event, rung bool) {
	n, _, err := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.system)), uintptr(len(p.system)), 0, 0, 0)
	if err != 0 {
		n = 0
	}
	return p.translate(int(n))
}

// wait is look, but waits for something to happen.
func (p *poller) wait() (events []event, rung bool) {
	n, err := unix.EpollWait(p.epoll, p.system[:], -1)
	if err != nil { // EINTR
		n = 0
	}
	return p.translate(n)
}

func (p *poller) translate(n int) (events []event, rung bool) {
	p.events = p.events[:0]
	for _, e := range p.system[:n] {
		if int(e.Fd) == p.bell {
			rung = true
			continue
		}
		p.events = append(p.events, event{int(e.Fd), e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0})
	}
	if rung {
		p.rung.Store(false) // before the caller looks at what it was rung for
	}
	return p.events, rung
}

// ring ends the loop's wait, the present one or the next. Anybody may call it until close.
func (p *poller) ring() {
	if !p.rung.Swap(true) {
		one := [8]byte{1}
		unix.Write(p.bell, one[:])
	}
}

func (p *poller) close() {
	unix.Close(p.epoll)
	unix.Close(p.bell)
}

// readNow reads what a socket has, or returns EAGAIN. Sockets do not wait, so Go's scheduler need not know of the system call.
func readNow(fd int, p []byte) (int, error) {
	n, _, err := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

// writeNow writes what a socket takes, or returns EAGAIN.
func writeNow(fd int, p []byte) (int, error) {
	n, _, err := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

// setCork has the kernel keep what is written to a socket. Only TCP knows that; other sockets go on as they are.
func setCork(fd int) { unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, 1) }

// hungUp tells whether the other side of a socket has closed its end, whatever it has sent before.
func hungUp(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p[:], 0)
	return n > 0 && err == nil
}
