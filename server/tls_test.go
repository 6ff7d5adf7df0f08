package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sett/internal/testlog"
)

// authority is a certificate authority of its own, with files for the server.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), next: 2}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write replaces a file, as those who renew certificates do.
func (a *authority) write(name, kind string, der []byte) {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key, and returns the serial number.
func (a *authority) issue(name string) int64 {
	key := newKey(a.t)
	serial := a.next
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, _ := x509.MarshalPKCS8PrivateKey(key)
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", private)
	return serial
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) options() TLSOptions {
	return TLSOptions{CertFile: a.path("server.pem"), KeyFile: a.path("server.key"), CAFile: a.path("ca.pem"), AuthClients: "yes", SessionCaching: true}
}

// client is the configuration of one who trusts the authority; name is whose certificate it shows, "" for none.
func (a *authority) client(name string) *tls.Config {
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(a.cert)
	if name != "" {
		cert, err := tls.LoadX509KeyPair(a.path(name+".pem"), a.path(name+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config
}

// startTLS returns a server and the address of its TLS port.
func startTLS(t *testing.T, opts TLSOptions) (*testServer, *TLS, string) {
	t.Helper()
	lines := &testlog.Buffer{}
	front, err := NewTLS(true, opts, slog.New(slog.NewTextHandler(lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ts := startServer(t, setup{tls: front})
	ts.lines = lines
	listeners, err := Listen([]string{"127.0.0.1"}, 0, 511)
	if err != nil {
		t.Fatal(err)
	}
	ts.ServeTLS(listeners)
	return ts, front, listeners[0].Addr().String()
}

func dialTLS(t *testing.T, addr string, config *tls.Config) (*client, error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(limit))
	t.Cleanup(func() { c.Close() })
	return newClient(t, c), nil
}

// TestTLS runs commands of all sizes, pipelines in pieces, and shows who may come.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server")
	a.issue("client")
	ts, front, addr := startTLS(t, a.options())
	c, err := dialTLS(t, addr, a.client("client"))
	if err != nil {
		t.Fatal(err)
	}
	c.want("+PONG\r\n", "PING")
	for _, size := range []int{1, 16_000, 70_000, 3 << 20} {
		value := strings.Repeat("v", size)
		c.want("+OK\r\n", "SET", "k", value)
		c.want(fmt.Sprintf("$%d\r\n%s\r\n", size, value), "GET", "k")
	}
	for _, piece := range strings.SplitAfter(encode("SET", "k", "v")+encode("GET", "k"), "\n") {
		c.send(piece) // a record for each line
	}
	c.send(strings.Repeat(encode("PING"), 3))
	for _, want := range []string{"+OK\r\n", "$1\r\nv\r\n", "+PONG\r\n", "+PONG\r\n", "+PONG\r\n"} {
		if got := c.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if f := c.list()[""]; f["flags"] != "N" || f["laddr"] != addr {
		t.Errorf("it is shown as %v", f)
	}

	// A client without a certificate learns in TLS 1.3 only when it reads.
	stranger := func() error {
		c, err := dialTLS(t, addr, a.client(""))
		if err == nil {
			c.send(encode("PING"))
			_, err = readReply(c.r)
		}
		return err
	}
	if err := stranger(); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no certificate: %v", err)
	}
	opts := a.options()
	opts.AuthClients = "optional"
	if err := front.Change(opts); err != nil {
		t.Fatal(err)
	}
	if err := stranger(); err != nil {
		t.Errorf("tls-auth-clients optional: %v", err)
	}
	other := newAuthority(t)
	other.issue("client")
	config := a.client("")
	config.Certificates = other.client("client").Certificates
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &config.Certificates[0], nil }
	if c, err := dialTLS(t, addr, config); err == nil {
		c.send(encode("PING"))
		if got, err := readReply(c.r); err == nil {
			t.Errorf("a certificate that nobody trusts: %q", got)
		}
	}
	plain := dial(t, addr)
	plain.send("PING\r\n")
	plain.Conn.SetReadDeadline(time.Now().Add(limit))
	if text, err := io.ReadAll(plain.r); err == nil && strings.Contains(string(text), "PONG") {
		t.Error("the TLS port speaks plainly")
	}
	ts.dial().want("+PONG\r\n", "PING")
}

// TestTLSReload: files that change are loaded; bad ones are not, and the old certificate goes on.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	first := a.issue("server")
	opts := a.options()
	opts.AuthClients = "no"
	ts, front, addr := startTLS(t, opts)
	serial := func() int64 {
		c, err := tls.Dial("tcp", addr, a.client(""))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != first {
		t.Fatalf("serial %d", got)
	}
	old, err := dialTLS(t, addr, a.client(""))
	if err != nil {
		t.Fatal(err)
	}
	second := a.issue("server")
	front.CheckFiles()
	if got := serial(); got != second {
		t.Errorf("after the files have changed: serial %d", got)
	}
	old.want("+PONG\r\n", "PING")
	a.write("server.key", "PRIVATE KEY", []byte("nonsense"))
	front.CheckFiles()
	front.CheckFiles()
	if got := serial(); got != second {
		t.Errorf("after a bad file: serial %d", got)
	}
	if n := strings.Count(ts.lines.String(), "the old certificate stays"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	if err := front.Change(opts); err == nil {
		t.Error("CONFIG SET takes a bad file")
	}
	third := a.issue("server")
	front.CheckFiles()
	if got := serial(); got != third {
		t.Errorf("after it was mended: serial %d", got)
	}
}

// TestTLSOptions are refused with a reason if they cannot be kept.
func TestTLSOptions(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server")
	logger := slog.New(slog.DiscardHandler)
	for _, bad := range []struct {
		change func(*TLSOptions)
		want   string
	}{
		{func(o *TLSOptions) { o.CertFile = "" }, "no tls-cert-file configured"},
		{func(o *TLSOptions) { o.KeyFile = "" }, "no tls-key-file configured"},
		{func(o *TLSOptions) { o.KeyFile = a.path("no.key") }, "no such file"},
		{func(o *TLSOptions) { o.CAFile = "" }, "either tls-ca-cert-file or tls-ca-cert-dir"},
		{func(o *TLSOptions) { o.CAFile = a.path("server.key") }, "has no certificate"},
		{func(o *TLSOptions) { o.CADir = a.path("nothing") }, "no such file"},
		{func(o *TLSOptions) { o.Protocols = "SSLv3" }, "is no protocol"},
		{func(o *TLSOptions) { o.Protocols = "TLSv1.1 TLSv1.3" }, "cannot be left out"},
		{func(o *TLSOptions) { o.Ciphers = "HIGH:!aNULL" }, "is no cipher suite"},
	} {
		opts := a.options()
		bad.change(&opts)
		if _, err := NewTLS(true, opts, logger); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("want %q, got %v", bad.want, err)
		}
		if _, err := NewTLS(false, opts, logger); err != nil {
			t.Errorf("without a TLS port: %v", err)
		}
	}
	opts := a.options()
	opts.AuthClients, opts.CAFile, opts.CADir = "no", "", ""
	opts.Protocols, opts.Ciphers = "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384:TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:ECDHE-RSA-CHACHA20-POLY1305"
	_, _, addr := startTLS(t, opts)
	c, err := tls.Dial("tcp", addr, a.client(""))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s := c.ConnectionState(); s.Version != tls.VersionTLS12 || s.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
		t.Errorf("version %x, suite %x", s.Version, s.CipherSuite)
	}
	config := a.client("")
	config.MinVersion = tls.VersionTLS13
	if _, err := tls.Dial("tcp", addr, config); err == nil {
		t.Error("TLS 1.3 is spoken")
	}
}

// TestTLSSessions are resumed for as long as they may.
func TestTLSSessions(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server")
	opts := a.options()
	opts.AuthClients = "no"
	for _, test := range []struct {
		change func(*TLSOptions)
		want   bool
	}{
		{func(*TLSOptions) {}, true},
		{func(o *TLSOptions) { o.SessionTimeoutSec = 300 }, true},
		{func(o *TLSOptions) { o.SessionCaching = false }, false},
	} {
		opts := opts
		test.change(&opts)
		_, _, addr := startTLS(t, opts)
		config := a.client("")
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		resumed := false
		for range 2 {
			c, err := tls.Dial("tcp", addr, config)
			if err != nil {
				t.Fatal(err)
			}
			resumed = c.ConnectionState().DidResume
			newClient(t, c).want("+PONG\r\n", "PING") // the ticket comes before the reply
			c.Close()
		}
		if resumed != test.want {
			t.Errorf("%+v: resumed %v", opts, resumed)
		}
	}
}
