package commands

import (
	"bytes"
	"errors"

	"sett/storage"
	"sett/types"
)

// derived is a large value on its way from others to its key: COPY's, the result of BITOP, and what commands store that combine collections. It is
// made from a view, without the lock, into a blob or a draft that nobody owns; then the row runs again, and adopts it unless somebody has
// touched a source meanwhile. Nobody waits for it; if the sources are written all the time, the row runs at last as it would within MULTI.
// What a search through a long list finds (search.go) is derived in the same way.
type derived struct {
	sources []types.Record // their meta records at the time of the view
	length  int

	// One of these makes the value: pour writes a string, draw a collection; a search finds places.
	pour   func(*derived, *Staging) error
	draw   func(*derived, *Drafting) error
	search *listSearch

	view  *storage.View // from which the sources are read
	watch Watch         // of the sources since then
	ready bool          // the value is whole
	taken bool          // … and this round has given it to a key
	blob  types.StagedBlob
	draft *Drafting

	result result // of a command that stores: what of it is not in the draft
	limit  int64  // … and its cap

	misses int // of a search under the lock

	stale []func() // forget what was made of the sources as they were before
}

// deriveAttempts is how often a source may be touched while it is read.
const deriveAttempts = 4

// errDeriveFirst ends a round whose value is to be staged first.
var errDeriveFirst = errors.New("commands: the value is to be staged")

// current tells whether the value is what the sources make now. The lock is held.
func (s *derived) current(u *Update) bool {
	return s.ready && !u.set.watches.failed(&s.watch, u.Now)
}

// ask notes what is to be made of what. The lock is held.
func (s *derived) ask(u *Update, sources []types.Record, length int, pour func(*derived, *Staging) error) error {
	s.pour, s.draw = pour, nil
	return s.note(u, sources, length)
}

// askDraft is ask for a collection.
func (s *derived) askDraft(u *Update, sources []types.Record, bytes int64, draw func(*derived, *Drafting) error) error {
	s.pour, s.draw = nil, draw
	return s.note(u, sources, int(bytes))
}

func (s *derived) note(u *Update, sources []types.Record, length int) error {
	if u.txn.Hurried() {
		return storage.ErrWouldWait
	}
	if s.ready {
		s.stale, s.ready = append(s.stale, s.forgetter(u.set)), false
	}
	s.letGo(u.set)
	s.sources, s.length = s.sources[:0], length
	var keys []*watchedKey
	for _, from := range sources {
		from.Meta, from.Key, from.Name = from.Clone(), bytes.Clone(from.Key), bytes.Clone(from.Name)
		s.sources = append(s.sources, from)
		keys = append(keys, &watchedKey{watch: &s.watch, db: u.DB, name: string(from.Name), filed: string(from.Key), expireAtMs: from.ExpireAtMs})
	}
	s.view = u.view()
	u.set.watches.add(&s.watch, keys)
	return errDeriveFirst
}

func (s *derived) letGo(d *DataSet) {
	d.Unwatch(&s.watch)
	if s.view != nil {
		s.view.Close()
		s.view = nil
	}
}

// forgetter returns what is to be called with the value, which was not taken.
func (s *derived) forgetter(d *DataSet) func() {
	if search := s.search; search != nil {
		return func() { search.forget(d) }
	}
	if draft := s.draft; s.draw != nil {
		return func() { draft.End(false) }
	}
	blob := s.blob
	return func() { d.DropStaged(blob) }
}

// run makes what was asked for. The lock is not held.
func (s *derived) run(d *DataSet) (err error) {
	switch {
	case s.search != nil:
		err = s.search.run(d, s.view, &s.sources[0].Meta)
	case s.draw != nil:
		err = s.runDraft(d)
	default:
		err = s.runBlob(d)
	}
	s.ready = err == nil
	if errors.Is(err, storage.ErrInDoubt) {
		return storage.ErrNotEvaluating // the view has ended, and nothing has happened
	}
	return err
}

func (s *derived) runBlob(d *DataSet) error {
	staging, err := d.Stage(s.length)
	if err != nil {
		return err
	}
	if err = s.pour(s, staging); err == nil {
		s.blob, err = staging.Finish()
	}
	if err != nil {
		staging.Drop()
	}
	return err
}

func (s *derived) runDraft(d *DataSet) (err error) {
	if s.draft, err = d.Draft(int64(s.length)); err != nil {
		return err
	}
	if err = s.draw(s, s.draft); err != nil {
		s.draft.End(false)
	}
	return err
}

// end settles what becomes of the value, and forgets what else was made.
func (s *derived) end(d *DataSet, err error) {
	s.letGo(d)
	switch {
	case !s.ready:
	case err != nil || !s.taken:
		s.stale = append(s.stale, s.forgetter(d))
	case s.draw != nil:
		s.draft.End(true)
	default:
		d.staged.ended(s.blob)
	}
	s.forgetStale()
}

// updateDerived is Store.Update for the rows that derive.
func (d *DataSet) updateDerived(c *Call) (err error) {
	var s derived
	c.update.derive = &s
	defer func() {
		c.update.derive = nil
		s.end(d, err)
	}()
	for touched := 0; ; touched++ {
		if touched > deriveAttempts {
			c.update.derive = nil
		}
		err = d.store.Update(&c.txn, (*writeRound)(c))
		switch {
		case err == storage.ErrTooLarge && touched > deriveAttempts && s.search == nil:
			return ErrDeriveTouched
		case err != errDeriveFirst:
			return err
		}
		s.forgetStale() // it counts for staged_max_bytes
		if err = s.run(d); err != nil {
			return err
		}
	}
}

// forgetStale gives up what was made of the sources as they were before. The lock is not held.
func (s *derived) forgetStale() {
	for _, forget := range s.stale {
		forget()
	}
	s.stale = nil
}

// takeBlob gives the string to a key. It is that of this round.
func (s *derived) takeBlob(u *Update, to *types.Record, expireAtMs int64) {
	s.taken = true
	u.ledger.PutStaged(to, s.blob, expireAtMs)
}

// takeDraft is takeBlob for a collection.
func (s *derived) takeDraft(u *Update, to *types.Record, expireAtMs int64) {
	s.taken = true
	u.ledger.PutDraft(to, &s.draft.draft, expireAtMs)
}
