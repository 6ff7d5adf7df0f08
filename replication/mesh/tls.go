package mesh

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// LoadTLS reads a node's certificate, its key and the authority of the whole cluster; nil if all three names are empty.
func LoadTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	switch {
	case certFile == "" && keyFile == "" && caFile == "":
		return nil, nil
	case certFile == "" || keyFile == "" || caFile == "":
		return nil, errors.New("cluster.tls_cert_file, cluster.tls_key_file and cluster.tls_ca_cert_file are needed together")
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls_cert_file and cluster.tls_key_file: %w", err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls_ca_cert_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cluster.tls_ca_cert_file: %s has no certificate", caFile)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: pool}, nil
}

// bothSides derives what a node uses when it listens and when it dials. Both sides show a certificate and check the other's against the same
// authority; a dialer does not compare names (see the package comment), so it does by itself what crypto/tls would do together with that.
func bothSides(c *tls.Config) (server, client *tls.Config) {
	server = c.Clone()
	server.MinVersion = tls.VersionTLS13
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, c.RootCAs
	client = c.Clone()
	client.MinVersion = tls.VersionTLS13
	client.InsecureSkipVerify = true
	client.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the node shows no certificate")
		}
		intermediates := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: c.RootCAs, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	return server, client
}
