package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"sett/e2e/process"
)

// readAll adds a read of every key through every node to its history. Nobody writes any more.
func (l *load) readAll(t *testing.T) {
	t.Helper()
	for _, place := range l.c.Others() {
		conn := l.c.Nodes[place].Dial()
		alive := slices.DeleteFunc(slices.Clone(l.hs.all), func(h *history) bool { return h.cut })
		for some := range slices.Chunk(alive, 50) {
			l.readSome(t, conn, place, some)
		}
	}
}

func (l *load) readSome(t *testing.T, conn *process.Client, place int, some []*history) {
	t.Helper()
	call := l.hs.now()
	var sent []*operation
	for _, h := range some {
		o := &operation{action: read, client: clients + place, node: place, call: call}
		for _, args := range commands(h, o) {
			conn.Send(args...)
		}
		sent = append(sent, o)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, h := range some {
		o := sent[i]
		var reply any
		var err error
		for range commands(h, o) {
			if reply, err = conn.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		if refusal, refused := reply.(process.ReplyError); refused {
			t.Fatalf("reading %s through node %d at the end: %v", h.key, place, refusal)
		}
		o.result, o.end = result(h.kind, o, reply), l.hs.now()
		h.add(o)
	}
}

// verdict judges all histories and returns a table of their sizes.
func (l *load) verdict(t *testing.T) string {
	t.Helper()
	v := newVerdict(t)
	work := make(chan *history)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for h := range work {
				v.judge(h)
			}
		})
	}
	for _, h := range l.hs.all {
		work <- h
	}
	close(work)
	workers.Wait()
	return v.table()
}

// verdict counts what was judged.
type verdict struct {
	testing.TB
	folder string // for what nothing explains

	mu    sync.Mutex // guards the rest
	sizes [kinds]size
}

func newVerdict(t testing.TB) *verdict {
	return &verdict{TB: t, folder: filepath.Join(os.TempDir(), fmt.Sprintf("sett-chaos-%d", os.Getpid()))}
}

type size struct{ keys, operations, acknowledged, unknown, refused, judged, longest, stale, undecided, wrong int }

// porcupineTime is far more than a history takes that is all right.
const porcupineTime = 2 * time.Minute

func (v *verdict) judge(h *history) {
	s := size{keys: 1, operations: len(h.operations), stale: len(h.stale)}
	for _, o := range h.operations {
		switch o.out {
		case acknowledged:
			s.acknowledged++
		case unknown:
			s.unknown++
		case refused:
			s.refused++
		}
	}
	if lost := h.lost(); lost != "" {
		v.Errorf("%s: %s", h.key, lost)
		s.wrong = 1
	}
	if outdated := h.outdated(); outdated != "" {
		v.Errorf("%s: %s", h.key, outdated)
		s.wrong = 1
	}
	operations := h.relevant()
	s.judged, s.longest = len(operations), len(operations)
	switch porcupine.CheckOperationsTimeout(model(h.kind), operations, porcupineTime) {
	case porcupine.Illegal:
		s.wrong = 1
		v.Errorf("%s: no order of its %d operations explains what was answered: %s", h.key, len(operations), v.keep(h, operations))
	case porcupine.Unknown:
		s.undecided = 1
		v.Errorf("%s: porcupine does not decide about %d operations within %v: %s", h.key, len(operations), porcupineTime, v.keep(h, operations))
	}
	if s.wrong > 0 {
		v.keep(h, operations)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sizes[h.kind].add(s)
}

func (s *size) add(o size) {
	s.keys, s.operations, s.acknowledged, s.unknown = s.keys+o.keys, s.operations+o.operations, s.acknowledged+o.acknowledged, s.unknown+o.unknown
	s.refused, s.judged, s.longest = s.refused+o.refused, s.judged+o.judged, max(s.longest, o.longest)
	s.stale, s.undecided, s.wrong = s.stale+o.stale, s.undecided+o.undecided, s.wrong+o.wrong
}

// lost tells what was acknowledged and is not in the last reads, or is there and was never sent, or was refused.
func (h *history) lost() string {
	acked, tried := map[string]bool{}, map[string]bool{}
	steps, open := 0, 0
	for _, o := range h.operations {
		switch {
		case o.action == read:
		case o.out == acknowledged:
			acked[o.value], tried[o.value] = true, true
			steps++
		case o.out == unknown:
			tried[o.value] = true
			open++
		}
	}
	for _, o := range h.operations {
		if o.client < clients { // not one of the last reads
			continue
		}
		switch h.kind {
		case counter:
			if n, _ := strconv.Atoi(o.result); n < steps || n > steps+open {
				return fmt.Sprintf("%d steps were acknowledged, %d are in doubt, and node %d has %d", steps, open, o.node, n)
			}
		case list, set, pair:
			there := map[string]bool{}
			for _, element := range split(o.result) {
				if there[element] || !tried[element] {
					return fmt.Sprintf("node %d has the element %s, which was there twice, never sent, or refused", o.node, element)
				}
				there[element] = true
			}
			for element := range acked {
				if !there[element] {
					return fmt.Sprintf("the element %s was acknowledged, and node %d does not have it", element, o.node)
				}
			}
		}
	}
	return ""
}

// keep writes a history down and draws it.
func (v *verdict) keep(h *history, operations []porcupine.Operation) (file string) {
	os.MkdirAll(v.folder, 0o755)
	file = filepath.Join(v.folder, strings.ReplaceAll(h.key, ":", "-"))
	all := slices.Concat(h.operations, h.stale)
	slices.SortFunc(all, func(a, b *operation) int { return int(a.call - b.call) })
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintln(&b, o)
	}
	os.WriteFile(file+".txt", []byte(b.String()), 0o644)
	if operations == nil {
		return file + ".txt"
	}
	m := model(h.kind)
	_, info := porcupine.CheckOperationsVerbose(m, operations, 10*time.Second)
	porcupine.VisualizePath(m, info, file+".html")
	return file + ".txt, .html"
}

