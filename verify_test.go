package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sett/replication"
	"sett/replication/member"
)

func TestVerifyCommand(t *testing.T) {
	addr, n, found := startMember(t)
	c := &court{state: replication.State{Role: replication.Leader, ClusterID: found.ClusterID, ID: found.ID, Leader: found.ID, Term: 7,
		Members: []replication.Member{{ID: found.ID, Addr: addr, Voter: true}, {ID: "gone", Addr: "127.0.0.1:1", Voter: true}}}}
	n.Attach(c, func() bool { return true })
	verify := func() (string, int) {
		var out, errs bytes.Buffer
		code := run([]string{"verify", "--set", "cluster.secret=of the badger", "--addr", addr}, &out, &errs)
		return out.String() + errs.String(), code
	}
	if out, code := verify(); code != exitRuntime || !strings.Contains(out, "gone did not say") || !strings.Contains(out, "connection refused") {
		t.Errorf("%d\n%s", code, out)
	}
	c.shrink()
	if out, code := verify(); code != exitClean || !strings.Contains(out, "at entry 42") || !strings.Contains(out, "All nodes have the same data") {
		t.Errorf("%d\n%s", code, out)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"verify", "everything"}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "sett verify:") {
		t.Errorf("%d\n%s", code, errs.String())
	}
}

func TestVerdict(t *testing.T) {
	said := func(sum string) opinion { return opinion{Digest: member.Digest{Sum: sum}} }
	silent := opinion{err: errors.New("it sleeps")}
	for _, c := range []struct {
		a, b, c opinion
		says    string
		code    int
	}{
		{said("1"), said("1"), said("1"), "All nodes have the same data", exitClean},
		{said("1"), said("2"), said("1"), "node-b differs from the majority", exitRuntime},
		{said("1"), said("2"), said("3"), "no majority agrees", exitRuntime},
		{said("1"), said("2"), silent, "no majority agrees", exitRuntime},
		{said("1"), said("1"), silent, "node-c did not say", exitRuntime},
		{said("1"), silent, silent, "node-b, node-c did not say", exitRuntime},
		{silent, silent, silent, "node-a, node-b, node-c did not say", exitRuntime},
	} {
		var out bytes.Buffer
		o := &operator{stdout: &out}
		if code := o.judge(7, map[string]opinion{"node-a": c.a, "node-b": c.b, "node-c": c.c}); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%q is missing, or the exit code %d is wrong\n%s", c.says, code, out.String())
		}
	}
}
