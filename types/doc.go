// Package types turns Redis data structures into keys and values.
//
// Invariants:
//   - keys.go has the only encoder of keys, and the picture of all layouts;
//   - meta records are written by a Ledger and by nothing else, so a keyspace's counters, the expiry rows and the records of what
//     is dead are exact by construction;
//   - a blob is written once and never changed: what changes of a string lies in pages over it (page.go);
//   - whoever drops the meta record that owns a blob or a collection writes their dead records in the same batch;
//   - a record past its expireAt is absent to every reader.
//
// Nothing here holds a lock or starts a goroutine. Functions that take a Reader, Txn or Ledger run under the lock of the store, as
// part of one round of one command; Keys may be used by everyone.
package types
