package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sett/storage"
)

// PageBytes is what is written whole or not at all.
const PageBytes = 4096

// ErrOff is what every operation returns after Cut, Kill or a spent CutAfter.
var ErrOff = errors.New("crashfs: the power is off")

// FS is a file system in memory. Paths are cleaned, and relative ones lie in the root. The root is always there.
type FS struct {
	mu   sync.Mutex // guards the rest, and all files and directories
	off  bool
	left int        // operations that change something, until the power goes; -1 = never
	back *rand.Rand // writes pages back now and then, as an operating system does; nil = never. Its successors have it after it, never at the same time
	root *dir

	fault func(op, path string) error
}

var _ storage.FS = (*FS)(nil)

// dir is a directory. Its names are those that a process sees.
type dir struct {
	names   map[string]any // *inode or *dir
	durable map[string]any // at the last SyncDir
	pending []change       // since then
}

// change is an operation on a directory, as it was: whether it applies after a cut depends on what has the name then.
type change struct {
	drop, set string // a rename has both
	node      any
}

// inode is a file's contents.
type inode struct {
	data []byte
	path string // the name it was last given, for messages and faults
	// What a power cut may leave instead: the size, and by number the pages that differ on disk.
	size  int64
	pages map[int64][]byte
}

// New returns an empty file system.
func New() *FS { return &FS{left: -1, root: newDir()} }

func newDir() *dir { return &dir{names: map[string]any{}, durable: map[string]any{}} }

// Writeback lets single pages reach the disk at random moments, also between two writes of the same page.
func (f *FS) Writeback(seed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.back = rand.New(rand.NewPCG(seed, 0))
}

// CutAfter takes the power away in n operations that change something; with 0 the next one fails. Call Cut (or Kill) then.
func (f *FS) CutAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = n
}

// Fault lets operations fail: it is asked before each that changes something (op is create, write, sync, truncate, rename, remove, mkdir, syncdir). A
// write that fails has written its first half. A nil func ends it. It is called with the file system locked.
func (f *FS) Fault(ask func(op, path string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = ask
}

// Cut takes the power away and returns what a machine may find afterwards, as r decides. It may be called again, for another outcome of the same cut;
// of several outcomes with Writeback only one may be in use at a time.
func (f *FS) Cut(r *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	return &FS{left: -1, back: f.back, root: f.root.cut(r, map[*inode]*inode{})}
}

// Kill ends the process that uses the file system and returns the same one for the next process. What was not synced is still not synced.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	return &FS{left: -1, back: f.back, root: f.root.copy(map[any]any{})}
}

// Copy returns the same file system once more, to be cut or killed, while the process that uses this one goes on.
func (f *FS) Copy() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &FS{left: -1, back: f.back, root: f.root.copy(map[any]any{})}
}

// sorted returns the names of a directory in order, so that a seed decides everything.
func sorted(names map[string]any) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func (d *dir) cut(r *rand.Rand, seen map[*inode]*inode) *dir {
	names := map[string]any{}
	for name, node := range d.durable {
		names[name] = node
	}
	for _, c := range d.pending {
		if r.IntN(2) == 0 {
			continue
		}
		if c.drop != "" && names[c.drop] == c.node {
			delete(names, c.drop)
		}
		if c.set != "" {
			names[c.set] = c.node
		}
	}
	after := newDir()
	for _, name := range sorted(names) {
		switch node := names[name].(type) {
		case *dir:
			after.names[name] = node.cut(r, seen)
		case *inode:
			if seen[node] == nil {
				seen[node] = node.cut(r)
			}
			after.names[name] = seen[node]
		}
		after.durable[name] = after.names[name]
	}
	return after
}

func (n *inode) cut(r *rand.Rand) *inode {
	size := int64(len(n.data))
	if r.IntN(2) == 0 {
		size = n.size
	}
	data := make([]byte, size)
	copy(data, n.data)
	// In the order of the pages, so that the seed alone decides.
	for p := int64(0); p*PageBytes < size; p++ {
		old, differs := n.pages[p]
		if differs && r.IntN(2) == 0 || p*PageBytes >= int64(len(n.data)) {
			page := data[p*PageBytes : min(size, (p+1)*PageBytes)]
			clear(page[copy(page, old):])
		}
	}
	return &inode{data: data, path: n.path, size: size}
}

