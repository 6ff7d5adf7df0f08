// Package ttl knows when keys die: the expiry rows, the clock that decides, and the sweeper that removes what is past.
//
// Invariants:
//   - one row per key with a time to live, written and deleted in the batch that changes the key's meta record (types.Ledger), and true: a row that
//     lives names a key that is there, with that time, and of that size if it says one;
//   - the sweeper only proposes: whoever removes a key makes sure, under the lock, that its row is still there, or looks at its meta record again;
//   - the clock's time never goes back while the wall clock is only a little wrong, and no key's time stands still.
//
// A Clock may be called by every goroutine. A Sweeper has one goroutine, which Start makes and Stop waits for.
package ttl
