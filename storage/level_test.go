package storage

import (
	"errors"
	"path/filepath"
	"testing"
)

// TestLevelRises: a directory that an older build has made is this one's from its first use on, and not before.
func TestLevelRises(t *testing.T) {
	path := t.TempDir()
	open := func() *Dir {
		t.Helper()
		d, err := OpenDir(OSFS{}, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	d := open()
	d.format.Level = FeatureLevel - 1
	must(t, writeChecked(d.fs, filepath.Join(path, formatFile), d.format))
	d.Close()
	d = open()
	if d.format.Level != FeatureLevel-1 {
		t.Fatal("opening has changed it to", d.format.Level)
	}
	must(t, d.BeginUse())
	d.Close()
	if d = open(); d.format.Level != FeatureLevel {
		t.Fatal("level", d.format.Level)
	}
	d.format.Level++
	must(t, writeChecked(d.fs, filepath.Join(path, formatFile), d.format))
	d.Close()
	var refused *RefusedError
	if _, err := OpenDir(OSFS{}, path); !errors.As(err, &refused) {
		t.Fatalf("a newer level: %v", err)
	}
}
