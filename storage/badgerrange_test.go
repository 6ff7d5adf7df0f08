//go:build !sett_nolink

package storage

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// TestMirrors reads the source of the Badger that this build has, and fails when a declaration is not what badgerrange.go mirrors. Then read
// what has changed, run `make soak`, and only then change this.
func TestMirrors(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}} {{.Replace}}", badgerModule).Output()
	if err != nil {
		t.Skip("there is no go command, or no module to look at: ", err)
	}
	where := strings.Fields(string(out))
	if len(where) != 3 || where[1] != badgerVersion || where[2] != "<nil>" {
		t.Fatalf("go.mod has Badger %s, badgerrange.go was made for %s", out, badgerVersion)
	}
	found := declarations(t, where[0])
	for name, want := range map[string]string{
		"keyRange":           "struct { left []byte right []byte inf bool size int64 }",
		"targets":            "struct { baseLevel int targetSz []int64 fileSz []int64 }",
		"compactionPriority": "struct { level int score float64 adjusted float64 dropPrefixes [][]byte t targets }",
		"compactDef": "struct { compactorId int t targets p compactionPriority thisLevel *levelHandler nextLevel *levelHandler top []*table.Table " +
			"bot []*table.Table thisRange keyRange nextRange keyRange splits []keyRange thisSize int64 dropPrefixes [][]byte }",
		"compactStatus":           "struct { sync.RWMutex levels []*levelCompactStatus tables map[uint64]struct{} }",
		"thisAndNextLevelRLocked": "struct{}",
		"levelsController":        "struct { nextFileID atomic.Uint64 l0stallsMs atomic.Int64 levels []*levelHandler kv *DB cstatus compactStatus }",
		"levelHandler": "struct { sync.RWMutex tables []*table.Table totalSize int64 totalStaleSize int64 l0stall *sync.Cond level int strLevel string " +
			"db *DB }",

		"errFillTables":                           `errors.New("` + fillMessage + `")`,
		"(*levelsController).doCompact":           "func(id int, p compactionPriority) error",
		"(*levelsController).levelTargets":        "func() targets",
		"(*levelsController).pickCompactLevels":   "func(priosBuffer []compactionPriority) (prios []compactionPriority)",
		"(*levelsController).fillTablesL0ToLbase": "func(cd *compactDef) bool",
		"(*levelsController).fillTables":          "func(cd *compactDef) bool",
		"(*compactStatus).compareAndAdd":          "func(_ thisAndNextLevelRLocked, cd compactDef) bool",
		"(*compactStatus).delete":                 "func(cd compactDef)",
		"(*levelsController).addLevel0Table":      "func(t *table.Table) error",
		"(*levelHandler).replaceTables":           "func(toDel, toAdd []*table.Table) error",
		"(*levelHandler).deleteTables":            "func(toDel []*table.Table) error",
		"(*levelHandler).signalL0Drained":         "func()",
		"(*manifestFile).addChanges":              "func(changesParam []*pb.ManifestChange, opt Options) error",
		"(*valueLog).updateDiscardStats":          "func(stats map[uint32]int64)",
		"buildTableOptions":                       "func(db *DB) table.Options",
		"valuePointer":                            "struct { Fid uint32 Len uint32 Offset uint32 }",
	} {
		if found[name] != want {
			t.Errorf("Badger's %s is\n%s\nand was\n%s", name, found[name], want)
		}
	}
}

// declarations returns the package's types, methods and variables, each on one line.
func declarations(t *testing.T, dir string) map[string]string {
	found := make(map[string]string)
	files, fset := token.NewFileSet(), token.NewFileSet()
	text := func(n any) string {
		var b strings.Builder
		printer.Fprint(&b, files, n)
		return strings.Join(strings.Fields(strings.ReplaceAll(b.String(), "struct {\n}", "struct{}")), " ")
	}
	for _, name := range []string{"compaction.go", "levels.go", "level_handler.go", "manifest.go", "value.go", "structs.go", "options.go", "db.go"} {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					found["("+text(d.Recv.List[0].Type)+")."+d.Name.Name] = text(d.Type)
				} else {
					found[d.Name.Name] = text(d.Type)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						found[s.Name.Name] = text(s.Type)
					case *ast.ValueSpec:
						if len(s.Values) == 1 {
							found[s.Names[0].Name] = text(s.Values[0])
						}
					}
				}
			}
		}
	}
	return found
}

