package types

import (
	"bytes"
	"encoding/binary"

	"sett/storage"
	"sett/ttl"
)

// Type is a Redis type. Its number is part of the disk format.
type Type byte

// The types.
const (
	String Type = iota
	List
	Set
	ZSet
	Hash
	Stream
)

var typeNames = [...]string{"string", "list", "set", "zset", "hash", "stream"}

// String is the name that TYPE answers.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// Reader is what lookups read from: a storage.Reader under the shared lock, or the Txn of a batch.
type Reader interface {
	Get(key []byte) ([]byte, error)
	Append(dst, key []byte) ([]byte, error)
	Need(keys ...[]byte) error
	Tally(keyspace uint32) storage.Tally
}

// Meta is a meta record taken apart. The record is
//
//	type(4 bits) format(4 bits) · flags(1) · expireAt ms(8), if flagged · name's blob id(8) length(8), if flagged · payload
//
// and the payload of a string is in string.go, that of a collection in collection.go.
type Meta struct {
	Exists     bool // false in the zero Meta: there is no such key
	Type       Type
	Format     byte
	OwnsBlobs  bool
	Encoding   Encoding // of a string
	ExpireAtMs int64    // 0: never
	Payload    []byte
	name       nameBlob
	held       holdings // of a collection, as its payload says; the zero one: nobody has looked
}

const (
	flagExpires   = 1 << 0
	flagOwnsBlobs = 1 << 1
	flagLongName  = 1 << 2
	encodingShift = 3 // two bits
	knownFlags    = flagExpires | flagOwnsBlobs | flagLongName | 3<<encodingShift
)

// AppendMetaRecord appends the record's value to dst.
func AppendMetaRecord(dst []byte, m *Meta) []byte {
	flags := byte(m.Encoding) << encodingShift
	if m.OwnsBlobs {
		flags |= flagOwnsBlobs
	}
	if m.ExpireAtMs != 0 {
		flags |= flagExpires
	}
	if !m.InKey() {
		flags |= flagLongName
	}
	dst = append(dst, byte(m.Type)<<4|m.Format, flags)
	if m.ExpireAtMs != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.ExpireAtMs))
	}
	if !m.InKey() {
		dst = binary.BigEndian.AppendUint64(dst, m.name.id)
		dst = binary.BigEndian.AppendUint64(dst, m.name.length)
	}
	return append(dst, m.Payload...)
}

// DecodeMeta takes a meta record apart. The payload points into it.
func DecodeMeta(key, record []byte) (Meta, error) {
	if len(record) < 2 || record[1]&^knownFlags != 0 || int(record[0]>>4) >= len(typeNames) {
		return Meta{}, corruptMeta(key)
	}
	m := Meta{
		Exists:    true,
		Type:      Type(record[0] >> 4),
		Format:    record[0] & 15,
		OwnsBlobs: record[1]&flagOwnsBlobs != 0,
		Encoding:  Encoding(record[1] >> encodingShift & 3),
		Payload:   record[2:],
	}
	if record[1]&flagExpires != 0 {
		if len(record) < 10 {
			return Meta{}, corruptMeta(key)
		}
		m.ExpireAtMs = int64(binary.BigEndian.Uint64(record[2:]))
		m.Payload = record[10:]
		if m.ExpireAtMs <= 0 {
			return Meta{}, corruptMeta(key)
		}
	}
	if record[1]&flagLongName != 0 {
		if len(m.Payload) < 16 {
			return Meta{}, corruptMeta(key)
		}
		m.name = nameBlob{binary.BigEndian.Uint64(m.Payload), binary.BigEndian.Uint64(m.Payload[8:])}
		m.Payload = m.Payload[16:]
		if m.name.id == 0 || m.name.length <= MaxNameBytes || m.name.length > maxStringBytes {
			return Meta{}, corruptMeta(key)
		}
	}
	if m.Type == String && !m.validString() || m.Type != String && !m.validCollection() {
		return Meta{}, corruptMeta(key)
	}
	return m, nil
}

