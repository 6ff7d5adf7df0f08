// Package member knows who belongs to the cluster: how the first nodes find each other and begin one, how others join, and who leaves. Nodes talk
// about it over streams of kind mesh.Control.
//
// What holds:
//   - A data directory belongs to one cluster, from Dir.Join until it is deleted.
//   - A node that lost its directory is a new node, with a new id: it never votes as the one that it was, and has a copy of the data before it votes at
//     all.
//   - Two clusters are never begun where there should be one; found.go says why.
//   - Members are changed by the leader only, one change at a time, and what it is told about an address it has seen for itself.
//
// A Node starts as many goroutines as there are addresses to watch, and one that looks at what they see; Close stops and waits for all. Everything
// may be called from any goroutine.
package member
