package commands

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sett/types"
)

// TestBitOpOfLongStrings: a result that is made without the lock is that of one moment, and nothing of what was staged for it stays.
func TestBitOpOfLongStrings(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: nothing for the race detector")
	}
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	c := h.client()
	d := longDice{dice{rand.New(rand.NewPCG(3, 3))}}
	p := plainStrings{}
	for i, name := range []string{"a", "b"} {
		p[name] = []byte(d.bytes(3<<20 - i*700_001))
		c.must(ok, "set", name, string(p[name]))
	}
	p.splice("b", 2_500_000, "tail") // paged, with a blob beneath
	c.must(num(2_500_004), "setrange", "b", "2500000", "tail")
	for _, words := range []string{"and d a b", "or d a b nokey", "xor d b a b", "not d b", "xor a a b", "not a a"} {
		args := append([]string{"bitop"}, strings.Fields(words)...)
		c.must(p.run(args), args...)
		compareBytes(t, words, c.long(args[2]), string(p[args[2]]))
	}

	// As a step of several it has to fit into the batch, sources and all.
	c.must(ok, "multi")
	c.do("bitop", "or", "e", "a", "b")
	c.do("setrange", "e", "0", "head")
	c.do("bitop", "not", "e", "e")
	c.must("*3\r\n:3145728\r\n:3145728\r\n:3145728\r\n", "exec")
	p.run([]string{"bitop", "or", "e", "a", "b"})
	p.splice("e", 0, "head")
	p.run([]string{"bitop", "not", "e", "e"})
	compareBytes(t, "within MULTI", c.long("e"), string(p["e"]))
	c.must(ok, "multi")
	c.do("bitop", "or", "f", "a", "b", "e")
	if got := c.do("exec"); !strings.HasPrefix(got, "*1\r\n-ERR the effects of this command exceed batch_max_bytes") {
		t.Errorf("EXEC: %.200q", got)
	}
	c.must(num(0), "exists", "f")
	h.wantNothingStaged()
	h.audit()
}

// TestBitOpUnderWriters: the sources are always equal, so their difference is always nothing.
func TestBitOpUnderWriters(t *testing.T) {
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	c := h.client()
	c.do("setrange", "a", "2000000", "x")
	c.do("setrange", "b", "2000000", "x")
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := h.client()
		for i := range 300 {
			w.do("multi")
			for _, name := range []string{"a", "b"} {
				w.do("setrange", name, fmt.Sprint(i*6000), fmt.Sprintf("%08d", i))
				w.do("setrange", name, "0", fmt.Sprintf("%08d", i))
			}
			w.do("exec")
		}
	}()
	results, gaveUp := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		switch got := c.do("bitop", "xor", "d", "a", "b"); got {
		case num(2_000_001):
			results++
			c.must(num(0), "bitcount", "d")
		case "-" + string(ErrDeriveTouched) + "\r\n":
			gaveUp++
		default:
			t.Fatalf("BITOP: %q", got)
		}
	}
	t.Logf("%d results, gave up %d times", results, gaveUp)
	c.must(num(2_000_001), "bitop", "xor", "d", "a", "b")
	h.wantNothingStaged()
	h.audit()
}

// wantNothingStaged says that each staged blob and draft is a value or dead.
func (h *house) wantNothingStaged() {
	h.t.Helper()
	if n := h.set.StagedBytes(); n != 0 {
		h.t.Errorf("%d bytes still count as staged", n)
	}
	v, err := h.store.View()
	if err != nil {
		h.t.Fatal(err)
	}
	defer v.Close()
	dead := types.DeadRange()
	it := v.Iterate(dead.Lower, dead.Upper)
	defer it.Close()
	for it.Next() {
		if it.Value()[0] == types.Staged {
			h.t.Errorf("%q is still staged", it.Key())
		}
	}
}

// long reads a string in parts, none of which is streamed.
func (c *client) long(name string) (value string) {
	for {
		reply := c.do("getrange", name, fmt.Sprint(len(value)), fmt.Sprint(len(value)+streamBytes-1))
		_, part, _ := strings.Cut(reply, "\r\n")
		if len(part) <= 2 {
			return value
		}
		value += part[:len(part)-2]
	}
}

func compareBytes(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	t.Errorf("%s: %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), i)
}
