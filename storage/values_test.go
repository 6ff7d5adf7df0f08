package storage

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestLargeFlushUnderReaders: a generation with more values than a value log file holds must not move the file's mapping under the hands of
// those who read it.
func TestLargeFlushUnderReaders(t *testing.T) {
	o := small()
	o.ValueLogBytes, o.GenerationRecords, o.GenerationBytes, o.FlushInterval = 1<<20, 1<<20, 64<<20, time.Hour
	s := openStore(t, t.TempDir(), o, &memLog{})
	key := func(n int) string {
		return "b" + string(binary.BigEndian.AppendUint64(nil, uint64(n))) + "\x00\x00\x00\x00"
	}
	value := func(n int) string { return string(bytes.Repeat([]byte{byte(n) | 1, byte(n >> 8)}, 20<<10)) }
	const perFlush = 150 // 6 MiB
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for round := range 4 {
		for n := range perFlush {
			set(t, s, key(perFlush*round+n), value(perFlush*round+n))
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		last := perFlush*(round+1) - 1 // in the file that the next flush begins with
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s.DropCache()
				if got := get(t, s, key(last)); got != value(last) {
					t.Errorf("value %d: %d bytes", last, len(got))
					return
				}
			}
		})
	}
	close(stop)
	readers.Wait()
	for _, f := range valueLogFiles(s.dir()) {
		if f.size > 2*o.ValueLogBytes {
			t.Errorf("value log file %d has %d bytes: its mapping was moved", f.id, f.size)
		}
	}
	for n := range 4 * perFlush {
		if got := get(t, s, key(n)); got != value(n) {
			t.Fatalf("value %d is wrong", n)
		}
	}
}

// A table is as large as its file, whatever it refers to in the value log: that is what a compaction reads and writes.
func TestTablesWithoutTheirValues(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	for n := range 200 {
		set(t, s, "b"+string(binary.BigEndian.AppendUint64(nil, uint64(n)))+"\x00\x00\x00\x00", string(make([]byte, 40<<10)))
	}
	must(t, s.Flush())
	must(t, s.Rotate(nil))
	tables := s.Tables()
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	for _, table := range tables {
		info, err := os.Stat(filepath.Join(s.dir(), tableName(table.ID)))
		must(t, err)
		if off := info.Size() - table.Bytes; off < 0 || off > 4<<10 {
			t.Errorf("table %d: %d bytes, its file has %d", table.ID, table.Bytes, info.Size())
		}
	}
}
