"""The cluster itself: what every other test on it relies on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster import BUILT, Cluster, ClusterError, started

WEB = """
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {text: served}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsUser: 1234, runAsNonRoot: true}
      volumes:
        - {name: page, configMap: {name: page}}
      containers:
        - name: web
          image: python
          args: [-m, http.server, "80", --directory, /srv/page, --bind, "::"]
          ports: [{name: http, containerPort: 80}]
          readinessProbe: {httpGet: {path: /text, port: http}}
          volumeMounts: [{name: page, mountPath: /srv/page}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}], ipFamilyPolicy: RequireDualStack}
"""

AGENT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      hostNetwork: true
      containers:
        - name: agent
          image: busybox
          args: ["-c", "echo on $NODE at $HOST; exec sleep 1000"]
          env:
            - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
"""

ASKS = """
apiVersion: batch/v1
kind: Job
metadata: {name: asks}
spec:
  template:
    spec:
      restartPolicy: OnFailure  # kube-proxy follows the endpoints a moment later
      volumes: [{name: shared, emptyDir: {}}]
      initContainers:
        - name: first
          image: busybox
          args: ["-c", "echo prepared > /shared/word"]
          volumeMounts: [{name: shared, mountPath: /shared}]
      containers:
        - name: asks
          image: python
          volumeMounts: [{name: shared, mountPath: /shared}]
          args:
            - -c
            - |
              import os, ssl, socket, urllib.request
              print(open("/shared/word").read())
              for family in (socket.AF_INET, socket.AF_INET6):
                  host = socket.getaddrinfo("web", 80, family, socket.SOCK_STREAM)[0][4][0]
                  url = f"http://[{host}]/text" if ":" in host else f"http://{host}/text"
                  print(family.name, urllib.request.urlopen(url, timeout=10).read().decode())
              account = "/var/run/secrets/kubernetes.io/serviceaccount"
              request = urllib.request.Request("https://kubernetes.default.svc/version")
              request.add_header("Authorization", "Bearer " + open(account + "/token").read())
              trusted = ssl.create_default_context(cafile=account + "/ca.crt")
              print(urllib.request.urlopen(request, context=trusted, timeout=10).read().decode())
"""

APPS = "/apis/apps/v1/namespaces/default"
MAPS = "/api/v1/namespaces/default/configmaps"


def rolled_out(cluster: Cluster, name: str) -> Callable[[], bool]:
    def read() -> bool:
        deployment = cluster.get(f"{APPS}/deployments/{name}")
        return bool(deployment["status"].get("availableReplicas") == deployment["spec"]["replicas"])

    return read


def complete(cluster: Cluster, name: str) -> Callable[[], bool]:
    def read() -> bool:
        conditions = cluster.get(f"/apis/batch/v1/namespaces/default/jobs/{name}")["status"].get("conditions", [])
        assert not [c for c in conditions if c["type"] == "Failed"], cluster.logs("default", f"{name}-*")
        return any(c["type"] == "Complete" for c in conditions)

    return read


def test_both_nodes_are_ready(two_nodes: Cluster) -> None:
    """Each node registers itself, is Ready, and reports both of its addresses."""
    nodes = two_nodes.get("/api/v1/nodes")["items"]

    assert ["node1", "node2"] == [node["metadata"]["name"] for node in nodes]
    for node in nodes:
        assert [("Ready", "True")] == [(c["type"], c["status"]) for c in node["status"]["conditions"]]
        assert ["InternalIP", "InternalIP", "Hostname"] == [a["type"] for a in node["status"]["addresses"]]


def test_workloads_run_and_reach_each_other(two_nodes: Cluster) -> None:
    """A Deployment spreads over the nodes; a pod reaches its Service by both families, and the API server by token."""
    two_nodes.apply(WEB, ASKS)
    two_nodes.wait(rolled_out(two_nodes, "web"), "web rolls out")
    two_nodes.wait(complete(two_nodes, "asks"), "asks completes")
    written = two_nodes.logs("default", "asks-*", "asks")
    pods = two_nodes.get("/api/v1/namespaces/default/pods?labelSelector=app=web")["items"]

    assert ["node1", "node2"] == sorted(pod["spec"]["nodeName"] for pod in pods)
    assert "prepared" in written
    assert "AF_INET served" in written
    assert "AF_INET6 served" in written
    assert "v1.37.2" in written


def test_daemonset_has_a_pod_on_each_node_in_its_network(two_nodes: Cluster) -> None:
    """A DaemonSet of the host network runs once per node, with the node's name and address."""
    two_nodes.apply(AGENT)
    two_nodes.wait(
        lambda: two_nodes.get(f"{APPS}/daemonsets/agent")["status"].get("numberAvailable") == 2, "agent on both nodes"
    )
    written = two_nodes.logs("default", "agent-*")

    assert "on node1 at 172.31.0.1" in written
    assert "on node2 at 172.31.0.2" in written


