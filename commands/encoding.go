package commands

import (
	"sync/atomic"

	"sett/types"
)

// Encodings say until when Redis keeps a collection in its smaller encoding: intset or listpack. Here they decide what OBJECT ENCODING answers;
// how a collection lies in the store is types' own affair. They may be changed at any time.
type Encodings struct {
	SetIntsetEntries       atomic.Int64 // set_max_intset_entries
	HashEntries, HashBytes atomic.Int64 // hash_max_listpack_entries, and of the longest field or value: hash_max_listpack_value
	ZSetEntries, ZSetBytes atomic.Int64 // zset_max_listpack_entries, and of the longest member: zset_max_listpack_value
}

func (e *Encodings) reset() {
	e.SetIntsetEntries.Store(512)
	e.HashEntries.Store(512)
	e.HashBytes.Store(64)
	e.ZSetEntries.Store(128)
	e.ZSetBytes.Store(64)
}

// Encodings are the limits of this data set.
func (d *DataSet) Encodings() *Encodings { return &d.encodings }

// encodingOf is the name of a value's encoding in Redis.
func encodingOf(m *types.Meta) string {
	switch m.Type {
	case types.String:
		return stringEncoding(m)
	case types.Set:
		return oneOf(m.Converted(), "hashtable", "intset")
	case types.Hash:
		return oneOf(m.Converted(), "hashtable", oneOf(m.FieldsExpireAtMs() != 0, "listpackex", "listpack"))
	case types.ZSet:
		return oneOf(m.Converted(), "skiplist", "listpack")
	}
	return "quicklist"
}

func oneOf(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}
