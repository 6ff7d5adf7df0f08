//go:build !linux

package storage

func mapHuge(int) (m mapped, ok bool) { return m, false }

func (m *mapped) free() { *m = mapped{} }
