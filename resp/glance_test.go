package resp

import (
	"bytes"
	"slices"
	"testing"
)

func TestGlance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		args int
		n    int
	}{
		{"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n", 2, 20},
		{"*3\r\n$3\r\nSET\r\n$2\r\nab\r\n$0\r\n\r\n", 3, 27},
		{"*1\r\n$4\r\nPING\r\n", 1, 14},
		{"*10\r\n" + string(bytes.Repeat([]byte("$1\r\nx\r\n"), 10)), 10, 75},
		{"*2\r\n$3\r\nGET\r\n$1\r\nk\r", 0, 0},
		{"*2\r\n$3\r\nGET\r\n$1\r\n", 0, 0},
		{"*2\r\n$3\r\nGET\r\n", 0, 0},
		{"*100\r\n$3\r\nGET\r\n", 0, 0},
		{"*2\r\n$3\r\nGET\r\n$x\r\nk\r\n", 0, 0},
		{"*0\r\n", 0, 0}, {"*-1\r\n", 0, 0}, {"*12\r", 0, 0}, {"GET k\r\n", 0, 0}, {"*", 0, 0}, {"", 0, 0},
	} {
		if args, n := Glance([]byte(c.in), nil); len(args) != c.args || n != c.n {
			t.Errorf("Glance(%q) = %q, %d, not %d, %d", c.in, args, n, c.args, c.n)
		}
	}
}

// FuzzGlance: what it takes for a command is one, with those arguments.
func FuzzGlance(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
	f.Add([]byte("*11\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n0123456789ab\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		glanced, n := Glance(in, nil)
		if n == 0 {
			return
		}
		limits := DefaultLimits()
		limits.Authenticated = true
		var st State
		if checked, _, err := Check(in, limits, &st); err != nil || checked != n {
			t.Fatalf("Glance(%q) is %d long, Check says %d, %v", in, n, checked, err)
		}
		if args, err := Parse(bytes.Clone(in[:n]), nil); err != nil || !slices.EqualFunc(args, glanced, bytes.Equal) {
			t.Fatalf("Glance(%q) has seen %q: %q, %v", in, glanced, args, err)
		}
	})
}
