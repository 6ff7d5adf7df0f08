package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sett/replication"
)

// TestSettClusterStatus shows what an operator looks for.
func TestSettClusterStatus(t *testing.T) {
	t.Parallel()
	f, ts := inClusterOf(t, threeNodes())
	c := ts.dial()
	f.change(func(s *replication.State) {
		s.Members[1].Match, s.Members[1].Applied, s.Members[1].LastContact = 70, 60, 20*time.Millisecond
		s.Members[2].Voter = false
	})
	text := func(name, value string) string { return bulk(name) + bulk(value) }
	number := func(name, value string) string { return bulk(name) + ":" + value + "\r\n" }
	head := func(health, role, leader, lease string) string {
		return "*24\r\n" + text("health", health) + text("cluster_id", clusterID) + text("node_id", idA) + text("role", role) + number("term", "7") +
			text("leader", leader) + number("lease", lease) + number("first_index", "11") + number("last_index", "90") + number("committed_index", "90") +
			number("applied_index", "90") + bulk("nodes") + "*3\r\n"
	}
	node := func(id, host, role, voter, reachable, contact, match, applied, lag string) string {
		return "*22\r\n" + text("id", id) + text("addr", host+":7380") + text("client_addr", host+":6379") + text("role", role) + number("voter", voter) +
			number("reachable", reachable) + number("last_contact_ms", contact) + number("match_index", match) + number("applied_index", applied) +
			number("lag", lag) + number("feature_level", "1")
	}
	a, b := node(idA, "10.0.0.1", "leader", "1", "1", "0", "90", "90", "0"), node(idB, "10.0.0.2", "follower", "1", "1", "20", "70", "60", "20")
	c.want(head("ok", "leader", idA, "1")+a+b+node(idC, "10.0.0.3", "replica", "0", "1", "0", "90", "90", "0"), "SETT", "CLUSTER", "STATUS")
	f.change(func(s *replication.State) { s.Members[1].Reachable, s.Members[1].LastContact = false, 5*time.Second })
	if got := c.do("SETT", "CLUSTER", "STATUS"); !strings.Contains(got, text("health", "served by fewer nodes than there are; not reached: bbbbbbbb (10.0.0.2:7380)")) {
		t.Errorf("got %q", got)
	}
	f.change(func(s *replication.State) { *s = threeNodes(); follow(s) })
	c.do("SETT", "CLUSTER", "STATUS")
	f.change(func(s *replication.State) { s.Members[2] = replication.Member{ID: idC, Addr: "10.0.0.3:7380"} })
	if got := c.do("SETT", "CLUSTER", "STATUS"); !strings.Contains(got, number("reachable", "-1")+number("last_contact_ms", "-1")+number("match_index", "-1")) {
		t.Errorf("what a follower does not know: %q", got)
	}
	f.change(func(s *replication.State) { *s = threeNodes(); leaderless(s) })
	if got := c.do("SETT", "CLUSTER", "STATUS"); !strings.Contains(got, text("health", "no leader: an election is going on")) || !strings.Contains(got, text("role", "candidate")) {
		t.Errorf("got %q", got)
	}
	f.change(func(s *replication.State) { s.Members[2].Reachable, s.Members[2].LastContact = false, time.Second })
	want := "no leader: too few voters reach each other; not reached: bbbbbbbb (10.0.0.2:7380), cccccccc (10.0.0.3:7380)"
	if got := c.do("SETT", "CLUSTER", "STATUS"); !strings.Contains(got, want) {
		t.Errorf("got %q", got)
	}
	if got := c.do("SETT", "CLUSTER", "HELP"); !strings.Contains(got, "CLUSTER TRANSFER") {
		t.Errorf("got %q", got)
	}
	c.want("-ERR unknown subcommand or wrong number of arguments for 'FOO'. Try SETT CLUSTER HELP.\r\n", "SETT", "CLUSTER", "FOO")
}

// TestSettClusterChanges: TRANSFER and REMOVE name a node in several ways and answer when it is done.
func TestSettClusterChanges(t *testing.T) {
	t.Parallel()
	f := &fakeCluster{state: threeNodes(), asked: make(chan string, 1), answer: make(chan error, 1)}
	f.change(func(s *replication.State) { s.Members[2].ID = idB[:31] + "c" })
	ts := startServer(t, setup{cluster: f})
	c := ts.dial()
	for _, name := range []string{idB, idB + zeros, "10.0.0.2:7380", "10.0.0.2:6379"} {
		f.answer <- nil
		c.want(bulk(idA), "SETT", "CLUSTER", "TRANSFER", name)
		if got := <-f.asked; got != "transfer "+idB {
			t.Errorf("asked to %s", got)
		}
	}
	f.answer <- nil
	c.want("+OK\r\n", "SETT", "CLUSTER", "REMOVE", idB[:31]+"C")
	if got := <-f.asked; got != "remove "+idB[:31]+"c" {
		t.Errorf("asked to %s", got)
	}
	c.want(bulk(idA), "SETT", "CLUSTER", "TRANSFER", "aa") // it does already
	c.want("-ERR more than one node has an id that begins with bbbb\r\n", "SETT", "CLUSTER", "REMOVE", "bbbb")
	c.want("-ERR Unknown node dd\r\n", "SETT", "CLUSTER", "REMOVE", "dd")
	c.want("-ERR Unknown node \r\n", "SETT", "CLUSTER", "REMOVE", "")
	f.answer <- errors.New("the change may still take place")
	c.want("-ERR the change may still take place\r\n", "SETT", "CLUSTER", "REMOVE", idB)
	f.change(func(s *replication.State) { s.Members[2].Voter = false })
	c.want("-"+string(errFailoverNonVoter)+"\r\n", "SETT", "CLUSTER", "TRANSFER", "10.0.0.3:6379")
}

// TestNodesAreNamedOnce: a node that is lost or slow is one line in the log, and another when that is over.
func TestNodesAreNamedOnce(t *testing.T) {
	t.Parallel()
	var watch nodeWatch
	now, state := time.Unix(1000, 0), threeNodes()
	look := func(seconds int, each func()) string {
		var lines bytes.Buffer
		for range seconds {
			now = now.Add(time.Second)
			each()
			watch.look(&state, now, slog.New(slog.NewTextHandler(&lines, nil)))
		}
		return lines.String()
	}
	same := func() {}
	if got := look(10, same); got != "" {
		t.Errorf("all is well: %s", got)
	}
	state.Members[1].Reachable = false
	if got := look(10, same); strings.Count(got, "\n") != 1 || !strings.Contains(got, "a node does not answer") || !strings.Contains(got, idB) {
		t.Errorf("b is lost: %s", got)
	}
	state.Members[1].Reachable = true
	if got := look(10, same); strings.Count(got, "\n") != 1 || !strings.Contains(got, "a node is back") || !strings.Contains(got, "after=9s") {
		t.Errorf("b is back: %s", got)
	}
	grow := func() { state.Last += 100; state.Members[1].Match += 100; state.Members[2].Match += 10 }
	if got := look(10, grow); strings.Count(got, "\n") != 1 || !strings.Contains(got, "a node is slow") || !strings.Contains(got, idC) {
		t.Errorf("c is slow: %s", got)
	}
	state.Members[2].Match = state.Last
	if got := look(10, same); strings.Count(got, "\n") != 1 || !strings.Contains(got, "a node follows the log again") {
		t.Errorf("c has caught up: %s", got)
	}
	follow(&state)
	state.Members[2].Reachable = false
	if got := look(10, same); got != "" {
		t.Errorf("a follower speaks of others: %s", got)
	}
}
