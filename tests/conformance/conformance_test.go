// Package conformance runs the upstream Gateway API suite, unmodified, against the cluster of the current kubeconfig.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) { conformance.RunConformance(t) }
