"""The chart itself, on a cluster of two nodes: what pods are told and may do is what they need.

The tests of this module run in their order, on one installation: the last ones change it, and take it away.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import NAMESPACE
from tests.kubernetes.bookinfo import REPLICAS, VALUES
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.echo import ECHO
from tests.kubernetes.foreground import standing, walked
from tests.kubernetes.installation import Installation

GATEWAYS = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
CLUSTER_ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/tidegate-controller"

WEB = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: default}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: echo, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 3000}]}
"""


@pytest.fixture(scope="module")
def installation(cluster_binary: Path) -> Iterator[Installation]:
    """As `make cluster` has it, but for the example's own objects."""
    assert cluster_binary.is_file()
    with standing() as found:
        yield found


def condition(status: dict[str, Any], kind: str) -> str:
    return next((c["status"] for c in status.get("conditions", ()) if c["type"] == kind), "")


def asked(cluster: Cluster, address: str, node: int = 1) -> str:
    """The status code of a request from a node."""
    line = ["curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}", f"http://{address}/"]
    return cluster.run(line, node=node, check=False).stdout


def served(installation: Installation) -> str:
    """The address of the Gateway `web`, when it is programmed."""

    def address() -> str:
        status = installation.cluster.get(f"{GATEWAYS}/web")["status"]
        return status["addresses"][0]["value"] if condition(status, "Programmed") == "True" else ""

    return installation.cluster.wait(address, "Gateway web is Programmed")


def certificates(cluster: Cluster) -> dict[str, Any]:
    found = cluster.get(f"/api/v1/namespaces/{NAMESPACE}/secrets")["items"]
    return {secret["metadata"]["name"]: secret["data"] for secret in found if secret["type"] == "kubernetes.io/tls"}


def leader(cluster: Cluster) -> str:
    lease = cluster.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/tidegate-controller")
    return str(lease["spec"].get("holderIdentity", ""))


def test_everything_runs(installation: Installation) -> None:
    """The Job has made the certificates, the control plane and a proxy on each node are ready, and one leads."""
    jobs = installation.cluster.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")["items"]

    assert [1] == [job["status"].get("succeeded") for job in jobs]
    assert leader(installation.cluster) in installation.ready("controller")
    assert {"node1", "node2"} == set(installation.ready("proxy").values())


def test_a_gateway_is_served_on_every_node(installation: Installation) -> None:
    """The pool's address is in its status, it is programmed, and clients of either node are answered."""
    installation.cluster.apply(ECHO, WEB)
    address = served(installation)

    def both() -> bool:
        return [asked(installation.cluster, address, node) for node in (1, 2)] == ["200", "200"]

    assert installation.cluster.wait(both, "200 on both nodes")


def test_the_walk_through_sees_what_it_expects(installation: Installation) -> None:
    """`make demo-kubernetes`: every row of its table, W14 included, is as expected."""
    done = walked(installation.cluster, capture_output=True, text=True)

    assert (0, ", 0 different") == (done.returncode, done.stdout.strip()[-13:]), done.stdout + done.stderr


def test_labels_annotations_and_finalizers_are_the_users(installation: Installation) -> None:
    """An Ingress whose status was written is otherwise as its author has made it; a cleared status is cleared."""
    cluster = installation.cluster
    path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/kept"
    theirs = {"labels": {"team": "a"}, "annotations": {"example.com/b": "c"}, "finalizers": ["example.com/f"]}
    backend = {"service": {"name": "echo", "port": {"number": 80}}}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "kept", "namespace": "default", **theirs},
        "spec": {"ingressClassName": "tidegate", "defaultBackend": backend},
    }

    def addressed() -> list[Any]:
        return list(cluster.get(path)["status"].get("loadBalancer", {}).get("ingress", ()))

    cluster.apply(ingress)
    cluster.wait(addressed, "an address of the Ingress")
    written = cluster.get(path)["metadata"]
    cluster.patch(path, {"spec": {"ingressClassName": "other"}})
    cluster.wait(lambda: not addressed(), "no address of the Ingress")
    cleared = cluster.get(path)["metadata"]
    cluster.patch(path, {"metadata": {"finalizers": None}})
    cluster.delete(path)

    assert [theirs] * 2 == [{name: found[name] for name in theirs} for found in (written, cleared)]


def test_status_finds_nothing_wrong(installation: Installation) -> None:
    """Both proxies are connected and settled, and what they run is known."""

    def answered() -> dict[str, Any]:
        code, content = installation.status()
        well = code == 0 and not content["findings"] and len(content["controllers"]) == REPLICAS
        return content if well else {}

    content = installation.cluster.wait(answered, "tidegate status finds nothing")
    streams = [stream for proxy in content["proxies"] for stream in proxy["streams"]]

    assert 2 == len(content["proxies"]) == len(streams)
    assert 1 == len({controller["digest"] for controller in content["controllers"]})
    assert 1 == sum(controller["leads"] for controller in content["controllers"])
    assert 1 == len(content["installation"]["envoy"])
    assert all(of["settled"] and of["refused"] == 0 for stream in streams for of in stream["types"].values())
    assert "web" in [gateway["name"] for gateway in content["gateways"]]


