package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scrubbed reads everything once.
func scrubbed(s *Store) (bytes int64, err error) {
	for c := s.NewScrub(); ; {
		n, err := c.Next()
		bytes += n
		if n == 0 || err != nil {
			return bytes, err
		}
	}
}

// toScrub is a store with tables and some files of the value log.
func toScrub(t *testing.T) *Store {
	t.Helper()
	s := openStore(t, t.TempDir(), smallFiles(), &memLog{})
	for i := range 2000 {
		set(t, s, metaKey(0, i, fmt.Sprint(i)), strings.Repeat("v", 400))
	}
	for id := range uint64(20) {
		putBlob(t, s, id, 4)
	}
	flushAndSync(t, s)
	if err := s.Rotate(nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// flipAt changes a byte of a file.
func flipAt(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

func TestScrubOfWhatIsWhole(t *testing.T) {
	s := toScrub(t)
	logs := valueLogFiles(s.dir())
	if len(logs) < 3 {
		t.Fatalf("%d files of the value log", len(logs))
	}
	bytes, err := scrubbed(s)
	if err != nil || s.Damage() != "" {
		t.Fatal(err, s.Damage())
	}
	least := s.TableBytes() / 2
	for _, f := range logs[:len(logs)-1] {
		least += f.size * 9 / 10
	}
	if bytes < least {
		t.Errorf("read %d bytes of at least %d", bytes, least)
	}
}

func TestScrubFindsAFlippedBit(t *testing.T) {
	for kind, ext := range map[string]string{"table": "*.sst", "value log": "*.vlog"} {
		t.Run(kind, func(t *testing.T) {
			s := toScrub(t)
			names, _ := filepath.Glob(filepath.Join(s.dir(), ext))
			flipAt(t, names[0], 1000)
			_, err := scrubbed(s)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || string(corrupt.Key) != filepath.Base(names[0]) {
				t.Errorf("a scrub says %v", err)
			}
			if !strings.HasPrefix(s.Damage(), filepath.Base(names[0])+": ") {
				t.Errorf("damage: %q", s.Damage())
			}
		})
	}
}

// What compactions and collections have removed since a scrub began is no damage, also in the moment in which Badger has cut it.
func TestScrubOfWhatHasGone(t *testing.T) {
	s := toScrub(t)
	c := s.NewScrub()
	for _, f := range c.files {
		if f.values && f.id%2 == 0 {
			if err := os.Truncate(filepath.Join(s.dir(), valueLogName(uint32(f.id))), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.files = append(c.files, scrubFile{id: 4711}, scrubFile{id: 4711, values: true})
	if err := os.WriteFile(filepath.Join(s.dir(), tableName(4712)), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.files = append(c.files, scrubFile{id: 4712})
	for {
		n, err := c.Next()
		if err != nil || s.Damage() != "" {
			t.Fatal(err, s.Damage())
		}
		if n == 0 {
			return
		}
	}
}

// Nor is it to those who look at a table to see whether compacting it is worth while. One that is in use is damaged by the same cut.
func TestTablesThatHaveGone(t *testing.T) {
	s := toScrub(t)
	live := s.Tables()[0]
	gone := live
	gone.ID = 4712
	if err := os.WriteFile(filepath.Join(s.dir(), tableName(gone.ID)), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	half := Range{Lower: live.First, Upper: live.Last}
	for name, look := range map[string]func() error{
		"its dead share":  func() error { _, err := s.DeadShare(gone, 8); return err },
		"bytes in ranges": func() error { _, err := s.BytesWithin(gone, half); return err },
	} {
		if err := look(); err != nil || s.Damage() != "" {
			t.Errorf("%s: %v, %q", name, err, s.Damage())
		}
	}
	f, whole, err := openTableFile(s.dir(), live.ID)
	must(t, err)
	defer f.Close()
	cut := &table{strings.NewReader(""), whole.index}
	if _, err := (openedTable{cut, s, gone.ID, gone.Level}).block(0); !errors.Is(err, errTablesMoved) {
		t.Errorf("a block: %v", err)
	}
	if _, err := (openedTable{cut, s, live.ID, live.Level}).block(0); !errors.As(err, new(*CorruptError)) {
		t.Errorf("a block of a table in use: %v", err)
	}
}
