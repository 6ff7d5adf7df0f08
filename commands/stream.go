package commands

import (
	"bytes"

	"sett/storage"
	"sett/types"
)

// streamBytes is the longest string that is copied into a reply. What is longer is read while the reply leaves, from a view that was taken when
// the command ran: later writers neither wait for the client nor change what it gets.
const streamBytes = 1 << 20

// replyRange writes the bytes [from, to) of a string.
func (q *Query) replyRange(m *types.Meta, from, to int) error {
	if to-from > streamBytes {
		return q.streamRange(m, from, to)
	}
	if value, ok := m.Inline(); ok {
		q.W.Bulk(value[from:to])
		return nil
	}
	return q.W.BulkFill(to-from, func(dst []byte) ([]byte, error) { return types.AppendString(q.data, m, dst, from, to) })
}

func (q *Query) streamRange(m *types.Meta, from, to int) error {
	// Damage that is met at the beginning can still be an ordinary error.
	if _, err := q.stringBytes(m, from, from+1); err != nil {
		return err
	}
	if q.streams == nil || q.streams.open == 0 { // 0: a step of MULTI that failed had the only ones, and its replies are gone
		q.streams = &streams{view: q.view()}
	}
	s := &stringSource{streams: q.streams}
	s.pieces = types.NewPieces(q.over(q.streams.view, m, q.streams.keep), m, from, to)
	q.streams.open++
	q.W.BulkFrom(to-from, s)
	return nil
}

// view takes a view that outlives the round. It sees nothing of the batch around the query.
func (q *Query) view() *storage.View {
	if q.txn != nil {
		return q.txn.Reader.View()
	}
	return q.data.(*storage.Reader).View()
}

// over is what a string's records are read from: the view, beneath what the batch around the query has done to them so far, which keep may
// copy: its memory is used again after the round.
func (q *Query) over(v *storage.View, m *types.Meta, keep func(key, value []byte) []byte) types.Walker {
	if q.txn == nil || !q.txn.Wrote() {
		return v
	}
	var own map[string][]byte
	q.txn.Effects(func(key []byte) {
		if !m.OwnsRecord(key) {
			return
		}
		if own == nil {
			own = make(map[string][]byte)
		}
		if _, known := own[string(key)]; !known {
			value, _ := q.txn.Get(key) // its own effects are always in memory
			own[string(key)] = keep(key, value)
		}
	})
	if own == nil {
		return v
	}
	return &overlay{v, own}
}

// asIs is the keep of who reads within the round.
func asIs(_, value []byte) []byte { return value }

// overlay is a view with some records of a batch that came after it.
type overlay struct {
	view *storage.View
	own  map[string][]byte // nil: deleted
}

func (o *overlay) Get(key []byte) ([]byte, error) {
	if value, ok := o.own[string(key)]; ok {
		return value, nil
	}
	return o.view.Get(key)
}

// Walk leaves out what the view does not have.
func (o *overlay) Walk(lower, upper []byte, each func(key, value []byte)) error {
	return o.view.Walk(lower, upper, func(key, value []byte) {
		if own, ok := o.own[string(key)]; ok {
			value = own
		}
		if value != nil {
			each(key, value)
		}
	})
}

// streams are the strings that the replies of one round stream, all from one view. The last one to be closed closes it.
type streams struct {
	view   *storage.View
	open   int
	copies map[string][]byte // the newest copy of each record of the batch: a string that is read again and again costs it once
}

// keep copies a record of the batch.
func (s *streams) keep(key, value []byte) []byte {
	if value == nil {
		return nil
	}
	if kept, ok := s.copies[string(key)]; ok && bytes.Equal(kept, value) {
		return kept
	}
	if s.copies == nil {
		s.copies = make(map[string][]byte)
	}
	kept := bytes.Clone(value)
	s.copies[string(key)] = kept
	return kept
}

// pieceBytes is how much is gathered of a string that lies in small pieces before it is sent.
const pieceBytes = 64 << 10

// stringSource is a string on its way out: a resp.Source.
type stringSource struct {
	streams *streams
	pieces  *types.Pieces
	buf     []byte // small pieces
}

func (s *stringSource) Next() ([]byte, error) {
	s.buf = s.buf[:0]
	for len(s.buf) < pieceBytes {
		piece, err := s.pieces.Next()
		switch {
		case err != nil:
			return nil, err
		case len(piece) == 0:
			return s.buf, nil
		case len(s.buf) == 0 && len(piece) >= pieceBytes/2:
			return piece, nil
		}
		s.buf = append(s.buf, piece...)
	}
	return s.buf, nil
}

func (s *stringSource) Close() {
	if s.streams.open--; s.streams.open == 0 {
		s.streams.view.Close()
	}
}
