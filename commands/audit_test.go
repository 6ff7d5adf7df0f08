package commands

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// audit walks all records of the store and checks what the ledger promises: counters, expiry rows and the records of dead blobs are
// exactly those that follow from the meta records.
func (h *house) audit() {
	h.t.Helper()
	v, err := h.store.View()
	if err != nil {
		h.t.Fatal(err)
	}
	defer v.Close()
	each := func(lower, upper []byte, f func(key, value []byte)) {
		it := v.Iterate(lower, upper)
		defer it.Close()
		for ok := it.Seek(lower); ok; ok = it.Next() {
			f(it.Key(), it.Value())
		}
		if err := it.Err(); err != nil {
			h.t.Fatal(err)
		}
	}
	spaces, dead := map[uint32]bool{}, map[uint64]bool{}
	for db := range h.set.Databases() {
		spaces[h.space(db)] = true
	}
	each([]byte("d"), []byte("e"), func(key, _ []byte) {
		kind, id, ok := types.DecodeDead(key)
		switch {
		case !ok:
			h.t.Fatalf("%q is no dead record", key)
		case kind == types.DeadCollection:
		case kind == types.DeadKeyspace:
			if spaces[uint32(id)] {
				h.t.Errorf("keyspace %d is in use and dead", id)
			}
			spaces[uint32(id)] = true // its keys still own their blobs
		default:
			dead[id] = true
		}
	})
	var metas []types.Meta
	for space := range spaces {
		var want storage.Tally
		rows := map[string]string{}
		each(types.AppendMetaPlace(nil, space, types.Place{}), types.AppendMetaEnd(nil, space), func(key, value []byte) {
			m, err := types.DecodeMeta(key, value)
			if err != nil {
				h.t.Fatal(err)
			}
			want.Keys++
			name, err := m.ReadName(v, key)
			if err != nil {
				h.t.Fatal(err)
			}
			want.Bytes += int64(len(name)) + m.ValueBytes()
			if m.ExpireAtMs != 0 {
				want.Expires++
				size := int64(ttl.NotLight)
				if value, inline := m.Inline(); inline && m.Type == types.String && m.InKey() {
					size = int64(len(name) + len(value))
				}
				rows[string(ttl.AppendRow(nil, space, m.ExpireAtMs, ttl.KindKey, key[5:]))] = string(ttl.AppendRowValue(nil, size))
			}
			if at := m.FieldsExpireAtMs(); at != 0 {
				want.Mortal++
				rows[string(ttl.AppendRow(nil, space, at, ttl.KindFields, key[5:]))] = string(ttl.AppendRowValue(nil, ttl.NotLight))
			}
			m.Payload = bytes.Clone(m.Payload)
			metas = append(metas, m)
		})
		if got := h.tally(space); got != want {
			h.t.Errorf("keyspace %d: counters %+v, want %+v", space, got, want)
		}
		lower := ttl.AppendRow(nil, space, 0, ttl.KindKey, nil)
		each(lower[:5], binary.BigEndian.AppendUint32([]byte{'x'}, space+1), func(key, value []byte) {
			if want := rows[string(key)]; want != string(value) {
				h.t.Errorf("expiry row %q is %q, want %q (nothing: it belongs to no key)", key, value, want)
			}
			delete(rows, string(key))
		})
		for row := range rows {
			h.t.Errorf("expiry row %q is missing", row)
		}
	}
	each([]byte("B"), []byte("C"), func(key, _ []byte) {
		owners := 0
		if dead[binary.BigEndian.Uint64(key[1:])] {
			owners++
		}
		for i := range metas {
			if metas[i].OwnsRecord(key) {
				owners++
			}
		}
		if owners != 1 {
			h.t.Errorf("blob %d has %d owners, death among them", binary.BigEndian.Uint64(key[1:]), owners)
		}
	})
	// An iterator is within one collection: that each has one owner is for sett check to say.
}

// asked is a Runner made of a func.
type asked func() error

func (f asked) Run() error { return f() }

func (h *house) space(db int) (space uint32) {
	var r storage.Reader
	if err := h.store.Read(&r, asked(func() (err error) { space, err = types.LookupKeyspace(&r, db); return err })); err != nil {
		h.t.Fatal(err)
	}
	return space
}

func (h *house) tally(space uint32) (tally storage.Tally) {
	var r storage.Reader
	if err := h.store.Read(&r, asked(func() error { tally = r.Tally(space); return nil })); err != nil {
		h.t.Fatal(err)
	}
	return tally
}

// sweep removes everything that is past its time.
func (h *house) sweep() {
	h.t.Helper()
	s := ttl.NewSweeper(ttl.SweeperOptions{
		View: h.store.View, Clock: h.set.Clock(), Keyspaces: h.set.ExpiringKeyspaces, Remove: h.set.Sweep, BatchKeys: 7,
	})
	for db := range h.set.Databases() {
		if err := s.Sweep(h.space(db)); err != nil {
			h.t.Fatal(err)
		}
	}
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func zeros(n int) string { return string(bytes.Repeat([]byte{0}, n)) }
