// Package compat holds sett against Redis: the same commands go to both, and every byte of the replies is compared. It has tests only.
//
//   - scripts/*.txt are command lines by family, to be read and to be added to: script_test.go says how one is written. Each runs in RESP2 and in
//     RESP3, and against sett once more with everything cold: flushed, and out of the cache.
//   - testdata/*.resp2 and *.resp3 are what Redis 7.0.15 answered. sett is held against these, so that no Redis is needed; where one is installed,
//     TestRecording asks it whether they are still what it says. `go test ./e2e/compat -run TestRecording -record` writes them anew, `-run
//     TestRecording/string -record` those of one script.
//   - program_test.go makes random programs of a grammar (grammar_test.go), runs them on both, and shrinks the first difference to a few lines
//     that can be pasted into a script. `go test` runs them for seconds, SETT_FULL=1 a million commands; -seed repeats a run.
package compat