// copy makes a deep copy: files of the old process that are still open do not reach it.
func (d *dir) copy(seen map[any]any) *dir {
	if c, ok := seen[d]; ok {
		return c.(*dir)
	}
	c := newDir()
	seen[d] = c
	other := func(node any) any {
		switch node := node.(type) {
		case *dir:
			return node.copy(seen)
		case *inode:
			if seen[node] == nil {
				seen[node] = node.copy()
			}
			return seen[node]
		}
		return nil
	}
	for name, node := range d.names {
		c.names[name] = other(node)
	}
	for name, node := range d.durable {
		c.durable[name] = other(node)
	}
	for _, p := range d.pending {
		c.pending = append(c.pending, change{p.drop, p.set, other(p.node)})
	}
	return c
}

func (n *inode) copy() *inode {
	c := &inode{data: slices.Clone(n.data), path: n.path, size: n.size, pages: map[int64][]byte{}}
	for p, old := range n.pages {
		c.pages[p] = slices.Clone(old)
	}
	return c
}

// change asks whether an operation may happen. f.mu is held.
func (f *FS) change(op, path string) error {
	if f.left == 0 {
		f.off = true
	}
	if f.off {
		return &fs.PathError{Op: op, Path: path, Err: ErrOff}
	}
	if f.left > 0 {
		f.left--
	}
	if f.fault != nil {
		if err := f.fault(op, path); err != nil {
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
	return nil
}

// split returns the names on the way from the root to path.
func split(path string) []string {
	path = strings.Trim(filepath.Clean(path), string(filepath.Separator))
	if path == "" || path == "." {
		return nil
	}
	return strings.Split(path, string(filepath.Separator))
}

// walk finds the directory at path.
func (f *FS) walk(op, path string) (*dir, error) {
	d := f.root
	for _, name := range split(path) {
		next, ok := d.names[name].(*dir)
		if !ok {
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
		}
		d = next
	}
	return d, nil
}

// parent finds the directory that path's last name is in.
func (f *FS) parent(op, path string) (*dir, string, error) {
	d, err := f.walk(op, filepath.Dir(path))
	return d, filepath.Base(path), err
}

func (f *FS) inode(op, path string) (*inode, error) {
	d, name, err := f.parent(op, path)
	if err != nil {
		return nil, err
	}
	n, ok := d.names[name].(*inode)
	if !ok {
		return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
	}
	return n, nil
}

// Create makes a new file.
func (f *FS) Create(path string) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("create", path); err != nil {
		return nil, err
	}
	d, name, err := f.parent("create", path)
	if err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	n := &inode{path: path}
	d.apply(change{set: name, node: n})
	return &file{fs: f, inode: n}, nil
}

// apply changes the directory as a process sees it.
func (d *dir) apply(c change) {
	if c.drop != "" {
		delete(d.names, c.drop)
	}
	if c.set != "" {
		d.names[c.set] = c.node
	}
	d.pending = append(d.pending, c)
}

// Open opens an existing file.
func (f *FS) Open(path string) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrOff}
	}
	n, err := f.inode("open", path)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, inode: n}, nil
}

// ReadFile returns the contents of a file.
func (f *FS) ReadFile(path string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrOff}
	}
	n, err := f.inode("read", path)
	if err != nil {
		return nil, err
	}
	return slices.Clone(n.data), nil
}

// Rename gives a file another name. Both must be in the same directory.
func (f *FS) Rename(old, new string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("rename", old); err != nil {
		return err
	}
	if filepath.Dir(old) != filepath.Dir(new) {
		return fmt.Errorf("crashfs: rename %s to %s: not the same directory", old, new)
	}
	d, name, err := f.parent("rename", old)
	if err != nil {
		return err
	}
	node := d.names[name]
	if node == nil {
		return &fs.PathError{Op: "rename", Path: old, Err: fs.ErrNotExist}
	}
	if n, ok := node.(*inode); ok {
		n.path = new
	}
	d.apply(change{drop: name, set: filepath.Base(new), node: node})
	return nil
}

// Remove deletes a file or an empty directory.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("remove", path); err != nil {
		return err
	}
	d, name, err := f.parent("remove", path)
	if err != nil {
		return err
	}
	node := d.names[name]
	if node == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	if sub, ok := node.(*dir); ok && len(sub.names) > 0 {
		return fmt.Errorf("crashfs: remove %s: the directory is not empty", path)
	}
	d.apply(change{drop: name, node: node})
	return nil
}

