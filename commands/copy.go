package commands

import (
	"bytes"

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
	if err := u.copyTo(&from, &to); err != nil {
		return err
	}
	u.set.access.made(to.Key, u.Now)
	u.W.Int(1)
	return nil
}

// copyTo gives to what from holds, and its time to live.
func (u *Update) copyTo(from, to *types.Record) error {
	switch {
	case from.Type == types.String:
		return u.copyStringTo(from, to)
	case u.derive != nil && !few(from.Count(), from.ValueBytes()):
		return u.copyDraftTo(from, to)
	case from.Type == types.List:
		return u.copyList(from, to)
	}
	return u.ledger.CopyElements(from, to, u.set.store.Budget().BatchMax)
}

// copyDraftTo gives to a copy of a large collection.
func (u *Update) copyDraftTo(from, to *types.Record) error {
	if !u.derive.current(u) {
		return u.derive.askDraft(u, []types.Record{*from}, from.ValueBytes(), drawCopy)
	}
	u.derive.takeDraft(u, to, from.ExpireAtMs)
	return nil
}

// drawCopy copies all records of a collection as they are.
func drawCopy(s *derived, draft *Drafting) error {
	from := &s.sources[0].Meta
	err := draft.Do(func(u *Update) error {
		u.ledger.BeginCopy(&u.record, from)
		return nil
	})
	if err != nil {
		return err
	}
	var records types.CopiedRecords
	return records.CopyFrom(s.view, from, stageBatchBytes, func() error {
		err := draft.Do(func(u *Update) error {
			u.ledger.CopyRecords(&u.record, &records)
			return nil
		})
		records.Reset()
		return err
	})
}

// copyStringTo gives to the string of from. A long one is staged, if the row is a batch of its own; else it must fit into one.
func (u *Update) copyStringTo(from, to *types.Record) error {
	length := from.StringLen()
	if length > StagedAbove && u.derive != nil {
		if !u.derive.current(u) {
			return u.derive.ask(u, []types.Record{*from}, length, pourCopy)
		}
		u.derive.takeBlob(u, to, from.ExpireAtMs)
		return nil
	}
	if int64(length) > u.set.store.Budget().BatchMax {
		return storage.ErrTooLarge
	}
	value, err := u.stringBytes(&from.Meta, 0, length)
	if err == nil {
		u.ledger.PutEncoded(to, value, from.ExpireAtMs, copiedEncoding(&from.Meta))
	}
	return err
}

// copiedEncoding is the encoding of a copy: that of the original, but a small number's copy is not the shared one.
func copiedEncoding(m *types.Meta) types.Encoding {
	if _, isInt := asInt(m); isInt && m.Encoding == types.Natural {
		return types.Private
	}
	return m.Encoding
}

func pourCopy(s *derived, staging *Staging) error {
	pieces := types.NewPieces(s.view, &s.sources[0].Meta, 0, s.length)
	for {
		piece, err := pieces.Next()
		if len(piece) == 0 {
			return err
		}
		if err := staging.Write(piece); err != nil {
			return err
		}
	}
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
