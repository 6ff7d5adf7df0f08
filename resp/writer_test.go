package resp

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestReplies(t *testing.T) {
	tests := []struct {
		write        func(w *Writer)
		resp2, resp3 string
	}{
		{func(w *Writer) { w.Status("OK") }, "+OK\r\n", ""},
		{func(w *Writer) { w.Status("a\r\nb\n") }, "+a  b \r\n", ""},
		{func(w *Writer) { w.Error("ERR syntax error") }, "-ERR syntax error\r\n", ""},
		{func(w *Writer) { w.Error("ERR no 'a\r\n:1\r\n' b\r\n") }, "-ERR no 'a  :1  ' b\r\n", ""},
		{func(w *Writer) { w.Int(0) }, ":0\r\n", ""},
		{func(w *Writer) { w.Int(math.MinInt64) }, ":-9223372036854775808\r\n", ""},
		{func(w *Writer) { w.Uint(math.MaxUint64) }, ":18446744073709551615\r\n", ""},
		{func(w *Writer) { w.Bulk([]byte("a\r\n\x00")) }, "$4\r\na\r\n\x00\r\n", ""},
		{func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", ""},
		{func(w *Writer) { w.BulkString("abc") }, "$3\r\nabc\r\n", ""},
		{func(w *Writer) { w.BulkInt(-12) }, "$3\r\n-12\r\n", ""},
		{func(w *Writer) { w.BulkInt(math.MinInt64) }, "$20\r\n-9223372036854775808\r\n", ""},
		{func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{func(w *Writer) { w.Array(0) }, "*0\r\n", ""},
		{func(w *Writer) { w.Array(12) }, "*12\r\n", ""},
		{func(w *Writer) { w.Map(3) }, "*6\r\n", "%3\r\n"},
		{func(w *Writer) { w.Set(3) }, "*3\r\n", "~3\r\n"},
		{func(w *Writer) { w.Push(3) }, "*3\r\n", ">3\r\n"},
		{func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n"},
		{func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n"},
		{func(w *Writer) { w.Double(3.141) }, "$5\r\n3.141\r\n", ",3.141\r\n"},
		{func(w *Writer) { w.Verbatim("txt", []byte("a\nb")) }, "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n"},
		{func(w *Writer) { w.Verbatim("md", []byte("")) }, "$0\r\n\r\n", "=4\r\nmd :\r\n"},
		{func(w *Writer) { w.BigNumber("-123") }, "$4\r\n-123\r\n", "(-123\r\n"},
		{func(w *Writer) { w.Raw([]byte("*0\r\n")) }, "*0\r\n", ""},
		{func(w *Writer) { w.ArrayAt(0, 0) }, "*0\r\n", ""},
	}
	for _, test := range tests {
		if test.resp3 == "" {
			test.resp3 = test.resp2
		}
		for proto, want := range map[int]string{0: test.resp2, 2: test.resp2, 3: test.resp3} {
			w := Writer{Proto: proto}
			if test.write(&w); string(w.Bytes()) != want {
				t.Errorf("RESP%d: %q, want %q", proto, w.Bytes(), want)
			}
		}
	}
}

// The right side is what redis-server 7.0.15 answers for ZSCORE, which is C's %.17g.
func TestDouble(t *testing.T) {
	for _, test := range []struct {
		v    float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "-0"}, {1, "1"}, {-1.5, "-1.5"}, {0.1, "0.10000000000000001"},
		{3.14, "3.1400000000000001"}, {1e15, "1000000000000000"}, {1e16, "10000000000000000"}, {1e17, "1e+17"},
		{123456789012345678, "1.2345678901234568e+17"}, {1e-4, "0.0001"}, {1e-5, "1.0000000000000001e-05"},
		{1e100, "1e+100"}, {math.MaxFloat64, "1.7976931348623157e+308"}, {5e-324, "4.9406564584124654e-324"},
		{1 << 53, "9007199254740992"}, {100000, "100000"}, {120.5, "120.5"},
		{math.Inf(1), "inf"}, {math.Inf(-1), "-inf"}, {math.NaN(), "nan"}, {math.Copysign(math.NaN(), -1), "nan"},
	} {
		w := Writer{Proto: 3}
		if w.Double(test.v); string(w.Bytes()) != ","+test.want+"\r\n" {
			t.Errorf("%v: %q, want %q", test.v, w.Bytes(), test.want)
		}
	}
}

func TestArrayAtAndTruncate(t *testing.T) {
	var w Writer
	w.Status("OK")
	for _, n := range []int{0, 1, 9, 10, 1000} {
		at := w.Len()
		for i := range n {
			w.Int(int64(i))
		}
		w.ArrayAt(at, n)
		v, rest, err := read(w.Bytes()[at:])
		if err != nil || len(rest) != 0 || len(v.items) != n || n > 0 && v.items[n-1].text != strconv.Itoa(n-1) {
			t.Fatalf("n=%d: %v %q %v", n, v, rest, err)
		}
		if w.Truncate(at); string(w.Bytes()) != "+OK\r\n" {
			t.Fatalf("%q", w.Bytes())
		}
	}
	if w.Reset(); w.Len() != 0 {
		t.Fatal("not empty")
	}
}

// program writes the replies that its bytes describe, and says what a client must read.
type program struct {
	code []byte
	w    Writer
}

func (p *program) take(n int) []byte {
	n = min(n, len(p.code))
	b := p.code[:n]
	p.code = p.code[n:]
	return b
}

func (p *program) number() int64 {
	var v int64
	for _, b := range p.take(8) {
		v = v<<8 | int64(b)
	}
	return v
}

// resp2 or resp3, whichever is spoken.
func (p *program) either(resp2, resp3 byte) byte {
	if p.w.Proto == 3 {
		return resp3
	}
	return resp2
}

func (p *program) reply(depth int) value {
	op := p.take(1)
	if len(op) == 0 || depth == 0 && op[0]%16 > 10 {
		p.w.Null()
		return value{kind: p.either('$', '_'), null: true}
	}
	size := int(op[0] >> 4)
	spaces := strings.NewReplacer("\r", " ", "\n", " ")
	switch op[0] % 16 {
	case 0:
		text := string(p.take(size))
		p.w.Status(text)
		return value{kind: '+', text: spaces.Replace(text)}
	case 1:
		text := string(p.take(size))
		p.w.Error(text)
		return value{kind: '-', text: spaces.Replace(strings.TrimRight(text, "\r\n"))}
	case 2:
		v := p.number()
		p.w.Int(v)
		return value{kind: ':', text: fmt.Sprint(v)}
	case 3:
		v := p.number()
		p.w.Uint(uint64(v))
		return value{kind: ':', text: fmt.Sprint(uint64(v))}
	case 4:
		b := p.take(size * size)
		p.w.Bulk(b)
		return value{kind: '$', text: string(b)}
	case 5:
		v := p.number()
		p.w.BulkInt(v)
		return value{kind: '$', text: fmt.Sprint(v)}
	case 6:
		p.w.NullArray()
		return value{kind: p.either('*', '_'), null: true}
	case 7:
		v := math.Float64frombits(uint64(p.number()))
		p.w.Double(v)
		return value{kind: p.either('$', ','), text: string(AppendDouble(nil, v))}
	case 8:
		p.w.Bool(size > 7)
		if p.w.Proto == 3 {
			return value{kind: '#', text: map[bool]string{true: "t", false: "f"}[size > 7]}
		}
		return value{kind: ':', text: strconv.Itoa(size / 8)}
	case 9:
		text := string(p.take(size))
		p.w.Verbatim("txt", []byte(text))
		if p.w.Proto == 3 {
			text = "txt:" + text
		}
		return value{kind: p.either('$', '='), text: text}
	case 10:
		text := strconv.FormatInt(p.number(), 10)
		p.w.BigNumber(text)
		return value{kind: p.either('$', '('), text: text}
	}
	return p.aggregate(op[0]%16, size, depth)
}

func (p *program) aggregate(op byte, size, depth int) value {
	v := value{kind: '*'}
	at := p.w.Len()
	n := size
	switch op {
	case 11:
		p.w.Array(n)
	case 12:
		p.w.Map(n)
		v.kind, size = p.either('*', '%'), 2*n
	case 13:
		p.w.Set(n)
		v.kind = p.either('*', '~')
	case 14:
		p.w.Push(n)
		v.kind = p.either('*', '>')
	}
	for range size {
		v.items = append(v.items, p.reply(depth-1))
	}
	if op == 15 {
		p.w.ArrayAt(at, n)
	}
	return v
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte("\x20OK\x31ERR\x44a\r\nbcdefghijklmn\x80\x07\x3f\xf0\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x2b\x2c\x2d\x2e\x2f\x59a\nb\x06\x02abcdefgh\x0aabcdefgh"))
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, proto := range []int{2, 3} {
			p := program{code: slices.Clone(code), w: Writer{Proto: proto}}
			var want []value
			for len(p.code) > 0 && len(want) < 50 {
				want = append(want, p.reply(3))
			}
			rest := p.w.Bytes()
			for i := range want {
				var got value
				var err error
				if got, rest, err = read(rest); err != nil || !reflect.DeepEqual(got, want[i]) {
					t.Fatalf("RESP%d, reply %d: %+v (%v), want %+v", proto, i, got, err, want[i])
				}
			}
			if len(rest) != 0 {
				t.Fatalf("%q is left", rest)
			}
		}
	})
}
