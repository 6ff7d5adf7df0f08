package commands

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStringFamiliesAgainstRedis runs random programs of the commands that make strings – in place, from others, as bits, numbers and
// HyperLogLogs – against a Redis that is installed, and compares replies, values and encodings. The store is reopened on the way: an encoding
// must survive that.
func TestStringFamiliesAgainstRedis(t *testing.T) {
	conn := startRedis(t)
	replies := bufio.NewReader(conn)
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	c := h.client()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	d := familyDice{dice{rand.New(rand.NewPCG(*seed, 11))}}
	ask := func(i int, args []string) {
		sendCommand(t, conn, args)
		want := readReply(t, replies)
		if got := c.do(args...); got != want {
			t.Fatalf("command %d, %.300q:\n got  %.300q\n want %.300q", i, args, got, want)
		}
	}
	for i := range 3000 {
		args := d.command()
		ask(i, args)
		for _, name := range args[1:min(len(args), 4)] {
			if strings.HasPrefix(name, "k") || strings.HasPrefix(name, "h") {
				ask(i, []string{"object", "encoding", name})
				ask(i, []string{"object", "refcount", name})
				if d.IntN(4) == 0 {
					ask(i, []string{"get", name})
				}
			}
		}
		if i%700 == 699 {
			h.reopen()
			c = h.client()
		}
	}
}

// familyDice draws commands.
type familyDice struct{ dice }

func (d familyDice) key() string { return fmt.Sprintf("k%d", d.IntN(6)) }

func (d familyDice) hll() string { return fmt.Sprintf("h%d", d.IntN(4)) }

func (d familyDice) pick(words ...string) string { return words[d.IntN(len(words))] }

func (d familyDice) value() string {
	switch d.IntN(6) {
	case 0:
		return strconv.Itoa(d.IntN(20_000) - 100)
	case 1:
		return d.pick("", "0", "01", "-0", "9223372036854775807", "9223372036854775808", "3.0", "1e3")
	case 2:
		return strings.Repeat(d.pick("a", "5", "\x00", "\xff"), 40+d.IntN(10)) // about the longest that is embedded
	case 3:
		return strings.Repeat(d.pick("ab", "b", "\x81"), d.IntN(4000))
	}
	return strings.Repeat(d.pick("x", "abc", "7"), d.IntN(4))
}

func (d familyDice) number() string {
	return d.pick(strconv.Itoa(d.IntN(300)-150), "9223372036854775807", "-9223372036854775808", "1", "-1", "0")
}

func (d familyDice) offset() string { return strconv.Itoa(d.IntN(1 << (2 + d.IntN(15)))) }

func (d familyDice) command() []string {
	switch d.IntN(22) {
	case 0, 1:
		return []string{"set", d.key(), d.value()}
	case 2:
		return []string{"append", d.key(), d.value()}
	case 3:
		return []string{"setrange", d.key(), strconv.Itoa(d.IntN(60)), d.value()}
	case 4:
		return []string{"setbit", d.key(), d.offset(), d.pick("0", "1")}
	case 5:
		return []string{"incrbyfloat", d.key(), d.pick("1", "0.5", "-3", "1e20")}
	case 6:
		return []string{"incrby", d.key(), d.number()}
	case 7:
		return []string{"copy", d.key(), d.key(), "replace"}
	case 8:
		return []string{"rename", d.key(), d.key()}
	case 9:
		return []string{d.pick("del", "persist", "getdel", "getex", "strlen", "bitcount"), d.key()}
	case 10:
		return []string{d.pick("set", "getset", "setnx"), d.key(), d.number()}
	case 11, 12, 13:
		return d.bitField()
	case 14, 15:
		args := []string{"bitop", d.pick("and", "or", "xor", "not"), d.key(), d.key()}
		for args[1] != "not" && d.IntN(3) > 0 {
			args = append(args, d.key())
		}
		return args
	case 16, 17:
		args := []string{"lcs", d.key(), d.key()}
		for _, option := range [][]string{{"idx"}, {"len"}, {"withmatchlen"}, {"minmatchlen", strconv.Itoa(d.IntN(5))}} {
			if d.IntN(3) == 0 {
				args = append(args, option...)
			}
		}
		return args
	case 18, 19:
		args := []string{"pfadd", d.hll()}
		for range d.IntN(1 << d.IntN(10)) {
			args = append(args, strconv.Itoa(d.IntN(1e9)))
		}
		return args
	case 20:
		args := []string{d.pick("pfcount", "pfcount", "pfmerge"), d.hll()}
		for range d.IntN(3) {
			args = append(args, d.hll())
		}
		return args
	}
	return []string{d.pick("pfdebug", "pfdebug", "del", "get"), d.pick("encoding", "decode", "todense"), d.hll()}
}

func (d familyDice) bitField() []string {
	args := []string{"bitfield", d.key()}
	if d.IntN(6) == 0 {
		args[0] = "bitfield_ro"
	}
	for range d.IntN(6) {
		if d.IntN(3) == 0 {
			args = append(args, "overflow", d.pick("wrap", "sat", "fail"))
		}
		kind := d.pick("i", "u") + strconv.Itoa(1+d.IntN(63))
		offset := d.offset()
		if d.IntN(3) == 0 {
			offset = "#" + strconv.Itoa(d.IntN(60))
		}
		switch d.IntN(3) {
		case 0:
			args = append(args, "get", kind, offset)
		case 1:
			args = append(args, "set", kind, offset, d.number())
		default:
			args = append(args, "incrby", kind, offset, d.number())
		}
	}
	return args
}
