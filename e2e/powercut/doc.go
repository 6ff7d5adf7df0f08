// Package powercut takes the power away from a store under load and looks at what is left. It has tests only.
//
// One life: a child process (child_test.go) runs storage, replication.Solo and a few writers in a folder, and is ended by SIGKILL at a random
// moment, or at a random distance from a rotation, trim, flush or barrier. Kill -9 alone loses nothing: the operating system still has every
// write. What it had not put on the disk yet is what a power cut takes, and that is made up afterwards, in several ways for each life:
//
//   - Our own files go through storage.FS. The child's (recorder_test.go) does every operation for real and writes it into a journal, in one order
//     with the acknowledgements; a sync is two records, its beginning and its end. The parent (scene_test.go) replays the journal into a
//     crashfs.FS, where a sync that has ended covers what was written before it began. A cut then keeps each page, size and name that no sync
//     covers, or does not.
//   - Badger maps its *.mem and *.vlog files into memory, where nobody sees what it writes. So they are copied at each barrier, right after their
//     fsync. A cut takes each page from the copy or from the file as it was left; a file that is younger than the copy may be absent or empty; the
//     last ones that were removed since may be back. Tables and MANIFEST are fsynced by Badger itself and stay as they are.
//
// What must be left: each batch reads a ticket, the number of the batch before it, and what it writes is a function of the run's seed, the
// life, the ticket and the state before it (load_test.go). So the ticket that is found after a cut, N, tells exactly what else must be there: the
// state after the first N batches, no more and no less; and N must be at least what the fsync level promises for what was acknowledged
// (scene.promised). Then the store is closed cleanly, opened again, and must be the same (examine_test.go).
//
// All keys are strings and collections of package types, written through its Ledger (books_test.go): inline ones, blobs, strings that are changed in place, moved,
// given a time to live, removed; hashes, sets, lists and sorted sets; and values that are staged over many batches, and lives, until a batch adopts or drops them. The parent's model
// has their bytes and nothing else (model_test.go): no ids, no formats. `sett check`, with all that it knows of records, must not call a cut
// damage, nor what is there after a clean stop: so no page is outside of its directory, and no collection without an owner. Some cuts become the
// beginning of the next life, with other batches under the same tickets, so that what was lost and comes back later is seen as well.
//
// Some lives change the fsync level, some are killed while they stop cleanly. In each life at level always, a bit of an entry that had been
// fsynced is flipped too: the start must refuse that log, not cut it.
//
// In two of three lives a compaction.Keeper gives space back without a rest: dead blobs and collections are removed behind the log's back, and the
// value log is collected. When that is fsynced alone, the copy gets the value log as it is then. A life may be killed when values have been moved.
//
// What this cannot see: an fsync that a barrier leaves out. It is believed to have covered all that the copies have.
//
// SETT_CUTS says how many cuts (60), SETT_SEED repeats the random choices of a run, SETT_MOMENT has all kills aimed at one moment (see
// run.orders). What a child does in its time differs in each run, so a life that fails is kept, and SETT_AGAIN=folder looks at it again. TMPDIR says
// where all this happens; in memory (/dev/shm) it is faster.
package powercut
