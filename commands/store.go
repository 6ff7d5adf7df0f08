package commands

import (
	"bytes"
	"slices"

	"sett/storage"
	"sett/types"
)

// The commands that store what they make from other collections: SINTERSTORE, ZUNIONSTORE, ZRANGESTORE, GEOSEARCHSTORE and so on. What takes few
// elements is made and stored in one batch. Else the result is derived: drawn from a view into a draft (derive.go).

// storing is one run of such a command.
type storing struct {
	name            []byte         // of the key that gets the result, whatever it is
	of              types.Type     // of the result: Set or ZSet
	sources         []types.Record // what it is made from
	elements, bytes int64          // that have to be looked at; about
	draw            func(o *operands, r *result) error
}

// sources looks up what a result is made from. Redis looks at all keys before it knows that the result is empty: one of another type is an error
// wherever it stands.
func (u *Update) sources(names [][]byte, of ...types.Type) ([]types.Record, error) {
	records := make([]types.Record, len(names))
	for i, name := range names {
		m, err := u.lookup(name)
		if err != nil {
			return nil, err
		}
		if m.Exists && !slices.Contains(of, m.Type) {
			return nil, ErrWrongType
		}
		records[i] = types.Record{Meta: m, Key: bytes.Clone(u.key), Name: name}
	}
	return records, nil
}

// takes notes which of the sources will be walked.
func (s *storing) takes(walked ...types.Record) {
	for i := range walked {
		if m := &walked[i].Meta; m.Exists {
			s.elements += m.Count()
			s.bytes += m.ValueBytes()
		}
	}
}

// operands are the sources as they are read, within a round or on a view.
type operands struct {
	keys    *types.Keys
	round   types.Reader
	view    *storage.View // if it is not nil
	sources []types.Record
}

func (o *operands) open(e *types.Elements, i int, of types.Type) error {
	r := &o.sources[i]
	if o.view != nil {
		return e.OpenView(o.view, o.keys, r.Key, &r.Meta, of, 0) // sets, whose members do not die
	}
	return e.Open(o.round, o.keys, r.Key, &r.Meta, of, 0)
}

func (o *operands) openRanking(z *types.Ranking, i int) error {
	r := &o.sources[i]
	if o.view != nil {
		return z.OpenView(o.view, o.keys, r.Key, &r.Meta)
	}
	return z.Open(o.round, o.keys, r.Key, &r.Meta)
}

// store makes the result the value of its key and answers with its size.
func (u *Update) store(s *storing) error {
	if u.derive != nil && !few(s.elements, s.bytes) {
		return u.storeDerived(s)
	}
	r := result{of: s.of}
	if err := s.draw(&operands{keys: &u.set.keys, round: u.data, sources: s.sources}, &r); err != nil {
		return err
	}
	return u.storeResult(s.name, &r)
}

// storeDerived is store for many elements.
func (u *Update) storeDerived(s *storing) error {
	to, err := u.openBeside(s.name)
	if err != nil {
		return err
	}
	limit, err := u.ledger.CapOver(&to, s.of)
	if err != nil {
		return err
	}
	d := u.derive
	if !d.current(u) || d.limit != limit {
		d.limit = limit
		set := u.set
		return d.askDraft(u, s.sources, s.bytes, func(d *derived, draft *Drafting) error {
			runBytes := min(set.runBytes, int(set.store.Budget().BatchMax))
			d.result = result{of: s.of, draft: draft, runBytes: runBytes, elements: s.elements, sum: s.bytes}
			err := s.draw(&operands{keys: &set.keys, view: d.view, sources: d.sources}, &d.result)
			if err == nil {
				err = d.result.finish(limit)
			}
			return err
		})
	}
	if !d.result.drafted {
		return u.storeResult(s.name, &d.result)
	}
	if _, err := u.overwrite(s.name, s.of); err != nil {
		return err
	}
	d.takeDraft(u, &u.record, 0)
	u.W.Int(u.record.Count())
	return nil
}

