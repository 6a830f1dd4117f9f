//go:build tools

// Package echo pins the backend that the tests ask.
package echo

import _ "sigs.k8s.io/gateway-api-conformance-images/echo-basic"
