//go:build !sett_nolink

//lint:file-ignore U1000 the fields of mirrored structs are there for their places

package storage

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
	badgertable "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// Badger compacts by its own lights: a level that is over its target, into the next one; the last level never. So what is dead there stays, and
// nobody can say "this range, now". Its own functions can, but are not exported: this file reaches them by go:linkname, and those that merge and write
// tables (badgermerge.go, badgerwrite.go) do; nothing else does. It is decision 013. What guards it:
//
//   - go.mod has the exact version, and the binary's own build information is asked for it;
//   - the layout of what can be reached by reflection is compared before the first use (reach);
//   - TestMirrors reads the module's source and compares every declaration that is mirrored here;
//   - the build tag sett_nolink, or a failed check, leaves badgerrange_off.go's way: public functions only.
//
// A range is held in Badger's own table of running compactions (compareAndAdd) while it is rewritten, so no other compaction touches it; tables
// are swapped under the level's lock, and readers keep what they have. Nobody waits but for that swap.

const badgerModule, badgerVersion = "github.com/dgraph-io/badger/v4", "v4.9.6"

type mirrorRange struct {
	left, right []byte
	inf         bool
	size        int64
}

type mirrorTargets struct {
	baseLevel int
	targetSz  []int64
	fileSz    []int64
}

type mirrorPriority struct {
	level        int
	score        float64
	adjusted     float64
	dropPrefixes [][]byte
	t            mirrorTargets
}

// mirrorLevel is the beginning of a levelHandler.
type mirrorLevel struct {
	sync.RWMutex
	tables []*badgertable.Table
}

type mirrorDef struct {
	compactorId  int
	t            mirrorTargets
	p            mirrorPriority
	thisLevel    *mirrorLevel
	nextLevel    *mirrorLevel
	top          []*badgertable.Table
	bot          []*badgertable.Table
	thisRange    mirrorRange
	nextRange    mirrorRange
	splits       []mirrorRange
	thisSize     int64
	dropPrefixes [][]byte
}

type mirrorStatus struct {
	sync.RWMutex
	levels []unsafe.Pointer
	tables map[uint64]struct{}
}

type mirrorController struct {
	nextFileID uint64
	l0stallsMs int64
	levels     []*mirrorLevel
	kv         unsafe.Pointer
	cstatus    mirrorStatus
}

//go:linkname badgerLevelTargets github.com/dgraph-io/badger/v4.(*levelsController).levelTargets
func badgerLevelTargets(s *mirrorController) mirrorTargets

//go:linkname badgerCompareAndAdd github.com/dgraph-io/badger/v4.(*compactStatus).compareAndAdd
func badgerCompareAndAdd(cs *mirrorStatus, _ struct{}, cd mirrorDef) bool

//go:linkname badgerDelete github.com/dgraph-io/badger/v4.(*compactStatus).delete
func badgerDelete(cs *mirrorStatus, cd mirrorDef)

// reached is Badger's levels as we see them, and what else a compaction changes.
type reached struct {
	db             *badger.DB
	lc             *mirrorController
	manifest, vlog unsafe.Pointer
	mergers        int // most goroutines that one compaction takes
}

// reachable tells why the levels must not be reached, if so.
func reachable() error {
	if err := checkVersion(); err != nil {
		return err
	}
	db := reflect.TypeFor[badger.DB]()
	for name, kind := range map[string]reflect.Kind{"lc": reflect.Pointer, "manifest": reflect.Pointer, "vlog": reflect.Struct} {
		if field, ok := db.FieldByName(name); !ok || field.Type.Kind() != kind {
			return fmt.Errorf("field %s of Badger's DB is not what it was", name)
		}
	}
	lc, _ := db.FieldByName("lc")
	return sameLayout(lc.Type.Elem(), reflect.TypeFor[mirrorController](), true)
}

// reach finds them, if they are reachable.
func reach(db *badger.DB) (*reached, error) {
	if err := reachable(); err != nil {
		return nil, err
	}
	fields := reflect.ValueOf(db).Elem()
	return &reached{
		db: db, lc: (*mirrorController)(fields.FieldByName("lc").UnsafePointer()),
		manifest: fields.FieldByName("manifest").UnsafePointer(), vlog: fields.FieldByName("vlog").Addr().UnsafePointer(),
		mergers: min(mostMergers, max(1, runtime.NumCPU()/processorsPerMerger)),
	}, nil
}

// checkVersion asks the binary what it was built from. One that does not say (some tests) is believed: TestMirrors has looked.
func checkVersion() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, m := range info.Deps {
		if m.Path == badgerModule && (m.Version != badgerVersion || m.Replace != nil) {
			return fmt.Errorf("this build has Badger %s, not the %s that it was made for", m.Version, badgerVersion)
		}
	}
	return nil
}

