//go:build amd64 || arm64

// Package prefetch tells the processor what will be read soon.
package prefetch

import "unsafe"

// Line has the line of the cache that p points into fetched from memory, while the program goes on. It changes nothing, and p may point anywhere.
//
//go:noescape
func Line(p unsafe.Pointer)
