package mesh

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"
)

// The hello, D who dialed, L who listens; all of it inside TLS if there is TLS:
//
//	D → L   kind(1) "SETT" version(1) nonceD(32)
//	L → D   "SETT" version(1) nonceL(32)
//	D → L   length(2) Identity as JSON, proof(32): HMAC-SHA256 with the secret over "dial", what was sent so far, and the identity
//	L → D   length(2) answer as JSON, proof(32): HMAC-SHA256 over "answer", what was sent so far, and the answer
//
// D speaks first, so that a stranger never gets anything that was computed with the secret. An L that does not believe D's proof says so without
// one of its own: the secrets differ, so it would be worth nothing.

const (
	helloMagic   = "SETT"
	helloVersion = 1

	nonceBytes   = 32
	proofBytes   = sha256.Size
	maxTextBytes = 4 << 10 // of an identity or an answer
)

// answer is what L says in the end.
type answer struct {
	Identity Identity
	Code     string // "": welcome; else of a Refusal
	Reason   string
}

// receive does L's part. The stream is ready for its serve function when it returns; nothing beyond the hello was read.
func (m *Mesh) receive(raw net.Conn) (*stream, error) {
	conn := raw
	conn.SetDeadline(time.Now().Add(m.patience))
	if m.serverTL != nil {
		secure := tls.Server(raw, m.serverTL)
		if err := secure.Handshake(); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	kind, dialer, err := readOpening(conn)
	if err != nil {
		if errors.Is(err, ErrStranger) {
			conn.Write([]byte(strangersAnswer))
		}
		return nil, err
	}
	opening := newNonce()
	transcript := append(dialer, opening...)
	if _, err := conn.Write(opening); err != nil {
		return nil, err
	}
	asked := time.Now()
	text, proof, err := readProven(conn)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(proof, m.prove("dial", transcript, text)) {
		conn.Write(m.sealed(answer{Code: ErrSecret.Code}, "", nil))
		return nil, ErrSecret
	}
	m.end(raw) // it knows the secret: no crowd ends it from now on
	peer, err := parseIdentity(text)
	if err != nil {
		return nil, err
	}
	self := m.Self()
	refusal := m.vet(kind, self, peer)
	var serve func(net.Conn, Identity)
	if refusal == nil {
		serve, refusal = m.enter(kind, peer)
	}
	m.NoteClock(peer, asked)
	said := answer{Identity: self}
	if refusal != nil {
		said.Code, said.Reason = refusal.Code, refusal.Reason
	}
	if _, err := conn.Write(m.sealed(said, "answer", append(transcript, text...))); err != nil {
		if refusal == nil {
			m.entered[kind].Done()
		}
		return nil, err
	}
	if refusal != nil {
		return nil, refusal
	}
	conn.SetDeadline(time.Time{})
	return &stream{Conn: conn, mesh: m, kind: kind, Peer: peer, serve: serve}, nil
}

// strangersAnswer is what a Redis client that has come to the wrong port can show to somebody.
const strangersAnswer = "-ERR this is the cluster port of a sett node: clients have a port of their own\r\n"

// Dial opens a stream to the node at addr. What it says there is proven by then: it knows the secret, and is the node that the Identity names.
// A *Refusal says why there is no stream; its Peer is filled if the other side had proven who it is.
func (m *Mesh) Dial(ctx context.Context, addr string, kind Kind) (net.Conn, Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	defer context.AfterFunc(m.closing, cancel)()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		if m.closing.Err() != nil {
			err = ErrClosed
		}
		return nil, Identity{}, err
	}
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	s, err := m.introduce(ctx, raw, kind)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && !m.keep(s) {
		err = ErrClosed
	}
	if err != nil {
		raw.Close()
		if m.closing.Err() != nil {
			err = ErrClosed
		}
		return nil, Identity{}, fmt.Errorf("cluster port %s: %w", addr, err)
	}
	m.tally.dialed(kind)
	return s, s.Peer, nil
}

