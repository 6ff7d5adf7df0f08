package server

import "golang.org/x/sys/unix"

// totalSystemMemory is 0 if it is not known.
func totalSystemMemory() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return uint64(si.Totalram) * uint64(si.Unit)
}
