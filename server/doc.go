// Package server talks to clients: it takes connections, runs the commands they send, and holds every reply until all that it has
// seen is committed.
//
// Invariants:
//   - no byte of a reply leaves before everything the command met, absences included, is committed; if the log cannot say what
//     became of it, the client gets an error instead;
//   - replies leave in the order of their commands, and a client that does not read its replies blocks only itself;
//   - a command that panics costs its own connection and nothing else, unless storage says that its rules are broken: then the
//     process ends;
//   - in a cluster, a command is run by the leader, wherever it came in; one that may have had an effect is never run again, and a read's reply leaves
//     only if this node has led after the read (forward.go and read.go);
//   - the loop waits for nobody: what takes time goes on in a goroutine (session.isQuick has the rule);
//   - buffers grow with what clients really sent, and an idle connection owns none.
//
// A connection, its session and everything in them belong to whoever serves it: the loop (loop.go), or a goroutine of its own (conn.work). It goes
// from one to the other by loop.leave and loop.take, and nobody touches what he has given away. What others may see of a connection, and do to it,
// is its peer (peer.go). Server's methods may be called by any goroutine; those of loop, but for take and end, by its own alone.
package server
