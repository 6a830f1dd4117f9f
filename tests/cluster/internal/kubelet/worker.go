package kubelet

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tidegate.dev/tests/cluster/internal/plan"
	"tidegate.dev/tests/cluster/internal/sandbox"
)

// worker is the life of one pod: sandbox, volumes, init containers, containers, their status, their end.
type worker struct {
	kubelet         *Kubelet
	namespace, name string
	base, logs      string
	begun           metav1.Time
	ctx             context.Context // ends when the pod has to
	cancel          context.CancelFunc
	news            chan struct{} // at most one wake-up: something of the status has changed
	refresh         chan struct{} // at most one wake-up: a source of a volume may have changed
	ended           chan struct{}
	stopOnce        sync.Once
	containers      map[string]*container
	volumes         map[string]string // name -> folder of the machine

	mu          sync.Mutex
	pod         *corev1.Pod // as last observed or written
	box         *sandbox.Sandbox
	ips         []string
	initialized bool
	message     string
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	w := &worker{
		kubelet: k, namespace: pod.Namespace, name: pod.Name, pod: pod, begun: now(),
		base: filepath.Join(k.DataDir, "pod-"+string(pod.UID)),
		logs: filepath.Join(k.LogDir, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID)),
		news: make(chan struct{}, 1), refresh: make(chan struct{}, 1), ended: make(chan struct{}),
		containers: map[string]*container{}, volumes: map[string]string{},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for _, spec := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		w.containers[spec.Name] = &container{spec: spec}
	}
	return w
}

// now is as exact as the API server stores it, so that what is read back compares equal.
func now() metav1.Time { return metav1.NewTime(time.Now().Truncate(time.Second)) }

func (w *worker) live() {
	defer close(w.ended)
	var reporting sync.WaitGroup
	over := make(chan struct{})
	reporting.Go(func() { w.reportUntil(over) })
	defer reporting.Wait()
	defer close(over)
	if err := w.begin(); err != nil {
		w.say(err.Error())
		log.Printf("pod %s/%s: %v", w.namespace, w.name, err)
		<-w.ctx.Done()
		return
	}
	if w.mountVolumes() && w.runInitContainers() {
		w.runContainers()
	}
	w.box.Close()
	<-w.ctx.Done() // a completed pod keeps its status until it is deleted
}

// begin makes the sandbox.
func (w *worker) begin() error {
	if err := os.MkdirAll(w.logs, 0o755); err != nil {
		return err
	}
	pod := w.observedPod()
	box, err := sandbox.New(sandbox.Wish{
		Base: w.base, UID: string(pod.UID), Hostname: hostname(pod), HostNetwork: pod.Spec.HostNetwork, ResolvConf: resolvConf(pod),
	}, w.kubelet.Node, w.kubelet.addresses)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	w.mu.Lock()
	w.box, w.ips = box, []string{box.IPv4.String(), box.IPv6.String()}
	w.mu.Unlock()
	w.changed()
	return nil
}

func hostname(pod *corev1.Pod) string {
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// resolvConf is empty where the pod resolves names as the machine does.
func resolvConf(pod *corev1.Pod) string {
	if pod.Spec.DNSPolicy == corev1.DNSDefault || pod.Spec.HostNetwork && pod.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
		return ""
	}
	return fmt.Sprintf("nameserver %s\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", plan.ClusterDNS, pod.Namespace)
}

// runInitContainers says whether all have succeeded; those that restart always run on beside the others.
func (w *worker) runInitContainers() bool {
	pod := w.observedPod()
	for _, spec := range pod.Spec.InitContainers {
		c := w.containers[spec.Name]
		if spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			go w.keep(c, corev1.RestartPolicyAlways)
			select {
			case <-c.begun():
			case <-w.ctx.Done():
				return false
			}
			continue
		}
		policy := corev1.RestartPolicyOnFailure
		if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			policy = corev1.RestartPolicyNever
		}
		if !w.keep(c, policy) {
			return false
		}
	}
	w.mu.Lock()
	w.initialized = true
	w.mu.Unlock()
	w.changed()
	return true
}

func (w *worker) runContainers() {
	pod := w.observedPod()
	var all sync.WaitGroup
	for _, spec := range pod.Spec.Containers {
		all.Go(func() { w.keep(w.containers[spec.Name], pod.Spec.RestartPolicy) })
	}
	all.Wait()
	w.killAll() // sidecars end with the others
}

// keep runs a container by its policy until it is not to be restarted; true: it has succeeded.
func (w *worker) keep(c *container, policy corev1.RestartPolicy) bool {
	const first, last = 500 * time.Millisecond, 30 * time.Second
	for wait := first; ; wait = min(2*wait, last) {
		since := time.Now()
		succeeded := w.run(c)
		if w.ctx.Err() != nil || policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && succeeded {
			w.mu.Lock()
			c.done = true
			w.mu.Unlock()
			w.changed()
			return succeeded && w.ctx.Err() == nil
		}
		if time.Since(since) > 10*time.Second {
			wait = first
		}
		select {
		case <-w.ctx.Done():
		case <-time.After(wait):
			w.mu.Lock()
			c.restarts++
			w.mu.Unlock()
		}
	}
}

// stop ends the pod within its grace and returns when nothing of it runs.
func (w *worker) stop(grace time.Duration) {
	w.stopOnce.Do(func() {
		w.cancel()
		if grace > 0 {
			w.terminateAll(grace)
		}
		w.killAll()
	})
	<-w.ended
}

func (w *worker) observe(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pod = pod
}

func (w *worker) observedPod() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

func (w *worker) say(message string) {
	w.mu.Lock()
	w.message = message
	w.mu.Unlock()
	w.changed()
}

func (w *worker) changed()        { wake(w.news) }
func (w *worker) refreshVolumes() { wake(w.refresh) }

func wake(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}
