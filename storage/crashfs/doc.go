// Package crashfs is a storage.FS in memory from which the power can be taken, for tests.
//
// It remembers what was not synced: of every file the pages and the size that File.Sync did not cover, of every directory the creations, renames and
// removals that SyncDir did not cover. Cut returns the file system as a machine could find it after a power cut; Kill returns it as a new process finds
// it after kill -9. Both leave the old one dead: every operation of the old process fails from that moment on, so nothing can be acknowledged any more.
//
// What it assumes: a page is written whole or not at all; a rename is there whole or not at all; everything else not synced may be there or not,
// independently and in any order. File.Sync does not make the file's name durable.
//
// An FS may be used by any goroutine.
package crashfs
