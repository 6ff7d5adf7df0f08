package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// TLSOptions are Redis' parameters of these names.
type TLSOptions struct {
	CertFile, KeyFile string
	CAFile, CADir     string
	AuthClients       string // yes, no, optional
	Protocols         string // such as "TLSv1.2 TLSv1.3"; "": these two
	Ciphers           string // up to TLS 1.2, OpenSSL's names or IANA's, with colons between; "": crypto/tls' choice
	SessionCaching    bool
	SessionTimeoutSec int // how long a session may be resumed; 0: as long as crypto/tls allows
}

// TLS is what TLS listeners go by: certificates that may be replaced while the server runs. Connections keep what they began with.
type TLS struct {
	logger *slog.Logger
	used   bool // somebody listens
	config atomic.Pointer[tls.Config]

	mu    sync.Mutex
	opts  TLSOptions   // guarded by mu
	files []fileStatus // those behind config, as they were then; guarded by mu
}

// fileStatus is what changes when a file is replaced.
type fileStatus struct {
	path   string
	size   int64
	inode  uint64
	change time.Time
}

// NewTLS reads the files. Without a listener that needs them any options will do, as in Redis.
func NewTLS(used bool, opts TLSOptions, logger *slog.Logger) (*TLS, error) {
	t := &TLS{logger: logger, used: used}
	return t, t.Change(opts)
}

// Change reads the files of new options. If anything is wrong with them all stays as it was.
func (t *TLS) Change(opts TLSOptions) error {
	if !t.used {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	files := opts.look() // before they are read: what changes meanwhile is found at the next look
	config, err := opts.config()
	if err != nil {
		return err
	}
	if old := t.config.Load(); old != nil {
		t.logger.Info("TLS certificates were loaded", "cert", opts.CertFile)
	}
	t.opts, t.files = opts, files
	t.config.Store(config)
	return nil
}

// CheckFiles loads files anew that have changed.
func (t *TLS) CheckFiles() {
	if !t.used {
		return
	}
	t.mu.Lock()
	opts, files := t.opts, t.opts.look()
	changed := !slices.Equal(files, t.files)
	t.files = files // what is wrong with them is said once
	t.mu.Unlock()
	if !changed {
		return
	}
	if err := t.Change(opts); err != nil {
		t.logger.Error("TLS files have changed and cannot be used: the old certificate stays", "err", err)
	}
}

// look notes the state of all files; one that is not there is left out.
func (o *TLSOptions) look() (files []fileStatus) {
	paths := []string{o.CertFile, o.KeyFile, o.CAFile}
	more, _ := filepath.Glob(filepath.Join(o.CADir, "*"))
	if o.CADir != "" {
		paths = append(paths, more...)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && path != "" {
			f := fileStatus{path: path, size: info.Size(), change: info.ModTime()}
			if system, ok := info.Sys().(*syscall.Stat_t); ok {
				f.inode = system.Ino
			}
			files = append(files, f)
		}
	}
	return files
}

// config reads the files and checks everything.
func (o *TLSOptions) config() (*tls.Config, error) {
	switch {
	case o.CertFile == "":
		return nil, errors.New("no tls-cert-file configured")
	case o.KeyFile == "":
		return nil, errors.New("no tls-key-file configured")
	}
	certificate, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls-cert-file and tls-key-file: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: !o.SessionCaching}
	if err := o.clientAuth(config); err != nil {
		return nil, err
	}
	if config.MinVersion, config.MaxVersion, err = ParseTLSProtocols(o.Protocols); err != nil {
		return nil, err
	}
	if config.CipherSuites, err = ParseTLSCiphers(o.Ciphers); err != nil {
		return nil, err
	}
	if o.SessionTimeoutSec > 0 {
		limitSessions(config, time.Duration(o.SessionTimeoutSec)*time.Second)
	}
	return config, nil
}

func (o *TLSOptions) clientAuth(config *tls.Config) error {
	switch o.AuthClients {
	case "no":
		return nil
	case "optional":
		config.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if o.CAFile == "" && o.CADir == "" {
		return errors.New("either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-auth-clients is enabled")
	}
	config.ClientCAs = x509.NewCertPool()
	if o.CAFile != "" {
		if err := addCertificates(config.ClientCAs, o.CAFile); err != nil {
			return fmt.Errorf("tls-ca-cert-file: %w", err)
		}
	}
	if o.CADir == "" {
		return nil
	}
	entries, err := os.ReadDir(o.CADir)
	if err != nil {
		return fmt.Errorf("tls-ca-cert-dir: %w", err)
	}
	for _, e := range entries {
		if e.Type()&fs.ModeDir != 0 {
			continue
		}
		if err := addCertificates(config.ClientCAs, filepath.Join(o.CADir, e.Name())); err != nil {
			return fmt.Errorf("tls-ca-cert-dir: %w", err)
		}
	}
	return nil
}

func addCertificates(pool *x509.CertPool, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s has no certificate", path)
	}
	return nil
}