// overwrite makes room for a result under a name: u.record is a key that is not there. limit is the cap of what comes.
func (u *Update) overwrite(name []byte, of types.Type) (limit int64, err error) {
	if u.record, err = u.open(name); err != nil {
		return 0, err
	}
	if limit, err = u.ledger.CapOver(&u.record, of); err == nil && u.record.Exists {
		u.ledger.Remove(&u.record)
	}
	return limit, err
}

// storeResult makes a result that is in memory the value of a key; an empty one is no key.
func (u *Update) storeResult(name []byte, r *result) error {
	limit, err := u.overwrite(name, r.of)
	if err == nil {
		r.sort()
		r.expectNoMore()
		r.converted = r.converted || r.judged && u.set.needsSkiplist(r.members)
		err = u.putMembers(r, r.members, limit)
	}
	if err == nil {
		u.W.Int(u.record.Count())
	}
	return err
}

// result is what a command stores: the members of a set, or of a sorted set with their scores. They gather in memory, and when that are too many, in
// the draft, if there is one.
type result struct {
	of        types.Type
	converted bool // Redis begins with the larger encoding …
	judged    bool // … or with a skiplist, and makes a listpack of it if that can hold it

	places    map[string]int                   // of those members that are in memory, if one may come again; nil: none does
	aggregate func(sum, score float64) float64 // what then becomes of its score; nil: it has none

	members []scoredMember
	bytes   int
	draft   *Drafting
	drafted bool // some are there

	runBytes      int   // that may be in memory
	elements, sum int64 // there will be at most so many, of so many bytes, about
}

// scoredMember is a member outside of its sorted set, or, without a score, of its set.
type scoredMember struct {
	member []byte
	score  float64
}

// draftMembers is how many members of a draft are one batch, memberBytes what one takes in memory beside its name.
const (
	draftMembers = 500
	memberBytes  = 96
	scoreBytes   = 8
)

func (r *result) add(member []byte, score float64) error {
	if i, again := r.places[string(member)]; again {
		if r.aggregate != nil {
			r.members[i].score = r.aggregate(r.members[i].score, score)
		}
		return nil
	}
	if r.places != nil {
		r.places[string(member)] = len(r.members)
	}
	r.members = append(r.members, scoredMember{bytes.Clone(member), score})
	r.bytes += len(member) + memberBytes
	if r.draft != nil && r.bytes >= r.runBytes {
		return r.flush()
	}
	return nil
}

// nextSource is called when members may come again that have come from another source: scores are added up in the order of the sources.
func (r *result) nextSource() error {
	if r.drafted {
		return r.flush()
	}
	return nil
}

// flush moves the members from memory into the draft. Those of a sorted set go there in the order of their scores, which is what makes the run in
// memory worth while; those of a set come in the order of their hashes.
func (r *result) flush() error {
	r.sort()
	r.converted = r.converted || r.judged && r.draft.d.needsSkiplist(r.members)
	for run := r.members; len(run) > 0; {
		n, bytes := 0, 0
		for n < min(len(run), draftMembers) && bytes < stageBatchBytes {
			bytes += len(run[n].member)
			n++
		}
		if err := r.draft.Do(func(u *Update) error { return u.putMembers(r, run[:n], 0) }); err != nil {
			return err
		}
		r.drafted = true
		run = run[n:]
	}
	r.members, r.bytes = r.members[:0], 0
	clear(r.places)
	return nil
}

// sort puts members into the order in which neighbours share leaves, where the encoding does not depend on who comes first.
func (r *result) sort() {
	if r.judged {
		slices.SortFunc(r.members, compareScored)
	}
}

// finish completes the draft, if there is one, and has it keep to a cap.
func (r *result) finish(limit int64) error {
	if !r.drafted {
		if few(int64(len(r.members)), int64(r.bytes)) {
			return nil
		}
		r.expectNoMore()
	}
	err := r.flush()
	for more := true; more && err == nil; {
		err = r.draft.Do(func(u *Update) error {
			more, err = u.fitDraft(r.of)
			return err
		})
	}
	for err == nil && limit > 0 && r.draft.draft.Cap() != limit {
		err = r.draft.Do(func(u *Update) error { return u.capDraft(limit) })
	}
	return err
}

