package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// anyRecord is a RecordChecker for records that only these tests write.
type anyRecord struct{}

func (anyRecord) Record(key, value []byte) string             { return "" }
func (anyRecord) End(map[uint32]Tally, uint64) []string       { return nil }
func (anyRecord) Name(key []byte) string                      { return fmt.Sprintf("%q", key) }
func noLog(FS, string, [16]byte, LogKnown) ([]Finding, error) { return nil, nil }

func checkStore(t *testing.T, dir string) *Report {
	t.Helper()
	report, err := Check(OSFS{}, dir, Checks{Log: noLog, Records: func(*[16]byte) RecordChecker { return anyRecord{} }})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// filledStore leaves a data directory: tables after a clean stop; with kill, a memtable log as well.
func filledStore(t *testing.T, kill bool) string {
	t.Helper()
	dir := t.TempDir()
	l := &memLog{}
	for life := range 2 {
		d, err := OpenDir(OSFS{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(d, small())
		if err != nil {
			t.Fatal(err)
		}
		l.store, l.term = s, 1
		if err := s.Begin(l, 1, uint64(len(l.entries))); err != nil {
			t.Fatal(err)
		}
		l.applied = int(s.ReplayFrom()) - 1
		if err := l.commit(len(l.entries)); err != nil {
			t.Fatal(err)
		}
		s.Lead(1)
		for i := range 400 {
			set(t, s, metaKey(0, i, fmt.Sprint("key", i)), strings.Repeat(fmt.Sprint(life), 50))
			if i%7 == 0 {
				del(t, s, metaKey(0, i, fmt.Sprint("key", i)))
			}
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.Barrier(); err != nil {
			t.Fatal(err)
		}
		if life == 1 && kill {
			// What a kill leaves: Badger's files as they are, while it has them open.
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close(false); d.Close() })
			return copied
		}
		if err := s.Close(true); err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	return dir
}

func TestCheckOfSoundStores(t *testing.T) {
	for _, kill := range []bool{false, true} {
		dir := filledStore(t, kill)
		before := listing(t, dir)
		report := checkStore(t, dir)
		if len(report.Findings) > 0 || report.Tables == 0 || report.Records < 700 || report.Applied == 0 || report.Applied != report.Durable {
			t.Errorf("kill %v: %+v", kill, report)
		}
		if after := listing(t, dir); after != before {
			t.Errorf("kill %v: the check changed something:\n%s\nwas\n%s", kill, after, before)
		}
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, path, st.Size(), st.ModTime().UnixNano())
		return nil
	})
	return b.String()
}

func TestCheckRefuses(t *testing.T) {
	refuses := func(dir, reason string) {
		t.Helper()
		var refused *RefusedError
		if _, err := Check(OSFS{}, dir, Checks{}); !errors.As(err, &refused) || !strings.Contains(refused.Reason, reason) {
			t.Errorf("%v; want a refusal with %q", err, reason)
		}
	}
	used := t.TempDir()
	d, err := OpenDir(OSFS{}, used)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	refuses(used, "in use")
	strange := t.TempDir()
	os.WriteFile(filepath.Join(strange, "letter.txt"), []byte("Dear"), 0o640)
	refuses(strange, "not a data directory")
	if _, err := Check(OSFS{}, filepath.Join(strange, "nowhere"), Checks{}); err == nil {
		t.Error("a directory that is not there was checked")
	}
	if report := checkStore(t, t.TempDir()); report.Damaged() {
		t.Errorf("an empty directory is damaged: %v", report.Findings)
	}
}

// TestDamageIsFound does one of everything; e2e/damage does it at random.
func TestDamageIsFound(t *testing.T) {
	const table = "badger-1/000001.sst"
	for _, c := range []struct {
		name   string
		kill   bool
		harm   func(t *testing.T, dir string)
		want   string // in a finding
		note   bool   // … which is a note
		starts bool
	}{
		{name: "FORMAT flipped", harm: flip("FORMAT", 3), want: "FORMAT: the file is damaged"},
		{name: "CURRENT gone", harm: remove("CURRENT"), want: "CURRENT: the file is missing"},
		{name: "node.json cut", harm: cut("node.json", 5), want: "node.json: the file is damaged", starts: true},
		{name: "durable flipped", harm: flip("badger-1/durable", 9), want: "durable: the file is damaged"},
		{name: "MANIFEST flipped", harm: flip("badger-1/MANIFEST", 21), want: "MANIFEST: it cannot be read"},
		{name: "MANIFEST cut behind a record", harm: cut("badger-1/MANIFEST", 16), want: "Badger has lost data"},
		{name: "MANIFEST cut, memtable log has all", kill: true, harm: cut("badger-1/MANIFEST", 16), want: "a start would refuse it"},
		{name: "MANIFEST gone", harm: remove("badger-1/MANIFEST"), want: "MANIFEST: it cannot be read"},
		{name: "table gone", harm: remove(table), want: "MANIFEST names this table, but it is missing"},
		{name: "table empty", harm: cut(table, 0), want: "its end is malformed"},
		{name: "strange table", harm: add("badger-1/000099.sst"), want: "MANIFEST does not name this table", note: true, starts: true},
		{name: "table's first block", harm: flip(table, 9), want: "the block at offset 0 fails its checksum"},
		{name: "table's middle", harm: flip(table, 8000), want: "fails its checksum", starts: true},
		{name: "table's index", harm: flip(table, -100), want: "its index or bloom filter fails its checksum"},
		{name: "table's end", harm: flip(table, -1), want: "its end is malformed"},
		{name: "registry", harm: flip("badger-1/KEYREGISTRY", 20), want: "KEYREGISTRY"},
		{name: "discards", harm: cut("badger-1/DISCARD", 7), want: "DISCARD: it was cut"},
		{name: "value log's header", harm: flip("badger-1/000001.vlog", 2), want: "its header is damaged"},
		{name: "memtable log", kill: true, harm: flip("badger-1/00001.mem", 3000), want: "00001.mem at offset"},
		{name: "memtable log's end", kill: true, harm: cut("badger-1/00001.mem", 3000), want: "00001.mem at offset"},
		{name: "memtable log cut, without a note of its length", kill: true, harm: func(t *testing.T, dir string) {
			forgetNotes(t, dir)
			cut("badger-1/00001.mem", 3000)(t, dir)
		}, want: "Badger has lost data"},
		{name: "stranger", harm: add("letter.txt"), want: "not a file of sett's", note: true, starts: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filledStore(t, c.kill)
			c.harm(t, dir)
			report := checkStore(t, dir)
			if report.Damaged() == c.note || !strings.Contains(fmt.Sprint(report.Findings), c.want) {
				t.Errorf("%v; want %q", report.Findings, c.want)
			}
			if err := opens(dir); (err == nil) != c.starts || err != nil && !errors.As(err, new(*RefusedError)) {
				t.Errorf("start: %v; want one: %v", err, c.starts)
			}
		})
	}
}

