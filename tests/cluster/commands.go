package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"k8s.io/client-go/rest"

	"tidegate.dev/tests/cluster/internal/manifests"
)

// flagsOf are a command's own, with the --dir that every command has.
func flagsOf(command string, args []string, more func(*flag.FlagSet)) (folder, []string, error) {
	flags := flag.NewFlagSet(command, flag.ExitOnError)
	dir := flags.String("dir", os.Getenv("TESTCLUSTER_DIR"), "the cluster's folder; TESTCLUSTER_DIR")
	if more != nil {
		more(flags)
	}
	if err := flags.Parse(args); err != nil {
		return "", nil, err
	}
	if *dir == "" {
		return "", nil, fmt.Errorf("%s: --dir is missing", command)
	}
	return folder(*dir), flags.Args(), nil
}

func apply(args []string) error {
	dir, rest, err := flagsOf("apply", args, nil)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errors.New("apply: name files, folders or - for standard input")
	}
	count, err := manifests.Apply(context.Background(), restConfig(dir), rest)
	if err != nil {
		return err
	}
	fmt.Printf("applied %d objects\n", count)
	return nil
}

func restConfig(dir folder) *rest.Config {
	return &rest.Config{Host: "http://api", QPS: 500, Burst: 1000, Dial: dialer(dir.api())}
}

func fault(args []string) error {
	clear := false
	dir, rules, err := flagsOf("fault", args, func(f *flag.FlagSet) { f.BoolVar(&clear, "clear", false, "take all rules away first") })
	if err != nil {
		return err
	}
	if clear {
		if err := ask(dir, http.MethodDelete, "/faults", "", io.Discard); err != nil {
			return err
		}
	}
	for _, rule := range rules {
		if err := ask(dir, http.MethodPost, "/faults", rule, io.Discard); err != nil {
			return err
		}
	}
	return ask(dir, http.MethodGet, "/faults", "", os.Stdout)
}

func counts(args []string) error {
	reset := false
	dir, _, err := flagsOf("counts", args, func(f *flag.FlagSet) { f.BoolVar(&reset, "reset", false, "begin again at 0 afterwards") })
	if err != nil {
		return err
	}
	if err := ask(dir, http.MethodGet, "/counts", "", os.Stdout); err != nil || !reset {
		return err
	}
	return ask(dir, http.MethodDelete, "/counts", "", io.Discard)
}

func component(args []string) error {
	dir, words, err := flagsOf("component", args, nil)
	if err != nil {
		return err
	}
	if len(words) != 2 {
		return errors.New("component: name a component and one of kill, start, stop, continue")
	}
	return ask(dir, http.MethodPost, "/components/"+words[0]+"/"+words[1], "", os.Stdout)
}

// ask speaks to the cluster's control socket.
func ask(dir folder, method, path, body string, to io.Writer) error {
	request, err := http.NewRequest(method, "http://control"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := socketClient(dir.control()).Do(request)
	if err != nil {
		return fmt.Errorf("--dir %s: no cluster runs in it: %w", dir, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return errors.New(strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(to, response.Body)
	return err
}

func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: dialer(path)}}
}

func dialer(path string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}
