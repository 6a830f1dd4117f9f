package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// run becomes a command in a node's network; the files are the machine's.
func run(args []string) error {
	node := 0
	dir, command, err := flagsOf("run", args, func(f *flag.FlagSet) { f.IntVar(&node, "node", 1, "which node's network") })
	if err != nil {
		return err
	}
	if len(command) == 0 {
		return errors.New("run: name a command after --")
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	absolute, err := filepath.Abs(string(dir))
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := enter(folder(absolute).nodeSocket(node)); err != nil {
		return fmt.Errorf("--dir %s: no node %d runs in it: %w", dir, node, err)
	}
	return syscall.Exec(program, command, append(os.Environ(), "KUBECONFIG="+folder(absolute).kubeconfig()))
}

// enter joins the network of the process that listens on a socket.
func enter(socket string) error {
	connection, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(connection)
	if err := unix.Connect(connection, &unix.SockaddrUnix{Name: socket}); err != nil {
		return err
	}
	peer, err := unix.GetsockoptUcred(connection, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	namespace, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", peer.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Setns(namespace, unix.CLONE_NEWNET)
}
