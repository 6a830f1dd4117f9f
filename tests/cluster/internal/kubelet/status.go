package kubelet

import (
	"encoding/json"
	"fmt"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// reportUntil writes the status whenever it has changed, and once more at the end.
func (w *worker) reportUntil(over <-chan struct{}) {
	for {
		select {
		case <-w.news:
			w.report()
		case <-over:
			w.report()
			return
		}
	}
}

// report writes what differs from the status that the API server has; conditions of others stay as they are.
func (w *worker) report() {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		before := w.observedPod()
		after := before.DeepCopy()
		w.mu.Lock()
		w.writeStatus(after)
		w.mu.Unlock()
		patch, err := statusPatch(before, after)
		if err != nil || string(patch) == "{}" {
			return
		}
		written, err := w.kubelet.Client.CoreV1().Pods(w.namespace).Patch(
			w.kubelet.ctx, w.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil {
			w.observeWritten(written)
			return
		}
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return // another pod by this name, or none
		}
		if w.kubelet.ctx.Err() != nil {
			return
		}
		log.Printf("pod %s/%s: status: %v", w.namespace, w.name, err)
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// observeWritten keeps the answer to a write, unless a deletion has been observed meanwhile.
func (w *worker) observeWritten(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod.DeletionTimestamp == nil {
		w.pod = pod
	}
}

func statusPatch(before, after *corev1.Pod) ([]byte, error) {
	old, err := json.Marshal(corev1.Pod{Status: before.Status})
	if err != nil {
		return nil, err
	}
	desired, err := json.Marshal(corev1.Pod{Status: after.Status})
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(old, desired, corev1.Pod{})
	if err != nil || string(patch) == "{}" {
		return patch, err
	}
	var fields map[string]any
	if err := json.Unmarshal(patch, &fields); err != nil {
		return nil, err
	}
	fields["metadata"] = map[string]any{"uid": before.UID} // a precondition: never another pod by this name
	return json.Marshal(fields)
}

// writeStatus is called with the lock.
func (w *worker) writeStatus(pod *corev1.Pod) {
	s := &pod.Status
	s.ObservedGeneration, s.StartTime, s.Message = pod.Generation, &w.begun, w.message
	s.HostIP, s.HostIPs = w.kubelet.Node.IPv4.String(), []corev1.HostIP{{IP: w.kubelet.Node.IPv4.String()}, {IP: w.kubelet.Node.IPv6.String()}}
	s.PodIPs = nil
	for _, ip := range w.ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(w.ips) > 0 {
		s.PodIP = w.ips[0]
	}
	s.InitContainerStatuses = w.containerStatuses(pod.Spec.InitContainers)
	s.ContainerStatuses = w.containerStatuses(pod.Spec.Containers)
	for i := range s.InitContainerStatuses {
		if terminated := s.InitContainerStatuses[i].State.Terminated; terminated != nil {
			s.InitContainerStatuses[i].Ready = terminated.ExitCode == 0
		}
	}
	s.Phase = w.phase(pod)
	ready := s.Phase == corev1.PodRunning
	for _, c := range s.ContainerStatuses {
		ready = ready && c.Ready
	}
	setCondition(pod, corev1.PodReadyToStartContainers, len(w.ips) > 0)
	setCondition(pod, corev1.PodInitialized, w.initialized)
	setCondition(pod, corev1.ContainersReady, ready)
	setCondition(pod, corev1.PodReady, ready && gatesOpen(pod))
}

func (w *worker) containerStatuses(specs []corev1.Container) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, spec := range specs {
		c := w.containers[spec.Name]
		started := c.started
		status := corev1.ContainerStatus{
			Name: spec.Name, Image: spec.Image, ImageID: "process://" + spec.Image, Ready: c.ready, RestartCount: c.restarts, Started: &started,
		}
		switch {
		case c.pid != 0:
			status.ContainerID = fmt.Sprintf("process://%d", c.pid)
			status.State.Running = &corev1.ContainerStateRunning{StartedAt: c.since}
			status.LastTerminationState.Terminated = c.last
		case c.done:
			status.State.Terminated = c.last
		case c.last != nil:
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: c.last.Message}
			status.LastTerminationState.Terminated = c.last
		default:
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating", Message: w.message}
		}
		out = append(out, status)
	}
	return out
}

func (w *worker) phase(pod *corev1.Pod) corev1.PodPhase {
	for _, spec := range pod.Spec.InitContainers {
		c := w.containers[spec.Name]
		if c.done && (c.last == nil || c.last.ExitCode != 0) && !w.initialized {
			return corev1.PodFailed
		}
	}
	begun, done, failed := false, 0, false
	for _, spec := range pod.Spec.Containers {
		c := w.containers[spec.Name]
		begun = begun || c.pid != 0 || c.last != nil
		if c.done {
			done++
			failed = failed || c.last == nil || c.last.ExitCode != 0
		}
	}
	switch {
	case done == len(pod.Spec.Containers) && failed:
		return corev1.PodFailed
	case done == len(pod.Spec.Containers):
		return corev1.PodSucceeded
	case begun:
		return corev1.PodRunning
	}
	return corev1.PodPending
}

func gatesOpen(pod *corev1.Pod) bool {
	for _, gate := range pod.Spec.ReadinessGates {
		open := false
		for _, c := range pod.Status.Conditions {
			open = open || c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		}
		if !open {
			return false
		}
	}
	return true
}

// setCondition changes lastTransitionTime only with the status.
func setCondition(pod *corev1.Pod, kind corev1.PodConditionType, is bool) {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type != kind {
			continue
		}
		if c.Status != status {
			c.Status, c.LastTransitionTime = status, now()
		}
		c.ObservedGeneration = pod.Generation
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: kind, Status: status, LastTransitionTime: now(), ObservedGeneration: pod.Generation,
	})
}
