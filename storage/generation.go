package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
)

// A generation is the recent writes between two close flags: a hash map of records, plus a directory of groups for those who read ranges.
//
// The active generation changes only under the data set's lock and is read under its shared lock. Once closed it never changes, and anyone
// who holds it may read it without a lock. Key bytes and the links between entries are written once, so a group may be sorted without the
// lock even while the generation is active.
type generation struct {
	arena arena
	table []slot // open addressing; its length is a power of two; guarded by the data set's lock while active
	count int    // entries, that is: distinct keys

	// groups lists the entries of each group, newest first, unordered: point access never pays for order.
	groups map[group]ref

	firstPos, lastPos uint64           // positions of the batches in it; firstPos-1 is the last position before it
	tallies           map[uint32]Tally // counters that changed in it, as of its last batch

	closed  bool          // guarded by the data set's lock
	version atomic.Uint64 // index of the entry that closed it; 0 until that entry is applied
	closing point         // the entry that closed it; valid once version is set
	flushed atomic.Bool   // whole in Badger at version

	sortMu sync.Mutex
	sorted map[group]sortedGroup // guarded by sortMu
}

type slot struct {
	hash  uint32
	entry ref
}

// point is a place in the log with what replay needs to go on from there.
type point struct {
	Index  uint64
	TimeMs int64
	Chain  chain
}

type sortedGroup struct {
	head ref    // the newest entry it contains
	refs []ref  // in key order; never changed once published
	mem  pieces // where they lie
}

const minTable = 1024

func newGeneration(afterPos uint64) *generation {
	return &generation{
		table:    make([]slot, minTable),
		groups:   make(map[group]ref),
		firstPos: afterPos + 1,
		lastPos:  afterPos,
		sorted:   make(map[group]sortedGroup),
	}
}

// bytes is what the generation costs in memory, near enough for budgets.
func (g *generation) bytes() int { return g.arena.bytes() + len(g.table)*8 + len(g.groups)*24 }

func (g *generation) pieces() pieces { return g.arena.chunks }

// find returns the entry of a key, or 0.
func (g *generation) find(hash uint32, key []byte) ref {
	mask := uint32(len(g.table) - 1)
	p := pieces(g.arena.chunks)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := g.table[i]
		if s.entry == 0 {
			return 0
		}
		if s.hash == hash && bytes.Equal(entryKey(p.at(s.entry)), key) {
			return s.entry
		}
	}
}

// get returns the newest version of a key, or nil if the generation does not know the key.
func (g *generation) get(hash uint32, key []byte) []byte {
	e := g.find(hash, key)
	if e == 0 {
		return nil
	}
	p := pieces(g.arena.chunks)
	return p.at(getRef(p.at(e), entryNewest))
}

// value returns the newest value of an entry that find returned: nil if it is deleted, or there is no entry.
func (g *generation) value(e ref) []byte {
	if e == 0 {
		return nil
	}
	p := pieces(g.arena.chunks)
	return versionValue(p.at(getRef(p.at(e), entryNewest)))
}

// getAt returns the newest version of a key at or before a position, or nil.
func (g *generation) getAt(hash uint32, key []byte, pos uint64) []byte {
	e := g.find(hash, key)
	if e == 0 {
		return nil
	}
	return pieces(g.arena.chunks).versionAt(e, pos)
}

// versionAt walks an entry's versions to the newest at or before pos. The data set's lock is held, or the generation is closed.
func (p pieces) versionAt(entry ref, pos uint64) []byte {
	for r := getRef(p.at(entry), entryNewest); r != 0; {
		v := p.at(r)
		if versionPosition(v) <= pos {
			return v
		}
		r = getRef(v, versionPrev)
	}
	return nil
}

// put records that the batch at pos set key to value, or deleted it (value nil). found is what find returned for the key. keepFrom is the
// highest position that an open view looks at (0: none): a version that such a view may need stays behind the new one.
func (g *generation) put(found ref, hash uint32, key, value []byte, pos, keepFrom uint64) {
	size := len(value)
	if value == nil {
		size = deletedLen
	}
	room, _ := g.room(found, hash, key, size, pos, keepFrom)
	copy(room, value)
}

// splice is put for what a splice makes. If found has a value it is the one that changes.
func (g *generation) splice(found ref, hash uint32, key []byte, s splice, pos, keepFrom uint64) {
	room, before := g.room(found, hash, key, s.size(), pos, keepFrom)
	if behind := s.at + len(s.inserted); before > 0 { // it lies there already
		copy(room[behind:], room[s.at+s.removed:before])
		copy(room[s.at:], s.inserted)
	} else {
		copy(room, s.old[:s.at])
		copy(room[s.at:], s.inserted)
		copy(room[behind:], s.old[s.at+s.removed:])
	}
}

// room makes the newest version of a key one of size bytes, or a deletion (deletedLen), and returns where these go. before > 0: it is where the value of
// so many bytes lies that was the newest, and room reaches up to the end of it, if that is longer.
func (g *generation) room(found ref, hash uint32, key []byte, size int, pos, keepFrom uint64) (room []byte, before int) {
	length := size
	if size == deletedLen {
		size = 0
	}
	if found != 0 {
		return g.overwrite(found, size, length, pos, keepFrom)
	}
	if (g.count+1)*4 > len(g.table)*3 {
		g.grow()
	}
	bytes := versionHeader + size
	e := g.arena.alloc(align8(entryHeader+len(key)) + bytes)
	v := e + ref(align8(entryHeader+len(key))>>3)
	p := pieces(g.arena.chunks)
	eb := p.at(e)
	putRef(eb, entryNewest, v)
	binary.LittleEndian.PutUint32(eb[entryHash:], hash)
	binary.LittleEndian.PutUint16(eb[entryKeyLen:], uint16(len(key)))
	copy(eb[entryHeader:], key)
	room = writeVersion(p.at(v), size, length, pos, 0, align8(bytes)-versionHeader)

	gr := groupOf(key)
	putRef(eb, entryNext, g.groups[gr])
	g.groups[gr] = e
	g.insert(slot{hash, e})
	g.count++
	return room, 0
}

