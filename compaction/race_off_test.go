//go:build !race

package compaction

const racing = false
