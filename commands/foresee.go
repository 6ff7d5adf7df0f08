package commands

import (
	"bytes"
	"unsafe"

	"sett/internal/prefetch"
	"sett/storage"
	"sett/types"
)

// Foresight is a list of names that commands about to run look up, most likely. Nothing but their speed depends on it. The zero Foresight is empty.
type Foresight struct {
	names  []foreseen
	set    *DataSet
	reader storage.Reader
	key    []byte
	hashes []uint64
}

type foreseen struct {
	name []byte
	db   int
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
	if len(args) <= 3 { // most of these have one key, and this is where it is
		f.add(db, args[1])
		return
	}
	row, err := t.Resolve(args)
	if err != nil {
		return
	}
	for i := range row.Keys {
		keys := &row.Keys[i]
		if keys.Keyword != "" || keys.Where != nil || keys.Counted {
			continue
		}
		last := keys.First + keys.Last
		if keys.Last < 0 {
			last = len(args) + keys.Last
		}
		for at := keys.First; at <= last && at < len(args) && !f.Full(); at += max(keys.Step, 1) {
			f.add(db, args[at])
		}
	}
}

func (f *Foresight) add(db int, name []byte) {
	if n := len(f.names); len(name) <= foreseeName && (n == 0 || !bytes.Equal(f.names[n-1].name, name)) {
		f.names = append(f.names, foreseen{name, db})
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
	d.store.Read(&f.reader, f) // an error means that nothing was foreseen
}

// Run looks at the list, under the lock.
func (f *Foresight) Run() error {
	f.hashes = f.hashes[:0]
	db, space := -1, uint32(0)
	for _, n := range f.names {
		if n.db != db {
			var err error
			if space, err = types.LookupKeyspace(&f.reader, n.db); err != nil {
				return err
			}
			db = n.db
		}
		f.key = f.set.keys.AppendMeta(f.key[:0], space, n.name)
		f.hashes = append(f.hashes, f.reader.Hash(f.key))
		f.set.access.foresee(f.key)
	}
	f.reader.Foresee(f.hashes)
	return nil
}

func (a *accesses) foresee(metaKey []byte) {
	prefetch.Line(unsafe.Pointer(&a.places[accessHash(metaKey)>>a.shift*accessWays]))
}
