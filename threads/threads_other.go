//go:build !linux

package threads

// Shorten does nothing here.
func Shorten() {}

// GiveWay does nothing here.
func GiveWay() {}
