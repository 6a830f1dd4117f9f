// Package plan is the address plan of a test cluster: every address that a node, a pod or a Service gets.
// Each cluster lives in network namespaces of its own, so the same plan serves any number of them side by side.
package plan

import (
	"fmt"
	"net/netip"
)

const (
	MaxNodes = 2

	APIPort      = 6443
	ProxyPort    = 6444 // the fault proxy in front of the API server
	KubeletPort  = 10250
	ClusterDNS   = "172.31.0.10"
	ServiceCIDR4 = "10.96.0.0/16"
	ServiceCIDR6 = "fd00:10:96::/112"
	APIService4  = "10.96.0.1"
	APIService6  = "fd00:10:96::1"
	PodCIDR4     = "10.244.0.0/16"
	PodCIDR6     = "fd00:10:244::/48"

	// Any address of these ranges can be bound on every node without being added to it.
	GatewayPool4 = "172.31.1.0/24"
	GatewayPool6 = "fd00:31:1::/64"

	// PodGateway4 and PodGateway6 are every pod's next hop; the node answers for them on each pod's link.
	PodGateway4 = "169.254.1.1"
	PodGateway6 = "fe80::1"
)

// Node is one node's share of the plan; Index counts from 1.
type Node struct {
	Index        int
	Name         string
	IPv4, IPv6   netip.Addr
	Pods4, Pods6 netip.Prefix
}

func NodeAt(index int) (Node, error) {
	if index < 1 || index > MaxNodes {
		return Node{}, fmt.Errorf("node %d: a test cluster has nodes 1 to %d", index, MaxNodes)
	}
	return Node{
		Index: index,
		Name:  fmt.Sprintf("node%d", index),
		IPv4:  netip.AddrFrom4([4]byte{172, 31, 0, byte(index)}),
		IPv6:  netip.MustParseAddr(fmt.Sprintf("fd00:31::%d", index)),
		Pods4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(16 * index), 0}), 20),
		Pods6: netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", index)),
	}, nil
}

// Nodes is the plan of a whole cluster.
func Nodes(count int) ([]Node, error) {
	if count < 1 || count > MaxNodes {
		return nil, fmt.Errorf("--nodes=%d: a test cluster has 1 to %d nodes", count, MaxNodes)
	}
	nodes := make([]Node, count)
	for i := range nodes {
		nodes[i], _ = NodeAt(i + 1)
	}
	return nodes, nil
}
