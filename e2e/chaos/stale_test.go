package chaos

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Reads at level stale are not in the histories that porcupine judges. What they have shown must still be a state that there was, with all that was
// acknowledged more than staleBound before, and with what the same connection had written itself.

// outdated tells what a stale read has not shown, or has shown and should not.
func (h *history) outdated() string {
	final, known := h.lastRead()
	for _, r := range h.stale {
		if r.out != acknowledged {
			continue
		}
		if wrong := h.outdatedRead(r); wrong != "" {
			return fmt.Sprintf("%s, in a stale read: %v", wrong, r)
		}
		if ordered := h.kind == list || h.kind == pair; ordered && known && r.result != "" && !strings.HasPrefix(final+",", r.result+",") {
			return fmt.Sprintf("what became %s never was what a stale read has shown: %v", final, r)
		}
	}
	return ""
}

// lastRead is what was left at the end; not known: a majority had lost its power.
func (h *history) lastRead() (result string, known bool) {
	for _, o := range h.operations {
		if o.client >= clients {
			return o.result, true
		}
	}
	return "", false
}

func (h *history) outdatedRead(r *operation) string {
	own := func(o *operation) bool { return o.serial == r.serial && o.end <= r.call }
	old := func(o *operation) bool { return o.end < r.call-staleBound }
	due := func(o *operation) bool { return own(o) || old(o) }
	there, tried := map[string]bool{}, map[string]bool{"": true}
	for _, element := range split(r.result) {
		there[element] = true
	}
	shown, _ := strconv.Atoi(r.result)
	begun := 0
	for _, o := range h.operations {
		if o.action == read || o.out == refused {
			continue
		}
		tried[o.value] = true
		if o.call < r.end {
			begun++
		}
		if o.out != acknowledged || !due(o) {
			continue
		}
		why := map[bool]string{true: "that its own connection had written", false: fmt.Sprintf("that was %v old", r.call-o.end)}[own(o)]
		switch count, _ := strconv.Atoi(o.result); {
		case h.kind == counter && count > shown:
			return fmt.Sprintf("%d steps are missing from %d, one %s", count-shown, count, why)
		case h.kind != counter && h.kind != register && !there[o.value]:
			return fmt.Sprintf("the element %s is missing, %s", o.value, why)
		}
	}
	switch {
	case h.kind == counter && shown > begun:
		return fmt.Sprintf("%d steps, and only %d had begun", shown, begun)
	case h.kind == register && !tried[r.result]:
		return "a value that was refused, or never sent"
	case h.kind == register && h.replaced(r.result, due):
		return "a value that had been replaced too long ago, or by its own connection"
	}
	for element := range there {
		if h.kind != counter && !tried[element] {
			return fmt.Sprintf("the element %s was refused, or never sent", element)
		}
	}
	return ""
}

// TestOutdated has stale reads that are right, and some that are not.
func TestOutdated(t *testing.T) {
	const s = time.Second
	acked := func(value, result string, serial int64, at time.Duration) *operation {
		return &operation{action: write, value: value, result: result, serial: serial, call: at, end: at + s/100}
	}
	one, two := acked("1", "1", 1, 10*s), acked("2", "2", 2, 20*s)
	for _, c := range []struct {
		kind   kind
		shows  string
		serial int64
		at     time.Duration
		right  bool
	}{
		{list, "", 3, 10*s + s/2, true},
		{list, "1", 3, 10*s + s/2, true},
		{list, "", 1, 10*s + s/2, false}, // it has written that itself
		{list, "", 3, 12 * s, false},
		{list, "1", 3, 20*s + s/2, true},
		{list, "1", 2, 20*s + s/2, false},
		{list, "2", 3, 20*s + s/2, false},
		{list, "2,1", 3, 22 * s, false}, // it was 1,2 in the end
		{list, "1,2", 3, 22 * s, true},
		{list, "1,3", 3, 20*s + s/2, false},
		{counter, "1", 3, 20*s + s/2, true},
		{counter, "1", 3, 22 * s, false},
		{counter, "3", 3, 22 * s, false},
		{register, "1", 3, 20*s + s/2, true},
		{register, "1", 2, 20*s + s/2, false},
		{register, "1", 3, 22 * s, false},
		{register, "3", 3, 22 * s, false},
	} {
		h := &history{kind: c.kind}
		h.add(one)
		h.add(two)
		h.add(&operation{action: read, client: clients, call: 100 * s, end: 101 * s, result: map[kind]string{list: "1,2", counter: "2", register: "2"}[c.kind]})
		h.add(&operation{action: read, stale: true, serial: c.serial, call: c.at, end: c.at + s/100, result: c.shows})
		if wrong := h.outdated(); (wrong == "") != c.right {
			t.Errorf("%v shows %q at %v to connection %d: %q", c.kind, c.shows, c.at, c.serial, wrong)
		}
	}
}
