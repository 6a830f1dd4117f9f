package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// roleVariable tells a process of a cluster which of its nodes it is; the one that was started by hand has none.
const roleVariable = "TESTCLUSTER_NODE"

// errReported ends the program where the reason has been told.
var errReported = errors.New("reported")

// Files that the first node's process inherits.
const (
	fdOutsideAPI = 3 + iota
	fdOutsideProxy
	fdLock
)

func up(args []string) error {
	s, err := readSettings(args)
	if err != nil {
		return err
	}
	switch os.Getenv(roleVariable) {
	case "1":
		return firstNode(s)
	case "2":
		return secondNode(s)
	}
	return supervise(s)
}

// supervise starts the first node in namespaces of its own and stays outside, where it is signalled and waited for.
// Nothing of the cluster is pinned: the namespaces and the mounts in them end with the last process, however that ends.
func supervise(s settings) error {
	if err := s.check(); err != nil {
		return err
	}
	lock, err := s.dir.claim()
	if err != nil {
		return err
	}
	outside, err := listenOutside()
	if err != nil {
		return err
	}
	output, err := os.Create(s.dir.path("logs/node1.log"))
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the death signal is sent when the thread ends
	node := exec.Command("/proc/self/exe", os.Args[1:]...)
	node.Env = append(os.Environ(), roleVariable+"=1")
	node.Stdout, node.Stderr = os.Stdout, output
	node.ExtraFiles = append(outside, lock)
	node.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGTERM, Setpgid: true,
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := node.Start(); err != nil {
		return err
	}
	go func() {
		<-signals
		_ = node.Process.Signal(syscall.SIGTERM)
	}()
	if err := node.Wait(); err != nil {
		fmt.Fprintf(os.Stderr, "testcluster: the cluster ended: %v; the end of %s:\n%s\n", err, output.Name(), lastLines(output.Name(), 10))
		return errReported
	}
	return nil
}

// claim empties the folder of an earlier cluster, once nothing of that runs any more.
func (d folder) claim() (*os.File, error) {
	for _, name := range []string{"memory", "logs", "pods"} {
		if err := os.MkdirAll(d.path(name), 0o755); err != nil {
			return nil, err
		}
	}
	lock, err := os.Create(d.path("lock"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("--dir %s: another cluster runs in it", d)
	}
	for _, pattern := range []string{"*.sock", "kubeconfig*", "pki", "pods/*", "logs/*"} {
		old, _ := filepath.Glob(d.path(pattern))
		for _, path := range old {
			if err := os.RemoveAll(path); err != nil {
				return nil, err
			}
		}
	}
	return lock, nil
}

// listenOutside listens on the machine's loopback for the API server and for its proxy, so that tests need not enter the cluster's network.
func listenOutside() ([]*os.File, error) {
	var files []*os.File
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		file, err := listener.(*net.TCPListener).File()
		if err != nil {
			return nil, err
		}
		_ = listener.Close()
		files = append(files, file)
	}
	return files, nil
}

func lastLines(path string, count int) string {
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
