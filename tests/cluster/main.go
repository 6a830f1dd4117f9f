// Testcluster is a Kubernetes cluster for tests on one machine, without containers: see README.md.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"

	"tidegate.dev/tests/cluster/internal/control"
)

const usage = `usage:
  testcluster up --dir DIR [--nodes 2] [--images FILE] ...   a cluster in the foreground, until SIGTERM or ^C
  testcluster run --dir DIR [--node 1] -- COMMAND ...        a command in a node's network
  testcluster apply --dir DIR PATH ...                       server-side apply of files, folders or - for stdin
  testcluster logs --dir DIR NAMESPACE/POD [CONTAINER]       what a pod has written, deleted pods too
  testcluster fault --dir DIR [--clear] [RULE]               list, add or clear faults of the API server's proxy
  testcluster counts --dir DIR [--reset]                     requests that the proxy has seen
  testcluster component --dir DIR NAME kill|start|stop|continue
Each command explains its flags: testcluster up --help`

var commands = map[string]func(args []string) error{
	"up": up, "run": run, "apply": apply, "logs": logs, "fault": fault, "counts": counts, "component": component,
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	name, args := os.Args[1], os.Args[2:]
	command := commands[name]
	if control.IsComponent(name) { // one of ours, started again as a child
		command = func(args []string) error { return control.Run(name, args) }
	}
	if command == nil {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(args); err != nil && !errors.Is(err, errReported) {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		os.Exit(1)
	} else if err != nil {
		os.Exit(1)
	}
}
