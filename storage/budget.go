package storage

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
	Clients    int64 // buffers of connections
	Buffer     int64 // … and of each of those: what is larger is given up after its use
	Access     int64 // when keys were used
}

// MinMemoryBudget is the smallest memory_budget.
const MinMemoryBudget = 128 << 20

// BudgetFor divides m bytes.
//
//	recent writes 1/4 (a generation 1/32, at most 16 MiB; a batch 1/16) · Badger 1/4 (a memtable 1/32 within 4–64 MiB, a table 1/128 within
//	1–16 MiB) · clients 1/8 · log and raft 1/16 · record cache 5/32 · filter 1/32 · when keys were used 1/256 · the rest is Go's own and air
//	for the collector
func BudgetFor(m int64) Budget {
	m = max(m, MinMemoryBudget)
	return Budget{
		Recent:     m / 4,
		Generation: min(16<<20, m/32),
		BatchMax:   m / 16,
		Cache:      m * 5 / 32,
		Filter:     m / 32,
		MemTable:   min(max(m/32, 4<<20), 64<<20),
		BaseTable:  min(max(m/128, 1<<20), 16<<20),
		Clients:    m / 8,
		Buffer:     min(max(m/1024, 64<<10), 2<<20),
		Access:     m / 256,
	}
}
