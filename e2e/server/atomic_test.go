package server

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sett/e2e/process"
)

// groupSize is how many keys are written together.
const groupSize = 20

// together are clients that write keys in groups, and clients that must never see half of one.
type together struct {
	*testing.T
	n      *process.Node
	life   int
	number atomic.Int64 // given to writers
	looks  atomic.Int64 // of readers
	done   atomic.Bool  // the server was killed
	all    sync.WaitGroup
}

// numbered names the keys of a group: prefix1 … prefix20. They lie in different slots.
func numbered(command, prefix string) []string {
	args := []string{command}
	for i := 1; i <= groupSize; i++ {
		args = append(args, prefix+strconv.Itoa(i))
	}
	return args
}

// gone is the panic that ends a client whose connection has ended.
type gone struct{}

// run lets a client work until the server is killed.
func (a *together) run(work func(do func(args ...string) any)) {
	c := a.n.Dial()
	a.all.Add(1)
	go func() {
		defer a.all.Done()
		do := func(args ...string) any {
			reply, err := c.Do(args...)
			if err != nil {
				if !a.done.Load() {
					a.Errorf("%.60q: %v", args, err)
				}
				panic(gone{})
			}
			if e, ok := reply.(process.ReplyError); ok {
				a.Errorf("%.60q: %v", args, e)
			}
			return reply
		}
		defer func() {
			if r := recover(); r != nil && r != (gone{}) {
				panic(r)
			}
		}()
		for !a.done.Load() && !a.Failed() {
			work(do)
		}
	}()
}

// msetter writes all values of a group as one number.
func (a *together) msetter(do func(...string) any) {
	number := strconv.FormatInt(a.number.Add(1), 10)
	args := []string{"MSET"}
	for _, key := range numbered("", "k")[1:] {
		args = append(args, key, number)
	}
	do(args...)
}

// mover gives a group of keys other names, in one transaction.
func (a *together) mover(do func(...string) any) {
	from, to := a.number.Load(), a.number.Add(1)
	do("WATCH", "moved") // the number that the names have now
	if last, ok := do("GET", "moved").(string); ok {
		from, _ = strconv.ParseInt(last, 10, 64)
	}
	do("MULTI")
	do(numbered("DEL", fmt.Sprintf("name:%d:", from))...)
	args := []string{"MSET", "moved", strconv.FormatInt(to, 10)}
	for _, key := range numbered("", fmt.Sprintf("name:%d:", to))[1:] {
		args = append(args, key, "v")
	}
	do(args...)
	do("EXEC")
}

// toggler makes and removes a group.
func (a *together) toggler(do func(...string) any) {
	args := []string{"MSET"}
	for _, key := range numbered("", "toggled")[1:] {
		args = append(args, key, "v")
	}
	do(args...)
	do(numbered("DEL", "toggled")...)
}

// pairer counts two keys up together.
func (a *together) pairer(do func(...string) any) {
	do("MULTI")
	do("INCR", "left")
	do("INCR", "right")
	reply, _ := do("EXEC").([]any)
	if len(reply) != 2 || reply[0] != reply[1] {
		a.Errorf("INCR of a pair: %v", reply)
	}
}

// same wants all of a group's values to be one.
func (a *together) same(what string, reply any) {
	values, ok := reply.([]any)
	for _, v := range values {
		ok = ok && v == values[0]
	}
	if !ok {
		a.Errorf("%s: %v", what, reply)
	}
}

// names wants the names seen at one moment to be those of one whole group. SCAN may show a key twice only if it moves, and it does not move
// within one call.
func (a *together) names(what string, list []any) {
	first := ""
	found := 0
	for _, name := range list {
		prefix, ok := strings.CutPrefix(name.(string), "name:")
		if !ok {
			continue
		}
		prefix, _, _ = strings.Cut(prefix, ":")
		if found++; first == "" {
			first = prefix
		}
		if prefix != first {
			a.Errorf("%s: names of %s and %s", what, first, prefix)
			return
		}
	}
	if found != 0 && found != groupSize {
		a.Errorf("%s: %d names of a group of %d", what, found, groupSize)
	}
}

// reader looks at all groups, in all ways.
func (a *together) reader(do func(...string) any) {
	a.looks.Add(1)
	a.same("MGET", do(numbered("MGET", "k")...))
	a.same("MGET of a pair", do("MGET", "left", "right"))
	if n := do(numbered("EXISTS", "toggled")...); n != int64(0) && n != int64(groupSize) {
		a.Errorf("EXISTS: %v of %d", n, groupSize)
	}
	do("MULTI")
	for _, key := range numbered("", "k")[1:] {
		do("GET", key)
	}
	a.same("GETs in MULTI", do("EXEC"))
}

// lister looks at the names.
func (a *together) lister(do func(...string) any) {
	a.looks.Add(1)
	if reply, ok := do("SCAN", "0", "COUNT", "1000000").([]any); ok {
		a.names("SCAN", reply[1].([]any))
	}
	if reply, ok := do("KEYS", "name:*").([]any); ok {
		a.names("KEYS", reply)
	}
	do("MULTI")
	do("SCAN", "0", "COUNT", "1000000", "MATCH", "name:*")
	do("GET", "moved")
	reply, ok := do("EXEC").([]any)
	if !ok || len(reply) != 2 {
		return
	}
	list := reply[0].([]any)[1].([]any)
	a.names("SCAN in MULTI", list)
	if moved, ok := reply[1].(string); ok && (len(list) != groupSize || !strings.HasPrefix(list[0].(string), "name:"+moved+":")) {
		a.Errorf("SCAN in MULTI shows %d names, %v…; the group's number is %s", len(list), list[:min(1, len(list))], moved)
	}
}

// settled looks at what the death of the server has left.
func (a *together) settled() {
	c := a.n.Dial()
	do := func(args ...string) any { return c.Must(a.T, args...) }
	a.reader(do)
	a.lister(do)
	keys := c.CountKeys(a.T)
	c.Want(a.T, "OK", "DEBUG", "RELOAD")
	if again := c.CountKeys(a.T); again != keys {
		a.Errorf("%d keys, after a reload %d", keys, again)
	}
	a.reader(do)
	a.lister(do)
}

// TestAtomicity: readers never see half a batch, while generations close and reach Badger every few milliseconds; nor does kill -9 leave one.
func TestAtomicity(t *testing.T) {
	t.Parallel()
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "storage.flush_interval=10ms", "storage.generation_records=100",
		"storage.barrier_interval=100ms", "log.segment_bytes=1MiB")
	a := &together{T: t, n: n}
	n.Start()
	filler := n.Dial()
	for i := range 2000 { // so that lists are longer than one block, and one part of a generation
		filler.Want(t, "OK", "SET", "filler:"+strconv.Itoa(i), strings.Repeat("v", i%100+1))
	}
	for a.life = range process.Size(2, 10) {
		a.done.Store(false)
		for range 2 {
			a.run(a.msetter)
			a.run(a.mover)
			a.run(a.pairer)
			a.run(a.reader)
			a.run(a.lister)
		}
		a.run(a.toggler)
		time.Sleep(time.Duration(process.Size(3000, 60_000)) * time.Millisecond)
		a.done.Store(true)
		a.n.Kill()
		a.all.Wait()
		if t.Failed() {
			return
		}
		a.n.Start()
		a.settled()
	}
	n.Stop()
	n.Check()
	t.Logf("%d writes, %d looks of readers, %d lives", a.number.Load(), a.looks.Load(), a.life+1)
}
