package storage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Badger repairs its files when it opens: a memtable log, or the last value log file, is cut at its first bad record, and of a MANIFEST
// with a torn end the tables named there are deleted, all without a word. After a power cut that is right, above the last barrier; below it
// it would be loss. So each barrier notes how far these files reached, and a start compares before Badger opens.

// badgerFile is a file of Badger as a barrier found it.
type badgerFile struct {
	Name  string
	Bytes int64  // of its beginning that are durable
	CRC   uint32 `json:",omitempty"` // of these bytes; only of the MANIFEST
}

const (
	manifestName      = "MANIFEST"
	recordFileHeader  = 20 // key id and initialisation vector, in front of memtable and value logs
	maxRecordKeyBytes = 1 << 16
)

// noteBadgerFiles tells how far Badger's files reach now. known is what the barrier before found: what it covers is not read again.
func noteBadgerFiles(dir string, known []badgerFile) ([]badgerFile, error) {
	var files []badgerFile
	names, err := recordFiles(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		from := int64(recordFileHeader)
		for _, k := range known {
			if k.Name == name {
				from = max(from, k.Bytes)
			}
		}
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // flushed into a table meanwhile
		}
		if err != nil {
			return nil, err
		}
		// The last record may be in the middle of being written.
		_, whole := walkRecords(f, from, false)
		f.Close()
		files = append(files, badgerFile{Name: name, Bytes: whole})
	}
	manifest, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	return append(files, badgerFile{manifestName, int64(len(manifest)), crc32.Checksum(manifest, castagnoli)}), nil
}

// recordFiles names the files that Badger may cut: all memtable logs and the last value log file.
func recordFiles(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	lastValueLog := ""
	for _, e := range entries { // sorted, and numbers have leading zeros
		switch {
		case strings.HasSuffix(e.Name(), ".mem"):
			names = append(names, e.Name())
		case strings.HasSuffix(e.Name(), ".vlog"):
			lastValueLog = e.Name()
		}
	}
	if lastValueLog != "" {
		names = append(names, lastValueLog)
	}
	return names, nil
}

// walkRecords reads records of a memtable or value log from an offset on. It returns where the last good one ends and where it begins.
//
// A record: meta(1) user meta(1) key length, value length, expiry (uvarints) · key · value · crc32c(4), as in Badger's structs.go.
func walkRecords(f io.ReaderAt, from int64, verify bool) (end, last int64) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, math.MaxInt64-from), 256<<10)
	crc := crc32.New(castagnoli)
	end, last = from, from
	for {
		head, _ := r.Peek(22)
		keyLen, valueLen, n := recordHead(head)
		if n == 0 || keyLen == 0 || keyLen > maxRecordKeyBytes {
			return end, last
		}
		body := int64(n) + int64(keyLen) + int64(valueLen)
		if verify {
			crc.Reset()
			var sum [4]byte
			if _, err := io.CopyN(crc, r, body); err != nil {
				return end, last
			}
			if _, err := io.ReadFull(r, sum[:]); err != nil || binary.BigEndian.Uint32(sum[:]) != crc.Sum32() {
				return end, last
			}
		} else if skipped, err := r.Discard(int(body) + 4); err != nil || int64(skipped) < body+4 {
			return end, last
		}
		last, end = end, end+body+4
	}
}

func recordHead(b []byte) (keyLen, valueLen uint64, n int) {
	if len(b) < 5 {
		return 0, 0, 0
	}
	at := 2
	var fields [3]uint64
	for i := range fields {
		v, w := binary.Uvarint(b[at:])
		if w <= 0 {
			return 0, 0, 0
		}
		fields[i], at = v, at+w
	}
	if fields[1] > math.MaxUint32 {
		return 0, 0, 0
	}
	return fields[0], fields[1], at
}

// checkBadgerFiles compares Badger's files with what they were at the last barrier, before Badger opens and repairs them.
func checkBadgerFiles(dir string, files []badgerFile) error {
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		if file.Name == manifestName {
			if err := checkManifest(path, file); err != nil {
				return err
			}
			continue
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // flushed into a table since
		}
		if err != nil {
			return err
		}
		end, _ := walkRecords(f, recordFileHeader, true)
		f.Close()
		if end < file.Bytes {
			return refused("%s is damaged at offset %d; it was durable up to %d. Restore a copy, or run `sett check`", path, end, file.Bytes)
		}
	}
	return nil
}

// checkManifest accepts a MANIFEST that begins as it did, and one that Badger has written anew since and that is good to its end.
func checkManifest(path string, was badgerFile) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return refused("Badger's MANIFEST cannot be read (%v): restore a copy", err)
	}
	if int64(len(b)) >= was.Bytes && crc32.Checksum(b[:was.Bytes], castagnoli) == was.CRC {
		return nil
	}
	if end, err := manifestEnd(path); err != nil || end != int64(len(b)) {
		return refused("%s is damaged. Restore a copy, or run `sett check`", path)
	}
	return nil
}

// manifestEnd returns how far a MANIFEST can be read.
func manifestEnd(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	_, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(filepath.Dir(path)))
	return end, err
}
