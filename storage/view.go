package storage

import (
	"sync"
	"sync/atomic"
	"time"
)

// View is a consistent picture of the store at a position. It is taken under the lock and read without it. While it is open, records that
// are overwritten keep the version that it sees. As generations reach Badger it lets go of them, all but the one that its position lies
// in, also while its owner waits for a client. Not for use by several goroutines.
type View struct {
	s      *Store
	pos    uint64
	mu     sync.Mutex
	gens   []*generation // old to new; those of them that are in Badger are dropped from the front; guarded by mu
	base   atomic.Uint64 // Badger's version below gens, or below newer ones
	seen   uint64
	born   time.Time
	locked bool        // made and used within a Txn's Run: the lock is held already
	dead   atomic.Bool // the speculation that it saw has ended
}

// views are the open ones.
type views struct {
	mu     sync.Mutex
	open   map[*View]struct{}
	newest atomic.Uint64 // highest position of an open view, 0 if none is open

	pictures map[*Picture]struct{}
	reading  sync.RWMutex // held, shared, while a picture reads from Badger
}

// View takes a picture at this moment. It must be closed.
func (s *Store) View() (*View, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readable(); err != nil {
		return nil, err
	}
	return s.view(), nil
}

// View takes a picture of the store (without the own writes of a Txn) at this moment, inside Run. It may be used after Run has returned, and
// must be closed. Seen counts it in.
func (r *Reader) View() *View {
	v := r.s.view()
	r.saw(v.seen)
	return v
}

// View takes a picture of the store, without the Txn's own writes. It is used and closed before Run returns.
func (t *Txn) View() *View {
	v := t.s.view()
	v.locked = true
	t.saw(v.seen)
	return v
}

func (v *View) lock() {
	if !v.locked {
		v.s.mu.RLock()
	}
}

func (v *View) unlock() {
	if !v.locked {
		v.s.mu.RUnlock()
	}
}

// view registers a view; the lock is held, shared at least.
func (s *Store) view() *View {
	v := &View{s: s, pos: s.pos, gens: s.gens, born: time.Now()}
	if planted("view-without-active") {
		v.gens = v.gens[:len(v.gens)-1]
	}
	v.base.Store(s.flush.point.Index)
	v.saw()
	s.views.mu.Lock()
	defer s.views.mu.Unlock()
	if s.views.open == nil {
		s.views.open = make(map[*View]struct{})
	}
	s.views.open[v] = struct{}{}
	s.views.newest.Store(max(s.views.newest.Load(), v.pos))
	return v
}

// saw sets what a reply from the view must wait for: the last batch in its generations.
func (v *View) saw() {
	for i := len(v.gens) - 1; i >= 0; i-- {
		if g := v.gens[i]; g.lastPos >= g.firstPos {
			v.seen = g.lastPos
			return
		}
	}
}

// Seen is the position that a reply made from the view must wait for.
func (v *View) Seen() uint64 { return v.seen }

// Close lets go of the view.
func (v *View) Close() {
	vs := &v.s.views
	vs.mu.Lock()
	defer vs.mu.Unlock()
	delete(vs.open, v)
	v.mu.Lock()
	v.gens = nil
	v.mu.Unlock()
	if len(vs.open) == 0 {
		vs.newest.Store(0)
	}
}

// oldestBase is the oldest version of Badger that a view or picture may still read, or limit. mu is held.
func (vs *views) oldestBase(limit uint64) uint64 {
	for v := range vs.open {
		limit = min(limit, v.base.Load())
	}
	for p := range vs.pictures {
		limit = min(limit, p.at.Index)
	}
	return limit
}

func (vs *views) count() int {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return len(vs.open)
}

// end ends all open views.
func (vs *views) end() { vs.endUncommitted(0) }

// endUncommitted ends views that saw more than the applied entries.
func (vs *views) endUncommitted(committed uint64) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for v := range vs.open {
		if v.seen > committed || committed == 0 {
			v.dead.Store(true)
		}
	}
}

// advance has all open views let go of a generation that has reached Badger.
func (vs *views) advance() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for v := range vs.open {
		v.generations()
	}
}

// generations are those that are not in Badger yet, and the one that the view's position lies in. They may be read together with Badger at
// base, or at what base becomes later: who finds a record in both takes the generation's.
func (v *View) generations() []*generation {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.gens) > 1 && v.gens[0].flushed.Load() {
		v.base.Store(v.gens[0].version.Load())
		v.gens = v.gens[1:]
	}
	return v.gens
}

func (v *View) usable() error {
	switch {
	case v.dead.Load():
		return ErrInDoubt
	case v.s.opts.ViewMaxAge > 0 && time.Since(v.born) > v.s.opts.ViewMaxAge:
		return ErrViewTooOld
	}
	return nil
}

// Get returns a record's value at the view's position, nil if there is none.
func (v *View) Get(key []byte) ([]byte, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	hash := v.s.hash(key)
	if value, ok := v.recent(v.generations(), uint32(hash), key); ok {
		return value, nil
	}
	if key[0] == '!' {
		invariant(false, "system record %q read through a view", key)
	}
	value, err := v.fromDisk(key)
	if v.dead.Load() { // perhaps since before Badger was asked, and it has other data now
		return nil, ErrInDoubt
	}
	return value, err
}

func (v *View) fromDisk(key []byte) ([]byte, error) {
	if v.locked {
		return v.s.disk.getLocked(key, v.base.Load())
	}
	return v.s.disk.get(key, v.base.Load())
}

// recent searches the view's generations. A copy is returned: the active one changes.
func (v *View) recent(gens []*generation, hash uint32, key []byte) ([]byte, bool) {
	v.lock()
	defer v.unlock()
	for i := len(gens) - 1; i >= 0; i-- {
		if ver := gens[i].getAt(hash, key, v.pos); ver != nil {
			if versionDeleted(ver) {
				return nil, true
			}
			return append([]byte(nil), versionValue(ver)...), true
		}
	}
	return nil, false
}

// Walk calls each for the records of [lower, upper) in the order of their keys; see Iterate. Key and value are valid until each returns.
func (v *View) Walk(lower, upper []byte, each func(key, value []byte)) error {
	it := v.Iterate(lower, upper)
	defer it.Close()
	for it.Next() {
		each(it.Key(), it.Value())
	}
	return it.Err()
}
