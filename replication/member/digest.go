package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"sett/replication/mesh"
)

// Digester takes hashes over this node's data, which are the same on all nodes at the same flush point.
type Digester interface {
	// NextFlushPoint makes one that all nodes will have. Only the leader can.
	NextFlushPoint(ctx context.Context) (index uint64, err error)
	// Digest takes the hash at a flush point, for which it waits. It tells passed now and then how many records it has read, and ends with its error.
	Digest(ctx context.Context, index uint64, passed func(records uint64) error) (Digest, error)
}

// Digest is a hash over all replicated data at a flush point.
type Digest struct {
	Sum  string // hex
	Keys uint64
}

const (
	// digestNews is how often somebody who waits for a digest hears that it is still being taken.
	digestNews = time.Second
	// digestWait is how long a node waits until it has what a digest is to be taken of.
	digestWait = 30 * time.Second
)

var errDigestBusy = errors.New("another digest is being taken on this node")

// flushPoint makes a flush point, if this node leads.
func (n *Node) flushPoint() reply {
	c := n.part()
	if c == nil || n.o.Digests == nil {
		return reply{Error: "this node is not ready"}
	}
	s := c.State()
	if leader, ok := s.Member(s.Leader); ok && leader.ID != s.ID {
		return reply{Leader: leader.Addr}
	}
	ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
	defer cancel()
	index, err := n.o.Digests.NextFlushPoint(ctx)
	if err != nil {
		return failure(err)
	}
	return reply{Index: index}
}

// answerDigest takes a digest, and says once in a while that it does. It ends when nobody waits for it any more.
func (n *Node) answerDigest(conn net.Conn, index uint64) (last reply) {
	if n.part() == nil || n.o.Digests == nil {
		return reply{Error: "this node is not ready"}
	}
	if !n.digesting.TryLock() {
		return failure(errDigestBusy)
	}
	defer n.digesting.Unlock()
	ctx, cancel := context.WithTimeout(n.ctx, digestWait) // for the wait; who reads is ended by passed
	defer cancel()
	told := time.Now()
	d, err := n.o.Digests.Digest(ctx, index, func(records uint64) error {
		if time.Since(told) < digestNews {
			return n.ctx.Err()
		}
		told = time.Now()
		conn.SetDeadline(told.Add(idleTimeout))
		return writeFrame(conn, reply{Version: frameVersion, Passed: records, More: true})
	})
	if err != nil {
		return failure(err)
	}
	return reply{Digest: &d}
}

// FlushPoint has the leader make a flush point, and returns its index. addr is that of any member.
func FlushPoint(ctx context.Context, m *mesh.Mesh, addr string) (index uint64, err error) {
	err = untilLeader(ctx, addr, func(addr string) (reply, error) {
		r, err := ask(ctx, m, addr, question{Op: opPoint})
		index = r.Index
		return r, err
	})
	return index, err
}

// TakeDigest has the node at an address take a digest at a flush point. passed is told how many records it has read.
func TakeDigest(ctx context.Context, m *mesh.Mesh, addr string, index uint64, passed func(records uint64)) (d Digest, err error) {
	conn, _, err := m.Dial(ctx, addr, mesh.Control)
	if err != nil {
		return d, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	r, err := exchange(conn, question{Op: opDigest, Index: index}, digestWait+idleTimeout)
	for err == nil && r.More {
		passed(r.Passed)
		r = reply{}
		conn.SetDeadline(time.Now().Add(idleTimeout))
		err = readFrame(conn, &r)
	}
	switch {
	case err != nil:
		return d, err
	case r.Error != "":
		return d, errors.New(r.Error)
	case r.Digest == nil:
		return d, fmt.Errorf("its answer makes no sense")
	}
	return *r.Digest, nil
}
