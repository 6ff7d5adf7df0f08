package commands

import (
	"bytes"
	"errors"

	"sett/storage"
	"sett/types"
)

func copyKey(u *Update) error {
	db, replace, err := u.parseCopyOptions()
	if err != nil {
		return err
	}
	if db == u.DB && bytes.Equal(u.Args[1], u.Args[2]) {
		return ErrSameObject
	}
	from, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	u.countLookup(&from)
	if !from.Exists {
		u.W.Int(0)
		return nil
	}
	to, err := u.openIn(db, u.Args[2])
	if err != nil {
		return err
	}
	if to.Exists && !replace {
		u.W.Int(0)
		return nil
	}
	if from.Type != types.String {
		return ErrWrongType
	}
	if err := u.copyStringTo(&from, &to); err != nil {
		return err
	}
	u.W.Int(1)
	return nil
}

// copyStringTo gives to the string of from. A long one is staged, if the row is a batch of its own; else it must fit into one.
func (u *Update) copyStringTo(from, to *types.Record) error {
	length := from.StringLen()
	if length > StagedAbove && u.copy != nil {
		if !u.copy.current(u) {
			return u.copy.ask(u, from)
		}
		u.ledger.PutStaged(to, u.copy.blob, from.ExpireAtMs)
		return nil
	}
	if int64(length) > u.set.store.Budget().BatchMax {
		return storage.ErrTooLarge
	}
	value, err := u.stringBytes(&from.Meta, 0, length)
	if err == nil {
		u.ledger.PutString(to, value, from.ExpireAtMs)
	}
	return err
}

func (u *Update) parseCopyOptions() (db int, replace bool, err error) {
	db = u.DB
	for i := 3; i < len(u.Args); i++ {
		switch arg := u.Args[i]; {
		case is(arg, "replace"):
			replace = true
		case is(arg, "db") && i+1 < len(u.Args):
			i++
			if db, err = u.dbArg(u.Args[i]); err != nil {
				return 0, false, err
			}
		default:
			return 0, false, ErrSyntax
		}
	}
	return db, replace, nil
}

// stagedCopy is a long string on its way to another key. It is copied from a view, without the lock, into a blob that nobody owns; then COPY
// runs again, and adopts the blob unless somebody has touched the source meanwhile. Nobody waits for it; if the source is written all the
// time, COPY gives up.
type stagedCopy struct {
	from  types.Meta    // of the source
	view  *storage.View // from which it is copied
	watch Watch         // of the source since then
	blob  types.StagedBlob
	ready bool               // blob is whole
	stale []types.StagedBlob // copies of what the source was before
}

// copyAttempts is how often a source may be touched while it is copied.
const copyAttempts = 4

// errCopyFirst ends a round of COPY whose string is to be staged first.
var errCopyFirst = errors.New("commands: the string is to be staged")

// current tells whether the copy is what the source is now. The lock is held.
func (s *stagedCopy) current(u *Update) bool {
	return s.ready && !u.set.watches.failed(&s.watch, u.Now)
}

// ask notes what is to be copied. The lock is held.
func (s *stagedCopy) ask(u *Update, from *types.Record) error {
	if s.ready {
		s.stale, s.ready = append(s.stale, s.blob), false
	}
	s.letGo(u.set)
	s.from = from.Meta
	s.from.Payload = bytes.Clone(from.Payload)
	s.view = u.view()
	k := &watchedKey{watch: &s.watch, db: u.DB, name: string(from.Name), filed: string(from.Key), expireAtMs: from.ExpireAtMs}
	u.set.watches.add(&s.watch, []*watchedKey{k})
	return errCopyFirst
}

func (s *stagedCopy) letGo(d *DataSet) {
	d.Unwatch(&s.watch)
	if s.view != nil {
		s.view.Close()
		s.view = nil
	}
}

// run copies what was asked for. The lock is not held.
func (s *stagedCopy) run(d *DataSet) error {
	length := s.from.StringLen()
	staging, err := d.Stage(length)
	if err != nil {
		return err
	}
	if err = s.pour(staging, types.NewPieces(s.view, &s.from, 0, length)); err != nil {
		staging.Drop()
	}
	if errors.Is(err, storage.ErrInDoubt) {
		return storage.ErrNotEvaluating // the view has ended, and nothing has happened
	}
	return err
}

func (s *stagedCopy) pour(staging *Staging, pieces *types.Pieces) (err error) {
	for {
		piece, err := pieces.Next()
		if err != nil {
			return err
		}
		if len(piece) == 0 {
			s.blob, err = staging.Finish()
			s.ready = err == nil
			return err
		}
		if err := staging.Write(piece); err != nil {
			return err
		}
	}
}

// updateCopy is Store.Update for COPY.
func (d *DataSet) updateCopy(c *Call) error {
	var s stagedCopy
	c.update.copy = &s
	adopted := false
	defer func() {
		c.update.copy = nil
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
		if err != errCopyFirst {
			return err
		}
		if touched > copyAttempts {
			return ErrCopyTouched
		}
		if err := s.run(d); err != nil {
			return err
		}
	}
}
