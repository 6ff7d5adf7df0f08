package server

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"time"

	"sett/commands"
	"sett/storage"
)

// In a cluster CONFIG SET of what the nodes agree on is a batch of the leader's. The node that was asked checks the command as a whole, makes what is its
// own alone, and has the leader do the rest before it answers. It does so aside from the stream on which its client's commands travel: none of
// them is on its way meanwhile, so that all stay in their order.

// agreeLimit is how long the leader may take to have settings committed.
const agreeLimit = 30 * time.Second

// agree has settings hold on all nodes. An error says that they do not, unless it is errInDoubt. storage.ErrNotEvaluating is for streams alone.
func (s *session) agree(b *buffers, pairs []string) error {
	if s.engine == nil {
		return errLoading
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.server.limits.Load().ForwardTimeout)
	defer cancel()
	for {
		if !s.away {
			b.call.W = &b.out
			err := s.engine.Data.Agree(&b.call, pairs)
			if err != storage.ErrNotEvaluating || s.origin != nil && !s.multi {
				return err
			}
		} else if err := s.agreeAway(ctx, pairs); err != errDeclined {
			return err
		}
		if ctx.Err() != nil || s.multi || s.server.stopping.Load() {
			return errClusterDown
		}
		time.Sleep(retryLeader)
		s.place()
	}
}

// errDeclined: the leader did not do it, and another one may.
const errDeclined = commands.Error("CLUSTERDOWN no leader has taken this; nothing was changed")

// agreeAway has the leader agree to settings, and waits until this node has them too.
func (s *session) agreeAway(ctx context.Context, pairs []string) error {
	stream, err := s.server.dialLeader(ctx, s.engine.Cluster)
	if err != nil {
		return errDeclined
	}
	defer stream.Close()
	o := s.opening()
	o.DB, o.Proto = 0, 2
	command := [][]byte{[]byte("CONFIG"), []byte("SET")}
	for _, word := range pairs {
		command = append(command, []byte(word))
	}
	text := appendCommand(o.encode(), command)
	whole := len(text)
	text = appendCommand(text, askIndex())
	stream.SetDeadline(time.Now().Add(agreeLimit))
	if n, err := stream.Write(text); err != nil && n < whole {
		return errDeclined
	}
	r := bufio.NewReader(stream)
	reply, err := r.ReadString('\n')
	switch {
	case reply != "" && reply[0] == declined:
		return errDeclined
	case err != nil:
		s.server.stats.inDoubt.Add(1)
		return errInDoubt
	case reply[0] == '-':
		return commands.Error(strings.TrimSpace(reply[1:]))
	}
	// All is well; the rest is so that this node's own clients see it.
	if reply, err = r.ReadString('\n'); err == nil && reply[0] == ':' {
		index, _ := strconv.ParseUint(strings.TrimSpace(reply[1:]), 10, 64)
		s.seenIndex = max(s.seenIndex, index)
		_ = s.engine.Cluster.WaitApplied(ctx, index)
	}
	return nil
}

// awaitOwn waits until this node has applied all that this client is known to have written.
func (s *session) awaitOwn() error {
	if s.cluster() == nil {
		return nil
	}
	if s.learnIndex(); s.seenIndex <= s.engine.Store.Status().Applied {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.server.limits.Load().ForwardTimeout)
	defer cancel()
	if s.engine.Cluster.WaitApplied(ctx, s.seenIndex) != nil {
		return errIndexAhead
	}
	return nil
}
