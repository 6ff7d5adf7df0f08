package commands

import (
	"bytes"
	"strconv"

	"sett/storage"
	"sett/types"
)

// The commands of HyperLogLogs, which are strings to all others.
func hyperLogLogRows() []*Row {
	return []*Row{
		{
			Name: "pfadd", Arity: -2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatHyperLogLog, Group: "hyperloglog", Since: "2.8.9",
			Summary:    "Adds the specified elements to the specified HyperLogLog.",
			Complexity: "O(1) to add every element.",
			Write:      pfAdd,
		},
		{
			Name: "pfcount", Arity: -2, Flags: FlagReadonly,
			Keys: []KeySpec{{Flags: KeyRW | KeyAccess, First: 1, Last: -1, Step: 1,
				Notes: "RW because it may change the internal representation of the key, and propagate to replicas"}},
			Categories: CatHyperLogLog, Group: "hyperloglog", Since: "2.8.9",
			Summary:    "Return the approximated cardinality of the set(s) observed by the HyperLogLog at key(s).",
			Complexity: "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.",
			Read:       pfCount, Memo: pfCountMemo,
		},
		{
			Name: "pfdebug", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagAdmin,
			Syscmd:     true,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess, First: 2, Last: 0, Step: 1}},
			Categories: CatHyperLogLog, Group: "hyperloglog", Since: "2.8.9",
			Summary:    "Internal commands for debugging HyperLogLog values",
			Complexity: "N/A",
			Write:      pfDebug,
		},
		{
			Name: "pfmerge", Arity: -2, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyInsert, First: 1, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 2, Last: -1, Step: 1}},
			Categories: CatHyperLogLog, Group: "hyperloglog", Since: "2.8.9",
			Summary:    "Merge N different HyperLogLogs into a single one.",
			Complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
			Write:      pfMerge,
		},
		{
			Name: "pfselftest", Arity: 1, Flags: FlagAdmin,
			Syscmd:     true,
			Categories: CatHyperLogLog, Group: "hyperloglog", Since: "2.8.9",
			Summary:    "An internal command for testing HyperLogLog values",
			Complexity: "N/A",
			Session:    true,
		},
	}
}

// readHLL reads the HyperLogLog in a string.
func (q *Query) readHLL(m *types.Meta) (*types.HyperLogLog, error) {
	h, err := types.ReadHyperLogLog(q.data, m)
	return h, hllError(err)
}

func hllError(err error) error {
	switch err {
	case types.ErrNotHLL:
		return ErrNotHLL
	case types.ErrCorruptHLL:
		return ErrCorruptHLL
	}
	return err
}

// readOrNew is readHLL for a key that need not exist: then it is an empty one.
func (u *Update) readOrNew(r *types.Record) (*types.HyperLogLog, error) {
	if !r.Exists {
		return types.NewHyperLogLog(), nil
	}
	return u.readHLL(&r.Meta)
}

// putHLL makes h the key's value. Of a dense one, which has 12 KiB, only those parts are written that differ from old; the key is a paged string
// from then on.
func (u *Update) putHLL(r *types.Record, old []byte, h *types.HyperLogLog) error {
	defer u.counts(1)
	value := h.Bytes()
	if !h.Dense() || len(old) != len(value) {
		u.ledger.PutEncoded(r, value, r.ExpireAtMs, types.Raw)
		return nil
	}
	const part = 1 << 10
	for from := 0; from < len(value); from += part {
		to := min(from+part, len(value))
		if bytes.Equal(value[from:to], old[from:to]) {
			continue
		}
		if err := u.ledger.Splice(r, from, value[from:to]); err != nil {
			return err
		}
	}
	return nil
}

func (d *DataSet) sparseMax() int64 { return d.hllSparseMax.Load() }

// SetHLLSparseMax changes the longest run-length coded HyperLogLog: hll_sparse_max_bytes.
func (d *DataSet) SetHLLSparseMax(bytes int64) { d.hllSparseMax.Store(bytes) }

// fewElements is up to how many elements are added to a dense HyperLogLog one by one, rather than to all of it in memory.
const fewElements = 16

func pfAdd(u *Update) error {
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	if r.Exists && len(u.Args)-2 <= fewElements {
		header, err := types.ReadHLLHeader(u.data, &r.Meta)
		if err != nil {
			return hllError(err)
		}
		if header.Dense() {
			raised, err := u.ledger.AddToDense(&r, u.Args[2:])
			u.replyRaised(raised)
			return err
		}
	}
	return u.addAll(&r)
}

// replyRaised is PFADD's reply to how many elements raised a register, a new key being one of them.
func (u *Update) replyRaised(raised int) {
	u.counts(raised)
	u.W.Int(int64(min(raised, 1)))
}

// addAll adds the elements to the whole HyperLogLog.
func (u *Update) addAll(r *types.Record) error {
	h, err := u.readOrNew(r)
	if err != nil {
		return err
	}
	old := bytes.Clone(h.Bytes())
	raised := 0
	if !r.Exists {
		raised = 1
	}
	for _, element := range u.Args[2:] {
		higher, err := h.Add(element, u.set.sparseMax())
		if err != nil {
			return hllError(err)
		}
		if higher {
			raised++
		}
	}
	if raised == 0 {
		u.ledger.MarkRaw(r)
	} else {
		h.Forget()
		if err := u.putHLL(r, old, h); err != nil {
			return err
		}
	}
	u.replyRaised(raised)
	return nil
}

