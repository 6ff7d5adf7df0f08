package commands

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// naiveLCS is LCS with a whole table.
func naiveLCS(a, b string, idx, withLen bool, minMatch int) string {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
		for j := 1; i > 0 && j <= len(b); j++ {
			if table[i][j] = max(table[i-1][j], table[i][j-1]); a[i-1] == b[j-1] {
				table[i][j] = table[i-1][j-1] + 1
			}
		}
	}
	common, matches, n := "", "", 0
	endA, endB, length, items := 0, 0, 0, 2
	if withLen {
		items = 3
	}
	emit := func() {
		if length > 0 && length >= minMatch {
			matches += fmt.Sprintf("*%d\r\n*2\r\n:%d\r\n:%d\r\n*2\r\n:%d\r\n:%d\r\n", items,
				endA-length, endA-1, endB-length, endB-1)
			if withLen {
				matches += num(length)
			}
			n++
		}
		length = 0
	}
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			if length == 0 {
				endA, endB = i, j
			}
			common = a[i-1:i] + common
			i, j, length = i-1, j-1, length+1
		case table[i-1][j] > table[i][j-1]:
			emit()
			i--
		default:
			emit()
			j--
		}
	}
	emit()
	if !idx {
		return bulk(common)
	}
	return fmt.Sprintf("*4\r\n$7\r\nmatches\r\n*%d\r\n%s$3\r\nlen\r\n:%d\r\n", n, matches, len(common))
}

// TestLCS compares with the naive one: strings of few letters, longer and shorter than a word of bits, each the longer one at times.
func TestLCS(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	d := rand.New(rand.NewPCG(*seed, 12))
	h := newHouse(t, Options{})
	c := h.client()
	draw := func() string {
		letters := 1 + d.IntN(4)
		b := make([]byte, d.IntN([]int{4, 20, 70, 300}[d.IntN(4)]))
		for i := range b {
			b[i] = byte('a' + d.IntN(letters))
		}
		return string(b)
	}
	for range 1500 {
		a, b := draw(), draw()
		c.must(ok, "mset", "a", a, "b", b)
		least := d.IntN(4)
		c.must(naiveLCS(a, b, false, false, 0), "lcs", "a", "b")
		c.must(naiveLCS(a, b, true, false, least), "lcs", "a", "b", "idx", "minmatchlen", strconv.Itoa(least))
		c.must(naiveLCS(a, b, true, true, 0), "lcs", "a", "b", "idx", "withmatchlen")
	}
	// As a step of a transaction, with what the transaction has written.
	c.do("del", "a", "b")
	c.must(ok, "multi")
	c.do("setrange", "a", "5000", "the same")
	c.do("setrange", "b", "100", "the same")
	c.do("lcs", "a", "b", "minmatchlen", "8", "idx")
	if got := c.do("exec"); !strings.HasPrefix(got, "*3\r\n:5008\r\n:108\r\n*4") || !strings.Contains(got, ":5007\r\n*2\r\n") || !strings.Contains(got, ":107\r\n$3\r\nlen\r\n") {
		t.Errorf("EXEC: %q", got)
	}
}

// The memory of all tables together is bounded, and given back.
func TestLCSMemory(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.do("setrange", "long", "60000000", "a")
	c.must(ok, "set", "short", "a")
	c.must(num(1), "lcs", "long", "short", "len")
	limit := h.store.Budget().Clients
	h.set.lcs.Add(limit)
	c.must("-"+string(ErrLCSNoMemory)+"\r\n", "lcs", "long", "short", "len")
	c.must("-"+string(ErrLCSNoMemory)+"\r\n", "lcs", "short", "long", "idx")
	h.set.lcs.Add(-limit)
	c.must(bulk("a"), "lcs", "short", "long")
	if left := h.set.lcs.Load(); left != 0 {
		t.Errorf("%d bytes of tables are still counted", left)
	}
}

// BenchmarkLCS is about the largest that Redis allows.
func BenchmarkLCS(b *testing.B) {
	h := newHouse(b, Options{MaxBulk: 512 << 20})
	c := h.client()
	d := longDice{dice{rand.New(rand.NewPCG(1, 1))}}
	for _, name := range []string{"a", "b"} {
		text := make([]byte, 11_000)
		for i := range text {
			text[i] = byte(d.IntN(256))
		}
		c.must(ok, "set", name, string(text))
	}
	for b.Loop() {
		c.do("lcs", "a", "b", "len")
	}
}
