package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Checks are the parts of a check that rooms above know how to do.
type Checks struct {
	// Log reads the whole log in dir. The file system it is given cannot write.
	Log func(fsys FS, dir string, seed [16]byte, known LogKnown) ([]Finding, error)
	// Records looks into the records. seed, of the hash in keys, is nil if FORMAT or node.json cannot tell it.
	Records func(seed *[16]byte) RecordChecker
}

// LogKnown is what the rest of a store says about its log.
type LogKnown struct {
	Durable  uint64 // the log may begin behind this entry
	Applied  uint64 // the log must reach this entry
	CleanEnd uint64 // the log's last entry at a clean stop; 0: there was none
	Copied   uint64 // up to this entry everything came as a copy: the log may end before it
}

// RecordChecker knows what records must look like, and what they say about each other.
type RecordChecker interface {
	// Record is told every record, in the order of keys, and returns what is wrong with it; "" is nothing.
	Record(key, value []byte) string
	// End returns what is wrong with the records as a whole, given each keyspace's counters and the next id.
	End(tallies map[uint32]Tally, nextID uint64) []string
	// Name is what the record with this key is called when an operator reads of it.
	Name(key []byte) string
}

// Finding is one thing that a check has to say.
type Finding struct {
	File   string // in the data directory
	Offset int64  // -1: none in particular
	Damage bool   // false: what a kill or power cut leaves, and the next start puts right
	What   string // what was found and what it means
	Do     string // what to do
}

func (f Finding) String() string {
	kind, at := "note", ""
	if f.Damage {
		kind = "DAMAGE"
	}
	if f.Offset >= 0 {
		at = fmt.Sprintf(" at offset %d", f.Offset)
	}
	return fmt.Sprintf("%s  %s%s: %s. %s.", kind, f.File, at, f.What, f.Do)
}

// Report is the outcome of a check.
type Report struct {
	Findings []Finding
	Omitted  int // further findings, beyond maxFindings
	Tables   int
	Records  int // of all versions
	Durable  uint64
	Applied  uint64

	damaged bool
}

// maxFindings bounds what a report says about a directory of which nothing is left.
const maxFindings = 1000

// Damaged tells whether anything is worse than what a kill or a power cut leaves.
func (r *Report) Damaged() bool { return r.damaged }

const (
	doRestore = "Restore a copy of the data directory"
	doNothing = "Nothing to do: the next start puts it right"
)

type checker struct {
	fs     FS
	path   string
	report *Report
	seed   *[16]byte // of the log
	hashes *[16]byte // of the hash in keys
	clean  uint64

	badger       string // Badger's directory, "" if CURRENT cannot tell
	durable      point
	durableKnown bool
	copied       uint64
	files        []badgerFile
	applied      point

	records    RecordChecker
	incomplete bool // some records could not be read: what follows from all of them is not known
}

// Check reads a data directory that nobody uses, to its last byte, and changes nothing. An error means that it could not be checked: it is in
// use (*RefusedError), no data directory, of a newer version, or not readable.
func Check(fsys FS, path string, checks Checks) (*Report, error) {
	c := &checker{fs: readOnly{fsys}, path: path, report: &Report{}}
	switch names, err := fsys.ReadDir(path); {
	case err != nil:
		return nil, fmt.Errorf("data directory: %w", err)
	case slices.Contains(names, formatFile):
	case (&Dir{fs: c.fs, path: path}).recognise() == nil:
		c.note(place{formatFile, -1}, doNothing, "the file is missing: the first start was cut short, or never came, and there are no data")
		return c.report, nil
	case !slices.Contains(names, currentFile) && !slices.Contains(names, logDir):
		return nil, refused("%s is not a data directory of sett", path)
	}
	lock, err := lockForCheck(filepath.Join(path, lockFile))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := c.systemFiles(); err != nil {
		return nil, err
	}
	c.records = checks.Records(c.hashes)
	if c.badger != "" {
		if err := c.badgerFiles(); err != nil {
			return nil, err
		}
	}
	c.log(checks)
	c.report.Durable, c.report.Applied = c.durable.Index, c.applied.Index
	return c.report, nil
}

// lockForCheck takes the lock of a data directory without leaving a trace. A nil file can be closed, too.
func lockForCheck(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, refused("%s is in use: stop the server first", filepath.Dir(path))
	}
	return f, nil
}

