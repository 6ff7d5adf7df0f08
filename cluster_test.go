package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/replication"
	"sett/replication/member"
	"sett/storage"
)

// court is a cluster of which only this node answers.
type court struct {
	mu      sync.Mutex // guards state
	state   replication.State
	removed []string
	handed  []string
}

func (c *court) State() replication.State { // its members are the caller's
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.state
	state.Members = slices.Clone(state.Members)
	return state
}

// shrink leaves the first member alone.
func (c *court) shrink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Members = c.state.Members[:1]
}

func (c *court) AddVoter(_ context.Context, id, addr string) error    { return nil }
func (c *court) AddNonvoter(_ context.Context, id, addr string) error { return nil }
func (c *court) Remove(_ context.Context, id string) error {
	c.removed = append(c.removed, id)
	return nil
}
func (c *court) Transfer(_ context.Context, id string) error {
	c.handed = append(c.handed, id)
	return nil
}

// startMember runs a node that is the whole cluster.
func startMember(t *testing.T, peers ...string) (addr string, n *member.Node, found member.Found) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := storage.OpenDir(storage.OSFS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	addr = listener.Addr().String()
	n, err = member.Open(member.Options{Dir: dir, Listen: listener, Secret: "of the badger", Peers: append(peers, addr), Expect: 1 + len(peers),
		ClientAddr: ":7001", Version: "9.9", Logger: slog.New(slog.DiscardHandler), Interval: 5 * time.Millisecond,
		Digests: digestOf("5e77")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(); dir.Close() })
	if len(peers) == 0 {
		if found, err = n.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return addr, n, found
}

// digestOf is a node whose data have that hash.
type digestOf string

func (d digestOf) NextFlushPoint(context.Context) (uint64, error) { return 42, nil }

func (d digestOf) Digest(_ context.Context, index uint64, passed func(records uint64) error) (member.Digest, error) {
	if index != 42 {
		return member.Digest{}, errors.New("another point")
	}
	return member.Digest{Sum: string(d), Keys: 3}, passed(7)
}

// said runs sett cluster.
func said(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = run(append([]string{"cluster"}, args...), &out, &errs)
	return out.String(), errs.String(), code
}

func TestClusterCommand(t *testing.T) {
	const dead = "dddddddddddddddddddddddddddddddd"
	addr, n, found := startMember(t)
	c := &court{state: replication.State{Role: replication.Leader, ClusterID: found.ClusterID, ID: found.ID, Leader: found.ID, Term: 7, First: 1, Last: 90,
		Committed: 90, Applied: 90, Members: []replication.Member{{ID: found.ID, Addr: addr, Voter: true}, {ID: dead, Addr: "127.0.0.1:1", Voter: false}}}}
	n.Attach(c, func() bool { return true })
	as := []string{"--set", "cluster.secret=of the badger", "--addr", addr}

	out, errs, code := said(append(as, "status")...)
	if code != exitRuntime || !strings.Contains(out, "cluster "+found.ClusterID+"  epoch 1  term 7  committed 90") ||
		!strings.Contains(out, "does not answer") || !strings.Contains(out, "127.0.0.1:7001") || !strings.Contains(errs, "connection refused") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if out, errs, code = said(append(as, "remove", "dddd")...); code != exitClean || out != "done\n" || len(c.removed) != 1 || c.removed[0] != dead {
		t.Errorf("%d\n%s%s %v", code, out, errs, c.removed)
	}
	if _, errs, code = said(append(as, "remove", "nobody")...); code != exitRuntime || !strings.Contains(errs, `no member "nobody"`) {
		t.Errorf("%d\n%s", code, errs)
	}
	if _, errs, code = said(append(as, "transfer")...); code != exitClean || len(c.handed) != 1 {
		t.Errorf("%d\n%s", code, errs)
	}
	c.shrink()
	out, errs, code = said("status", "--set=cluster.secret=of the badger", "--set", "cluster.peers="+addr)
	if code != exitClean || errs != "" || !strings.Contains(out, "leader") || !strings.Contains(out, "9.9") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}

	guest, _, _ := startMember(t, "127.0.0.1:1")
	if _, errs, code = said(append(as, "join", guest)...); code != exitClean {
		t.Errorf("%d\n%s", code, errs)
	}
	if _, errs, code = said(append(as, "join", addr)...); code != exitRuntime || !strings.Contains(errs, "no member of a cluster") {
		t.Errorf("%d\n%s", code, errs)
	}
	if _, errs, code = said("status", "--addr", addr); code != exitRuntime || !strings.Contains(errs, "cluster.secret differs") {
		t.Errorf("%d\n%s", code, errs)
	}
}

func TestClusterCommandMisused(t *testing.T) {
	for _, args := range [][]string{{}, {"dance", "--addr", "a:1"}, {"status"}, {"remove", "--addr", "a:1"}, {"status", "--addr=a:1", "--sett=x"},
		{"status", "--addr=a:1", "--set", "cluster.tls_cert_file=x"}} {
		if out, errs, code := said(args...); code != exitUsage || out != "" || errs == "" {
			t.Errorf("%q: %d\n%s%s", args, code, out, errs)
		}
	}
	if _, errs, code := said("status", "--addr", "127.0.0.1:1"); code != exitRuntime || !strings.Contains(errs, "nobody answers") {
		t.Errorf("%d\n%s", code, errs)
	}
}

func TestClusterRecoverOfNothing(t *testing.T) {
	dir := t.TempDir()
	if d, err := storage.OpenDir(storage.OSFS{}, dir); err != nil {
		t.Fatal(err)
	} else {
		d.Close()
	}
	if out, errs, code := said("recover", "--set", "dir="+dir); code != exitRuntime || out != "" || !strings.Contains(errs, "belongs to no cluster") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if _, errs, code := said("recover", "now", "--set", "dir="+dir); code != exitUsage || !strings.Contains(errs, "--yes") {
		t.Errorf("%d\n%s", code, errs)
	}
}
