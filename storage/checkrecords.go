package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Badger's levels are merged here as Badger's reads would merge them, but from the files and with every checksum verified. What the records
// say together is judged as of the last barrier: that state is on disk whatever ended the process. What is newer may be there in part, and is
// written again from the log.

// stream gives records in order: a memtable log, a table of level 0, or a whole level.
type stream struct {
	next func() (storedRecord, bool)
	cur  storedRecord
	ok   bool
}

func (c *checker) checkRecords(entries []os.DirEntry, levels [][]uint64) {
	var streams []*stream // newest first
	add := func(next func() (storedRecord, bool)) {
		s := &stream{next: next}
		s.cur, s.ok = next()
		streams = append(streams, s)
	}
	values := &valueLogs{dir: c.file(c.badger), files: make(map[uint32]*os.File)}
	defer values.close()
	for _, e := range slices.Backward(entries) {
		name := filepath.Join(c.badger, e.Name())
		switch {
		case strings.HasSuffix(name, ".mem"):
			add(c.memtable(name))
		case strings.HasSuffix(name, ".vlog"):
			c.valueLog(name)
		}
	}
	for level, ids := range levels {
		slices.Sort(ids)
		if level > 0 {
			add(c.tables(c.openTables(ids)))
			continue
		}
		for _, id := range slices.Backward(ids) {
			add(c.tables(c.openTables([]uint64{id})))
		}
	}
	c.merge(streams, values)
}

// memtable reads a memtable log as far as it is whole.
func (c *checker) memtable(name string) func() (storedRecord, bool) {
	b, err := os.ReadFile(c.file(name))
	if err != nil {
		c.damage(place{name, -1}, doRestore, "it cannot be read: %v", err)
		c.incomplete = true
	}
	c.recordFileHead(name, b)
	var records []storedRecord
	end := recordFileHeader
	for end < len(b) {
		r, n := parseRecord(b[end:])
		if n == 0 {
			break
		}
		r.where = place{name, int64(end)}
		records = append(records, r)
		end += n
	}
	// Badger empties a file that is in a table before it removes it.
	if end < len(b) && !allZero(b[end:]) || len(b) > 0 && int64(len(b)) < c.reached(name) {
		c.cutHere(place{name, int64(end)})
	}
	slices.SortStableFunc(records, func(a, b storedRecord) int { return compareStored(a.key, b.key) })
	i := 0
	return func() (r storedRecord, ok bool) {
		// Of what was written twice, the last counts.
		for i+1 < len(records) && bytes.Equal(records[i].key, records[i+1].key) {
			i++
		}
		if i >= len(records) {
			return r, false
		}
		i++
		return records[i-1], true
	}
}

// reached is how far the last barrier found a file to reach.
func (c *checker) reached(name string) int64 {
	for _, f := range c.files {
		if f.Name == filepath.Base(name) {
			return f.Bytes
		}
	}
	return 0
}

// cutHere reports a file that Badger would cut.
func (c *checker) cutHere(at place) {
	if durable := c.reached(at.file); at.offset < durable {
		c.damage(at, doRestore, "a record fails its checksum or is missing; all of the file up to %d was durable", durable)
		c.incomplete = true
		return
	}
	c.note(at, "Nothing to do: the next start cuts the file here and writes what is missing again from the log",
		"it ends in a record that fails its checksum, as a power cut leaves it")
}

// recordFileHead checks what stands in front of the records of a memtable or value log. Badger refuses to open one with an unknown key.
func (c *checker) recordFileHead(name string, b []byte) {
	if len(b) >= recordFileHeader && !soundHead(b) {
		c.damage(place{name, 0}, doRestore, "its header is damaged: it names an encryption key, and sett uses none")
	}
}

// valueLog reads a value log file as far as it is whole. Bad records in it are damage if Badger would cut it there; else whoever refers to them
// says so.
func (c *checker) valueLog(name string) {
	f, err := os.Open(c.file(name))
	if err != nil {
		c.damage(place{name, -1}, doRestore, "it cannot be read: %v", err)
		return
	}
	defer f.Close()
	head := make([]byte, recordFileHeader)
	n, _ := io.ReadFull(f, head)
	c.recordFileHead(name, head[:n])
	end, _ := walkRecords(f, recordFileHeader, true, nil)
	rest := make([]byte, recordHeadBytes)
	n, _ = f.ReadAt(rest, end)
	if end < c.reached(name) {
		c.cutHere(place{name, end})
	} else if !allZero(rest[:n]) {
		c.note(place{name, end}, "Nothing to do but for the keys, if any, that are named because of it", "a record fails its checksum")
	}
}

