package commands

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"sett/types"
)

// Watch is the WATCH set of one session; its zero value is empty. The session calls DataSet.Watch, Unwatch and Exec with it, one at a
// time.
type Watch struct {
	keys  []*watchedKey // session only
	dirty bool          // EXEC must fail; guarded by watches.mu
}

// watchedKey is one key of one Watch.
type watchedKey struct {
	watch *Watch
	db    int
	name  string

	// All guarded by watches.mu.
	filed      string // the key of byKey that it stands under; "" once it is not watched any more
	expired    bool   // there was a record when WATCH came, but past its time: removing it changes nothing
	expireAtMs int64  // of the record when WATCH came, if it lived; as long as the Watch is not dirty it is still that
}

// watches files all watched keys of a data set by meta key, so that a batch's effects find them.
type watches struct {
	count atomic.Int64 // watched keys; batches look no further while it is 0

	mu    sync.Mutex // taken with the store's lock held, by sessions that only unwatch also without
	byKey map[string][]*watchedKey
}

// Watch runs WATCH, whose row and arguments are in c: it adds the keys to w and replies.
func (d *DataSet) Watch(c *Call, w *Watch) error {
	d.begin(c)
	c.watch = w
	err := d.store.Read(&c.reader, (*watchRound)(c))
	c.watch = nil
	c.Seen = c.reader.Seen()
	return d.end(c, err)
}

type watchRound Call

func (r *watchRound) Run() error {
	c := (*Call)(r)
	q := &c.beginRound(&c.reader, nil).Query
	q.begin(c.Args, nil, c.DB)
	var added []*watchedKey
	for _, name := range c.Args[1:] {
		k, err := q.watchedKey(c.watch, name)
		if err != nil {
			return q.afterMiss(c.Row, err)
		}
		added = append(added, k)
	}
	c.d.watches.add(c.watch, added)
	c.W.Status("OK")
	return nil
}

func (q *Query) watchedKey(w *Watch, name []byte) (*watchedKey, error) {
	key, err := q.metaKey(name)
	if err != nil {
		return nil, err
	}
	k := &watchedKey{watch: w, db: q.DB, name: string(name), filed: string(key)}
	m, err := types.ReadMeta(q.data, key)
	if k.expired = m.ExpiredAt(q.Now); !k.expired {
		k.expireAtMs = m.ExpireAtMs
	}
	return k, err
}

func (ws *watches) add(w *Watch, keys []*watchedKey) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.dirty {
		return // EXEC fails anyway
	}
	for _, k := range keys {
		if slices.ContainsFunc(w.keys, func(old *watchedKey) bool { return old.filed == k.filed }) {
			continue
		}
		w.keys = append(w.keys, k)
		ws.byKey[k.filed] = append(ws.byKey[k.filed], k)
		ws.count.Add(1)
	}
}

// Unwatch empties a Watch, whether it is dirty or not.
func (d *DataSet) Unwatch(w *Watch) {
	if len(w.keys) == 0 {
		return // only a Watch with keys can be dirty
	}
	d.watches.mu.Lock()
	defer d.watches.mu.Unlock()
	d.watches.remove(w)
	w.keys, w.dirty = nil, false
}

// TouchAllWatched makes every Watch dirty: a speculation has ended, and nobody knows what will have happened to the keys.
func (d *DataSet) TouchAllWatched() {
	d.watches.mu.Lock()
	defer d.watches.mu.Unlock()
	for _, keys := range d.watches.byKey {
		for _, k := range slices.Clone(keys) {
			d.watches.soil(k.watch)
		}
	}
}

// remove takes a Watch's keys out of byKey. mu is held.
func (ws *watches) remove(w *Watch) {
	for _, k := range w.keys {
		ws.unfile(k)
	}
}

func (ws *watches) unfile(k *watchedKey) {
	if k.filed == "" {
		return
	}
	keys := ws.byKey[k.filed]
	if i := slices.Index(keys, k); len(keys) > 1 {
		ws.byKey[k.filed] = slices.Delete(keys, i, i+1)
	} else {
		delete(ws.byKey, k.filed)
	}
	k.filed = ""
	ws.count.Add(-1)
}

// soil makes a Watch dirty; its keys need not be watched any longer. mu is held.
func (ws *watches) soil(w *Watch) {
	w.dirty = true
	ws.remove(w)
}