// introduce does D's part.
func (m *Mesh) introduce(ctx context.Context, raw net.Conn, kind Kind) (*stream, error) {
	conn := raw
	if m.clientTL != nil {
		secure := tls.Client(raw, m.clientTL)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	transcript := append([]byte{byte(kind)}, newNonce()...)
	if _, err := conn.Write(transcript); err != nil {
		return nil, err
	}
	theirs, err := readNonce(conn)
	if err != nil {
		if m.clientTL == nil && errors.Is(err, io.EOF) {
			err = errors.New("it hangs up on a node's hello: perhaps it wants TLS (cluster.tls_cert_file)")
		}
		return nil, err
	}
	transcript = append(transcript, theirs...)
	self := m.Self()
	text, err := json.Marshal(self)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	if _, err := conn.Write(framed(text, m.prove("dial", transcript, text))); err != nil {
		return nil, err
	}
	said, proof, err := readProven(conn)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(proof, m.prove("answer", append(transcript, text...), said)) {
		return nil, &Refusal{Code: ErrSecret.Code, Reason: ErrSecret.Reason, Theirs: true}
	}
	peer, refusal, err := parseAnswer(said)
	if err != nil {
		return nil, err
	}
	if refusal == nil {
		refusal = m.judge(kind, self, peer)
	}
	if refusal != nil {
		return nil, refusal
	}
	m.NoteClock(peer, asked)
	return &stream{Conn: conn, mesh: m, kind: kind, Peer: peer}, nil
}

func newNonce() []byte {
	b := append([]byte(helloMagic), helloVersion)
	b = append(b, make([]byte, nonceBytes)...)
	rand.Read(b[len(b)-nonceBytes:])
	return b
}

// readOpening reads D's first message, and tells what it looks like if it is none: operators mix up ports.
func readOpening(r io.Reader) (Kind, []byte, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		return 0, nil, err
	}
	kind := Kind(first[0])
	if kind < firstKind || kind > lastKind {
		return 0, nil, ErrStranger.because(Identity{}, "%s", nameStranger(first[0]))
	}
	nonce, err := readNonce(r)
	return kind, append(first, nonce...), err
}

func nameStranger(first byte) string {
	switch {
	case first == '*' || first == '$':
		return "a Redis client has come to the cluster port"
	case first == 0x16:
		return "it speaks TLS, and this node's cluster port does not (cluster.tls_cert_file)"
	case first >= 'A' && first <= 'Z' || first >= 'a' && first <= 'z':
		return "not a node of sett: perhaps a browser, a health check or a Redis client"
	}
	return ErrStranger.Reason
}

// readNonce reads magic, version and nonce.
func readNonce(r io.Reader) ([]byte, error) {
	b := make([]byte, len(helloMagic)+1+nonceBytes)
	if _, err := io.ReadFull(r, b[:len(helloMagic)+1]); err != nil {
		return nil, err
	}
	if string(b[:len(helloMagic)]) != helloMagic {
		return nil, ErrStranger
	}
	if v := b[len(helloMagic)]; v != helloVersion {
		return nil, ErrVersion.because(Identity{}, "its hello is of version %d, this build knows %d", v, helloVersion)
	}
	_, err := io.ReadFull(r, b[len(helloMagic)+1:])
	return b, err
}

// readProven reads a text and the proof that goes with it.
func readProven(r io.Reader) (text, proof []byte, err error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxTextBytes {
		return nil, nil, ErrHello.because(Identity{}, "it says %d bytes of itself, %d are allowed", n, maxTextBytes)
	}
	b := make([]byte, n+proofBytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, nil, err
	}
	return b[:n:n], b[n:], nil
}

func framed(text, proof []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(text)))
	return append(append(b, text...), proof...)
}

// sealed is an answer as it is sent; without a label its proof is worth nothing.
func (m *Mesh) sealed(a answer, label string, transcript []byte) []byte {
	a.Reason = cut(a.Reason, 1<<10)
	text, err := json.Marshal(a)
	if err != nil {
		panic("mesh: " + err.Error())
	}
	proof := make([]byte, proofBytes)
	if label != "" {
		proof = m.prove(label, transcript, text)
	}
	return framed(text, proof)
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

// prove computes a proof. The label and the transcript's length leave no two ways to read what was proven.
func (m *Mesh) prove(label string, transcript, text []byte) []byte {
	mac := hmac.New(sha256.New, []byte(m.o.Secret))
	io.WriteString(mac, "sett hello "+label+"\n")
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(transcript))))
	mac.Write(transcript)
	mac.Write(text)
	return mac.Sum(nil)
}

