package damage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sett/types"
)

// The part of the workload whose strings are changed in place: pages over the blob that a string was, directories of these pages with their
// root, and long strings that are staged while they arrive.

const (
	pagedNames = 40
	longNames  = 3
	page       = types.PageBytes
	inline     = 16 << 10 // a longer string is a blob when it is set, and stays beneath the pages
)

func pagedName(i int) string { return fmt.Sprintf("page:%02d", i) }

func longName(i int) string { return fmt.Sprintf("long:%d", i) }

// allNames are those of the whole workload.
func allNames() (all []string) {
	for i := range names {
		all = append(all, name(i))
	}
	for i := range pagedNames {
		all = append(all, pagedName(i))
	}
	for i := range longNames {
		all = append(all, longName(i))
	}
	for _, of := range collectionTypes {
		for i := range collectionNames {
			all = append(all, collectionName(of, i))
		}
	}
	return append(all, seqName)
}

var namePattern = regexp.MustCompile(`^(key:\d{4}|page:\d{2}|long:\d|(hash|set|list|zset):\d|` + seqName + `)$`)

// inPieces tells whether a key's strings are changed in place.
func inPieces(key string) bool {
	return strings.HasPrefix(key, "page:") || strings.HasPrefix(key, "long:")
}

// longAt is operation i if it sets a long string: once in each life, early in the even ones, in the others so late that it is in the log alone.
func longAt(i int) (op operation, ok bool) {
	life, at := i/operationsPerLife, i%operationsPerLife
	early, late := at == operationsPerLife/4 && life%2 == 0, at == operationsPerLife-operationsPerLife/20 && (life%2 == 1 || life == lives-1)
	if !early && !late {
		return op, false
	}
	r := rand.New(rand.NewPCG(0x6c6f6e67, uint64(i)))
	n := r.IntN(longNames)
	size := 1<<20 + 1 + r.IntN(256<<10)
	if r.IntN(8) == 0 {
		size += r.IntN(7 << 18)
	}
	return operation{n % databases, []string{"SET", longName(n), pieceOf(i, size)}}, true
}

// pagedAt is operation i if it is one on a string that is changed in place.
func pagedAt(r *rand.Rand, i int) operation {
	n := r.IntN(pagedNames)
	op, key, limit := operation{db: n % databases}, pagedName(n), 200<<10
	set := 5
	if i < operationsPerLife/2 {
		set = 30 // at first there is nothing to change
	}
	if r.IntN(20) == 0 {
		n = r.IntN(longNames)
		op.db, key, limit, set = n%databases, longName(n), 3<<19, 0
	}
	switch k := r.IntN(100); {
	case k < set:
		size := 20<<10 + r.IntN(50<<10)
		switch r.IntN(8) {
		case 0:
			size += r.IntN(130 << 10)
		case 1:
			size = 3<<10 + r.IntN(13<<10)
		}
		op.args = []string{"SET", key, pieceOf(i, size)}
	case k < set+2:
		op.args = []string{"DEL", key}
	case k < set+4:
		op.args = []string{"PEXPIREAT", key, strconv.FormatInt(expireAt(i), 10)}
	case k < set+20:
		op.args = []string{"APPEND", key, pieceOf(i, 1+r.IntN(3*page))}
	default:
		op.args = setRange(r, i, key, limit)
	}
	return op
}

// setRange overwrites whole pages, a part of one, or what lies across some; half of the time near the string's beginning, so that pages have
// older versions.
func setRange(r *rand.Rand, i int, key string, limit int) []string {
	if r.IntN(2) == 0 {
		limit = 16 << 10
	}
	offset, size := r.IntN(limit), 1+r.IntN(5*page)
	switch r.IntN(3) {
	case 0:
		offset, size = offset/page*page, (1+r.IntN(4))*page
	case 1:
		size = 1 + r.IntN(page-offset%page)
	}
	piece := pieceOf(i, size)
	if r.IntN(10) == 0 {
		piece = string(make([]byte, size)) // zeros at a page's end are cut off
	}
	return []string{"SETRANGE", key, strconv.Itoa(offset), piece}
}

// pieceOf is what operation i writes: each 16 bytes of it say so, and which part of it they are.
func pieceOf(i, size int) string {
	b := make([]byte, 0, size+16)
	stamp := fmt.Appendf(nil, "%07d:0000000;", i)
	for len(b) < size {
		for part, digit := len(b)/16, 14; digit > 7; part, digit = part/10, digit-1 {
			stamp[digit] = '0' + byte(part%10)
		}
		b = append(b, stamp...)
	}
	return string(b[:size])
}

// changed is a string of which a piece was overwritten; offset -1 is its end.
func changed(value string, offset int, piece string) string {
	if offset < 0 {
		offset = len(value)
	}
	if gap := offset - len(value); gap > 0 {
		return value + string(make([]byte, gap)) + piece
	}
	return value[:offset] + piece + value[min(len(value), offset+len(piece)):]
}

