package expiry

import (
	"fmt"
	"strconv"
	"strings"

	"sett/e2e/process"
)

// life is what a client knows of a key, or of a field of a hash: what it holds, and when it ends.
type life struct {
	value  string // "": it does not exist
	lo, hi int64  // between which unix ms it ends; 0: it does not
}

// stage is what can be said of a life at a moment.
type stage int

const (
	alive stage = iota
	dead
	either
)

// at tells the stage of a life for a command that was sent and answered at these unix ms.
func (l life) at(sent, answered int64) stage {
	switch {
	case l.value == "" || l.hi != 0 && sent > l.hi:
		return dead
	case l.hi == 0 || answered < l.lo:
		return alive
	}
	return either
}

func (l life) String() string {
	switch {
	case l.value == "":
		return "nothing"
	case l.hi == 0:
		return fmt.Sprintf("%s for ever", brief(l.value))
	}
	return fmt.Sprintf("%s until %d–%d", brief(l.value), l.lo, l.hi)
}

func brief(value string) string {
	if len(value) > 20 {
		return fmt.Sprintf("%.20s… (%d bytes)", value, len(value))
	}
	return value
}

// ending is the life with an end that lies so many ms after some moment between two.
func (l life) ending(sent, answered, ms int64) life {
	l.lo, l.hi = sent+ms, answered+ms
	return l
}

func (l life) endingAt(ms int64) life { return l.ending(ms, ms, 0) }

func (l life) lasting() life { return life{value: l.value} }

// item is a key, or a field of a hash.
type item struct {
	kind       kind
	key, field string
	life       life
	history    []string
}

// operation is a command on an item.
type operation struct {
	args []string
	// apply returns the item's life after the command, if it was alive, or not, when the command ran; and whether that explains the reply.
	apply func(l life, lives bool, reply any, sent, answered int64) (next life, explained bool)
}

// run judges a reply. It returns why it is wrong, "" if it is not.
func (i *item) answered(o operation, reply any, sent, answered int64) string {
	stage := i.life.at(sent, answered)
	for _, lives := range []bool{true, false} {
		if lives && stage == dead || !lives && stage == alive {
			continue
		}
		l := i.life
		if !lives {
			l = life{}
		}
		if next, explained := o.apply(l, lives, reply, sent, answered); explained {
			i.life = next
			return ""
		}
	}
	return fmt.Sprintf("%s answers %s between %d and %d, but it is %v", brief(strings.Join(o.args, " ")), process.Short(reply), sent, answered, i.life)
}

// outcomes are the lives that an item may have after a command that was never answered.
func (i *item) outcomes(o *operation, sent, ended int64) []life {
	if o == nil {
		return []life{i.life}
	}
	after, _ := o.apply(i.life, true, nil, sent, ended)
	anew, _ := o.apply(life{}, false, nil, sent, ended)
	if i.life.value == "" {
		return []life{i.life, anew}
	}
	return []life{i.life, after, anew}
}

// seen judges what the server shows of an item at a moment; endMs is -1 for no end. The item's life becomes what it shows.
func (i *item) seen(possible []life, value string, endMs, sent, answered int64) string {
	for _, l := range possible {
		stage := l.at(sent, answered)
		if value == "" && stage != alive {
			i.life = life{}
			return ""
		}
		if value == "" || stage == dead || value != l.value {
			continue
		}
		if l.hi == 0 && endMs == -1 {
			i.life = l
			return ""
		}
		if l.hi != 0 && endMs >= l.lo && endMs <= l.hi {
			i.life = l.endingAt(endMs)
			return ""
		}
	}
	return fmt.Sprintf("%s shows %s, ending at %d, between %d and %d, but it is %v", i, brief(value), endMs, sent, answered, possible)
}

func (i *item) String() string {
	if i.field != "" {
		return i.key + " " + i.field
	}
	return i.key
}

// The ways in which a command of some kind deals with lives. each is a reply for a life that is there, and for one that is not.

// reads is a command that changes nothing.
func reads(there func(l life, reply any) bool, absent any) func(life, bool, any, int64, int64) (life, bool) {
	return func(l life, lives bool, reply any, _, _ int64) (life, bool) {
		if lives {
			return l, there(l, reply)
		}
		return l, same(reply, absent)
	}
}

// changes is a command that does something to what is there, and nothing to what is not.
func changes(change func(l life, sent, answered int64) life, there func(l life, reply any) bool, absent any) func(life, bool, any, int64, int64) (life, bool) {
	return func(l life, lives bool, reply any, sent, answered int64) (life, bool) {
		if lives {
			return change(l, sent, answered), there(l, reply)
		}
		return l, same(reply, absent)
	}
}

// same compares replies; in an array of one element, that.
func same(reply, want any) bool {
	if list, ok := reply.([]any); ok && len(list) == 1 {
		reply = list[0]
	}
	if n, ok := want.(int); ok {
		want = int64(n)
	}
	return reply == want
}

func always(want any) func(life, any) bool {
	return func(_ life, reply any) bool { return same(reply, want) }
}

func itsValue(l life, reply any) bool { return same(reply, l.value) }

// itsEnd is the reply of PEXPIRETIME and HPEXPIRETIME.
func itsEnd(l life, reply any) bool {
	if list, ok := reply.([]any); ok && len(list) == 1 {
		reply = list[0]
	}
	at, ok := reply.(int64)
	if l.hi == 0 {
		return ok && at == -1
	}
	return ok && at >= l.lo && at <= l.hi
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
