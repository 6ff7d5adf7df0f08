package storage

import (
	"errors"
	"fmt"
)

// Met while a command runs: a handler returns them unchanged.
var (
	// ErrMiss: a record is not in memory. The round is given up, the record is read without the lock, and the command runs again.
	ErrMiss = errors.New("storage: record is not in memory")
	// ErrWouldWait: the command has no time (Reader.Hurry), and would wait for the disk or for memory, or run long. Nothing has happened.
	ErrWouldWait = errors.New("storage: this would have to wait")
	// ErrTooLarge: the command's effects exceed batch_max_bytes. Nothing happened.
	ErrTooLarge = errors.New("storage: batch exceeds batch_max_bytes")
)

// Met while a command waits.
var (
	// ErrInDoubt: the speculation that holds the position has ended; its batches may or may not take effect.
	ErrInDoubt = errors.New("storage: the outcome of the write is unknown")
	// ErrNotEvaluating: this node does not evaluate commands now (not the leader, starting, or stopping). Nothing happened.
	ErrNotEvaluating = errors.New("storage: this node does not evaluate commands now")
	// ErrViewTooOld: a view was open for longer than view_max_age.
	ErrViewTooOld = errors.New("storage: the view is too old")
	// ErrFlushPaused: PauseFlush holds the flusher back.
	ErrFlushPaused = errors.New("storage: the flusher is paused")
	// ErrReplaced: the data were replaced, by a copy of another node's.
	ErrReplaced = errors.New("storage: the data were replaced")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("storage: closed")
)

// CorruptError is a record that is damaged, or known to be missing. It is never answered with a wrong value or nil.
type CorruptError struct {
	Key    []byte
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("storage: record %q is corrupt: %s", e.Key, e.Reason)
}

// MisconfError refuses writes while something is wrong with the node; Reason is meant for the operator.
type MisconfError struct{ Reason string }

func (e *MisconfError) Error() string { return "storage: " + e.Reason }

// RefusedError is data that the store will not open. Nothing was touched. Reason says what was found and what to do.
type RefusedError struct {
	Reason string
	Lost   bool // some of what was there is gone: other nodes of a cluster have it
}

func (e *RefusedError) Error() string { return e.Reason }

func refused(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

func lost(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...), Lost: true}
}

// InvariantError is the value of a panic that says the store's own rules are broken. The process must end: going on could lose data.
type InvariantError struct{ What string }

func (e InvariantError) Error() string { return "storage: broken invariant: " + e.What }

func invariant(ok bool, format string, args ...any) {
	if !ok {
		panic(InvariantError{fmt.Sprintf(format, args...)})
	}
}
