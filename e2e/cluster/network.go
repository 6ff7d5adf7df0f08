package cluster

import (
	"testing"

	"sett/internal/testport"
)

// Network is what lies between the nodes' cluster ports. Clients do not go through it. Its methods may be called by any goroutine.
type Network interface {
	Peers() []string            // how each node is reached by the others
	Listen(place int) string    // where a node listens for the others
	Host(place int) string      // where it listens for clients
	Through(place int) []string // a command that runs its process; nil: none
	Watch(pid func(place int) int)

	Block(from, to int) // nothing that one node sends reaches another, until Heal
	Heal()
}

// Loopback has nothing between the nodes, so nothing can be blocked.
type Loopback struct{ addrs []string }

// NewLoopback finds free ports.
func NewLoopback(t testing.TB, nodes int) *Loopback {
	l := &Loopback{}
	for range nodes {
		l.addrs = append(l.addrs, testport.Addr(t))
	}
	return l
}

// Peers are the nodes' own addresses.
func (l *Loopback) Peers() []string { return l.addrs }

// Listen is the address under which the others know the node.
func (l *Loopback) Listen(place int) string { return l.addrs[place] }

// Host is this machine.
func (l *Loopback) Host(int) string { return "127.0.0.1" }

// Through is nothing.
func (l *Loopback) Through(int) []string { return nil }

// Watch needs nobody.
func (l *Loopback) Watch(func(int) int) {}

// Block panics: a test that needs it takes another network.
func (l *Loopback) Block(int, int) { panic("the loopback cannot be blocked") }

// Heal has nothing to do.
func (l *Loopback) Heal() {}
