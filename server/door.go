package server

import (
	"net"
	"slices"
)

// Door is a way in over TCP: a port, on some addresses. It can be moved while the server runs. Its owner calls one method at a time.
type Door struct {
	Bind    []string
	Port    int // 0: it is closed
	Backlog int
	TLS     *TLS // of clients that speak TLS; nil: they do not

	listeners []net.Listener
}

// Open listens. Whoever comes waits until the door is served.
func (d *Door) Open() (err error) {
	if d.Port != 0 {
		d.listeners, err = Listen(d.Bind, d.Port, d.Backlog)
	}
	return err
}

// Close ends a door that nobody serves.
func (d *Door) Close() {
	closeAll(d.listeners)
	d.listeners = nil
}

// ServeDoor accepts the connections of a door until Shutdown.
func (s *Server) ServeDoor(d *Door) {
	if d.TLS == nil {
		s.port.Store(int64(d.Port))
	}
	s.serve(d.listeners, d.TLS)
}

// Move has a door that is served listen elsewhere. Connections stay; for a moment nobody listens, since old and new addresses may overlap. If
// the new ones cannot be had, the door goes back to the old.
func (s *Server) Move(d *Door, bind []string, port int) error {
	if port == d.Port && (port == 0 || slices.Equal(bind, d.Bind)) {
		d.Bind = bind
		return nil
	}
	s.unserve(d.listeners)
	d.listeners = nil
	oldBind, oldPort := d.Bind, d.Port
	d.Bind, d.Port = bind, port
	err := d.Open()
	if err != nil {
		d.Bind, d.Port = oldBind, oldPort
		if lost := d.Open(); lost != nil {
			s.opts.Logger.Error("clients cannot come in any more", "err", lost)
		}
	}
	s.ServeDoor(d)
	return err
}

// unserve closes listeners before the end.
func (s *Server) unserve(listeners []net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeAll(listeners)
	s.listeners = slices.DeleteFunc(s.listeners, func(l net.Listener) bool { return slices.Contains(listeners, l) })
}
