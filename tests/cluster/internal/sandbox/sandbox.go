// Package sandbox gives a pod its namespaces and its file system, without images and without a pause process.
package sandbox

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"tidegate.dev/tests/cluster/internal/network"
	"tidegate.dev/tests/cluster/internal/plan"
)

// Sandbox is held by one locked thread of this process: what Run starts is forked from that thread and inherits its namespaces.
// When the thread ends, and it does with this process, the kernel drops the namespaces and the mounts in them.
type Sandbox struct {
	Root       string // the pod's file system: the machine's, seen through an overlay in memory
	IPv4, IPv6 netip.Addr

	base      string
	addresses *plan.PodAddresses
	address   plan.PodAddress
	device    string // the node's end of the pod's link; empty where the pod is in the node's network
	namespace int
	work      chan func()
}

// Wish is what a pod asks of its sandbox.
type Wish struct {
	Base        string // a folder of its own on a file system that may hold an overlay's upper folder: not an overlay itself
	UID         string
	Hostname    string
	HostNetwork bool
	ResolvConf  string // empty: the machine's
}

func New(wish Wish, node plan.Node, addresses *plan.PodAddresses) (*Sandbox, error) {
	s := &Sandbox{
		Root: filepath.Join(wish.Base, "root"), IPv4: node.IPv4, IPv6: node.IPv6,
		base: wish.Base, addresses: addresses, namespace: -1, work: make(chan func()),
	}
	for _, folder := range []string{"root", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(wish.Base, folder), 0o755); err != nil {
			return nil, err
		}
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.work {
			f()
		}
	}()
	if err := s.setUp(wish, node); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sandbox) setUp(wish Wish, node plan.Node) error {
	if err := s.Run(func() error { return s.unshare(wish) }); err != nil {
		return err
	}
	if !wish.HostNetwork {
		address, err := s.addresses.Take()
		if err != nil {
			return err
		}
		s.address, s.IPv4, s.IPv6 = address, address.IPv4, address.IPv6
		s.device = "v" + strings.ReplaceAll(wish.UID, "-", "")[:12]
		if err := network.ConnectPod(node, s.device, s.namespace, address); err != nil {
			return err
		}
	}
	return s.Run(func() error { return s.nameFiles(wish) })
}

func (s *Sandbox) unshare(wish Wish) error {
	flags := unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	if !wish.HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%s/work", wish.Base, wish.Base)
	if err := unix.Mount("overlay", s.Root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	for _, folder := range []string{"proc", "sys", "dev"} {
		if err := unix.Mount("/"+folder, filepath.Join(s.Root, folder), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind /%s: %w", folder, err)
		}
	}
	for _, folder := range []string{"tmp", "run"} {
		if err := unix.Mount("tmpfs", filepath.Join(s.Root, folder), "tmpfs", 0, "mode=1777"); err != nil {
			return fmt.Errorf("tmpfs /%s: %w", folder, err)
		}
	}
	if err := unix.Sethostname([]byte(wish.Hostname)); err != nil {
		return err
	}
	if wish.HostNetwork {
		return nil
	}
	// As container runtimes have it: in a network of its own, a pod may bind any port as any user.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return err
	}
	var err error
	s.namespace, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return err
}

// nameFiles runs in the sandbox, for only its thread sees the overlay.
func (s *Sandbox) nameFiles(wish Wish) error {
	etc := filepath.Join(s.Root, "etc")
	hosts := fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", s.IPv4, wish.Hostname)
	err := errors.Join(
		os.WriteFile(filepath.Join(etc, "hostname"), []byte(wish.Hostname+"\n"), 0o644),
		os.WriteFile(filepath.Join(etc, "hosts"), []byte(hosts), 0o644),
	)
	if wish.ResolvConf == "" {
		return err
	}
	_ = os.Remove(filepath.Join(etc, "resolv.conf")) // it may be a link out of /etc
	return errors.Join(err, os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte(wish.ResolvConf), 0o644))
}

// Run calls f on the sandbox's thread; a process that f starts is in the pod's namespaces, but not yet in its Root.
func (s *Sandbox) Run(f func() error) error {
	done := make(chan error, 1)
	s.work <- func() { done <- f() }
	return <-done
}

// Close gives everything back; the processes must have ended. Run must not be called any more.
func (s *Sandbox) Close() {
	if s.device != "" {
		network.DisconnectPod(s.device)
		s.addresses.Free(s.address)
	}
	if s.namespace >= 0 {
		_ = unix.Close(s.namespace)
	}
	close(s.work)
	_ = os.RemoveAll(s.base)
}
