package commands

import (
	"strings"
	"testing"
)

// TestChanges has what Redis 7.0.15 adds to rdb_changes_since_last_save for each command, one after the other.
func TestChanges(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	changes := func() uint64 { return h.set.Stats().Changes.Load() }
	for _, test := range []struct {
		want    uint64
		command string
	}{
		{1, "set a 1"}, {1, "set a 2 ex 100"}, {0, "set a 3 nx"}, {1, "set b 1 get"}, {3, "mset a 1 b 2 a 3"}, {2, "msetnx z 1 y 2"},
		{0, "msetnx z 1 q 1"}, {0, "setnx z 1"}, {1, "setex a 10 1"}, {1, "psetex a 1000 1"}, {1, "getset a 1"}, {1, "getdel a"},
		{0, "getdel a"}, {1, "getex b ex 100"}, {1, "getex b persist"}, {0, "getex b persist"}, {0, "getex b"}, {1, "getex b pxat 1"},
		{1, "incr i"}, {1, "incrby i 5"}, {1, "incrbyfloat i 1.5"}, {1, "decr j"}, {1, "append s hello"}, {1, "append s "}, {1, "append t "},
		{1, "setrange s 3 xyz"}, {0, "setrange s 3 "}, {0, "setrange nn 0 "}, {1, "setrange nn 3 x"}, {0, "del a b c"}, {2, "del z y"},
		{2, "unlink i j"}, {1, "set a 1"}, {1, "set b 1"}, {1, "expire a 100"}, {0, "expire a 100 nx"}, {0, "expire nokey 1"},
		{1, "pexpire a 50000"}, {1, "expireat a 1"}, {0, "persist b"}, {1, "expire b 100"}, {1, "persist b"}, {1, "rename b c"}, {1, "set d 1"},
		{1, "rename c d"}, {0, "rename d d"}, {1, "renamenx d e"}, {1, "set f 1"}, {0, "renamenx e f"}, {1, "copy e g"}, {0, "copy e f"},
		{1, "copy e f replace"}, {1, "move e 3"}, {0, "move nokey 3"}, {1, "swapdb 1 2"}, {1, "swapdb 1 1"}, {0, "touch g f"},
		{1, "setbit bits 5 1"}, {0, "setbit bits 5 1"}, {1, "setbit bits 5 0"}, {1, "setbit bits 90 0"}, {1, "bitfield bf set i5 0 0"},
		{0, "bitfield bf set i5 0 0"}, {2, "bitfield bf set i5 0 3 incrby u8 8 1 get u4 0"}, {2, "bitfield bf incrby u2 100 1 incrby u2 102 0"},
		{0, "bitfield bf overflow fail incrby u2 100 3"}, {0, "bitfield bf2 overflow fail incrby u2 100 9"}, {0, "bitfield bf get u8 0"},
		{1, "bitop not x bits"}, {1, "bitop and x nope nada"}, {0, "bitop and x nope nada"}, {1, "setbit big 100000 1"},
		{0, "setbit big 100000 1"}, {1, "setbit big 100000 0"}, {4, "pfadd h a b c"}, {0, "pfadd h a b c"}, {3, "pfadd h d e a f"},
		{0, "pfadd h"}, {1, "pfadd h2"}, {1, "pfcount h"}, {0, "pfcount h"}, {1, "pfadd h zz"}, {0, "pfcount h h2"}, {1, "pfmerge m h h2"},
		{1, "pfmerge m h h2"}, {1, "pfdebug todense m"}, {3, "pfadd m q1 q2 q3 a"}, {0, "pfadd m q1"}, {1, "pfcount m"}, {1, "pfmerge m h"},
		{1, "pfdebug getreg h"}, {2, "pfadd h q9 q8"}, {12, "flushdb"}, {0, "flushdb"}, {3, "mset a 1 b 2 c 3"}, {4, "flushall"}, {1, "set a 1"},
		{1, "flushdb"}, {1, "set a 1"}, {0, "get a"}, {0, "scan 0"},
	} {
		before := changes()
		c.do(strings.Split(test.command, " ")...)
		if got := changes() - before; got != test.want {
			t.Errorf("%q is %d changes, want %d", test.command, got, test.want)
		}
	}
}

func TestChangesOfABatch(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	changes := func() uint64 { return h.set.Stats().Changes.Load() }
	c.must(ok, "multi")
	for _, command := range []string{"set a x", "incr a", "mset b 1 c 2", "rename b a", "del nope c"} {
		c.must("+QUEUED\r\n", strings.Split(command, " ")...)
	}
	c.do("exec") // INCR fails
	if n := changes(); n != 5 {
		t.Errorf("%d changes, want 5", n)
	}
	c.must(ok, "set", "a", "1", "px", "5")
	h.hands.pass(6)
	before := changes()
	h.sweep()
	c.must(num(0), "exists", "a")
	if n := changes(); n != before {
		t.Errorf("an expired key counts as %d changes", n-before)
	}
	c.must(ok, "set", "long", strings.Repeat("x", 30_000))
	c.must(num(30_001), "append", "long", "y")
	c.must(num(1), "copy", "long", "other")
	if n := changes(); n != before+3 {
		t.Errorf("%d changes, want 3", n-before)
	}
}