// MkdirAll makes a directory and those above it.
func (f *FS) MkdirAll(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("mkdir", path); err != nil {
		return err
	}
	d := f.root
	for _, name := range split(path) {
		switch node := d.names[name].(type) {
		case nil:
			sub := newDir()
			d.apply(change{set: name, node: sub})
			d = sub
		case *dir:
			d = node
		default:
			return fmt.Errorf("crashfs: mkdir %s: %s is a file", path, name)
		}
	}
	return nil
}

// ReadDir returns the names in a directory.
func (f *FS) ReadDir(path string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: ErrOff}
	}
	d, err := f.walk("readdir", path)
	if err != nil {
		return nil, err
	}
	return sorted(d.names), nil
}

// SyncDir makes the names in a directory durable.
func (f *FS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("syncdir", path); err != nil {
		return err
	}
	d, err := f.walk("syncdir", path)
	if err != nil {
		return err
	}
	d.durable, d.pending = map[string]any{}, nil
	for name, node := range d.names {
		d.durable[name] = node
	}
	return nil
}

// Exists tells whether a name is taken.
func (f *FS) Exists(path string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return false, &fs.PathError{Op: "stat", Path: path, Err: ErrOff}
	}
	if len(split(path)) == 0 {
		return true, nil
	}
	d, name, err := f.parent("stat", path)
	if err != nil {
		return false, nil
	}
	return d.names[name] != nil, nil
}

// Export writes everything that a process would see into a directory of the real file system, which need not be empty.
func (f *FS) Export(to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.root.export(to)
}

func (d *dir) export(to string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	for name, node := range d.names {
		var err error
		switch node := node.(type) {
		case *dir:
			err = node.export(filepath.Join(to, name))
		case *inode:
			err = os.WriteFile(filepath.Join(to, name), node.data, 0o640)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type file struct {
	fs     *FS
	inode  *inode
	closed bool
}

// usable is asked before reads. f.fs.mu is held.
func (f *file) usable(op string) error {
	switch {
	case f.closed:
		return &fs.PathError{Op: op, Path: f.inode.path, Err: fs.ErrClosed}
	case f.fs.off:
		return &fs.PathError{Op: op, Path: f.inode.path, Err: ErrOff}
	}
	return nil
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("read"); err != nil {
		return 0, err
	}
	if offset >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("write"); err != nil {
		return 0, err
	}
	if err := f.fs.change("write", f.inode.path); err != nil {
		if !f.fs.off {
			p = p[:len(p)/2]
			f.inode.write(p, offset)
			return len(p), err
		}
		return 0, err
	}
	f.inode.write(p, offset)
	if r := f.fs.back; r != nil {
		f.inode.writeBack(r, offset, int64(len(p)))
	}
	return len(p), nil
}

func (n *inode) write(p []byte, offset int64) {
	end := offset + int64(len(p))
	n.touch(offset, end)
	if size := int64(len(n.data)); end > size {
		n.data = append(n.data, make([]byte, end-size)...)
	}
	copy(n.data[offset:], p)
}

// touch keeps the pages from offset to end as they are on disk, before they change.
func (n *inode) touch(offset, end int64) {
	if n.pages == nil {
		n.pages = map[int64][]byte{}
	}
	for p := offset / PageBytes; p*PageBytes < end; p++ {
		if _, differs := n.pages[p]; !differs {
			n.pages[p] = n.page(p)
		}
	}
}

// page returns a copy of a page as a process sees it.
func (n *inode) page(p int64) []byte {
	begin := min(p*PageBytes, int64(len(n.data)))
	return slices.Clone(n.data[begin:min(begin+PageBytes, int64(len(n.data)))])
}

// writeBack puts some of the pages just written on disk.
func (n *inode) writeBack(r *rand.Rand, offset, length int64) {
	for p := offset / PageBytes; p*PageBytes < offset+length; p++ {
		if r.IntN(4) == 0 {
			n.pages[p] = n.page(p)
		}
	}
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("sync"); err != nil {
		return err
	}
	if err := f.fs.change("sync", f.inode.path); err != nil {
		return err
	}
	f.inode.size, f.inode.pages = int64(len(f.inode.data)), nil
	return nil
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("truncate"); err != nil {
		return err
	}
	if err := f.fs.change("truncate", f.inode.path); err != nil {
		return err
	}
	n := f.inode
	n.touch(min(size, int64(len(n.data))), max(size, int64(len(n.data))))
	if size <= int64(len(n.data)) {
		n.data = n.data[:size:size]
	} else {
		n.data = append(n.data, make([]byte, size-int64(len(n.data)))...)
	}
	return nil
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.data)), f.usable("size")
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.inode.path, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
