package server

import (
	"net"
	"strings"
	"testing"
)

// TestNoAllocations: parsing, running and replying to the usual commands on keys in memory allocates nothing.
func TestNoAllocations(t *testing.T) {
	ts := startServer(t, setup{})
	ts.log.forget = true
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	var s session
	var p peer
	p.init(1, a)
	s.init(ts.Server, &p)
	buf := &buffers{}
	entry := map[string]int{"SET": 2, "INCR": 2}
	sixteen := func(words ...string) string { return strings.Repeat(encode(words...), 16) }
	for name, pipeline := range map[string]string{
		"PING": sixteen("PING"), "inline": "PING\r\necho a\n", "GET": sixteen("GET", "key"), "GET nothing": sixteen("GET", "nokey"),
		"SET": sixteen("SET", "key", "value"), "INCR": sixteen("INCR", "number"),
	} {
		in := []byte(pipeline)
		once := func() {
			if used, next := s.run(buf, in); used != len(in) || next != more {
				t.Fatalf("%s: used %d, next %d", name, used, next)
			}
			if buf.out.Len() == 0 || buf.out.Bytes()[0] == '-' {
				t.Fatalf("%s: %q", name, buf.out.Bytes())
			}
			if !s.release(buf) {
				t.Fatal("released nothing")
			}
			buf.out.Reset()
		}
		for range 100 {
			once()
		}
		// Recent writes grow now and then, and storage may allocate for the entry that the sixteen share.
		if n := testing.AllocsPerRun(200, once); n > float64(entry[name]) {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
