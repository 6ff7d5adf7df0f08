//go:build !race

package resp

import (
	"bytes"
	"testing"
)

func TestNoAllocations(t *testing.T) {
	pipeline := bytes.Repeat([]byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000001234\r\n$3\r\nxxx\r\nget \"key:1\" 'a'\r\n*0\r\n"), 4)
	args := make([][]byte, 0, 8)
	var st State
	buf := make([]byte, len(pipeline))
	checkAllocs(t, "check and parse", func() {
		copy(buf, pipeline)
		for rest := buf; len(rest) > 0; {
			n, _, err := Check(rest, open(), &st)
			if err == nil {
				args, err = Parse(rest[:n], args)
			}
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
	})
	w := Writer{buf: make([]byte, 0, 4096)}
	value := make([]byte, 100)
	checkAllocs(t, "replies", func() {
		for _, w.Proto = range []int{2, 3} {
			w.Reset()
			w.Status("OK")
			w.Error("ERR syntax error")
			w.Int(1234567)
			w.Uint(1234567)
			w.Bulk(value)
			w.BulkString("value")
			w.BulkInt(1234567)
			w.Null()
			w.NullArray()
			w.Map(3)
			w.Double(3.14)
			w.Verbatim("txt", value)
			w.BigNumber("123")
			w.ArrayAt(0, 12)
		}
	})
	pattern, name := []byte("key:*[0-9]?4"), []byte("key:000000001234")
	checkAllocs(t, "glob", func() { Glob(pattern, name, true) })
}

func checkAllocs(t *testing.T, name string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}
