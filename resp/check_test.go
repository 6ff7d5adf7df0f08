package resp

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"strings"
	"testing"
)

func wholeStream(remaining int) int { return remaining }
func byteByByte(int) int            { return 1 }

func open() Limits {
	l := DefaultLimits()
	l.Authenticated = true
	return l
}

func TestProtocolErrors(t *testing.T) {
	const echo = "*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n"
	ended := [][]string{{"ECHO", "end"}}
	closed := DefaultLimits()
	small := open()
	small.MaxBulkBytes, small.MaxArgs, small.MaxQueryBytes = 1<<20, 20, 2<<20
	tests := []struct {
		stream   string
		limits   Limits
		commands [][]string
		err      string
	}{
		{"*2147483648\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*9223372036854775807\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*9223372036854775808\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*-9223372036854775809\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*-9223372036854775808\r\n" + echo, open(), ended, ""},
		{"*99999999999999999999\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*-\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*01\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*+1\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*-0\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"* 1\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*1x\r\n", open(), nil, "Protocol error: invalid multibulk length"},
		{"*21\r\n", small, nil, "Protocol error: invalid multibulk length"},
		{"*0\r\n*-1\r\n\r\n\n \t \r\n" + echo, open(), ended, ""},

		{echo + "*1\r\n$-1\r\n", open(), ended, "Protocol error: invalid bulk length"},
		{"*1\r\n$-1000\r\n\r\n", open(), nil, "Protocol error: invalid bulk length"},
		{"*1\r\n$9223372036854775807\r\n\r\n", open(), nil, "Protocol error: invalid bulk length"},
		{"*1\r\n$18446744073709551615\r\n\r\n", open(), nil, "Protocol error: invalid bulk length"},
		{"*1\r\n$\r\n", open(), nil, "Protocol error: invalid bulk length"},
		{"*1\r\n$03\r\nfoo\r\n", open(), nil, "Protocol error: invalid bulk length"},
		{"*1\r\n$536870913\r\n", open(), nil, "Protocol error: invalid bulk length"},
		{"*1\r\n$536870912\r\n", open(), nil, ""},
		{"*1\r\nfoo\r\n", open(), nil, "Protocol error: expected '$', got 'f'"},
		{"*1\r\n\xff\r\n", open(), nil, "Protocol error: expected '$', got '\xff'"},
		{"*1\r\n\r\n", open(), nil, "Protocol error: expected '$', got '\r'"},
		{"*2\r\n$4\r\nECHO\r\n*1\r\n", open(), nil, "Protocol error: expected '$', got '*'"},

		// Redis never looks at the byte behind a CR, nor at the two behind an argument; and a NUL hides the end of a line.
		{"*1\rX$4\rYPINGab" + echo, open(), [][]string{{"PING"}, {"ECHO", "end"}}, ""},
		{"*1\x00\r\n", open(), nil, ""},
		{"*1\r\n$4\x00\r\nPING\r\n", open(), nil, ""},
		{"PI\x00NG\r\n", open(), nil, ""},

		{"*1" + strings.Repeat("1", 64<<10-2), open(), nil, ""},
		{"*1" + strings.Repeat("1", 64<<10-1), open(), nil, "Protocol error: too big mbulk count string"},
		{"*1" + strings.Repeat("1", 64<<10-1) + "\r\n", open(), nil, "Protocol error: too big mbulk count string"},
		{"*1\r\n$" + strings.Repeat("1", 64<<10-1), open(), nil, ""},
		{"*1\r\n$" + strings.Repeat("1", 64<<10), open(), nil, "Protocol error: too big bulk count string"},
		{"*1\r\n\x00" + strings.Repeat("\n", 64<<10), open(), nil, "Protocol error: too big bulk count string"},
		{strings.Repeat("a", 64<<10), open(), nil, ""},
		{strings.Repeat("a", 64<<10+1), open(), nil, "Protocol error: too big inline request"},
		{strings.Repeat("a", 64<<10+1) + "\n", open(), nil, "Protocol error: too big inline request"},
		{"\x00" + strings.Repeat("\n", 64<<10), open(), nil, "Protocol error: too big inline request"},

		{"*11\r\n", closed, nil, "Protocol error: unauthenticated multibulk length"},
		{"*1048577\r\n", closed, nil, "Protocol error: invalid multibulk length"},
		{"*10\r\n$16384\r\n", closed, nil, ""},
		{"*10\r\n$16385\r\n", closed, nil, "Protocol error: unauthenticated bulk length"},
		{"*10\r\n$536870913\r\n", closed, nil, "Protocol error: invalid bulk length"},

		{"*2\r\n$1048576\r\n", small, nil, ""},
		{"*2\r\n$1048577\r\n", small, nil, "Protocol error: invalid bulk length"},
		{"*2\r\n$1048576\r\n" + strings.Repeat("a", 1<<20) + "\r\n$1048548\r\n", small, nil, ""},
		{"*2\r\n$1048576\r\n" + strings.Repeat("a", 1<<20) + "\r\n$1048549\r\n", small, nil, ErrQueryTooLong.Error()},
	}
	for _, test := range tests {
		name := fmt.Sprintf("%.40q %d", test.stream, len(test.stream))
		o, err := serve([]byte(test.stream), test.limits, wholeStream)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := reference(test.stream, test.limits); !o.equal(want) {
			t.Errorf("%s: %v, reference %v", name, o, want)
		}
		if text := fmt.Sprint(o.err); test.err != "" && text != test.err || test.err == "" && o.err != nil {
			t.Errorf("%s: error %q, want %q", name, text, test.err)
		}
		if o.err = nil; fmt.Sprint(o.commands) != fmt.Sprint(test.commands) {
			t.Errorf("%s: commands %q, want %q", name, o.commands, test.commands)
		}
	}
}

// Every split of a stream gives the same commands and the same error as the whole, and as the reference.
func TestSplits(t *testing.T) {
	tight := Limits{MaxBulkBytes: 9, MaxArgs: 3, MaxInlineBytes: 12, MaxQueryBytes: 40, Authenticated: true}
	for seed := range int64(10_000) {
		rnd := rand.New(rand.NewSource(seed))
		stream := randomStream(rnd)
		for _, limits := range []Limits{open(), DefaultLimits(), tight} {
			compareSplits(t, rnd, stream, limits)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func compareSplits(t *testing.T, rnd *rand.Rand, stream []byte, limits Limits) {
	t.Helper()
	want := reference(string(stream), limits)
	for _, cut := range []func(int) int{wholeStream, byteByByte,
		func(n int) int { return 1 + rnd.Intn(n) },
		func(n int) int { return min(n, 1+rnd.Intn(5)) },
	} {
		got, err := serve(stream, limits, cut)
		if err != nil || !got.equal(want) {
			t.Fatalf("%q\n got %v (%v)\nwant %v", stream, got, err, want)
		}
	}
}

// A command in many pieces is not read again from its start: whatever stood in what Check has seen, it no longer matters.
func TestCheckNeverLooksBack(t *testing.T) {
	var stream bytes.Buffer
	const args = 5_000
	fmt.Fprintf(&stream, "*%d\r\n", args)
	for i := range args {
		fmt.Fprintf(&stream, "$%d\r\n%s\r\n", i%20, strings.Repeat("x", i%20))
	}
	buf := stream.Bytes()
	var st State
	for size := 1; size <= len(buf); size++ {
		n, _, err := Check(buf[:size], open(), &st)
		if err != nil || (n != 0) != (size == len(buf)) {
			t.Fatalf("after %d of %d bytes: n=%d err=%v", size, len(buf), n, err)
		}
		for i := max(1, min(st.pos, size)-30); i < min(st.pos, size); i++ {
			buf[i] = '!'
		}
	}
	line := []byte(strings.Repeat("a", 60_000))
	for size := 1; size <= len(line); size++ {
		if n, _, err := Check(line[:size], open(), &st); n != 0 || err != nil || st.seen != size {
			t.Fatalf("n=%d err=%v, %d of %d bytes seen", n, err, st.seen, size)
		}
		line[size-1] = '\n'
		if size == 1 {
			line[0] = 'a' // what the command begins with is its kind
		}
	}
}

// What Check asks for follows what has arrived, not what the client says will.
func TestNeedIsBounded(t *testing.T) {
	const size = 20 << 20
	stream := fmt.Appendf(nil, "*1\r\n$%d\r\n", size)
	total := len(stream) + size + 2
	var st State
	for steps := 0; ; steps++ {
		n, need, err := Check(stream, open(), &st)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			if n != total || steps > 15 {
				t.Fatalf("n=%d, want %d, after %d steps", n, total, steps)
			}
			return
		}
		if need > len(stream)+stepBytes || len(stream)+need > total {
			t.Fatalf("need %d with %d of %d there", need, len(stream), total)
		}
		stream = append(stream, make([]byte, need)...)
	}
}

func TestLimitsDoNotOverflow(t *testing.T) {
	limits := Limits{MaxBulkBytes: math.MaxInt, MaxArgs: math.MaxInt, MaxInlineBytes: 1 << 16, MaxQueryBytes: math.MaxInt, Authenticated: true}
	for _, stream := range []string{"*9223372036854775807\r\n$1\r\n", "*1\r\n$9223372036854775807\r\n", "*1\r\n$9223372036854775780\r\n"} {
		var st State
		for range 3 {
			n, need, err := Check([]byte(stream), limits, &st)
			if n != 0 || err == nil && (need < 1 || need > len(stream)+stepBytes) {
				t.Fatalf("%q: n=%d need=%d err=%v", stream, n, need, err)
			}
		}
	}
}

// An error stays an error, and AUTH in the middle of a command lifts the limits for what follows.
func TestLimitsMayChange(t *testing.T) {
	var st State
	stream := []byte("*2\r\n$4\r\nECHO\r\n$16385\r\n")
	for range 2 {
		if _, _, err := Check(stream, DefaultLimits(), &st); err != errBulkUnauth {
			t.Fatal(err)
		}
	}
	if _, need, err := Check(stream, open(), &st); err != nil || need != 16387 {
		t.Fatalf("need=%d err=%v", need, err)
	}
}

func FuzzCheck(f *testing.F) {
	for seed := range int64(20) {
		f.Add(randomStream(rand.New(rand.NewSource(seed))), seed, seed%2 == 0)
	}
	f.Add([]byte("*1\r\n$-1000\r\nx\r\n"), int64(1), true)
	f.Add([]byte("*1\rX$4\rYPINGab"), int64(1), true)
	f.Fuzz(func(t *testing.T, stream []byte, seed int64, tight bool) {
		limits := open()
		if tight {
			limits = Limits{MaxBulkBytes: 20, MaxArgs: 5, MaxInlineBytes: 40, MaxQueryBytes: 80}
		}
		compareSplits(t, rand.New(rand.NewSource(seed)), stream, limits)
	})
}
