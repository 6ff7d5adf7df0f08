// Package large changes strings of up to 4 MiB in a real server and compares each reply, and what is left after each death, with plain byte
// slices. It has tests only.
//
// Some clients work on keys of their own with pipelines of random commands. Meanwhile somebody flushes, compacts, empties the cache and reloads;
// and now and then the server is killed. What was answered must be there afterwards. Of the rest of a pipeline some first part must be, and
// nothing else: commands of one connection take effect in their order. At the end everything is read, and `sett check` must find nothing.
//
// `go test` runs it small; SETT_FULL=1 runs more than 200,000 commands (-timeout 60m; -v shows the figures). SETT_SEED repeats the choices of a run, though
// not its deaths.
package large