func (v *verdict) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %-9s %8s %10s %12s %8s %8s %8s %8s %8s %6s\n", "kind", "keys", "operations", "acknowledged", "unknown", "refused", "judged", "longest",
		"stale", "wrong")
	var all size
	line := func(name string, s size) {
		fmt.Fprintf(&b, "  %-9s %8d %10d %12d %8d %8d %8d %8d %8d %6d\n", name, s.keys, s.operations, s.acknowledged, s.unknown, s.refused, s.judged, s.longest,
			s.stale, s.wrong+s.undecided)
	}
	for k, s := range v.sizes {
		line(kind(k).String(), s)
		all.add(s)
	}
	line("all", all)
	return b.String()
}

// lostBefore tells what was acknowledged before a moment and is not in a read after a power cut. Of a register only one value is left: what replaced it may be gone.
func (h *history) lostBefore(moment time.Duration, result string) string {
	there := map[string]bool{}
	for _, element := range split(result) {
		there[element] = true
	}
	steps := 0
	for _, o := range h.operations {
		if o.action == read || o.out != acknowledged || o.end >= moment {
			continue
		}
		steps++
		if h.kind != register && h.kind != counter && !there[o.value] {
			return fmt.Sprintf("the element %s was acknowledged %v before the loss that is allowed begins", o.value, moment-o.end)
		}
	}
	n, _ := strconv.Atoi(result)
	switch {
	case h.kind == counter && n < steps:
		return fmt.Sprintf("%d steps were acknowledged early enough, %d are left", steps, n)
	case h.kind == register && h.replaced(result, func(o *operation) bool { return o.end < moment }):
		return fmt.Sprintf("the value %q was replaced before the loss that is allowed begins", result)
	}
	return ""
}

// replaced tells whether a register's value had been replaced for good by one of some acknowledged writes: it began after the value's own was over.
func (h *history) replaced(value string, some func(o *operation) bool) bool {
	over := time.Duration(-1) // the value of a register that was never written
	for _, o := range h.operations {
		if o.action != read && o.value == value {
			if over = o.end; o.out == unknown {
				return false
			}
		}
	}
	for _, o := range h.operations {
		if o.action != read && o.out == acknowledged && o.call > over && some(o) {
			return true
		}
	}
	return false
}
