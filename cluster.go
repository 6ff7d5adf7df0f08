package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sett/config"
	"sett/replication"
	"sett/replication/member"
	"sett/replication/mesh"
)

// operator is somebody at a shell who knows the configuration of a cluster: the nodes answer him on their cluster port.
type operator struct {
	mesh           *mesh.Mesh
	addrs          []string // whom to ask: --addr, or else cluster.peers
	stdout, stderr io.Writer
}

const clusterUsage = `sett cluster: what an operator asks and tells a cluster

  status                 who belongs to the cluster, and how they are
  join ADDR              have the node at ADDR, which belongs to none, join this cluster
  remove NODE            have a node leave; NODE is its id, the beginning of one, or its address
  transfer [NODE]        have another node lead
  recover [--yes]        most voters are gone for good: go on with the data of this node alone (stop the server first)

each with --config FILE and --set KEY=VALUE as the server has them, and --addr ADDR[,ADDR…] to ask others than cluster.peers
`

// clusterTimeout bounds what an operator waits for.
const clusterTimeout = 30 * time.Second

// clusterCommand is sett cluster.
func clusterCommand(args []string, stdout, stderr io.Writer) int {
	words, addrs, rest := splitCluster(args)
	if len(words) == 0 {
		io.WriteString(stderr, clusterUsage)
		return exitUsage
	}
	if words[0] == "recover" {
		cfg, err := configured(rest)
		if err != nil {
			return misuse(stderr, err.Error())
		}
		return recoverNode(cfg, words[1:], stdout, stderr)
	}
	o, code := newOperator(addrs, rest, stdout, stderr)
	if o == nil {
		return code
	}
	defer o.mesh.Close()
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	return o.run(ctx, words)
}

// configured is the configuration that the options of the server name.
func configured(options []string) (*config.Config, error) {
	file, sets, err := parseServer(options)
	if err != nil {
		return nil, err
	}
	return config.Load(file, sets)
}

// newOperator is one who asks at addrs, or else at the peers of the configuration that rest names; nil: the exit code says that this is misuse.
func newOperator(addrs, rest []string, stdout, stderr io.Writer) (*operator, int) {
	cfg, err := configured(rest)
	if err != nil {
		return nil, misuse(stderr, err.Error())
	}
	tls, err := mesh.LoadTLS(cfg.String("cluster.tls_cert_file"), cfg.String("cluster.tls_key_file"), cfg.String("cluster.tls_ca_cert_file"))
	if err != nil {
		return nil, misuse(stderr, err.Error())
	}
	if len(addrs) == 0 {
		addrs = cfg.Strings("cluster.peers")
	}
	if len(addrs) == 0 {
		return nil, misuse(stderr, "whom to ask? Give --addr, or --config with cluster.peers")
	}
	return &operator{member.Operator(cfg.String("cluster.secret"), tls), addrs, stdout, stderr}, exitClean
}

// splitCluster separates what to do, and with whom, from the options of the server.
func splitCluster(args []string) (words, addrs, rest []string) {
	for i := 0; i < len(args); i++ {
		option, value, joined := strings.Cut(args[i], "=")
		switch {
		case option == "--addr" && joined:
			addrs = strings.Split(value, ",")
		case option == "--addr" && i+1 < len(args):
			i++
			addrs = strings.Split(args[i], ",")
		case (option == "--config" || option == "--set") && !joined && i+1 < len(args):
			rest = append(rest, args[i], args[i+1])
			i++
		case strings.HasPrefix(option, "--") && option != "--yes":
			rest = append(rest, args[i])
		default:
			words = append(words, args[i])
		}
	}
	return words, addrs, rest
}

func (o *operator) run(ctx context.Context, words []string) int {
	var err error
	switch verb, args := words[0], words[1:]; {
	case verb == "status" && len(args) == 0:
		return o.status(ctx)
	case verb == "join" && len(args) == 1:
		err = o.join(ctx, args[0])
	case verb == "remove" && len(args) == 1:
		err = o.ask(func(addr string) error { return member.Remove(ctx, o.mesh, addr, args[0]) })
	case verb == "transfer" && len(args) <= 1:
		err = o.ask(func(addr string) error { return member.Transfer(ctx, o.mesh, addr, strings.Join(args, "")) })
	default:
		io.WriteString(o.stderr, clusterUsage)
		return exitUsage
	}
	if err != nil {
		return failed(o.stderr, err)
	}
	fmt.Fprintln(o.stdout, "done")
	return exitClean
}

// ask asks the first that answers who it is.
func (o *operator) ask(question func(addr string) error) error {
	reports, problems := o.reports(context.Background())
	for addr, r := range reports {
		if r.ClusterID != "" {
			return question(addr)
		}
	}
	if len(reports) > 0 {
		return fmt.Errorf("those that answer belong to no cluster yet")
	}
	return fmt.Errorf("nobody answers (%s)", problems)
}

