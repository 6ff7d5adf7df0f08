package testport

import (
	"net"
	"testing"
)

// TestTake: a port that was taken is not given again, whether its server listens or not.
func TestTake(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 500 {
		addr := Addr(t)
		if seen[addr] {
			t.Fatalf("%s was taken twice", addr)
		}
		seen[addr] = true
	}
	for addr := range seen {
		for range 2 { // its server starts, and starts again
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
		}
	}
}
