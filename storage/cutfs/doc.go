// Package cutfs is a file system of real files whose power can be cut: the process that uses it ends at once and leaves a note of what was not synced, and
// another process takes some of that away. So whole servers can lose their power, which crashfs, in memory, cannot do for them.
//
//   - Our own files: before a page is written for the first time since the last sync, it is kept as it was. A cut leaves each such page, and each size, as it
//     was or as it is. Names are durable at once, as if each change of a directory had been synced; what happens to them otherwise, e2e/powercut shows.
//   - Badger's files that are mapped into memory nobody sees being written. They are copied when a barrier has synced them. A cut takes each page from the
//     copy or from the file as it is.
//   - What was there when the process began counts as synced. All else that others write (votes, Badger's tables) syncs itself, and stays.
//
// Its writes and syncs can also be made slow, as those of a disk that is about to fail.
//
// Only builds with the tag "powercut" have a server use it: SIGUSR2 cuts its power.
package cutfs
