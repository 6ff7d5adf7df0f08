package commands

import (
	"bytes"
	"errors"

	"sett/storage"
	"sett/types"
)

// derived is a long string on its way from others to its key: COPY's, and the result of BITOP. It is made from a view, without the lock, into
// a blob that nobody owns; then the row runs again, and adopts the blob unless somebody has touched a source meanwhile. Nobody waits
// for it; if the sources are written all the time, the command gives up.
type derived struct {
	sources []types.Meta
	length  int
	pour    func(*derived, *Staging) error // writes the string

	view  *storage.View // from which the sources are read
	watch Watch         // of the sources since then
	blob  types.StagedBlob
	ready bool               // blob is whole
	stale []types.StagedBlob // what was made of the sources as they were before
}

// deriveAttempts is how often a source may be touched while it is read.
const deriveAttempts = 4

// errDeriveFirst ends a round whose string is to be staged first.
var errDeriveFirst = errors.New("commands: the string is to be staged")

// current tells whether the blob is what the sources make now. The lock is held.
func (s *derived) current(u *Update) bool {
	return s.ready && !u.set.watches.failed(&s.watch, u.Now)
}

// ask notes what is to be made of what. The lock is held.
func (s *derived) ask(u *Update, sources []types.Record, length int, pour func(*derived, *Staging) error) error {
	if s.ready {
		s.stale, s.ready = append(s.stale, s.blob), false
	}
	s.letGo(u.set)
	s.sources, s.length, s.pour = s.sources[:0], length, pour
	var keys []*watchedKey
	for i := range sources {
		from := &sources[i]
		m := from.Meta
		m.Payload = bytes.Clone(from.Payload)
		s.sources = append(s.sources, m)
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

// run makes what was asked for. The lock is not held.
func (s *derived) run(d *DataSet) error {
	staging, err := d.Stage(s.length)
	if err != nil {
		return err
	}
	if err = s.pour(s, staging); err == nil {
		s.blob, err = staging.Finish()
	}
	if s.ready = err == nil; !s.ready {
		staging.Drop()
	}
	if errors.Is(err, storage.ErrInDoubt) {
		return storage.ErrNotEvaluating // the view has ended, and nothing has happened
	}
	return err
}

// updateDerived is Store.Update for the rows that derive.
func (d *DataSet) updateDerived(c *Call) error {
	var s derived
	c.update.derive = &s
	adopted := false
	defer func() {
		c.update.derive = nil
		s.letGo(d)
		if s.ready && !adopted {
			s.stale = append(s.stale, s.blob)
		}
		d.DropStaged(s.stale...)
	}()
	for touched := 0; ; touched++ {
		err := d.store.Update(&c.txn, (*writeRound)(c))
		if err == nil && s.ready && c.Wrote {
			adopted = true
			d.staged.ended(s.blob)
		}
		if err != errDeriveFirst {
			return err
		}
		if touched > deriveAttempts {
			return ErrDeriveTouched
		}
		if err := s.run(d); err != nil {
			return err
		}
	}
}
