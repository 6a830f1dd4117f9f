"""The chart's daemons on a cluster of two nodes: pods' connections reach Envoy, or a backend, by the kernel.

The tests of this module run in their order, on one installation: the last one takes the daemons away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.daemons import CGROUP, NODES, VALUES, answers, client, on_node, process_of, standing
from tests.kubernetes.echo import ECHO
from tests.kubernetes.installation import Installation

WORLD = """
apiVersion: v1
kind: Service
metadata: {name: routed, namespace: default}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: echo}
  ports: [{port: 80, targetPort: 3000, appProtocol: http}]
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: default}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: echo}, ports: [{port: 80, targetPort: 3000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: routed, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: routed, port: 80}]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: applied}]}}]
    backendRefs: [{name: routed, port: 80}]
"""


@pytest.fixture(scope="module")
def installation(cluster_binary: Path, project: Path) -> Iterator[Installation]:
    """The daemons, two backends, and a client on each node that asks all addresses of both Services."""
    assert cluster_binary.is_file()
    if not (project / "datapath/bpf/build/manifest.json").is_file():
        pytest.fail("no BPF programs: run `make bpf`")
    with standing() as found:
        cluster = found.cluster
        cluster.apply(ECHO, WORLD)
        cluster.wait(lambda: available(cluster), "the backends are available")
        urls = [url for service in ("routed", "plain") for url in addresses(cluster, service)]
        cluster.apply(*(client(f"client{node}", f"node{node}", *urls) for node in NODES))
        yield found


def available(cluster: Cluster) -> bool:
    status = cluster.get("/apis/apps/v1/namespaces/default/deployments/echo")["status"]
    return bool(status.get("availableReplicas", 0) == 2)


def addresses(cluster: Cluster, service: str) -> list[str]:
    """Of both families, as a client asks for them."""
    found = cluster.get(f"/api/v1/namespaces/default/services/{service}")["spec"]["clusterIPs"]
    return [f"http://[{address}]/" if ":" in address else f"http://{address}/" for address in found]


def pod_addresses(cluster: Cluster, pod: str) -> list[str]:
    return [each["ip"] for each in cluster.get(f"/api/v1/namespaces/default/pods/{pod}")["status"]["podIPs"]]


def heard(cluster: Cluster, pod: str, url: str, after: int = 0) -> dict[str, Any]:
    """The last answer that a client had to a question, once it has had more than so many."""
    found = [answer for answer in answers(cluster, pod) if answer["url"] == url]
    return found[-1] if len(found) > after else {}


def follows(cluster: Cluster, pod: str, url: str) -> dict[str, Any]:
    """The first answer after now that the route has touched."""
    before = len([answer for answer in answers(cluster, pod) if answer["url"] == url])

    def touched() -> dict[str, Any]:
        found = heard(cluster, pod, url, before)
        return found if "x-route" in found.get("headers", {}) else {}

    return cluster.wait(touched, f"{pod}: {url} follows the route")


def more(cluster: Cluster, pod: str) -> None:
    """Wait for an answer to each question."""
    before = len(answers(cluster, pod))
    cluster.wait(lambda: len(answers(cluster, pod)) >= before + 8, f"more answers of {pod}")


def on(installation: Installation, node: int, script: str) -> str:
    return on_node(process_of(installation.cluster, node), script)


def test_every_node_has_a_daemon_and_no_proxy_besides(installation: Installation) -> None:
    """Ready is who has an Envoy that serves, in the node's cgroup, and programs that are attached and pinned there."""
    assert {"node1", "node2"} == set(installation.ready("node").values())
    assert [] == installation.pods("proxy")
    for node in NODES:
        assert "from_network@" in on(installation, node, "ls /sys/fs/bpf/tidegate/*/links")
        assert 1 == len(on(installation, node, f"cat {CGROUP}/tidegate-envoy/cgroup.procs").split())
        assert "envoy_server_live" in on(installation, node, "curl -s http://127.0.0.1:15090/stats/prometheus")
        assert "tidegate_datapath_attached" in on(installation, node, "curl -s http://127.0.0.1:15091/metrics")


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_pods_call_to_a_service_follows_its_route(installation: Installation, node: int, family: int) -> None:
    """By the address of the Service alone: the route is applied by Envoy, which knows the pod by its own address."""
    cluster, pod = installation.cluster, f"client{node}"
    url, own = addresses(cluster, "routed")[family], pod_addresses(cluster, pod)[family]

    answer = follows(cluster, pod, url)

    assert (200, "applied", "envoy") == (answer["status"], answer["headers"]["x-route"], answer["headers"]["server"])
    assert [own] == answer["body"]["headers"]["X-Forwarded-For"]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_service_without_a_route_has_no_proxy(installation: Installation, node: int, family: int) -> None:
    """Its backends answer by themselves, of both nodes."""
    cluster, pod = installation.cluster, f"client{node}"
    url = addresses(cluster, "plain")[family]

    answer = cluster.wait(lambda: heard(cluster, pod, url), f"{pod}: an answer of {url}")

    assert (200, False) == (answer["status"], "server" in answer["headers"])
    assert "X-Forwarded-For" not in answer["body"]["headers"]