// failed tells whether EXEC must fail: something touched a key, or one lived when WATCH came and is past its time now.
func (ws *watches) failed(w *Watch, nowMs int64) bool {
	if w == nil || len(w.keys) == 0 {
		return false
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.dirty {
		return true
	}
	return slices.ContainsFunc(w.keys, func(k *watchedKey) bool { return k.expireAtMs != 0 && nowMs > k.expireAtMs })
}

// remap is what a batch did to the databases themselves.
type remap struct {
	spaces []remapped
	marks  []watchMark
}

// remapped says that a database stood for a keyspace at some time in the batch. The first entry of a database is what it stood for
// before the batch.
type remapped struct {
	db    int
	space uint32
}

// watchMark is what becomes of a watched key whose database changed.
type watchMark struct {
	key  *watchedKey
	fate fate
}

type fate int

const (
	untouched fate = iota
	touched        // its Watch is dirty
	expires        // an absent key became one past its time
	vanishes       // a key past its time became absent
)

func (r *remap) reset() { r.spaces, r.marks = r.spaces[:0], r.marks[:0] }

// watchedIn lists the keys watched in a database.
func (ws *watches) watchedIn(db int) (found []*watchedKey) {
	if ws.count.Load() == 0 {
		return nil
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, keys := range ws.byKey {
		for _, k := range keys {
			if k.db == db {
				found = append(found, k)
			}
		}
	}
	return found
}

// touchDatabase notes that db, which stands for the keyspace before, will stand for the keyspace after: another database's, or, if
// emptied, a new one. What that means to those who watch its keys is Redis' touchAllWatchedKeysInDb. It runs before the change.
func (u *Update) touchDatabase(db int, before, after uint32, emptied bool) error {
	u.remap.spaces = append(u.remap.spaces, remapped{db, before}, remapped{db, after})
	keys := u.set.watches.watchedIn(db)
	var marks []watchMark
	var miss error
	for _, k := range keys {
		old, err := u.physical(before, k.name)
		if err != nil {
			miss = err
			continue
		}
		now := types.Meta{}
		if !emptied {
			if now, err = u.physical(after, k.name); err != nil {
				miss = err
				continue
			}
		}
		if f := fateOf(k, old, now, u.Now); f != untouched {
			marks = append(marks, watchMark{k, f})
		}
	}
	u.remap.marks = append(u.remap.marks, marks...)
	return miss
}

func fateOf(k *watchedKey, old, now types.Meta, nowMs int64) fate {
	switch {
	case !old.Exists && !now.Exists:
		return untouched
	case k.expired && !now.Exists:
		return vanishes
	case k.expired && now.ExpiredAt(nowMs):
		return untouched
	case !k.expired && !old.Exists && now.ExpiredAt(nowMs):
		return expires
	}
	return touched
}

// physical reads a meta record as it is, past its time or not.
func (u *Update) physical(space uint32, name string) (types.Meta, error) {
	return types.ReadMeta(u.txn, u.set.keys.AppendMeta(nil, space, []byte(name)))
}

// touch makes those Watches dirty whose keys a batch has changed. It runs at the end of the batch's last round, under the lock.
func (ws *watches) touch(u *Update) {
	if ws.count.Load() == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	n := -1
	u.txn.Effects(func(key []byte) {
		if n++; !types.IsMeta(key) || slices.Contains(u.ledger.Quiet, n) {
			return
		}
		ws.touchKey(u, key, key)
		// A batch that also changed what a database stands for is rare: take its effects on a keyspace as effects on the names in all
		// databases that it stood for at some time in the batch. An EXEC may then fail that need not.
		for i := range u.remap.spaces {
			for j := range u.remap.spaces {
				r, filed := u.remap.spaces[i], u.remap.spaces[j]
				if r.space == types.MetaKeyspace(key) && filed.db == r.db && filed.space != r.space {
					ws.touchKey(u, key, rekey(key, filed.space))
				}
			}
		}
	})
	for _, m := range u.remap.marks {
		switch {
		case m.key.filed == "":
		case m.fate == touched:
			ws.soil(m.key.watch)
		default:
			m.key.expired = m.fate == expires
		}
	}
	for _, r := range u.remap.spaces {
		ws.refile(u, r.db)
	}
}

// touchKey handles the effect on a meta record for those who watch it under the meta key filed.
func (ws *watches) touchKey(u *Update, key, filed []byte) {
	for _, k := range slices.Clone(ws.byKey[string(filed)]) {
		if k.filed == "" {
			continue // its Watch became dirty for another key of the list
		}
		if k.expired {
			if record, err := u.txn.Get(key); err == nil && record == nil {
				k.expired = false
				continue
			}
		}
		ws.soil(k.watch)
	}
}

func rekey(key []byte, space uint32) []byte {
	key = slices.Clone(key)
	binary.BigEndian.PutUint32(key[1:], space)
	return key
}

// refile puts a database's watched keys under the keyspace that it stands for now.
func (ws *watches) refile(u *Update, db int) {
	space, err := types.LookupKeyspace(u.txn, db)
	if err != nil {
		panic("commands: system records are always in memory")
	}
	var moving []*watchedKey
	for filed, keys := range ws.byKey {
		if types.MetaKeyspace([]byte(filed)) == space {
			continue
		}
		for _, k := range keys {
			if k.db == db {
				moving = append(moving, k)
			}
		}
	}
	for _, k := range moving {
		key := string(rekey([]byte(k.filed), space))
		ws.unfile(k)
		k.filed = key
		ws.byKey[key] = append(ws.byKey[key], k)
		ws.count.Add(1)
	}
}

// WatchDirty tells whether EXEC would fail because something touched a key.
func (d *DataSet) WatchDirty(w *Watch) bool {
	d.watches.mu.Lock()
	defer d.watches.mu.Unlock()
	return w.dirty
}
