package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sett/e2e/process"
	"sett/internal/testport"
)

// snapshot says of everything in a folder what it is: name, kind, size, time of change, contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprint(" ", len(b), crc32.ChecksumIEEE(b))
		}
		found[path] = text
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

// refusal is a start as a user tries it, and what he meets.
type refusal struct {
	name string
	args []string
	code int
	says []string
}

// expect runs a refusal and compares the folder before and after.
func (r refusal) expect(t *testing.T, folder string) {
	t.Helper()
	before := snapshot(t, folder)
	// A server that is not refused would run forever.
	patience, end := context.WithTimeout(t.Context(), 20*time.Second)
	defer end()
	cmd := exec.CommandContext(patience, process.Binary, r.args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := process.ExitCode(cmd.Run())
	t.Logf("%s: %d, %s", r.name, code, bytes.TrimSpace(stderr.Bytes()))
	if code != r.code {
		t.Errorf("%s: exit code %d, want %d", r.name, code, r.code)
	}
	if stdout.Len() > 0 {
		t.Errorf("%s: standard output says %q", r.name, stdout.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "sett: ") {
			t.Errorf("%s: a line is not for users: %q", r.name, line)
		}
	}
	for _, text := range r.says {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("%s: it does not say %q", r.name, text)
		}
	}
	after := snapshot(t, folder)
	for path, text := range before {
		if after[path] != text {
			t.Errorf("%s: %s was %q, is %q", r.name, path, text, after[path])
		}
		delete(after, path)
	}
	for path := range after {
		t.Errorf("%s: %s is new", r.name, path)
	}
}

// sealed is a small file of sett: a line and its checksum.
func sealed(text string) []byte {
	return fmt.Appendf(nil, "%s\n%08x\n", text, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

// TestRefusedStart: nothing is there yet, so nothing may be there afterwards.
func TestRefusedStart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	dir, file := "dir="+filepath.Join(folder, "data"), filepath.Join(folder, "sett.toml")
	busy := process.New(t, filepath.Join(t.TempDir(), "data"))
	busy.Start()
	writeFile(t, file, []byte("port = 7000\n\n[storage]\nflush_intervall = \"1s\"\n"))
	bad := filepath.Join(folder, "bad.toml")
	writeFile(t, bad, []byte("appendfsync = \"sometimes\"\n"))
	broken := filepath.Join(folder, "broken.toml")
	writeFile(t, broken, []byte("port = \n"))
	for _, r := range []refusal{
		{"unknown command", []string{"serve"}, 2, []string{`"serve"`, "sett help"}},
		{"unknown option", []string{"--set", dir, "--verbose"}, 2, []string{"--verbose"}},
		{"unknown key in the file", []string{"--config", file, "--set", dir}, 2, []string{"flush_intervall", "flush_interval", file}},
		{"unknown key", []string{"--set", dir, "--set", "storage.flush=1s"}, 2, []string{"storage.flush"}},
		{"bad value in the file", []string{"--config", bad, "--set", dir}, 2, []string{"appendfsync", "sometimes", "everysec", bad}},
		{"bad value", []string{"--set", dir, "--set", "memory_budget=12 elephants"}, 2, []string{"memory_budget", "12 elephants"}},
		{"value out of range", []string{"--set", dir, "--set", "memory_budget=1MiB"}, 2, []string{"memory_budget", "128MiB"}},
		{"file that is no TOML", []string{"--config", broken, "--set", dir}, 2, []string{broken}},
		{"no such file", []string{"--config", filepath.Join(folder, "none.toml"), "--set", dir}, 2, []string{"none.toml"}},
		{"port in use", []string{"--set", dir, "--set", "port=" + busy.Port}, 1, []string{busy.Port, "address already in use"}},
		{"address of another machine", []string{"--set", dir, "--set", "port=" + testport.Take(t), "--set", "bind=192.0.2.1"}, 1, []string{"192.0.2.1"}},
		{"check without a directory", []string{"check"}, 2, []string{"check takes one data directory"}},
	} {
		r.expect(t, folder)
	}
}

// TestRefusedData: a data directory that must not be opened stays as it is.
func TestRefusedData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	n := process.New(t, dir, "log.segment_bytes=1MiB")
	n.Start()
	c := n.Dial()
	c.Want(t, "OK", "SET", "key", "value")
	args := []string{"--set", "dir=" + dir, "--set", "port=" + testport.Take(t)}

	// The other process is alive: only its own work may change anything, and it has none.
	c.Want(t, "OK", "DEBUG", "SETT", "FLUSH")
	refusal{"in use", args, 3, []string{dir, "in use by another process"}}.expect(t, dir)
	refusal{"check of a directory in use", []string{"check", dir}, 3, []string{dir, "in use"}}.expect(t, dir)
	c.Want(t, "value", "GET", "key")
	n.Stop()

	good := filepath.Join(t.TempDir(), "good")
	if err := os.CopyFS(good, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	format, err := os.ReadFile(filepath.Join(dir, "FORMAT"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(format), "\n")
	newer := func(from, to string) func() {
		changed := strings.Replace(line, from, to, 1)
		if changed == line {
			t.Fatalf("FORMAT is %q", line)
		}
		return func() { writeFile(t, filepath.Join(dir, "FORMAT"), sealed(changed)) }
	}
	flip := func(path string, at int) func() {
		return func() {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 0x10
			writeFile(t, path, b)
		}
	}
	remove := func(name string) func() {
		return func() {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, damage := range []struct {
		name string
		do   func()
		says []string
	}{
		{"newer FORMAT", newer(`"Version":8`, `"Version":10`), []string{dir, "disk format 10", "this build reads 8"}},
		{"older FORMAT", newer(`"Version":8`, `"Version":6`), []string{dir, "disk format 6", "this build reads 8"}},
		{"newer feature level", newer(`"Level":5`, `"Level":9`), []string{dir, "feature level 9", "newer sett"}},
		{"damaged FORMAT", flip(filepath.Join(dir, "FORMAT"), 5), []string{"FORMAT", "damaged", "sett check"}},
		{"damaged CURRENT", flip(filepath.Join(dir, "CURRENT"), 5), []string{"CURRENT", "damaged"}},
		{"damaged log", flip(segments[0], 4096+20), []string{filepath.Base(segments[0])}},
		{"no FORMAT", remove("FORMAT"), []string{dir, "no FORMAT", "damaged"}},
		{"no CURRENT", remove("CURRENT"), []string{dir, "CURRENT"}},
		{"no log", remove("log"), []string{"log"}},
		{"no Badger", remove("badger-1"), []string{"badger-1"}},
	} {
		damage.do()
		refusal{damage.name, args, 3, damage.says}.expect(t, dir)
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(good))); err != nil {
			t.Fatal(err)
		}
	}
	n.Start()
	n.Dial().Want(t, "value", "GET", "key")
}