// expectNoMore is called when all members are in memory.
func (r *result) expectNoMore() {
	r.elements, r.sum = int64(len(r.members)), 0
	for _, m := range r.members {
		r.sum += int64(len(m.member))
	}
}

// fitDraft joins some buckets of a draft that has become smaller than was expected.
func (u *Update) fitDraft(of types.Type) (more bool, err error) {
	if of == types.Set {
		e, err := u.ledger.EditElements(&u.record, of)
		if err == nil {
			more, err = e.Fit(draftMembers)
		}
		if err == nil {
			e.Save()
		}
		return more, err
	}
	e, err := u.ledger.EditZSet(&u.record, 2)
	if err == nil {
		more, err = e.Fit(draftMembers)
	}
	if err == nil {
		err = e.Save()
	}
	return more, err
}

// cutDraft removes the ranks [i, j) of a draft.
func (u *Update) cutDraft(i, j int64) error {
	e, err := u.ledger.EditZSet(&u.record, 2)
	if err == nil {
		err = e.RemoveRange(i, j)
	}
	if err != nil {
		return err
	}
	return e.Save()
}

// capDraft drops some of the members that exceed a cap. When none do, the draft gets the cap.
func (u *Update) capDraft(limit int64) error {
	e, err := u.ledger.EditZSet(&u.record, 2)
	if err != nil {
		return err
	}
	over := e.Len() - limit
	if err := e.RemoveRange(0, min(over, draftMembers)); err != nil {
		return err
	}
	if over <= draftMembers {
		e.SetCap(limit)
	}
	return e.Save()
}

// putMembers adds some members to u.record, a draft or a key.
func (u *Update) putMembers(r *result, members []scoredMember, limit int64) error {
	names := make([][]byte, len(members))
	for i := range names {
		names[i] = members[i].member
	}
	if r.of == types.ZSet {
		return u.putScoredMembers(r, members, names, limit)
	}
	e, err := u.ledger.EditElements(&u.record, types.Set)
	if err == nil {
		err = e.Need(names)
	}
	if err != nil {
		return err
	}
	e.Expect(r.elements, r.sum)
	if r.converted && len(names) > 0 {
		e.Convert()
	}
	for _, name := range names {
		if _, err := u.addMember(e, name); err != nil {
			return err
		}
	}
	e.Save()
	return nil
}

func (u *Update) putScoredMembers(r *result, members []scoredMember, names [][]byte, limit int64) error {
	e, err := u.ledger.EditZSet(&u.record, len(names))
	if err == nil {
		err = e.Need(names)
	}
	if err != nil {
		return err
	}
	e.Expect(r.elements, r.sum+scoreBytes*r.elements)
	if limit > 0 {
		e.SetCap(limit)
	}
	if r.converted && len(names) > 0 {
		e.Convert()
	}
	missed := false
	for _, m := range members {
		if !missed {
			err := u.putAggregated(e, r, m)
			if missed = err == storage.ErrMiss; err != nil && !missed {
				return err
			}
		}
		if missed {
			e.Foresee(m.member, m.score)
		}
	}
	if missed {
		return storage.ErrMiss
	}
	return e.Save()
}

// putAggregated puts a member that an earlier batch of the draft may have put.
func (u *Update) putAggregated(e types.ZSetEdit, r *result, m scoredMember) error {
	found := false
	if r.drafted && r.places != nil {
		sum, is, err := e.Score(m.member)
		if err != nil {
			return err
		}
		if found = is; found {
			m.score = r.aggregate(sum, m.score)
		}
	}
	return u.putScore(e, m.member, m.score, !found)
}

// needsSkiplist tells whether Redis would not keep the members in a listpack.
func (d *DataSet) needsSkiplist(members []scoredMember) bool {
	limits := &d.encodings
	tooLong := func(m scoredMember) bool { return int64(len(m.member)) > limits.ZSetBytes.Load() }
	return int64(len(members)) > limits.ZSetEntries.Load() || slices.ContainsFunc(members, tooLong)
}

// few tells whether a command may combine so many elements, of so many bytes, under the lock.
func few(elements, bytes int64) bool { return elements <= scanInline && bytes <= StagedAbove }
