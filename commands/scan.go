package commands

import (
	"bytes"
	"slices"
	"strconv"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// SCAN, KEYS and RANDOMKEY read a view, in the order of places (types.Place). A cursor is a place and nothing else: it can be taken up
// again after any change to the keys, after a restart, and on another node.

// scanState is what the first half of SCAN and KEYS leaves to the second.
type scanState struct {
	cursor  uint64
	count   int64
	pattern []byte // nil: everything
	typ     []byte // nil: every type
}

const defaultScanCount = 10

func scanStart(q *Query) error {
	cursor, ok := parseCursor(q.Args[1])
	if !ok {
		return ErrInvalidCursor
	}
	s := scanState{cursor: cursor, count: defaultScanCount}
	if err := s.parse(q.Args[2:], true); err != nil {
		return err
	}
	q.state = s
	_, err := q.keyspace()
	return err
}

// parse reads the options of SCAN, or those that are left of them for the scans of one key.
func (s *scanState) parse(args [][]byte, ofKeys bool) error {
	for ; len(args) > 0; args = args[2:] {
		if len(args) == 1 {
			return ErrSyntax
		}
		switch option, value := args[0], args[1]; {
		case is(option, "count"):
			n, err := intArg(value)
			if err != nil {
				return err
			}
			if n < 1 {
				return ErrSyntax
			}
			s.count = n
		case is(option, "match"):
			s.setPattern(value)
		case is(option, "type") && ofKeys:
			s.typ = value
		default:
			return ErrSyntax
		}
	}
	return nil
}

func (s *scanState) setPattern(pattern []byte) {
	s.pattern = pattern
	if string(pattern) == "*" {
		s.pattern = nil
	}
}

// shows tells whether a live key is to be listed.
func (s *scanState) shows(name []byte, m *types.Meta) bool {
	return (s.pattern == nil || resp.Glob(s.pattern, name, false)) && (s.typ == nil || is(s.typ, m.Type.String()))
}

// scanView looks at COUNT keys, and at as many more as share the last one's place.
func scanView(q *Query, v *storage.View) error {
	s := q.state
	var names [][]byte
	next := uint64(0)
	if from, ok := types.PlaceAt(s.cursor); ok {
		w := q.walk(v)
		defer w.close()
		var last types.Place
		for ok := w.seek(from); ok; ok = w.next() {
			place := types.MetaPlace(w.key)
			if s.count <= 0 && place != last {
				next = last.Cursor() + 1
				break
			}
			last = place
			s.count--
			m, live, err := w.meta()
			if err != nil {
				return err
			}
			if !live {
				q.meetExpired(w.key, &m)
				continue
			}
			name, err := w.name(&m)
			if err != nil {
				return err
			}
			if s.shows(name, &m) {
				names = append(names, bytes.Clone(name))
			}
		}
		if err := w.err(); err != nil {
			return err
		}
	}
	q.W.Array(2)
	q.W.BulkString(strconv.FormatUint(next, 10))
	q.W.Array(len(names))
	for _, name := range names {
		q.W.Bulk(name)
	}
	return nil
}

func keysStart(q *Query) error {
	q.state = scanState{}
	q.state.setPattern(q.Args[1])
	_, err := q.keyspace()
	return err
}

func keysView(q *Query, v *storage.View) error {
	w := q.walk(v)
	defer w.close()
	mark, n := q.W.Len(), 0
	for ok := w.seek(types.Place{}); ok; ok = w.next() {
		m, live, err := w.meta()
		if err != nil {
			return err
		}
		if !live {
			continue
		}
		name, err := w.name(&m)
		if err != nil {
			return err
		}
		if q.state.shows(name, &m) {
			q.W.Bulk(name)
			n++
		}
	}
	q.W.ArrayAt(mark, n)
	return w.err()
}

func randomKeyStart(q *Query) error {
	_, err := q.keyspace()
	return err
}

const (
	randomWindow = 16      // live keys from which RANDOMKEY chooses
	randomLimit  = 100_000 // records it looks at, at most: the rest is waiting for the sweeper
)

// randomKeyView draws a slot, takes the first one from there on that has keys, draws a hash in it, and chooses among the keys that
// follow. Drawing both at once would always end at the same keys if few slots are in use.
func randomKeyView(q *Query, v *storage.View) error {
	w := q.walk(v)
	defer w.close()
	from := types.Place{Slot: uint16(q.Random() % types.Slots)}
	if w.seek(from) || w.seek(types.Place{}) {
		from = types.Place{Slot: types.MetaPlace(w.key).Slot, Hash: uint32(q.Random())}
	}
	var names [][]byte
	looked := 0
	// Once from there to the end, and once from the beginning.
	for round, ok := 0, w.seek(from); round < 2 && len(names) < randomWindow && looked < randomLimit; {
		if !ok {
			round, ok = round+1, w.seek(types.Place{})
			continue
		}
		if round == 1 && !types.MetaPlace(w.key).Before(from) {
			break
		}
		looked++
		m, live, err := w.meta()
		if err != nil {
			return err
		}
		if live {
			name, err := w.name(&m)
			if err != nil {
				return err
			}
			names = append(names, bytes.Clone(name))
		} else {
			q.meetExpired(w.key, &m)
		}
		ok = w.next()
	}
	if err := w.err(); err != nil {
		return err
	}
	if len(names) == 0 {
		q.W.Null()
		return nil
	}
	q.W.Bulk(names[q.Random()%uint64(len(names))])
	return nil
}

// walk goes through the meta records of a keyspace: as a view shows them, changed by what the batch around the query has done so far.
type walk struct {
	q      *Query
	v      *storage.View
	it     *storage.Iterator
	itOK   bool     // it stands on a record
	own    [][]byte // meta keys that the batch has changed, sorted
	at     int      // the next of own
	bound  []byte   // scratch
	key    []byte   // of the present record, valid until the next move
	value  []byte
	failed error
}

func (q *Query) walk(v *storage.View) *walk {
	w := &walk{q: q, v: v}
	w.it = v.Iterate(types.AppendMetaPlace(nil, q.space, types.Place{}), types.AppendMetaEnd(nil, q.space))
	if q.txn == nil {
		return w
	}
	q.txn.Effects(func(key []byte) {
		if types.IsMeta(key) && types.MetaKeyspace(key) == q.space {
			w.own = append(w.own, bytes.Clone(key))
		}
	})
	slices.SortFunc(w.own, bytes.Compare)
	w.own = slices.CompactFunc(w.own, bytes.Equal)
	return w
}

// seek moves to the first record at a place or behind it.
func (w *walk) seek(p types.Place) bool {
	w.bound = types.AppendMetaPlace(w.bound[:0], w.q.space, p)
	w.itOK = w.it.Seek(w.bound)
	w.at, _ = slices.BinarySearchFunc(w.own, w.bound, bytes.Compare)
	return w.settle()
}

// next moves on.
func (w *walk) next() bool {
	if w.at < len(w.own) && bytes.Equal(w.own[w.at], w.key) {
		w.at++
	} else {
		w.itOK = w.it.Next()
	}
	return w.settle()
}

// settle makes the lower of the two records the present one. The batch's own hides the view's of the same key.
func (w *walk) settle() bool {
	for w.failed == nil {
		order := -1
		switch {
		case w.at == len(w.own) && !w.itOK:
			return false
		case w.at == len(w.own):
		case !w.itOK:
			order = 1
		default:
			order = bytes.Compare(w.it.Key(), w.own[w.at])
		}
		if order < 0 {
			w.key, w.value = w.it.Key(), w.it.Value()
			return true
		}
		if order == 0 {
			w.itOK = w.it.Next()
		}
		w.key = w.own[w.at]
		if w.value, w.failed = w.q.txn.Get(w.key); w.value != nil {
			return true
		}
		w.at++ // deleted by the batch
	}
	return false
}

// meta decodes the present record; live is false if its time is past.
func (w *walk) meta() (m types.Meta, live bool, err error) {
	m, err = types.DecodeMeta(w.key, w.value)
	return m, err == nil && !m.ExpiredAt(w.q.Now), err
}

// name is that of the present record, m; it is valid until the next move.
func (w *walk) name(m *types.Meta) ([]byte, error) {
	if m.InKey() {
		return m.ReadName(w.v, w.key)
	}
	return m.ReadName(w.q.over(w.v, m, asIs), w.key)
}

func (w *walk) err() error {
	if w.failed != nil {
		return w.failed
	}
	return w.it.Err()
}

func (w *walk) close() { w.it.Close() }
