package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Kind says what a stream carries. It is the first byte of a connection.
type Kind byte

const (
	Raft     Kind = 1 // hashicorp/raft's RPCs
	Forward  Kind = 2 // a client's commands, on their way to the leader
	Snapshot Kind = 3 // a copy of the data
	Control  Kind = 4 // who is there, and who belongs
)

const (
	firstKind = Raft
	lastKind  = Control
)

func (k Kind) String() string {
	if k < firstKind || k > lastKind {
		return "unknown"
	}
	return [...]string{Raft: "raft", Forward: "forward", Snapshot: "snapshot", Control: "control"}[k]
}

const (
	// Protocol is the version of what nodes say to each other over streams. Of two nodes the newer decides whether it still speaks the older's.
	Protocol = 1
	// oldestProtocol is the oldest that this build still speaks.
	oldestProtocol = 1

	// helloTimeout bounds all that comes before a stream can be used: connecting, TLS, and the hello.
	helloTimeout = 5 * time.Second
	// maxHellos is how many accepted connections may be in their hello at once.
	maxHellos = 128
)

// Identity is what a node says of itself in the hello. The mesh fills in Protocol, Boot and WallMs.
type Identity struct {
	ClusterID  string // 32 hex digits; "" while it is blank
	NodeID     string // 32 hex digits; "": not a node but somebody who asks, as sett cluster does
	Epoch      uint64 // of the cluster: those that a recovery left behind have an older one
	Protocol   int
	Feature    int    // highest level of effects that it understands
	ClientAddr string // host:port for clients; "": not known yet
	Boot       string // drawn when its process began
	WallMs     int64  // its wall clock when it said this
}

// Options are what a mesh needs.
type Options struct {
	Listen net.Listener // nil: it only dials
	Secret string       // "": everybody knows it
	TLS    *tls.Config  // nil: none. Of it, the certificates and RootCAs, the authority of both sides, are used; see LoadTLS
	Self   func() Identity
	Logger *slog.Logger
}

// Mesh listens on the port and dials those of others.
type Mesh struct {
	o        Options
	boot     string
	serverTL *tls.Config // nil: none
	clientTL *tls.Config
	tally    tally
	patience time.Duration // helloTimeout, except in tests

	mu     sync.Mutex
	serve  map[Kind]func(net.Conn, Identity) // guarded by mu
	gate   func(Kind, Identity) error        // guarded by mu; nil: everybody may come in
	conns  map[*stream]bool                  // open, of which the hello is done; guarded by mu
	hellos []net.Conn                        // accepted, and have not proven yet that they know the secret, oldest first; guarded by mu
	closed bool                              // guarded by mu

	entered [lastKind + 1]sync.WaitGroup // accepted streams from the end of their hello to the end of their serve function

	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup // the accept loop, hellos, serve functions
}

// ErrClosed is the error of a mesh that has been closed.
var ErrClosed = errors.New("the cluster port is closed")

// New makes a mesh; nobody is let in before Serve.
func New(o Options) *Mesh {
	m := &Mesh{o: o, boot: newBoot(), patience: helloTimeout, serve: map[Kind]func(net.Conn, Identity){}, conns: map[*stream]bool{}}
	m.tally.log = o.Logger
	if o.TLS != nil {
		m.serverTL, m.clientTL = bothSides(o.TLS)
	}
	m.closing, m.close = context.WithCancel(context.Background())
	return m
}

func newBoot() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Handle has serve called in a goroutine of its own for each accepted stream of a kind; nil: not any more. A kind that nobody serves yet is
// refused with ErrNotYet. serve owns the connection: it closes it, and returns soon after it has failed.
func (m *Mesh) Handle(kind Kind, serve func(net.Conn, Identity)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serve[kind] = serve
	if serve == nil {
		delete(m.serve, kind)
	}
}

// Retire is Handle(kind, nil) for those who must not leave a peer without an answer: whoever was let in before is served; it returns when all these
// calls of the serve function have, or after patience.
func (m *Mesh) Retire(kind Kind, patience time.Duration) {
	m.Handle(kind, nil)
	done := make(chan struct{})
	m.running.Go(func() {
		m.entered[kind].Wait()
		close(done)
	})
	select {
	case <-done:
	case <-time.After(patience):
	}
}

// enter lets a peer in, for the serve function of this moment.
func (m *Mesh) enter(kind Kind, peer Identity) (serve func(net.Conn, Identity), r *Refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if serve = m.serve[kind]; serve == nil {
		return nil, ErrNotYet.because(peer, "%s (%s)", ErrNotYet.Reason, kind)
	}
	m.entered[kind].Add(1)
	return serve, nil
}