var tlsVersions = []struct {
	name    string
	version uint16
}{{"TLSv1", tls.VersionTLS10}, {"TLSv1.1", tls.VersionTLS11}, {"TLSv1.2", tls.VersionTLS12}, {"TLSv1.3", tls.VersionTLS13}}

// ParseTLSProtocols reads tls-protocols. crypto/tls knows a lowest and a highest version, so there can be no gap between them.
func ParseTLSProtocols(text string) (lowest, highest uint16, err error) {
	if text == "" {
		return tls.VersionTLS12, tls.VersionTLS13, nil
	}
	var wanted [4]bool
	for _, word := range strings.Fields(text) {
		known := false
		for i, v := range tlsVersions {
			if strings.EqualFold(v.name, word) {
				wanted[i], known = true, true
			}
		}
		if !known {
			return 0, 0, fmt.Errorf("tls-protocols: %q is no protocol: there are TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3", word)
		}
	}
	for i, v := range tlsVersions {
		switch {
		case !wanted[i]:
		case lowest == 0:
			lowest, highest = v.version, v.version
		case v.version == highest+1:
			highest = v.version
		default:
			return 0, 0, errors.New("tls-protocols: a protocol between two others cannot be left out")
		}
	}
	return lowest, highest, nil
}

// ParseTLSCiphers reads tls-ciphers: a list of names. OpenSSL's language of groups and exclusions is not understood.
func ParseTLSCiphers(text string) (ids []uint16, err error) {
	if text == "" || text == "DEFAULT" {
		return nil, nil
	}
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == ',' }) {
		id := uint16(0)
		for _, suite := range tls.CipherSuites() {
			if suite.SupportedVersions[0] < tls.VersionTLS13 && (name == suite.Name || name == openSSLName(suite.Name)) {
				id = suite.ID
			}
		}
		if id == 0 {
			return nil, fmt.Errorf("tls-ciphers: %q is no cipher suite of crypto/tls", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// openSSLName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into ECDHE-RSA-AES128-GCM-SHA256.
func openSSLName(name string) string {
	name = strings.TrimPrefix(name, "TLS_")
	name = strings.Replace(name, "_WITH_", "_", 1)
	name = strings.Replace(name, "AES_", "AES", 1)
	name = strings.Replace(name, "_CBC", "", 1)
	name = strings.Replace(name, "POLY1305_SHA256", "POLY1305", 1)
	return strings.ReplaceAll(name, "_", "-")
}

// limitSessions lets a session be resumed for so long only. The time at which it began travels in its ticket.
func limitSessions(config *tls.Config, timeout time.Duration) {
	const mark = "sett"
	config.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, binary.BigEndian.AppendUint64([]byte(mark), uint64(time.Now().Unix())))
		return config.EncryptTicket(state, session)
	}
	config.UnwrapSession = func(identity []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := config.DecryptTicket(identity, state)
		if err != nil || session == nil {
			return nil, err
		}
		for i, extra := range session.Extra {
			if began, ours := strings.CutPrefix(string(extra), mark); ours && len(began) == 8 {
				if time.Since(time.Unix(int64(binary.BigEndian.Uint64([]byte(began))), 0)) > timeout {
					return nil, nil // a full handshake follows
				}
				session.Extra = slices.Delete(session.Extra, i, i+1) // the next ticket gets its own
				return session, nil
			}
		}
		return nil, nil
	}
}

// handshakeTimeout is how long a client may take to begin.
const handshakeTimeout = 10 * time.Second

// secure is a connection that speaks TLS. Its reads may be told not to wait, so that a connection without input needs no buffer.
type secure struct {
	*tls.Conn
	beneath *beneath
}

// beneath is the socket as crypto/tls reads it.
type beneath struct {
	net.Conn
	fd int // during receive: read it without waiting; -1: wait as usual
}

// server begins a connection as the present options say.
func (t *TLS) server(socket net.Conn) *secure {
	b := &beneath{socket, -1}
	return &secure{tls.Server(b, t.config.Load()), b}
}

func (s *secure) shakeHands() error {
	s.SetDeadline(time.Now().Add(handshakeTimeout))
	defer s.SetDeadline(time.Time{})
	return s.Handshake()
}

// receive reads what has been decrypted or can be; EAGAIN: nothing. Only the goroutine of the connection may call it.
func (s *secure) receive(fd uintptr, p []byte) (int, error) {
	s.beneath.fd = int(fd)
	n, err := s.Read(p)
	s.beneath.fd = -1
	switch {
	case n > 0:
		return n, nil // an error comes again
	case errors.Is(err, io.EOF):
		return 0, nil
	case errors.Is(err, errNothingYet):
		return 0, syscall.EAGAIN
	}
	return 0, err
}

func (b *beneath) Read(p []byte) (int, error) {
	if b.fd < 0 {
		return b.Conn.Read(p)
	}
	for {
		n, err := syscall.Read(b.fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, errNothingYet
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// errNothingYet leaves a tls.Conn as it is: after an error that says it is temporary its next Read goes on.
var errNothingYet net.Error = nothingYet{}

type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing has arrived" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
