// Package damage flips bits in data directories, cuts files short, and looks at what becomes of it. It has tests only.
//
// A template is a data directory in which every kind of file holds something that counts: several lives of a child process (template_test.go)
// write strings small and large, overwrite, delete, expire and flush, through all of the server but its network; the last life ends in a clean
// stop, or in SIGKILL with records in the memtable log and in the log alone, and with a long value half staged. Some strings are changed in place
// (paged_test.go): pages and their directories, over a blob or over nothing. Others are collections of all types (collections_test.go): packed ones,
// buckets, nodes of trees, and elements that lie apart.
//
// A trial (trial_test.go) takes a template, changes one bit or cuts one file, and looks: what does sett check say, does the server start, and are
// its answers those of the model (model_test.go)? Trials run in child processes too, because damage can end a process. What must hold:
//
//   - No answer is ever wrong. A key of a damaged table may be absent or have an older value, but then sett check finds the damage, before
//     and after. Of a string that was changed in place each page may be older: what it was once, or what lies beneath it, zeros if that is nothing.
//     A collection may lack elements, or have ones that it had once.
//   - What the start or a read finds, sett check finds. What nobody finds changes no answer.
//   - Bits of the log's end, above all that is known to be fsynced, are taken for a power cut: then the answers are exactly those of an
//     earlier moment, and sett check has a note on it.
//   - A start that refuses, and sett check, change nothing.
//
// SETT_FLIPS says how many trials (100), SETT_SEED repeats the random choices of a run, SETT_AIM is a regular expression that the class of what is
// flipped must match ("pages": pages and their directories). Flushes (but for one after a long value), barriers and kills come at fixed commands, but
// salts and secrets differ from run to run, so a trial that fails keeps its directory.
package damage