func corruptMeta(key []byte) error {
	return &storage.CorruptError{Key: append([]byte(nil), key...), Reason: "meta record of an unknown form"}
}

// ExpiredAt tells whether the record's time is past. As in Redis, a key still lives in the millisecond of its expireAt.
func (m *Meta) ExpiredAt(nowMs int64) bool { return m.ExpireAtMs != 0 && nowMs > m.ExpireAtMs }

// ReadMeta returns the record under a meta key, past its time or not; the zero Meta if there is none.
func ReadMeta(r Reader, key []byte) (Meta, error) {
	record, err := r.Get(key)
	if err != nil || record == nil {
		return Meta{}, err
	}
	return DecodeMeta(key, record)
}

// Lookup returns the live meta record under a meta key, or the zero Meta.
func Lookup(r Reader, key []byte, nowMs int64) (Meta, error) {
	m, err := ReadMeta(r, key)
	if err != nil || m.ExpiredAt(nowMs) {
		return Meta{}, err
	}
	return m, nil
}

// bytes is what the value adds to the counter of bytes.
func (m *Meta) bytes() int64 {
	if m.Type == String {
		return int64(m.StringLen())
	}
	c := m.collection()
	return c.valueBytes()
}

// ValueBytes is what the value adds to the keyspace's counter of bytes.
func (m *Meta) ValueBytes() int64 { return m.bytes() }

// Ledger is the door through which meta records are written. What must agree with them – the keyspace's counters, the expiry rows, the
// dead records of blobs and collections – it writes itself, so that no command can forget it.
//
// Records of one batch are opened and written one after the other: a Record that was opened must not be written after another Record of
// the same key was.
type Ledger struct {
	txn     *storage.Txn
	nowMs   int64
	options Options
	key     []byte // scratch for keys of rows, dead records and blobs
	value   []byte // scratch for records
	row     []byte // scratch for values of rows
	payload []byte // scratch for the payload of a collection's
	shape   []byte // … and for its shape
	edit    Edit
	string  []byte  // scratch for a string, or a page of one, that is changed
	one     [1]byte // scratch for one byte of it

	// Changes counts the keys written or removed, as often as they are: what Redis calls dirty. A command that counts elements corrects it.
	Changes int

	// Expired counts the expired records removed, which are no changes; Due is the earliest expireAt in the past that a row was written with (0: none):
	// the sweeper may have walked past it. All since Begin.
	Expired       int
	ExpiredFields int // expired fields of hashes removed
	Due           int64

	// Adopted are the staged blobs that became values since Begin.
	Adopted []StagedBlob

	// Quiet are the effects, by their number in the Txn, of which who watches the key is not told: they change how a value counts and not the
	// value, or Redis does not tell either.
	Quiet []int
}

// Options say how values are stored. Zero fields get the defaults of config.toml.
type Options struct {
	ThresholdBytes int // longer strings are blobs: value_threshold, 16 KiB
	ChunkBytes     int // size of a blob's chunks: blob_chunk, 64 KiB

	// PackedMaxBytes is what a meta record may hold: longer strings become paged when they are changed in place, collections of more bytes
	// or of more than PackedMaxEntries elements spread. packed_max_bytes, 2 KiB, ThresholdBytes at most; packed_max_entries, 128.
	PackedMaxBytes   int
	PackedMaxEntries int

	ManyFields int // of a spread hash of as many fields, values that are not short lie apart (datum.go): 512

	Keys *Keys // the store's

	Matches func(pattern, name []byte) bool // how the patterns of caps are compared with names; needed where there are some
}

// Filled are the options with their defaults filled in.
func (o Options) Filled() Options {
	if o.ThresholdBytes == 0 {
		o.ThresholdBytes = 16 << 10
	}
	if o.ChunkBytes == 0 {
		o.ChunkBytes = DefaultChunkBytes
	}
	if o.PackedMaxBytes == 0 {
		o.PackedMaxBytes = 2 << 10
	}
	if o.PackedMaxEntries == 0 {
		o.PackedMaxEntries = 128
	}
	if o.ManyFields == 0 {
		o.ManyFields = 512
	}
	o.PackedMaxBytes = min(o.PackedMaxBytes, o.ThresholdBytes)
	return o
}

