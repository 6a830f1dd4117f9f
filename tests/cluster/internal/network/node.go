// Package network builds the plan's addresses and routes with netlink, in the namespaces that it is called in or given.
package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tidegate.dev/tests/cluster/internal/plan"
)

// Uplink is the device between two nodes; a node alone has none.
const Uplink = "eth0"

var sysctls = []struct{ name, value string }{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/ip_nonlocal_bind", "1"},
	{"net/ipv6/ip_nonlocal_bind", "1"},
}

// SetUpNode gives this network namespace a node's addresses and routes: on lo, or on the uplink where there is one.
func SetUpNode(node plan.Node, alone bool) error {
	for _, sysctl := range sysctls {
		if err := os.WriteFile("/proc/sys/"+sysctl.name, []byte(sysctl.value), 0); err != nil {
			return fmt.Errorf("sysctl %s: %w", sysctl.name, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	device, bits4, bits6 := lo, 32, 128
	if !alone {
		if device, err = netlink.LinkByName(Uplink); err != nil {
			return err
		}
		bits4, bits6 = 24, 64
	}
	own := []netip.Prefix{netip.PrefixFrom(node.IPv4, bits4), netip.PrefixFrom(node.IPv6, bits6)}
	for _, address := range own {
		if err := addAddress(device, address); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return err
	}
	if node.Index == 1 {
		if err := addAddress(lo, netip.PrefixFrom(netip.MustParseAddr(plan.ClusterDNS), 32)); err != nil {
			return err
		}
	}
	return addLocalRoutes(lo, node)
}

func addLocalRoutes(lo netlink.Link, node plan.Node) error {
	index := lo.Attrs().Index
	for _, pool := range []string{plan.GatewayPool4, plan.GatewayPool6} {
		route := netlink.Route{LinkIndex: index, Dst: network(pool), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("route to the gateway pool %s: %w", pool, err)
		}
	}
	// The node's own processes need a route to a Service, or its packets never reach the rules that rewrite them.
	for range4, source := range map[string]netip.Addr{plan.ServiceCIDR4: node.IPv4, plan.ServiceCIDR6: node.IPv6} {
		route := netlink.Route{LinkIndex: index, Dst: network(range4), Src: source.AsSlice(), Scope: netlink.SCOPE_LINK}
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("route to Services %s: %w", range4, err)
		}
	}
	return nil
}

// Join puts an uplink into this namespace, with its other end in that of the process.
func Join(pid int) error {
	attributes := netlink.LinkAttrs{Name: Uplink, MTU: 1500}
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: Uplink, PeerNamespace: netlink.NsPid(pid)})
}

// RouteTo sends what is for another node's pods to that node.
func RouteTo(other plan.Node) error {
	device, err := netlink.LinkByName(Uplink)
	if err != nil {
		return err
	}
	for pods, via := range map[netip.Prefix]netip.Addr{other.Pods4: other.IPv4, other.Pods6: other.IPv6} {
		route := netlink.Route{LinkIndex: device.Attrs().Index, Dst: network(pods.String()), Gw: via.AsSlice()}
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("route to %s of %s: %w", pods, other.Name, err)
		}
	}
	return nil
}

func addAddress(device netlink.Link, address netip.Prefix) error {
	parsed, err := netlink.ParseAddr(address.String())
	if err != nil {
		return err
	}
	parsed.Flags |= unix.IFA_F_NODAD // usable at once
	if err := netlink.AddrAdd(device, parsed); err != nil {
		return fmt.Errorf("address %s on %s: %w", address, device.Attrs().Name, err)
	}
	return nil
}

func network(cidr string) *net.IPNet {
	_, parsed, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err) // of the plan, which its tests parse
	}
	return parsed
}
