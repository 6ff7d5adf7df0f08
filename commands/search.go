package commands

import (
	"slices"

	"sett/storage"
	"sett/types"
)

// listSearch is what LINSERT and LREM look for in a list before they change it. A few elements are looked at under the lock; a search through more
// goes on from the beginning on a view, like other values that are derived (derive.go): the list is watched meanwhile, and what has not been
// touched is changed at the places that the search has found.
type listSearch struct {
	value    []byte
	limit    int64 // how many elements; below 0: all
	backward bool  // the last ones
	removes  bool  // what is found goes

	places []int64  // of the elements, in ascending order
	nodes  []uint64 // of the list's tree, that a change there reads
	bytes  int64    // reserved for both
}

// searchStep is how many elements a search passes before it looks whether what it has found may be in memory, searchMisses how often one under
// the lock may come to what is not in memory.
const (
	searchStep   = 64 << 10
	searchMisses = 2
	placeBytes   = 8
)

// search returns the places of what is looked for in a list that is open, in ascending order.
func (u *Update) search(s *types.ListValue, f *listSearch) (places []int64, err error) {
	d := u.derive
	if d != nil && d.current(u) {
		return d.search.places, s.Need(u.data, d.search.nodes)
	}
	n := u.looksAt(s)
	if d == nil || d.misses < searchMisses && (f.limit > 0 || n >= s.Len()) {
		over := false
		places, over, err = f.lookAt(s, u.data, n)
		if err == storage.ErrMiss && d != nil {
			d.misses++
		}
		if err != nil || over {
			return places, s.FetchAhead(u.data, err, f.backward)
		}
	}
	return nil, d.askSearch(u, f)
}

// looksAt is how many elements of a list are looked at under the lock.
func (u *Update) looksAt(s *types.ListValue) int64 {
	if u.derive == nil {
		return s.Len()
	}
	return min(scanInline, scanInlineBytes*s.Len()/max(1, s.Bytes()))
}

func (f *listSearch) finding() types.Finding {
	return types.Finding{Value: f.value, Limit: f.limit, Backward: f.backward}
}

// lookAt searches among the first n elements, or the last ones; over tells that there is nothing to be found behind them.
func (f *listSearch) lookAt(s *types.ListValue, g types.Getter, n int64) (places []int64, over bool, err error) {
	finding := f.finding()
	s.Begin(&finding)
	over, err = s.Search(g, &finding, n)
	if f.backward {
		slices.Reverse(finding.Places)
	}
	return finding.Places, over, err
}

// askSearch is ask for a search.
func (s *derived) askSearch(u *Update, f *listSearch) error {
	if s.ready { // the list was touched
		s.search.forget(u.set)
		s.ready = false
	}
	s.search = f
	return s.note(u, []types.Record{u.record}, 0)
}

// run searches through the list as a view shows it.
func (f *listSearch) run(d *DataSet, view *storage.View, m *types.Meta) error {
	err := f.find(d, view, m)
	if err != nil {
		f.forget(d)
	}
	return err
}

func (f *listSearch) find(d *DataSet, view *storage.View, m *types.Meta) error {
	var s types.ListValue
	if err := s.Open(m); err != nil {
		return err
	}
	finding := f.finding()
	s.Begin(&finding)
	for over := false; !over; {
		var err error
		if over, err = s.Search(view, &finding, searchStep); err != nil {
			return err
		}
		if err := f.reserve(d, len(finding.Places)); err != nil {
			return err
		}
	}
	if f.places = finding.Places; f.backward {
		slices.Reverse(f.places)
	}
	return f.findNodes(d, view, m, &s)
}

// findNodes notes what the batch that changes the list will need, so that it gets it in one round.
func (f *listSearch) findNodes(d *DataSet, view *storage.View, m *types.Meta, s *types.ListValue) (err error) {
	if len(f.places) == 0 || int64(len(f.places)) == s.Len() {
		return nil
	}
	if f.removes {
		f.nodes, err = s.NodesAround(view, f.places, f.value)
	} else {
		place := f.places[0]
		around := []int64{max(0, place-1), place} // the new element may go to the leaf before
		if m.Cap() > 0 {
			around = []int64{0, max(0, place-1), place, s.Len() - 1} // an end is trimmed
		}
		f.nodes, err = s.NodesAround(view, around, nil)
	}
	if err == nil {
		err = f.reserve(d, len(f.places)+len(f.nodes))
	}
	return err
}

// reserve counts so many places and nodes for staged_max_bytes.
func (f *listSearch) reserve(d *DataSet, n int) error {
	more := int64(n)*placeBytes - f.bytes
	if more <= 0 {
		return nil
	}
	err := d.staged.reserve(more, d.opts.StagedMax)
	if err == nil {
		f.bytes += more
	}
	return err
}

// forget gives back what is reserved.
func (f *listSearch) forget(d *DataSet) {
	d.staged.release(f.bytes)
	f.bytes = 0
}
