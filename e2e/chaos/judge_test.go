package chaos

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// simulate makes a history of a key that is served by the model itself: each operation takes effect at some moment between its call and its end, or, if its
// outcome is unknown, some time later or never.
func simulate(k kind, r *rand.Rand, operations int) *history {
	h := &history{kind: k, key: "simulated"}
	state, now := "", time.Duration(0)
	var late []*operation
	for range operations {
		now += 10
		o := &operation{action: write, client: r.IntN(5), call: now - time.Duration(r.IntN(40)), end: now + time.Duration(r.IntN(40))}
		switch p := r.IntN(10); {
		case p < 4:
			o.action = read
		case p < 6 && k == register:
			o.action, o.was, o.value = change, state, h.element()
		case k != counter:
			o.value = h.element()
		}
		if len(late) > 0 && r.IntN(5) == 0 {
			_, state = step(k, state, late[0])
			late = late[1:]
		}
		switch p := r.IntN(20); {
		case p == 0:
			o.out = refused
		case p == 1:
			o.out = unknown
			if o.action != read && r.IntN(2) == 0 {
				late = append(late, o)
			}
		default:
			o.result = answer(k, state, o)
			_, state = step(k, state, o)
		}
		h.add(o)
	}
	now += 100
	h.add(&operation{action: read, client: clients, call: now, end: now + 1, result: state})
	return h
}

// answer is what the model says.
func answer(k kind, state string, o *operation) string {
	if o.action == read {
		return state
	}
	open := *o
	open.out = unknown
	_, after := step(k, state, &open)
	switch k {
	case counter:
		return after
	case set:
		return "1"
	case list, pair:
		return strconv.Itoa(len(split(after)))
	}
	return "OK"
}

func legal(h *history) bool {
	return h.lost() == "" && porcupine.CheckOperations(model(h.kind), h.relevant())
}

// TestJudgeAcquits what a right server answers.
func TestJudgeAcquits(t *testing.T) {
	for k := range kinds {
		for seed := range uint64(40) {
			if h := simulate(k, rand.New(rand.NewPCG(seed, 0)), 60); !legal(h) {
				t.Fatalf("%v, seed %d: %s; %v", k, seed, h.lost(), h.operations)
			}
		}
	}
}

// TestJudgeConvicts a server that has forgotten an acknowledged write, and one that shows what was before another read had shown its successor.
func TestJudgeConvicts(t *testing.T) {
	crimes := map[string]func(h *history, r *rand.Rand) bool{
		"a write that nobody did": func(h *history, r *rand.Rand) bool { // is as good as one that was forgotten
			at := len(h.operations) - 1
			h.operations[at].result = "999999"
			return true
		},
		"a read of the past": func(h *history, r *rand.Rand) bool {
			last := h.operations[len(h.operations)-1]
			for _, o := range h.operations {
				if o.action == read && o.out == acknowledged && o.result != last.result && h.wroteBetween(o, last) {
					last.result = o.result
					return true
				}
			}
			return false
		},
	}
	for crime, commit := range crimes {
		for k := range kinds {
			convicted, committed := 0, 0
			for seed := range uint64(20) {
				r := rand.New(rand.NewPCG(seed, 1))
				h := simulate(k, r, 40)
				if !commit(h, r) {
					continue
				}
				committed++
				if !legal(h) {
					convicted++
				}
			}
			if committed == 0 || convicted < committed {
				t.Errorf("%s of a %v: %d of %d were noticed", crime, k, convicted, committed)
			}
		}
	}
}

// wroteBetween tells whether an acknowledged write lies wholly between two reads. For a register that is one that must have replaced what the first one showed.
func (h *history) wroteBetween(first, last *operation) bool {
	for _, o := range h.operations {
		if o.action == write && o.out == acknowledged && o.call > first.end && o.end < last.call {
			return true
		}
	}
	return false
}
