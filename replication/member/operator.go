package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sett/replication/mesh"
)

// Operator is a mesh for somebody who is no node, but knows the secret: it can only ask.
func Operator(secret string, config *tls.Config) *mesh.Mesh {
	return mesh.New(mesh.Options{Secret: secret, TLS: config, Self: func() mesh.Identity { return mesh.Identity{} }, Logger: slog.New(slog.DiscardHandler)})
}

// Status asks the node at an address what it knows.
func Status(ctx context.Context, m *mesh.Mesh, addr string) (*Report, error) {
	r, err := ask(ctx, m, addr, question{Op: opStatus})
	switch {
	case err != nil:
		return nil, err
	case r.Report == nil:
		return nil, errors.New("its answer makes no sense")
	}
	return r.Report, nil
}

// Remove has the member with an id, the beginning of one, or an address leave the cluster. addr is that of any member.
func Remove(ctx context.Context, m *mesh.Mesh, addr, target string) error {
	return askLeader(ctx, m, addr, question{Op: opRemove, Target: target})
}

// Transfer has that member lead; "": any other than the leader.
func Transfer(ctx context.Context, m *mesh.Mesh, addr, target string) error {
	return askLeader(ctx, m, addr, question{Op: opTransfer, Target: target})
}

// Invite has the node at an address, which belongs to no cluster, join the one of the members at via.
func Invite(ctx context.Context, m *mesh.Mesh, addr string, via []string) error {
	r, err := ask(ctx, m, addr, question{Op: opInvite, Via: via})
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	return err
}

// Remove and Transfer do for clients of this node what they do for operators.
func (n *Node) Remove(ctx context.Context, target string) error {
	return n.change(ctx, question{Op: opRemove, Target: target})
}

// Transfer has that member lead; "": any other than the leader.
func (n *Node) Transfer(ctx context.Context, target string) error {
	return n.change(ctx, question{Op: opTransfer, Target: target})
}

func (n *Node) change(ctx context.Context, q question) error {
	return untilLeader(ctx, "", func(addr string) (reply, error) {
		if addr == "" {
			return n.answerOperator(q), nil
		}
		return ask(ctx, n.mesh, addr, q)
	})
}

func askLeader(ctx context.Context, m *mesh.Mesh, addr string, q question) error {
	return untilLeader(ctx, addr, func(addr string) (reply, error) { return ask(ctx, m, addr, q) })
}

// untilLeader asks, and asks whom it is sent to. A leader that hands on first is asked for its successor. Where nobody leads, or the one that is said to has
// just died, there will be another one soon: it begins anew, until its time is over.
func untilLeader(ctx context.Context, first string, ask func(addr string) (reply, error)) error {
	const hops, pause = 3, 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	for addr, hop := first, 0; ; {
		r, err := ask(addr)
		switch {
		case err != nil && (addr == first || !errors.Is(err, errNotAsked)):
			return err
		case err != nil:
		case r.Leader != "" && r.Leader != addr && hop < hops:
			addr = r.Leader
			hop++
			continue
		case r.Leader != "" || r.Error == handedOn || r.Error == noLeader:
			err = errors.New(noLeader)
		case r.Error != "":
			return errors.New(r.Error)
		default:
			return nil
		}
		addr, hop = first, 0
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: ask again", err)
		}
	}
}

// errNotAsked is of a node that was not reached: it has done nothing.
var errNotAsked = errors.New("not reached")

// ask asks one question.
func ask(ctx context.Context, m *mesh.Mesh, addr string, q question) (reply, error) {
	conn, _, err := m.Dial(ctx, addr, mesh.Control)
	if err != nil {
		return reply{}, fmt.Errorf("%s was %w: %w", addr, errNotAsked, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	return exchange(conn, q, changeTimeout+askTimeout)
}
