// Package server looks at the whole server from outside: it builds sett once, starts real processes and talks to them over TCP. It has tests
// only.
//
//   - full_test.go: a disk that is full, and a log that cannot grow.
//   - atomic_test.go: whoever reads sees a batch whole or not at all, also while generations close and move to Badger.
//   - scan_test.go: SCAN over one crowded slot under churn, with a kill -9 in the middle.
//   - large_test.go: names, values and batches at the limits, through kill -9.
//   - fsync_test.go: how often the log is fsynced at each level, as strace counts it.
//   - refusal_test.go: starts that are refused, and that they touch nothing.
//
// `go test` runs them small; SETT_FULL=1 runs them at the sizes that docs and issues speak of (-timeout 60m; -v shows the figures).
// SETT_PLANTED=name runs them against a build with that planted bug, which they should catch.
package server