func opens(dir string) error {
	d, err := OpenDir(OSFS{}, dir)
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := Open(d, small())
	if err != nil {
		return err
	}
	return s.Close(false)
}

// harm makes a func that changes a file's contents.
func harm(name string, change func(b []byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(name string, at int) func(*testing.T, string) {
	return harm(name, func(b []byte) []byte {
		b[(at+len(b))%len(b)] ^= 4
		return b
	})
}

func cut(name string, size int) func(*testing.T, string) {
	return harm(name, func(b []byte) []byte { return bytes.Clone(b[:size]) })
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, name)) }
}

func add(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { os.WriteFile(filepath.Join(dir, name), []byte("Dear"), 0o640) }
}

// forgetNotes leaves durable as a kill in the middle of a start does.
func forgetNotes(t *testing.T, dir string) {
	t.Helper()
	badger := filepath.Join(dir, badgerDir)
	r, err := readDurable(OSFS{}, badger)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeDurable(OSFS{}, badger, r.point(), 0, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCloseAfterDamage: Badger's read of a malformed record in the value log keeps the file locked, and its Close waits for that lock.
func TestCloseAfterDamage(t *testing.T) {
	dir, l := t.TempDir(), &memLog{}
	chunk := "b" + strings.Repeat("\x00", 12)
	life := func(name string, live func(t *testing.T, s *Store)) {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, dir, small(), l)
			live(t, s)
			if err := s.Close(true); err != nil {
				t.Error(err)
			}
		})
	}
	life("write", func(t *testing.T, s *Store) { set(t, s, chunk, strings.Repeat("x", 40<<10)) })
	life("begin another value log file", func(*testing.T, *Store) {}) // a start reads the last one
	harm("badger-1/000001.vlog", func(b []byte) []byte {
		b[recordFileHeader+5] |= 0x40 // the length of the value
		return b
	})(t, dir)
	life("read", func(t *testing.T, s *Store) {
		var r Reader
		err := s.Read(&r, step(func() error { _, err := r.Get([]byte(chunk)); return err }))
		if !errors.As(err, new(*CorruptError)) || s.Damage() == "" {
			t.Errorf("reading a damaged value: %v, damage %q", err, s.Damage())
		}
	})
}
