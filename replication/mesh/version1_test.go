package mesh

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Version 1 of the hello, written down anew: whatever becomes of hello.go, a node of this version must be let in, or told why not.

const secret1 = "of version 1"

// identity1 is an Identity as version 1 says it; %d is the protocol.
const identity1 = `{"ClusterID":"` + clusterX + `","NodeID":"` + nodeB + `","Epoch":1,"Protocol":%d,"Feature":3,"ClientAddr":"10.0.0.2:6379",` +
	`"Boot":"00112233445566778899aabbccddeeff","WallMs":%d}`

func proof1(label string, transcript, text []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret1))
	fmt.Fprintf(mac, "sett hello %s\n", label)
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(transcript))))
	mac.Write(transcript)
	mac.Write(text)
	return mac.Sum(nil)
}

func frame1(text, proof []byte) []byte {
	return append(append([]byte{byte(len(text) >> 8), byte(len(text))}, text...), proof...)
}

func nonce1(fill byte) []byte { return append([]byte("SETT\x01"), bytes.Repeat([]byte{fill}, 32)...) }

// read1 reads a text and its proof.
func read1(r io.Reader) (text, proof []byte, err error) {
	b := make([]byte, 2)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, nil, err
	}
	b = make([]byte, int(b[0])<<8+int(b[1])+32)
	_, err = io.ReadFull(r, b)
	return b[:len(b)-32], b[len(b)-32:], err
}

func TestHelloOfVersion1Dials(t *testing.T) {
	h := newHouse(t, Options{Secret: secret1}, member(nodeA))
	for protocol, welcome := range map[int]bool{0: false, 1: true, 2: true} { // of a newer one it is for the newer to say
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		transcript := append([]byte{1}, nonce1('d')...)
		conn.Write(transcript)
		theirs := make([]byte, 5+32)
		if _, err := io.ReadFull(conn, theirs); err != nil || string(theirs[:5]) != "SETT\x01" {
			t.Fatalf("%q, %v", theirs, err)
		}
		transcript = append(transcript, theirs...)
		text := fmt.Appendf(nil, identity1, protocol, time.Now().UnixMilli())
		conn.Write(frame1(text, proof1("dial", transcript, text)))
		said, proof, err := read1(conn)
		if err != nil || !bytes.Equal(proof, proof1("answer", append(transcript, text...), said)) {
			t.Errorf("protocol %d: the answer is not proven", protocol)
		}
		if accepted := strings.Contains(string(said), `"Code":""`); accepted != welcome || !strings.Contains(string(said), `"NodeID":"`+nodeA+`"`) {
			t.Errorf("protocol %d: %s", protocol, said)
		}
		if welcome {
			echoes(t, conn)
		} else if !strings.Contains(string(said), `"Code":"`+ErrVersion.Code+`"`) || !strings.Contains(string(said), "update it") {
			t.Errorf("protocol %d: %s", protocol, said)
		}
	}
	h.refusals(t, ErrVersion.Code, 1)
}

func TestHelloOfVersion1Listens(t *testing.T) {
	h := newHouse(t, Options{Secret: secret1}, member(nodeA))
	for protocol, welcome := range map[int]bool{0: false, 1: true, 2: true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listened := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				listened <- err
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			transcript := make([]byte, 1+5+32)
			if _, err := io.ReadFull(conn, transcript); err != nil || string(transcript[:6]) != "\x02SETT\x01" {
				listened <- fmt.Errorf("%q, %w", transcript, err)
				return
			}
			conn.Write(nonce1('l'))
			transcript = append(transcript, nonce1('l')...)
			text, proof, err := read1(conn)
			if err != nil || !bytes.Equal(proof, proof1("dial", transcript, text)) || !bytes.Contains(text, []byte(`"NodeID":"`+nodeA+`"`)) {
				listened <- fmt.Errorf("%s is not proven: %w", text, err)
				return
			}
			said := fmt.Appendf(nil, `{"Identity":`+identity1+`,"Code":"","Reason":""}`, protocol, time.Now().UnixMilli())
			conn.Write(frame1(said, proof1("answer", append(transcript, text...), said)))
			io.Copy(conn, conn)
			listened <- nil
		}()
		conn, peer, err := h.Dial(context.Background(), l.Addr().String(), Forward)
		switch {
		case welcome && (err != nil || peer.NodeID != nodeB || peer.Feature != 3 || peer.ClientAddr != "10.0.0.2:6379"):
			t.Errorf("protocol %d: %+v, %v", protocol, peer, err)
		case welcome:
			echoes(t, conn)
			conn.Close()
		case !errors.Is(err, ErrVersion):
			t.Errorf("protocol %d: %v", protocol, err)
		}
		if err := <-listened; err != nil {
			t.Errorf("protocol %d: %v", protocol, err)
		}
	}
}

// A hello of another version is refused before anything is said that was computed with the secret.
func TestHelloOfAnotherVersion(t *testing.T) {
	h := newHouse(t, Options{Secret: secret1}, member(nodeA))
	for i, version := range []byte{0, 2, 255} {
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		opening := append([]byte{1}, nonce1('d')...)
		opening[5] = version
		conn.Write(opening)
		if said, _ := io.ReadAll(conn); len(said) > 0 {
			t.Errorf("version %d: it says %q", version, said)
		}
		h.refusals(t, ErrVersion.Code, uint64(i+1))
	}
}
