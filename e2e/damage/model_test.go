package damage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// The workload: operation i of a seed is always the same, and every value says which operation wrote it.

const (
	databases = 3
	names     = 700
	// seqName is written by each operation, in its database: the highest one says how far the operations have come.
	seqName = "seq"
)

func name(i int) string { return fmt.Sprintf("key:%04d", i) }

// operation is one transaction: a command, and seqName.
type operation struct {
	db   int
	args []string
}

func operationAt(seed uint64, i int) operation {
	if op, ok := longAt(i); ok {
		return op
	}
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	switch r.IntN(8) {
	case 0, 1:
		return pagedAt(r, i)
	case 2:
		return collectionAt(r, i)
	}
	op := operation{db: []int{0, 0, 0, 0, 0, 1, 1, 2}[r.IntN(8)]}
	key := name(r.IntN(names))
	switch k := r.IntN(1000); {
	case k < 2:
		op.db, op.args = 2, []string{"FLUSHDB"}
	case k < 3:
		op.args = []string{"SWAPDB", "1", "2"}
	case k < 130:
		op.args = []string{"DEL", key}
	case k < 200:
		op.args = []string{"PEXPIREAT", key, strconv.FormatInt(expireAt(i), 10)}
	case k < 300:
		op.args = []string{"SET", key, valueOf(seed, i), "PXAT", strconv.FormatInt(expireAt(i), 10)}
	default:
		op.args = []string{"SET", key, valueOf(seed, i)}
	}
	return op
}

// expireAt lies in a future that no test reaches.
func expireAt(i int) int64 { return 4102444800000 + int64(i) }

// valueOf is the value that operation i writes: most are short, some lie in blobs, and some of these in the value log.
func valueOf(seed uint64, i int) string {
	r := rand.New(rand.NewPCG(seed^0x76616c7565, uint64(i)))
	size := 9 + r.IntN(3000)
	switch k := r.IntN(100); {
	case k < 2:
		size = 33<<10 + r.IntN(150<<10)
	case k < 5:
		size = 16<<10 + r.IntN(16<<10)
	}
	b := fmt.Appendf(make([]byte, 0, size+8), "%08d;", i)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return string(b[:size])
}

// wroteOnce tells whether some operation ever wrote the value to the key, in pieces or as a whole.
func wroteOnce(seed uint64, key, value string) bool {
	if inPieces(key) {
		return wroteParts(historyOf(seed, key), value)
	}
	number, _, _ := strings.Cut(value, ";")
	i, err := strconv.Atoi(number)
	if err != nil || key == seqName {
		return err == nil
	}
	op := operationAt(seed, i)
	return op.args[0] == "SET" && op.args[1] == key && op.args[2] == value
}

type stored struct {
	value    string
	expireAt int64

	// Of a collection.
	fields map[string]string // of a hash; of a set, without values
	list   []string
	scores map[string]int
}

// model is what the first so many operations leave.
type model [databases]map[string]stored

func modelAfter(seed uint64, operations int) *model {
	m := &model{}
	for db := range m {
		m[db] = make(map[string]stored)
	}
	for i := range operations {
		m.apply(operationAt(seed, i), i)
	}
	return m
}

func (m *model) apply(op operation, i int) {
	db := m[op.db]
	switch op.args[0] {
	case "FLUSHDB":
		clear(db)
	case "SWAPDB":
		m[1], m[2] = m[2], m[1]
	case "DEL":
		delete(db, op.args[1])
	case "PEXPIREAT":
		if v, ok := db[op.args[1]]; ok {
			v.expireAt = expireAt(i)
			db[op.args[1]] = v
		}
	case "SET":
		v := stored{value: op.args[2]}
		if len(op.args) > 3 {
			v.expireAt = expireAt(i)
		}
		db[op.args[1]] = v
	case "SETRANGE", "APPEND":
		v := db[op.args[1]]
		offset, piece := op.change()
		v.value = changed(v.value, offset, piece)
		db[op.args[1]] = v
	default:
		v := db[op.args[1]]
		if v.change(op.args) {
			db[op.args[1]] = v
		} else {
			delete(db, op.args[1])
		}
	}
	m[op.db][seqName] = stored{value: strconv.Itoa(i)}
}

// answers compares what a node says with what it should say.
type answers struct {
	Corrupt int // -CORRUPT
	Hidden  int // absent, or an older value
	Wrong   int
	Example string // of the worst
}

func (a *answers) add(n *int, format string, args ...any) {
	if *n++; n == &a.Wrong && *n == 1 || n == &a.Hidden && *n == 1 && a.Wrong == 0 || a.Example == "" {
		a.Example = fmt.Sprintf(format, args...)
	}
}

