//go:build !sett_nolink

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	badgertable "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"

	"sett/threads"
)

// Compactions are ours. Badger writes the tables that come of one through mapped memory, up to thirteen at a time: each page costs two faults and
// stops all processors when it is written out, and an error of the disk is dropped, and with it what was merged. Here
// a table is written like a file, in few goroutines, after the checksums of what goes into it were compared; Badger picks what is merged, and
// swaps the tables. It is decision 027.

//go:linkname badgerPickLevels github.com/dgraph-io/badger/v4.(*levelsController).pickCompactLevels
func badgerPickLevels(s *mirrorController, room []mirrorPriority) []mirrorPriority

//go:linkname badgerFillLevel0 github.com/dgraph-io/badger/v4.(*levelsController).fillTablesL0ToLbase
func badgerFillLevel0(s *mirrorController, cd *mirrorDef) bool

//go:linkname badgerFill github.com/dgraph-io/badger/v4.(*levelsController).fillTables
func badgerFill(s *mirrorController, cd *mirrorDef) bool

//go:linkname badgerReplaceTables github.com/dgraph-io/badger/v4.(*levelHandler).replaceTables
func badgerReplaceTables(lv *mirrorLevel, out, in []*badgertable.Table) error

//go:linkname badgerDeleteTables github.com/dgraph-io/badger/v4.(*levelHandler).deleteTables
func badgerDeleteTables(lv *mirrorLevel, out []*badgertable.Table) error

//go:linkname badgerDrained github.com/dgraph-io/badger/v4.(*levelHandler).signalL0Drained
func badgerDrained(lv *mirrorLevel)

//go:linkname badgerAddChanges github.com/dgraph-io/badger/v4.(*manifestFile).addChanges
func badgerAddChanges(manifest unsafe.Pointer, changes []*pb.ManifestChange, o badger.Options) error

//go:linkname badgerDiscards github.com/dgraph-io/badger/v4.(*valueLog).updateDiscardStats
func badgerDiscards(vlog unsafe.Pointer, bytes map[uint32]int64)

// merge is one compaction.
type merge struct {
	*reached
	terms
	from, to int // levels
	def      mirrorDef
	inputs   []*badgertable.Table // of the lower level, without those in which all is dead
	shadows  bool                 // there may be older versions below: deletions have to stay
	options  badgertable.Options
}

// A compaction takes one goroutine, on large machines up to four, each for so many tables of the lower level at least.
const (
	processorsPerMerger = 4
	mostMergers         = 4
	leastShare          = 4
)

// merge merges the tables of def, which Badger has marked as taken, into new ones of level to.
func (r *reached) merge(from, to int, def mirrorDef, t terms) (sum made, err error) {
	defer badgerDelete(&r.lc.cstatus, def)
	if from == 0 {
		for _, lv := range r.lc.levels[1:to] {
			if !lv.empty() {
				return sum, fmt.Errorf("a level above level %d has tables: what is in level 0 must not pass them", to)
			}
		}
	}
	m := &merge{reached: r, terms: t, from: from, to: to, def: def, options: badgerTableOptions(r.db)}
	m.options.TableSize = uint64(def.t.fileSz[to])
	all := append(append([]*badgertable.Table(nil), def.top...), def.bot...)
	for _, t := range all {
		if m.stop() {
			return sum, errStopped
		}
		if err := m.verify(t.ID(), t.Data[:t.Size()]); err != nil {
			return sum, err
		}
	}
	for _, t := range def.bot {
		if !m.whole(t) {
			m.inputs = append(m.inputs, t)
		}
	}
	over := rangeOf(all)
	for _, lv := range r.lc.levels[to+1:] {
		m.shadows = m.shadows || lv.overlaps(over) > 0
	}
	tables, err := m.build()
	if err != nil {
		return sum, err
	}
	var ids []uint64
	for _, t := range tables {
		ids = append(ids, t.ID())
		sum.records += int64(t.KeyCount())
		sum.bytes += int64(t.UncompressedSize()) + int64(t.IndexSize())
	}
	err = m.install(tables)
	m.note(ids)
	return sum, err
}

