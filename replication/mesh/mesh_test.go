package mesh

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"sett/internal/testlog"
)

const (
	clusterX = "11111111111111111111111111111111"
	clusterY = "22222222222222222222222222222222"
	nodeA    = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	nodeB    = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// house is a node that echoes on all kinds.
type house struct {
	*Mesh
	addr   string
	log    *testlog.Buffer
	served atomic.Int64
}

func newHouse(t *testing.T, o Options, self Identity) *house {
	t.Helper()
	return newPatientHouse(t, o, self, helloTimeout)
}

func newPatientHouse(t *testing.T, o Options, self Identity, patience time.Duration) *house {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{addr: listener.Addr().String(), log: &testlog.Buffer{}}
	o.Listen, o.Self, o.Logger = listener, func() Identity { return self }, slog.New(slog.NewTextHandler(h.log, nil))
	h.Mesh = New(o)
	h.patience = patience
	for kind := firstKind; kind <= lastKind; kind++ {
		h.Handle(kind, func(conn net.Conn, _ Identity) {
			h.served.Add(1)
			defer conn.Close()
			io.Copy(conn, conn)
		})
	}
	h.Serve()
	t.Cleanup(func() { h.Close() })
	return h
}

func member(node string) Identity { return Identity{ClusterID: clusterX, NodeID: node, Epoch: 1} }

// refusals waits until a node has refused as many connections for a reason.
func (h *house) refusals(t *testing.T, code string, n uint64) {
	t.Helper()
	until(t, func() bool { return h.Stats().Refused[code] == n }, func() any { return h.Stats() })
}

func until(t *testing.T, ok func() bool, what func() any) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come: %+v", what())
		}
	}
}

func echoes(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "badger"); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 6)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "badger" {
		t.Fatalf("%q, %v", back, err)
	}
}

func TestStreamsOfEachKind(t *testing.T) {
	for _, secret := range []string{"", "of the badger"} {
		a, b := newHouse(t, Options{Secret: secret}, member(nodeA)), newHouse(t, Options{Secret: secret}, member(nodeB))
		for kind := firstKind; kind <= lastKind; kind++ {
			conn, peer, err := a.Dial(t.Context(), b.addr, kind)
			if err != nil {
				t.Fatal(err)
			}
			if peer.NodeID != nodeB || peer.ClusterID != clusterX || peer.Protocol != Protocol || peer.WallMs == 0 {
				t.Fatalf("%+v", peer)
			}
			echoes(t, conn)
			if s := a.Stats(); s.Open[kind] != 1 || s.Dialed[kind] != 1 {
				t.Fatalf("%+v", s)
			}
			conn.Close()
			if s := a.Stats(); s.Open[kind] != 0 {
				t.Fatalf("%+v", s)
			}
			if s := b.Stats(); s.Accepted[kind] != 1 {
				t.Fatalf("%+v", s)
			}
		}
	}
}

func TestStrangersLearnNothingAndReachNobody(t *testing.T) {
	h := newHouse(t, Options{Secret: "of the badger"}, member(nodeA))
	for n, stranger := range []struct{ says, hears, logged string }{
		{"*1\r\n$4\r\nPING\r\n", "-ERR this is the cluster port", "a Redis client"},
		{"PING\r\n", "-ERR this is the cluster port", "perhaps a browser"},
		{"GET / HTTP/1.1\r\nHost: badger\r\n\r\n", "-ERR", "perhaps a browser"},
		{"\x16\x03\x01\x02\x00\x01\x00", "-ERR", "speaks TLS"},
		{"\x01raft, as hashicorp speaks it, long enough for a hello", "", ""},
		{"\x00\xff\xff\xff", "-ERR", ""},
	} {
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, stranger.says)
		heard := make([]byte, 100)
		n2, _ := io.ReadAtLeast(conn, heard, len(stranger.hears))
		if got := string(heard[:n2]); !strings.HasPrefix(got, stranger.hears) || strings.Contains(got, clusterX) {
			t.Errorf("%q hears %q", stranger.says, got)
		}
		if n2, err := io.Copy(io.Discard, conn); err == nil && n2 > 200 {
			t.Errorf("%q hears much more", stranger.says)
		}
		conn.Close()
		h.refusals(t, ErrStranger.Code, uint64(n+1))
	}
	if _, err := http.Get("http://" + h.addr); err == nil {
		t.Error("a browser got an answer")
	}
	if n := h.served.Load(); n > 0 {
		t.Errorf("%d of them were served", n)
	}
	if lines := strings.Count(h.log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines in the log, one is enough:\n%s", lines, h.log)
	}
	if !strings.Contains(h.log.String(), "a Redis client has come to the cluster port") {
		t.Errorf("an operator reads: %s", h.log)
	}
}