// parseIdentity reads what a peer says of itself, and believes nothing that could not be shown to an operator.
func parseIdentity(text []byte) (id Identity, err error) {
	if err := json.Unmarshal(text, &id); err != nil {
		return id, ErrHello.because(Identity{}, "its identity cannot be read: %v", err)
	}
	return id, id.check()
}

func (id *Identity) check() error {
	switch {
	case !isID(id.NodeID) || !isID(id.ClusterID) || !isID(id.Boot) || id.Boot == "":
		return ErrHello.because(Identity{}, "its identity has an id that is none")
	case id.NodeID == "" && id.ClusterID != "":
		return ErrHello.because(Identity{}, "its identity names a cluster, but no node")
	case len(id.ClientAddr) > 256 || strings.ContainsFunc(id.ClientAddr, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }):
		return ErrHello.because(Identity{}, "its address for clients is none")
	}
	return nil
}

// isID tells whether s is 32 hex digits, or empty.
func isID(s string) bool {
	return s == "" || len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

func parseAnswer(text []byte) (Identity, *Refusal, error) {
	var a answer
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&a); err != nil {
		return Identity{}, nil, ErrHello.because(Identity{}, "its answer cannot be read: %v", err)
	}
	if err := a.Identity.check(); err != nil {
		return Identity{}, nil, err
	}
	if a.Code == "" {
		return a.Identity, nil, nil
	}
	return a.Identity, &Refusal{Code: a.Code, Reason: a.Reason, Peer: a.Identity, Theirs: true}, nil
}

// vet is what L has against a stream; nil: nothing.
func (m *Mesh) vet(kind Kind, self, peer Identity) *Refusal {
	if r := m.judge(kind, self, peer); r != nil {
		return r
	}
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		if err := gate(kind, peer); err != nil {
			return ErrGate.because(peer, "%v", err)
		}
	}
	return nil
}

// judge is what either side has against the other.
func (m *Mesh) judge(kind Kind, self, peer Identity) *Refusal {
	switch {
	case peer.Protocol < oldestProtocol:
		return ErrVersion.because(peer, "it speaks protocol %d, this build %d and not below %d: update it", peer.Protocol, Protocol, oldestProtocol)
	case peer.Boot == self.Boot:
		return ErrSelf.because(peer, "%s", ErrSelf.Reason)
	case peer.NodeID != "" && peer.NodeID == self.NodeID:
		return ErrCopy.because(peer, "%s: stop one of the two, and give it an empty directory", ErrCopy.Reason)
	case peer.ClusterID != "" && self.ClusterID != "" && peer.ClusterID != self.ClusterID:
		return ErrCluster.because(peer, "%s: %s, this one to %s", ErrCluster.Reason, peer.ClusterID, self.ClusterID)
	case peer.ClusterID == "" || self.ClusterID == "":
		if kind != Control {
			return ErrBlank.because(peer, "%s", ErrBlank.Reason)
		}
	case peer.Epoch < self.Epoch:
		return ErrEpoch.because(peer, "%s (epoch %d, this node %d): give it an empty directory to have it join anew", ErrEpoch.Reason, peer.Epoch, self.Epoch)
	case peer.Epoch > self.Epoch:
		return ErrEpoch.because(peer, "this node was left behind when the cluster was recovered (epoch %d, the other %d): give it an empty directory to have it join anew",
			self.Epoch, peer.Epoch)
	}
	return nil
}

// NoteClock compares this node's wall clock with a peer's, which was read between asked and now, and warns in the log if they are too far apart.
// The mesh does it at each hello; who asks peers for their time later may tell it, too.
func (m *Mesh) NoteClock(peer Identity, asked time.Time) {
	if peer.Boot == m.boot || peer.NodeID == "" {
		return
	}
	theirs := time.UnixMilli(peer.WallMs)
	switch now := time.Now(); {
	case theirs.Before(asked.Add(-time.Millisecond)): // they were cut to milliseconds
		m.tally.skew(peer.NodeID, -asked.Sub(theirs))
	case theirs.After(now):
		m.tally.skew(peer.NodeID, theirs.Sub(now))
	default:
		m.tally.skew(peer.NodeID, 0)
	}
}
