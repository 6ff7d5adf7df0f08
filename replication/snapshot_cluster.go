package replication

import (
	"errors"
	"io"
	"net"

	"github.com/hashicorp/raft"
)

// What a cluster's node does with snapshots.

// InstallSnapshot sends a copy of all data; raft's own transport wants to know its size.
func (t *transport) InstallSnapshot(_ raft.ServerID, addr raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse,
	data io.Reader) error {
	if t.c.o.Copies == nil {
		return errors.New("this node sends no copies of its data")
	}
	return t.c.copies.Send(addr, req, resp, data)
}

// deliver hands a request to raft that has come by another way than its own.
func (t *transport) deliver(rpc raft.RPC) bool {
	select {
	case t.rpcs <- rpc:
		return true
	case <-t.stop:
		return false
	}
}

// ReceiveSnapshot takes a stream in which another node sends a copy of all data. It returns when that is over.
func (c *Cluster) ReceiveSnapshot(conn net.Conn) {
	select {
	case <-c.ready:
		c.copies.Receive(conn, c.trans.deliver)
	default:
		conn.Close() // there is no raft yet: it will be sent again
	}
}

// termOf is the term of an entry, which may be the one that a copy was of: that is not in the log.
func (c *Cluster) termOf(index uint64) (term uint64, err error) {
	var l raft.Log
	err = c.logs.GetLog(index, &l)
	if m := c.copies.Marker(); errors.Is(err, raft.ErrLogNotFound) && m.Index == index {
		return m.Term, nil
	}
	return l.Term, err
}
