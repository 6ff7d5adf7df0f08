package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestOSFS(t *testing.T) {
	var fsys OSFS
	dir := filepath.Join(t.TempDir(), "a", "b")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(fsys.MkdirAll(dir))
	path := filepath.Join(dir, "f")
	f, err := fsys.Create(path)
	check(err)
	if _, err := fsys.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second create: %v", err)
	}
	check(f.(interface{ Allocate(int64) error }).Allocate(100))
	_, err = f.WriteAt([]byte("hello"), 3)
	check(err)
	check(f.Sync())
	check(f.Truncate(7))
	if n, err := f.Size(); n != 7 || err != nil {
		t.Fatalf("size %d, %v", n, err)
	}
	check(f.Close())
	if st, _ := os.Stat(path); st.Mode().Perm()&^0o640 != 0 {
		t.Fatalf("mode %v", st.Mode())
	}

	f, err = fsys.Open(path)
	check(err)
	_, err = f.WriteAt([]byte("J"), 3)
	check(err)
	check(f.Close())
	data, err := fsys.ReadFile(path)
	check(err)
	if string(data) != "\x00\x00\x00Jell" {
		t.Fatalf("read %q", data)
	}
	check(fsys.Rename(path, filepath.Join(dir, "g")))
	check(fsys.SyncDir(dir))
	for name, want := range map[string]bool{"f": false, "g": true} {
		if there, err := fsys.Exists(filepath.Join(dir, name)); there != want || err != nil {
			t.Fatalf("%s exists: %v, %v", name, there, err)
		}
	}
	for range 2 {
		check(WriteFileAtomic(fsys, filepath.Join(dir, "c"), []byte("x")))
	}
	check(os.WriteFile(filepath.Join(dir, "c.tmp"), []byte("left behind"), 0o600))
	check(WriteFileAtomic(fsys, filepath.Join(dir, "c"), []byte("y")))
	names, err := fsys.ReadDir(dir)
	check(err)
	if !slices.Equal(names, []string{"c", "g"}) {
		t.Fatalf("names %q", names)
	}
	check(fsys.Remove(filepath.Join(dir, "c")))
	check(fsys.Remove(filepath.Join(dir, "g")))
	check(fsys.Remove(dir))
	if _, err := fsys.Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open: %v", err)
	}
}
