package kubelet

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// terminateAll runs preStop, sends SIGTERM and waits, at most as long as the grace, for each running container.
func (w *worker) terminateAll(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var all sync.WaitGroup
	for _, c := range w.containers {
		all.Go(func() { w.terminate(ctx, c) })
	}
	all.Wait()
}

func (w *worker) terminate(ctx context.Context, c *container) {
	w.mu.Lock()
	pid, exited := c.pid, c.exited
	w.mu.Unlock()
	if pid == 0 {
		return
	}
	w.preStop(ctx, c, exited)
	signal := syscall.SIGTERM
	if !catches(pid, signal) {
		// The first process of a PID namespace never gets a signal that it does not catch, so its grace would pass for nothing.
		signal = syscall.SIGKILL
	}
	_ = syscall.Kill(pid, signal)
	select {
	case <-exited:
	case <-ctx.Done():
	}
}

func (w *worker) preStop(ctx context.Context, c *container, exited <-chan struct{}) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil {
		return
	}
	switch hook := c.spec.Lifecycle.PreStop; {
	case hook.Exec != nil:
		_ = w.execute(ctx, c, hook.Exec.Command, nil, io.Discard, io.Discard)
	case hook.Sleep != nil:
		select {
		case <-time.After(time.Duration(hook.Sleep.Seconds) * time.Second):
		case <-exited:
		case <-ctx.Done():
		}
	}
}

func catches(pid int, signal syscall.Signal) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), "SigCgt:")
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 16, 64)
	return err == nil && mask&(1<<(signal-1)) != 0
}

func (w *worker) killAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.containers {
		if c.pid != 0 {
			_ = syscall.Kill(c.pid, syscall.SIGKILL)
		}
	}
}
