// Package compaction gives space back.
//
// What holds:
//   - It works on this node alone, behind the log's back, and removes only what no reader at or above DiscardTs can see. A dead record that is
//     seen at DiscardTs is dead whatever the log is replayed from, because DiscardTs never lies above the durable index, and ids are never
//     used again.
//   - Badger keeps its one writer: what is to be removed goes through storage.Store.Remove, with the next flush, or with the tables that hold it,
//     when they are compacted.
//   - All jobs share one budget, compaction.rate: each pays for what it read and wrote before it goes on.
//   - A dead record outlives what it names: it goes when a barrier has covered the flush that removed the last of it.
//   - One job at a time works on Badger: Keeper.job.
//
// Goroutines: the Keeper has one of its own, from Start to Stop; all its methods may be called from any.
package compaction
