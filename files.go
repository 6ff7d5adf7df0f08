package main

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// reservedFiles is what the server opens beside connections: Badger's tables above all, which stay mapped.
const reservedFiles = 1024

// raiseFileLimit makes room for the open files of so many clients. Like Redis it takes what it can get, warns, and returns how many
// clients that is.
func raiseFileLimit(maxClients int, logger *slog.Logger) (int, error) {
	want := uint64(maxClients) + reservedFiles
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("cannot tell how many files may be open: %w", err)
	}
	if limit.Cur >= want {
		return maxClients, nil
	}
	raised := unix.Rlimit{Cur: want, Max: max(limit.Max, want)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return maxClients, nil
	}
	raised = unix.Rlimit{Cur: min(want, limit.Max), Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		raised = limit
	}
	if raised.Cur >= want {
		return maxClients, nil
	}
	if raised.Cur <= reservedFiles {
		return 0, fmt.Errorf("the limit of %d open files is too low: sett needs %d for itself and one for each client (ulimit -n)", raised.Cur, reservedFiles)
	}
	possible := int(raised.Cur) - reservedFiles
	logger.Warn("the limit of open files is too low for maxclients: fewer clients are let in", "ulimit", raised.Cur, "maxclients", maxClients, "possible", possible)
	return possible, nil
}
