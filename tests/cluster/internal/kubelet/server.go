package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"tidegate.dev/tests/cluster/internal/plan"
)

// serve is the part of a kubelet's API that the API server passes on: logs and exec.
func (k *Kubelet) serve() error {
	pool, err := k.Keys.Pool()
	if err != nil {
		return err
	}
	certificate, err := k.Keys.Pair("kubelet-" + k.Node.Name)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.serveExec)
	mux.HandleFunc("/exec/{namespace}/{pod}/{uid}/{container}", k.serveExec)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	listener, err := net.Listen("tcp", net.JoinHostPort(k.Node.IPv4.String(), strconv.Itoa(plan.KubeletPort)))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:      mux,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // exec upgrades an HTTP/1.1 connection
		TLSConfig:    &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Certificates: []tls.Certificate{certificate}},
	}
	go func() { log.Printf("kubelet API of %s ended: %v", k.Node.Name, server.ServeTLS(listener, "", "")) }()
	return nil
}

func (k *Kubelet) serveExec(rw http.ResponseWriter, r *http.Request) {
	w, c := k.container(r)
	if c == nil {
		http.Error(rw, "no such pod or container", http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(rw, r, w, w.name, string(w.observedPod().UID), c.spec.Name, r.Form["command"], options,
		4*time.Hour, 30*time.Second, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) container(r *http.Request) (*worker, *container) {
	w := k.find(r.PathValue("namespace"), r.PathValue("pod"))
	if w == nil {
		return nil, nil
	}
	return w, w.containers[r.PathValue("container")]
}

// ExecInContainer is remotecommand's Executor; there are no terminals, only pipes.
func (w *worker) ExecInContainer(ctx context.Context, _, _, name string, argv []string, in io.Reader, out, err io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	return w.execute(ctx, w.containers[name], argv, in, out, err)
}

func (w *worker) execute(ctx context.Context, c *container, argv []string, in io.Reader, out, errOut io.Writer) error {
	image, err := w.kubelet.Images.Lookup(c.spec.Image)
	if err != nil {
		return err
	}
	env, err := w.environment(c.spec, image)
	if err != nil {
		return err
	}
	command, err := w.command(argv, env, c.spec, image)
	if err != nil {
		return err
	}
	if err := pipeInput(command, in); err != nil {
		return err
	}
	command.Stdout, command.Stderr = out, errOut
	command.WaitDelay = 2 * time.Second
	if err := w.box.Run(command.Start); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
	defer stop()
	err = command.Wait()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return &utilexec.ExitErrorWrapper{ExitError: failed}
	}
	return err
}

// pipeInput copies by itself, for Wait would wait for a client that keeps its side open.
func pipeInput(command *exec.Cmd, in io.Reader) error {
	if in == nil {
		return nil
	}
	pipe, err := command.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(pipe, in)
		_ = pipe.Close()
	}()
	return nil
}
