// Package storage keeps versioned bytes: recent writes in memory over Badger on disk, fed by one log.
//
// The log is the truth, Badger is its index, memory is its cache. A Txn evaluates a command and leaves a batch; the batch goes into the
// active generation of recent writes and into the tail of the log at once; an entry of the log carries all batches that have gathered; a
// generation whose last entry is committed and fsynced is written to Badger whole, at that entry's index as version.
//
// What holds:
//   - Badger never knows more than the log on disk, and at a flush point it is exactly the state at that index.
//   - Lookups go newest generation → oldest → record cache → Badger. The cache holds only bytes that are in Badger.
//   - An entry takes effect if and only if it follows the chain (term, number); every node decides alike.
//   - A reply leaves when everything it has seen is committed: Reader.Seen, View.Seen and Store.Wait.
//   - Nobody waits for the disk with the data set's lock held, but for a command that was given up maxRounds times.
//
// Goroutines: any may call Read, Update, View, Wait, Admit and Status; the log calls Apply, Lead and Yield; the flusher, the barrier, the log's
// writer and who reads ahead belong to the Store, which starts them in Begin and ends them in Close; the compactors live as long as Badger is open.
package storage
