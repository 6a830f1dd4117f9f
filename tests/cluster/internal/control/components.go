package control

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"

	"tidegate.dev/tests/cluster/internal/pki"
	"tidegate.dev/tests/cluster/internal/plan"
)

const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	KubeProxy         = "kube-proxy"
)

var commands = map[string]func() *cobra.Command{
	APIServer:         func() *cobra.Command { return apiserver.NewAPIServerCommand() },
	ControllerManager: func() *cobra.Command { return kcm.NewControllerManagerCommand() },
	KubeProxy:         func() *cobra.Command { return kubeproxy.NewProxyCommand() },
}

// IsComponent says whether Run knows the name.
func IsComponent(name string) bool { return commands[name] != nil }

// Run runs one upstream command until it ends; at most once each in a process, for it claims the process's signals.
func Run(name string, args []string) error {
	if !IsComponent(name) {
		return fmt.Errorf("no component is called %q", name)
	}
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged // several of them share this process's logging
	command := commands[name]()
	command.SetArgs(args)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetOut(os.Stderr)
	return command.Execute()
}

// APIServerArgs: admission TaintNodesByCondition is off, for nobody here would take the taint of a new node away again.
func APIServerArgs(keys pki.Files, node plan.Node) []string {
	return []string{
		"--etcd-servers=" + etcdClient,
		"--bind-address=::", fmt.Sprint("--secure-port=", plan.APIPort), "--advertise-address=" + node.IPv4.String(),
		"--tls-cert-file=" + keys.Path("apiserver.crt"), "--tls-private-key-file=" + keys.Path("apiserver.key"),
		"--client-ca-file=" + keys.Path("ca.crt"), "--token-auth-file=" + keys.Path("tokens.csv"), "--anonymous-auth=false",
		"--kubelet-client-certificate=" + keys.Path("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + keys.Path("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + keys.Path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + keys.Path("sa.pub"), "--service-account-signing-key-file=" + keys.Path("sa.key"),
		"--service-cluster-ip-range=" + plan.ServiceCIDR4 + "," + plan.ServiceCIDR6,
		"--authorization-mode=RBAC", "--disable-admission-plugins=TaintNodesByCondition", "--allow-privileged=true",
		"--enable-priority-and-fairness=false", "--max-requests-inflight=0", "--max-mutating-requests-inflight=0",
		"--profiling=false", "--v=0",
	}
}

func ControllerManagerArgs(keys pki.Files, kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--controllers=deployment-controller,replicaset-controller,daemonset-controller,statefulset-controller,job-controller," +
			"cronjob-controller,disruption-controller,endpointslice-controller,endpointslice-mirroring-controller,namespace-controller," +
			"garbage-collector-controller,pod-garbage-collector-controller,serviceaccount-controller,serviceaccount-token-controller," +
			"root-ca-certificate-publisher-controller",
		"--root-ca-file=" + keys.Path("ca.crt"), "--service-account-private-key-file=" + keys.Path("sa.key"),
		"--kube-api-qps=300", "--kube-api-burst=500",
		"--concurrent-deployment-syncs=10", "--concurrent-replicaset-syncs=10", "--concurrent-service-endpoint-syncs=10",
		"--concurrent-namespace-syncs=10", "--profiling=false", "--v=0",
	}
}

// KubeProxyArgs: the conntrack limits are the machine's, which no namespace may set.
func KubeProxyArgs(kubeconfig string, node plan.Node) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--proxy-mode=nftables", "--hostname-override=" + node.Name,
		"--cluster-cidr=" + plan.PodCIDR4 + "," + plan.PodCIDR6, "--bind-address=0.0.0.0",
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249", "--v=0",
	}
}