func (c *checker) found(f Finding) {
	c.report.damaged = c.report.damaged || f.Damage
	if len(c.report.Findings) == maxFindings {
		c.report.Omitted++
		return
	}
	c.report.Findings = append(c.report.Findings, f)
}

func (c *checker) damage(at place, do, what string, args ...any) {
	c.found(Finding{at.file, at.offset, true, fmt.Sprintf(what, args...), do})
}

func (c *checker) note(at place, do, what string, args ...any) {
	c.found(Finding{at.file, at.offset, false, fmt.Sprintf(what, args...), do})
}

// systemFiles checks our own small files.
func (c *checker) systemFiles() error {
	var format formatRecord
	switch ok := c.read(formatFile, &format, true); {
	case ok && (!knownFormat(format.Version) || format.Level > FeatureLevel):
		return refused("%s has disk format %d and feature level %d, this build knows %d and %d: use the sett that wrote it",
			c.path, format.Version, format.Level, FormatVersion, FeatureLevel)
	case ok:
		d := Dir{format: format}
		seed := d.Seed()
		c.seed = &seed
	}
	if err := c.node(format); err != nil {
		return err
	}
	var clean cleanRecord
	c.read(cleanFile, &clean, false)
	c.clean = clean.LogEnd
	if err := c.findBadger(); err != nil || c.badger == "" {
		return err
	}
	var durable durableRecord
	if c.read(filepath.Join(c.badger, durableFile), &durable, false) {
		if durable.Format > durableFormat {
			return refused("%s was written by a newer sett: use that one", c.file(c.badger, durableFile))
		}
		c.durable, c.copied, c.files, c.durableKnown = durable.point(), durable.Copied, durable.Files, true
	} else if there, err := c.fs.Exists(c.file(c.badger, durableFile)); err != nil {
		return err
	} else {
		c.durableKnown = !there // no barrier yet
	}
	return nil
}

// node checks node.json. In a cluster it knows what the hash in keys is seeded with.
func (c *checker) node(format formatRecord) error {
	var node nodeRecord
	read := c.read(nodeFile, &node, true)
	switch {
	case read && node.Format > nodeFormat:
		return refused("%s was written by a newer sett: use that one", c.file(nodeFile))
	case format.Version == FormatVersion || read && node.ClusterID == "":
		c.hashes = c.seed
	case read:
		c.hashes = new([16]byte)
		hex.Decode(c.hashes[:], []byte(node.HashSeed))
	}
	return nil
}

// read reads a checked file; must says that it is always there.
func (c *checker) read(name string, v any, must bool) bool {
	ok, err := readChecked(c.fs, c.file(name), v)
	switch {
	case err != nil:
		c.damage(place{name, -1}, doRestore, "the file is damaged: it cannot be read, or its checksum does not match")
	case !ok && must:
		c.damage(place{name, -1}, doRestore, "the file is missing")
	}
	return ok && err == nil
}

func (c *checker) file(names ...string) string {
	return filepath.Join(append([]string{c.path}, names...)...)
}

// findBadger finds Badger's directory, even if CURRENT is damaged, and names what has no business in a data directory.
func (c *checker) findBadger() error {
	var current currentRecord
	named := c.read(currentFile, &current, true)
	names, err := c.fs.ReadDir(c.path)
	if err != nil {
		return err
	}
	var candidates []string
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "badger-"):
			candidates = append(candidates, name)
		case strings.HasSuffix(name, ".tmp"):
		case !slices.Contains([]string{formatFile, lockFile, currentFile, cleanFile, nodeFile, logDir}, name):
			c.note(place{name, -1}, "Nothing to do, if you know what it is", "not a file of sett's")
		}
	}
	switch {
	case named && slices.Contains(candidates, current.Badger):
		c.badger = current.Badger
	case named:
		c.damage(place{current.Badger, -1}, doRestore, "CURRENT names this directory, but it is missing")
	case len(candidates) == 1:
		c.badger = candidates[0]
	}
	return nil
}

