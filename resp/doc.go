// Package resp speaks Redis' wire protocol: it finds the commands in the bytes a client sent, and writes the replies.
//
// What always holds:
//   - Check decides alone whether bytes are well formed and within the limits; Parse only ever sees a whole command that
//     Check has passed, so no client can make it panic, loop or reserve memory.
//   - Where a stream is cut into reads changes nothing: the commands and the error are those of the whole stream, and a
//     header that has been checked is not read again when more arrives.
//   - Error texts, tolerance and limits are those of redis-server 7.0.15, byte for byte.
//   - Nothing written through a Writer's methods can break the framing, except through Raw.
//
// Nothing here is shared or safe for concurrent use: a State, an argument slice and a Writer belong to the goroutine that
// serves the connection. Glob has no state; any goroutine may call it.
package resp
