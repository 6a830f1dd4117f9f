package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"tidegate.dev/tests/cluster/internal/control"
	"tidegate.dev/tests/cluster/internal/dns"
	"tidegate.dev/tests/cluster/internal/network"
	"tidegate.dev/tests/cluster/internal/pki"
	"tidegate.dev/tests/cluster/internal/plan"
	"tidegate.dev/tests/cluster/internal/scheduler"
)

const startDeadline = 2 * time.Minute

// firstNode is the process of node 1 and of the control plane.
func firstNode(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	unix.CloseOnExec(fdLock)
	begun := time.Now()
	nodes, err := plan.Nodes(s.nodes)
	if err != nil {
		return err
	}
	if err := mountNode(s, nodes[0]); err != nil {
		return err
	}
	second, err := startSecond(s, stop)
	if err != nil {
		return err
	}
	if err := setUpNetwork(nodes, 0); err != nil {
		return err
	}
	components, err := startControlPlane(ctx, s, nodes)
	if err != nil {
		return err
	}
	client, err := newClient(s.dir)
	if err != nil {
		return err
	}
	second.tell("the API server is ready")
	kubelet, err := startNode(ctx, s, nodes[0], client)
	if err != nil {
		return err
	}
	err = errors.Join(
		scheduler.Start(ctx, client),
		dns.Start(ctx, client, net.JoinHostPort(plan.ClusterDNS, "53")),
		serveControl(s.dir, components),
		waitForAccounts(ctx, client),
		second.wait(ctx),
	)
	if err == nil {
		fmt.Printf("ready in %.1f s\n  export KUBECONFIG=%s\n  testcluster run --dir %s -- COMMAND\n", time.Since(begun).Seconds(), s.dir.path("kubeconfig-outside"), s.dir)
		<-ctx.Done()
	}
	kubelet.Shutdown()
	if err != nil {
		return err
	}
	os.Exit(second.failed()) // the components' own ways to end would take longer, and have nothing to save
	return nil
}

func setUpNetwork(nodes []plan.Node, own int) error {
	if err := network.SetUpNode(nodes[own], len(nodes) == 1); err != nil {
		return err
	}
	for i, other := range nodes {
		if i == own {
			continue
		}
		if err := network.RouteTo(other); err != nil {
			return err
		}
	}
	return nil
}

func startControlPlane(ctx context.Context, s settings, nodes []plan.Node) (*children, error) {
	keys := s.dir.keys()
	token, err := pki.Make(keys, nodes)
	if err != nil {
		return nil, err
	}
	outsideAPI, err := inherited(fdOutsideAPI)
	if err != nil {
		return nil, err
	}
	outsideProxy, err := inherited(fdOutsideProxy)
	if err != nil {
		return nil, err
	}
	for file, server := range map[string]string{
		"kubeconfig":               net.JoinHostPort(nodes[0].IPv4.String(), strconv.Itoa(plan.APIPort)),
		"kubeconfig-proxy":         net.JoinHostPort(nodes[0].IPv4.String(), strconv.Itoa(plan.ProxyPort)),
		"kubeconfig-outside":       outsideAPI.Addr().String(),
		"kubeconfig-proxy-outside": outsideProxy.Addr().String(),
	} {
		if err := pki.Kubeconfig(s.dir.path(file), keys, s.name, "https://"+server, token); err != nil {
			return nil, err
		}
	}
	if err := control.StartEtcd(s.dir.memory("etcd"), s.dir.path("logs")); err != nil {
		return nil, err
	}
	components := newChildren(s.dir.path("logs"))
	start := func(name string, args []string) error {
		if slices.Contains(s.asChildren(), name) {
			return components.add(name, args)
		}
		go func() { log.Printf("%s ended: %v", name, control.Run(name, args)) }()
		return nil
	}
	if err := start(control.APIServer, control.APIServerArgs(keys, nodes[0])); err != nil {
		return nil, err
	}
	go forward(outsideAPI, net.JoinHostPort("127.0.0.1", strconv.Itoa(plan.APIPort)))
	if err := serveAPI(s.dir, token); err != nil {
		return nil, err
	}
	if components.proxy, err = startFaultProxy(keys, outsideProxy); err != nil {
		return nil, err
	}
	if err := waitForAPI(ctx, s.dir); err != nil {
		return nil, err
	}
	return components, start(control.ControllerManager, control.ControllerManagerArgs(keys, s.dir.kubeconfig()))
}

func inherited(fd uintptr) (net.Listener, error) {
	file := os.NewFile(fd, "inherited listener")
	defer file.Close()
	return net.FileListener(file)
}

// waitForAPI asks through the socket that the other commands use.
func waitForAPI(ctx context.Context, dir folder) error {
	client := socketClient(dir.api())
	client.Timeout = 2 * time.Second
	for end := time.Now().Add(startDeadline); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://api/readyz")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == 200 {
			return nil
		}
	}
	return errors.Join(ctx.Err(), errors.New("kube-apiserver did not become ready"))
}

// waitForAccounts returns when pods can be made in the namespace default, which takes the controllers' first work.
func waitForAccounts(ctx context.Context, client kubernetes.Interface) error {
	for end := time.Now().Add(startDeadline); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	return errors.Join(ctx.Err(), errors.New("kube-controller-manager made no service account default/default"))
}

// second is the process of the other node, as seen from the first; without one, all it does is nothing.
type second struct {
	process *exec.Cmd
	orders  io.Writer
	answers *bufio.Scanner
	ended   chan error
}

func startSecond(s settings, stop func()) (*second, error) {
	if s.nodes < 2 {
		return &second{}, nil
	}
	output, err := os.Create(s.dir.path("logs/node2.log"))
	if err != nil {
		return nil, err
	}
	node := exec.Command("/proc/self/exe", os.Args[1:]...)
	node.Env = append(os.Environ(), roleVariable+"=2")
	node.Stderr = output
	node.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL,
	}
	orders, err := node.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := node.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the death signal is sent when the thread ends
		started <- node.Start()
		if node.Process != nil {
			ended <- node.Wait()
			stop()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	other := &second{node, orders, bufio.NewScanner(answers), ended}
	if err := network.Join(node.Process.Pid); err != nil {
		return nil, fmt.Errorf("link between the nodes: %w", err)
	}
	other.tell("the network is there")
	return other, nil
}

func (n *second) tell(news string) {
	if n.process != nil {
		_, _ = fmt.Fprintln(n.orders, news)
	}
}

// wait returns when the node is ready.
func (n *second) wait(ctx context.Context) error {
	if n.process == nil || n.answers.Scan() {
		return nil
	}
	return errors.Join(ctx.Err(), errors.New("node2 did not become ready: its log is logs/node2.log"))
}

// failed is the exit code that the cluster owes to its second node.
func (n *second) failed() int {
	if n.process == nil {
		return 0
	}
	select {
	case err := <-n.ended:
		log.Printf("node2 ended: %v", err)
		return 1
	default:
		return 0
	}
}
