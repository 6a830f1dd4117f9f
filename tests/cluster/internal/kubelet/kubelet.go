// Package kubelet runs pods as processes: what a kubelet promises to the API server, without images, containers and cgroups.
package kubelet

import (
	"context"
	"log"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"tidegate.dev/tests/cluster/internal/images"
	"tidegate.dev/tests/cluster/internal/pki"
	"tidegate.dev/tests/cluster/internal/plan"
)

// Settings is what one node's kubelet is told.
type Settings struct {
	Node    plan.Node
	Client  kubernetes.Interface
	Images  images.Table
	Keys    pki.Files
	LogDir  string // pods' logs: NAMESPACE_NAME_UID/CONTAINER.log
	DataDir string // pods' file systems and volumes; in memory
	APIHost string // what pods find the API server by: KUBERNETES_SERVICE_HOST
	APIPort string
}

type Kubelet struct {
	Settings
	ctx       context.Context // ends with the cluster: nothing is worth writing then
	addresses *plan.PodAddresses
	mu        sync.Mutex
	workers   map[types.UID]*worker
}

// Start registers the node and runs its pods until ctx ends; then Shutdown must be called.
func Start(ctx context.Context, settings Settings) (*Kubelet, error) {
	k := &Kubelet{Settings: settings, ctx: ctx, addresses: plan.NewPodAddresses(settings.Node), workers: map[types.UID]*worker{}}
	if err := k.register(ctx); err != nil {
		return nil, err
	}
	if err := k.serve(); err != nil {
		return nil, err
	}
	return k, k.watch(ctx)
}

func (k *Kubelet) watch(ctx context.Context) error {
	mine := informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", k.Node.Name).String()
	})
	pods := informers.NewSharedInformerFactoryWithOptions(k.Client, 0, mine)
	_, err := pods.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.observed(o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { k.observed(o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			if pod, ok := o.(*corev1.Pod); ok {
				k.forget(pod.UID)
			}
		},
	})
	if err != nil {
		return err
	}
	sources := informers.NewSharedInformerFactoryWithOptions(k.Client, 0, informers.WithTransform(withoutContents))
	for _, informer := range []cache.SharedIndexInformer{sources.Core().V1().Secrets().Informer(), sources.Core().V1().ConfigMaps().Informer()} {
		changed := func(o any) {
			if object, ok := o.(metav1.Object); ok {
				k.sourceChanged(object.GetNamespace())
			}
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed}); err != nil {
			return err
		}
	}
	sources.Start(ctx.Done())
	sources.WaitForCacheSync(ctx.Done())
	pods.Start(ctx.Done())
	pods.WaitForCacheSync(ctx.Done())
	return nil
}

// withoutContents keeps of a Secret or ConfigMap only that it has changed; the volume reads it then.
func withoutContents(o any) (any, error) {
	switch object := o.(type) {
	case *corev1.Secret:
		object.Data = nil
	case *corev1.ConfigMap:
		object.Data, object.BinaryData = nil, nil
	}
	return o, nil
}

func (k *Kubelet) observed(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[pod.UID]
	over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case pod.DeletionTimestamp != nil && w == nil:
		go k.finalise(pod)
	case pod.DeletionTimestamp != nil:
		w.observe(pod)
		go func() {
			w.stop(grace(pod))
			k.finalise(pod)
		}()
	case w != nil:
		w.observe(pod)
	case !over:
		w = newWorker(k, pod)
		k.workers[pod.UID] = w
		go w.live()
	}
}

func grace(pod *corev1.Pod) time.Duration {
	if seconds := pod.DeletionGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return 30 * time.Second
}

// forget ends a pod whose object has gone, by force for example: there is nobody left to be graceful for.
func (k *Kubelet) forget(uid types.UID) {
	k.mu.Lock()
	w := k.workers[uid]
	delete(k.workers, uid)
	k.mu.Unlock()
	if w != nil {
		go w.stop(0)
	}
}

func (k *Kubelet) sourceChanged(namespace string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if w.namespace == namespace {
			w.refreshVolumes()
		}
	}
}

// finalise lets the object go, now that nothing of the pod runs.
func (k *Kubelet) finalise(pod *corev1.Pod) {
	now := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}
	err := k.Client.CoreV1().Pods(pod.Namespace).Delete(k.ctx, pod.Name, options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && k.ctx.Err() == nil {
		log.Printf("pod %s/%s: delete: %v", pod.Namespace, pod.Name, err)
	}
}

// Shutdown kills every pod and returns when none runs.
func (k *Kubelet) Shutdown() {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range k.workers {
		all.Go(func() { w.stop(0) })
	}
	all.Wait()
}

func (k *Kubelet) find(namespace, name string) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	var latest *worker
	for _, w := range k.workers {
		if w.namespace == namespace && w.name == name && (latest == nil || w.begun.After(latest.begun.Time)) {
			latest = w
		}
	}
	return latest
}
