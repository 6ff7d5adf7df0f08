package commands

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"

	"sett/resp"
)

func TestEveryRowIsComplete(t *testing.T) {
	table := NewTable()
	ids := make([]bool, table.Len())
	var check func(r *Row)
	check = func(r *Row) {
		if r.Group == "" || r.Since == "" || r.Summary == "" || r.Arity == 0 {
			t.Errorf("row %q lacks metadata", r.Name)
		}
		if (r.Write != nil) != r.Flags.Has(FlagWrite) || r.Read != nil && !r.Flags.Has(FlagReadonly) {
			t.Errorf("row %q: flags do not fit its kind", r.Name)
		}
		if r.syntax == nil || r.syntax.group != r.Group {
			t.Errorf("row %q is not in syntax.txt, or in another group", r.Name)
		}
		if ids[r.ID] {
			t.Errorf("row %q: ID %d is taken", r.Name, r.ID)
		}
		ids[r.ID] = true
		for _, sub := range r.Subcommands {
			check(sub)
		}
	}
	for i, row := range table.Rows() {
		if row.ID != i {
			t.Errorf("row %q has ID %d at %d", row.Name, row.ID, i)
		}
		check(row)
		if table.Lookup([]byte(strings.ToUpper(row.Name))) != row {
			t.Errorf("row %q is not found", row.Name)
		}
	}
	if table.Lookup([]byte(strings.Repeat("x", 100))) != nil || table.Lookup(nil) != nil {
		t.Error("found a row that is not there")
	}
}

func TestCommandDocsNestLikeRESP(t *testing.T) {
	table := NewTable()
	for _, proto := range []int{2, 3} {
		w := &resp.Writer{Proto: proto}
		if err := table.ReplyCommand(w, [][]byte{[]byte("command"), []byte("DOCS")}); err != nil {
			t.Fatal(err)
		}
		if err := table.ReplyCommand(w, [][]byte{[]byte("command")}); err != nil {
			t.Fatal(err)
		}
		rest := w.Bytes()
		for range 2 {
			rest = skipReply(t, rest)
		}
		if len(rest) > 0 {
			t.Errorf("RESP%d: %d bytes behind the replies", proto, len(rest))
		}
	}
}

// skipReply returns what follows a reply.
func skipReply(t *testing.T, b []byte) []byte {
	head, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok {
		t.Fatal("a reply ends early")
	}
	n, _ := strconv.Atoi(string(head[1:]))
	switch head[0] {
	case '$':
		return rest[max(0, n+2):]
	case '%':
		n *= 2
	case '*', '~':
	default:
		n = 0
	}
	for range n {
		rest = skipReply(t, rest)
	}
	return rest
}

func FuzzParseInt(f *testing.F) {
	for _, s := range []string{"0", "-0", "1", "-1", "+1", "01", " 1", "1 ", "", "-", "9223372036854775807", "9223372036854775808",
		"-9223372036854775808", "-9223372036854775809", "99999999999999999999", "1a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := strconv.ParseInt(s, 10, 64)
		ok := err == nil && strconv.FormatInt(want, 10) == s
		if got, gotOK := resp.ParseInt([]byte(s)); gotOK != ok || ok && got != want {
			t.Fatalf("resp.ParseInt(%q) = %d, %v", s, got, gotOK)
		}
	})
}

func FuzzParseFloat(f *testing.F) {
	for _, s := range []string{"1", "-1.5e10", "0x1p-4", "inf", "nan", "1e", ".", "1e999999999", "0e5", "0x.p1", "1e-99999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseFloat([]byte(s))
		want, err := strconv.ParseFloat(s, 64)
		if err == nil && ok && !math.IsInf(want, 0) && want != 0 {
			if got, _ := a.Float64(); got != want {
				t.Fatalf("parseFloat(%q) = %v, want %v", s, got, want)
			}
		}
		if !ok {
			return
		}
		if sum, ok := addFloat(a, a); ok {
			if _, ok := parseFloat(appendFloat(nil, sum)); !ok {
				t.Fatalf("the sum of two %q cannot be read again", s)
			}
		}
	})
}