func TestSilenceIsCutOff(t *testing.T) {
	h := newPatientHouse(t, Options{}, member(nodeA), 20*time.Millisecond)
	for _, says := range []string{"", "\x04SETT\x01"} {
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, says)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
	}
	h.refusals(t, "timeout", 2)
}

func TestACrowdOfSilentOnesKeepsNobodyOut(t *testing.T) {
	a, b := newHouse(t, Options{}, member(nodeA)), newHouse(t, Options{}, member(nodeB))
	for range maxHellos + 10 {
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	a.refusals(t, ErrCrowd.Code, 10)
	conn, _, err := b.Dial(t.Context(), a.addr, Control)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echoes(t, conn)
}

// TestACrowdEndsNobodyWhoHasSaidWhoHeIs: a stream that was let in and ended at once would leave what was sent on it in doubt.
func TestACrowdEndsNobodyWhoHasSaidWhoHeIs(t *testing.T) {
	a, b := newHouse(t, Options{}, member(nodeA)), newHouse(t, Options{}, member(nodeB))
	a.SetGate(func(Kind, Identity) error {
		for range maxHellos + 1 {
			silent, err := net.Dial("tcp", a.addr)
			if err != nil {
				return err
			}
			t.Cleanup(func() { silent.Close() })
		}
		for a.Stats().Refused[ErrCrowd.Code] == 0 {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	conn, _, err := b.Dial(t.Context(), a.addr, Control)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echoes(t, conn)
}

func TestWhoIsRefused(t *testing.T) {
	self := Identity{ClusterID: clusterX, NodeID: nodeA, Epoch: 2}
	peer := Identity{ClusterID: clusterX, NodeID: nodeB, Epoch: 2}
	with := func(change func(*Identity)) Identity {
		id := peer
		change(&id)
		return id
	}
	for name, c := range map[string]struct {
		peer Identity
		kind Kind
		want *Refusal
	}{
		"another cluster's node":       {with(func(i *Identity) { i.ClusterID = clusterY }), Control, ErrCluster},
		"its raft":                     {with(func(i *Identity) { i.ClusterID = clusterY }), Raft, ErrCluster},
		"one left behind":              {with(func(i *Identity) { i.Epoch = 1 }), Raft, ErrEpoch},
		"one ahead":                    {with(func(i *Identity) { i.Epoch = 3 }), Control, ErrEpoch},
		"a copy of the data directory": {with(func(i *Identity) { i.NodeID = nodeA }), Raft, ErrCopy},
		"a wiped node, raft":           {Identity{NodeID: nodeB}, Raft, ErrBlank},
		"a wiped node, forwarding":     {Identity{NodeID: nodeB}, Forward, ErrBlank},
		"a wiped node, snapshots":      {Identity{NodeID: nodeB}, Snapshot, ErrBlank},
		"a wiped node, control":        {Identity{NodeID: nodeB}, Control, nil},
		"an operator":                  {Identity{}, Control, nil},
		"an operator who wants more":   {Identity{}, Raft, ErrBlank},
		"a member":                     {peer, Raft, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newHouse(t, Options{}, self), newHouse(t, Options{}, c.peer)
			for _, way := range []struct {
				from, to *house
			}{{a, b}, {b, a}} {
				conn, _, err := way.from.Dial(t.Context(), way.to.addr, c.kind)
				if c.want == nil {
					if err != nil {
						t.Fatal(err)
					}
					echoes(t, conn)
					conn.Close()
					continue
				}
				var refusal *Refusal
				if !errors.Is(err, c.want) || !errors.As(err, &refusal) || !refusal.Theirs || refusal.Peer.Boot == "" {
					t.Fatalf("%v; want %v", err, c.want)
				}
				way.to.refusals(t, c.want.Code, 1)
			}
			if served := a.served.Load() + b.served.Load(); c.want != nil && served > 0 {
				t.Error("somebody was served all the same")
			}
		})
	}
}

func TestANodeMeetsItself(t *testing.T) {
	a := newHouse(t, Options{Secret: "of the badger"}, member(nodeA))
	_, _, err := a.Dial(t.Context(), a.addr, Control)
	if !errors.Is(err, ErrSelf) {
		t.Fatal(err)
	}
}

func TestOtherSecret(t *testing.T) {
	a := newHouse(t, Options{Secret: "of the badger"}, member(nodeA))
	for _, secret := range []string{"", "of the bear"} {
		b := newHouse(t, Options{Secret: secret}, member(nodeB))
		for _, way := range []struct{ from, to *house }{{a, b}, {b, a}} {
			if _, _, err := way.from.Dial(t.Context(), way.to.addr, Raft); !errors.Is(err, ErrSecret) {
				t.Fatal(err)
			}
			until(t, func() bool { return way.to.Stats().Refused[ErrSecret.Code] > 0 }, func() any { return way.to.Stats() })
		}
		if b.served.Load() > 0 {
			t.Error("it was served")
		}
	}
	if a.served.Load() > 0 {
		t.Error("it was served")
	}
}

// TestAnImpostorWhoListens: whoever answers without the secret is found out by the dialer, whatever it answers.
func TestAnImpostorWhoListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	impostor := New(Options{Secret: "guessed", Self: func() Identity { return member(nodeB) }, Logger: slog.New(slog.DiscardHandler)})
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, dialer, _ := readOpening(conn)
		opening := newNonce()
		conn.Write(opening)
		text, _, _ := readProven(conn)
		transcript := append(append(dialer, opening...), text...)
		conn.Write(impostor.sealed(answer{Identity: impostor.Self()}, "answer", transcript))
		io.Copy(io.Discard, conn)
	}()
	a := newHouse(t, Options{Secret: "of the badger"}, member(nodeA))
	if _, _, err := a.Dial(t.Context(), listener.Addr().String(), Raft); !errors.Is(err, ErrSecret) {
		t.Fatal(err)
	}
}

// TestReplayedHello: everything that an honest dialer sent, recorded and sent again, opens nothing.
func TestReplayedHello(t *testing.T) {
	a, b := newHouse(t, Options{Secret: "of the badger"}, member(nodeA)), newHouse(t, Options{Secret: "of the badger"}, member(nodeB))
	wire, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	var recorded testlog.Buffer
	go func() {
		in, err := wire.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", b.addr)
		if err != nil {
			return
		}
		defer out.Close()
		go io.Copy(in, out)
		io.Copy(out, io.TeeReader(in, &recorded))
	}()
	conn, _, err := a.Dial(t.Context(), wire.Addr().String(), Raft)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, conn)
	conn.Close()
	served := b.served.Load()

	again, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	io.WriteString(again, recorded.String())
	b.refusals(t, ErrSecret.Code, 1)
	if b.served.Load() != served {
		t.Error("the recording was served")
	}
}

