// Package server talks to clients: it takes connections, runs the commands they send, and holds every reply until all that it has
// seen is committed.
//
// Invariants:
//   - no byte of a reply leaves before everything the command met, absences included, is committed; if the log cannot say what
//     became of it, the client gets an error instead;
//   - replies leave in the order of their commands, and a client that does not read its replies blocks only itself;
//   - a command that panics costs its own connection and nothing else, unless storage says that its rules are broken: then the
//     process ends;
//   - buffers grow with what clients really sent, and an idle connection owns none.
//
// A session belongs to the goroutine of its connection, and so does everything in it; what others may see of it, and do to it, is its
// peer (peer.go). Server's methods may be called by any goroutine.
package server
