package pki

import (
	"encoding/base64"
	"fmt"
	"os"
)

// Kubeconfig writes one for a server; the static token goes through a proxy that ends TLS, as a client certificate would not.
func Kubeconfig(path string, files Files, cluster, server, token string) error {
	authority, err := os.ReadFile(files.Path("ca.crt"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters: [{name: %[1]s, cluster: {server: %[2]q, certificate-authority-data: %[3]s}}]
users: [{name: %[1]s, user: {token: %[4]q}}]
contexts: [{name: %[1]s, context: {cluster: %[1]s, user: %[1]s}}]
`, cluster, server, base64.StdEncoding.EncodeToString(authority), token)
	return os.WriteFile(path, []byte(text), 0o600)
}
