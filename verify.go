package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"sett/replication/member"
)

const verifyUsage = `sett verify: whether all nodes of a cluster have the same data

with --config FILE and --set KEY=VALUE as the server has them, and --addr ADDR[,ADDR…] to ask others than cluster.peers
`

// verifyCommand is sett verify. The cluster goes on meanwhile: the leader names a point that every node passes, and each takes a hash over its data there.
func verifyCommand(args []string, stdout, stderr io.Writer) int {
	words, addrs, rest := splitCluster(args)
	if len(words) > 0 {
		io.WriteString(stderr, verifyUsage)
		return exitUsage
	}
	o, code := newOperator(addrs, rest, stdout, stderr)
	if o == nil {
		return code
	}
	defer o.mesh.Close()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	return o.verify(ctx)
}

// opinion is what a node says of its data.
type opinion struct {
	addr string
	member.Digest
	err error
}

// verify succeeds if every member says the same.
func (o *operator) verify(ctx context.Context) int {
	reports, problems := o.reports(ctx)
	nodes := map[string]string{} // addresses by id
	for addr, r := range reports {
		if r.ClusterID != "" {
			nodes[r.ID] = addr
		}
		for _, m := range r.Members {
			if nodes[m.ID] == "" {
				nodes[m.ID] = m.Addr
			}
		}
	}
	if len(nodes) == 0 {
		return failed(o.stderr, fmt.Errorf("no member of a cluster answers (%s)", problems))
	}
	index, err := o.flushPoint(ctx)
	if err != nil {
		return failed(o.stderr, fmt.Errorf("no point to compare the nodes at: %w", err))
	}
	return o.judge(index, o.digests(ctx, nodes, index))
}

// electionWait is how long a leader is looked for.
const electionWait = 10 * time.Second

// flushPoint has the leader make a point to compare the nodes at. Who has just lost its leader names that one for a while.
func (o *operator) flushPoint(ctx context.Context) (index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, electionWait)
	defer cancel()
	for {
		err = o.ask(func(addr string) (err error) {
			index, err = member.FlushPoint(ctx, o.mesh, addr)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return index, err
		}
		select {
		case <-time.After(electionWait / 50):
		case <-ctx.Done():
			return 0, err
		}
	}
}

// digests asks all nodes at once, and says how far they are.
func (o *operator) digests(ctx context.Context, nodes map[string]string, index uint64) map[string]opinion {
	type news struct {
		id      string
		records uint64
		said    *opinion // nil: it is still reading
	}
	all := make(chan news)
	for id, addr := range nodes {
		go func() {
			d, err := member.TakeDigest(ctx, o.mesh, addr, index, func(records uint64) { all <- news{id: id, records: records} })
			all <- news{id: id, said: &opinion{addr, d, err}}
		}()
	}
	opinions := map[string]opinion{}
	for len(opinions) < len(nodes) {
		if n := <-all; n.said != nil {
			opinions[n.id] = *n.said
		} else {
			fmt.Fprintf(o.stderr, "%s has read %d records\n", n.id, n.records)
		}
	}
	return opinions
}

// judge prints what each node said, and names those that differ: from what more than half of them say, if so many agree.
func (o *operator) judge(index uint64, opinions map[string]opinion) int {
	votes, sum := map[string]int{}, ""
	for _, said := range opinions {
		if said.err == nil {
			votes[said.Sum]++
			if 2*votes[said.Sum] > len(opinions) {
				sum = said.Sum
			}
		}
	}
	var differ, silent []string
	fmt.Fprintf(o.stdout, "at entry %d\n", index)
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tKEYS\tDIGEST\tSAYS")
	for _, id := range slices.Sorted(maps.Keys(opinions)) {
		said, verdict := opinions[id], "the same"
		switch {
		case said.err != nil:
			silent, verdict = append(silent, id), said.err.Error()
		case said.Sum != sum:
			differ, verdict = append(differ, id), "SOMETHING ELSE"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.16s\t%s\n", id, said.addr, said.Keys, said.Sum, verdict)
	}
	w.Flush()
	switch {
	case len(votes) > 1 && sum == "":
		fmt.Fprintln(o.stdout, "The nodes differ, and no majority agrees: nobody can tell from here which one is right.")
	case len(differ) > 0 && len(votes) > 1:
		fmt.Fprintf(o.stdout, "%s differs from the majority.\n", strings.Join(differ, ", "))
	case len(silent) > 0:
		fmt.Fprintf(o.stdout, "%s did not say: not all nodes could be compared.\n", strings.Join(silent, ", "))
	default:
		fmt.Fprintln(o.stdout, "All nodes have the same data.")
		return exitClean
	}
	return exitRuntime
}
