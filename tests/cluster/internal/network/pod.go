package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tidegate.dev/tests/cluster/internal/plan"
)

var gatewayMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

// ConnectPod joins a pod's network namespace to the node's by a routed veth pair: there is no bridge,
// so each packet crosses the node's IP stack, where kube-proxy's rules and programs on the node's end see it.
func ConnectPod(node plan.Node, device string, namespace int, address plan.PodAddress) error {
	attributes := netlink.LinkAttrs{Name: device, MTU: 1500, HardwareAddr: gatewayMAC}
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(namespace)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth pair %s: %w", device, err)
	}
	nodeEnd, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/accept_dad", []byte("0"), 0); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(nodeEnd); err != nil {
		return err
	}
	pod, err := netlink.NewHandleAt(netns.NsHandle(namespace))
	if err != nil {
		return err
	}
	defer pod.Close()
	podEnd, err := setUpPodEnd(pod, address)
	if err != nil {
		return err
	}
	return routeToPod(node, nodeEnd, podEnd.Attrs().HardwareAddr, address)
}

func setUpPodEnd(pod *netlink.Handle, address plan.PodAddress) (netlink.Link, error) {
	lo, err := pod.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := pod.LinkSetUp(lo); err != nil {
		return nil, err
	}
	eth0, err := pod.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	for _, own := range []netip.Addr{address.IPv4, address.IPv6} {
		parsed := &netlink.Addr{IPNet: host(own), Flags: unix.IFA_F_NODAD}
		if err := pod.AddrAdd(eth0, parsed); err != nil {
			return nil, err
		}
	}
	if err := pod.LinkSetUp(eth0); err != nil {
		return nil, err
	}
	for _, gateway := range []string{plan.PodGateway4, plan.PodGateway6} {
		if err := routeByGateway(pod, eth0.Attrs().Index, netip.MustParseAddr(gateway)); err != nil {
			return nil, err
		}
	}
	return eth0, nil
}

func routeByGateway(pod *netlink.Handle, index int, gateway netip.Addr) error {
	everything, family := "::/0", unix.AF_INET6
	if gateway.Is4() {
		everything, family = "0.0.0.0/0", unix.AF_INET
		if err := pod.RouteAdd(&netlink.Route{LinkIndex: index, Dst: host(gateway), Scope: netlink.SCOPE_LINK}); err != nil {
			return err
		}
	}
	neighbour := netlink.Neigh{LinkIndex: index, Family: family, State: netlink.NUD_PERMANENT, IP: gateway.AsSlice(), HardwareAddr: gatewayMAC}
	if err := pod.NeighSet(&neighbour); err != nil {
		return err
	}
	if err := pod.RouteAdd(&netlink.Route{LinkIndex: index, Dst: network(everything), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("default route via %s: %w", gateway, err)
	}
	return nil
}

// routeToPod needs neither ARP nor neighbour discovery: the neighbour is permanent. The node's processes speak to pods as the node.
func routeToPod(node plan.Node, nodeEnd netlink.Link, mac net.HardwareAddr, address plan.PodAddress) error {
	index := nodeEnd.Attrs().Index
	for own, source := range map[netip.Addr]netip.Addr{address.IPv4: node.IPv4, address.IPv6: node.IPv6} {
		family := unix.AF_INET6
		if own.Is4() {
			family = unix.AF_INET
		}
		neighbour := netlink.Neigh{LinkIndex: index, Family: family, State: netlink.NUD_PERMANENT, IP: own.AsSlice(), HardwareAddr: mac}
		if err := netlink.NeighSet(&neighbour); err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: index, Dst: host(own), Src: source.AsSlice(), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route to pod %s: %w", own, err)
		}
	}
	return nil
}

// DisconnectPod removes both ends; one that has gone already is as good.
func DisconnectPod(device string) {
	if link, err := netlink.LinkByName(device); err == nil {
		_ = netlink.LinkDel(link)
	}
}

func host(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())}
}