// reports asks everybody at once, and the members that those name.
func (o *operator) reports(ctx context.Context) (byAddr map[string]*member.Report, problems string) {
	type outcome struct {
		addr   string
		report *member.Report
		err    error
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	byAddr = map[string]*member.Report{}
	asked := map[string]bool{}
	var complaints []string
	outcomes, waiting := make(chan outcome), 0
	ask := func(addrs []string) {
		for _, addr := range addrs {
			if !asked[addr] {
				asked[addr] = true
				waiting++
				go func() {
					r, err := member.Status(ctx, o.mesh, addr)
					outcomes <- outcome{addr, r, err}
				}()
			}
		}
	}
	ask(o.addrs)
	for ; waiting > 0; waiting-- {
		got := <-outcomes
		if got.err != nil {
			complaints = append(complaints, got.err.Error())
			continue
		}
		byAddr[got.addr] = got.report
		for _, m := range got.report.Members {
			ask([]string{m.Addr})
		}
	}
	slices.Sort(complaints)
	return byAddr, strings.Join(complaints, "; ")
}

// join sends a node to the members.
func (o *operator) join(ctx context.Context, addr string) error {
	reports, problems := o.reports(ctx)
	var via []string
	for at, r := range reports {
		if r.ClusterID != "" && at != addr {
			via = append(via, at)
		}
	}
	if len(via) == 0 {
		return fmt.Errorf("no member of a cluster answers (%s)", problems)
	}
	return member.Invite(ctx, o.mesh, addr, via)
}

// status prints what all nodes say together. It succeeds if there is a leader and everybody answers.
func (o *operator) status(ctx context.Context) int {
	reports, problems := o.reports(ctx)
	if len(reports) == 0 {
		return failed(o.stderr, fmt.Errorf("nobody answers: %s", problems))
	}
	var leader *member.Report
	for _, r := range reports {
		if r.Role == replication.Leader.String() && (leader == nil || r.Term > leader.Term) {
			leader = r
		}
	}
	o.printHead(reports, leader)
	healthy := o.printRows(reports, leader)
	if problems != "" {
		fmt.Fprintf(o.stderr, "sett: %s\n", problems)
	}
	if !healthy {
		return exitRuntime
	}
	return exitClean
}

func (o *operator) printHead(reports map[string]*member.Report, leader *member.Report) {
	if leader != nil {
		fmt.Fprintf(o.stdout, "cluster %s  epoch %d  term %d  committed %d\n", leader.ClusterID, leader.Epoch, leader.Term, leader.Committed)
		return
	}
	for _, r := range reports {
		if r.ClusterID != "" {
			fmt.Fprintf(o.stdout, "cluster %s  epoch %d  no leader\n", r.ClusterID, r.Epoch)
			return
		}
	}
	fmt.Fprintln(o.stdout, "no cluster yet")
}

// printRows prints a line for each node that answers or is a member, and tells whether all is well.
func (o *operator) printRows(reports map[string]*member.Report, leader *member.Report) (healthy bool) {
	rows := map[string][]string{} // by id
	healthy = leader != nil
	for addr, r := range reports {
		rows[r.ID] = rowOf(addr, r, leader)
		healthy = healthy && r.Ready && !r.Removed
	}
	if leader != nil {
		for _, m := range leader.Members {
			if rows[m.ID] == nil {
				rows[m.ID] = []string{m.ID, m.Addr, m.ClientAddr, "?", votes(m.Voter), "does not answer", "", "", ""}
				healthy = false
			}
		}
	}
	var ids []string
	for id := range rows {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tCLIENTS\tROLE\tVOTES\tSTATE\tAPPLIED\tBEHIND\tVERSION")
	for _, id := range ids {
		fmt.Fprintln(w, strings.Join(rows[id], "\t"))
	}
	w.Flush()
	return healthy
}

func votes(voter bool) string {
	if voter {
		return "yes"
	}
	return "no"
}

func rowOf(addr string, r, leader *member.Report) []string {
	voter, behind := "", ""
	if leader != nil {
		for _, m := range leader.Members {
			if m.ID == r.ID {
				voter = votes(m.Voter)
			}
		}
		behind = fmt.Sprint(max(leader.Committed, r.Applied) - r.Applied)
	}
	state := "ready"
	switch {
	case r.WaitsFor != "":
		state = "waits for " + r.WaitsFor
	case r.Removed:
		state = "removed"
	case !r.Ready:
		state = "not ready"
	}
	role := r.Role
	if role == "" {
		role = "-"
	}
	return []string{r.ID, addr, r.ClientAddr, role, voter, state, fmt.Sprint(r.Applied), behind, r.Version}
}
