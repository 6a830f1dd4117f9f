package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tidegate.dev/tests/cluster/internal/control"
	"tidegate.dev/tests/cluster/internal/images"
	"tidegate.dev/tests/cluster/internal/pki"
	"tidegate.dev/tests/cluster/internal/plan"
)

// settings are the flags of up; the processes of a cluster read them from the same command line.
type settings struct {
	name, images string
	dir          folder
	nodes        int
	children     string
	proxy        bool
	podsUseProxy bool
	paths        paths
}

// folder is a cluster's --dir and knows what is where in it.
type folder string

func (d folder) path(name string) string   { return filepath.Join(string(d), name) }
func (d folder) keys() pki.Files           { return pki.Files(d.path("pki")) }
func (d folder) memory(name string) string { return filepath.Join(d.path("memory"), name) } // a tmpfs
func (d folder) nodeSocket(n int) string   { return d.path(fmt.Sprintf("node%d.sock", n)) }
func (d folder) control() string           { return d.path("control.sock") }
func (d folder) api() string               { return d.path("api.sock") }
func (d folder) kubeconfig() string        { return d.path("kubeconfig") }

// paths is the repeatable flag --path NAME=FILE.
type paths map[string]string

func (p paths) String() string { return fmt.Sprint(map[string]string(p)) }

func (p paths) Set(text string) error {
	name, file, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q is not NAME=FILE", text)
	}
	absolute, err := filepath.Abs(file)
	p[name] = absolute
	return err
}

func readSettings(args []string) (settings, error) {
	s := settings{paths: paths{}}
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	flags.StringVar(&s.name, "name", "testcluster", "name of the cluster in its kubeconfigs")
	dir := flags.String("dir", "", "folder of the cluster: kubeconfigs, keys, sockets, logs; an earlier cluster's are overwritten")
	flags.IntVar(&s.nodes, "nodes", 1, fmt.Sprintf("number of nodes, at most %d", plan.MaxNodes))
	flags.StringVar(&s.images, "images", "", "image table, JSON")
	flags.Var(s.paths, "path", "NAME=FILE: value of ${NAME} in the image table; repeatable; otherwise the environment's")
	flags.StringVar(&s.children, "children", "", "components to run as processes of their own, which can be killed and started: a comma list of kube-apiserver, kube-controller-manager")
	flags.BoolVar(&s.proxy, "proxy", true, "run kube-proxy on each node")
	flags.BoolVar(&s.podsUseProxy, "pods-use-fault-proxy", false, "point pods' KUBERNETES_SERVICE_HOST at the fault proxy")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if *dir == "" {
		return s, errors.New("up: --dir is missing")
	}
	absolute, err := filepath.Abs(*dir)
	s.dir = folder(absolute)
	return s, err
}

// check refuses what would fail later and less clearly.
func (s settings) check() error {
	if os.Geteuid() != 0 {
		return errors.New("a test cluster makes namespaces and mounts: run it as root")
	}
	if _, err := plan.Nodes(s.nodes); err != nil {
		return err
	}
	const socketLimit = 107
	if longest := len(s.dir.control()); longest > socketLimit {
		return fmt.Errorf("--dir %s: its sockets' names would have %d bytes, and the kernel allows %d: use a shorter one", s.dir, longest, socketLimit)
	}
	if within(string(s.dir), "/run") || within(string(s.dir), "/var/run") {
		return fmt.Errorf("--dir %s: each node has a /run of its own and would not see it: use a folder elsewhere", s.dir)
	}
	for _, name := range s.asChildren() {
		if !slices.Contains([]string{control.APIServer, control.ControllerManager}, name) {
			return fmt.Errorf("--children: %q is neither %s nor %s", name, control.APIServer, control.ControllerManager)
		}
	}
	if _, err := exec.LookPath("nft"); s.proxy && err != nil {
		return errors.New("kube-proxy needs nft, which is not on PATH: install the package nftables, or pass --proxy=false")
	}
	_, err := s.table()
	return err
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func (s settings) asChildren() []string {
	return strings.FieldsFunc(s.children, func(r rune) bool { return r == ',' })
}

func (s settings) table() (images.Table, error) {
	if s.images == "" {
		return images.Table{}, nil
	}
	text, err := os.ReadFile(s.images)
	if err != nil {
		return images.Table{}, err
	}
	return images.Parse(text, func(name string) string {
		if file := s.paths[name]; file != "" {
			return file
		}
		return os.Getenv(name)
	})
}