def test_nodes_reach_pods_of_each_other(two_nodes: Cluster) -> None:
    """A process in a node's network, as a proxy is, reaches pods of both nodes by their addresses."""
    two_nodes.apply(WEB)
    two_nodes.wait(rolled_out(two_nodes, "web"), "web rolls out")
    pods = two_nodes.get("/api/v1/namespaces/default/pods?labelSelector=app=web")["items"]
    addresses = [ip["ip"] for pod in pods for ip in pod["status"]["podIPs"]]
    asked = "import sys, socket; [socket.create_connection((ip, 80), 10).close() for ip in sys.argv[1:]]"

    for node in (1, 2):
        two_nodes.run(["python3", "-c", asked, *addresses], node=node)
    assert 4 == len(addresses)


def test_mounted_configuration_follows_its_object(two_nodes: Cluster) -> None:
    """A changed ConfigMap reaches the files of a running pod."""
    two_nodes.apply(WEB)
    two_nodes.wait(rolled_out(two_nodes, "web"), "web rolls out")
    two_nodes.patch(f"{MAPS}/page", {"data": {"text": "changed"}})
    address = two_nodes.get("/api/v1/namespaces/default/services/web")["spec"]["clusterIP"]
    fetch = f"import urllib.request; print(urllib.request.urlopen('http://{address}/text', timeout=10).read().decode())"

    two_nodes.wait(lambda: two_nodes.run(["python3", "-c", fetch]).stdout == "changed\n", "the page changes")


@pytest.mark.parametrize("channel", ["standard", "experimental"])
def test_gateway_api_is_established(cluster_binary: Path, channel: str) -> None:
    """The CRDs of either channel apply, and their kinds are served as soon as apply has returned."""
    with started() as fresh:
        fresh.apply(BUILT / "crds" / channel)

        assert [] == fresh.get("/apis/gateway.networking.k8s.io/v1/httproutes")["items"]


def test_unknown_image_is_said_in_the_pod(cluster: Cluster) -> None:
    """A pod whose image the table does not know says so in its status."""
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nobody", "namespace": "default"}}
        | {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nobody/knows:1"}]}}
    )

    def failed() -> Any:
        pod = cluster.get("/api/v1/namespaces/default/pods/nobody")
        return pod if pod["status"]["phase"] == "Failed" else None

    pod = cluster.wait(failed, "nobody fails")
    assert "nobody/knows:1" in pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]


@pytest.fixture
def proxied(cluster: Cluster) -> Iterator[Cluster]:
    """The module's cluster with no fault and no count."""
    cluster.clear_faults()
    cluster.reset_counts()
    yield cluster
    cluster.clear_faults()


ASK = """
import sys, urllib.request, urllib.error, ssl, yaml
config = yaml.safe_load(open(sys.argv[1]))
[cluster], [user] = config["clusters"], config["users"]
request = urllib.request.Request(cluster["cluster"]["server"] + sys.argv[2], headers={"User-Agent": "asker"})
request.add_header("Authorization", "Bearer " + user["user"]["token"])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    with urllib.request.urlopen(request, context=context, timeout=float(sys.argv[3])) as response:
        for line in response:
            print(line.decode(), end="", flush=True)
except urllib.error.HTTPError as error:
    print(error.code, error.headers.get("Retry-After"))
except OSError as error:
    print(type(error).__name__)
"""


def asked(cluster: Cluster, path: str, *, inside: bool = False) -> str:
    """The answer to a request through the proxy, or what went wrong with it."""
    config = cluster.kubeconfig_proxy if inside else cluster.kubeconfig_proxy_outside
    line = [str(Path(BUILT.parent, ".venv/bin/python")), "-c", ASK, str(config), path, "5"]
    if inside:
        return cluster.run(line).stdout
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def watching(proxied: Cluster) -> Iterator[Callable[[int], list[Any]]]:
    """An open watch of ConfigMaps from now on: reads so many of its events."""
    version = proxied.get(MAPS)["metadata"]["resourceVersion"]
    path = f"{MAPS}?watch=1&resourceVersion={version}"
    line = [str(Path(BUILT.parent, ".venv/bin/python")), "-c", ASK, str(proxied.kubeconfig_proxy_outside), path, "5"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        proxied.wait(lambda: proxied.counts(verb="watch", user_agent="asker") == 1, "the watch is open")
        assert process.stdout is not None
        lines = process.stdout

        def read(count: int) -> list[Any]:
            return [json.loads(lines.readline()) for _ in range(count)]

        yield read
        process.kill()


def change(cluster: Cluster, name: str) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})
    cluster.delete(f"{MAPS}/{name}")


