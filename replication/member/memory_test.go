package member

import (
	"sync/atomic"
	"testing"
)

// TestEveryNodeKnowsTheSmallestMemory: of the members, not of those who were one.
func TestEveryNodeKnowsTheSmallestMemory(t *testing.T) {
	const smallest = 128 << 20
	w := newWorld(t)
	boxes := w.boxes(3, nil)
	told := make([]atomic.Int64, len(boxes))
	for i, b := range boxes {
		b.options.Memory = []int64{1 << 30, smallest, 256 << 20}[i]
		b.options.Smallest = told[i].Store
		b.start()
	}
	w.whole(boxes...)
	for i := range boxes {
		until(t, "what the smallest node has", func() bool { return told[i].Load() == smallest }, boxes...)
	}
	w.mu.Lock()
	g := w.groups[boxes[0].found.ClusterID]
	gone := boxes[1].found.ID
	for i, m := range g.members {
		if m.ID == gone {
			g.members = append(g.members[:i:i], g.members[i+1:]...)
			break
		}
	}
	w.mu.Unlock()
	until(t, "what the smallest of the others has", func() bool { return told[0].Load() == 256<<20 }, boxes...)
}