def test_a_user_with_less_is_told_what_is_left_out(installation: Installation, tmp_path: Path) -> None:
    """Who may read Gateways alone sees those; of the rest nothing is concluded."""
    cluster = installation.cluster
    cluster.apply("""
apiVersion: v1
kind: ServiceAccount
metadata: {name: guest, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: guest}
rules:
- {apiGroups: [gateway.networking.k8s.io], resources: [gateways, gatewayclasses], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: guest}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: guest}
subjects: [{kind: ServiceAccount, name: guest, namespace: default}]
""")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = cluster.request("POST", "/api/v1/namespaces/default/serviceaccounts/guest/token", request)
    kubeconfig = yaml.safe_load(cluster.kubeconfig_outside.read_text())
    kubeconfig["users"][0]["user"] = {"token": token["status"]["token"]}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))

    code, content = installation.status(kubeconfig=str(path))

    assert (0, {"unknown"}) == (code, {finding["severity"] for finding in content["findings"]}), content["findings"]
    assert {"Deployment", "Ingress", "Lease", "Node", "Pod"} <= {finding["object"] for finding in content["findings"]}
    assert "web" in [gateway["name"] for gateway in content["gateways"]]


def test_nobody_is_denied_anything(installation: Installation) -> None:
    """The roles are enough: no log has a refusal, an exception or an error."""
    assert [] == installation.complaints()


def test_an_upgrade_changes_what_it_says_and_stops_no_request(installation: Installation) -> None:
    """Replicas are replaced one by one, the certificates stay, and clients notice nothing."""
    cluster, address = installation.cluster, served(installation)
    before = certificates(cluster)
    answers: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(asked(cluster, address))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        installation.upgrade({**VALUES, "controller": {"logLevel": "warning", "replicas": 2}})
        installation.wait_until_ready(controllers=2)
    finally:
        over.set()
        asking.join()
    after = certificates(cluster)

    assert {"200"} == set(answers)
    assert before == after
    assert cluster.wait(lambda: leader(cluster) in installation.ready("controller"), "one of the new replicas leads")
    assert all("--log-level=warning" in pod["spec"]["containers"][0]["args"] for pod in installation.pods("controller"))


def test_a_right_that_is_missing_is_noticed(installation: Installation) -> None:
    """Negative control: without one rule of the chart a log says so, and `tidegate status` what is not written."""
    cluster = installation.cluster
    rules = cluster.get(CLUSTER_ROLE)["rules"]
    lacking = [rule for rule in rules if "httproutes/status" not in rule["resources"]]
    assert len(rules) == len(lacking) + 1
    cluster.patch(CLUSTER_ROLE, {"rules": lacking})
    route = {"parentRefs": [{"name": "web"}], "hostnames": ["late.example.com"]}
    late = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "late"},
        "spec": route,
    }
    cluster.request("POST", ROUTES, late)

    denied = cluster.wait(installation.complaints, "a log says that something is forbidden")
    _, content = installation.status()
    cluster.patch(CLUSTER_ROLE, {"rules": rules})

    assert all("cannot patch resource" in line and "/status" in line for line in denied), denied
    assert ["nothing is written of its newest generation"] == [
        finding["message"] for finding in content["findings"] if finding["object"] == "HTTPRoute/default/late"
    ]


def test_what_an_uninstallation_leaves_is_what_the_page_says(installation: Installation, project: Path) -> None:
    """No pod, role or class of ours is left; definitions, pools, certificates and statuses are, by the labels named."""
    cluster = installation.cluster
    installation.uninstall()
    page = (project / "docs/install.md").read_text()
    kept = cluster.get(
        f"/api/v1/namespaces/{NAMESPACE}/secrets?labelSelector=app.kubernetes.io/managed-by%3Dtidegate-certificates"
    )
    roles = cluster.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]

    cluster.wait(lambda: not cluster.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"], "no pod of ours is left")

    assert [] == [role["metadata"]["name"] for role in roles if role["metadata"]["name"].startswith("tidegate")]
    assert None is cluster.get("/apis/gateway.networking.k8s.io/v1/gatewayclasses/tidegate")
    assert cluster.get("/apis/tidegate.dev/v1alpha1/loadbalancerippools/nodes") is not None
    assert {"tidegate-ca", "tidegate-xds-server", "tidegate-operator-admin"} == {
        secret["metadata"]["name"] for secret in kept["items"]
    }
    assert "True" == condition(cluster.get(f"{GATEWAYS}/web")["status"], "Programmed")
    assert "-l app.kubernetes.io/managed-by=tidegate-certificates" in page


def test_without_an_installation_status_says_how_to_make_one(installation: Installation) -> None:
    """The first line names what is missing and the way out."""
    done = subprocess.run(
        ["tidegate", "status", "--kubeconfig", installation.cluster.kubeconfig_outside],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    assert "Deployment/tidegate-system/tidegate-controller: is not there" in done.stdout
    assert "helm install tidegate deploy/chart" in done.stdout
