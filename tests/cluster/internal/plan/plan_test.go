package plan

import (
	"errors"
	"net/netip"
	"testing"
)

// The nodes of a cluster share no pod address, and every pod address lies in the cluster's range.
func TestNodesPartitionThePodRange(t *testing.T) {
	nodes, err := Nodes(MaxNodes)
	if err != nil {
		t.Fatal(err)
	}
	all4, all6 := netip.MustParsePrefix(PodCIDR4), netip.MustParsePrefix(PodCIDR6)
	for i, node := range nodes {
		if !all4.Contains(node.Pods4.Addr()) || !all6.Contains(node.Pods6.Addr()) {
			t.Errorf("%s: %s and %s are outside %s and %s", node.Name, node.Pods4, node.Pods6, all4, all6)
		}
		for _, other := range nodes[i+1:] {
			if node.Pods4.Overlaps(other.Pods4) || node.Pods6.Overlaps(other.Pods6) {
				t.Errorf("%s overlaps %s", node.Name, other.Name)
			}
		}
	}
}

// No Service, gateway or node address can be mistaken for one of another range.
func TestRangesAreDisjoint(t *testing.T) {
	ranges := []string{ServiceCIDR4, ServiceCIDR6, PodCIDR4, PodCIDR6, GatewayPool4, GatewayPool6, "172.31.0.0/24", "fd00:31::/64"}
	for i, one := range ranges {
		for _, other := range ranges[i+1:] {
			if netip.MustParsePrefix(one).Overlaps(netip.MustParsePrefix(other)) {
				t.Errorf("%s overlaps %s", one, other)
			}
		}
	}
}

// A number of nodes that the plan has no addresses for is refused, and the message says what is possible.
func TestOtherNumbersOfNodesAreRefused(t *testing.T) {
	for _, count := range []int{-1, 0, MaxNodes + 1} {
		if _, err := Nodes(count); err == nil {
			t.Errorf("--nodes=%d was accepted", count)
		}
	}
}

// A freed address is not given to the very next pod, whose peers may still have it in a cache.
func TestFreedPodAddressRests(t *testing.T) {
	node, _ := NodeAt(1)
	addresses := NewPodAddresses(node)
	first, _ := addresses.Take()
	addresses.Free(first)
	second, _ := addresses.Take()

	if first.IPv4 == second.IPv4 {
		t.Errorf("%s was handed out twice in a row", first.IPv4)
	}
}

// A node hands out each address of its range once, then says that there is none.
func TestPodAddressesEndWithTheRange(t *testing.T) {
	node, _ := NodeAt(2)
	addresses, seen := NewPodAddresses(node), map[netip.Addr]bool{}
	for range podsPerNode {
		address, err := addresses.Take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[address.IPv4] || seen[address.IPv6] || !node.Pods4.Contains(address.IPv4) || !node.Pods6.Contains(address.IPv6) {
			t.Fatalf("%s, %s: handed out before, or not of %s", address.IPv4, address.IPv6, node.Name)
		}
		seen[address.IPv4], seen[address.IPv6] = true, true
	}

	if _, err := addresses.Take(); !errors.Is(err, ErrNoPodAddress) {
		t.Errorf("expected %v, got %v", ErrNoPodAddress, err)
	}
}
