package server

import (
	"context"
	"encoding/hex"
	"time"

	"sett/commands"
	"sett/resp"
)

// digestWait is how long SETT DIGEST waits for an index to come into Badger.
const digestWait = 30 * time.Second

// settDigest is SETT DIGEST [NEXT | index].
func settDigest(s *session, b *buffers, args [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), digestWait)
	defer cancel()
	if len(args) == 3 && is(args[2], "next") {
		if index, err := s.engine.Data.NextFlushPoint(ctx); err != nil {
			fail(b, err)
		} else {
			b.out.Int(int64(index))
		}
		return
	}
	index := int64(0)
	if len(args) == 3 {
		n, ok := resp.ParseInt(args[2])
		if !ok || n <= 0 {
			fail(b, commands.ErrNotInteger)
			return
		}
		index = n
	} else if len(args) > 3 {
		fail(b, commands.ErrSyntax)
		return
	}
	sum, err := s.engine.Data.StateDigest(ctx, uint64(index), nil)
	if err != nil {
		fail(b, err)
		return
	}
	w := &b.out
	w.Map(3)
	w.BulkString("index")
	w.Int(int64(sum.Index))
	w.BulkString("digest")
	w.BulkString(hex.EncodeToString(sum.Sum[:]))
	w.BulkString("keys")
	w.Int(int64(sum.Keys))
}
