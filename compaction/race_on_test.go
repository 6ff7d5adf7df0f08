//go:build race

package compaction

// racing: the race detector looks on.
const racing = true