// sameLayout compares names, places and sizes. whole: there is nothing behind what is mirrored.
func sameLayout(real, mirror reflect.Type, whole bool) error {
	if real.Kind() != reflect.Struct || whole && (real.NumField() != mirror.NumField() || real.Size() != mirror.Size()) || real.NumField() < mirror.NumField() {
		return fmt.Errorf("the layout of Badger's %s is not the one that is known", real.Name())
	}
	for i := range mirror.NumField() {
		a, b := real.Field(i), mirror.Field(i)
		if a.Name != b.Name || a.Offset != b.Offset || a.Type.Size() != b.Type.Size() {
			return fmt.Errorf("field %s of Badger's %s is not where it was", a.Name, real.Name())
		}
		var err error
		switch {
		case b.Type == reflect.TypeFor[[]*mirrorLevel]():
			err = sameLayout(a.Type.Elem().Elem(), reflect.TypeFor[mirrorLevel](), false)
		case b.Type == reflect.TypeFor[[]*badgertable.Table](), b.Type == reflect.TypeFor[sync.RWMutex](), b.Type == reflect.TypeFor[map[uint64]struct{}]():
			if a.Type != b.Type {
				err = fmt.Errorf("field %s of Badger's %s is a %s now", a.Name, real.Name(), a.Type)
			}
		case b.Type.Kind() == reflect.Struct:
			err = sameLayout(a.Type, b.Type, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes consecutive tables of a level other than 0 anew, where they are, without what drop's prefixes begin. They all go into bot:
// Badger replaces those in one step. What lies in top it removes in a second one, and between the two a reader may look into the wrong table.
func (r *reached) rewrite(id, level int, tables []uint64, t terms) (made, error) {
	lv, targets := r.lc.levels[level], badgerLevelTargets(r.lc)
	lv.RLock()
	pick := consecutive(lv.tables, tables)
	if pick == nil {
		lv.RUnlock()
		return made{}, errGone
	}
	over := rangeOf(pick)
	cd := mirrorDef{compactorId: id, t: targets, thisLevel: lv, nextLevel: lv, bot: pick, thisRange: over, nextRange: over}
	free := badgerCompareAndAdd(&r.lc.cstatus, struct{}{}, cd)
	lv.RUnlock()
	if !free {
		return made{}, ErrBusy
	}
	return r.merge(level, level, cd, t)
}

// pushDown merges a table of a level between 0 and the last one with those of the next level that it overlaps.
func (r *reached) pushDown(id, level int, tableID uint64, t terms) (made, error) {
	this, next, targets := r.lc.levels[level], r.lc.levels[level+1], badgerLevelTargets(r.lc)
	this.RLock()
	next.RLock()
	top := consecutive(this.tables, []uint64{tableID})
	if top == nil {
		next.RUnlock()
		this.RUnlock()
		return made{}, errGone
	}
	over := rangeOf(top)
	cd := mirrorDef{compactorId: id, t: targets, thisLevel: this, nextLevel: next, top: top, bot: overlapping(next.tables, over),
		thisRange: over, nextRange: over, thisSize: top[0].Size()}
	if len(cd.bot) > 0 {
		cd.nextRange = rangeOf(cd.bot)
	}
	free := badgerCompareAndAdd(&r.lc.cstatus, struct{}{}, cd)
	next.RUnlock()
	this.RUnlock()
	if !free {
		return made{}, ErrBusy
	}
	return r.merge(level, level+1, cd, t)
}

// mergeLevel0 merges level 0 with the base level, as if it were full.
func (r *reached) mergeLevel0(id int, t terms) (made, error) {
	if r.lc.levels[0].empty() {
		return made{}, errGone
	}
	targets := badgerLevelTargets(r.lc)
	// Badger takes those tables from the oldest one on that overlap, or, if a prefix is to be dropped, all of them. What is dropped is in t.
	cd := mirrorDef{compactorId: id, t: targets, thisLevel: r.lc.levels[0], nextLevel: r.lc.levels[targets.baseLevel], dropPrefixes: [][]byte{{}}}
	if !badgerFillLevel0(r.lc, &cd) {
		return made{}, ErrBusy
	}
	return r.merge(0, targets.baseLevel, cd, t)
}

// hold keeps the files of all present tables until release is called, whatever compactions do.
func (r *reached) hold() (release func()) {
	var held []*badgertable.Table
	for _, lv := range r.lc.levels {
		lv.RLock()
		for _, t := range lv.tables {
			t.IncrRef()
			held = append(held, t)
		}
		lv.RUnlock()
	}
	return func() {
		for _, t := range held {
			t.DecrRef()
		}
	}
}

// consecutive returns tables by their ids if they stand side by side, nil if they do not, or no longer.
func consecutive(tables []*badgertable.Table, ids []uint64) []*badgertable.Table {
	for i, t := range tables {
		if t.ID() != ids[0] {
			continue
		}
		if i+len(ids) > len(tables) {
			return nil
		}
		pick := append([]*badgertable.Table(nil), tables[i:i+len(ids)]...)
		for j, id := range ids {
			if pick[j].ID() != id {
				return nil
			}
		}
		return pick
	}
	return nil
}

func overlapping(tables []*badgertable.Table, over mirrorRange) (pick []*badgertable.Table) {
	for _, t := range tables {
		if y.CompareKeys(t.Biggest(), over.left) >= 0 && y.CompareKeys(t.Smallest(), over.right) <= 0 {
			pick = append(pick, t)
		}
	}
	return pick
}

// rangeOf is from the first key of some tables to the last one, with all their versions.
func rangeOf(tables []*badgertable.Table) mirrorRange {
	first, last := tables[0].Smallest(), tables[0].Biggest()
	for _, t := range tables[1:] { // those of level 0 overlap
		if y.CompareKeys(t.Smallest(), first) < 0 {
			first = t.Smallest()
		}
		if y.CompareKeys(t.Biggest(), last) > 0 {
			last = t.Biggest()
		}
	}
	return mirrorRange{
		left:  y.KeyWithTs(bytes.Clone(y.ParseKey(first)), math.MaxUint64),
		right: y.KeyWithTs(bytes.Clone(y.ParseKey(last)), 0),
	}
}
