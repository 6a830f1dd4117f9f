package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"tidegate.dev/tests/cluster/internal/control"
	"tidegate.dev/tests/cluster/internal/kubelet"
	"tidegate.dev/tests/cluster/internal/plan"
)

// mountNode gives a node what it does not share with the machine: memory for its pods' files, /run and pinned BPF objects.
func mountNode(s settings, node plan.Node) error {
	if node.Index == 1 { // the second node's process starts with the first one's mounts
		if err := unix.Mount("tmpfs", s.dir.path("memory"), "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("memory for the cluster's files: %w", err)
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("a /run of the node's own: %w", err)
	}
	const pins = "/sys/fs/bpf"
	if _, err := os.Stat(pins); err == nil {
		if err := unix.Mount("bpf", pins, "bpf", 0, "mode=755"); err != nil {
			log.Printf("%s is the machine's: %v", pins, err)
		}
	}
	return nil
}

// startNode runs a node's kubelet and kube-proxy, and the socket by which `run` finds the node's network.
func startNode(ctx context.Context, s settings, node plan.Node, client kubernetes.Interface) (*kubelet.Kubelet, error) {
	table, err := s.table()
	if err != nil {
		return nil, err
	}
	settings := kubelet.Settings{
		Node: node, Client: client, Images: table, Keys: s.dir.keys(), LogDir: s.dir.path("pods"), DataDir: s.dir.memory(node.Name),
		APIHost: plan.APIService4, APIPort: "443",
	}
	if s.podsUseProxy {
		first, err := plan.NodeAt(1)
		if err != nil {
			return nil, err
		}
		settings.APIHost, settings.APIPort = first.IPv4.String(), strconv.Itoa(plan.ProxyPort)
	}
	running, err := kubelet.Start(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("kubelet of %s: %w", node.Name, err)
	}
	if s.proxy {
		go func() {
			log.Printf("kube-proxy ended: %v", control.Run(control.KubeProxy, control.KubeProxyArgs(s.dir.kubeconfig(), node)))
		}()
	}
	return running, listenForRun(s.dir.nodeSocket(node.Index))
}

// listenForRun answers nothing: who connects is told by the kernel which process listens, and that is all that is asked.
func listenForRun(path string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_ = connection.Close()
		}
	}()
	return nil
}

func newClient(dir folder) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", dir.kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 500, 1000
	return kubernetes.NewForConfig(config)
}