// A layout that is not the known one is noticed.
func TestLayoutCheck(t *testing.T) {
	lc, _ := reflect.TypeFor[badger.DB]().FieldByName("lc")
	real := lc.Type.Elem()
	if err := sameLayout(real, reflect.TypeFor[mirrorController](), true); err != nil {
		t.Fatal(err)
	}
	for _, other := range []reflect.Type{
		reflect.TypeFor[struct {
			nextFileID, l0stallsMs uint64
			levels                 []*mirrorLevel
			kv                     unsafe.Pointer
		}](),
		reflect.TypeFor[struct {
			l0stallsMs, nextFileID uint64
			levels                 []*mirrorLevel
			kv                     unsafe.Pointer
			cstatus                mirrorStatus
		}](),
		reflect.TypeFor[struct {
			nextFileID, l0stallsMs uint64
			levels                 []*mirrorLevel
			kv                     unsafe.Pointer
			cstatus                struct {
				sync.RWMutex
				tables map[uint64]struct{}
				levels []unsafe.Pointer
			}
		}](),
	} {
		if sameLayout(real, other, true) == nil {
			t.Errorf("%v passes for %v", other, real)
		}
	}
}

// tree writes keys into Badger's last level: n of each of some kinds.
func tree(t testing.TB, s *Store, n int, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		for i := range n {
			set(t, s, fmt.Sprintf("%s%06d", kind, i), strings.Repeat("v", 200)+fmt.Sprint(i))
		}
	}
	settle(t, s)
}

// settle brings all that is in memory into the last level.
func settle(t testing.TB, s *Store) {
	t.Helper()
	flushAndSync(t, s)
	must(t, s.Rotate(nil))
	must(t, s.Barrier())
	patiently(t, func() error { _, err := s.MergeLevel0(nil); return err })
}

func ofLevel(s *Store, level int) (tables []Table) {
	for _, table := range s.Tables() {
		if table.Level == level {
			tables = append(tables, table)
		}
	}
	return tables
}

func TestRewriteDropsAPrefix(t *testing.T) {
	dir, log := t.TempDir(), &memLog{}
	s := openStore(t, dir, small(), log)
	tree(t, s, 5000, "sa", "sb", "sc")
	tables := ofLevel(s, LastLevel)
	if len(tables) < 2 {
		t.Fatalf("%d tables in the last level: %v", len(tables), s.Tables())
	}
	done, err := s.RewriteTables(tables, [][]byte{[]byte("sb")})
	must(t, err)
	if done.Tables != len(tables) || done.Dropped < 5000 || done.Dropped > 5500 || done.After >= done.Before*3/4 { // and some fillers
		t.Errorf("%+v of %d tables", done, len(tables))
	}
	check := func() {
		t.Helper()
		s.DropCache()
		for i := range 5000 {
			want := strings.Repeat("v", 200) + fmt.Sprint(i)
			if a, b, c := get(t, s, fmt.Sprintf("sa%06d", i)), get(t, s, fmt.Sprintf("sb%06d", i)), get(t, s, fmt.Sprintf("sc%06d", i)); a != want || b != "" || c != want {
				t.Fatalf("%d: %q, %q, %q", i, a, b, c)
			}
		}
	}
	check()
	must(t, s.Reload())
	check()
	if again, err := s.RewriteTables(tables, nil); err != nil || again != (Rewritten{}) {
		t.Errorf("tables that are gone: %+v, %v", again, err)
	}
}

// Deletions above what they delete, in a level of their own, and both go.
func TestPushDown(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	tree(t, s, 5000, "sa")
	for i := range 4500 {
		del(t, s, fmt.Sprintf("sa%06d", i))
	}
	flushAndSync(t, s)
	must(t, s.Rotate(nil))
	must(t, s.Barrier())
	if n := len(ofLevel(s, 0)); n == 0 {
		t.Fatal("nothing in level 0")
	}
	var done Rewritten
	patiently(t, func() (err error) { done, err = s.MergeLevel0(nil); return err })
	if done.Dropped < 9000 {
		t.Errorf("%+v: 4500 records and their deletions were to go", done)
	}
	for i := range 5000 {
		if has := get(t, s, fmt.Sprintf("sa%06d", i)) != ""; has != (i >= 4500) {
			t.Fatalf("%d: %v", i, has)
		}
	}
}

