// Package scheduler binds pods to nodes: what a pod requires of a node, then as few of its siblings as possible.
package scheduler

import (
	"cmp"
	"context"
	"log"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// retry is how often a pod is tried again that no node suits.
const retry = 200 * time.Millisecond

type scheduler struct {
	client kubernetes.Interface
	pods   listers.PodLister
	nodes  listers.NodeLister
	placed map[string]string // pod's UID -> node: bindings that the informer may not have seen yet
}

// Start binds until ctx ends.
func Start(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	s := &scheduler{client: client, pods: factory.Core().V1().Pods().Lister(), nodes: factory.Core().V1().Nodes().Lister(), placed: map[string]string{}}
	pending := make(chan struct{}, 1)
	wake := func(any) {
		select {
		case pending <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake}
	for _, informer := range []cache.SharedIndexInformer{factory.Core().V1().Pods().Informer(), factory.Core().V1().Nodes().Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go func() {
		for {
			unbound := s.bindAll(ctx)
			var again <-chan time.Time
			if unbound {
				again = time.After(retry)
			}
			select {
			case <-ctx.Done():
				return
			case <-pending:
			case <-again:
			}
		}
	}()
	return nil
}

// bindAll says whether pods are left that no node suits.
func (s *scheduler) bindAll(ctx context.Context) (unbound bool) {
	pods, _ := s.pods.List(labels.Everything())
	nodes, _ := s.nodes.List(labels.Everything())
	known := map[string]string{}
	for _, pod := range pods {
		if node := cmp.Or(pod.Spec.NodeName, s.placed[string(pod.UID)]); node != "" {
			known[string(pod.UID)] = node
		}
	}
	s.placed = known
	for _, pod := range pods {
		if s.placed[string(pod.UID)] != "" || pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0 {
			continue
		}
		node := Pick(pod, nodes, pods, s.placed)
		if node == "" {
			unbound = true
			continue
		}
		if s.bind(ctx, pod, node) {
			s.placed[string(pod.UID)] = node
		}
	}
	return unbound
}

func (s *scheduler) bind(ctx context.Context, pod *corev1.Pod, node string) bool {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: node},
	}
	err := s.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		log.Printf("pod %s/%s: bind: %v", pod.Namespace, pod.Name, err)
	}
	return err == nil
}

// Pick is the suitable node with the fewest of the pod's siblings, then with the fewest pods; empty: none suits.
func Pick(pod *corev1.Pod, nodes []*corev1.Node, pods []*corev1.Pod, placed map[string]string) string {
	owner := metav1.GetControllerOf(pod)
	siblings, all := map[string]int{}, map[string]int{}
	for _, other := range pods {
		node := placed[string(other.UID)]
		all[node]++
		if theirs := metav1.GetControllerOf(other); owner != nil && theirs != nil && owner.UID == theirs.UID {
			siblings[node]++
		}
	}
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	var suitable []string
	for _, node := range nodes {
		if fits, err := required.Match(node); err == nil && fits && !node.Spec.Unschedulable {
			suitable = append(suitable, node.Name)
		}
	}
	if len(suitable) == 0 {
		return ""
	}
	return slices.MinFunc(suitable, func(a, b string) int {
		return cmp.Or(cmp.Compare(siblings[a], siblings[b]), cmp.Compare(all[a], all[b]), cmp.Compare(a, b))
	})
}
