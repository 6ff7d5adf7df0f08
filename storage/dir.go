package storage

import (
	"crypto/rand"
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

// Dir is a data directory:
//
//	FORMAT      version and the store's secret seed; a first start writes it last
//	LOCK        held by the process that uses the directory
//	CURRENT     names the Badger directory in use
//	CLEAN       the log's end, if the last stop was clean
//	log/        the log's segments
//	badger-<n>/ Badger's files, with the files durable and marker; those that neither CURRENT nor DIVERGED names are
//	            leftovers of an Import
//	node.json   this node's identity, and its cluster's
//	DIVERGED    this node had what its cluster has not, and takes a copy of the cluster's data (diverged.go)
//	votes.db    of a node in a cluster: raft's term and vote
type Dir struct {
	fs      FS
	path    string
	lock    *os.File
	format  formatRecord
	current string
	clean   uint64
	node    nodeState
}

const (
	// FormatVersion is the version of everything on disk. An older or newer one is refused.
	FormatVersion = 8
	// clusterFormat is that of a directory that has joined a cluster: who knows only FormatVersion would take its keys and its log for his own.
	clusterFormat = 9

	formatFile  = "FORMAT"
	lockFile    = "LOCK"
	currentFile = "CURRENT"
	cleanFile   = "CLEAN"
	nodeFile    = "node.json"

	logDir    = "log"
	badgerDir = "badger-1"
)

type formatRecord struct {
	Version int
	Level   int
	Seed    string // 16 random bytes, hex
}

type currentRecord struct{ Badger string }

type cleanRecord struct{ LogEnd uint64 }

// OpenDir locks a data directory and checks what it is; a new or empty one is made into a data directory. When it refuses, nothing was
// touched.
func OpenDir(fsys FS, path string) (*Dir, error) {
	d := &Dir{fs: fsys, path: path}
	exists, err := fsys.Exists(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if exists {
		if err := d.recognise(); err != nil {
			return nil, err
		}
	} else if err := fsys.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	if err := d.load(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// recognise refuses a directory that is neither ours nor an unfinished first start.
func (d *Dir) recognise() error {
	names, err := d.fs.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if slices.Contains(names, formatFile) {
		return nil
	}
	ours := []string{formatFile, lockFile, currentFile, cleanFile, logDir, badgerDir, nodeFile}
	for _, name := range names {
		if !slices.Contains(ours, strings.TrimSuffix(name, ".tmp")) {
			return refused("%s is not a data directory of sett: it has no FORMAT and contains %q. Give an empty directory (dir)", d.path, name)
		}
	}
	if exists, err := d.fs.Exists(d.LogDir()); err != nil || !exists {
		return err
	}
	logs, err := d.fs.ReadDir(d.LogDir())
	if err != nil {
		return err
	}
	if len(logs) > 0 {
		return refused("%s has a log but no FORMAT file: it was damaged. Restore FORMAT from a copy", d.path)
	}
	return nil
}

func (d *Dir) takeLock() error {
	f, err := os.OpenFile(filepath.Join(d.path, lockFile), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return refused("%s is in use by another process: stop it, or give this one its own dir", d.path)
		}
		return fmt.Errorf("locking the data directory: %w", err)
	}
	d.lock = f
	return nil
}

func (d *Dir) load() error {
	ok, err := readChecked(d.fs, d.file(formatFile), &d.format)
	if err != nil {
		return err
	}
	if !ok {
		return d.create()
	}
	if !knownFormat(d.format.Version) {
		return refused("%s has disk format %d, this build reads %d: start the sett that wrote it, or copy the data over", d.path, d.format.Version, FormatVersion)
	}
	if d.format.Level > FeatureLevel {
		return refused("%s was written with feature level %d, this build knows %d: start a newer sett", d.path, d.format.Level, FeatureLevel)
	}
	var current currentRecord
	if ok, err = readChecked(d.fs, d.file(currentFile), &current); err != nil {
		return err
	}
	if !ok {
		return refused("%s has no CURRENT file: it was damaged. Run `sett check`", d.path)
	}
	if exists, err := d.fs.Exists(d.file(current.Badger)); err != nil || !exists {
		return refused("%s names %s in CURRENT, which is not there: it was damaged. Run `sett check`", d.path, current.Badger)
	}
	d.current = current.Badger
	var clean cleanRecord
	if _, err = readChecked(d.fs, d.file(cleanFile), &clean); err != nil {
		return err
	}
	d.clean = clean.LogEnd
	return d.loadNode()
}

func knownFormat(version int) bool { return version == FormatVersion || version == clusterFormat }

// create makes a new data directory; FORMAT comes last, so that an unfinished one is recognised.
func (d *Dir) create() error {
	var seed [16]byte
	rand.Read(seed[:])
	d.current = badgerDir
	d.format = formatRecord{FormatVersion, FeatureLevel, hex.EncodeToString(seed[:])}
	for _, dir := range []string{d.LogDir(), d.BadgerDir()} {
		if err := d.fs.MkdirAll(dir); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	if err := d.syncNames(); err != nil {
		return err
	}
	if err := d.writeNode(Node{ID: newNodeID()}); err != nil {
		return err
	}
	if err := writeChecked(d.fs, d.file(currentFile), currentRecord{d.current}); err != nil {
		return err
	}
	return writeChecked(d.fs, d.file(formatFile), d.format)
}

// syncNames makes durable what create has made so far, the data directory's own name, and those above it, which may be as new.
func (d *Dir) syncNames() error {
	if err := d.fs.SyncDir(d.path); err != nil {
		return err
	}
	for dir, above := d.path, filepath.Dir(d.path); above != dir; dir, above = above, filepath.Dir(above) {
		if err := d.fs.SyncDir(above); errors.Is(err, fs.ErrPermission) {
			return nil // somebody else's: it was there before
		} else if err != nil {
			return err
		}
	}
	return nil
}

// BeginUse removes CLEAN, for from now on the log may grow, and what an import has left behind. Builds of a lower feature level are refused from now on.
func (d *Dir) BeginUse() error {
	if err := d.removeLeftovers(); err != nil {
		return err
	}
	if err := d.raiseLevel(); err != nil {
		return err
	}
	exists, err := d.fs.Exists(d.file(cleanFile))
	if err != nil || !exists {
		return err
	}
	if err := d.fs.Remove(d.file(cleanFile)); err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}

// raiseLevel has FORMAT say that what is written from now on may be of this build's level.
func (d *Dir) raiseLevel() error {
	if d.format.Level >= FeatureLevel {
		return nil
	}
	d.format.Level = FeatureLevel
	return writeChecked(d.fs, d.file(formatFile), d.format)
}

// MarkClean notes that all of the log up to its end was fsynced at a clean stop.
func (d *Dir) MarkClean(logEnd uint64) error {
	return writeChecked(d.fs, d.file(cleanFile), cleanRecord{logEnd})
}

// Close lets go of the lock.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Path is the directory itself.
func (d *Dir) Path() string { return d.path }

// LogDir is where the log's segments lie.
func (d *Dir) LogDir() string { return d.file(logDir) }

// BadgerDir is where Badger's files lie.
func (d *Dir) BadgerDir() string { return d.file(d.current) }

// CleanEnd is the log's end that the last, clean stop noted; 0 if there is no such note.
func (d *Dir) CleanEnd() uint64 { return d.clean }

// Seed is the directory's own secret: it seeds the log's checksums. The hash in keys has HashSeed.
func (d *Dir) Seed() (seed [16]byte) {
	hex.Decode(seed[:], []byte(d.format.Seed))
	return seed
}

// Durable returns the index that replay starts behind.
func (d *Dir) Durable() (uint64, error) {
	r, err := readDurable(d.fs, d.BadgerDir())
	return r.Index, err
}

// Copied returns the index up to which everything came with a copy of another node's data: the log may end before it, or begin behind it. 0: nothing
// did.
func (d *Dir) Copied() (uint64, error) {
	r, err := readDurable(d.fs, d.BadgerDir())
	return r.Copied, err
}
