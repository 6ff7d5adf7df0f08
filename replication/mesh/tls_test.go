package mesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t), serial: 1}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "setts"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// files are a node's certificate and key, and the authority's certificate.
func (a *authority) files(t *testing.T) (cert, key, ca string) {
	t.Helper()
	a.serial++
	k, dir := newKey(t), t.TempDir()
	template := &x509.Certificate{SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: "a node"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("node.crt", "CERTIFICATE", der), write("node.key", "EC PRIVATE KEY", private), write("ca.crt", "CERTIFICATE", a.cert.Raw)
}

func (a *authority) config(t *testing.T) *tls.Config {
	t.Helper()
	config, err := LoadTLS(a.files(t))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	bare := ours.config(t)
	bare.Certificates = nil
	for name, c := range map[string]struct {
		dialer *tls.Config
		good   bool
	}{
		"of the same authority": {ours.config(t), true},
		"of another authority":  {theirs.config(t), false},
		"without a certificate": {bare, false},
		"without TLS":           {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newHouse(t, Options{TLS: ours.config(t), Secret: "of the badger"}, member(nodeA))
			b := newHouse(t, Options{TLS: c.dialer, Secret: "of the badger"}, member(nodeB))
			for _, way := range []struct{ from, to *house }{{a, b}, {b, a}} {
				conn, peer, err := way.from.Dial(t.Context(), way.to.addr, Raft)
				if !c.good {
					if err == nil {
						t.Fatal("it came in")
					}
					if c.dialer == nil && way.from == b && !strings.Contains(err.Error(), "perhaps it wants TLS") {
						t.Error(err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if peer.NodeID == "" {
					t.Fatalf("%+v", peer)
				}
				echoes(t, conn)
				conn.Close()
			}
			if !c.good && a.served.Load()+b.served.Load() > 0 {
				t.Fatal("it was served")
			}
		})
	}
}

func TestTLSFilesBelongTogether(t *testing.T) {
	cert, key, ca := newAuthority(t).files(t)
	if config, err := LoadTLS("", "", ""); config != nil || err != nil {
		t.Fatal(config, err)
	}
	for want, files := range map[string][3]string{
		"needed together":       {cert, key, ""},
		"tls_ca_cert_file":      {cert, key, key},
		"cluster.tls_cert_file": {key, key, ca},
		"no such file":          {cert, key, ca + "x"},
	} {
		if _, err := LoadTLS(files[0], files[1], files[2]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
