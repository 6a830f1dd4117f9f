package plan

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
)

// podsPerNode leaves out the first and the last address of a node's /20.
const podsPerNode = 1<<12 - 2

var ErrNoPodAddress = errors.New("all pod addresses of the node are in use")

// PodAddresses hands out a node's pod addresses in turn, so that a freed one rests as long as possible.
type PodAddresses struct {
	node Node
	mu   sync.Mutex
	last uint16
	used map[uint16]bool
}

// PodAddress is a pod's pair of addresses; both carry the same number within their prefix.
type PodAddress struct {
	number     uint16
	IPv4, IPv6 netip.Addr
}

func NewPodAddresses(node Node) *PodAddresses {
	return &PodAddresses{node: node, used: map[uint16]bool{}}
}

func (a *PodAddresses) Take() (PodAddress, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.used) >= podsPerNode {
		return PodAddress{}, ErrNoPodAddress
	}
	for next := a.last; ; {
		next = next%podsPerNode + 1
		if a.used[next] {
			continue
		}
		a.last, a.used[next] = next, true
		return a.address(next), nil
	}
}

func (a *PodAddresses) Free(address PodAddress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, address.number)
}

func (a *PodAddresses) address(number uint16) PodAddress {
	v4, v6 := a.node.Pods4.Addr().As4(), a.node.Pods6.Addr().As16()
	binary.BigEndian.PutUint16(v4[2:], binary.BigEndian.Uint16(v4[2:])+number)
	binary.BigEndian.PutUint16(v6[14:], number)
	return PodAddress{number: number, IPv4: netip.AddrFrom4(v4), IPv6: netip.AddrFrom16(v6)}
}