// namedTable is a table whose index is sound.
type namedTable struct {
	*table
	file *os.File
	name string
}

// openTables opens tables and puts them in the order of their keys.
func (c *checker) openTables(ids []uint64) (tables []namedTable) {
	for _, id := range ids {
		name := filepath.Join(c.badger, tableName(id))
		f, t, err := openTableFile(c.file(c.badger), id)
		if err != nil {
			c.damage(place{name, -1}, doRestore, "the table is unreadable: %v", err)
			c.incomplete = true
			continue
		}
		c.report.Tables++
		tables = append(tables, namedTable{t, f, name})
	}
	slices.SortFunc(tables, func(a, b namedTable) int {
		x, _, _ := a.firstKey(0)
		y, _, _ := b.firstKey(0)
		return compareStored(x, y)
	})
	return tables
}

// tables gives the records of tables, one after the other, without those in damaged blocks.
func (c *checker) tables(tables []namedTable) func() (storedRecord, bool) {
	block, entry := -1, 0
	var b tableBlock
	var last []byte
	return func() (r storedRecord, ok bool) {
		for len(tables) > 0 {
			t := tables[0]
			if entry < b.len() {
				_, offset, _ := t.firstKey(block)
				r, err := b.entry(entry)
				entry++
				r.where = place{t.name, offset}
				if err != nil || last != nil && compareStored(last, r.key) >= 0 {
					c.damage(r.where, doRestore, "a record in this block is malformed or out of order: Badger has written damaged records together")
					c.incomplete = true
					continue
				}
				last = r.key
				return r, true
			}
			if block++; block == t.blocks() {
				t.file.Close()
				tables, block, entry, b = tables[1:], -1, 0, tableBlock{}
				continue
			}
			b, entry = c.block(t, block), 0
		}
		return r, false
	}
}

// block reads a block; one that is damaged has no records.
func (c *checker) block(t namedTable, i int) tableBlock {
	b, err := t.block(i)
	if err == nil {
		return b
	}
	first, offset, _ := t.firstKey(i)
	until := "the table's end"
	if i+1 < t.blocks() {
		next, _, _ := t.firstKey(i + 1)
		until = c.nameOf(next)
	}
	c.damage(place{t.name, offset}, doRestore, "%v; what it holds from %s up to %s may be answered as absent, or as it was before", err, c.nameOf(first), until)
	c.incomplete = true
	return tableBlock{}
}

// merge walks all records in order and looks at each.
func (c *checker) merge(streams []*stream, values *valueLogs) {
	j := &judge{checker: c, values: values, tallies: make(map[uint32]Tally), nextID: 1}
	for {
		var best *stream
		for _, s := range streams {
			if s.ok && (best == nil || compareStored(s.cur.key, best.cur.key) < 0) {
				best = s
			}
		}
		if best == nil {
			break
		}
		r := best.cur
		for _, s := range streams { // an older copy of the same version does not count
			if s.ok && bytes.Equal(s.cur.key, r.key) {
				s.cur, s.ok = s.next()
			}
		}
		c.report.Records++
		j.take(r)
	}
	j.end()
}

// judge looks at the records one by one.
type judge struct {
	*checker
	values  *valueLogs
	key     []byte // the user key of the present group of versions
	settled bool   // the version that counts as of the last barrier was met
	tallies map[uint32]Tally
	nextID  uint64
	witness bool // the applied record of the last barrier is there
}

func (j *judge) take(r storedRecord) {
	key := userKey(r.key)
	if !bytes.Equal(key, j.key) {
		j.key, j.settled = key, false
		if string(key) == appliedKey {
			j.takeApplied(r)
		}
	}
	version := version(r.key)
	counts := !j.settled && version <= j.durable.Index
	j.settled = j.settled || counts
	if string(key) == appliedKey && version == j.durable.Index {
		j.witness = true
	}
	value, ok := j.value(r, counts)
	if !ok {
		j.incomplete = j.incomplete || counts
		return
	}
	if !counts || value == nil {
		return
	}
	if keyspace, t, ok := decodeTally(key, value); ok {
		j.tallies[keyspace] = t
	}
	if string(key) == nextIDKey && len(value) == 8 {
		j.nextID = binary.BigEndian.Uint64(value)
	}
	if wrong := j.records.Record(key, value); wrong != "" {
		j.damage(r.where, doRestore, "%s: %s", j.records.Name(key), wrong)
	}
}

