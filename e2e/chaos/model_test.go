package chaos

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// step says whether an operation can take effect in a state, and what state is left. The state of a register is its value, that of a counter its number, that
// of a list or pair its elements in order, that of a set in the order of their names, all with commas.
func step(k kind, state string, o *operation) (bool, string) {
	known := o.out == acknowledged
	if o.action == read {
		return !known || o.result == state, state
	}
	switch {
	case o.action == change && state != o.was:
		return !known, state // EXEC may have answered nil
	case o.action == change:
		return true, o.value
	case k == register:
		return true, o.value
	case k == counter:
		n, _ := strconv.Atoi(state)
		after := strconv.Itoa(n + 1)
		return !known || o.result == after, after
	case k == set:
		elements := split(state)
		at, _ := slices.BinarySearch(elements, o.value)
		after := strings.Join(slices.Insert(elements, at, o.value), ",")
		return !known || o.result == "1", after
	default:
		after := o.value
		if state != "" {
			after = state + "," + after
		}
		return !known || o.result == strconv.Itoa(strings.Count(after, ",")+1), after
	}
}

func split(state string) []string {
	if state == "" {
		return nil
	}
	return strings.Split(state, ",")
}

func model(k kind) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			ok, after := step(k, state.(string), input.(*operation))
			return ok, after
		},
		DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
	}
}

// relevant are the operations that say something. A read without an answer does not. Nor does a write of which nobody knows whether it happened and which nobody
// has seen: whatever explains the others explains it at the end. A counter does not say whose steps it has counted.
func (h *history) relevant() (operations []porcupine.Operation) {
	seen := map[string]bool{}
	for _, o := range h.operations {
		if o.out != acknowledged {
			continue
		}
		if o.action == read {
			for _, v := range split(o.result) {
				seen[v] = true
			}
		}
		if o.action == change {
			seen[o.was] = true
		}
	}
	for _, o := range h.operations {
		end := int64(o.end)
		switch {
		case o.out == refused, o.out == unknown && o.action == read:
			continue
		case o.out == unknown && h.kind != counter && !seen[o.value] && h.final():
			continue
		case o.out == unknown:
			end = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.call), Return: end})
	}
	return operations
}

// final tells whether the last thing that is known of the key is a read of it. For registers it does not matter: what nobody has read disturbed nobody.
func (h *history) final() bool {
	if h.kind == register {
		return true
	}
	last := slices.MaxFunc(h.operations, func(a, b *operation) int { return int(a.call - b.call) })
	return last.action == read && last.out == acknowledged
}
