package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A pipeline of 16 SETs as redis-benchmark sends them; ns/op is one command.
func BenchmarkSet(b *testing.B) {
	for _, size := range []int{3, 64, 1024} {
		command := fmt.Sprintf("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000001234\r\n$%d\r\n%s\r\n", size, strings.Repeat("x", size))
		pipeline := bytes.Repeat([]byte(command), 16)
		limits := open()
		b.Run(fmt.Sprintf("check/%d", size), func(b *testing.B) {
			var st State
			for i := 0; i < b.N; i += 16 {
				for rest := pipeline; len(rest) > 0; {
					n, _, _ := Check(rest, limits, &st)
					rest = rest[n:]
				}
			}
		})
		b.Run(fmt.Sprintf("check+parse/%d", size), func(b *testing.B) {
			var st State
			var args [][]byte
			b.ReportAllocs()
			for i := 0; i < b.N; i += 16 {
				for rest := pipeline; len(rest) > 0; {
					n, _, _ := Check(rest, limits, &st)
					args, _ = Parse(rest[:n], args)
					rest = rest[n:]
				}
			}
		})
	}
}

func BenchmarkReply(b *testing.B) {
	var w Writer
	value := make([]byte, 64)
	for i := 0; i < b.N; i++ {
		w.Reset()
		w.Status("OK")
		w.Int(int64(i))
		w.Bulk(value)
	}
}