func (g *generation) overwrite(e ref, size, length int, pos, keepFrom uint64) (room []byte, before int) {
	p := pieces(g.arena.chunks)
	eb := p.at(e)
	r := getRef(eb, entryNewest)
	v := p.at(r)
	prev := getRef(v, versionPrev)
	keep := versionPosition(v) <= keepFrom
	if before = len(versionValue(v)); !keep && int(versionCapacity(v)) >= size {
		room = writeVersion(v, max(size, before), length, pos, prev, int(versionCapacity(v)))
		return room, before
	}
	if keep {
		prev = r
	}
	if keepFrom == 0 {
		prev = 0
	}
	bytes := align8(versionHeader + size + growth(before, size))
	n := g.arena.alloc(bytes)
	p = g.arena.chunks
	putRef(eb, entryNewest, n)
	return writeVersion(p.at(n), size, length, pos, prev, bytes-versionHeader), 0
}

// growth is the room that an overwritten value gets to grow further: one that grows with each batch must not be written anew each time.
func growth(before, n int) int {
	if n < 64 || n > chunkBytes/2 {
		return 0
	}
	if before == 0 {
		return n / 4
	}
	return min(max(n/4, 4*(n-before)), n)
}

// writeVersion writes a version's head and returns the room behind it. length is that of the value, or deletedLen.
func writeVersion(v []byte, room, length int, pos uint64, prev ref, capacity int) []byte {
	binary.LittleEndian.PutUint64(v[versionPos:], pos)
	putRef(v, versionPrev, prev)
	binary.LittleEndian.PutUint32(v[versionCap:], uint32(capacity))
	binary.LittleEndian.PutUint32(v[versionLen:], uint32(length))
	return v[versionHeader : versionHeader+room]
}

func (g *generation) insert(s slot) {
	mask := uint32(len(g.table) - 1)
	i := s.hash & mask
	for g.table[i].entry != 0 {
		i = (i + 1) & mask
	}
	g.table[i] = s
}

func (g *generation) grow() {
	old := g.table
	g.table = make([]slot, 2*len(old))
	for _, s := range old {
		if s.entry != 0 {
			g.insert(s)
		}
	}
}

// all returns every entry in key order. The generation is closed.
func (g *generation) all() []ref {
	refs := make([]ref, 0, g.count)
	for _, s := range g.table {
		if s.entry != 0 {
			refs = append(refs, s.entry)
		}
	}
	g.pieces().sort(refs)
	return refs
}

// list returns the entries of a group that were there when head was its newest entry, perhaps newer ones too, in key order, with the
// memory they lie in. head and p were read under the data set's lock, or the generation is closed. No lock is needed here: all it looks
// at was written before head was, and an entry's ref is higher than those of older entries.
func (g *generation) list(gr group, head ref, p pieces) sortedGroup {
	g.sortMu.Lock()
	defer g.sortMu.Unlock()
	have := g.sorted[gr]
	if have.head >= head {
		return have
	}
	var fresh []ref
	for r := head; r != have.head; r = getRef(p.at(r), entryNext) {
		fresh = append(fresh, r)
	}
	p.sort(fresh)
	now := sortedGroup{head, p.merge(have.refs, fresh), p}
	g.sorted[gr] = now
	return now
}

// sort brings entries into key order. The beginnings of the keys, which usually decide, lie side by side meanwhile: each look at an entry
// itself would be a miss of the processor's cache.
func (p pieces) sort(refs []ref) {
	type item struct {
		first, second uint64 // the key's first 16 bytes, zeros behind its end
		entry         ref
	}
	items := make([]item, len(refs))
	for i, r := range refs {
		var start [16]byte
		copy(start[:], entryKey(p.at(r)))
		items[i] = item{binary.BigEndian.Uint64(start[:]), binary.BigEndian.Uint64(start[8:]), r}
	}
	slices.SortFunc(items, func(a, b item) int {
		if order := cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second)); order != 0 {
			return order
		}
		return bytes.Compare(entryKey(p.at(a.entry)), entryKey(p.at(b.entry)))
	})
	for i := range items {
		refs[i] = items[i].entry
	}
}

// merge joins two sorted lists into a new one.
func (p pieces) merge(a, b []ref) []ref {
	if len(a) == 0 {
		return b
	}
	out := make([]ref, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if bytes.Compare(entryKey(p.at(a[0])), entryKey(p.at(b[0]))) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func align8(n int) int { return (n + 7) &^ 7 }

// A group is what a range read stays within, or, for meta records, passes through in order: a keyspace's slots, 64 at a time.
type group uint64

// groupOf places a key. Its first byte is the top byte of the group, so that no two kinds of records share one.
//
//	m: keyspace and the slot's upper 8 bits · x: keyspace · s, b: id · all others: the first byte alone
func groupOf(key []byte) group {
	if len(key) < 9 { // a bound of a range, or a short system record
		var padded [9]byte
		copy(padded[:], key)
		key = padded[:]
	}
	top := group(key[0]) << 56
	switch key[0] {
	case 'm':
		return top | group(binary.BigEndian.Uint32(key[1:]))<<8 | group(binary.BigEndian.Uint16(key[5:])>>6)
	case 'x':
		return top | group(binary.BigEndian.Uint32(key[1:]))
	case 's', 'b':
		return top | group(binary.BigEndian.Uint64(key[1:])&(1<<56-1))
	}
	return top
}
