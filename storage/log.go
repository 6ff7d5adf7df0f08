package storage

// Log is what the store needs of the log that makes its entries durable in one order. replication.Solo is the log of one node;
// tests have one that commits late, in bursts, refuses, and loses leadership at any index.
//
// A log calls Store.Apply for every committed entry, in order, from one goroutine at a time; Store.Lead when the node may evaluate in a term,
// and Store.Yield as soon as it may not any more.
type Log interface {
	// Propose hands over the next entry. The store calls it from one goroutine at a time, in order. The entry's bytes are the
	// caller's again when Propose returns. An error is a refusal: the entry is not in the log and never will be.
	Propose(entry []byte) error
	// Waits tells whether Propose would wait for the disk now. It may be called by anybody, and is answered at once.
	Waits() bool
	// SyncTo returns once all entries up to index are fsynced in this node's own log, whatever the fsync level.
	SyncTo(index uint64) error
	// Read returns a committed entry, for undoing a speculation.
	Read(index uint64) (term uint64, entry []byte, err error)
	// Trim tells that everything up to index is durable in Badger: the log may forget it.
	Trim(index uint64)
}