// SetGate has gate asked, after a good hello, whether a peer may come in now with a stream of this kind; its error is what the peer reads.
func (m *Mesh) SetGate(gate func(kind Kind, peer Identity) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = gate
}

// Self is what this node says of itself now.
func (m *Mesh) Self() Identity {
	self := m.o.Self()
	self.Protocol, self.Boot, self.WallMs = Protocol, m.boot, time.Now().UnixMilli()
	return self
}

// Serve lets others in, until Close. It returns at once.
func (m *Mesh) Serve() {
	if m.o.Listen != nil {
		m.running.Go(m.accept)
	}
}

// accept takes connections and gives each a goroutine.
func (m *Mesh) accept() {
	const pause = 50 * time.Millisecond // too many open files, most likely: it passes
	for {
		conn, err := m.o.Listen.Accept()
		switch {
		case errors.Is(err, net.ErrClosed) || m.closing.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			return
		case err != nil:
			m.tally.refused("accept", "", err)
			select {
			case <-time.After(pause):
			case <-m.closing.Done():
			}
		case m.begin(conn):
			m.running.Go(func() { m.welcome(conn) })
		default:
			conn.Close()
		}
	}
}

// begin gives an accepted connection a place among the hellos.
func (m *Mesh) begin(conn net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if len(m.hellos) == maxHellos {
		m.tally.refused(ErrCrowd.Code, host(m.hellos[0]), ErrCrowd)
		m.hellos[0].Close()
		m.hellos = m.hellos[1:]
	}
	m.hellos = append(m.hellos, conn)
	return true
}

// end takes the place back.
func (m *Mesh) end(conn net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hellos = slices.DeleteFunc(m.hellos, func(c net.Conn) bool { return c == conn })
}

// welcome is the life of an accepted connection.
func (m *Mesh) welcome(raw net.Conn) {
	s, err := m.receive(raw)
	m.end(raw)
	if err != nil {
		raw.Close()
		if m.closing.Err() == nil && !errors.Is(err, ErrSelf) {
			m.tally.refused(codeOf(err), host(raw), err)
		}
		return
	}
	defer m.entered[s.kind].Done()
	if !m.keep(s) { // closed since the hello
		s.Close()
		return
	}
	m.tally.accepted(s.kind)
	s.serve(s, s.Peer)
}

// keep notes an open stream, so that Close finds it.
func (m *Mesh) keep(s *stream) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.conns[s] = true
	return true
}

// stream is a connection after its hello.
type stream struct {
	net.Conn
	mesh *Mesh
	kind Kind
	Peer Identity

	serve func(net.Conn, Identity) // accepted streams only
}

// Close ends the connection; the mesh forgets it.
func (s *stream) Close() error {
	s.mesh.mu.Lock()
	delete(s.mesh.conns, s)
	s.mesh.mu.Unlock()
	return s.Conn.Close()
}

// NetConn is the connection below: TLS, or TCP.
func (s *stream) NetConn() net.Conn { return s.Conn }

// Drop ends all streams with a node, whoever dialed.
func (m *Mesh) Drop(nodeID string) {
	for _, s := range m.open() {
		if s.Peer.NodeID == nodeID {
			s.Close()
		}
	}
}

func (m *Mesh) open() (all []*stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.conns {
		all = append(all, s)
	}
	return all
}

// Close ends the listener and every connection, and waits for all goroutines of the mesh.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	hellos := slices.Clone(m.hellos)
	m.mu.Unlock()
	m.close()
	var err error
	if m.o.Listen != nil {
		if err = m.o.Listen.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	for _, conn := range hellos {
		conn.Close()
	}
	for _, s := range m.open() {
		s.Close()
	}
	m.running.Wait()
	return err
}

// Stats are counts since the start, and what is open now.
type Stats struct {
	Accepted map[Kind]uint64   // streams that others began
	Dialed   map[Kind]uint64   // streams that this node began
	Refused  map[string]uint64 // connections of others that were not let in, by reason: the Code of the errors in this package
	Open     map[Kind]int      // streams, of either side
	Skew     time.Duration     // the largest difference to a peer's wall clock that was noted lately
}

// Stats returns the counts.
func (m *Mesh) Stats() Stats {
	s := m.tally.stats()
	s.Open = map[Kind]int{}
	for _, open := range m.open() {
		s.Open[open.kind]++
	}
	return s
}