// DefaultChunkBytes is the size of a blob's chunks unless blob_chunk says otherwise.
const DefaultChunkBytes = 64 << 10

// Record is one key, opened for writing.
type Record struct {
	Meta        // as it is now; the zero Meta if there is none
	Key  []byte // its meta key, the caller's bytes
	Name []byte // the user key, the caller's bytes

	draft *draftRecord // it is that of a draft, and has neither key nor name
}

// Begin starts a round.
func (l *Ledger) Begin(txn *storage.Txn, nowMs int64, options Options) {
	l.txn, l.nowMs, l.options = txn, nowMs, options.Filled()
	l.Changes, l.Expired, l.ExpiredFields, l.Due, l.Adopted, l.Quiet = 0, 0, 0, 0, l.Adopted[:0], l.Quiet[:0]
}

// Open looks the key of a name up in order to write it. An expired record is removed, and the key is absent from then on. A record that can
// only be removed or kept needs no name.
func (l *Ledger) Open(key, name []byte) (Record, error) {
	r := Record{Key: key, Name: name}
	record, err := l.txn.Get(key)
	if err != nil || record == nil {
		return r, err
	}
	if r.Meta, err = DecodeMeta(key, record); err != nil {
		return r, err
	}
	if r.ExpiredAt(l.nowMs) {
		l.remove(&r)
		l.Expired++
	}
	return r, nil
}

// Put makes m the key's record. A blob or collection that the old record owns and m does not is dead.
func (l *Ledger) Put(r *Record, m Meta) {
	l.Changes++
	m.Exists, m.name = true, l.nameOf(r)
	was, is := r.Meta.holdings(), m.holdings()
	d := storage.Tally{Bytes: is.bytes}
	if r.Exists {
		d.Bytes -= was.bytes
		l.release(was, is)
	} else {
		d.Keys = 1
		d.Bytes += m.nameBytes(r.Key)
	}
	d.Expires, d.Mortal = l.reschedule(r, &m)
	if d != (storage.Tally{}) {
		l.txn.Count(MetaKeyspace(r.Key), d)
	}
	l.value = AppendMetaRecord(l.value[:0], &m)
	if was.collection != 0 && r.Meta.isSame(&m) { // an element has changed, and neither their number nor their length
		l.txn.Touch(r.Key, l.value)
	} else {
		l.txn.Put(r.Key, l.value)
	}
	r.Meta = m
}

func (m *Meta) isSame(now *Meta) bool {
	return m.Type == now.Type && m.Format == now.Format && m.OwnsBlobs == now.OwnsBlobs && m.ExpireAtMs == now.ExpireAtMs && m.Encoding == now.Encoding &&
		m.name == now.name && bytes.Equal(m.Payload, now.Payload)
}

// SetExpire changes nothing but the time at which the key dies; 0: never.
func (l *Ledger) SetExpire(r *Record, expireAtMs int64) {
	m := r.Meta
	m.ExpireAtMs = expireAtMs
	l.Put(r, m)
}

// Remove deletes the key and what it owns.
func (l *Ledger) Remove(r *Record) {
	l.Changes++
	l.remove(r)
}

func (l *Ledger) remove(r *Record) {
	l.release(r.Meta.holdings(), holdings{})
	l.drop(r)
}

// Move makes from's value, with its time to live, the value of to, and deletes from. What from owned, to owns.
func (l *Ledger) Move(from, to *Record) {
	m := from.Meta
	l.drop(from)
	l.Put(to, m)
}

func (l *Ledger) drop(r *Record) {
	d := storage.Tally{Keys: -1, Bytes: -r.Meta.bytes() - r.Meta.nameBytes(r.Key)}
	d.Expires, d.Mortal = l.reschedule(r, &Meta{})
	l.txn.Count(MetaKeyspace(r.Key), d)
	l.txn.Delete(r.Key)
	l.dropName(&r.Meta)
	r.Meta = Meta{}
}

