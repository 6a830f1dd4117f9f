package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tidegate.dev/tests/cluster/internal/images"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// container is one of a pod; what its worker's lock guards is below the lock's name.
type container struct {
	spec    corev1.Container
	log     *logFile
	mounted bool
	first   sync.Once
	opened  chan struct{}

	// worker.mu
	pid      int // 0: does not run
	started  bool
	ready    bool
	done     bool // has ended and is not to be restarted
	restarts int32
	since    metav1.Time
	last     *corev1.ContainerStateTerminated
	exited   chan struct{} // of the current run
}

// begun is closed when the container has started for the first time.
func (c *container) begun() chan struct{} {
	c.first.Do(func() { c.opened = make(chan struct{}) })
	return c.opened
}

// run starts a container, waits for its end and says whether it succeeded.
func (w *worker) run(c *container) bool {
	command, err := w.prepare(c)
	if err == nil {
		err = w.box.Run(command.Start)
	}
	if err != nil {
		w.mu.Lock()
		c.last = &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: err.Error(), StartedAt: now(), FinishedAt: now()}
		w.mu.Unlock()
		w.changed()
		return false
	}
	alive, ended := context.WithCancel(w.ctx)
	exited := make(chan struct{})
	w.mu.Lock()
	c.pid, c.since, c.exited = command.Process.Pid, now(), exited
	c.started, c.ready = c.spec.StartupProbe == nil, c.spec.StartupProbe == nil && c.spec.ReadinessProbe == nil
	ending := w.ctx.Err() != nil
	w.mu.Unlock()
	if ending { // the pod was stopped in between, and its end has not seen this process
		_ = syscall.Kill(command.Process.Pid, syscall.SIGKILL)
	}
	if opened := c.begun(); c.restarts == 0 && c.last == nil {
		close(opened)
	}
	w.changed()
	go w.probe(alive, c)
	_ = command.Wait()
	ended()
	_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // what is left of its process group
	code := exitCode(command.ProcessState)
	w.mu.Lock()
	c.pid, c.started, c.ready = 0, false, false
	c.last = &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason(code), StartedAt: c.since, FinishedAt: now()}
	w.mu.Unlock()
	close(exited)
	w.changed()
	return code == 0
}

func exitCode(state *os.ProcessState) int32 {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int32(status.Signal())
	}
	return int32(state.ExitCode())
}

func reason(code int32) string {
	if code == 0 {
		return "Completed"
	}
	return "Error"
}

// prepare makes a container's mounts, once, and its command.
func (w *worker) prepare(c *container) (*exec.Cmd, error) {
	image, err := w.kubelet.Images.Lookup(c.spec.Image)
	if err != nil {
		return nil, err
	}
	if err := w.mount(c, image); err != nil {
		return nil, err
	}
	env, err := w.environment(c.spec, image)
	if err != nil {
		return nil, err
	}
	program, args := c.spec.Command, c.spec.Args
	if len(program) == 0 {
		program = image.Entrypoint
		if len(args) == 0 {
			args = image.Command
		}
	}
	argv := append(slices.Clone(program), args...)
	for i := range argv {
		argv[i] = images.Expand(argv[i], env)
	}
	command, err := w.command(argv, env, c.spec, image)
	if err != nil {
		return nil, err
	}
	if c.log == nil {
		if c.log, err = openLog(filepath.Join(w.logs, c.spec.Name+".log")); err != nil {
			return nil, err
		}
	}
	command.Stdout, command.Stderr = c.log.stream("stdout"), c.log.stream("stderr")
	command.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID // its end, for whatever reason, ends all its descendants
	command.WaitDelay = time.Second
	return command, nil
}

// mount shows the image's files and the volumes; all containers of a pod share one file system.
func (w *worker) mount(c *container, image images.Image) error {
	if c.mounted {
		return nil
	}
	for target, source := range image.Mounts {
		if err := w.box.Bind(source, target, true); err != nil {
			return err
		}
	}
	for _, m := range c.spec.VolumeMounts {
		if err := w.box.Bind(filepath.Join(w.volumes[m.Name], m.SubPath), m.MountPath, m.ReadOnly); err != nil {
			return err
		}
	}
	c.mounted = true
	return nil
}

// command is a process in the pod; it must be started by the sandbox.
func (w *worker) command(argv []string, env map[string]string, spec corev1.Container, image images.Image) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("no command: neither the container nor its image names one")
	}
	program, err := w.executable(argv[0])
	if err != nil {
		return nil, err
	}
	credential, err := credential(w.observedPod().Spec.SecurityContext, spec.SecurityContext, image.User)
	if err != nil {
		return nil, err
	}
	command := &exec.Cmd{Path: program, Args: argv, Env: pairs(env), Dir: "/"}
	if spec.WorkingDir != "" {
		command.Dir = spec.WorkingDir
	}
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: w.box.Root, Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: credential}
	return command, nil
}

// executable looks a name without a slash up in the pod's own folders.
func (w *worker) executable(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var found string
	_ = w.box.Run(func() error {
		for _, folder := range strings.Split(searchPath, ":") {
			if at, err := os.Stat(filepath.Join(w.box.Root, folder, name)); err == nil && at.Mode()&0o111 != 0 {
				found = filepath.Join(folder, name)
				break
			}
		}
		return nil
	})
	if found == "" {
		return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
	}
	return found, nil
}

// credential is who a container runs as: its own word, then the pod's, then the image's.
func credential(pod *corev1.PodSecurityContext, own *corev1.SecurityContext, user int64) (*syscall.Credential, error) {
	group, nonRoot, groups := int64(0), false, []uint32{}
	if pod != nil {
		user, group = orElse(pod.RunAsUser, user), orElse(pod.RunAsGroup, group)
		nonRoot = pod.RunAsNonRoot != nil && *pod.RunAsNonRoot
		for _, g := range pod.SupplementalGroups {
			groups = append(groups, uint32(g))
		}
		if pod.FSGroup != nil {
			groups = append(groups, uint32(*pod.FSGroup))
		}
	}
	if own != nil {
		user, group = orElse(own.RunAsUser, user), orElse(own.RunAsGroup, group)
		if own.RunAsNonRoot != nil {
			nonRoot = *own.RunAsNonRoot
		}
	}
	if nonRoot && user == 0 {
		return nil, errors.New("container has runAsNonRoot and would run as root: set securityContext.runAsUser")
	}
	return &syscall.Credential{Uid: uint32(user), Gid: uint32(group), Groups: groups}, nil
}

func orElse(value *int64, otherwise int64) int64 {
	if value == nil {
		return otherwise
	}
	return *value
}