func TestTheGate(t *testing.T) {
	a, b := newHouse(t, Options{}, member(nodeA)), newHouse(t, Options{}, member(nodeB))
	a.SetGate(func(kind Kind, peer Identity) error {
		if kind == Raft && peer.NodeID == nodeB {
			return errors.New("it was removed")
		}
		return nil
	})
	_, _, err := b.Dial(t.Context(), a.addr, Raft)
	if !errors.Is(err, ErrGate) || !strings.Contains(err.Error(), "it was removed") {
		t.Fatal(err)
	}
	conn, _, err := b.Dial(t.Context(), a.addr, Control)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	a.Handle(Control, nil)
	if _, _, err := b.Dial(t.Context(), a.addr, Control); !errors.Is(err, ErrNotYet) {
		t.Fatal(err)
	}
}

func TestOlderProtocol(t *testing.T) {
	a := newHouse(t, Options{}, member(nodeA))
	old := member(nodeB)
	old.Boot = newBoot()
	if r := a.judge(Raft, a.Self(), old); !errors.Is(r, ErrVersion) {
		t.Errorf("protocol 0: %v", r)
	}
	old.Protocol = Protocol + 1 // it decides whether it can talk to us
	if r := a.judge(Raft, a.Self(), old); r != nil {
		t.Errorf("a newer one: %v", r)
	}
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(append([]byte("\x04SETT"), 9))
	a.refusals(t, ErrVersion.Code, 1)
}