// log hands the log to who knows it. Without the seed it cannot be read.
func (c *checker) log(checks Checks) {
	if c.seed == nil || !c.durableKnown {
		c.note(place{logDir, -1}, doRestore, "the log was not checked, because FORMAT or durable is damaged")
		return
	}
	known := LogKnown{c.durable.Index, c.applied.Index, c.clean, c.copied}
	found, err := checks.Log(c.fs, c.file(logDir), *c.seed, known)
	if err != nil {
		c.damage(place{logDir, -1}, doRestore, "it cannot be read: %v", err)
	}
	for _, f := range found {
		c.found(f)
	}
}

// readOnly is a file system on which nothing can be changed.
type readOnly struct{ FS }

var errReadOnly = errors.New("a check changes nothing")

func (r readOnly) Open(path string) (File, error) {
	if _, ok := r.FS.(OSFS); ok {
		return openOSFile(path, os.O_RDONLY)
	}
	return r.FS.Open(path)
}

func (readOnly) Create(string) (File, error) { return nil, errReadOnly }
func (readOnly) Rename(string, string) error { return errReadOnly }
func (readOnly) Remove(string) error         { return errReadOnly }
func (readOnly) MkdirAll(string) error       { return errReadOnly }
func (readOnly) SyncDir(string) error        { return errReadOnly }

// badgerFiles checks Badger's files and all records in them.
func (c *checker) badgerFiles() error {
	entries, err := os.ReadDir(c.file(c.badger))
	if err != nil {
		return err
	}
	opened := func(e os.DirEntry) bool { return e.Name() == manifestName || holdsRecords(e) }
	if c.durable.Index == 0 && !slices.ContainsFunc(entries, opened) {
		return nil // a first start was cut short
	}
	damagedBefore := c.report.damaged
	c.report.damaged = false
	c.registry()
	tables := c.manifest(entries)
	c.checkRecords(entries, tables)
	// What a start would refuse is damage, whatever was found above.
	if err := checkBadgerFiles(c.file(c.badger), c.files, c.durable.Index); err != nil && !c.report.damaged {
		c.damage(place{c.badger, -1}, doRestore, "a start would refuse it: %v", err)
	}
	c.report.damaged = c.report.damaged || damagedBefore
	return nil
}

// registry checks the files of Badger's that are no use to us, but that it insists on.
func (c *checker) registry() {
	if checkRegistry(c.file(c.badger)) != nil {
		c.damage(place{filepath.Join(c.badger, registryName), -1}, "Restore it from a copy: it never changes", "its contents are not what Badger wrote")
	}
	if checkDiscards(c.file(c.badger)) != nil {
		c.damage(place{filepath.Join(c.badger, discardName), -1}, "Delete it: it holds statistics only", "it was cut")
	}
}

// manifest reads which tables there should be, by level, and compares them with those that are there.
func (c *checker) manifest(entries []os.DirEntry) (levels [][]uint64) {
	at := place{filepath.Join(c.badger, manifestName), -1}
	m, err := readManifest(c.file(c.badger))
	if err != nil {
		c.damage(at, doRestore, "it cannot be read (%v): nothing tells which tables belong to the store", err)
		c.incomplete = true
		return nil
	}
	if m.end < m.size {
		at.offset = m.end
		c.note(at, doNothing, "its last record is torn, as a power cut in the middle of writing leaves it")
	}
	there := make(map[uint64]bool)
	for _, e := range entries {
		id, ok := tableID(e.Name())
		if !ok {
			continue
		}
		there[id] = true
		if _, wanted := m.levels[id]; !wanted {
			c.note(place{filepath.Join(c.badger, e.Name()), -1}, "Nothing to do: the next start removes it",
				"MANIFEST does not name this table; a kill in the middle of writing one leaves that")
		}
	}
	for id, level := range m.levels {
		name := filepath.Join(c.badger, tableName(id))
		if !there[id] {
			c.damage(place{name, -1}, doRestore, "MANIFEST names this table, but it is missing")
			c.incomplete = true
			continue
		}
		for len(levels) <= level {
			levels = append(levels, nil)
		}
		levels[level] = append(levels[level], id)
	}
	return levels
}

// nameOf is what an operator knows a key of Badger's as.
func (c *checker) nameOf(key []byte) string {
	if len(key) <= versionBytes {
		return fmt.Sprintf("%q", key)
	}
	return c.records.Name(bytes.Clone(userKey(key)))
}
