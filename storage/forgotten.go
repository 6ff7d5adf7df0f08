package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Badger collects the value log by statistics, its file DISCARD: how much of each file is dead, as far as compactions have noticed. They forget.
// A file that was collected and not deleted before the process died has 0; what a replay wrote a second time is counted by nobody. Such files
// are found by reading which of their bytes Badger's tables still point to, and noted in a file of ours; the next start enters them in DISCARD
// before Badger opens it. A wrong figure there costs time and nothing else: Badger looks at each record before it drops it.
//
//	DISCARD: file(8) dead bytes(8), big-endian, for each file; file 0 ends the list; at least discardBytes long

// ForgottenFile is a value log file of which more is dead than Badger knows.
type ForgottenFile struct {
	ID   uint32
	Dead int64 // bytes
}

const (
	forgottenFile   = "forgotten"
	forgottenFormat = 1

	discardSlotBytes = 16
)

type forgottenRecord struct {
	Format int
	Files  []ForgottenFile
}

// ForgottenValueLogs finds them. Rotate has just been called: what is in Badger's memtable is not looked at.
func (s *Store) ForgottenValueLogs(ratio float64) (forgotten []ForgottenFile, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	files := valueLogFiles(s.dir())
	live, err := s.liveBytes()
	if err != nil {
		return nil, err
	}
	known := readDiscards(s.dir())
	for _, f := range files[:max(0, len(files)-1)] { // without the one that is being written
		dead := f.size - live[f.id]
		if f.size <= recordFileHeader {
			continue // Badger removes it when it opens
		}
		if enough := int64(ratio * float64(f.size)); dead >= enough && known[f.id] < enough {
			forgotten = append(forgotten, ForgottenFile{f.id, dead})
		}
	}
	return forgotten, nil
}

// NoteForgotten has the next start tell Badger.
func (s *Store) NoteForgotten(files []ForgottenFile) error {
	return writeChecked(s.opts.FS, filepath.Join(s.dir(), forgottenFile), forgottenRecord{forgottenFormat, files})
}

// enterForgotten tells Badger, which is about to open.
func enterForgotten(fsys FS, dir string) error {
	path := filepath.Join(dir, forgottenFile)
	var noted forgottenRecord
	ok, err := readChecked(fsys, path, &noted)
	var damaged *RefusedError
	if errors.As(err, &damaged) || ok && noted.Format > forgottenFormat {
		return fsys.Remove(path) // it is found out again
	}
	if err != nil || !ok {
		return err
	}
	if err := enterDiscards(fsys, dir, noted.Files); err != nil {
		return err
	}
	return fsys.Remove(path)
}

// enterDiscards raises figures in DISCARD. The file is as long as Badger makes it.
func enterDiscards(fsys FS, dir string, files []ForgottenFile) error {
	path := filepath.Join(dir, discardName)
	b, err := fsys.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(b) < discardBytes {
		b = append(b, make([]byte, discardBytes-len(b))...)
	}
	for _, f := range files {
		at := 0
		for ; at+2*discardSlotBytes <= len(b); at += discardSlotBytes {
			if id := binary.BigEndian.Uint64(b[at:]); id == 0 || id == uint64(f.ID) {
				break
			}
		}
		if at+2*discardSlotBytes > len(b) {
			break // full, for a value log of terabytes: those that are in come first
		}
		binary.BigEndian.PutUint64(b[at:], uint64(f.ID))
		binary.BigEndian.PutUint64(b[at+8:], max(binary.BigEndian.Uint64(b[at+8:]), uint64(f.Dead)))
	}
	return WriteFileAtomic(fsys, path, b)
}

// readDiscards reads what Badger knows. It maps the file: what it has written is seen here.
func readDiscards(dir string) map[uint32]int64 {
	known := make(map[uint32]int64)
	b, _ := os.ReadFile(filepath.Join(dir, discardName))
	for ; len(b) >= discardSlotBytes; b = b[discardSlotBytes:] {
		id := binary.BigEndian.Uint64(b)
		if id == 0 || id > math.MaxUint32 {
			break
		}
		known[uint32(id)] = int64(binary.BigEndian.Uint64(b[8:]))
	}
	return known
}

// errTablesMoved: compactions replaced tables while they were read.
var errTablesMoved = errors.New("storage: Badger's tables change too fast to be read")

// liveBytes is how much of each value log file the tables' records point to, of each version only the copy that Badger would read.
func (s *Store) liveBytes() (live map[uint32]int64, err error) {
	err = s.readTables(func(tables []openedTable) error {
		live = make(map[uint32]int64)
		return mergePointers(tables, func(r storedRecord) {
			if r.meta&metaPointer != 0 && len(r.value) == pointerBytes {
				file, length := pointed(r.value)
				live[file] += int64(length)
			}
		})
	})
	return live, err
}

// pointerBytes is a pointer into the value log: file(4) length(4) offset(4), little-endian.
const pointerBytes = 12

