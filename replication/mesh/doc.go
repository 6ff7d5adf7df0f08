// Package mesh is the one port over which the nodes of a cluster talk to each other. Each connection is a stream of one kind, and begins with a
// hello in which both sides prove that they know the cluster's secret and say who they are. It knows nothing of what streams carry.
//
// What holds:
//   - Nothing that the other side sent reaches a serve function before the hello has succeeded: the first byte a kind, the secret proven for
//     these two nonces, this kind and these two identities, both of one cluster and epoch (a node without a cluster may only speak Control).
//   - A recorded hello is worth nothing: each side's proof covers a nonce that the other has just drawn.
//   - Whoever has not yet proven that it knows the secret holds one of maxHellos places for at most helloTimeout; when they are all taken the oldest has to go, since
//     an honest node needs a few milliseconds.
//   - Close ends every connection, accepted or dialed, and waits for every serve function.
//
// The secret proves who speaks; it hides nothing, and whoever can change packets on their way can change what follows the hello. Where that
// matters there is TLS: one authority for the cluster, and both sides show a certificate of it. Host names in certificates are not compared: nodes
// move, and the authority is the cluster's own.
//
// All methods may be called from any goroutine.
package mesh
