package resp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestInline(t *testing.T) {
	const unbalanced = "Protocol error: unbalanced quotes in request"
	tests := []struct {
		line string
		args []string
		err  string
	}{
		{"PING\r\n", []string{"PING"}, ""},
		{"PING\n", []string{"PING"}, ""},
		{"\v\f set\t a  b \r\n", []string{"set", "a", "b"}, ""},
		{"\r\n", nil, ""},
		{" \r\r\n", nil, ""},
		{"a\rb\r\n", []string{"a", "b"}, ""},
		{"a\vb\n", []string{"a\vb"}, ""},
		{"a\xa0b\n", []string{"a\xa0b"}, ""},
		{`"" ''` + "\n", []string{"", ""}, ""},
		{`a"b c"` + "\n", []string{"ab c"}, ""},
		{`a'b c' d` + "\n", []string{"ab c", "d"}, ""},
		{`"a"` + "\vb\n", []string{"a", "b"}, ""},
		{`"\x41\n\r\t\b\a\q\"\\"` + "\n", []string{"A\n\r\t\b\aq\"\\"}, ""},
		{`"\x4g\x4" "\xFf\x00"` + "\n", []string{"x4gx4", "\xff\x00"}, ""},
		{`'a\'b\n\\ '` + "\n", []string{`a'b\n\\ `}, ""},
		{`a\n\x41` + "\n", []string{`a\n\x41`}, ""},
		{`"'" '"'` + "\n", []string{"'", `"`}, ""},
		{`"a` + "\n", nil, unbalanced},
		{`"a\"` + "\n", nil, unbalanced},
		{`"a\` + "\n", nil, unbalanced},
		{`'a\'` + "\n", nil, unbalanced},
		{`'a\\'` + "\n", nil, unbalanced},
		{`"a"b` + "\n", nil, unbalanced},
		{`"a""b"` + "\n", nil, unbalanced},
		{`x 'a'b` + "\n", nil, unbalanced},
	}
	for _, test := range tests {
		args, err := Parse([]byte(test.line), nil)
		if text := fmt.Sprint(err); test.err != "" && text != test.err || test.err == "" && err != nil {
			t.Errorf("%q: error %v, want %q", test.line, err, test.err)
		}
		var o outcome
		o.add(args)
		if got := slices.Concat(o.commands...); !slices.Equal(got, test.args) {
			t.Errorf("%q: %q, want %q", test.line, got, test.args)
		}
	}
}

func TestArgumentsDoNotRunIntoEachOther(t *testing.T) {
	for _, command := range []string{"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\rX$1\rXaXX$1\rXbXX", "a b\n"} {
		buf := []byte(command)
		args, err := Parse(buf, nil)
		if err != nil || len(args) != 2 {
			t.Fatal(args, err)
		}
		for _, arg := range args {
			if cap(arg) != len(arg) {
				t.Errorf("%q: an append to %q would change what follows", command, arg)
			}
		}
		if &args[0][0] != &buf[strings.IndexByte(command, 'a')] {
			t.Errorf("%q: the argument is a copy", command)
		}
	}
}

func FuzzInline(f *testing.F) {
	for _, line := range []string{`set a "b\x00\n" 'c\'d'`, `"a"b`, "a\vb \v c", `"\x4`, `a"b`, `'\`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) > 0 && line[0] == '*' {
			return
		}
		stream := append(slices.Clone(line), "\r\n"...)
		got, err := serve(stream, open(), wholeStream)
		if want := reference(string(stream), open()); err != nil || !got.equal(want) {
			t.Fatalf("%q\n got %v (%v)\nwant %v", stream, got, err, want)
		}
	})
}
