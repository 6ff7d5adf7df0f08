package types

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"

	"github.com/cespare/xxhash/v2"

	"sett/storage"
	"sett/ttl"
)

// Checker tells whether the records of a store are what this package writes, and whether they agree with each other: blobs with their
// chunks, meta records with their blobs, collections and expiry rows, roots with directories, directories with pages, all of them with the
// counters. It is told the records in the order of keys: what is dead comes before meta records, these before what is in collections.
type Checker struct {
	keys        *Keys // nil: the seed is not known
	blobs       map[uint64]*checkedBlob
	collections map[uint64]*checkedCollection
	present     *checkedCollection // the one whose records are being told
	name        hash.Hash          // of the chunks of the blob that is being told, if it may be a name
	spaces      map[uint32]*checkedSpace
	dead        map[uint32]bool // keyspaces that the reclaimer may have begun to remove
	key         []byte
}

var _ storage.RecordChecker = (*Checker)(nil)

// checkedBlob is what the records under a blob's id said.
type checkedBlob struct {
	length     uint64
	chunkBytes uint32
	chunks     uint64
	sum        [8]byte // how the SHA-256 of its bytes begins, if it may be a name
	owned      bool    // a meta record refers to it
	dead       bool
}

func (b *checkedBlob) wanted() uint64 {
	return (b.length + uint64(b.chunkBytes) - 1) / uint64(b.chunkBytes)
}

// checkedCollection is what a meta record, a dead record, and the records in a collection said.
type checkedCollection struct {
	length  int // of the string whose pages it has
	owned   bool
	dead    bool // the reclaimer may have begun to remove it
	left    bool // … because a dead keyspace names it, and nothing else says so
	records int

	paged       bool // it is a string's
	rooted      bool
	root        bitmap         // the directories that were not met yet
	directories map[int]bitmap // the pages that were not met yet; nil once all records of the collection were told
	lost        int            // directories and pages that are named and not in the store
	strays      int            // directories and pages that are not named

	tree  *checkedTree
	table *checkedTable
	wrong string // with its tree or table as a whole
}

// leave closes the books of a collection.
func (k *checkedCollection) leave() {
	k.lost += k.root.count()
	for _, d := range k.directories {
		k.lost += d.count()
	}
	k.root, k.directories = nil, nil
	if k.tree != nil && k.table != nil && !k.dead {
		k.wrong, k.tree, k.table = leaveRanking(k.tree, k.table), nil, nil
	}
	if k.tree != nil && !k.dead {
		k.wrong, k.tree = k.tree.leave(), nil
	}
	if k.table != nil && !k.dead {
		k.wrong, k.table = k.table.leave(), nil
	}
}

// checkedSpace is what was found in a keyspace. rows is the sum of the hashes of all expiry rows that its meta records ask for, minus those
// that are there: 0 if they agree.
type checkedSpace struct {
	found storage.Tally
	rows  uint64
}

// NewChecker returns a checker of one store. Without its seed (nil), keys are not compared with their names.
func NewChecker(seed *[16]byte) *Checker {
	c := &Checker{
		blobs: make(map[uint64]*checkedBlob), collections: make(map[uint64]*checkedCollection),
		spaces: make(map[uint32]*checkedSpace), dead: make(map[uint32]bool), name: sha256.New(),
	}
	if seed != nil {
		keys := New(*seed)
		c.keys = &keys
	}
	return c
}

func (c *Checker) space(id uint32) *checkedSpace {
	s := c.spaces[id]
	if s == nil {
		s = new(checkedSpace)
		c.spaces[id] = s
	}
	return s
}

// Record takes the next record in and returns what is wrong with it, "" if nothing is.
func (c *Checker) Record(key, value []byte) string {
	switch key[0] {
	case headerPrefix:
		return c.header(key, value)
	case chunkPrefix:
		return c.chunk(key, value)
	case deadPrefix:
		return c.deadRecord(key, value)
	case metaPrefix:
		return c.meta(key, value)
	case elementPrefix:
		return c.element(key, value)
	case 'x':
		return c.row(key, value)
	case notedPrefix:
		if len(key) > 1 && key[1] == deadPrefix {
			return c.deadRecord(key[1:], value)
		}
		return ""
	case '!':
		return ""
	}
	return "sett writes no records with such a key"
}

