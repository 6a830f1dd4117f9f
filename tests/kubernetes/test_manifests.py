"""A real API server takes what the chart renders, refuses what the CRDs say it should, and grants what roles say."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import CHART, NAMESPACE, Object, objects, rendered
from xds_server.kube.client import Api, ApiError, credentials

APPLY = "application/apply-patch+yaml"
SETTINGS = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
CRDS = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "crds").glob("*.yaml"))]
HOME = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
# GatewayClasses, and objects for cert-manager and the Prometheus operator, need the CRDs of others.
VALUES: dict[str, Any] = {
    "gatewayClass": {"create": False},
    "cilium": {"ingressClass": True},
    "ingressClass": {"default": True},
    "exposure": {"namespaces": [NAMESPACE]},
    "monitoring": {"dashboards": {"enabled": True}},
}
CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "IngressClass"}
CLUSTER_SCOPED |= {"LoadBalancerIPPool"}


@pytest.fixture(scope="module")
def kubeconfig(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of an API server of this module's own."""
    program, directory = project / ".cluster" / "testcluster", tmp_path_factory.mktemp("cluster")
    if not program.is_file():
        pytest.fail(f"no test cluster at {program}: run `make cluster-binary`")
    process = subprocess.Popen(
        [program, "up", "--dir", directory, "--proxy=false"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("ready in")), "")

        assert said, "the test cluster ended before it was ready"
        yield directory / "kubeconfig-outside"
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
async def api(kubeconfig: Path) -> AsyncIterator[Api]:
    """With the namespace and the CRDs in place."""
    found = Api(await credentials(kubeconfig, None))
    try:
        for o in (HOME, *CRDS):
            await apply(found, o)
        async with asyncio.timeout(30):
            while not all([await served(found, crd) for crd in CRDS]):
                await asyncio.sleep(0.05)
        yield found
    finally:
        await found.close()


def path_of(o: Object) -> str:
    """Where an object is; plurals here are regular."""
    version, kind = o["apiVersion"], o["kind"].lower()
    plural = kind if kind.endswith("parameters") else re.sub(r"y$", "ie", kind) + ("es" if kind.endswith("ss") else "s")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = "" if o["kind"] in CLUSTER_SCOPED else f"/namespaces/{o['metadata'].get('namespace', NAMESPACE)}"
    return f"{root}{scope}/{plural}/{o['metadata']['name']}"


async def apply(api: Api, o: Object, **more: str) -> Object:
    body = json.dumps(o).encode()
    answer = await api.request("PATCH", path_of(o), params=SETTINGS | more, body=body, content_type=APPLY)
    taken: Object = json.loads(answer)
    return taken


async def served(api: Api, crd: Object) -> bool:
    spec = crd["spec"]
    try:
        await api.request("GET", f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}")
    except ApiError:
        return False
    return True


