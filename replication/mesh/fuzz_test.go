package mesh

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// script is a connection from which fixed bytes come.
type script struct {
	io.Reader
	wrote bytes.Buffer
}

func (s *script) Write(p []byte) (int, error)      { return s.wrote.Write(p) }
func (*script) Close() error                       { return nil }
func (*script) LocalAddr() net.Addr                { return address("here:1") }
func (*script) RemoteAddr() net.Addr               { return address("there:1") }
func (*script) SetDeadline(time.Time) error        { return nil }
func (*script) SetReadDeadline(time.Time) error    { return nil }
func (*script) SetWriteDeadline(t time.Time) error { return nil }

// FuzzHello: no bytes let anybody in who does not know the nonce that was drawn for him, and none break the reader.
func FuzzHello(f *testing.F) {
	f.Add([]byte("*1\r\n$4\r\nPING\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	good := New(Options{Secret: "of the badger", Self: func() Identity { return member(nodeB) }})
	recorded := append([]byte{byte(Raft)}, newNonce()...)
	f.Add(recorded)
	f.Add(append(recorded, framed([]byte(`{"NodeID":"`+nodeB+`"}`), good.prove("dial", recorded, nil))...))
	f.Add(append([]byte{4}, append(newNonce(), 0xff, 0xff)...))
	m := New(Options{Secret: "of the badger", Self: func() Identity { return member(nodeA) }, Logger: slog.New(slog.DiscardHandler)})
	m.Handle(Raft, func(net.Conn, Identity) {})
	m.Handle(Control, func(net.Conn, Identity) {})
	f.Fuzz(func(t *testing.T, b []byte) {
		conn := &script{Reader: bytes.NewReader(b)}
		if s, err := m.receive(conn); err == nil {
			t.Fatalf("it let %+v in", s.Peer)
		}
		if bytes.Contains(conn.wrote.Bytes(), []byte(nodeA)) {
			t.Fatal("it says who it is to somebody who has proven nothing")
		}
	})
}

// FuzzTexts: whatever an identity or an answer says, nothing is believed that could not be shown.
func FuzzTexts(f *testing.F) {
	f.Add([]byte(`{"ClusterID":"` + clusterX + `","NodeID":"` + nodeA + `","Boot":"` + nodeB + `","ClientAddr":"a:1","Epoch":18446744073709551615}`))
	f.Add([]byte(`{"Identity":{"Boot":"` + nodeB + `"},"Code":"cluster","Reason":"\u0000"}`))
	f.Add([]byte(`{"NodeID":"\n"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseIdentity(b)
		if err != nil && !errors.Is(err, ErrHello) {
			t.Fatalf("%v is no refusal", err)
		}
		if err == nil && (len(id.NodeID)%32 != 0 || len(id.Boot) != 32 || len(id.ClientAddr) > 256) {
			t.Fatalf("believed: %+v", id)
		}
		peer, refusal, err := parseAnswer(b)
		if err == nil && (len(peer.Boot) != 32 || refusal != nil && refusal.Code == "") {
			t.Fatalf("believed: %+v %v", peer, refusal)
		}
	})
}