func pfCount(q *Query) error {
	if len(q.Args) > 2 {
		return q.countUnion(q.Args[1:])
	}
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	if !m.Exists {
		q.W.Int(0)
		return nil
	}
	header, err := types.ReadHLLHeader(q.data, &m)
	if err != nil {
		return hllError(err)
	}
	n, cached := header.Cached()
	if !cached {
		h, err := q.readHLL(&m)
		if err == nil {
			n, err = h.Count()
		}
		if err != nil {
			return hllError(err)
		}
	}
	q.memo = !cached || encodingOf(&m) != "raw"
	q.W.Int(int64(n))
	return nil
}

// pfCountMemo keeps the cardinality in the key, as Redis does.
func pfCountMemo(u *Update) error {
	r, err := u.openBeside(u.Args[1])
	if err != nil || !r.Exists || r.Type != types.String {
		return err
	}
	h, err := types.ReadHyperLogLog(u.data, &r.Meta)
	if err != nil {
		return err
	}
	if _, cached := h.Cached(); cached {
		u.ledger.MarkRaw(&r)
		return nil
	}
	n, err := h.Count()
	if err != nil {
		return err
	}
	old := bytes.Clone(h.Bytes())
	h.Cache(n)
	return u.putHLL(&r, old, h)
}

// countUnion replies with the cardinality of the union of several keys.
func (q *Query) countUnion(names [][]byte) error {
	var regs types.Registers
	if _, err := q.union(&regs, names); err != nil {
		return err
	}
	q.W.Int(int64(regs.Count()))
	return nil
}

// union raises the registers to those of all keys; dense tells whether one of them is dense.
func (q *Query) union(regs *types.Registers, names [][]byte) (dense bool, err error) {
	var missed error
	for _, name := range names {
		m, err := q.lookupOf(name, types.String)
		if err != nil {
			return false, err
		}
		if !m.Exists {
			continue
		}
		h, err := q.readHLL(&m)
		if err == storage.ErrMiss {
			missed = err // ask for the others as well
			continue
		}
		if err == nil {
			err = hllError(regs.Merge(h))
		}
		if err != nil {
			return false, err
		}
		dense = dense || h.Dense()
	}
	return dense, missed
}

func pfMerge(u *Update) error {
	var regs types.Registers
	dense, err := u.union(&regs, u.Args[1:])
	if err != nil {
		return err
	}
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	h, err := u.readOrNew(&r)
	if err != nil {
		return err
	}
	old := bytes.Clone(h.Bytes())
	if dense {
		err = h.Densify()
	}
	if err == nil {
		err = h.Raise(&regs, u.set.sparseMax())
	}
	if err != nil {
		return hllError(err)
	}
	h.Forget()
	if r.Exists && bytes.Equal(old, h.Bytes()) {
		u.ledger.SetExpire(&r, r.ExpireAtMs) // merged with nothing new, and yet written
	} else if err := u.putHLL(&r, old, h); err != nil {
		return err
	}
	u.W.Status("OK")
	return nil
}

func pfDebug(u *Update) error {
	r, err := u.openOf(u.Args[2], types.String)
	if err != nil {
		return err
	}
	if !r.Exists {
		return ErrNoHLL
	}
	h, err := u.readHLL(&r.Meta)
	if err != nil {
		return err
	}
	u.ledger.MarkRaw(&r)
	old := bytes.Clone(h.Bytes())
	switch sub := u.Args[1]; {
	case is(sub, "getreg"):
		err = u.replyRegisters(h)
	case is(sub, "decode"):
		err = u.replyRuns(h)
	case is(sub, "encoding"):
		u.W.Status(map[bool]string{true: "dense", false: "sparse"}[h.Dense()])
	case is(sub, "todense"):
		converted := int64(0)
		if !h.Dense() {
			converted = 1
		}
		err = hllError(h.Densify())
		u.W.Int(converted)
	default:
		err = ErrUnknownPFDebug(sub)
	}
	if err == nil && len(old) != len(h.Bytes()) {
		err = u.putHLL(&r, old, h)
	}
	return err
}

func (u *Update) replyRegisters(h *types.HyperLogLog) error {
	var regs types.Registers
	if err := h.Densify(); err != nil {
		return hllError(err)
	}
	if err := regs.Merge(h); err != nil {
		return hllError(err)
	}
	u.W.Array(len(regs))
	for _, value := range regs {
		u.W.Int(int64(value))
	}
	return nil
}

func (u *Update) replyRuns(h *types.HyperLogLog) error {
	if h.Dense() {
		return ErrDenseHLL
	}
	var text []byte
	h.Runs(func(value byte, count int, wide bool) {
		switch {
		case value > 0:
			text = append(strconv.AppendInt(append(text, "v:"...), int64(value), 10), ',')
		case wide:
			text = append(text, "Z:"...)
		default:
			text = append(text, "z:"...)
		}
		text = append(strconv.AppendInt(text, int64(count), 10), ' ')
	})
	u.W.Bulk(bytes.TrimRight(text, " "))
	return nil
}

// HyperLogLogSelfTest is PFSELFTEST.
func (d *DataSet) HyperLogLogSelfTest() error {
	q := Query{seed: d.seed.Add(1)}
	if err := types.SelfTestHyperLogLog(q.Random, d.sparseMax()); err != nil {
		return Error("ERR " + err.Error())
	}
	return nil
}
