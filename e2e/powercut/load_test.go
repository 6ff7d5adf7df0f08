package powercut

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"sett/types"
)

// ledger is what a batch is written to: a store in the child, a model in the parent. Errors are those of the store.
type ledger interface {
	last() (ticket uint64, err error)
	// begin is called once per batch, before all changes.
	begin(life uint32, ticket uint64) error
	need(names ...name) error
	length(n name) (int, error) // 0 for a key that does not exist

	put(n name, value []byte, expireAtMs int64) error
	splice(n name, offset int, piece []byte) error
	flip(n name, at int) error
	setField(n name, field string, value []byte) error
	dropField(n name, field string) error
	members(n name) (int, error) // of a list
	push(n name, values [][]byte, left bool) error
	pop(n name, count int, left bool) error // at most all
	setMember(n name, at int, value []byte) error
	setScore(n name, member string, score float64) error
	dropMember(n name, member string) error
	dropLowest(n name, count int) error // at most all
	expire(n name, atMs int64) error
	move(from, to name) error
	remove(n name) error

	// A slot has at most one value that is on its way.
	staged(slot int) (length, written int, err error) // length is 0 if there is none
	stage(slot, length int) error
	fill(slot int, next []byte) error // whole chunks, but for the last
	adopt(slot int, n name, expireAtMs int64) error
	drop(slot int) error
}

const (
	keyspaces  = 2
	plainKeys  = 1200 // of each keyspace
	largeKeys  = 15   // of each keyspace, above the plain ones: their strings are blobs, paged, or both
	hashKeys   = 4    // of each keyspace, above those
	hashFields = 300  // that a hash may have
	listKeys   = 3    // of each keyspace, above the hashes
	zsetKeys   = 3    // of each keyspace, above the lists
	members    = 400  // that a sorted set may have
	setKeys    = 2    // of each keyspace, above the sorted sets: their members are fields without values
	firstSet   = plainKeys + largeKeys + hashKeys + listKeys + zsetKeys
	longName   = plainKeys
	slots      = 2
	chunkBytes = types.DefaultChunkBytes
	maxGap     = 1200 << 10 // more than a directory of pages spans
	maxLength  = 2 << 20    // no gap and no end of a string is made beyond it
	systemKey  = "!ticket"  // the ticket once more
)

// name is a key of a keyspace.
type name struct{ keyspace, number int }

// The ticket is a key of its own keyspace.
var ticketName = name{keyspaces, 0}

func (n name) isSet() bool { return n.number >= firstSet }

// user is the name that the store knows. One of each keyspace is longer than a meta key takes.
func (n name) user() []byte {
	user := fmt.Sprintf("key:%05d", n.number)
	if n.number == longName {
		user += strings.Repeat(".", types.MaxNameBytes)
	}
	return []byte(user)
}

// nameOf is the inverse of user.
func nameOf(keyspace int, user []byte) (n name) {
	n.keyspace = keyspace
	fmt.Sscanf(string(user[:min(9, len(user))]), "key:%05d", &n.number)
	return n
}

// ticketValue is found in the log by what it looks like.
func ticketValue(life uint32, ticket uint64) []byte {
	return append([]byte("ticket "), stamp(life, ticket)...)
}

func stamp(life uint32, ticket uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, life), ticket)
}

func ticketOf(value []byte) uint64 {
	if value == nil {
		return 0
	}
	return binary.BigEndian.Uint64(value[len(value)-8:])
}

// batch is one batch while it is written. All that it does follows from seed, life, ticket, and the state before it.
type batch struct {
	ledger
	r      *rand.Rand
	life   uint32
	ticket uint64
}

// What a batch does to a key.
const (
	doPut = iota
	doRemove
	doSplice
	doFlip
	doExpire
	doMove
	doSetField
	doDropField
	doPush
	doPop
	doSetMember
	doSetScore
	doDropMember
	doDropLowest
)

type change struct {
	name
	do    int
	size  int  // of a value, or of a piece
	to    name // of a move
	field string
	count int  // of elements
	left  bool // the end of a list
}

