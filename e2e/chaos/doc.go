// Package chaos has clients use a cluster while machines fail, and judges what the clients saw. It has tests only.
//
// Some clients (client_test.go) run small operations through random nodes, on keys that are used for a few hundred operations each and then left alone:
// registers (SET, GET, and WATCH with a SET in MULTI), counters (INCR, GET), lists (RPUSH, LRANGE), sets (SADD, SMEMBERS), and pairs of lists that are
// written and read in MULTI. Each operation is noted with the time before it was sent and the time when its reply had come (history_test.go). What was
// answered with -INDOUBT, or not at all, may have happened then or at any time later, or not at all; what was refused with any other error must never be
// seen.
//
// A third of the clients read at level lease, a third at linearizable, a third at stale with a bound of a second (stale_test.go).
//
// Meanwhile faults come one after the other (fault_test.go, a table), each followed by a wait until every node serves again. At the end:
//
//   - every key is read through every node, and these reads belong to its history;
//   - porcupine looks for an order of each key's operations that explains all replies (model_test.go). That is what linearizable means;
//   - every acknowledged element is there, every counter within what its unknown outcomes allow (verdict_test.go): implied by the above, but
//     easier to believe;
//   - every stale read has shown a state that there was, with all that was acknowledged a second before, and with what its own connection had written;
//   - all nodes have the same data, and sett verify says so.
//
// A power cut of a majority at fsync everysec may take what is younger than 1.5 seconds. So history is split there: what is older must be there, all nodes
// must agree on the rest, and the keys in use are not used again.
//
// `go test` runs it for 90 seconds on three nodes behind a proxy; CHAOSTIME=30m as long as that says, with network namespaces if it is root (make
// chaos: at both levels of fsync);
// CHAOS_SEED repeats the choices of a run, though not the moments; CHAOS_FAULTS is a regular expression of the kinds of fault to have. A history that
// nothing explains is kept as a file and as a picture, and the nodes' directories with it.
package chaos
