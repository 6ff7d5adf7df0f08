package commands

import "sett/types"

// overwrite makes room for a result under a name: u.record is a key that is not there. Of what was there only the cap stays, if it is of the type of
// the result.
func (u *Update) overwrite(name []byte, of types.Type) (limit int64, err error) {
	r, err := u.open(name)
	if err != nil {
		return 0, err
	}
	if r.Exists {
		if r.Type == of {
			limit = r.Cap()
		}
		u.ledger.Remove(&r)
	}
	u.record = r
	return limit, nil
}

// storeScored makes members the sorted set of a name, whatever that was, and answers with their number; none are no key. converted tells whether
// Redis begins with a skiplist.
func (u *Update) storeScored(name []byte, members []scoredMember, converted bool) error {
	limit, err := u.overwrite(name, types.ZSet)
	if err != nil {
		return err
	}
	e, err := u.ledger.EditZSet(&u.record, len(members))
	if err != nil {
		return err
	}
	if limit > 0 {
		e.SetCap(limit)
	}
	if converted && len(members) > 0 {
		e.Convert()
	}
	for _, m := range members {
		if err := u.putScore(e, m.member, m.score, true); err != nil {
			return err
		}
	}
	if err := e.Save(); err != nil {
		return err
	}
	u.W.Int(e.Len())
	return nil
}
