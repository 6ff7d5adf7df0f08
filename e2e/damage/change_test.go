package damage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4/fb"
)

// change is what a trial does to a data directory: it flips a bit or, with Bit -1, cuts a file.
type change struct {
	Class  string
	File   string
	Offset int64
	Bit    int
}

func (c change) String() string {
	if c.Bit < 0 {
		return fmt.Sprintf("%s: %s cut to %d bytes", c.Class, c.File, c.Offset)
	}
	return fmt.Sprintf("%s: %s, bit %d of byte %d", c.Class, c.File, c.Bit, c.Offset)
}

func (c change) apply(dir string) error {
	path := filepath.Join(dir, c.File)
	if c.Bit < 0 {
		return os.Truncate(path, c.Offset)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], c.Offset); err != nil {
		return err
	}
	b[0] ^= 1 << c.Bit
	_, err = f.WriteAt(b[:], c.Offset)
	return err
}

// region is a part of a file whose bytes mean the same kind of thing.
type region struct {
	file     string
	from, to int64
}

// Classes of tables' bytes in which a flip may hide keys until sett check finds it: all but values and what the start reads.
const (
	tableKey   = "table: keys"
	tableHead  = "table: heads of entries"
	tableIndex = "table: entry offsets of a block"
	tableSum   = "table: checksum of a block"
)

func mayHide(class string) bool {
	class, _, _ = strings.Cut(class, ",")
	return slices.Contains([]string{tableKey, tableHead, tableIndex, tableSum}, class)
}

// changeAt is trial i of a template.
func (tmpl *template) changeAt(i int) change {
	r := rand.New(rand.NewPCG(tmpl.Seed, uint64(i)))
	aim := regexp.MustCompile(tmpl.Aim)
	var classes []string
	for class := range tmpl.regions {
		if aim.MatchString(class) {
			classes = append(classes, class)
		}
	}
	slices.Sort(classes)
	if len(classes) == 0 || tmpl.Aim == "" && r.IntN(5) == 0 {
		return tmpl.cut(r)
	}
	class := classes[r.IntN(len(classes))]
	regions := tmpl.regions[class]
	var total int64
	for _, reg := range regions {
		total += reg.to - reg.from
	}
	at := r.Int64N(total)
	for _, reg := range regions {
		if length := reg.to - reg.from; at >= length {
			at -= length
			continue
		}
		return change{class, reg.file, reg.from + at, r.IntN(8)}
	}
	panic("unreachable")
}

// cut cuts a file within what it holds; all kinds of files alike.
func (tmpl *template) cut(r *rand.Rand) change {
	kinds := make(map[string][]string)
	for name, b := range tmpl.files {
		if len(b) > 0 || tmpl.sizes[name] > 0 {
			kinds[kindOf(name)] = append(kinds[kindOf(name)], name)
		}
	}
	var order []string
	for kind, files := range kinds {
		slices.Sort(files)
		order = append(order, kind)
	}
	slices.Sort(order)
	kind := order[r.IntN(len(order))]
	file := kinds[kind][r.IntN(len(kinds[kind]))]
	length := int64(len(tmpl.files[file])) // what is behind it means nothing, most of the time
	if length == 0 || r.IntN(4) == 0 {
		length = tmpl.sizes[file]
	}
	return change{kind + ": cut", file, r.Int64N(length), -1}
}

func kindOf(name string) string {
	switch filepath.Ext(name) {
	case ".sst":
		return "table"
	case ".mem":
		return "memtable log"
	case ".vlog":
		return "value log"
	case ".seg":
		return "log"
	}
	return filepath.Base(name)
}

// findRegions sorts the bytes of all files into classes.
func (tmpl *template) findRegions() (map[string][]region, error) {
	regions := make(map[string][]region)
	add := func(class, file string, from, to int64) {
		if to > from {
			regions[class] = append(regions[class], region{file, from, to})
		}
	}
	for name, b := range tmpl.files {
		kind, size := kindOf(name), tmpl.sizes[name]
		switch kind {
		case "table":
			whole := slices.Concat(b, make([]byte, size-int64(len(b))))
			if err := tableRegions(whole, func(class string, from, to int) { add(class, name, int64(from), int64(to)) }); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		case "log":
			end := tmpl.logEnd(b)
			add("log: segment headers", name, 0, 4096)
			add("log: records", name, 4096, end)
			add("log: unused space", name, end, size)
		case "memtable log", "value log":
			add(kind+": header", name, 0, 20)
			end := recordRegions(b, func(part string, from, to int) { add(kind+": "+part, name, int64(from), int64(to)) })
			add(kind+": unused space", name, int64(end), size)
		case "LOCK", "DISCARD":
			add(kind, name, 0, min(size, 64)) // a lock's contents mean nothing; what counts of DISCARD stands in front
		default:
			add(kind, name, 0, size)
		}
	}
	return regions, nil
}

