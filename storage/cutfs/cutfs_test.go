package cutfs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const childEnv = "SETT_CUTFS_CHILD"

func TestMain(m *testing.M) {
	if root := os.Getenv(childEnv); root != "" {
		child(root)
	}
	os.Exit(m.Run())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func page(b byte) []byte { return bytes.Repeat([]byte{b}, pageBytes) }

// child writes a file of four pages, syncs it, writes the second and a fifth, changes what Badger has mapped after its copy, and loses its power.
func child(root string) {
	f, err := New(root)
	must(err)
	must(f.MkdirAll(filepath.Join(root, "badger-1")))
	file, err := f.Create(filepath.Join(root, "new"))
	must(err)
	for i := range int64(4) {
		_, err = file.WriteAt(page('a'), i*pageBytes)
		must(err)
	}
	must(file.Sync())
	must(f.Rename(filepath.Join(root, "new"), filepath.Join(root, "file")))
	mapped := filepath.Join(root, "badger-1", "00001.mem")
	must(os.WriteFile(mapped, page('m'), 0o600))
	must(f.Copy(filepath.Join(root, "badger-1")))
	for _, i := range []int64{1, 4} {
		_, err = file.WriteAt(page('b'), i*pageBytes)
		must(err)
	}
	must(os.WriteFile(mapped, page('n'), 0o600))
	f.Cut()
}

// TestCut loses the power many times: what was synced is always there, and each page that was not sometimes.
func TestCut(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	seen := map[string]int{}
	for seed := range uint64(60) {
		must(os.RemoveAll(root))
		must(os.Mkdir(root, 0o750))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+root)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
			t.Fatalf("the child was not cut off: %s", out)
		}
		loss, err := Lose(root, rand.New(rand.NewPCG(seed, 0)))
		if err != nil {
			t.Fatal(err)
		}
		what := left(t, filepath.Join(root, "file")) + " " + left(t, filepath.Join(root, "badger-1", "00001.mem"))
		if differs := what != "abaab n"; differs && loss.Pages == 0 && len(what) == len("abaab n") {
			t.Errorf("%s is left, and no page counts as lost", what)
		}
		seen[what]++
	}
	for what := range seen {
		if what[0] != 'a' || what[2] != 'a' || what[3] != 'a' {
			t.Errorf("a cut left %q", what)
		}
	}
	text, _ := json.Marshal(seen)
	for _, what := range []string{"aaaa m", "abaab n", "abaa0 n", "aaaab n"} {
		if seen[what] == 0 {
			t.Errorf("no cut left %q, but %s", what, text)
		}
	}
	if _, err := Lose(root, rand.New(rand.NewPCG(0, 0))); err == nil {
		t.Error("a power cut that never was took something")
	}
}

func left(t *testing.T, path string) (what string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) > 0; b = b[pageBytes:] {
		what += string(max(b[0], '0'))
	}
	return what
}