func TestClocks(t *testing.T) {
	a := newHouse(t, Options{}, member(nodeA))
	asked := time.Now()
	for _, c := range []struct {
		off  time.Duration
		warn bool
	}{{0, false}, {200 * time.Millisecond, false}, {3 * time.Second, true}, {-time.Hour, true}} {
		a.tally = tally{log: a.o.Logger}
		before := len(a.log.String())
		a.NoteClock(Identity{NodeID: nodeB, Boot: "another", WallMs: asked.Add(c.off).UnixMilli()}, asked)
		if warned := strings.Contains(a.log.String()[before:], "wall clocks differ"); warned != c.warn {
			t.Errorf("%v: warned %v", c.off, warned)
		}
		if skew := a.Stats().Skew; skew > c.off.Abs()+10*time.Second || skew < c.off.Abs()-10*time.Second {
			t.Errorf("%v: %v", c.off, skew)
		}
	}
}

// TestRetire: whoever was let in is served before Retire returns, and nobody is let in after it.
func TestRetire(t *testing.T) {
	a, b := newHouse(t, Options{}, member(nodeA)), newHouse(t, Options{}, member(nodeB))
	entered, goOn := make(chan struct{}, 100), make(chan struct{})
	b.Handle(Forward, func(conn net.Conn, _ Identity) {
		defer conn.Close()
		entered <- struct{}{}
		<-goOn
		io.WriteString(conn, "no")
	})
	conn, _, err := a.Dial(t.Context(), b.addr, Forward)
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	retired := make(chan struct{})
	go func() {
		defer close(retired)
		b.Retire(Forward, 10*time.Second)
	}()
	until(t, func() bool {
		extra, _, err := a.Dial(t.Context(), b.addr, Forward)
		if err == nil {
			extra.Close()
		}
		return errors.Is(err, ErrNotYet)
	}, func() any { return "a stream of a kind that is retired was let in" })
	select {
	case <-retired:
		t.Fatal("it did not wait for the stream that was let in")
	default:
	}
	close(goOn)
	<-retired
	b.Close()
	if said, _ := io.ReadAll(conn); string(said) != "no" {
		t.Fatalf("who was let in heard %q", said)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	a, b := newHouse(t, Options{}, member(nodeA)), newHouse(t, Options{}, member(nodeB))
	conn, _, err := a.Dial(t.Context(), b.addr, Forward)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, conn)
	silent, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	b.Close() // returns: the serve functions have ended
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	a.Close()
	if _, _, err := a.Dial(t.Context(), b.addr, Forward); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if open := a.Stats().Open; len(open) > 0 {
		t.Fatal(open)
	}
}

func TestDropAndCancel(t *testing.T) {
	a, b := newHouse(t, Options{}, member(nodeA)), newHouse(t, Options{}, member(nodeB))
	conn, _, err := a.Dial(t.Context(), b.addr, Forward)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, conn)
	b.Drop(nodeA)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("it is still open")
	}
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := deaf.Accept(); err == nil {
			bufio.NewReader(conn).Peek(1)
			cancel()
		}
	}()
	if _, _, err := a.Dial(ctx, deaf.Addr().String(), Control); err == nil {
		t.Fatal("nobody was there")
	}
}

// TestRaftOverTheMesh has raft's own transport speak over streams.
func TestRaftOverTheMesh(t *testing.T) {
	var transports [2]*raft.NetworkTransport
	var addrs [2]string
	for i, id := range []string{nodeA, nodeB} {
		h := newHouse(t, Options{Secret: "of the badger"}, member(id))
		addrs[i] = h.addr
		transports[i] = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: h.StreamLayer(h.addr), MaxPool: 2, Timeout: 5 * time.Second})
		defer transports[i].Close()
	}
	if got := string(transports[1].LocalAddr()); got != addrs[1] {
		t.Fatal(got)
	}
	go func() {
		rpc := <-transports[1].Consumer()
		rpc.Respond(&raft.RequestVoteResponse{Term: 7, Granted: true}, nil)
	}()
	var resp raft.RequestVoteResponse
	err := transports[0].RequestVote(nodeB, raft.ServerAddress(addrs[1]), &raft.RequestVoteRequest{Term: 7}, &resp)
	if err != nil || !resp.Granted {
		t.Fatalf("%+v, %v", resp, err)
	}
}
