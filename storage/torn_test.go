package storage

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// lengthOffset is where the first record of a value log file has the highest byte of its value's length.
const lengthOffset = recordFileHeader + 5

// TestTornValueLogFiles: of the value log, a power cut may tear all files that were begun since the last barrier, not only the last one.
func TestTornValueLogFiles(t *testing.T) {
	o := smallFiles()
	o.BarrierInterval = time.Hour
	l, dir := &memLog{}, t.TempDir()
	s := openStore(t, dir, o, l)
	putBlob(t, s, 1, 4)
	flushAndSync(t, s)
	const blobs = 40
	for id := uint64(2); id <= blobs; id++ {
		putBlob(t, s, id, 4)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	torn := valueLogFiles(s.dir())[2]
	flipBit(t, filepath.Join(after, filepath.Base(s.dir()), valueLogName(torn.id)), torn.size/2)

	s = openStore(t, after, o, &memLog{entries: slices.Clone(l.entries)})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, f := range valueLogFiles(s.dir()) {
		if end, err := wholeValueLog(filepath.Join(s.dir(), valueLogName(f.id))); err != nil {
			t.Errorf("file %d can never be collected: %v at %d", f.id, err, end)
		}
	}
	for id := uint64(1); id <= blobs; id++ {
		for n := range uint32(4) {
			if get(t, s, chunkKey(id, n)) != chunkValue(id) {
				t.Errorf("chunk %d of blob %d is another one", n, id)
			}
		}
	}
}

// TestTornLengthKeepsNobodyFromClosing: Badger locks a file for good when a record's lengths are wrong, unless it verifies checksums. A replay
// comes across such records, which are no damage.
func TestTornLengthKeepsNobodyFromClosing(t *testing.T) {
	o, l, dir := smallFiles(), &memLog{}, t.TempDir()
	s := openStore(t, dir, o, l)
	for id := range uint64(20) {
		putBlob(t, s, id, 4)
	}
	flushAndSync(t, s)
	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	flipBit(t, filepath.Join(after, filepath.Base(s.dir()), valueLogName(valueLogFiles(s.dir())[0].id)), lengthOffset)

	s = openStore(t, after, o, &memLog{entries: slices.Clone(l.entries)})
	if key := []byte(chunkKey(0, 0)); s.disk.holds(key, []byte(chunkValue(0)), newest) {
		t.Error("the torn record is whole")
	}
	closed := make(chan error)
	go func() { closed <- s.Close(true) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		panic("the store does not close")
	}
}
