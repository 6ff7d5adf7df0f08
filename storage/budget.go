package storage

import "sync/atomic"

// Budget divides one number, memory_budget, over everything that grows. Memory means RssAnon: Badger's tables are mapped and belong to the
// page cache.
type Budget struct {
	Recent     int64 // all generations: writers wait when it is used up
	Generation int64 // one generation
	BatchMax   int64 // effects of one batch
	Cache      int64 // record cache
	Filter     int64 // filter of absent records
	MemTable   int64 // one memtable of Badger; up to four are alive, at 1.3 times their size
	BaseTable  int64 // a table being built takes twice its size
	Level0     int   // tables, in files that are mapped, that gather before they are merged into the tree
	BaseLevel  int64 // the level that they are merged into
	Clients    int64 // buffers of connections
	Buffer     int64 // … and of each of those: what is larger is given up after its use
	Access     int64 // when keys were used
	Raft       int64 // in a cluster: the log's end, and entries on their way between nodes
}

// fit is what generations and batches have at most, so that every node of a cluster has room for them.
type fit struct{ generation, batchMax atomic.Int64 }

// MinMemoryBudget is the smallest memory_budget.
const MinMemoryBudget = 128 << 20

const (
	// level0Bytes is how much gathers in level 0 at least, if that takes no more than mostLevel0 tables: each merge writes the whole base level
	// anew, so the more is merged at once, the less is written. Loading 5 M keys of 272 bytes with 256 MiB of memory, what went into tables was
	// 12.2 times the data with 5 tables of 8 MiB, and is 3.3 times with 32; the processor's time for a key fell from 33 µs to 17.
	level0Bytes = 480 << 20
	// mostLevel0 bounds what a read of Badger costs: it asks the Bloom filter of each table of level 0.
	mostLevel0 = 32
	// baseByLevel0 is how many times level 0 the base level holds. Of keys in no order each byte is written baseByLevel0 times on its way into it,
	// and as many times on its way out as the last level is larger than it.
	baseByLevel0 = 4
	leastBase    = 1 << 30

	// baseBytes is what Go and Badger need whatever the budget: the smaller it is, the less of it is left for the cache.
	baseBytes = 128 << 20
)

// Mapped is what of the budget lies beside Go's heap: GOMEMLIMIT has to be lower by it.
func (b Budget) Mapped() int64 { return b.Cache }

// BudgetFor divides m bytes.
//
//	recent writes 1/4 (a generation 1/32, at most 32 MiB; a batch 1/16) · Badger 1/4 (a memtable 1/32 within 4–64 MiB, a table 1/128 within
//	1–16 MiB) · clients 1/8 · raft 1/16, at most 32 MiB · record cache 9/32 of what is above 128 MiB, at least 5/32 · filter 1/32 · when keys were used
//	1/256 · the rest is Go's own and air for the collector
func BudgetFor(m int64) Budget {
	m = max(m, MinMemoryBudget)
	memTable, generation := min(max(m/32, 4<<20), 64<<20), min(m/32, 32<<20)
	table := min(memTable, generation) / 2 // of level 0: a generation of small records, without what they take in memory
	level0 := min((level0Bytes+table-1)/table, mostLevel0)
	return Budget{
		Recent:     m / 4,
		Generation: generation,
		BatchMax:   m / 16,
		Cache:      max(m*5/32, (m-baseBytes)*9/32),
		Filter:     m / 32,
		MemTable:   memTable,
		BaseTable:  min(max(m/128, 1<<20), 16<<20),
		Level0:     int(level0),
		BaseLevel:  max(leastBase, baseByLevel0*level0*table),
		Clients:    m / 8,
		Buffer:     min(max(m/1024, 64<<10), 2<<20),
		Access:     m / 256,
		Raft:       min(m/16, 32<<20),
	}
}
