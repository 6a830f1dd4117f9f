package kubelet

import (
	"context"
	"encoding/json"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tidegate.dev/tests/cluster/internal/plan"
)

// register makes the Node, Ready at once: nothing here watches its heartbeat.
func (k *Kubelet) register(ctx context.Context) error {
	labels := map[string]string{
		corev1.LabelHostname: k.Node.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
		corev1.LabelTopologyRegion: "test", corev1.LabelTopologyZone: "zone-" + k.Node.Name,
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.Node.Name, Labels: labels},
		Spec:       corev1.NodeSpec{PodCIDR: k.Node.Pods4.String(), PodCIDRs: []string{k.Node.Pods4.String(), k.Node.Pods6.String()}},
	}
	if _, err := k.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": k.nodeStatus()})
	if err != nil {
		return err
	}
	_, err = k.Client.CoreV1().Nodes().Patch(ctx, k.Node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (k *Kubelet) nodeStatus() corev1.NodeStatus {
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	return corev1.NodeStatus{
		Capacity: resources, Allocatable: resources,
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "ProcessKubelet", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}},
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: k.Node.IPv4.String()},
			{Type: corev1.NodeInternalIP, Address: k.Node.IPv6.String()},
			{Type: corev1.NodeHostName, Address: k.Node.Name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: plan.KubeletPort}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: runtime.GOARCH, ContainerRuntimeVersion: "process://1",
		},
	}
}