// Writers, readers and Badger's own compactions go on while everything is rewritten again and again.
func TestRewriteAmongOthers(t *testing.T) {
	o := small()
	o.GenerationRecords = 2000
	s := openStore(t, t.TempDir(), o, &memLog{})
	tree(t, s, 6000, "sa", "sb")
	rounds := 20
	if testing.Short() {
		rounds = 10
	}
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() { // sa changes, sb stays
		for i := 0; !stop.Load(); i++ {
			key := fmt.Sprintf("sa%06d", rand.IntN(6000))
			if i%3 == 0 {
				del(t, s, key)
			} else {
				set(t, s, key, fmt.Sprint(i))
			}
			time.Sleep(50 * time.Microsecond)
		}
	})
	for range 2 {
		all.Go(func() {
			for i := 0; !stop.Load(); i++ {
				s.cache.reset()
				time.Sleep(50 * time.Microsecond)
				n := i % 6000
				if got, want := get(t, s, fmt.Sprintf("sb%06d", n)), strings.Repeat("v", 200)+fmt.Sprint(n); got != want {
					t.Errorf("sb%06d is %q", n, got)
					return
				}
			}
		})
	}
	busy := 0
	for round := range rounds {
		if round%5 == 4 {
			settle(t, s)
		}
		tables := ofLevel(s, LastLevel)
		for i := 0; i < len(tables); i += 2 {
			if _, err := s.RewriteTables(tables[i:min(i+2, len(tables))], nil); err == ErrBusy {
				busy++
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	stop.Store(true)
	all.Wait()
	t.Logf("%d rounds, busy %d times, %d tables", rounds, busy, len(s.Tables()))
}

//go:linkname badgerDoCompact github.com/dgraph-io/badger/v4.(*levelsController).doCompact
func badgerDoCompact(s *mirrorController, id int, p mirrorPriority) error

// Badger, where it has compactors of its own, merges new tables of level 0 with each other while older ones are on their way down to an empty tree. What
// it finds deleted there must not lose its deletion: what that deletes is on that way.
func TestDeletionsSurviveTheFirstMerge(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	for i := range 100 {
		set(t, s, fmt.Sprintf("s%03d", i), "v")
	}
	must(t, s.Rotate(nil))
	r := s.disk.reached
	this, targets := r.lc.levels[0], badgerLevelTargets(r.lc)
	old := slices.Clone(this.tables)
	over := rangeOf(old)
	down := mirrorDef{compactorId: 1, t: targets, thisLevel: this, nextLevel: r.lc.levels[targets.baseLevel], top: old, thisRange: over, nextRange: over}
	if !badgerCompareAndAdd(&r.lc.cstatus, struct{}{}, down) {
		t.Fatal("level 0 is busy")
	}
	for i := range 100 {
		del(t, s, fmt.Sprintf("s%03d", i))
	}
	for range 5 {
		must(t, s.Rotate(nil))
	}
	must(t, s.Barrier())
	this.Lock()
	for _, table := range this.tables {
		table.CreatedAt = table.CreatedAt.Add(-time.Minute) // Badger leaves fresh ones alone
	}
	before := len(this.tables)
	this.Unlock()
	must(t, badgerDoCompact(r.lc, 0, mirrorPriority{score: 1.1, adjusted: 0.5})) // too little for the base level: within level 0
	this.RLock()
	after := len(this.tables)
	this.RUnlock()
	if after >= before {
		t.Fatalf("%d → %d tables", before, after)
	}
	_, err := r.merge(0, targets.baseLevel, down, s.terms(nil))
	must(t, err)
	s.DropCache()
	for i := range 100 {
		if value := get(t, s, fmt.Sprintf("s%03d", i)); value != "" {
			t.Fatalf("s%03d is seen again: %q", i, value)
		}
	}
}

// Tables of level 0 that have no keys in common are merged with it all the same.
func TestMergeLevel0TakesAll(t *testing.T) {
	o := small()
	o.GenerationRecords, o.StraightBytes, o.FlushInterval = 1<<20, 300<<10, 1<<40
	s := openStore(t, t.TempDir(), o, &memLog{})
	alone(s)
	for _, kind := range []string{"sa", "sb", "sc", "sf", "se", "sd"} { // the first ones pass the memtable
		for i := range 1000 {
			set(t, s, fmt.Sprintf("%s%06d", kind, i), strings.Repeat("v", 500)+fmt.Sprint(i))
		}
		flushAndSync(t, s)
	}
	if n := len(ofLevel(s, 0)); s.straight.taken.Load() < 2 || n < 3 {
		t.Fatalf("%d went straight, %d tables in level 0", s.straight.taken.Load(), n)
	}
	patiently(t, func() error { _, err := s.MergeLevel0(nil); return err })
	if left := ofLevel(s, 0); len(left) != 0 {
		t.Errorf("left in level 0: %v", left)
	}
}