// RemoveLight removes a key that is past its time and light, of which nothing is known but its row: that is there, and so are the key and its time.
func (l *Ledger) RemoveLight(row ttl.Row, rowKey []byte, size int64) {
	l.txn.Count(row.Keyspace, storage.Tally{Keys: -1, Expires: -1, Bytes: -size})
	l.key = AppendMetaOfRow(l.key[:0], row)
	l.txn.Delete(l.key)
	l.txn.Delete(rowKey)
	l.Expired++
}

// reschedule replaces the expiry rows of the key and of its fields by those that it has with m, and returns by how much the number of keys with one
// changes.
func (l *Ledger) reschedule(r *Record, m *Meta) (keys, mortal int64) {
	if r.ExpireAtMs != 0 || m.ExpireAtMs != 0 {
		keys = l.replaceRow(r.Key, ttl.KindKey, expiry{r.ExpireAtMs, r.light(r.Key)}, expiry{m.ExpireAtMs, m.light(r.Key)})
	}
	return keys, l.replaceRow(r.Key, ttl.KindFields, expiry{r.FieldsExpireAtMs(), ttl.NotLight}, expiry{m.FieldsExpireAtMs(), ttl.NotLight})
}

// expiry is what a row says. There is none if atMs is 0.
type expiry struct{ atMs, size int64 }

func (l *Ledger) replaceRow(key []byte, kind byte, old, now expiry) (change int64) {
	if old.atMs == now.atMs && (old.size == now.size || now.atMs == 0) {
		return 0
	}
	if old.atMs != 0 {
		change--
	}
	if old.atMs != 0 && old.atMs != now.atMs {
		l.key = AppendRowOfMeta(l.key[:0], key, kind, old.atMs)
		l.txn.Delete(l.key)
	}
	if now.atMs != 0 {
		l.key = AppendRowOfMeta(l.key[:0], key, kind, now.atMs)
		l.row = ttl.AppendRowValue(l.row[:0], now.size)
		l.txn.Put(l.key, l.row)
		change++
		if now.atMs < l.nowMs && (l.Due == 0 || now.atMs < l.Due) {
			l.Due = now.atMs
		}
	}
	return change
}

// light is what the row of a key says of it: the bytes that it counts for, if it is a string in its meta record, or ttl.NotLight. Small collections
// could be light as well, but their rows would have to be written with every element.
func (m *Meta) light(key []byte) int64 {
	if m.Type != String || m.Format != formatInline || !m.InKey() {
		return ttl.NotLight
	}
	return m.bytes() + m.nameBytes(key)
}

// holdings are how many bytes a value has, and what its meta record owns: 0 is none.
type holdings struct {
	bytes            int64
	blob, collection uint64
}

func (m *Meta) holdings() (h holdings) {
	if m.Exists && m.Type != String {
		if m.held != (holdings{}) { // this is done for each record that is written
			return m.held
		}
		c := m.collection()
		return c.holdings()
	}
	h.bytes = m.bytes()
	h.blob, h.collection = m.owned()
	return h
}

// release writes the dead records of what was owned and is no more.
func (l *Ledger) release(was, is holdings) {
	if was.blob != 0 && was.blob != is.blob {
		l.putDead(DeadBlob, was.blob, Reclaim)
	}
	if was.collection != 0 && was.collection != is.collection {
		l.putDead(DeadCollection, was.collection, Reclaim)
	}
}

// AppendRowOfMeta appends the expiry row of a kind of the key that has a meta key, and dies, or whose fields do, at expireAtMs.
func AppendRowOfMeta(dst, key []byte, kind byte, expireAtMs int64) []byte {
	return ttl.AppendRow(dst, MetaKeyspace(key), expireAtMs, kind, key[placeOffset:])
}

// AppendMetaOfRow appends the meta key that an expiry row belongs to.
func AppendMetaOfRow(dst []byte, row ttl.Row) []byte {
	dst = append(dst, metaPrefix)
	dst = binary.BigEndian.AppendUint32(dst, row.Keyspace)
	return append(dst, row.Place...)
}
