package commands

import (
	"context"

	"sett/types"
)

// StateDigest is a digest of the replicated state at a flush point.
type StateDigest struct {
	types.Digest
	Index uint64
}

// NextFlushPoint makes a flush point and returns its index, for StateDigest of any node. Only the node that evaluates can.
func (d *DataSet) NextFlushPoint(ctx context.Context) (index uint64, err error) {
	return d.store.NextFlushPoint(ctx)
}

// StateDigest returns this node's digest at the last flush point up to an index, which it waits for; 0: at one that is made for it, or, on a node
// that only follows, at the newest there is. passed, if it is not nil, is told how many records have been read, and can end it.
func (d *DataSet) StateDigest(ctx context.Context, index uint64, passed func(records uint64) error) (sum StateDigest, err error) {
	switch {
	case index > 0:
		err = d.store.WaitFlushed(ctx, index)
	case d.store.Evaluating():
		index, err = d.store.NextFlushPoint(ctx)
	default:
		index = d.store.FlushedIndex()
	}
	if err != nil {
		return sum, err
	}
	picture, err := d.store.PictureAt(index)
	if err != nil {
		return sum, err
	}
	defer picture.Close()
	sum.Index = index
	sum.Digest, err = types.TakeDigest(picture, passed)
	return sum, err
}
