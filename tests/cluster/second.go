package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tidegate.dev/tests/cluster/internal/plan"
)

// secondNode is the process of node 2, which the first one starts and tells when to go on.
func secondNode(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	nodes, err := plan.Nodes(s.nodes)
	if err != nil {
		return err
	}
	if err := mountNode(s, nodes[1]); err != nil {
		return err
	}
	orders := bufio.NewScanner(os.Stdin)
	if !orders.Scan() {
		return errors.New("node1 ended before there was a network")
	}
	if err := setUpNetwork(nodes, 1); err != nil {
		return err
	}
	if !orders.Scan() {
		return errors.New("node1 ended before there was an API server")
	}
	client, err := newClient(s.dir)
	if err != nil {
		return err
	}
	kubelet, err := startNode(ctx, s, nodes[1], client)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	kubelet.Shutdown()
	os.Exit(0) // kube-proxy's own way to end would take longer
	return nil
}
