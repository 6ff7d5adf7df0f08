package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// bare is a stream without a descriptor of its own, such as one under TLS: it reads ahead, so that the connection can ask what is there without
// waiting. Its reader is the goroutine that serves the connection; it never lives on the loop.
type bare struct {
	net.Conn
	ahead []byte
	err   error // what comes behind ahead
	buf   []byte
}

// maxAhead is how much is read ahead behind a command that waits. The other end sends less (maxUnansweredBytes).
const maxAhead = 4 * maxUnansweredBytes

var errAhead = errors.New("server: a forwarded stream sends more than it may")

// tallied is a stream over TCP that somebody keeps account of, who is told when it ends or goes to the loop.
type tallied struct {
	*net.TCPConn
	stream net.Conn
}

func (t tallied) Close() error { return t.stream.Close() }

// wrap returns a stream that a connection can be made of.
func wrap(stream net.Conn) net.Conn {
	if tcp, ok := stream.(*net.TCPConn); ok {
		return tcp
	}
	if over, ok := stream.(interface{ NetConn() net.Conn }); ok {
		if tcp, ok := over.NetConn().(*net.TCPConn); ok && !isTLS(stream) {
			return tallied{tcp, stream}
		}
	}
	return &bare{Conn: stream, buf: make([]byte, 4<<10)}
}

// isTLS: what lies beneath TLS is not for us to read.
func isTLS(stream net.Conn) bool {
	_, is := stream.(*tls.Conn)
	return is
}

// SyscallConn is for reads alone.
func (b *bare) SyscallConn() (syscall.RawConn, error) { return bareReads{b}, nil }

// receive is a read that does not wait.
func (b *bare) receive(p []byte) (int, error) {
	switch {
	case len(b.ahead) > 0:
		n := copy(p, b.ahead)
		b.ahead = b.ahead[:copy(b.ahead, b.ahead[n:])]
		return n, nil
	case b.err == io.EOF:
		return 0, nil
	case b.err != nil:
		return 0, b.err
	}
	return 0, syscall.EAGAIN
}

// ended tells whether the other end has closed the stream.
func (b *bare) ended() bool { return b.err != nil }

// bareReads has the runtime's way to wait for a socket.
type bareReads struct{ *bare }

func (r bareReads) Control(f func(fd uintptr)) error { f(^uintptr(0)); return nil }

func (r bareReads) Write(f func(fd uintptr) bool) error { return errors.ErrUnsupported }

// Read calls f each time that something has arrived, until it is content. The error is that of a deadline.
func (r bareReads) Read(f func(fd uintptr) bool) error {
	for !f(^uintptr(0)) {
		n, err := r.Conn.Read(r.buf)
		r.ahead = append(r.ahead, r.buf[:n]...)
		switch {
		case err != nil && isTimeout(err):
			return err
		case err != nil:
			r.err = err
		case len(r.ahead) > maxAhead:
			r.err = errAhead
		}
	}
	return nil
}
