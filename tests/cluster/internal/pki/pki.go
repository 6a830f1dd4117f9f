// Package pki makes a test cluster's keys: a CA, what it signs, the key of service account tokens and one static token.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"tidegate.dev/tests/cluster/internal/plan"
)

// Files is the folder of a cluster's keys.
type Files string

func (f Files) Path(name string) string { return filepath.Join(string(f), name) }

// Pair is the certificate NAME.crt with NAME.key.
func (f Files) Pair(name string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(f.Path(name+".crt"), f.Path(name+".key"))
}

// Pool trusts the cluster's CA.
func (f Files) Pool() (*x509.CertPool, error) {
	text, err := os.ReadFile(f.Path("ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", f.Path("ca.crt"))
	}
	return pool, nil
}

// leaf is one certificate to be: every one of them serves as a server's and as a client's.
type leaf struct {
	name    string
	subject pkix.Name
	dns     []string
	ips     []net.IP
}

// Make writes all keys of a cluster with these nodes and returns the static token of a user in system:masters.
func Make(files Files, nodes []plan.Node) (token string, err error) {
	if err := os.MkdirAll(string(files), 0o700); err != nil {
		return "", err
	}
	authority, authorityKey, err := makeAuthority(files)
	if err != nil {
		return "", err
	}
	for serial, one := range leaves(nodes) {
		if err := sign(files, authority, authorityKey, one, int64(serial+2)); err != nil {
			return "", err
		}
	}
	if err := makeServiceAccountKey(files); err != nil {
		return "", err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	token = hex.EncodeToString(random)
	return token, os.WriteFile(files.Path("tokens.csv"), []byte(token+",tester,1,\"system:masters\"\n"), 0o600)
}

func leaves(nodes []plan.Node) []leaf {
	masters := []string{"system:masters"}
	api := leaf{
		"apiserver", pkix.Name{CommonName: "kube-apiserver"},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		[]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.ParseIP(plan.APIService4), net.ParseIP(plan.APIService6)},
	}
	all := []leaf{
		{"apiserver-kubelet-client", pkix.Name{CommonName: "kube-apiserver", Organization: masters}, nil, nil},
		{"admin", pkix.Name{CommonName: "admin", Organization: masters}, nil, nil},
	}
	for _, node := range nodes {
		ips := []net.IP{node.IPv4.AsSlice(), node.IPv6.AsSlice()}
		api.ips = append(api.ips, ips...)
		name := pkix.Name{CommonName: "system:node:" + node.Name, Organization: []string{"system:nodes"}}
		all = append(all, leaf{"kubelet-" + node.Name, name, []string{node.Name}, ips})
	}
	return append(all, api)
}

func makeAuthority(files Files) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificate(1, pkix.Name{CommonName: "testcluster-ca"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	if err := write(files.Path("ca.crt"), "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(der)
	return authority, key, err
}

func sign(files Files, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey, one leaf, serial int64) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(serial, one.subject)
	template.DNSNames, template.IPAddresses = one.dns, one.ips
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return errors.Join(err, write(files.Path(one.name+".crt"), "CERTIFICATE", der), write(files.Path(one.name+".key"), "PRIVATE KEY", private))
}

func certificate(serial int64, subject pkix.Name) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: subject, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
}

// makeServiceAccountKey makes an RSA key, as a cluster's own tools do: its tokens are RS256.
func makeServiceAccountKey(files Files) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	return errors.Join(err, write(files.Path("sa.key"), "PRIVATE KEY", private), write(files.Path("sa.pub"), "PUBLIC KEY", public))
}

func write(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
