//go:build !linux

package threads

import "runtime"

// Shorten does nothing here.
func Shorten() {}

// GiveWay does nothing here.
func GiveWay() {}

// LetOthers lets somebody else have the calling goroutine's place in Go's scheduler.
func LetOthers() { runtime.Gosched() }
