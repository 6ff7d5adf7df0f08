// Package replication makes batches durable in one order.
//
// What holds:
//   - Entries reach Store.Apply in the order of their indexes, each once, and only when they are committed.
//   - A refused entry is not in the log and never will be.
//   - What fsync level there is, SyncTo means synced.
//
// Propose is called by one goroutine at a time (the store sees to that); everything else by any.
package replication
