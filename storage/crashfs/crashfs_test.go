package crashfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"

	"sett/storage"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, f *FS, path string) storage.File {
	t.Helper()
	file, err := f.Create(path)
	must(t, err)
	return file
}

func write(t *testing.T, f storage.File, b byte, n int, offset int64) {
	t.Helper()
	_, err := f.WriteAt(bytes.Repeat([]byte{b}, n), offset)
	must(t, err)
}

// outcomes cuts often and counts what look sees.
func outcomes(f *FS, look func(*FS) string) map[string]int {
	seen := map[string]int{}
	for seed := range uint64(300) {
		seen[look(f.Cut(rand.New(rand.NewPCG(seed, 1))))]++
	}
	return seen
}

func expect(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("%q never came out: %v", w, seen)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("wanted %q, got %v", want, seen)
	}
}

// letters names a file's pages by their first byte.
func letters(f *FS, path string) string {
	data, err := f.ReadFile(path)
	if err != nil {
		return "none"
	}
	var s []byte
	for i := 0; i < len(data); i += PageBytes {
		if data[i] == 0 {
			s = append(s, '0')
			continue
		}
		s = append(s, data[i])
	}
	return string(s)
}

func TestPagesAreIndependent(t *testing.T) {
	f := New()
	file := create(t, f, "a")
	write(t, file, 'x', 2*PageBytes, 0)
	must(t, file.Sync())
	must(t, f.SyncDir("."))
	write(t, file, 'y', 2*PageBytes, 0)
	expect(t, outcomes(f, func(f *FS) string { return letters(f, "a") }), "xx", "xy", "yx", "yy")
}

func TestSizes(t *testing.T) {
	f := New()
	file := create(t, f, "a")
	write(t, file, 'x', PageBytes, 0)
	must(t, file.Sync())
	must(t, f.SyncDir("."))
	write(t, file, 'y', PageBytes, PageBytes)
	expect(t, outcomes(f, func(f *FS) string { return letters(f, "a") }), "x", "xy", "x0")

	f = New()
	file = create(t, f, "a")
	write(t, file, 'x', 2*PageBytes, 0)
	must(t, file.Sync())
	must(t, f.SyncDir("."))
	must(t, file.Truncate(PageBytes))
	expect(t, outcomes(f, func(f *FS) string { return letters(f, "a") }), "x", "xx")
}

func TestNames(t *testing.T) {
	f := New()
	must(t, f.MkdirAll("d"))
	must(t, f.SyncDir("."))
	a := create(t, f, "d/a")
	write(t, a, 'a', 1, 0)
	must(t, a.Sync())
	must(t, f.SyncDir("d"))
	b := create(t, f, "d/b")
	write(t, b, 'b', 1, 0)
	must(t, b.Sync())
	must(t, f.Rename("d/b", "d/a"))
	seen := outcomes(f, func(f *FS) string { return letters(f, "d/a") + letters(f, "d/b") })
	// The rename without the creation leaves the new file under its new name.
	expect(t, seen, "anone", "ab", "bnone")

	f = f.Kill()
	must(t, f.SyncDir("d"))
	expect(t, outcomes(f, func(f *FS) string { return letters(f, "d/a") + letters(f, "d/b") }), "bnone")
}

func TestRemoveAppliesToTheFileItMeant(t *testing.T) {
	f := New()
	a := create(t, f, "a")
	write(t, a, 'a', 1, 0)
	must(t, a.Sync())
	must(t, f.SyncDir("."))
	must(t, f.Remove("a"))
	b := create(t, f, "a")
	write(t, b, 'b', 1, 0)
	must(t, b.Sync())
	expect(t, outcomes(f, func(f *FS) string { return letters(f, "a") }), "a", "b", "none")
}

func TestDirectoriesAreNamesToo(t *testing.T) {
	f := New()
	must(t, f.MkdirAll("p/q"))
	file := create(t, f, "p/q/a")
	must(t, file.Sync())
	must(t, f.SyncDir("p/q"))
	must(t, f.SyncDir("p"))
	seen := outcomes(f, func(f *FS) string {
		there, _ := f.Exists("p/q/a")
		return map[bool]string{true: "there", false: "gone"}[there]
	})
	expect(t, seen, "there", "gone")
}

func TestOffAndKill(t *testing.T) {
	f := New()
	file := create(t, f, "a")
	write(t, file, 'x', 10, 0)
	next := f.Kill()
	if err := file.Sync(); !errors.Is(err, ErrOff) {
		t.Fatalf("sync after kill: %v", err)
	}
	if got := letters(next, "a"); got != "x" {
		t.Fatalf("after kill: %q", got)
	}
	expect(t, outcomes(next.Kill(), func(f *FS) string { return letters(f, "a") }), "none", "x", "0", "")

	next.CutAfter(1)
	next = next.Kill()
	next.CutAfter(1)
	must(t, next.MkdirAll("d"))
	if err := next.MkdirAll("e"); !errors.Is(err, ErrOff) {
		t.Fatalf("after CutAfter: %v", err)
	}
}

func TestFaultAndErrors(t *testing.T) {
	f := New()
	file := create(t, f, "a")
	boom := errors.New("boom")
	f.Fault(func(op, _ string) error {
		if op == "write" {
			return boom
		}
		return nil
	})
	if n, err := file.WriteAt(make([]byte, 10), 0); n != 5 || !errors.Is(err, boom) {
		t.Fatalf("failing write: %d %v", n, err)
	}
	f.Fault(nil)
	if _, err := f.Create("a"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second create: %v", err)
	}
	if _, err := f.Open("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open: %v", err)
	}
	if err := f.Remove("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("remove: %v", err)
	}
	if _, err := f.ReadDir("d"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("readdir: %v", err)
	}
}

func TestWriteFileAtomic(t *testing.T) {
	f := New()
	must(t, storage.WriteFileAtomic(f, "a", []byte("old")))
	for n := range 6 {
		next := f.Kill()
		f = f.Kill()
		next.CutAfter(n)
		err := storage.WriteFileAtomic(next, "a", []byte("newer"))
		for seed := range uint64(50) {
			data, rerr := next.Cut(rand.New(rand.NewPCG(seed, 2))).ReadFile("a")
			if rerr != nil || string(data) != "newer" && (string(data) != "old" || err == nil) {
				t.Fatalf("cut after %d: %q, %v (write: %v)", n, data, rerr, err)
			}
		}
	}
}