def test_status_finds_nothing_wrong(installation: Installation) -> None:
    """Envoys and daemons are connected and have accepted everything; `tidegate status` knows them as the nodes' own."""

    def answered() -> dict[str, Any]:
        code, content = installation.status()
        return content if code == 0 and not content["findings"] else {}

    content = installation.cluster.wait(answered, "tidegate status finds nothing")

    assert {"node1", "node2"} == {proxy["node"] for proxy in content["proxies"]}
    assert all(proxy["ready"] and proxy["envoy"] and proxy["streams"] for proxy in content["proxies"])


def test_nobody_is_denied_anything(installation: Installation) -> None:
    """The roles are enough: no log has a refusal, an exception or an error."""
    assert [] == installation.complaints()


def test_what_the_kernel_serves_goes_on_while_daemons_are_replaced(installation: Installation) -> None:
    """All daemons are replaced for another configuration; calls of a Service without a route never fail."""
    cluster = installation.cluster
    before = {pod["metadata"]["name"] for pod in installation.pods("node")}
    told = {node: len(answers(cluster, f"client{node}")) for node in NODES}
    urls = addresses(cluster, "plain")

    def replaced() -> bool:
        ready = installation.ready("node")
        return set(ready.values()) == {"node1", "node2"} and not before & set(ready)

    installation.upgrade({**VALUES, "datapath": {**VALUES["datapath"], "logLevel": "debug"}})
    cluster.wait(replaced, "other daemons on both nodes")
    for node in NODES:
        more(cluster, f"client{node}")
        for url in addresses(cluster, "routed"):
            follows(cluster, f"client{node}", url)
    later = [each for node in NODES for each in answers(cluster, f"client{node}")[told[node] :]]
    asked = [each for each in later if each["url"] in urls]

    assert [] == [each for each in asked if each.get("status") != 200]


def test_daemons_that_leave_take_everything_with_them(installation: Installation) -> None:
    """With `datapath.remove` programs, pins, rules, tables and Envoys are gone from every node."""
    cluster = installation.cluster
    installation.upgrade({**VALUES, "datapath": {**VALUES["datapath"], "remove": True}})
    cluster.wait(
        lambda: (
            set(installation.ready("node").values()) == {"node1", "node2"}
            and all("sleep" in pod["spec"]["containers"][0].get("command", ()) for pod in installation.pods("node"))
        ),
        "both nodes are cleaned up",
    )
    for node in NODES:
        assert "tidegate" not in on(installation, node, "ls /sys/fs/bpf")
        assert "2004" not in on(installation, node, "ip rule; ip -6 rule")
        assert "tidegate" not in on(installation, node, "nft list tables")
        assert "" == on(installation, node, f"ls -d {CGROUP}/tidegate-envoy 2>/dev/null || true")
        assert "from_workload" not in on(installation, node, "tc filter show dev eth0 ingress; ip -d link show")
