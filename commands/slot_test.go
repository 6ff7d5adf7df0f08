package commands

import (
	"slices"
	"strconv"
	"testing"

	"sett/resp"
	"sett/types"
)

// TestKeysOfASlot: counted and listed are the live keys of the slot and of the database, and no others.
func TestKeysOfASlot(t *testing.T) {
	h := newHouse(t, Options{Databases: 2})
	c := h.client()
	for i := range 300 {
		c.must(ok, "set", "{a}"+strconv.Itoa(i), "x")
		c.must(ok, "set", strconv.Itoa(i), "x")
	}
	c.must(ok, "set", "{a}dies", "x", "px", "100")
	h.hands.pass(101)
	c.must(ok, "select", "1")
	c.must(ok, "set", "{a}elsewhere", "x")

	ask := func(db int, args ...string) string {
		t.Helper()
		call := Call{DB: db, W: &resp.Writer{Proto: 2}, Row: NewTable().Find([]byte("cluster|" + args[0]))}
		for _, arg := range append([]string{"cluster"}, args...) {
			call.Args = append(call.Args, []byte(arg))
		}
		if err := h.set.InSlot(&call); err != nil {
			t.Fatal(err)
		}
		return string(call.W.Bytes())
	}
	slot := strconv.Itoa(int(types.Slot([]byte("a"))))
	for range 2 {
		if got := ask(0, "countkeysinslot", slot); got != ":300\r\n" {
			t.Errorf("counted %q", got)
		}
		if got := ask(1, "countkeysinslot", slot); got != ":1\r\n" {
			t.Errorf("counted %q in database 1", got)
		}
		names := list(t, ask(0, "getkeysinslot", slot, "1000"))
		slices.Sort(names)
		if names = slices.Compact(names); len(names) != 300 || names[0] != "{a}0" {
			t.Errorf("%d names: %q", len(names), names)
		}
		if got := list(t, ask(0, "getkeysinslot", slot, "7")); len(got) != 7 {
			t.Errorf("asked for 7, got %q", got)
		}
		if got := ask(0, "getkeysinslot", slot, "0"); got != "*0\r\n" {
			t.Errorf("asked for none, got %q", got)
		}
		h.reopen()
	}
	for _, wrong := range []struct {
		args []string
		err  Error
	}{
		{[]string{"countkeysinslot", "16384"}, ErrInvalidSlot}, {[]string{"countkeysinslot", "-1"}, ErrInvalidSlot}, {[]string{"countkeysinslot", "x"}, ErrNotInteger},
		{[]string{"getkeysinslot", "16384", "1"}, ErrSlotOrCount}, {[]string{"getkeysinslot", "1", "-1"}, ErrSlotOrCount},
		{[]string{"getkeysinslot", "1", "x"}, ErrNotInteger},
	} {
		if got := ask(0, wrong.args...); got != "-"+string(wrong.err)+"\r\n" {
			t.Errorf("%q: %q", wrong.args, got)
		}
	}
}
