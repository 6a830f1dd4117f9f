"""The API server as the source of a whole control plane, and of the commands that read it once."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.featuretests.manifests import GATEWAY_CLASS, INGRESS_CLASS, ROUTE, gateway, service
from tests.featuretests.proxy import connected
from tests.kube_api import PATIENCE_S, KubeApi, Refusal
from tests.unit.ingestion import tls
from xds_server.app import ControlPlane, reading
from xds_server.cli import main
from xds_server.config import Cluster, Config
from xds_server.graph import Changes
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import LISTENER, SECRET, WORKLOADS
from xds_server.proto.tidegate.datapath.v1.datapath_pb2 import Workloads

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, annotations: {nginx.ingress.kubernetes.io/custom-headers: default/headers}}
spec:
  ingressClassName: tidegate
  rules: [{http: {paths: [{path: /shop, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
"""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: headers}
data: {x-frame-options: DENY}
"""
POOL = """
apiVersion: tidegate.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: all, namespace: ""}
spec: {blocks: [{cidr: 192.0.2.0/24}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-a, containers: [{name: web, image: web}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
"""
GATEWAY = gateway(secret="pair")
WORLD = (GATEWAY_CLASS, GATEWAY, ROUTE, service("10.0.0.1"), INGRESS_CLASS, INGRESS, CONFIG_MAP, POOL)


def secret(name: str = "pair", which: int = 0) -> str:
    return "apiVersion: v1" + tls.secret(name, crt=tls.chain(which=which), key=tls.private(which=which))


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        kube.apply(*WORLD, secret())
        yield kube


class Mesh:
    """A control plane that reads the API server, and what its commits have served so far."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, self.changed = plane, asyncio.Event()
        self.served: list[set[str]] = []
        plane.observers.append(self._committed)

    def _committed(self, _: Changes) -> None:
        names = {key.name for key in self.plane.pipeline.resources if key.type_url == LISTENER}
        self.served.append(names)
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def bodies(self, type_url: str) -> list[bytes]:
        return [resource.body for key, resource in sorted(self.plane.pipeline.resources.items()) if key[0] == type_url]


@asynccontextmanager
async def mesh(
    kube: KubeApi, directory: Path, *, cilium_pools: bool = False, datapath: bool = False
) -> AsyncIterator[Mesh]:
    cluster = Cluster(kube.kubeconfig(directory / "kubeconfig"), cilium_pools=cilium_pools)
    plane = ControlPlane(Config(cluster=cluster, state=directory, admin="", datapath=datapath))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(reading(plane, cluster))
        await stack.enter_async_context(plane.serving())
        running = [asyncio.ensure_future(plane.run()), asyncio.ensure_future(plane.watch())]
        made = Mesh(plane)
        try:
            yield made
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


@pytest.mark.parametrize("reads", [False, True])
async def test_pools_of_cilium_are_listed_only_when_told_to(kube: KubeApi, tmp_path: Path, *, reads: bool) -> None:
    """Without the right to list them the control plane is ready, for it does not ask; with the flag they are pools."""
    pool = POOL.replace("tidegate.dev/v1alpha1", "cilium.io/v2").replace(
        "LoadBalancerIPPool", "CiliumLoadBalancerIPPool"
    )
    kube.apply(pool.replace("name: all", "name: theirs").replace("192.0.2.0", "198.51.100.0"))
    if not reads:
        kube.script("ciliumloadbalancerippools", "list", *[Refusal(403, "Forbidden")] * 100)
    async with mesh(kube, tmp_path, cilium_pools=reads) as made:
        await made.plane.loaded.wait()
        asked = any(request.resource == "ciliumloadbalancerippools" for request in kube.requests)

    assert reads == asked


@pytest.mark.parametrize("reads", [False, True])
async def test_pods_are_listed_only_where_nodes_have_daemons(kube: KubeApi, tmp_path: Path, *, reads: bool) -> None:
    """There are many of them, and without a daemon nobody is told; with one they are followed."""
    kube.apply(POD)
    if not reads:
        kube.script("pods", "list", *[Refusal(403, "Forbidden")] * 100)
    async with mesh(kube, tmp_path, datapath=reads) as made:
        await made.plane.loaded.wait()
        asked = any(request.resource == "pods" for request in kube.requests)
        before = made.bodies(WORKLOADS)
        if reads:
            kube.apply(POD.replace("name: web", "name: more").replace("10.0.0.1", "10.0.0.2"))
            await made.until(lambda: made.bodies(WORKLOADS) != before)
        [*found] = (len(Workloads.FromString(body).workloads) for body in (*before, *made.bodies(WORKLOADS)))

    assert (reads, [1, 2] if reads else []) == (asked, found)


async def test_the_api_server_and_a_directory_are_served_alike(kube: KubeApi, tmp_path: Path) -> None:
    """The same objects from either come to the same resources, byte for byte."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for number, text in enumerate((*WORLD, secret())):
        (manifests / f"{number}.yaml").write_text(text)
    other = ControlPlane(Config(manifests=(manifests,), state=tmp_path))
    other.load()
    async with mesh(kube, tmp_path) as made:
        await made.plane.loaded.wait()
        expected, found = dict(other.pipeline.resources), dict(made.plane.pipeline.resources)

    assert expected == found
    assert 9 == len(found)  # two listeners of the Gateway, one of the Ingress, their tables, a backend, a Secret


async def test_nothing_is_served_before_everything_was_read(kube: KubeApi, tmp_path: Path) -> None:
    """X15: a proxy that connects early waits, however long the last kind or Secret takes; readiness says for what."""
    kube.script("services", "list", "silent")
    kube.script("secrets", "list", *[Refusal(500)] * 2)
    socket = f"unix:{tmp_path / 'xds.sock'}"
    async with mesh(kube, tmp_path) as made, connected(socket, lambda _: ()) as proxy:
        await kube.until(lambda: any(asked.query.get("watch") and "gateways" in asked.path for asked in kube.requests))
        assert ([], False) == (proxy.responses, made.plane.streams.ready)
        assert "waiting for the API server: " in made.plane.source.awaited()
        await kube.stop()
        await kube.start()
        await proxy.until(lambda: any(each.type_url == LISTENER for each in proxy.responses))
        [first] = [each for each in proxy.responses if each.type_url == LISTENER][:1]

    assert ["443", "80", "80"] == sorted(found.name.split("/")[-2] for found in first.resources)


async def test_an_api_server_that_is_away_takes_nothing_away(kube: KubeApi, tmp_path: Path) -> None:
    """R4: what was read is served on and the process stays ready; the age is told."""
    async with mesh(kube, tmp_path) as made:
        await made.plane.loaded.wait()
        before = dict(made.plane.pipeline.resources)
        await kube.stop()
        probes = made.plane.probes()

        assert ("", before) == (probes.ready(), dict(made.plane.pipeline.resources))
        assert "HTTPRoute: last heard of " in probes.remark()
        assert b'tidegate_source_age_seconds{kind="HTTPRoute"}' in made.plane.metrics.exposition()
        assert b'tidegate_source_objects{kind="HTTPRoute"} 1.0' in made.plane.metrics.exposition()

        await kube.start()
        kube.apply(ROUTE.replace("name: web}\nspec", "name: late}\nspec"))
        await made.until(lambda: ObjectRef("HTTPRoute", "default", "late") in made.plane.pipeline.statuses)


async def test_a_new_reference_takes_no_listener_away(kube: KubeApi, tmp_path: Path) -> None:
    """A Gateway that names another Secret is served with the one before until the answer is there."""
    kube.apply(secret("next", which=1))
    kube.script("secrets", "list", None, *[Refusal(500)] * 2)
    async with mesh(kube, tmp_path) as made:
        await made.plane.loaded.wait()
        made.served.clear()
        kube.apply(GATEWAY.replace("pair", "next"))
        key = tls.private(which=1)
        await made.until(lambda: any(key in body for body in made.bodies(SECRET)))

        assert all({"80", "443"} <= {name.split("/")[-2] for name in names} for names in made.served)
        assert ["default/next"] == [f"{ref.namespace}/{ref.name}" for ref in made.plane.pipeline.sources.secrets]


async def test_a_secret_that_does_not_exist_is_told(kube: KubeApi, tmp_path: Path) -> None:
    """After the answer that there is none the listener has a condition; once there is one, it is served."""
    kube.delete("Secret", "default", "pair")
    gateway = ObjectRef("Gateway", "default", "web")
    async with mesh(kube, tmp_path) as made:
        await made.plane.loaded.wait()
        verdicts = made.plane.pipeline.statuses[gateway].verdicts
        messages = [condition.message for verdict in verdicts for condition in verdict.conditions]
        assert any("Secret/default/pair: does not exist" in message for message in messages), messages
        kube.apply(secret())
        await made.until(lambda: bool(made.bodies(SECRET)))


# --- the commands -----------------------------------------------------------------------------------------------------


class Command:
    """Runs the command beside the server; `text` and `error` are what it printed last."""

    def __init__(self, kube: KubeApi, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._kubeconfig, self._capsys = str(kube.kubeconfig(directory / "kubeconfig")), capsys
        self.text = self.error = ""

    async def __call__(self, command: str, *arguments: str) -> int:
        code = await asyncio.to_thread(main, [command, "--kubeconfig", self._kubeconfig, *arguments])
        self.text, self.error = self._capsys.readouterr()
        return code


@pytest.fixture
def command(kube: KubeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(kube, tmp_path, capsys)


async def test_check_reads_a_live_cluster(kube: KubeApi, command: Command) -> None:
    """One list of each kind and each Secret that is referred to, then the report of manifests."""
    assert 0 == await command("check", "-o", "json")
    conditions = json.loads(command.text)["conditions"]
    kinds = {"Gateway", "GatewayClass", "HTTPRoute", "Ingress", "LoadBalancerIPPool"}
    assert kinds == {each["kind"] for each in conditions}
    lists = [asked for asked in kube.requests if asked.plain == "GET httproutes"]
    assert (1, []) == (len(lists), [asked for asked in kube.requests if "watch" in asked.query])
    assert ["/api/v1/namespaces/default/secrets/pair"] == [a.path for a in kube.requests if a.resource == "secrets"]


async def test_check_tells_what_cannot_be_read(kube: KubeApi, command: Command) -> None:
    """An object with a field of another type is a problem with its field; a Secret without the right, a condition."""
    kube.script("secrets", "get", Refusal(403, "Forbidden"))
    broken = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "broken"}}
    kube.apply({**broken, "spec": {"hostnames": "a.example"}})

    assert 1 == await command("check", "-o", "json")
    content = json.loads(command.text)
    [problem] = content["problems"]
    assert ("broken", "spec.hostnames") == (problem["name"], problem["field"])
    assert any("let this user get secrets" in each["message"] for each in content["conditions"])


async def test_explain_reads_a_live_cluster(command: Command) -> None:
    """What a request would meet, by the objects of the server."""
    assert 0 == await command("explain", "GET", "http://a.example/", "--parent", "Gateway/default/web")
    assert "10.0.0.1:8080" in command.text


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refusal(403, "Forbidden"), "this user may not list httproutes.gateway.networking.k8s.io: bind a role"),
        (Refusal(401, "Unauthorized"), "cannot list httproutes.gateway.networking.k8s.io: it does not know this user"),
        (Refusal(500, "Broken"), "cannot list httproutes.gateway.networking.k8s.io: 500 Broken"),
    ],
)
async def test_a_refused_list_names_resource_and_verb(
    kube: KubeApi, command: Command, refusal: Refusal, expected: str
) -> None:
    """The error says what may not be done and what to do."""
    kube.script("httproutes", "list", refusal)

    assert 2 == await command("check")
    assert expected in command.error


async def test_a_server_that_cannot_be_reached_is_named(kube: KubeApi, command: Command) -> None:
    """So is the flag that names another."""
    await kube.stop()

    assert 2 == await command("check")
    assert f"the API server {kube.host} cannot be reached" in command.error
    assert "--kubeconfig" in command.error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check"], "give -f DIR for manifests, or --kubernetes"),
        (["check", "-f", ".", "--kubernetes"], "two sources: give one"),
        (["check", "--kubeconfig", "/nowhere"], "--kubeconfig /nowhere: there is no such file"),
    ],
)
def test_a_source_is_named_once(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    """None, two, or one that is not there is wrong usage."""
    assert 2 == main(arguments)
    assert expected in capsys.readouterr().err


def descriptors(pid: int) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


async def test_serve_follows_a_cluster_and_ends_in_order(kube: KubeApi, tmp_path: Path) -> None:
    """The command itself: a proxy gets what the API server has, SIGTERM is a clean end.

    It has as many descriptors as it may have, and one author's thousand references to nothing need few of them.
    """
    references = [{"name": f"none{number}"} for number in range(64)]
    listeners = [
        {"name": f"l{port}", "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": references}}
        for port in range(8001, 8005)
    ]
    for number in range(5):
        kube.apply(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": {"name": f"greedy{number}", "namespace": f"tenant{number}"},
                "spec": {"gatewayClassName": "tidegate", "listeners": listeners},
            }
        )
    flags = ("--kubeconfig", str(kube.kubeconfig(tmp_path / "kubeconfig")), "--state", str(tmp_path / "state"))
    server = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        'ulimit -Sn 100; ulimit -Hn 250; exec "$0" "$@"',
        "tidegate",
        "serve",
        *flags,
        "--admin",
        "off",
        "--log-format",
        "json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert server.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while b'"serving"' not in (line := await server.stdout.readline()):
            assert line, "it ended"
        async with connected(f"unix:{tmp_path / 'state' / 'xds.sock'}", lambda _: ()) as proxy:
            await proxy.until(lambda: sum(key.type_url == LISTENER for key in proxy.held) == 3)
        limits, used = resource.prlimit(server.pid, resource.RLIMIT_NOFILE), descriptors(server.pid)
        asked = {(each.path, each.query.get("fieldSelector")) for each in kube.requests if each.resource == "secrets"}
        server.terminate()
        rest = await server.stdout.read()
        assert (0, False) == (await server.wait(), b"Traceback" in rest)
    assert ((250, 250), True) == (limits, used < 200)
    assert 5 * 64 < len(asked)
