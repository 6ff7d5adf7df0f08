package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// What a start looks at before Badger opens. Badger repairs by cutting and deleting, leaves tables out, ends the process where it finds a
// table's end malformed, and panics in goroutines of its own. So whatever it reads while it opens is read here first, and what is small but
// would matter beyond its own key: the system records. That takes milliseconds per GB; all the rest is for reads and for sett check.

const (
	registryName = "KEYREGISTRY"
	registryText = "Hello Badger"
	discardName  = "DISCARD"
	discardBytes = 1 << 20

	tablesAtOnce = 4
)

// preflight is one look at Badger's files.
type preflight struct {
	dir     string
	files   []badgerFile // as the last barrier found them
	witness []byte       // the applied record of the last barrier, as Badger keys it; nil: there was no barrier

	mu   sync.Mutex
	met  bool  // the witness was found
	fail error // the first one
}

// checkBadgerFiles refuses files of Badger's that are damaged, or that have lost what was durable.
func checkBadgerFiles(dir string, files []badgerFile, durable uint64) error {
	p := &preflight{dir: dir, files: files}
	if durable > 0 {
		p.witness = binary.BigEndian.AppendUint64([]byte(appliedKey), ^durable)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	m, err := p.manifest(entries)
	if err != nil || m == nil {
		return err
	}
	if err := cmp.Or(checkRegistry(dir), checkDiscards(dir)); err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".mem") || strings.HasSuffix(e.Name(), ".vlog") {
			if err := p.recordFile(e.Name()); err != nil {
				return err
			}
		}
	}
	if err := p.tables(m); err != nil {
		return err
	}
	if p.witness != nil && !p.met {
		return refused("Badger in %s has lost data: it was durable up to entry %d, and what was written there is gone. Restore a copy, or run `sett check`", dir, durable)
	}
	return nil
}

// manifest accepts a MANIFEST that begins as it did at the last barrier, and one that Badger has written anew since and that is good to its
// end. It returns nil for a Badger that never was opened.
func (p *preflight) manifest(entries []os.DirEntry) (*manifest, error) {
	path := filepath.Join(p.dir, manifestName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && p.witness == nil && !slices.ContainsFunc(entries, holdsRecords) {
		return nil, nil
	}
	if err != nil {
		return nil, refused("Badger's MANIFEST cannot be read (%v): restore a copy", err)
	}
	m, err := readManifest(p.dir)
	if err != nil {
		return nil, refused("%s is damaged (%v). Restore a copy, or run `sett check`", path, err)
	}
	for _, was := range p.files {
		if was.Name != manifestName || int64(len(b)) >= was.Bytes && crc32.Checksum(b[:was.Bytes], castagnoli) == was.CRC {
			continue
		}
		if manifestBirth(b) == was.Birth || m.end != m.size {
			return nil, refused("%s is damaged. Restore a copy, or run `sett check`", path)
		}
	}
	return &m, nil
}

func holdsRecords(e os.DirEntry) bool {
	return slices.Contains([]string{".sst", ".mem", ".vlog"}, filepath.Ext(e.Name()))
}

// recordFile checks a memtable or value log as far as the last barrier found it whole.
func (p *preflight) recordFile(name string) error {
	path := filepath.Join(p.dir, name)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, recordFileHeader)
	n, err := f.ReadAt(head, 0)
	if n == len(head) && !soundHead(head) {
		return refused("%s is damaged at its beginning. Restore a copy, or run `sett check`", path)
	}
	memtable := strings.HasSuffix(name, ".mem")
	if memtable && n == 0 && errors.Is(err, io.EOF) {
		return nil // it is in a table: Badger empties a memtable log before it removes it
	}
	i := slices.IndexFunc(p.files, func(was badgerFile) bool { return was.Name == name })
	if !memtable && i < 0 {
		return nil
	}
	end, _ := walkRecords(f, recordFileHeader, true, func(key []byte) { p.met = p.met || memtable && p.is(key) })
	if i >= 0 && end < p.files[i].Bytes {
		return refused("%s is damaged at offset %d; it was durable up to %d. Restore a copy, or run `sett check`", path, end, p.files[i].Bytes)
	}
	return nil
}

// soundHead tells whether a memtable or value log names no encryption key. Badger refuses one that does.
func soundHead(head []byte) bool { return binary.BigEndian.Uint64(head) == 0 }

func (p *preflight) is(key []byte) bool { return p.witness != nil && bytes.Equal(key, p.witness) }

// removeEmpty removes memtable and value logs without a byte. Badger was about to remove them, or had just created them, when the process was
// killed; it does not open with one.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".mem") && !strings.HasSuffix(e.Name(), ".vlog") {
			continue
		}
		st, err := e.Info()
		if err == nil && st.Size() == 0 {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tables checks the beginning and the end of all tables.
func (p *preflight) tables(m *manifest) error {
	ids := make(chan uint64)
	var workers sync.WaitGroup
	for range tablesAtOnce {
		workers.Go(func() {
			for id := range ids {
				met, err := p.table(id)
				p.mu.Lock()
				p.met = p.met || met
				if p.fail == nil {
					p.fail = err
				}
				p.mu.Unlock()
			}
		})
	}
	for id := range m.levels {
		ids <- id
	}
	close(ids)
	workers.Wait()
	return p.fail
}

// table checks a table's index with its bloom filter, its last block, which Badger reads for the last key, and the blocks with system records.
func (p *preflight) table(id uint64) (met bool, err error) {
	f, t, err := openTableFile(p.dir, id)
	if err != nil {
		return false, p.damagedTable(id, err)
	}
	defer f.Close()
	if _, err := t.block(t.blocks() - 1); err != nil {
		return false, p.damagedTable(id, err)
	}
	for i := range t.blocks() {
		if first, _, _ := t.firstKey(i); len(first) == 0 || first[0] > '!' {
			break
		}
		b, err := t.block(i)
		if err != nil {
			return false, p.damagedTable(id, err)
		}
		for j := range b.len() {
			if r, err := b.entry(j); err == nil {
				met = met || p.is(r.key)
			}
		}
	}
	return met, nil
}

func (p *preflight) damagedTable(id uint64, err error) error {
	return refused("%s is damaged: %v. Restore a copy, or run `sett check`", filepath.Join(p.dir, tableName(id)), err)
}

// checkRegistry checks the file of Badger's encryption keys. There are none; Badger refuses any other contents.
func checkRegistry(dir string) error {
	path := filepath.Join(dir, registryName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(b) != 16+len(registryText) || string(b[16:]) != registryText {
		return refused("%s is damaged. Restore it from a copy; it is the same in all copies of this directory", path)
	}
	return nil
}

// checkDiscards checks the size of the file in which Badger counts what is dead in the value log: a shorter one makes it panic. Its contents
// are hints.
func checkDiscards(dir string) error {
	path := filepath.Join(dir, discardName)
	st, err := os.Stat(path)
	if err == nil && st.Size() != 0 && st.Size() < discardBytes {
		return refused("%s is damaged. Delete it: it holds statistics only", path)
	}
	return nil
}