// pointed returns the value log file that a pointer leads to, and the bytes that it takes there.
func pointed(pointer []byte) (file, length uint32) {
	return binary.LittleEndian.Uint32(pointer), binary.LittleEndian.Uint32(pointer[4:])
}

// VerifyTables reads what the tables hold of a range and compares its checksums. Badger itself answers damage with "not found".
func (s *Store) VerifyTables(r Range) error {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	return s.readTables(func(tables []openedTable) error {
		for _, t := range tables {
			for i := range t.blocks() {
				if first, _, _ := t.firstKey(i); bytes.Compare(userKey(first), r.Upper) >= 0 {
					break
				}
				if i+1 < t.blocks() {
					if next, _, _ := t.firstKey(i + 1); bytes.Compare(userKey(next), r.Lower) < 0 {
						continue
					}
				}
				if _, err := t.block(i); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// openedTable is a table of Badger's, read without Badger.
type openedTable struct {
	*table
	s     *Store
	id    uint64
	level int
}

// block is table's: damage, or errTablesMoved if that is not in use any more.
func (t openedTable) block(i int) (tableBlock, error) {
	b, err := t.table.block(i)
	if err != nil {
		err = cmp.Or(t.s.damagedTable(t.id, err), errTablesMoved)
	}
	return b, err
}

// readTables opens all tables for visit. Compactions go on meanwhile and remove tables that they have replaced, so this begins anew when one is
// missing. disk.inUse is held.
func (s *Store) readTables(visit func([]openedTable) error) error {
	for range 5 {
		err := s.readTablesOnce(s.disk.db.Tables(), visit)
		if !errors.Is(err, errTablesMoved) {
			return err
		}
	}
	return errTablesMoved
}

func (s *Store) readTablesOnce(infos []badger.TableInfo, visit func([]openedTable) error) error {
	var opened []openedTable
	for _, info := range infos {
		f, t, err := openTableFile(s.dir(), info.ID)
		if err != nil {
			return cmp.Or(s.damagedTable(info.ID, err), errTablesMoved)
		}
		defer f.Close()
		opened = append(opened, openedTable{t, s, info.ID, info.Level})
	}
	return visit(opened)
}

// mergePointers visits all records of blob chunks in tables, of each version only the newest copy: higher levels are newer, in level 0 higher
// numbers.
func mergePointers(tables []openedTable, visit func(storedRecord)) error {
	slices.SortFunc(tables, func(a, b openedTable) int {
		if a.level != b.level {
			return a.level - b.level
		}
		if a.level == 0 {
			return int(int64(b.id) - int64(a.id))
		}
		x, _, _ := a.firstKey(0)
		y, _, _ := b.firstKey(0)
		return compareStored(x, y)
	})
	var walks []*chunkWalk
	for i := 0; i < len(tables); {
		n := i + 1
		for tables[i].level > 0 && n < len(tables) && tables[n].level == tables[i].level {
			n++
		}
		w := &chunkWalk{tables: tables[i:n]}
		if w.next(); w.err != nil {
			return w.err
		}
		walks, i = append(walks, w), n
	}
	for {
		var best *chunkWalk
		for _, w := range walks { // newest first
			if w.ok && (best == nil || compareStored(w.record.key, best.record.key) < 0) {
				best = w
			}
		}
		if best == nil {
			return nil
		}
		r := best.record
		visit(r)
		for _, w := range walks {
			if w.ok && bytes.Equal(w.record.key, r.key) {
				if w.next(); w.err != nil {
					return w.err
				}
			}
		}
	}
}

// chunkWalk walks over the blob chunks of a level, or of a table of level 0.
type chunkWalk struct {
	tables  []openedTable
	block   int // the next one
	entry   int // the next one
	entries tableBlock
	record  storedRecord
	ok      bool
	err     error
}

func (w *chunkWalk) next() {
	for w.ok = false; w.err == nil; {
		if w.entry < w.entries.len() {
			w.record, w.err = w.entries.entry(w.entry)
			w.entry++
			switch kind := w.record.key; {
			case w.err != nil || kind[0] < 'b':
				continue
			case kind[0] > 'b':
				w.tables, w.entries = nil, tableBlock{}
				return
			}
			w.ok = true
			return
		}
		if !w.nextBlock() {
			return
		}
	}
}

// nextBlock reads the next block that may hold chunks.
func (w *chunkWalk) nextBlock() bool {
	for len(w.tables) > 0 {
		t := w.tables[0]
		if w.block == t.blocks() {
			w.tables, w.block = w.tables[1:], 0
			continue
		}
		i := w.block
		w.block++
		if first, _, _ := t.firstKey(i); first[0] > 'b' {
			w.tables = nil
			return false
		}
		if i+1 < t.blocks() {
			if next, _, _ := t.firstKey(i + 1); next[0] < 'b' {
				continue
			}
		}
		w.entries, w.err = t.block(i)
		w.entry = 0
		return w.err == nil
	}
	return false
}