def seen(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"].get("metadata", {}).get("name", "")) for event in events]


@pytest.mark.parametrize("inside", [False, True])
def test_proxy_counts_requests(proxied: Cluster, inside: bool) -> None:
    """A request through the proxy is counted by its verb, resource and user agent; one past it is not."""
    proxied.get(MAPS)
    asked(proxied, MAPS, inside=inside)
    asked(proxied, f"{MAPS}/none", inside=inside)

    assert 1 == proxied.counts(verb="list", resource="configmaps", user_agent="asker")
    assert 1 == proxied.counts(verb="get", resource="configmaps")
    assert 2 == proxied.counts()


def test_status_fault_answers_as_often_as_told(proxied: Cluster) -> None:
    """A status fault answers with its code and Retry-After, so many times, after so many requests have passed."""
    proxied.fault("status", code=429, retry_after_s=7, verb="list", path="configmaps", after=1, times=1)

    assert '"kind":"ConfigMapList"' in asked(proxied, MAPS)
    assert "429 7\n" == asked(proxied, MAPS)
    assert '"kind":"ConfigMapList"' in asked(proxied, MAPS)
    assert [1] == [rule["hits"] for rule in proxied.faults()]


def test_stale_list_is_the_last_one_before_the_fault(proxied: Cluster) -> None:
    """A stale list lacks what has been created since the last list."""
    asked(proxied, MAPS)
    proxied.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later", "namespace": "default"}})
    proxied.fault("stale", path="configmaps")

    assert "later" not in asked(proxied, MAPS)
    proxied.clear_faults()
    assert "later" in asked(proxied, MAPS)


@pytest.mark.parametrize("action", ["cut", "lose"])
def test_cut_request_gets_no_answer(proxied: Cluster, action: str) -> None:
    """The connection of a cut or lost request is reset, and the next one works."""
    proxied.fault(action, verb="get", times=1)

    assert asked(proxied, f"{MAPS}/none") in ("ConnectionResetError\n", "RemoteDisconnected\n", "URLError\n")
    assert "404 None\n" == asked(proxied, f"{MAPS}/none")


@pytest.mark.parametrize("inside", [False, True])
def test_down_refuses_everybody_until_cleared(proxied: Cluster, inside: bool) -> None:
    """While the API server is down for the proxy's clients, no connection works; afterwards all do."""
    proxied.fault("down")

    assert asked(proxied, MAPS, inside=inside) in ("ConnectionResetError\n", "RemoteDisconnected\n", "URLError\n")
    proxied.clear_faults()
    assert '"kind":"ConfigMapList"' in asked(proxied, MAPS, inside=inside)


def test_open_watch_expires(proxied: Cluster, watching: Callable[[int], list[Any]]) -> None:
    """An open watch that a fault lets expire ends with the error that the API server sends for it."""
    proxied.fault("expire", path="configmaps")

    [event] = watching(1)
    assert ("ERROR", 410) == (event["type"], event["object"]["code"])


def test_duplicate_events(proxied: Cluster, watching: Callable[[int], list[Any]]) -> None:
    """Each event of an open watch comes twice."""
    proxied.fault("duplicate")
    change(proxied, "twin")

    assert [("ADDED", "twin"), ("ADDED", "twin"), ("DELETED", "twin"), ("DELETED", "twin")] == seen(watching(4))


def test_silent_watch_says_nothing_more(proxied: Cluster, watching: Callable[[int], list[Any]]) -> None:
    """A silenced watch stays open and keeps back what happens, even after the fault is gone."""
    change(proxied, "heard")
    assert [("ADDED", "heard"), ("DELETED", "heard")] == seen(watching(2))
    proxied.fault("silence", verb="watch", times=1)
    change(proxied, "unheard")
    proxied.clear_faults()
    change(proxied, "unheard-too")

    with pytest.raises(json.JSONDecodeError):  # the client's own time-out ended it, without another event
        watching(1)


def test_wrong_fault_is_refused(proxied: Cluster) -> None:
    """A fault that could never hit is refused with the reason."""
    with pytest.raises(ClusterError, match="action"):
        proxied.fault("explode")


def test_api_server_is_killed_and_started(cluster_binary: Path) -> None:
    """The API server as a child can be killed, and after its restart it has all that it had."""
    with started(children=["kube-apiserver"]) as fresh:
        fresh.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "default"}})
        fresh.component("kube-apiserver", "kill")
        with pytest.raises(ClusterError):
            fresh.get(MAPS)
        fresh.component("kube-apiserver", "start")

        def again() -> Any:
            try:
                return fresh.get(f"{MAPS}/kept")
            except ClusterError:
                return None

        assert "kept" == fresh.wait(again, "the API server is back")["metadata"]["name"]


def processes_of(directory: Path) -> list[str]:
    """Command lines on this machine that name the folder; a pod's process does by its root."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text().replace("\0", " ")
            root = str((process / "root").readlink())
        except OSError:
            continue
        if str(directory) in command or str(directory) in root:
            found.append(command)
    return found


def test_killed_cluster_leaves_nothing(cluster_binary: Path) -> None:
    """After kill -9 of the program no process, pod, mount or link of the cluster is left."""
    with started(nodes=2) as fresh:
        fresh.apply(WEB)
        fresh.wait(rolled_out(fresh, "web"), "web rolls out")
        assert [command for command in processes_of(fresh.directory) if "http.server" in command]
        fresh.process.kill()
        fresh.process.wait()

        fresh.wait(lambda: not processes_of(fresh.directory), "its processes end", timeout_s=10)
        assert str(fresh.directory) not in Path("/proc/self/mountinfo").read_text()
