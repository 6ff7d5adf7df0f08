// Package commands says what each Redis command means, and runs them as batches on one data set.
//
// Invariants:
//   - a Row sets exactly one of Read, Write and Session; a Read row gets a Query, which has no way to write;
//   - a handler appends one whole reply and returns nil, or returns an error and leaves no trace: its effects are rolled back
//     to a savepoint and its reply is cut off;
//   - a handler may run several times for one call (a record was not in memory): everything it keeps lies in the Query or
//     Update and is made anew in every round; time and chance are arguments, equal in all rounds;
//   - an expired key is absent to every handler, to the millisecond; nobody but types.Ledger writes meta records.
//
// Table and Row never change after NewTable and may be read by everyone. A DataSet may be called by any goroutine, a Call and
// a Watch belong to one connection. Handlers run under the lock of the store: shared for Read rows, exclusive for Write rows.
package commands
