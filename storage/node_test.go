package storage

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func openedDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(OSFS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNodeIsDurable(t *testing.T) {
	const cluster = "0123456789abcdef0123456789abcdef"
	path := t.TempDir()
	d := openedDir(t, path)
	alone := d.Node()
	if len(alone.ID) != 32 || alone.ClusterID != "" || d.HashSeed() != d.Seed() {
		t.Fatalf("%+v", alone)
	}
	promise := Promise{Founder: "f", Addr: "f:1", Boot: "b"}
	if err := d.SetPromise(promise); err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = openedDir(t, path)
	if got := d.Node(); got.Promised != promise || got.ID != alone.ID {
		t.Fatalf("%+v", got)
	}
	seed := [16]byte{1, 2, 3}
	want := Node{ID: alone.ID, ClusterID: cluster, Epoch: 1, Addr: "a:1", Founders: []Founder{{alone.ID, "a:1"}, {"other", "b:1"}}}
	if err := d.Join(cluster, 1, seed, "a:1", want.Founders); err != nil {
		t.Fatal(err)
	}
	if err := d.Join(cluster, 1, seed, "a:1", nil); err == nil {
		t.Fatal("it joined twice")
	}
	own := d.Seed()
	reopen := func() {
		t.Helper()
		d.Close()
		d = openedDir(t, path)
		if got := d.Node(); !reflect.DeepEqual(got, want) || d.HashSeed() != seed || d.Seed() != own || seed == own {
			t.Fatalf("%+v, %x; want %+v", got, d.HashSeed(), want)
		}
	}
	reopen()
	for _, change := range []struct {
		do   func() error
		then func()
	}{
		{func() error { return d.SetAddr("a:2") }, func() { want.Addr = "a:2" }},
		{d.Settle, func() { want.Founders = nil }},
		{func() error { return d.SetEpoch(2) }, func() { want.Epoch = 2 }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		change.then()
		reopen()
	}
	if err := d.SetEpoch(2); err == nil {
		t.Error("an epoch began twice")
	}
	d.Close()
	var hashes *[16]byte
	report, err := Check(OSFS{}, path, Checks{Log: noLog, Records: func(seed *[16]byte) RecordChecker { hashes = seed; return anyRecord{} }})
	if err != nil || report.Damaged() || hashes == nil || *hashes != seed {
		t.Error(err, report, hashes)
	}
}

// TestNodeOfBefore: a directory whose node.json knows of no clusters goes on, and one that is alone needs none.
func TestNodeOfBefore(t *testing.T) {
	path := t.TempDir()
	d := openedDir(t, path)
	d.Close()
	file := filepath.Join(path, nodeFile)
	if err := os.WriteFile(file, []byte("{\"ID\":\"b7a1f0c2d3e4958677889900aabbccdd\"}\n4ea4a69c\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	d = openedDir(t, path)
	if d.Node().ID != "b7a1f0c2d3e4958677889900aabbccdd" {
		t.Error(d.Node())
	}
	d.Close()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d = openedDir(t, path)
	defer d.Close()
	if len(d.Node().ID) != 32 {
		t.Error(d.Node())
	}
	if err := d.Join("0123456789abcdef0123456789abcdef", 1, [16]byte{}, "a:1", nil); err != nil {
		t.Fatal(err)
	}
}

func TestNodeOfAClusterIsNeeded(t *testing.T) {
	for name, harm := range map[string]func(file string) error{
		"gone": os.Remove,
		"cut":  func(file string) error { return os.Truncate(file, 5) },
		"newer": func(file string) error {
			return writeChecked(OSFS{}, file, nodeRecord{ID: "x", Format: nodeFormat + 1})
		},
	} {
		path := t.TempDir()
		d := openedDir(t, path)
		if err := d.Join("0123456789abcdef0123456789abcdef", 1, [16]byte{}, "a:1", nil); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if err := harm(filepath.Join(path, nodeFile)); err != nil {
			t.Fatal(err)
		}
		var refused *RefusedError
		if _, err := OpenDir(OSFS{}, path); !errors.As(err, &refused) || !strings.Contains(refused.Reason, nodeFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestJoiningCutShort: after a power cut between its two writes the directory belongs to no cluster, and can join.
func TestJoiningCutShort(t *testing.T) {
	path := t.TempDir()
	d := openedDir(t, path)
	before, err := os.ReadFile(filepath.Join(path, nodeFile))
	if err != nil {
		t.Fatal(err)
	}
	const cluster = "0123456789abcdef0123456789abcdef"
	if err := d.Join(cluster, 1, [16]byte{7}, "a:1", nil); err != nil {
		t.Fatal(err)
	}
	id := d.Node().ID
	d.Close()
	if err := os.WriteFile(filepath.Join(path, nodeFile), before, 0o640); err != nil {
		t.Fatal(err)
	}
	d = openedDir(t, path)
	defer d.Close()
	if got := d.Node(); got.ClusterID != "" || got.ID != id || d.HashSeed() != d.Seed() {
		t.Fatalf("%+v", got)
	}
	if err := d.Join(cluster, 1, [16]byte{7}, "a:1", nil); err != nil {
		t.Fatal(err)
	}
}
