package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"tidegate.dev/tests/cluster/internal/faults"
)

// children are the components that run as processes of their own.
type children struct {
	logs  string
	proxy *faults.Proxy
	mu    sync.Mutex
	by    map[string]*child
}

type child struct {
	args    []string
	process *os.Process // nil: does not run
	ended   chan struct{}
}

func newChildren(logs string) *children { return &children{logs: logs, by: map[string]*child{}} }

func (c *children) add(name string, args []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[name] = &child{args: args}
	return c.start(name)
}

// start is called with the lock.
func (c *children) start(name string) error {
	one := c.by[name]
	if one.process != nil {
		return fmt.Errorf("%s runs already", name)
	}
	output, err := os.OpenFile(filepath.Join(c.logs, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	command := exec.Command("/proc/self/exe", append([]string{name}, one.args...)...)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal is sent when the thread ends
		started <- command.Start()
		if command.Process == nil {
			return
		}
		log.Printf("%s ended: %v", name, command.Wait())
		c.mu.Lock()
		one.process = nil
		c.mu.Unlock()
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	one.process, one.ended = command.Process, ended
	return nil
}

var signals = map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGSTOP, "continue": syscall.SIGCONT}

// do is one action of the command `component`; kill returns when the process has gone.
func (c *children) do(name, action string) error {
	c.mu.Lock()
	one := c.by[name]
	if one == nil {
		known := strings.Join(slices.Sorted(maps.Keys(c.by)), ", ")
		c.mu.Unlock()
		return fmt.Errorf("%s is no child process of this cluster (those are: %s): start it with --children %s", name, known, name)
	}
	if action == "start" {
		defer c.mu.Unlock()
		return c.start(name)
	}
	signal, known := signals[action]
	process, ended := one.process, one.ended
	c.mu.Unlock()
	if !known {
		return fmt.Errorf("action %q is none of continue, kill, start, stop", action)
	}
	if process == nil {
		return fmt.Errorf("%s does not run", name)
	}
	if err := process.Signal(signal); err != nil {
		return err
	}
	if signal == syscall.SIGKILL {
		<-ended
	}
	return nil
}
