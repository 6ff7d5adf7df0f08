package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// stair says what each room may import of ours. Imports go down only: main → server → replication → commands → types → ttl →
// storage; compaction stands beside it on storage; resp, rdb, config and threads import nothing, nor does what only tests use (internal); only main
// reads the configuration. A folder inside a room (storage/crashfs, replication/wal) belongs to the room.
var stair = map[string][]string{
	"main":        {"server", "replication", "commands", "types", "ttl", "storage", "compaction", "resp", "rdb", "config", "threads"},
	"server":      {"replication", "commands", "types", "ttl", "storage", "resp", "rdb", "threads"},
	"replication": {"commands", "types", "ttl", "storage", "resp", "rdb"},
	"commands":    {"types", "ttl", "storage", "resp", "rdb"},
	"types":       {"ttl", "storage"},
	"ttl":         {"storage", "threads"},
	"storage":     {"threads"},
	"compaction":  {"storage", "threads"},
	"resp":        {},
	"rdb":         {},
	"config":      {},
	"threads":     {},
	"internal":    {},
}

// besideTheStair may import anything, and nothing imports them: they use the server from outside.
var besideTheStair = []string{"e2e", "bench"}

func TestImportsGoDownOnly(t *testing.T) {
	for _, tags := range []string{"", "planted", "powercut"} { // what only tests build obeys as well
		for _, p := range ourPackages(t, tags) {
			from := room(p.ImportPath)
			if slices.Contains(besideTheStair, from) {
				continue
			}
			allowed, known := stair[from]
			if !known {
				t.Errorf("%s: there is no room %s in the house; draw it into the stair first", p.ImportPath, from)
				continue
			}
			for _, imported := range p.Imports {
				to := room(imported)
				if !ours(imported) || to == from || slices.Contains(allowed, to) {
					continue
				}
				t.Errorf("%s imports %s: %s may import only %s", p.ImportPath, imported, from, strings.Join(allowed, ", "))
			}
		}
	}
}

// TestStairIsStraight keeps the drawing itself honest: what a room may import never leads back to it.
func TestStairIsStraight(t *testing.T) {
	var visit func(at string, path []string)
	visit = func(at string, path []string) {
		if slices.Contains(path, at) {
			t.Fatalf("a circle: %s", strings.Join(append(path, at), " → "))
		}
		for _, below := range stair[at] {
			visit(below, append(slices.Clone(path), at))
		}
	}
	visit("main", nil)
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// ourPackages lists every package of the module with what its non-test files import.
func ourPackages(t *testing.T, tags string) (packages []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", tags, "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 2 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	return packages
}

func ours(path string) bool { return path == "sett" || strings.HasPrefix(path, "sett/") }

// room is the first folder of an import path; main is the module's root.
func room(path string) string {
	_, rest, inside := strings.Cut(path, "/")
	if !inside {
		return "main"
	}
	room, _, _ := strings.Cut(rest, "/")
	return room
}