// logEnd is where the records of a log segment's present use end. What is behind them may be left over from an earlier use.
func (tmpl *template) logEnd(b []byte) int64 {
	if len(b) < 48 {
		return 4096
	}
	var format struct{ Seed string }
	text, _, _ := strings.Cut(string(tmpl.files["FORMAT"]), "\n")
	json.Unmarshal([]byte(text), &format)
	seed, _ := hex.DecodeString(format.Seed)
	secret := sha256.Sum256(slices.Concat([]byte("sett log record"), seed, b[16:40])) // id, reuse count, salt
	at := 4096
	for at+48 <= len(b) && bytes.Equal(b[at:at+4], secret[:4]) {
		length := int(binary.BigEndian.Uint32(b[at+12:]) & (1<<28 - 1))
		at += (48 + length + 7) &^ 7
	}
	return int64(min(at, len(b)))
}

// recordRegions takes a memtable or value log apart and returns where its records end.
func recordRegions(b []byte, add func(part string, from, to int)) (end int) {
	at := 20
	for at+5 < len(b) {
		head := at + 2
		var lengths [3]uint64
		for i := range lengths {
			v, n := binary.Uvarint(b[head:])
			lengths[i], head = v, head+max(n, 1)
		}
		key, value := head+int(lengths[0]), head+int(lengths[0])+int(lengths[1])
		if lengths[0] == 0 || value > len(b) {
			break
		}
		add("heads of records", at, head)
		add("keys", head, key)
		add("values", key, value)
		add("checksums", value, min(value+4, len(b)))
		at = value + 4
	}
	return at
}

// tableRegions takes a table of Badger's apart.
func tableRegions(b []byte, add func(class string, from, to int)) error {
	number := func(at int) int { return int(binary.BigEndian.Uint32(b[at:])) }
	sumAt := len(b) - 4 - number(len(b)-4)
	length := number(sumAt - 4)
	start := sumAt - 4 - length
	if crc := crc32.Checksum(b[start:start+length], crc32.MakeTable(crc32.Castagnoli)); !strings.Contains(string(b[sumAt:]), string(binary.AppendUvarint(nil, uint64(crc)))) {
		return fmt.Errorf("its index, at %d, does not have the checksum that it should", start)
	}
	index := fb.GetRootAsTableIndex(b[start:start+length], 0)
	bloom := strings.Index(string(b[start:start+length]), string(index.BloomFilterBytes())) + start
	add("table: index", start, bloom)
	add("table: bloom filter", bloom, bloom+index.BloomFilterLength())
	add("table: index", bloom+index.BloomFilterLength(), start+length)
	add("table: footer", start+length, len(b))
	for i := range index.OffsetsLength() {
		var block fb.BlockOffset
		index.Offsets(&block, i)
		blockRegions(b, int(block.Offset()), int(block.Len()), add)
	}
	return nil
}

func blockRegions(b []byte, start, length int, add func(class string, from, to int)) {
	end := start + length
	sumAt := end - 4 - int(binary.BigEndian.Uint32(b[end-4:]))
	entries := int(binary.BigEndian.Uint32(b[sumAt-4:]))
	offsets := sumAt - 4 - 4*entries
	var first []byte // key, of which the others have the beginning in common
	block := ""
	for i := range entries {
		at := start + int(binary.LittleEndian.Uint32(b[offsets+4*i:]))
		next := offsets
		if i+1 < entries {
			next = start + int(binary.LittleEndian.Uint32(b[offsets+4*i+4:]))
		}
		value := at + 4 + int(binary.LittleEndian.Uint16(b[at+2:]))
		key := slices.Concat(first[:binary.LittleEndian.Uint16(b[at:])], b[at+4:value])
		if i == 0 {
			first = key
		}
		of := elementOf(key)
		switch of {
		case "":
		case ofDirectories:
			block = ofPages
		default:
			block = of
		}
		add(tableHead+of, at, at+4)
		add(tableKey+of, at+4, value)
		add(tableHead+of, value, value+3) // meta, user meta, expiry: 0
		add("table: values"+of, value+3, next)
	}
	add(tableSum+block, sumAt, end)
	add(tableIndex+block, offsets, sumAt)
}

// What strings that are changed in place consist of has classes of its own.
const (
	ofPages       = ", pages"
	ofDirectories = ", directories of pages"
)

// And so has what collections consist of.
const (
	ofBuckets = ", buckets"
	ofNodes   = ", nodes of trees"
	ofParts   = ", parts of elements"
)

func elementOf(key []byte) string {
	switch {
	case len(key) < 10 || key[0] != 's':
		return ""
	case key[9] <= 1: // a root, or a directory
		return ofDirectories
	case key[9] == 3:
		return ofBuckets
	case key[9] == 4:
		return ofNodes
	case key[9] == 5:
		return ofParts
	}
	return ofPages
}
