//go:build !linux

package server

func totalSystemMemory() uint64 { return 0 }