// whole tells whether all of a table is dead.
func (m *merge) whole(t *badgertable.Table) bool {
	for _, prefix := range m.drop {
		if bytes.HasPrefix(t.Smallest(), prefix) && bytes.HasPrefix(t.Biggest(), prefix) {
			return true
		}
	}
	return false
}

func (m *merge) dead(key []byte) bool {
	for _, prefix := range m.drop {
		if bytes.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// build writes the new tables. After an error there are none.
func (m *merge) build() (tables []*badgertable.Table, err error) {
	bounds := m.bounds()
	parts := make([]mergePart, len(bounds)+1)
	var wg sync.WaitGroup
	for i := range parts {
		p := &parts[i]
		p.merge, p.discarded = m, make(map[uint32]int64)
		if i > 0 {
			p.left = bounds[i-1]
		}
		if i < len(bounds) {
			p.right = bounds[i]
		}
		if i > 0 {
			wg.Go(func() {
				threads.GiveWay()
				p.run()
			})
		}
	}
	parts[0].run()
	wg.Wait()
	for i := range parts {
		tables, err = append(tables, parts[i].tables...), errors.Join(err, parts[i].err)
	}
	if err == nil {
		err = syncPath(m.db.Opts().Dir)
	}
	if err != nil {
		for _, t := range tables {
			t.DecrRef() // removes it
		}
		return nil, err
	}
	for i := range parts {
		badgerDiscards(m.vlog, parts[i].discarded)
	}
	return tables, nil
}

// bounds are where one part ends and the next begins.
func (m *merge) bounds() (bounds [][]byte) {
	n := 1
	if m.from != m.to {
		n = min(m.mergers, len(m.inputs)/leastShare)
	}
	for i := 1; i < n; i++ {
		last := m.inputs[i*len(m.inputs)/n-1].Biggest()
		bounds = append(bounds, y.KeyWithTs(bytes.Clone(y.ParseKey(last)), 0))
	}
	return bounds
}

// install has the new tables take the old ones' place.
func (m *merge) install(tables []*badgertable.Table) error {
	var changes []*pb.ManifestChange
	for _, t := range tables {
		changes = append(changes, &pb.ManifestChange{
			Id: t.ID(), Op: pb.ManifestChange_CREATE, Level: uint32(m.to), EncryptionAlgo: pb.EncryptionAlgo_aes, Compression: uint32(t.CompressionType()),
		})
	}
	for _, gone := range [][]*badgertable.Table{m.def.top, m.def.bot} {
		for _, t := range gone {
			changes = append(changes, &pb.ManifestChange{Id: t.ID(), Op: pb.ManifestChange_DELETE})
		}
	}
	if err := badgerAddChanges(m.manifest, changes, m.db.Opts()); err != nil {
		return manifestError{fmt.Errorf("writing Badger's MANIFEST: %w", err)}
	}
	// What moves down is there before it goes above. A file that could not be removed is removed by the next start.
	err := badgerReplaceTables(m.def.nextLevel, m.def.bot, tables)
	if len(m.def.top) > 0 {
		err = errors.Join(err, badgerDeleteTables(m.def.thisLevel, m.def.top))
	}
	if m.from == 0 {
		badgerDrained(m.def.thisLevel)
	}
	for _, t := range tables {
		err = errors.Join(err, t.DecrRef()) // the level has its own
	}
	return err
}

// mergePart merges what lies from left to right; nil: from the beginning, to the end.
type mergePart struct {
	*merge
	left, right []byte

	last, passed []byte // the key that came last; of which all older versions are left out
	keys         int    // of the present table
	first        []byte // of those
	out          tableWriter
	discarded    map[uint32]int64 // bytes of each value log file to which nothing points any more

	tables []*badgertable.Table
	err    error
}

func (p *mergePart) run() {
	defer p.guard(nil, &p.err)
	var from []y.Iterator
	for i := len(p.def.top) - 1; i >= 0; i-- { // of level 0 the newest first
		from = append(from, p.def.top[i].NewIterator(badgertable.NOCACHE))
	}
	it := badgertable.NewMergeIterator(append(from, badgertable.NewConcatIterator(p.inputs, badgertable.NOCACHE)), false)
	defer it.Close()
	if p.left != nil {
		it.Seek(p.left)
	} else {
		it.Rewind()
	}
	for p.err == nil && it.Valid() && !p.through(it.Key()) {
		p.err = p.table(it)
	}
}

func (p *mergePart) through(key []byte) bool {
	return p.right != nil && y.CompareKeys(key, p.right) >= 0
}

// table writes the next table, if there is anything to put into it.
func (p *mergePart) table(it y.Iterator) error {
	if p.stop() {
		return errStopped
	}
	b := badgertable.NewTableBuilder(p.options)
	defer b.Close()
	p.keys = 0
	for ; it.Valid(); it.Next() {
		key := it.Key()
		if p.dead(key) || len(p.passed) > 0 && y.SameKey(key, p.passed) {
			p.forget(it.Value())
			continue
		}
		if len(p.last) == 0 || !y.SameKey(key, p.last) {
			if p.through(key) || b.ReachedCapacity() { // all versions of a key are in one table
				break
			}
			p.last = append(p.last[:0], key...)
			if p.tooWide() {
				break
			}
		}
		p.add(b, key, it.Value())
	}
	if b.Empty() {
		b.Finish()
		return nil
	}
	t, err := p.out.write(p.reached, b, p.options)
	if err == nil {
		p.tables = append(p.tables, t)
	}
	return err
}

// add adds a version, unless nobody can see it.
func (p *mergePart) add(b *badgertable.Builder, key []byte, v y.ValueStruct) {
	dead := v.Meta&metaDeleted != 0
	if y.ParseTs(key) <= p.discard {
		p.passed = append(p.passed[:0], key...)
		if dead && !p.shadows {
			p.forget(v)
			return
		}
	}
	length := uint32(0)
	if v.Meta&metaPointer != 0 {
		_, length = pointed(v.Value)
	}
	if dead {
		b.AddStaleKey(key, v, length)
	} else {
		b.Add(key, v, length)
	}
}

// forget counts what the value log holds for a version that is left out.
func (p *mergePart) forget(v y.ValueStruct) {
	if v.Meta&metaPointer != 0 {
		file, length := pointed(v.Value)
		p.discarded[file] += int64(length)
	}
}

// A table that lies over more than so many of the next level would make its own way down expensive. It is looked at every so many keys.
const (
	widest    = 10
	lookEvery = 5000
)

func (p *mergePart) tooWide() bool {
	if p.keys == 0 {
		p.first = append(p.first[:0], p.last...)
	}
	if p.keys++; p.keys%lookEvery != 0 || p.to == 0 || p.to+1 >= len(p.lc.levels) {
		return false
	}
	return p.lc.levels[p.to+1].overlaps(mirrorRange{left: p.first, right: p.last}) >= widest
}

// due are the levels over their targets, the most urgent first. eager prefers level 0.
func (r *reached) due(eager bool) (levels []mirrorPriority) {
	for _, p := range badgerPickLevels(r.lc, nil) {
		if p.level == 0 && eager {
			levels = slices.Insert(levels, 0, p)
		} else {
			levels = append(levels, p)
		}
	}
	return levels
}

// compact does the most urgent compaction that can be done now, if there is one.
func (r *reached) compact(id int, eager bool, t terms) error {
	for _, p := range r.due(eager) {
		if p.adjusted < 1 {
			continue
		}
		def, to := mirrorDef{compactorId: id, p: p, t: p.t, thisLevel: r.lc.levels[p.level]}, p.level+1
		fill := badgerFill
		if p.level == 0 {
			to, fill = p.t.baseLevel, badgerFillLevel0
		}
		def.nextLevel = r.lc.levels[to]
		if fill(r.lc, &def) {
			_, err := r.merge(p.level, to, def, t)
			return err
		}
		if p.level == 0 {
			return nil // it takes all of the base level: what would begin now would make it wait for longer
		}
	}
	return nil
}

func (lv *mirrorLevel) empty() bool {
	lv.RLock()
	defer lv.RUnlock()
	return len(lv.tables) == 0
}

// overlaps counts a level's tables in a range.
func (lv *mirrorLevel) overlaps(over mirrorRange) int {
	lv.RLock()
	defer lv.RUnlock()
	return len(overlapping(lv.tables, over))
}
