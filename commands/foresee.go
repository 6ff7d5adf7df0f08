package commands

import (
	"bytes"
	"unsafe"

	"sett/storage"
	"sett/storage/prefetch"
	"sett/types"
)

// Foresight is a list of names that commands about to run look up, most likely. Nothing but their speed depends on it. The zero Foresight is empty.
type Foresight struct {
	names  []foreseen
	set    *DataSet
	reader storage.Reader
	key    []byte
	bucket []byte
	kind   types.Type
	hashes []uint64
}

type foreseen struct {
	name    []byte
	db      int
	again   bool   // it is that of the command before
	element []byte // … and this is most likely an element of it
	member  []byte // … or this, of a sorted set
}

const (
	foreseeMost  = 64  // so many fit into the processor's nearest caches
	foreseeLeast = 4   // fewer are found before it pays
	foreseeName  = 128 // bytes; a longer one takes its time to be hashed twice
)

// Add lists what a command looks up, if that can be told quickly. Its arguments lie in memory that does not change before Clear.
func (f *Foresight) Add(t *Table, db int, args [][]byte) {
	if len(args) < 2 {
		return
	}
	if n := len(f.names); n > 0 && f.names[n-1].db == db && bytes.Equal(f.names[n-1].name, args[1]) {
		f.addElement(args)
		return
	}
	if len(args) <= 3 { // most of these have one key, and this is where it is
		f.add(db, args[1])
		return
	}
	row, err := t.Resolve(args)
	if err != nil {
		return
	}
	row.KeyPositions(args, func(i int, _ KeyFlags) { f.add(db, args[i]) })
}

func (f *Foresight) add(db int, name []byte) {
	if n := len(f.names); !f.Full() && len(name) <= foreseeName && (n == 0 || !bytes.Equal(f.names[n-1].name, name)) {
		f.names = append(f.names, foreseen{name: name, db: db})
	}
}

// addElement lists an element of the collection that was listed last: HSET key field …, SADD key member …, ZADD key score member.
func (f *Foresight) addElement(args [][]byte) {
	if len(args) > 2 && len(args[2]) <= foreseeName {
		last := f.names[len(f.names)-1]
		f.names = append(f.names, foreseen{name: last.name, db: last.db, again: true, element: args[2], member: args[min(3, len(args)-1)]})
	}
}

// Full tells that it is time to look.
func (f *Foresight) Full() bool { return len(f.names) >= foreseeMost }

// Clear begins a new list.
func (f *Foresight) Clear() { f.names = f.names[:0] }

// Foresee has the processor fetch what the commands on the listed names will read.
func (d *DataSet) Foresee(f *Foresight) {
	if len(f.names) < foreseeLeast {
		return
	}
	f.set = d
	f.reader.Hurry(true)
	d.store.Read(&f.reader, f) // an error means that nothing was foreseen
}

// Run looks at the list, under the lock.
func (f *Foresight) Run() error {
	f.hashes = f.hashes[:0]
	db, space := -1, uint32(0)
	var spread types.Spread
	looked, isSpread := false, false
	for i := range f.names {
		n := &f.names[i]
		if n.again {
			if !looked {
				looked = true
				spread, isSpread = f.spreadAt(f.key)
			}
			if isSpread {
				f.bucket = spread.AppendBucket(f.bucket[:0], n.nameOf(f.kind))
				f.hashes = append(f.hashes, f.reader.Hash(f.bucket))
			}
			continue
		}
		if n.db != db {
			var err error
			if space, err = types.LookupKeyspace(&f.reader, n.db); err != nil {
				return err
			}
			db = n.db
		}
		looked = false
		f.key = f.set.keys.AppendMeta(f.key[:0], space, n.name)
		f.hashes = append(f.hashes, f.reader.Hash(f.key))
		f.set.access.foresee(f.key)
	}
	f.reader.Foresee(f.hashes)
	return nil
}

// spreadAt looks at a key that several commands in a row want: it is in memory, most likely.
func (f *Foresight) spreadAt(metaKey []byte) (types.Spread, bool) {
	m, err := types.ReadMeta(&f.reader, metaKey)
	if err != nil {
		return types.Spread{}, false
	}
	f.kind = m.Type
	return types.SpreadOf(&f.set.keys, &m)
}

func (n *foreseen) nameOf(t types.Type) []byte {
	if t == types.ZSet {
		return n.member
	}
	return n.element
}

func (a *accesses) foresee(metaKey []byte) {
	prefetch.Line(unsafe.Pointer(&a.places[accessHash(metaKey)>>a.shift*accessWays]))
}
