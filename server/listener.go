package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Listen opens a TCP listener for each address in bind, written as in Redis: "*" is every IPv4 address, "::*" every IPv6 one; an
// address with a leading "-" may not exist on this machine, and a protocol that the machine does not have is passed over. Port 0
// takes a free one, the same for all addresses. backlog is how many connections may wait to be accepted; the system has a limit of its own.
func Listen(bind []string, port, backlog int) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, entry := range bind {
		address, optional := strings.CutPrefix(entry, "-")
		l, err := listenOne(address, port, backlog)
		if err != nil {
			if noProtocol(err) || optional && errors.Is(err, syscall.EADDRNOTAVAIL) {
				continue
			}
			closeAll(listeners)
			return nil, fmt.Errorf("cannot listen on %s port %d: %w", address, port, cause(err))
		}
		listeners = append(listeners, l)
		if port == 0 {
			port = l.Addr().(*net.TCPAddr).Port
		}
	}
	if len(listeners) == 0 {
		return nil, fmt.Errorf("cannot listen on any of the addresses %q", bind)
	}
	return listeners, nil
}

func listenOne(address string, port, backlog int) (net.Listener, error) {
	network := "tcp4"
	switch {
	case address == "*":
		address = "0.0.0.0"
	case address == "::*":
		network, address = "tcp6", "::"
	case strings.Contains(address, ":"):
		network = "tcp6"
	}
	var config net.ListenConfig
	config.KeepAlive = -1 // set for each connection, as tcp-keepalive says then
	l, err := config.Listen(context.Background(), network, net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return l, setBacklog(l.(*net.TCPListener), backlog)
}

// ListenUnix opens a Unix socket in place of a file that an earlier server may have left; perm 0 leaves its permissions to the umask. The file
// goes when the listener is closed.
func ListenUnix(path string, perm fs.FileMode, backlog int) (net.Listener, error) {
	os.Remove(path) // whatever is wrong with it, listening says it better
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = setBacklog(l, backlog)
	}
	if err == nil && perm != 0 {
		err = os.Chmod(path, perm)
	}
	if err != nil {
		if l != nil {
			l.Close()
		}
		return nil, fmt.Errorf("cannot listen on %s: %w", path, cause(err))
	}
	return l, nil
}

// setBacklog replaces the backlog that the net package has chosen: Linux lets a socket listen again.
func setBacklog(l syscall.Conn, backlog int) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.Listen(int(fd), backlog) }); err != nil {
		return err
	}
	return failed
}

func noProtocol(err error) bool {
	for _, code := range []syscall.Errno{syscall.EPROTONOSUPPORT, syscall.ESOCKTNOSUPPORT, syscall.EPFNOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOPROTOOPT} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// cause is the system's word for what went wrong, without the address that the caller knows.
func cause(err error) error {
	var code syscall.Errno
	if errors.As(err, &code) {
		return code
	}
	return err
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// Serve accepts connections until Shutdown. It returns at once; the listeners are the server's from here on.
func (s *Server) Serve(listeners []net.Listener) { s.serve(listeners, nil) }

// ServeTLS is Serve for listeners whose clients speak TLS.
func (s *Server) ServeTLS(listeners []net.Listener) { s.serve(listeners, s.opts.TLS) }

func (s *Server) serve(listeners []net.Listener, tls *TLS) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving.Load() {
		closeAll(listeners)
		return
	}
	for _, l := range listeners {
		s.listeners = append(s.listeners, l)
		s.running.Add(1)
		go s.accept(l, tls)
	}
}

// acceptPause is how long a listener rests after an error such as too many open files: it would only meet the same one again.
const acceptPause = 100 * time.Millisecond

func (s *Server) accept(l net.Listener, tls *TLS) {
	defer s.running.Done()
	for !s.leaving.Load() {
		socket, err := l.Accept()
		switch {
		case err == nil:
			s.welcome(socket, tls)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			s.opts.Logger.Warn("cannot accept a connection", "err", err)
			time.Sleep(acceptPause)
		}
	}
}

// tooManyClients is Redis' last word to a client beyond maxclients.
const tooManyClients = "-ERR max number of clients reached\r\n"

// welcome starts a connection, or turns the client away.
func (s *Server) welcome(socket net.Conn, tls *TLS) {
	c, err := newConn(s, socket, tls)
	if err != nil {
		s.opts.Logger.Warn("cannot set up a connection", "err", err)
		socket.Close()
		return
	}
	if !s.admit(c) {
		s.stats.rejected.Add(1)
		if tls == nil { // before a handshake there is nothing to say
			socket.SetWriteDeadline(time.Now().Add(time.Second))
			io.WriteString(socket, tooManyClients)
		}
		socket.Close()
		return
	}
	if tls != nil {
		go c.shakeHands()
	} else {
		c.start()
	}
}

// keepAlive asks TCP to find out about peers that vanished, with Redis' timing.
func keepAlive(socket *net.TCPConn, sec int) error {
	if sec == 0 {
		return socket.SetKeepAlive(false)
	}
	return socket.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   true,
		Idle:     time.Duration(sec) * time.Second,
		Interval: max(time.Duration(sec)*time.Second/3, time.Second),
		Count:    3,
	})
}
