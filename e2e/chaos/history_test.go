package chaos

import (
	"fmt"
	"sync"
	"time"
)

// kind is what a key is used for.
type kind int

const (
	register kind = iota
	counter
	list
	set
	pair // two lists that change together
	kinds
)

func (k kind) String() string { return [...]string{"register", "counter", "list", "set", "pair"}[k] }

// action is what an operation does to its key.
type action byte

const (
	read   action = 'r'
	write  action = 'w' // SET, INCR, RPUSH, SADD, or two RPUSH
	change action = 'c' // SET if the value is still the one that was read
)

// outcome is what a client knows of its operation.
type outcome int

const (
	acknowledged outcome = iota
	unknown              // it may have happened, or may yet
	refused              // it has not, and will not
)

// operation is one line of a history.
type operation struct {
	action action
	value  string // written: of a register its new value, else an element
	was    string // change: what it replaces
	result string // of an acknowledged one: what was read, or the reply
	out    outcome

	client, node int
	serial       int64         // of the connection
	stale        bool          // a read that may be outdated
	call, end    time.Duration // since the beginning of the run
}

func (o *operation) String() string {
	what := map[outcome]string{acknowledged: "→ " + o.result, unknown: "→ ?", refused: "refused"}[o.out]
	if o.action == change {
		what = "from " + o.was + " " + what
	}
	return fmt.Sprintf("%12v %12v client %2d node %d  %c %s %s", o.call, o.end, o.client, o.node, o.action, o.value, what)
}

// history is what happened to one key.
type history struct {
	kind kind
	key  string

	mu         sync.Mutex // guards the rest
	begun      int        // operations
	operations []*operation
	stale      []*operation // reads that may be outdated
	written    int          // elements that were ever tried
	cut        bool         // a majority lost its power: what is read afterwards proves nothing about the order before
	left       string       // what was read then
}

// add notes an operation whose outcome is known to be known, or not.
func (h *history) add(o *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.stale {
		h.stale = append(h.stale, o)
	} else {
		h.operations = append(h.operations, o)
	}
}

// element is a value that is written to this key once.
func (h *history) element() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.written++
	return fmt.Sprint(h.written)
}

const (
	keysInUse     = 3 // of each kind
	operationsMax = 150
)

// histories are those of all keys.
type histories struct {
	begin time.Time

	mu    sync.Mutex // guards the rest
	inUse [kinds][]*history
	all   []*history
}

func newHistories() *histories {
	hs := &histories{begin: time.Now()}
	for k := range kinds {
		for range keysInUse {
			hs.inUse[k] = append(hs.inUse[k], hs.create(k))
		}
	}
	return hs
}

// create is called with mu held, or by newHistories.
func (hs *histories) create(k kind) *history {
	h := &history{kind: k, key: fmt.Sprintf("%v:%d", k, len(hs.all))}
	hs.all = append(hs.all, h)
	return h
}

// take chooses the key of the next operation; one that has had enough of them is replaced.
func (hs *histories) take(k kind, number int) *history {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.inUse[k][number]
	h.mu.Lock()
	h.begun++
	last := h.begun == operationsMax
	h.mu.Unlock()
	if last {
		hs.inUse[k][number] = hs.create(k)
	}
	return h
}

// split ends the use of all keys and returns those that have been used.
func (hs *histories) split() (used []*history) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	used = append(used, hs.all...)
	for k := range kinds {
		for i := range hs.inUse[k] {
			hs.inUse[k][i] = hs.create(k)
		}
	}
	return used
}

func (hs *histories) now() time.Duration { return time.Since(hs.begin) }
