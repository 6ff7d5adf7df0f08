package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"sett/storage"
)

const (
	suffix   = ".seg"
	tempName = "prepare.tmp" // a segment that has no header yet, or no longer; what is in it does not count
	// zeroStepBytes bounds how much the zeros of a new segment can delay the fsync of somebody else.
	zeroStepBytes = 4 << 20
)

// errHalfBegun says that it is unknown which of two headers a segment has.
var errHalfBegun = errors.New("a segment's header could not be replaced")

// segment is an open segment file.
type segment struct {
	header
	secret secret
	file   storage.File
	first  uint64 // number of its first record; 0 as long as it has none. Guarded by Log.mu once the log is open

	dirty bool // has records that no fsync covered. Guarded by Log.mu

	// pin is held shared by who reads or syncs the file, exclusively by who takes it away; gone is guarded by it.
	pin  sync.RWMutex
	gone bool
}

func segmentName(id uint64) string { return fmt.Sprintf("%016x%s", id, suffix) }

// parseName is the inverse of segmentName.
func parseName(name string) (id uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(hex, 16, 64)
	return id, err == nil && segmentName(id) == name
}

func (o Options) path(id uint64) string { return filepath.Join(o.Dir, segmentName(id)) }
func (o Options) temp() string          { return filepath.Join(o.Dir, tempName) }

// create makes a new segment file of size bytes, all zeros, with header h and its name, all durable. With written set they are really written.
func (o Options) create(h header, written bool) (*segment, error) {
	if err := o.removeTemp(); err != nil {
		return nil, err
	}
	f, err := o.FS.Create(o.temp())
	if err != nil {
		return nil, err
	}
	s, err := o.fill(f, h, written)
	if err != nil {
		f.Close()
		// The space is given back at once: the disk may be full because of us.
		return nil, errors.Join(err, o.removeTemp())
	}
	return s, nil
}

func (o Options) fill(f storage.File, h header, written bool) (*segment, error) {
	allocated, err := allocate(f, h.size)
	if err == nil && (written || !allocated) {
		err = zero(f, 0, h.size)
	}
	if err != nil {
		return nil, err
	}
	return o.adopt(f, h)
}

// adopt makes the file that has the temporary name the segment h.
func (o Options) adopt(f storage.File, h header) (*segment, error) {
	s := &segment{file: f}
	if err := s.begin(h, o.Seed); err != nil {
		return nil, err
	}
	if err := o.FS.Rename(o.temp(), o.path(h.id)); err != nil {
		return nil, err
	}
	return s, o.FS.SyncDir(o.Dir)
}

// begin starts a new use of the file: with the header, whatever is in it ceases to count.
func (s *segment) begin(h header, seed [16]byte) error {
	var salt [8]byte
	rand.Read(salt[:]) // never fails
	h.version, h.salt = formatVersion, be.Uint64(salt[:])
	if _, err := s.file.WriteAt(h.page(seed), 0); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.header, s.secret, s.first = h, h.secret(seed), 0
	return nil
}

// grow makes room for one large record in a segment that has none yet.
func (s *segment) grow(size int64, seed [16]byte) error {
	_, err := allocate(s.file, size)
	if err == nil {
		err = zero(s.file, s.size, size)
	}
	if err != nil {
		return errors.Join(err, s.file.Truncate(s.size))
	}
	h := s.header
	h.reuse++
	h.size = size
	if err := s.begin(h, seed); err != nil {
		return errors.Join(errHalfBegun, err)
	}
	return nil
}

func (o Options) removeTemp() error {
	if err := o.FS.Remove(o.temp()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// allocate gets the blocks of the file from the file system; done is false if that has no such call.
func allocate(f storage.File, size int64) (done bool, err error) {
	a, ok := f.(interface{ Allocate(size int64) error })
	if !ok {
		return false, nil
	}
	err = a.Allocate(size)
	if errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	return err == nil, err
}

// zero really writes the bytes from offset to end. Blocks that are only allocated cost a journal commit at the first fsync after they are used: too
// much where each append has its fsync, nothing where one is made each second.
func zero(f storage.File, offset, end int64) error {
	zeros := make([]byte, min(zeroStepBytes, end-offset))
	for offset < end {
		n := min(int64(len(zeros)), end-offset)
		if _, err := f.WriteAt(zeros[:n], offset); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		offset += n
	}
	return nil
}