async def refusal(api: Api, kind: str, spec: Any) -> str:
    """Why the API server refuses an object of ours; "" when it takes it."""
    o = {"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    try:
        await apply(api, o, dryRun="All")
    except ApiError as error:
        return error.message
    return ""


DAEMONS: dict[str, Any] = {
    "gatewayClass": {"create": False},
    "datapath": {"enabled": True, "devices": ["eth0"], "seLinuxOptions": {"type": "spc_t"}},
}


@pytest.mark.parametrize(
    "values", [{"gatewayClass": {"create": False}}, VALUES, DAEMONS], ids=["default", "more", "daemons"]
)
async def test_the_api_server_takes_every_object(api: Api, values: dict[str, Any]) -> None:
    """Server-side apply with strict validation: no field is unknown, twice, or of another type."""
    for o in objects(rendered(values)):
        taken = await apply(api, o)

        assert o["metadata"]["name"] == taken["metadata"]["name"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"blocks": [{"cidr": "192.0.2.0/24"}, {"start": "2001:db8::1", "stop": "2001:db8::9"}]}, ""),
        ({"blocks": []}, "spec.blocks: Invalid value"),
        ({"blocks": [{}]}, "give either cidr, or start and stop"),
        ({"blocks": [{"cidr": "192.0.2.0/24", "start": "192.0.2.1"}]}, "give either cidr, or start and stop"),
        ({"blocks": [{"stop": "192.0.2.1"}]}, "spec.blocks[].stop: needs a start"),
        ({"blocks": [{"cidr": "192.0.2.0/33"}]}, "spec.blocks[].cidr: is not a network"),
        ({"blocks": [{"start": "192.0.2.256"}]}, "spec.blocks[].start: is not an IP address"),
        ({"blocks": [{"start": "192.0.2.1", "stop": "here"}]}, "spec.blocks[].stop: is not an IP address"),
        ({"blocks": [{"start": "192.0.2.1", "stop": "::1"}]}, "is of another address family than start"),
        ({"blocks": [{"start": "::1"}], "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
         "In and NotIn need at least one value"),
        ({"blocks": [{"start": "192.0.2.1"}], "allowFirstLastIPs": "Maybe"}, 'supported values: "Yes", "No"'),
    ],
)  # fmt: skip
async def test_pools_that_cannot_be_meant_are_refused(api: Api, spec: Any, said: str) -> None:
    """The message has the field and the way out."""
    found = await refusal(api, "LoadBalancerIPPool", spec)

    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("exposure", "said"),
    [
        ({"type": "Address"}, ""),
        ({"type": "Service", "service": {"externalTrafficPolicy": "Local"}}, ""),
        ({"type": "Service", "service": {"type": "NodePort", "nodePorts": [{"port": 80, "nodePort": 30080}]}}, ""),
        ({}, "spec.exposure.type: Required value"),
        ({"type": "HostPort", "service": {}}, "spec.exposure.service: is for type Service"),
        ({"type": "Service", "service": {"type": "NodePort", "loadBalancerClass": "x"}}, "is for type LoadBalancer"),
        ({"type": "Service", "service": {"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]}},
         "loadBalancerSourceRanges: is for type LoadBalancer"),
        ({"type": "Service", "service": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}},
         "externalTrafficPolicy: is for types LoadBalancer and NodePort"),
        ({"type": "Service", "service": {"type": "ClusterIP", "nodePorts": [{"port": 80, "nodePort": 30080}]}},
         "nodePorts: a ClusterIP has none"),
        ({"type": "Service", "service": {"type": "NodePort", "allocateLoadBalancerNodePorts": False}},
         "allocateLoadBalancerNodePorts: is for type LoadBalancer"),
        ({"type": "Service", "service": {"nodePorts": [{"port": 80, "nodePort": 1}] * 2}}, "duplicate entries for key"),
        ({"type": "Service", "service": {"loadBalancerSourceRanges": ["10.0.0.0"]}}, "is not a network"),
        ({"type": "Service", "service": {"labels": {"tidegate.dev/owner": "me"}}}, "say who owns the Service"),
        ({"type": "Service", "service": {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}},
         "two families need ipFamilyPolicy"),
    ],
)  # fmt: skip
async def test_parameters_that_cannot_be_meant_are_refused(api: Api, exposure: Any, said: str) -> None:
    """The message has the field and the way out."""
    found = await refusal(api, "GatewayParameters", {"exposure": exposure})

    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("account", "verb", "group", "resource", "namespace", "expected"),
    [
        ("tidegate-controller", "watch", "", "services", "", True),
        ("tidegate-controller", "watch", "", "secrets", "shop", True),
        ("tidegate-controller", "update", "", "secrets", NAMESPACE, False),
        ("tidegate-controller", "update", "gateway.networking.k8s.io", "gateways", "shop", False),
        ("tidegate-controller", "patch", "gateway.networking.k8s.io", "gateways/status", "shop", True),
        ("tidegate-controller", "create", "coordination.k8s.io", "leases", "shop", False),
        ("tidegate-controller", "create", "apps", "deployments", NAMESPACE, False),
        ("tidegate-certificates", "list", "", "secrets", NAMESPACE, False),
        ("tidegate-certificates", "create", "", "secrets", NAMESPACE, True),
        ("tidegate-proxy", "get", "", "pods", NAMESPACE, False),
        ("tidegate-proxy", "list", "", "services", NAMESPACE, False),
        ("tidegate-node", "get", "", "pods", NAMESPACE, False),
        ("tidegate-node", "list", "", "services", NAMESPACE, False),
    ],
)
async def test_accounts_may_what_they_must_and_no_more(
    api: Api, account: str, verb: str, group: str, resource: str, namespace: str, expected: bool
) -> None:
    """The API server's own authoriser is asked."""
    for o in objects(rendered({"gatewayClass": {"create": False}})):
        if "Role" in o["kind"]:
            await apply(api, o)
    async with asyncio.timeout(10):  # the authoriser learns of new roles by a watch of its own
        while not (
            await may(api, "tidegate-controller", "watch", "", "services", "")
            and await may(api, "tidegate-certificates", "create", "", "secrets", NAMESPACE)
        ):
            await asyncio.sleep(0.05)

    assert expected is await may(api, account, verb, group, resource, namespace)


async def may(api: Api, account: str, verb: str, group: str, resource: str, namespace: str) -> bool:
    plural, _, subresource = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{NAMESPACE}:{account}", "resourceAttributes": asked},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    allowed: bool = json.loads(await api.request("POST", path, body=json.dumps(review).encode()))["status"]["allowed"]
    return allowed
