//go:build !sett_nolink

package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sameAsBadger compares what the tables have of a record with Badger's own answer.
func sameAsBadger(t *testing.T, s *Store, key string, version uint64) {
	t.Helper()
	found, err := s.disk.getLocked([]byte(key), version)
	must(t, err)
	want, err := s.disk.ask([]byte(key), version)
	must(t, err)
	if !bytes.Equal(found, want) {
		t.Fatalf("%q at %d: %.40q is found, Badger says %.40q", key, version, found, want)
	}
}

// TestFindVersions: every version of a few records, in many blocks, in level 0, in the last level, and in both.
func TestFindVersions(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), small(), &memLog{})
	v, err := s.View() // nothing is superseded for those who see it
	must(t, err)
	defer v.Close()
	keys := []string{"m", "ma", "ma\x00", "mab", "mab\xff", "mb", "s", "sa", "sa1", "sz"}
	strangers := []string{"m\x00", "maa", "mabc", "mc", "s\x00\x00", "sa0", "sz\xff", "n"}
	first := s.Status().Flushed.Index
	for round := range 3 {
		for i := range 60 {
			for j, key := range keys {
				switch {
				case i%7 == j%7:
					del(t, s, key)
				case (i+j)%3 > 0:
					set(t, s, key, strings.Repeat(fmt.Sprint(i, key), 1+i*j))
				}
			}
			must(t, s.Flush())
		}
		for range 3 { // the filters of what is fresh go behind the memtables
			must(t, s.Rotate(nil))
		}
		must(t, s.Barrier())
		if round == 0 {
			patiently(t, func() error { _, err := s.MergeLevel0(nil); return err })
		}
		waitFresh(t, s)
		before := s.disk.fresh.direct.Load()
		last := s.Status().Flushed.Index
		for version := first; version <= last+1; version++ {
			s.disk.crowded = func() bool { return version%2 == 0 }
			for _, key := range append(keys, strangers...) {
				sameAsBadger(t, s, key, version)
			}
		}
		for _, key := range append(keys, strangers...) {
			sameAsBadger(t, s, key, newest)
		}
		if direct := s.disk.fresh.direct.Load() - before; direct < 10*(last-first) {
			t.Errorf("only %d were looked for in the tables, at %d versions", direct, last-first)
		}
	}
}

// waitFresh waits until what the last life has left in memtables is in tables.
func waitFresh(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); s.disk.fresh.broods.Load() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("memtables of the last life are not in tables")
		}
	}
}

// TestFindAmongOthers: records are found as Badger finds them while they are written, deleted, flushed, merged and rewritten.
func TestFindAmongOthers(t *testing.T) {
	o := small()
	o.GenerationRecords = 500
	s := openStore(t, t.TempDir(), o, &memLog{})
	const keys = 4000
	tree(t, s, keys, "sa", "m")
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; !stop.Load(); i++ {
			key := fmt.Sprintf("%s%06d", []string{"sa", "m"}[i&1], rand.IntN(keys))
			if i%5 == 0 {
				del(t, s, key)
			} else {
				set(t, s, key, strings.Repeat("n", 100+rand.IntN(300)))
			}
			if i%20 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	for range 2 {
		all.Go(func() {
			for !stop.Load() && !t.Failed() {
				v, err := s.View() // its version stays
				if err != nil {
					t.Error(err)
					return
				}
				for range 200 {
					key := []byte(fmt.Sprintf("%s%06d", []string{"sa", "m"}[rand.IntN(2)], rand.IntN(keys+keys/10)))
					at := v.base.Load()
					found, err := s.disk.getLocked(key, at)
					want, failed := s.disk.ask(key, at)
					if err != nil || failed != nil || !bytes.Equal(found, want) {
						t.Errorf("%q at %d: %.20q is found (%v), Badger says %.20q (%v)", key, at, found, err, want, failed)
						break
					}
				}
				v.Close()
			}
		})
	}
	rounds := 12
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		must(t, s.Rotate(nil))
		must(t, s.Barrier())
		if round%3 == 2 {
			if _, err := s.MergeLevel0(nil); err != nil && err != ErrBusy {
				t.Fatal(err)
			}
		}
		for _, table := range ofLevel(s, LastLevel) {
			if _, err := s.RewriteTables([]Table{table}, nil); err != nil && err != ErrBusy {
				t.Fatal(err)
			}
		}
	}
	stop.Store(true)
	all.Wait()
	if s.disk.fresh.direct.Load() == 0 {
		t.Error("nothing was looked for in the tables")
	}
}

// TestFindAfterRestarts: what the last life has left in memtables is found, and later in tables; also after a reload.
func TestFindAfterRestarts(t *testing.T) {
	dir, log := t.TempDir(), &memLog{}
	s := openStore(t, dir, small(), log)
	want := make(map[string]string)
	for life := range 4 {
		for i := range 300 {
			key := fmt.Sprintf("%c%03d", "ms"[i&1], rand.IntN(500))
			if i%4 == 0 {
				del(t, s, key)
				delete(want, key)
			} else {
				want[key] = fmt.Sprint(life, i)
				set(t, s, key, want[key])
			}
		}
		must(t, s.Flush())
		check := func() {
			t.Helper()
			s.DropCache()
			for i := range 500 {
				for _, key := range []string{fmt.Sprintf("m%03d", i), fmt.Sprintf("s%03d", i)} {
					if got := get(t, s, key); got != want[key] {
						t.Fatalf("life %d: %s is %q, want %q", life, key, got, want[key])
					}
				}
			}
		}
		check()
		if life%2 == 0 {
			must(t, s.Reload())
		} else {
			s = reopen(t, s, dir, log)
		}
		check()
		waitFresh(t, s)
		before := s.disk.fresh.direct.Load()
		check()
		if s.disk.fresh.direct.Load() == before {
			t.Errorf("life %d: nothing was looked for in the tables", life)
		}
	}
}

// BenchmarkFind: random records of 256 bytes, four of five in the last level, are found, and asked for as Badger does it.
func BenchmarkFind(b *testing.B) {
	o := small()
	o.GenerationRecords = 20_000
	s := openStore(b, b.TempDir(), o, &memLog{})
	keys := make([][]byte, 300_000)
	for i := range keys {
		hash := uint32(i) * 2654435761
		keys[i] = fmt.Appendf([]byte(metaKey(1, int(hash>>18), ""))[:7], "%s\x00name:%09d", binary.BigEndian.AppendUint32(nil, hash*31), i)
	}
	write := func(keys [][]byte) {
		for _, key := range keys {
			set(b, s, string(key), strings.Repeat("v", 256))
		}
		must(b, s.Flush())
		for range 3 {
			must(b, s.Rotate(nil))
		}
	}
	write(keys)
	must(b, s.Barrier())
	patiently(b, func() error { _, err := s.MergeLevel0(nil); return err })
	write(keys[:len(keys)/5])
	for name, get := range map[string]func([]byte, uint64) ([]byte, error){"tables": s.disk.getLocked, "badger": s.disk.ask} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if value, err := get(keys[rand.IntN(len(keys))], newest); err != nil || len(value) != 256 {
					b.Fatal(len(value), err)
				}
			}
		})
	}
	b.Log(len(s.Tables()), "tables,", s.disk.fresh.direct.Load(), "were found")
}