// writeBatch writes the batch that follows the last one, and returns its ticket.
func writeBatch(l ledger, seed uint64, life uint32) (uint64, error) {
	last, err := l.last()
	if err != nil {
		return 0, err
	}
	b := batch{ledger: l, life: life, ticket: last + 1}
	b.r = rand.New(rand.NewPCG(seed^uint64(life)<<40, b.ticket))
	changes := b.draw()
	var names []name
	for _, c := range changes {
		names = append(names, c.name)
		if c.do == doMove {
			names = append(names, c.to)
		}
	}
	if err := l.need(names...); err != nil {
		return 0, err
	}
	if err := l.begin(life, b.ticket); err != nil {
		return 0, err
	}
	for _, c := range changes {
		if err := b.apply(c); err != nil {
			return 0, err
		}
	}
	if b.r.IntN(20) == 0 {
		err = b.stageMore(b.r.IntN(slots))
	}
	return b.ticket, err
}

// draw decides what the batch does: mostly a few small strings, sometimes many, more than fit into one entry.
func (b *batch) draw() (changes []change) {
	n := 1 + b.r.IntN(4)
	many := b.r.IntN(40) == 0
	if many {
		n = 40 + b.r.IntN(200)
	}
	for range n {
		if b.r.IntN(5) == 0 {
			changes = append(changes, b.drawCollection())
			continue
		}
		if !many && b.r.IntN(8) == 0 {
			changes = append(changes, b.drawLarge())
			continue
		}
		c := change{name: name{b.r.IntN(keyspaces), b.r.IntN(plainKeys)}, size: 1 + b.r.IntN(600)}
		switch p := b.r.IntN(100); {
		case p < 20:
			c.number = b.r.IntN(20) // hot: written again in every generation
		case p < 40:
			c.do = doRemove
		case p < 45:
			c.do = doSplice
		}
		changes = append(changes, c)
	}
	return changes
}

// drawLarge decides about a key whose string may be large.
func (b *batch) drawLarge() change {
	c := change{name: b.largeName(), to: b.largeName()}
	switch p := b.r.IntN(100); {
	case p < 18:
		c.do, c.size = doPut, b.r.IntN(1+b.r.IntN(300<<10))
	case p < 66:
		c.do, c.size = doSplice, 1+b.r.IntN(3000)
		if b.r.IntN(8) == 0 {
			c.size = 1 + b.r.IntN(40<<10)
		}
	case p < 74:
		c.do = doFlip
	case p < 82:
		c.do = doExpire
	case p < 92:
		c.do = doMove
	default:
		c.do = doRemove
	}
	return c
}

func (b *batch) drawCollection() change {
	switch b.r.IntN(5) {
	case 0:
		return b.drawList()
	case 1:
		return b.drawZSet()
	case 2:
		c := b.drawHash()
		c.number, c.size = firstSet+b.r.IntN(setKeys), 0
		return c
	}
	return b.drawHash()
}

// drawList decides about a list, which grows at one end and is short of elements seldom.
func (b *batch) drawList() change {
	c := change{name: name{b.r.IntN(keyspaces), plainKeys + largeKeys + hashKeys + b.r.IntN(listKeys)}, do: doPush, size: 1 + b.r.IntN(60)}
	c.left, c.count = b.r.IntN(3) == 0, 1+b.r.IntN(12)
	switch p := b.r.IntN(100); {
	case p < 4:
		c.size, c.count = 1+b.r.IntN(20<<10), 1
	case p < 40:
		c.do = doPop
	case p < 60:
		c.do = doSetMember
	case p < 61:
		c.do = doRemove
	case p < 63:
		c.do = doExpire
	}
	return c
}

// drawZSet decides about a sorted set. Its scores are few, so many members have the same one.
func (b *batch) drawZSet() change {
	c := change{name: name{b.r.IntN(keyspaces), plainKeys + largeKeys + hashKeys + listKeys + b.r.IntN(zsetKeys)}, do: doSetScore, size: b.r.IntN(30)}
	c.field, c.count = fmt.Sprintf("member%d", b.r.IntN(members)), 1+b.r.IntN(12)
	if b.r.IntN(50) == 0 {
		c.field += strings.Repeat("+", 3000) // lies apart
	}
	switch p := b.r.IntN(100); {
	case p < 25:
		c.do = doDropMember
	case p < 31:
		c.do = doDropLowest
	case p < 32:
		c.do = doRemove
	case p < 34:
		c.do = doExpire
	}
	return c
}