func (c *Checker) header(key, value []byte) string {
	if len(key) != 9 || len(value) != blobHeaderBytes || binary.BigEndian.Uint32(value[8:]) == 0 {
		return "malformed header of a blob"
	}
	c.blobs[binary.BigEndian.Uint64(key[1:])] = &checkedBlob{length: binary.BigEndian.Uint64(value), chunkBytes: binary.BigEndian.Uint32(value[8:])}
	return ""
}

func (c *Checker) chunk(key, value []byte) string {
	if len(key) != 13 {
		return "malformed key of a blob's chunk"
	}
	b := c.blobs[binary.BigEndian.Uint64(key[1:])]
	if b == nil {
		return "" // garbage: without a header nobody reads it
	}
	start := uint64(binary.BigEndian.Uint32(key[9:])) * uint64(b.chunkBytes)
	if start >= b.length || uint64(len(value)) != min(uint64(b.chunkBytes), b.length-start) {
		return fmt.Sprintf("a chunk of %d bytes does not fit its blob of %d bytes", len(value), b.length)
	}
	b.chunks++
	if b.mayBeName() {
		c.sum(b, start, value)
	}
	return ""
}

// mayBeName tells whether a blob is as long as names are that lie in blobs.
func (b *checkedBlob) mayBeName() bool { return b.length > MaxNameBytes && b.length <= DefaultMaxName }

// sum adds a chunk to the sum of its blob. Chunks come in their order.
func (c *Checker) sum(b *checkedBlob, start uint64, value []byte) {
	if start == 0 {
		c.name.Reset()
	}
	c.name.Write(value)
	if b.chunks == b.wanted() {
		copy(b.sum[:], c.name.Sum(nil))
	}
}

func (c *Checker) deadRecord(key, value []byte) string {
	kind, id, ok := DecodeDead(key)
	if !ok || kind > DeadKeyspace || len(value) != 1 {
		return "malformed record of something dead"
	}
	switch kind {
	case DeadBlob:
		if b := c.blobs[id]; b != nil {
			b.dead = true
		}
	case DeadCollection:
		c.collection(id).dead = true
	case DeadKeyspace:
		c.dead[uint32(id)] = true
	}
	return ""
}

func (c *Checker) meta(key, value []byte) string {
	m, err := DecodeMeta(key, value)
	if err != nil || !IsMeta(key) {
		return "malformed meta record"
	}
	keyspace := MetaKeyspace(key)
	if hasLongName(key) == m.InKey() {
		return "its name is missing; SCAN and KEYS answer -CORRUPT"
	}
	if c.keys != nil && m.InKey() {
		if c.key = c.keys.AppendMeta(c.key[:0], keyspace, KeyName(key)); !bytes.Equal(c.key, key) {
			return "its key is not the one that belongs to its name: GET does not find it"
		}
	}
	s := c.space(keyspace)
	s.found.Keys++
	s.found.Bytes += m.nameBytes(key) + m.bytes()
	if m.ExpireAtMs != 0 {
		s.found.Expires++
		c.key = AppendRowOfMeta(c.key[:0], key, ttl.KindKey, m.ExpireAtMs)
		s.rows += xxhash.Sum64(ttl.AppendRowValue(c.key, m.light(key)))
	}
	if at := m.FieldsExpireAtMs(); at != 0 {
		s.found.Mortal++
		c.key = AppendRowOfMeta(c.key[:0], key, ttl.KindFields, at)
		s.rows += xxhash.Sum64(ttl.AppendRowValue(c.key, ttl.NotLight))
	}
	return c.own(key, &m, c.dead[keyspace])
}

// own takes in what a meta record owns, in a dead keyspace or not.
func (c *Checker) own(key []byte, m *Meta, dead bool) string {
	blob, collection := m.owned()
	if collection != 0 {
		k := c.collection(collection)
		switch {
		case dead && k.owned && !k.dead:
			return "" // it was moved away
		case !dead && k.left:
			*k = checkedCollection{} // moved here: while its old keyspace is removed, deletions go before what they delete
		case !dead && (k.owned || k.dead):
			return fmt.Sprintf("its collection %d belongs to another key or is dead", collection)
		case dead:
			k.dead, k.left = true, !k.dead || k.left
		}
		k.owned = true
		if m.Type == String {
			k.paged, k.length = true, m.StringLen()
		}
		if wrong := k.plant(c.keys, m); wrong != "" {
			return wrong
		}
	}
	if dead {
		return ""
	}
	wrong := checkPacked(m)
	if blob != 0 {
		_, length := m.blob()
		wrong = cmp.Or(wrong, c.ownBlob("value", blob, length))
	}
	if !m.InKey() {
		wrong = cmp.Or(wrong, c.ownBlob("name", m.name.id, m.name.length), c.wrongName(m.name.id, KeyName(key)))
	}
	return wrong
}