// and takes in further answers.
func (a *answers) and(b answers) {
	if b.Wrong > 0 && a.Wrong == 0 || b.Hidden > 0 && a.Hidden+a.Wrong == 0 || a.Example == "" {
		a.Example = b.Example
	}
	a.Corrupt, a.Hidden, a.Wrong = a.Corrupt+b.Corrupt, a.Hidden+b.Hidden, a.Wrong+b.Wrong
}

// short makes a reply fit into a message.
func short(reply string) string {
	if len(reply) > 60 {
		reply = reply[:60] + "…"
	}
	return strconv.Quote(reply)
}

// sequence asks how far the operations have come.
func (n *node) sequence() (last int, err error) {
	last = -1
	for db := range databases {
		reply, err := n.do(db, "GET", seqName)
		if err != nil {
			return last, err
		}
		if lines := strings.Split(reply, "\r\n"); len(lines) == 3 {
			i, err := strconv.Atoi(lines[1])
			if err != nil {
				return last, fmt.Errorf("%s is %s", seqName, short(reply))
			}
			last = max(last, i)
		}
	}
	return last, nil
}

// ask asks a node everything that can be asked.
func (n *node) ask(seed uint64, m *model) (a answers, err error) {
	for db := range databases {
		for _, key := range allNames() {
			if err := n.askKey(seed, db, key, m[db], &a); err != nil {
				return a, err
			}
		}
		if err := n.askAll(seed, db, m[db], &a); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (n *node) askKey(seed uint64, db int, key string, want map[string]stored, a *answers) error {
	v, exists := want[key]
	if typeOf(key) != "" {
		if err := n.askCollection(seed, db, key, v, a); err != nil || !exists {
			return err
		}
		return n.askExpiry(db, key, v, a)
	}
	right := null
	if exists {
		right = bulk(v.value)
	}
	reply, err := n.do(db, "GET", key)
	switch {
	case err != nil:
		return err
	case reply == right:
	case strings.HasPrefix(reply, "-CORRUPT"):
		a.add(&a.Corrupt, "%s", short(reply))
		return nil
	case reply == null, reply[0] == '$' && wroteOnce(seed, key, payload(reply)):
		a.add(&a.Hidden, "GET %s in db %d: %s", key, db, difference(reply, right))
		return nil
	default:
		a.add(&a.Wrong, "GET %s in db %d: %s", key, db, difference(reply, right))
		return nil
	}
	if !exists {
		return nil
	}
	return n.askExpiry(db, key, v, a)
}

func (n *node) askExpiry(db int, key string, v stored, a *answers) error {
	right := ":-1\r\n"
	if v.expireAt != 0 {
		right = fmt.Sprintf(":%d\r\n", v.expireAt)
	}
	reply, err := n.do(db, "PEXPIRETIME", key)
	switch at, notNumber := strconv.ParseInt(strings.Trim(reply, ":\r\n"), 10, 64); {
	case err != nil || reply == right:
	case strings.HasPrefix(reply, "-CORRUPT"):
		a.add(&a.Corrupt, "%s", short(reply))
	case notNumber == nil && (at < 0 || at >= expireAt(0) && at < expireAt(operations)):
		a.add(&a.Hidden, "PEXPIRETIME %s in db %d: %s instead of %s", key, db, short(reply), short(right))
	default:
		a.add(&a.Wrong, "PEXPIRETIME %s in db %d: %s instead of %s", key, db, short(reply), short(right))
	}
	return err
}

func payload(reply string) string {
	_, rest, _ := strings.Cut(reply, "\r\n")
	return strings.TrimSuffix(rest, "\r\n")
}

// askAll compares DBSIZE and KEYS.
func (n *node) askAll(seed uint64, db int, want map[string]stored, a *answers) error {
	reply, err := n.do(db, "DBSIZE")
	if err != nil {
		return err
	}
	if right := fmt.Sprintf(":%d\r\n", len(want)); reply != right {
		a.add(&a.Wrong, "DBSIZE of db %d: %s instead of %s", db, short(reply), short(right))
	}
	if reply, err = n.do(db, "KEYS", "*"); err != nil {
		return err
	}
	if strings.HasPrefix(reply, "-CORRUPT") {
		a.add(&a.Corrupt, "KEYS: %s", short(reply))
		return nil
	}
	lines := strings.Split(reply, "\r\n")
	found := make(map[string]bool)
	for i := 2; i < len(lines); i += 2 {
		found[lines[i]] = true
		if _, ok := want[lines[i]]; ok {
			continue
		}
		if namePattern.MatchString(lines[i]) {
			a.add(&a.Hidden, "KEYS of db %d has %q again", db, lines[i])
		} else {
			a.add(&a.Wrong, "KEYS of db %d has %q", db, lines[i])
		}
	}
	for key := range want {
		if !found[key] {
			a.add(&a.Hidden, "KEYS of db %d lacks %q", db, key)
		}
	}
	return nil
}