// change returns the arguments of changed, for SETRANGE and APPEND.
func (op operation) change() (offset int, piece string) {
	if op.args[0] == "APPEND" {
		return -1, op.args[2]
	}
	offset, _ = strconv.Atoi(op.args[2])
	return offset, op.args[3]
}

// kin is a key's string from when it came into being until it was deleted or set as a whole, as the parts of an answer are compared with it.
type kin struct {
	value  string
	base   int // bytes of the blob beneath
	answer string
	length bool   // the string once had the answer's length
	pages  []bool // … and this in this page
}

func newKin(answer string) *kin {
	return &kin{answer: answer, pages: make([]bool, (len(answer)+page-1)/page)}
}

// change does an operation and compares what it leaves with the answer.
func (k *kin) change(op operation) {
	if op.args[0] == "SET" {
		if k.value = op.args[2]; len(k.value) > inline {
			k.base = len(k.value)
		}
	} else {
		offset, piece := op.change()
		k.value = changed(k.value, offset, piece)
	}
	k.length = k.length || len(k.value) == len(k.answer)
	for p := range k.pages {
		k.pages[p] = k.pages[p] || k.had(p)
	}
}

// had tells whether the string has the answer's page p, as it is now or without its pages. Strings do not become shorter, so an older length
// may cut a page off.
func (k *kin) had(p int) bool {
	part := []byte(k.answer[p*page : min(len(k.answer), (p+1)*page)])
	is := make([]byte, len(part))
	copy(is, k.value[min(len(k.value), p*page):])
	return bytes.Equal(part, is) || p*page >= k.base && len(bytes.Trim(part, "\x00")) == 0
}

func (k *kin) matches() bool {
	for _, matches := range k.pages {
		if !matches {
			return false
		}
	}
	return k.length
}

// historyOf are the operations that have to do with a key.
func historyOf(seed uint64, key string) (history []operation) {
	for i := range operations {
		if op := operationAt(seed, i); len(op.args) < 2 || op.args[0] == "SWAPDB" || op.args[1] == key {
			history = append(history, op)
		}
	}
	return history
}

// wroteParts tells whether each page of an answer is what a key's string had there once, since it last came into being or was set as a
// whole: what some operation wrote, or the blob beneath, or zeros where there is none.
func wroteParts(history []operation, answer string) bool {
	var live [databases]*kin
	for _, op := range history {
		switch k := &live[op.db]; op.args[0] {
		case "FLUSHDB", "DEL":
			*k = nil
		case "SWAPDB":
			live[1], live[2] = live[2], live[1]
		case "SET", "SETRANGE", "APPEND":
			if *k == nil || op.args[0] == "SET" {
				*k = newKin(answer)
			}
			if (*k).change(op); (*k).matches() {
				return true
			}
		}
	}
	return false
}

// difference says where a reply of GET begins to differ from what it should be.
func difference(reply, right string) string {
	if reply == null || right == null || !strings.HasPrefix(reply, "$") {
		return short(reply) + " instead of " + short(right)
	}
	reply, right = payload(reply), payload(right)
	at := 0
	for at < min(len(reply), len(right)) && reply[at] == right[at] {
		at++
	}
	near := func(s string) string { return strconv.Quote(s[min(len(s), max(0, at-16)):min(len(s), at+32)]) }
	return fmt.Sprintf("%d bytes instead of %d; from byte %d on %s instead of %s", len(reply), len(right), at, near(reply), near(right))
}

// TestWroteParts has the judge of answers see what is older, and what is wrong.
func TestWroteParts(t *testing.T) {
	t.Parallel()
	const seed = 1
	m := modelAfter(seed, operations)
	judged := 0
	for n := range pagedNames {
		key := pagedName(n)
		right := m[n%databases][key].value
		if len(right) < 40*page || strings.Contains(right[:20*page], "\x00") {
			continue // too short, or there may be no blob beneath
		}
		if judged++; judged > 2 {
			break
		}
		history := historyOf(seed, key)
		withPage := func(p int, part string) string { return right[:p*page] + part + right[(p+1)*page:] }
		for i, answer := range []string{right, right[:len(right)-1], withPage(3, right[7*page:8*page]), withPage(30, pieceOf(operations-1, page)),
			withPage(2, right[2*page:3*page-1]+"?"), right + "?", strings.Replace(right, "0", "\x00", 1), withPage(1, string(make([]byte, page)))} {
			if is, should := wroteParts(history, answer), i == 0; is != should {
				t.Errorf("%s, answer %d: %t instead of %t", key, i, is, should)
			}
		}
		before := modelAfter(seed, operations-operationsPerLife)[n%databases][key].value
		if len(before) < 20*page || before[19*page:20*page] != right[19*page:20*page] {
			continue // it was set as a whole
		}
		if mixed := withPage(1, before[page:2*page]); !wroteParts(history, mixed) {
			t.Errorf("%s with an older page 1 is called wrong", key)
		}
	}
	if judged < 2 {
		t.Fatalf("only %d keys are long enough", judged)
	}
}