// wrongName compares the SHA-256 of a long name with its key. A blob with lost chunks is reported as such.
func (c *Checker) wrongName(id uint64, sum []byte) string {
	if b := c.blobs[id]; b != nil && b.mayBeName() && b.chunks == b.wanted() && !bytes.HasPrefix(sum, b.sum[:]) {
		return fmt.Sprintf("its name, blob %d, is another one's; SCAN and KEYS answer -CORRUPT", id)
	}
	return ""
}

// ownBlob takes in that a meta record owns a blob, for its value or name.
func (c *Checker) ownBlob(what string, id, length uint64) string {
	b := c.blobs[id]
	switch {
	case b == nil:
		return fmt.Sprintf("its %s, blob %d, is missing; reading it answers -CORRUPT", what, id)
	case b.length != length:
		return fmt.Sprintf("its %s, blob %d, has %d bytes instead of %d; reading it answers -CORRUPT", what, id, b.length, length)
	case b.owned || b.dead:
		return fmt.Sprintf("its %s, blob %d, belongs to another key or is dead", what, id)
	}
	b.owned = true
	return ""
}

func (c *Checker) collection(id uint64) *checkedCollection {
	k := c.collections[id]
	if k == nil {
		k = new(checkedCollection)
		c.collections[id] = k
	}
	return k
}

// element takes in a root, a directory or a page. What is wrong with a collection as a whole is said at the end.
func (c *Checker) element(key, value []byte) string {
	if len(key) < 10 || len(key) != elementKeyBytes[key[9]] {
		return "malformed key of an element"
	}
	k := c.collection(binary.BigEndian.Uint64(key[1:]))
	if k != c.present {
		if c.present != nil {
			c.present.leave()
		}
		c.present, k.directories = k, make(map[int]bitmap)
	}
	k.records++
	n := elementNumber(key)
	switch key[9] {
	case elementBucket, elementNode, elementPart:
		if key[9] == elementBucket || key[9] == elementPart && k.table != nil {
			if wrong := k.tableRecord(key, value); wrong != "" || key[9] == elementBucket || k.tree == nil || k.table.of != ZSet {
				return wrong
			}
		}
		return k.treeRecord(key, value)
	case elementRoot:
		return k.addRoot(n, value)
	case elementDirectory:
		return k.addDirectory(n, value)
	case elementPage:
		return k.addPage(n, value)
	}
	return "malformed key of an element"
}

// elementKeyBytes are the lengths of the keys of elements, by kind.
var elementKeyBytes = [256]int{
	elementRoot: elementBytes, elementDirectory: elementBytes, elementPage: elementBytes, elementBucket: elementBytes, elementNode: nodeKeyBytes, elementPart: partKeyBytes,
}

func (k *checkedCollection) addRoot(n int, value []byte) string {
	if n != 0 || len(value) == 0 || len(value) > rootBytes || value[len(value)-1] == 0 && len(value) > 1 {
		return "malformed root of directories"
	}
	k.rooted, k.root = true, bytes.Clone(value)
	return ""
}

func (k *checkedCollection) addDirectory(n int, value []byte) string {
	if len(value) == 0 || len(value) > directoryBytes || value[len(value)-1] == 0 {
		return "malformed directory of pages"
	}
	k.meet(k.root, n)
	k.directories[n] = bytes.Clone(value)
	return ""
}

func (k *checkedCollection) addPage(n int, value []byte) string {
	page, ok := unpackPage(nil, value)
	if !ok {
		return fmt.Sprintf("malformed page of %d bytes", len(value))
	}
	if k.owned && !k.dead && n*PageBytes+len(page) > k.length {
		return fmt.Sprintf("page %d of %d bytes does not fit its string of %d bytes", n, len(page), k.length)
	}
	k.meet(k.directories[n/directoryPages], n%directoryPages)
	return ""
}

