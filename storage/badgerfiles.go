package storage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
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
	Birth uint32 `json:",omitempty"` // crc of the first manifestBirthBytes; only of the MANIFEST
}

const (
	manifestName = "MANIFEST"
	// A MANIFEST begins with magic(8), and length(4) and checksum(4) of its first record. Only when Badger writes it anew they change.
	manifestBirthBytes = 16

	maxPointedBytes   = 1 << 20 // of a record in the value log
	recordFileHeader  = 20      // key id and initialisation vector, in front of memtable and value logs
	recordHeadBytes   = 22      // at most
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
		_, whole := walkRecords(f, from, false, nil)
		f.Close()
		files = append(files, badgerFile{Name: name, Bytes: whole})
	}
	manifest, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	return append(files, badgerFile{manifestName, int64(len(manifest)), crc32.Checksum(manifest, castagnoli), manifestBirth(manifest)}), nil
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

// walkRecords reads records of a memtable or value log from an offset on, each key for visit. It returns where the last good one ends and
// where it begins.
//
// A record: meta(1) user meta(1) key length, value length, expiry (uvarints) · key · value · crc32c(4), as in Badger's structs.go.
func walkRecords(f io.ReaderAt, from int64, verify bool, visit func(key []byte)) (end, last int64) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, math.MaxInt64-from), 256<<10)
	crc := crc32.New(castagnoli)
	var key []byte
	end, last = from, from
	for {
		head, _ := r.Peek(recordHeadBytes)
		keyLen, valueLen, n := recordHead(head)
		if n == 0 || keyLen == 0 || keyLen > maxRecordKeyBytes {
			return end, last
		}
		body := int64(n) + int64(keyLen) + int64(valueLen)
		if visit != nil {
			begin, _ := r.Peek(n + int(keyLen))
			key = append(key[:0], begin[min(n, len(begin)):]...)
		}
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
		if visit != nil {
			visit(key)
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

// parseRecord reads the record that b begins with; n is 0 if there is none, or a bad one.
func parseRecord(b []byte) (r storedRecord, n int) {
	keyLen, valueLen, head := recordHead(b[:min(len(b), recordHeadBytes)])
	if head == 0 || keyLen <= versionBytes || keyLen > maxRecordKeyBytes {
		return r, 0
	}
	body := uint64(head) + keyLen + valueLen
	if body+4 > uint64(len(b)) || binary.BigEndian.Uint32(b[body:]) != crc32.Checksum(b[:body], castagnoli) {
		return r, 0
	}
	r.meta = b[0]
	r.key, r.value = b[head:head+int(keyLen)], b[head+int(keyLen):body]
	return r, int(body) + 4
}

func manifestBirth(b []byte) uint32 {
	return crc32.Checksum(b[:min(len(b), manifestBirthBytes)], castagnoli)
}

// manifest is what a MANIFEST says.
type manifest struct {
	levels    map[uint64]int // of each table
	end, size int64          // how far it can be read, and how long it is
}

func readManifest(dir string) (m manifest, err error) {
	f, err := os.Open(filepath.Join(dir, manifestName))
	if err != nil {
		return m, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return m, err
	}
	read, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	m.levels, m.end, m.size = make(map[uint64]int, len(read.Tables)), end, st.Size()
	for id, t := range read.Tables {
		m.levels[id] = int(t.Level)
	}
	return m, err
}

func tableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }

func tableID(name string) (id uint64, ok bool) {
	number, ok := strings.CutSuffix(name, ".sst")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(number, 10, 64)
	return id, err == nil
}

func valueLogName(id uint32) string { return fmt.Sprintf("%06d.vlog", id) }

// openTableFile opens a table of Badger's. The file is to be closed.
func openTableFile(dir string, id uint64) (*os.File, *table, error) {
	f, err := os.Open(filepath.Join(dir, tableName(id)))
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil {
		var t *table
		if t, err = openTable(f, st.Size()); err == nil {
			return f, t, nil
		}
	}
	f.Close()
	return nil, nil, err
}
