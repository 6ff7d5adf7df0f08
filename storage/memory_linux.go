package storage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapHuge maps n bytes, which are a multiple of a huge page and begin at one.
func mapHuge(n int) (m mapped, ok bool) {
	// Nothing is reserved: what is not used costs addresses only.
	whole, err := unix.Mmap(-1, 0, n+hugePageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return m, false
	}
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(whole)))) & (hugePageBytes - 1)
	m = mapped{bytes: whole[skip : skip+n : skip+n], whole: whole}
	_ = unix.Madvise(m.bytes, unix.MADV_HUGEPAGE) // without them it works as well
	return m, true
}

// free gives the memory back. Nobody may look at it any more.
func (m *mapped) free() {
	if m.whole != nil {
		_ = unix.Munmap(m.whole) // fails only for what is not mapped
	}
	*m = mapped{}
}