// meet strikes a record out of the bitmap that should name it.
func (k *checkedCollection) meet(named bitmap, i int) {
	if named.has(i) {
		named[i>>3] &^= 1 << (i & 7)
	} else {
		k.strays++
	}
}

func (c *Checker) row(key, value []byte) string {
	row, ok := ttl.DecodeRow(key)
	if _, sound := ttl.DecodeRowValue(value); !ok || !sound {
		return "malformed expiry row"
	}
	c.key = append(append(c.key[:0], key...), value...)
	c.space(row.Keyspace).rows -= xxhash.Sum64(c.key)
	return ""
}

// End returns what is wrong with the records as a whole.
func (c *Checker) End(tallies map[uint32]storage.Tally, nextID uint64) (wrong []string) {
	for id, b := range c.blobs {
		if !b.dead && b.chunks != b.wanted() {
			wrong = append(wrong, fmt.Sprintf("blob %d has %d of its %d chunks; reading it answers -CORRUPT", id, b.chunks, b.wanted()))
		}
		if id >= nextID {
			wrong = append(wrong, fmt.Sprintf("blob %d is there, but the next id is %d: new values would mix with it", id, nextID))
		}
	}
	wrong = append(wrong, c.endCollections(nextID)...)
	for keyspace := range tallies {
		c.space(keyspace)
	}
	for keyspace, s := range c.spaces {
		if c.dead[keyspace] {
			continue
		}
		if t := tallies[keyspace]; t != s.found {
			wrong = append(wrong, fmt.Sprintf("keyspace %d holds %d keys, %d with a time to live, %d with fields that have one, %d bytes; its counters say %d, %d, %d and %d: keys are missing, or too many",
				keyspace, s.found.Keys, s.found.Expires, s.found.Mortal, s.found.Bytes, t.Keys, t.Expires, t.Mortal, t.Bytes))
		}
		if s.rows != 0 {
			wrong = append(wrong, fmt.Sprintf("keyspace %d: the expiry index does not agree with its keys", keyspace))
		}
	}
	slices.Sort(wrong)
	return wrong
}

func (c *Checker) endCollections(nextID uint64) (wrong []string) {
	for id, k := range c.collections {
		k.leave() // also one of which there are no records
		switch {
		case id >= nextID:
			wrong = append(wrong, fmt.Sprintf("collection %d is there, but the next id is %d: new values would mix with it", id, nextID))
		case k.dead:
		case !k.owned:
			wrong = append(wrong, fmt.Sprintf("collection %d is nobody's: its %d records take space for ever", id, k.records))
		case k.wrong != "":
			wrong = append(wrong, fmt.Sprintf("collection %d %s", id, k.wrong))
		case k.paged && !k.rooted:
			wrong = append(wrong, fmt.Sprintf("collection %d, a string, has lost the root of its pages; reading it answers -CORRUPT", id))
		case k.lost > 0:
			wrong = append(wrong, fmt.Sprintf("collection %d, a string, has lost %d pages or directories; reading them answers -CORRUPT", id, k.lost))
		case k.strays > 0:
			wrong = append(wrong, fmt.Sprintf("collection %d, a string, has %d pages or directories that nothing names: what lies beneath is answered",
				id, k.strays))
		}
	}
	return wrong
}

// Name is what an operator knows a record as.
func (c *Checker) Name(key []byte) string {
	switch {
	case IsMeta(key) && hasLongName(key):
		return fmt.Sprintf("key with the long name of SHA-256 %x, of keyspace %d", KeyName(key), MetaKeyspace(key))
	case IsMeta(key):
		return fmt.Sprintf("key %q of keyspace %d", KeyName(key), MetaKeyspace(key))
	case len(key) >= 9 && (key[0] == headerPrefix || key[0] == chunkPrefix):
		return fmt.Sprintf("blob %d", binary.BigEndian.Uint64(key[1:]))
	case len(key) >= 9 && key[0] == elementPrefix:
		return fmt.Sprintf("collection %d", binary.BigEndian.Uint64(key[1:]))
	case key[0] == 'x':
		if row, ok := ttl.DecodeRow(key); ok {
			return fmt.Sprintf("expiry row of %s", c.Name(AppendMetaOfRow(nil, row)))
		}
	}
	return fmt.Sprintf("record %q", key)
}
