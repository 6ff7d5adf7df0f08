package powercut

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestSyncCoversWhatCameBefore writes a file while it is being synced: what came before the sync began survives every cut, what came later only
// some.
func TestSyncCoversWhatCameBefore(t *testing.T) {
	o := orders{Folder: t.TempDir()}
	for _, dir := range []string{o.base(), o.disk(), o.copies()} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(o.journal())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := &recorder{root: o.disk(), journal: &journal{out: out}, fuse: &fuse{}}
	f, err := r.Create(filepath.Join(o.disk(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := func(b byte) []byte { return bytes.Repeat([]byte{b}, pageBytes) }
	write := func(b byte, number int64) {
		if _, err := f.WriteAt(page(b), number*pageBytes); err != nil {
			t.Error(err)
		}
	}
	add := r.note // a sync that ends where it says
	write('a', 0)
	add(record{kind: syncingDir, at: 1})
	add(record{kind: syncing, file: 1, at: 2})
	write('b', 1)
	add(record{kind: synced, at: 1})
	add(record{kind: synced, at: 2})
	write('c', 2)
	add(record{kind: syncing, file: 1, at: 3}) // the kill comes before it has ended

	s, err := readScene(o)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for seed := range uint64(200) {
		to := filepath.Join(o.Folder, fmt.Sprint(seed))
		if err := s.cut(seed, to); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(to, "file"))
		if err != nil {
			t.Fatal(err)
		}
		what := ""
		for ; len(b) > 0; b = b[pageBytes:] {
			what += string(max(b[0], '0'))
		}
		seen[what]++
	}
	for what := range seen {
		if what[0] != 'a' {
			t.Errorf("a cut left %q", what)
		}
	}
	for _, what := range []string{"a", "a0c", "ab0", "abc"} {
		if seen[what] == 0 {
			t.Errorf("no cut left %q, but %v", what, seen)
		}
	}
}

// TestMappedFiles: a page of a file that Badger has mapped is the copy's or the present one; a young file may be absent, empty, or full of holes.
func TestMappedFiles(t *testing.T) {
	file := func(b ...byte) *pages {
		p := &pages{int64(len(b)) * pageBytes, map[int64][]byte{}}
		for i, b := range b {
			p.at[int64(i)*pageBytes] = bytes.Repeat([]byte{b}, pageBytes)
		}
		return p
	}
	seen := map[string]bool{}
	c := coin{rand.New(rand.NewPCG(1, 1)), 0.5}
	for range 300 {
		after := c.cutMapped(map[string]*pages{"old": file('a', 'a'), "gone": file('g')}, map[string]*pages{"old": file('b', 'b'), "young": file('y', 'y')})
		for _, name := range []string{"old", "young", "gone"} {
			what := name + ": "
			if p := after[name]; p == nil {
				what += "absent"
			} else {
				for offset := int64(0); offset < p.size; offset += pageBytes {
					what += string(append(p.at[offset], '0')[0])
				}
			}
			seen[what] = true
		}
	}
	for _, what := range []string{
		"old: aa", "old: ab", "old: ba", "old: bb", "young: absent", "young: ", "young: 00", "young: 0y", "young: y0", "young: yy", "gone: absent", "gone: ", "gone: g",
	} {
		if !seen[what] {
			t.Errorf("%q never happened", what)
		}
		delete(seen, what)
	}
	if len(seen) > 0 {
		t.Errorf("these must not happen: %v", seen)
	}
}
