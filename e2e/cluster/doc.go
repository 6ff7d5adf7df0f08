// Package cluster starts real setts that form a cluster, and does to them what happens to machines: they are stopped, killed, paused, wiped and cut
// off from each other.
//
//   - cluster.go: the nodes, who leads them, and what is done to one of them.
//   - network.go, proxy.go, namespaces.go: the ways between their cluster ports, each direction of which can be blocked. A proxy does it anywhere;
//     network namespaces need root, and there the kernel does it.
//   - *_test.go: writes through any node and reads through any other, fail-over, stops under load, catching up. Nothing in them is about how long
//     something takes: this runs on slow machines too.
//
// Package chaos uses it for its load, its faults and its verdict.
package cluster
