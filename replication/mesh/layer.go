package mesh

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// StreamLayer is the mesh as hashicorp/raft's transport uses it: streams of kind Raft. advertise is how others reach this node. Until it is
// called, and after it is closed, others read ErrNotYet.
func (m *Mesh) StreamLayer(advertise string) raft.StreamLayer {
	l := &layer{mesh: m, addr: address(advertise), arrived: make(chan net.Conn), closed: make(chan struct{})}
	m.Handle(Raft, l.arrive)
	return l
}

type layer struct {
	mesh    *Mesh
	addr    address
	arrived chan net.Conn
	close   sync.Once
	closed  chan struct{}
}

// arrive hands a stream to Accept: raft has goroutines of its own.
func (l *layer) arrive(conn net.Conn, _ Identity) {
	select {
	case l.arrived <- conn:
	case <-l.closed:
		conn.Close()
	case <-l.mesh.closing.Done():
		conn.Close()
	}
}

func (l *layer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.arrived:
		return conn, nil
	case <-l.closed:
	case <-l.mesh.closing.Done():
	}
	return nil, net.ErrClosed
}

// Close ends Accept. The streams that raft has are raft's; the mesh's Close ends those that it forgets.
func (l *layer) Close() error {
	l.close.Do(func() {
		close(l.closed)
		l.mesh.Handle(Raft, nil)
	})
	return nil
}

func (l *layer) Addr() net.Addr { return l.addr }

func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, _, err := l.mesh.Dial(ctx, string(to), Raft)
	return conn, err
}

// address is a host:port as a net.Addr.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
