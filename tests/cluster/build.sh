#!/bin/sh
# Build what the tests of the cluster need into the folder that is named: testcluster, helm, echo-basic and the CRDs of Gateway API.
# What has been built from the same sources by the same Go stays as it is, so only a fresh machine pays for the compilation.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
export GOFLAGS="-trimpath -buildvcs=false"  # one set of flags: another would compile all of Kubernetes once more

command -v go >/dev/null || { echo "The test cluster is built with Go 1.26 or newer, and there is no go on PATH: install one." >&2; exit 1; }
version=$(go env GOVERSION)
minor=$(echo "$version" | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
[ "${minor:-0}" -ge 26 ] || { echo "The test cluster is built with Go 1.26 or newer, and $(command -v go) is $version: put a newer one first on PATH." >&2; exit 1; }

# module FOLDER BINARY PACKAGE CGO LDFLAGS
module() {
  sum=$(cd "$here/$1" && { echo "$version $*"; find . \( -name '*.go' -o -name 'go.*' \) ! -name '*_test.go' ! -path './helm/*' ! -path './echo/*' |
    LC_ALL=C sort | xargs sha256sum; } | sha256sum)
  [ "$(cat "$out/$2.sum" 2>/dev/null)" = "$sum" ] && [ -x "$out/$2" ] && return
  echo "building $2 ..."
  (cd "$here/$1" && CGO_ENABLED=$4 go build -ldflags "-s -w $5" -o "$out/$2" "$3")
  echo "$sum" >"$out/$2.sum"
}

# crds VERSION: Go refuses to build this module by an older release than its go.mod names, but fetches and verifies it; only its files are read.
crds() {
  [ "$(cat "$out/crds/version" 2>/dev/null)" = "$1" ] && return
  refused=$(cd / && go mod download "sigs.k8s.io/gateway-api@$1" 2>&1) || true
  from=$(go env GOMODCACHE)/sigs.k8s.io/gateway-api@$1/config/crd
  [ -d "$from/standard" ] || { echo "Cannot fetch the CRDs of Gateway API $1: $refused" >&2; exit 1; }
  rm -rf "$out/crds" && mkdir -p "$out/crds"
  cp -R "$from/standard" "$from/experimental" "$out/crds/"
  rm -f "$out/crds/experimental/kustomization.yaml"
  chmod -R u+w "$out/crds"
  echo "$1" >"$out/crds/version"
}

module . testcluster . 1 "-X k8s.io/component-base/version.gitVersion=v1.37.2"
module echo echo-basic sigs.k8s.io/gateway-api-conformance-images/echo-basic 0 ""
# Without a cluster to ask, Helm renders for the Kubernetes that it was built for.
module helm helm helm.sh/helm/v3/cmd/helm 0 "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37"
crds v1.7.0
