//go:build !sett_nolink

package storage

import (
	"fmt"
	"strings"
	"testing"
)

// What is deleted is counted where it lies, and so is what scans pass over; once it is compacted, neither is there any longer.
func TestDeletionsAreCounted(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	if s.CompactsRanges() != "" {
		t.Skip(s.CompactsRanges())
	}
	tree(t, s, 8000, "sa", "sb")
	tables := s.Tables()
	if n := len(ofLevel(s, LastLevel)); n < 2 {
		t.Fatalf("%d tables", n)
	}
	s.Deletions(tables) // from here on, by tables
	for i := range 2000 {
		del(t, s, fmt.Sprintf("sa%06d", i))
	}
	flushAndSync(t, s)
	v, err := s.View()
	must(t, err)
	it := v.Iterate([]byte("sa"), []byte("sb"))
	n := 0
	for ok := it.Seek([]byte("sa")); ok; ok = it.Next() {
		if want := strings.Repeat("v", 200) + fmt.Sprint(2000+n); string(it.Value()) != want {
			t.Fatalf("%s: %s", it.Key(), it.Value())
		}
		n++
	}
	must(t, it.Err())
	it.Close()
	v.Close()
	if n != 6000 {
		t.Errorf("a scan found %d", n)
	}
	ranges := s.Deletions(tables)
	first, last := ranges[0], ranges[len(ranges)-1]
	if first.Deleted != 2000 || first.Skipped < 2000 || last.Deleted != 0 || last.Upper != nil || len(ranges) != len(ofLevel(s, LastLevel)) {
		t.Errorf("counted: %+v", ranges)
	}
	share, err := s.DeadShare(ofLevel(s, LastLevel)[0], 64)
	must(t, err)
	want := 2000 / float64(ofLevel(s, LastLevel)[0].Records)
	if share < want-0.15 || share > want+0.15 {
		t.Errorf("dead share %v, want about %v", share, want)
	}
	settle(t, s)
	s.Compacted(first)
	if again := s.Deletions(s.Tables()); again[0].Deleted != 0 || again[0].Skipped > 0 {
		t.Errorf("after it was compacted: %+v", again)
	}
	if share, err := s.DeadShare(ofLevel(s, LastLevel)[0], 64); err != nil || share != 0 {
		t.Errorf("dead share %v, %v", share, err)
	}
}
