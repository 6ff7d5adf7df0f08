// Package testport finds ports for tests whose servers listen again after a restart.
package testport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports that are given are below those that systems choose for who dials, or listens on port 0 (Linux from 32768, gVisor from 16000): so
// nobody gets one by chance while its server is down.
const (
	first = 10000
	count = 6000
)

// Take gives a port of 127.0.0.1 that nobody listens on and that is nobody else's until the test ends: the UDP port of the same number is
// held as the claim, which ends with the process at the latest.
func Take(t testing.TB) string {
	t.Helper()
	start := rand.IntN(count)
	for i := range count {
		port := strconv.Itoa(first + (start+i)%count)
		claim, err := net.ListenPacket("udp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", ":"+port); err == nil {
			l.Close()
			t.Cleanup(func() { claim.Close() })
			return port
		}
		claim.Close()
	}
	t.Fatalf("nobody may listen on a port from %d to %d", first, first+count-1)
	return ""
}

// Addr is 127.0.0.1 with a port of Take.
func Addr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", Take(t))
}
