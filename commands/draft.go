package commands

import (
	"sett/storage"
	"sett/types"
)

// Drafting makes a collection, batch by batch, as Staging makes a string: nobody sees it until a batch gives it to a key. Each batch is one step, an
// Update whose record is that of the draft.
type Drafting struct {
	Staging
	next  types.Draft // as the present round leaves it
	draft types.Draft // as the batches so far have left it
	u     Update
	step  func(u *Update) error
	id    uint64 // that the data set knows of; 0: none
	bytes int64  // reserved
}

// Draft begins to make a collection of about so many bytes.
func (d *DataSet) Draft(bytes int64) (*Drafting, error) {
	s := &Drafting{Staging: Staging{d: d, yields: d.store.Stats().Yields.Load()}, bytes: bytes}
	return s, d.staged.reserve(bytes, d.opts.StagedMax)
}

// Do runs a step as a batch of its own, and waits for it.
func (s *Drafting) Do(step func(u *Update) error) error {
	s.step = step
	err := s.Staging.update((*draftRound)(s))
	if err == nil {
		s.draft = s.next
	}
	return err
}

// draftRound is a step as Update of the store runs it.
type draftRound Drafting

func (r *draftRound) Run() error {
	s := (*Drafting)(r)
	if s.d.store.Stats().Yields.Load() != s.yields {
		return storage.ErrNotEvaluating // what was written before may be gone
	}
	now := max(s.d.clock.Now(), s.d.clock.Last())
	s.txn.SetTime(now)
	u := &s.u
	u.Now, u.set, u.data, u.txn = now, s.d, &s.txn, &s.txn
	u.ledger.Begin(&s.txn, now, s.d.opts.Values)
	u.record = u.ledger.OpenDraft(&s.draft)
	if err := s.step(u); err != nil {
		return err
	}
	if s.next = u.ledger.EndDraft(&u.record); s.next.ID != s.id {
		s.id = s.next.ID
		s.d.staged.begun(s.id) // under the lock, so that DropLeftStaged knows it
	}
	return nil
}

// End is called when a batch has given the draft to a key (taken), or nobody wants it.
func (s *Drafting) End(taken bool) {
	if s.id != 0 && !taken {
		s.d.drop(&dropStaged{drafts: []uint64{s.id}})
	}
	s.d.staged.ended(types.StagedBlob{ID: s.id})
	s.d.staged.release(s.bytes)
}
