// Package wal keeps the log's entries in segment files, so that what a Sync has covered is there after any power cut, and what was ever cut
// away never comes back.
//
// What must hold:
//   - A segment file gets its name only when its space and its header are durable. Changes of the directory are made one at a time, each durable
//     before the next. So segment ids are without a gap on every disk a power cut can leave, and whatever else is found in that respect is damage.
//   - Each use of a segment file has a secret of its own (the store's seed, the segment's id, its reuse count and random salt). No bytes left from
//     an earlier use, and none stored by a user, pass for a record.
//   - Records have running numbers that are never taken back while a record that knows them exists. Each carries the number up to which the log was
//     known to be fsynced when it was written, its mark. A record that is bad at or below any mark is damage; above all marks it was cut
//     off by a power cut, with everything behind it, and is wiped before Open returns.
//   - A failed Append leaves nothing behind, durably. Where that cannot be ascertained, and after a failed fsync, the log is dead: Err says so.
//
// A segment file:
//
//	0      header, one page: magic, version, crc, id, reuse count, salt, size, next index when prepared
//	4096   records, each at a multiple of 8:
//	       0 tag(4) 4 header crc(4) 8 data crc(4) 12 kind(4 bits) length(28 bits) 16 number(8) 24 index(8) 32 term(8) 40 mark(8) 48 data
//	       kinds: entry, and seven more that mean something to its owner; trim (entries from index on are void, the next entry has this
//	       index); reset (all entries are void, the next one has this index)
//	...    whatever an earlier use left, or zeros
//
// The methods of a Log may be called by any goroutine. Append and TrimSuffix exclude each other; reads and syncs run beside them.
package wal