// takeApplied takes the newest applied record.
func (j *judge) takeApplied(r storedRecord) {
	value, ok := unseal(userKey(r.key), r.value)
	if ok {
		j.applied, ok = decodePoint(value)
	}
	if !ok {
		j.damage(r.where, doRestore, "the applied record, which says how far Badger has come, is damaged")
	}
}

// value returns a record's value (nil: deleted), and whether the record is as it was written.
func (j *judge) value(r storedRecord, counts bool) (value []byte, ok bool) {
	key := userKey(r.key)
	name := j.records.Name(key)
	switch {
	case r.expiresAt != 0:
		j.damage(r.where, doRestore, "%s: it carries an expiry of Badger's, which sett never writes", name)
		return nil, false
	case r.meta&metaDeleted != 0:
		if len(r.value) > 0 {
			j.damage(r.where, doRestore, "%s: it is marked as deleted, but has a value", name)
			return nil, false
		}
		return nil, true
	case r.meta&metaPointer != 0:
		return j.pointed(r, counts)
	}
	if value, ok = unseal(key, r.value); !ok {
		j.damage(r.where, doRestore, "%s: its checksum does not match; reading it answers -CORRUPT", name)
	}
	return value, ok
}

// pointed reads a value in the value log. Those that do not count may be gone with good reason.
func (j *judge) pointed(r storedRecord, counts bool) (value []byte, ok bool) {
	key := userKey(r.key)
	stored, err := j.values.read(r)
	if err == nil {
		if value, ok = unseal(key, stored); !ok {
			err = errors.New("its checksum does not match")
		}
	}
	if err != nil && counts {
		j.damage(r.where, doRestore, "%s: %v; reading it answers -CORRUPT", j.records.Name(key), err)
	}
	return value, err == nil
}

// end judges the records as a whole.
func (j *judge) end() {
	at := place{j.badger, -1}
	if j.applied.Index < j.durable.Index || j.durable.Index > 0 && !j.witness {
		j.damage(at, doRestore, "Badger has lost data: it was durable up to entry %d, and what was written there is gone; its newest record is of entry %d",
			j.durable.Index, j.applied.Index)
		return
	}
	if j.incomplete {
		j.note(at, doRestore, "counters and references were not compared, because records are missing")
		return
	}
	for _, wrong := range j.records.End(j.tallies, j.nextID) {
		j.damage(at, doRestore, "%s", wrong)
	}
}

// valueLogs reads single records of value log files.
type valueLogs struct {
	dir   string
	files map[uint32]*os.File
}

func (v *valueLogs) close() {
	for _, f := range v.files {
		f.Close()
	}
}

// read returns what a pointer points to: file(4) length(4) offset(4), little-endian.
func (v *valueLogs) read(r storedRecord) ([]byte, error) {
	if len(r.value) != 12 {
		return nil, errors.New("its pointer into the value log is malformed")
	}
	n := func(i int) uint32 { return binary.LittleEndian.Uint32(r.value[i:]) }
	f, err := v.open(n(0))
	if err != nil {
		return nil, err
	}
	if n(4) > maxPointedBytes {
		return nil, errors.New("its pointer into the value log is malformed")
	}
	b := make([]byte, n(4))
	if _, err := f.ReadAt(b, int64(n(8))); err != nil {
		return nil, errors.New("its value lies beyond the end of the value log")
	}
	value, size := parseRecord(b)
	if size != len(b) || !bytes.Equal(value.key, r.key) {
		return nil, errors.New("its record in the value log fails its checksum, or is another one")
	}
	return value.value, nil
}

func (v *valueLogs) open(id uint32) (*os.File, error) {
	if f, ok := v.files[id]; ok {
		return f, nil
	}
	f, err := os.Open(filepath.Join(v.dir, valueLogName(id)))
	if err != nil {
		return nil, errors.New("its value log file is missing")
	}
	v.files[id] = f
	return f, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
