package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// nodes are setts that form a cluster.
type nodes struct {
	all    []*server
	binary string
	args   [][]string // of each process
}

// startNodes starts three. Their ports for clients are port and the next two, those for each other follow.
func startNodes(ctx context.Context, binary, dir string, port int, sets ...string) (*nodes, error) {
	const count = 3
	n := &nodes{binary: binary, all: make([]*server, count)}
	var peers []string
	for i := range count {
		peers = append(peers, fmt.Sprintf("127.0.0.1:%d", port+count+i))
	}
	for i := range count {
		own := append([]string{"cluster.peers=" + strings.Join(peers, " "), fmt.Sprintf("cluster.expect=%d", count), "cluster.listen=" + peers[i]}, sets...)
		n.args = append(n.args, settArgs(filepath.Join(dir, fmt.Sprintf("node-%d", i)), port+i, own))
		if err := n.launch(ctx, i, filepath.Join(dir, fmt.Sprintf("node-%d", i)), port+i); err != nil {
			n.stop()
			return nil, err
		}
	}
	for _, s := range n.all {
		if err := s.await(ctx); err != nil {
			n.stop()
			return nil, err
		}
	}
	return n, nil
}

func (n *nodes) launch(ctx context.Context, i int, dir string, port int) (err error) {
	n.all[i], err = launch(ctx, fmt.Sprintf("node %d", i), dir, port, n.binary, n.args[i]...)
	return err
}

// again starts a node anew that has ended, and waits until it serves.
func (n *nodes) again(ctx context.Context, s *server) error {
	i := slices.Index(n.all, s)
	var port int
	fmt.Sscanf(s.addr, "127.0.0.1:%d", &port)
	if err := n.launch(ctx, i, s.dir, port); err != nil {
		return err
	}
	return n.all[i].await(ctx)
}

func (n *nodes) stop() {
	for _, s := range n.all {
		if s != nil {
			s.stop(os.Kill)
		}
	}
}

// leader waits until exactly one of the nodes that run says that it leads.
func (n *nodes) leader(ctx context.Context) (*server, error) {
	for {
		var found []*server
		for _, s := range n.all {
			if fields, err := info(s.addr, "replication"); err == nil && fields["role"] == "master" {
				found = append(found, s)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("nobody leads"), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// term is the number of elections that there have been, as a node knows it.
func (n *nodes) term(s *server) (term int, err error) {
	c, err := dial(s.addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	text, err := c.text("CLUSTER", "INFO")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(text, "cluster_current_epoch:")
	if !ok {
		return 0, fmt.Errorf("CLUSTER INFO names no epoch: %.200q", text)
	}
	return number([]byte(rest)), nil
}
