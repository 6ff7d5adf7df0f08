package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Listen opens a TCP listener for each address in bind, written as in Redis: "*" is every IPv4 address, "::*" every IPv6 one; an
// address with a leading "-" may not exist on this machine, and a protocol that the machine does not have is passed over. Port 0
// takes a free one, the same for all addresses.
func Listen(bind []string, port int) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, entry := range bind {
		address, optional := strings.CutPrefix(entry, "-")
		l, err := listenOne(address, port)
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

func listenOne(address string, port int) (net.Listener, error) {
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
	return config.Listen(context.Background(), network, net.JoinHostPort(address, strconv.Itoa(port)))
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
func (s *Server) Serve(listeners []net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range listeners {
		s.listeners = append(s.listeners, l)
		s.running.Add(1)
		go s.accept(l)
	}
}

// acceptPause is how long a listener rests after an error such as too many open files: it would only meet the same one again.
const acceptPause = 100 * time.Millisecond

func (s *Server) accept(l net.Listener) {
	defer s.running.Done()
	for !s.stopping.Load() {
		socket, err := l.Accept()
		switch {
		case err == nil:
			s.welcome(socket)
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

// welcome starts a connection's goroutine, or turns the client away.
func (s *Server) welcome(socket net.Conn) {
	s.stats.connections.Add(1)
	c, err := newConn(s, socket)
	if err != nil {
		s.opts.Logger.Warn("cannot set up a connection", "err", err)
		socket.Close()
		return
	}
	if !s.admit(c) {
		s.stats.rejected.Add(1)
		socket.SetWriteDeadline(time.Now().Add(time.Second))
		socket.Write([]byte(tooManyClients))
		socket.Close()
		return
	}
	go c.serve()
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