// drawHash decides about a hash. It is nearly always one with many fields, some of which lie apart.
func (b *batch) drawHash() change {
	c := change{name: name{b.r.IntN(keyspaces), plainKeys + largeKeys + b.r.IntN(hashKeys)}, do: doSetField, size: 1 + b.r.IntN(60)}
	c.field = fmt.Sprintf("field%d", b.r.IntN(hashFields))
	switch p := b.r.IntN(100); {
	case p < 5:
		c.size = 1 + b.r.IntN(20<<10)
	case p < 35:
		c.do = doDropField
	case p < 36:
		c.do = doRemove
	case p < 38:
		c.do = doExpire
	}
	return c
}

func (b *batch) largeName() name {
	return name{b.r.IntN(keyspaces), plainKeys + b.r.IntN(largeKeys)}
}

// apply makes one change.
func (b *batch) apply(c change) error {
	switch c.do {
	case doPut:
		return b.put(c.name, b.bytes(c.size), b.expiry())
	case doSplice:
		offset, err := b.place(c.name, c.size)
		if err != nil {
			return err
		}
		return b.splice(c.name, offset, b.bytes(c.size))
	case doFlip:
		at, err := b.place(c.name, 1)
		if err != nil {
			return err
		}
		return b.flip(c.name, at)
	case doSetField:
		return b.setField(c.name, c.field, b.bytes(c.size))
	case doDropField:
		return b.dropField(c.name, c.field)
	case doPush:
		values := make([][]byte, c.count)
		for i := range values {
			values[i] = b.bytes(c.size)
		}
		return b.push(c.name, values, c.left)
	case doPop:
		return b.pop(c.name, c.count, c.left)
	case doSetMember:
		n, err := b.members(c.name)
		if err != nil || n == 0 {
			return err
		}
		return b.setMember(c.name, b.r.IntN(n), b.bytes(c.size))
	case doSetScore:
		return b.setScore(c.name, c.field, float64(c.size)-10)
	case doDropMember:
		return b.dropMember(c.name, c.field)
	case doDropLowest:
		return b.dropLowest(c.name, c.count)
	case doExpire:
		return b.expire(c.name, b.expiry())
	case doMove:
		return b.move(c.name, c.to)
	}
	return b.remove(c.name)
}

// place draws where a piece goes: into the string, to its end, or behind a gap. Seldom the gap is larger than all else.
func (b *batch) place(n name, size int) (offset int, err error) {
	length, err := b.length(n)
	if err != nil {
		return 0, err
	}
	gap, what := 1+b.r.IntN(3000), b.r.IntN(100)
	switch {
	case what == 0:
		gap = 1 + b.r.IntN(maxGap)
	case what < 10 && n.number >= plainKeys:
		gap = 1 + b.r.IntN(20<<10)
	case what < 20:
	case what < 50:
		gap = 0
	default:
		gap = -b.r.IntN(length + 1)
	}
	return max(0, min(length+gap, maxLength-size)), nil
}

// expiry draws when a key dies. None ever does; it is for the rows and the counter.
func (b *batch) expiry() int64 {
	if b.r.IntN(2) == 0 {
		return 0
	}
	return 1<<45 + int64(b.ticket)
}

// bytes makes a value, or a piece: mostly it says who wrote it, some are zeros.
func (b *batch) bytes(n int) []byte {
	if b.r.IntN(10) == 0 {
		return make([]byte, n)
	}
	to := stamp(b.life, b.ticket)
	for len(to) < n {
		to = binary.BigEndian.AppendUint64(to, b.r.Uint64())
	}
	return to[:n]
}

// stageMore goes one step on with the value in a slot.
func (b *batch) stageMore(slot int) error {
	length, written, err := b.staged(slot)
	switch {
	case err != nil:
		return err
	case length == 0:
		return b.stage(slot, 1+b.r.IntN(5*chunkBytes))
	case b.r.IntN(10) == 0:
		return b.drop(slot)
	case written < length:
		return b.fill(slot, b.bytes(min(length-written, (1+b.r.IntN(2))*chunkBytes)))
	}
	return b.adopt(slot, b.largeName(), b.expiry())
}
