"""What is wrong with the machine around a daemon: it refuses to begin, or says so while it runs."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
import yaml

from datapath.kernel.layout import ServiceKey
from datapath.resources import SERVICE, WORKLOADS
from tests.bpf.daemon import Node, node, pods, web
from tests.bpf.lab import inside, run
from tests.bpf.stand import bpffs
from tests.unit.datapath.wire import response, service

WEB: Final = ServiceKey(ip_address("10.96.0.1"), 80, 6)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_of_two_daemons_one_wins(shared: Node) -> None:
    """B16: the other says which process has it, ends, and changes nothing."""
    await shared.until(lambda: f"to_network@{shared.index('up0')}" in shared.links())
    before = shared.links()

    code, said = await shared.ask()

    assert (1, True) == (code, f"a daemon runs already, process {shared.pid}, with" in said)
    assert before == shared.links()
    assert "n1" == (await shared.status())["node"]


async def test_another_bpf_file_system_hides_no_daemon(shared: Node, tmp_path: Path) -> None:
    """B16: they have no lock in common; what the first has in the kernel tells of it."""
    await shared.until(lambda: f"to_network@{shared.index('up0')}" in shared.links())
    other = shared.configured(tmp_path / "node.yaml", state=str(tmp_path / "state"), bpffs=str(tmp_path / "bpf"))

    with bpffs(tmp_path / "bpf"):
        code, said = await other.ask()

    assert (1, True) == (code, "another daemon works in this network namespace" in said)


async def test_an_address_for_metrics_is_had_first(tmp_path: Path, envoy: Path) -> None:
    """One that cannot be had is told before anything is in the kernel."""
    async with node(tmp_path, envoy) as made:
        with inside(made.namespace):
            taken = socket.create_server(("127.0.0.1", 0))
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        with taken:
            code, said = await made.configured(tmp_path / "metrics.yaml", metrics=metrics).ask()

        assert 2 == code
        assert f"metrics: {metrics}: Address already in use: name another address" in said
        assert set() == made.links()


async def test_an_address_for_metrics_that_the_node_has_not_is_nobody_elses(shared: Node, tmp_path: Path) -> None:
    """There is nobody to end, who has it."""
    other = {"state": str(tmp_path / "state"), "bpffs": str(tmp_path / "bpf"), "metrics": "203.0.113.9:9100"}

    with bpffs(tmp_path / "bpf"):
        code, said = await shared.configured(tmp_path / "node.yaml", **other).ask()

    assert (2, False) == (code, "who has it" in said)
    assert "metrics: 203.0.113.9:9100: Cannot assign requested address: name one that this node has" in said


async def test_a_process_at_a_services_port_is_told_of(shared: Node) -> None:
    """Of a port of every node, from outside, it gets nothing any more; it may be there from before."""
    with inside(shared.namespace):
        process = socket.create_server(("198.51.100.1", 8443))
    with process:
        host = service(("", 8443, ""), backends=[("10.1.0.1", 8443, 1)], external=True)
        await shared.ads.say(response(("gateway/default/edge/8443/TCP", host)))
        await shared.until(lambda: "a process listens at a port" in shared.log.read_text())
        findings = (await shared.status())["findings"]

    assert any("port 8443 of the node is gateway/default/edge/8443/TCP's" in each["what"] for each in findings)


async def test_status_says_what_is_wrong_and_what_to_do(shared: Node) -> None:
    """A service that cannot be used, by its name."""
    await shared.ads.say(response(("web", web("10.1.0.1")), ("bad", service(("127.0.0.1", 80, "")))))
    await shared.until(lambda: WEB in shared.services())

    code, said = await shared.ask("status")

    assert 1 == code
    assert "! Service bad is refused: frontends[0].address 127.0.0.1 is no address of a service" in said
    assert f"{SERVICE.rpartition('.')[2]}" in said


async def test_a_node_without_pods_says_so(daemon: Node) -> None:
    """In its log and among what is wrong: its name may be another than that in Kubernetes."""
    await daemon.ads.say(response(removed=["n1"], type_url=WORKLOADS))
    await daemon.until(lambda: b"the control plane has no pods for this node" in daemon.log.read_bytes())

    told = {each["what"] for each in (await daemon.status())["findings"]}

    assert "the control plane has no pods for node n1" in told


async def test_a_pod_without_a_link_is_told(daemon: Node) -> None:
    """No route leads to it: until one does, it is among what is wrong."""
    finding = "pod 10.1.0.9 has no link: no route of this node leads to it, or by the gateway of others"
    await daemon.ads.say(pods(a="10.1.0.9"))
    await daemon.told(finding)
    daemon.pod("pod9", "10.1.0.9/32")
    await daemon.until(lambda: {"10.1.0.9": daemon.index("pod9")} == daemon.pods())

    assert finding not in {each["what"] for each in (await daemon.status())["findings"]}


async def test_a_pod_with_another_link_is_told(daemon: Node) -> None:
    """With when it ends; it is among the pods that are to be in the kernel, and is not yet."""
    await daemon.ads.say(pods(a="10.1.0.9"))
    daemon.pod("before0", "10.1.0.9/32")
    await daemon.until(lambda: {"10.1.0.9": daemon.index("before0")} == daemon.pods())
    daemon.ip("link del before0")
    daemon.pod("after0", "10.1.0.9/32")
    what = "pod 10.1.0.9 is at another link than before, and nothing of it is steered"
    await daemon.told(what)
    found = await daemon.status()
    await daemon.ads.say(pods(a="10.1.0.9"))
    await daemon.told(what, over=True)
    [advice] = [each["do"] for each in found["findings"] if each["what"] == what]

    assert re.fullmatch(r"it is taken when its pod is named anew, or in \d+ s", advice)
    assert (1, 0) == (found["maps"]["workloads"]["desired"], found["maps"]["workloads"]["actual"])


async def test_envoys_address_for_metrics_is_free_first(tmp_path: Path, envoy: Path) -> None:
    """Else Envoy would end at once, again and again; one of ours may have it already."""
    async with node(tmp_path, envoy) as made:
        with inside(made.namespace):
            taken = socket.create_server(("127.0.0.1", 0))
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        fields = yaml.safe_load(made.config.read_text())["envoy"] | {"metrics": metrics}
        made.configured(made.config, envoy=fields)
        with taken:
            code, said = await made.ask()
        before = made.links()
        for streams in (1, 2):  # the second adopts the first one's Envoy
            made.start()
            await made.connected(streams)
            made.end()

        assert 2 == code
        assert f"envoy.metrics: {metrics}: Address already in use: name another address, or end who has it" in said
        assert set() == before


async def test_a_link_that_is_not_there_is_told(tmp_path: Path, envoy: Path) -> None:
    """In the log, too: once."""
    async with node(tmp_path, envoy, "up0", "nowhere0") as made:
        made.start()
        await made.connected(1)
        await made.ads.say(pods(a="10.1.0.1"))
        await made.until(lambda: "nowhere0" in made.log.read_text())
        findings = [each["what"] for each in (await made.status())["findings"]]

    assert any("nowhere0" in what for what in findings)
    assert 1 == made.log.read_text().count("nowhere0")


async def test_devices_that_leave_out_the_way_off_the_node_are_told(tmp_path: Path, envoy: Path) -> None:
    """In the log, too, once: from outside nobody is served. A port of what the route is by leads off, too."""
    what = "no link in `devices` leads off this node: default routes are by up0"
    async with node(tmp_path, envoy, "lo", "port0") as made:
        made.ip("link add port0 type veth peer name port1")
        made.ip("route add default via 198.51.100.254 dev up0")
        made.start()
        await made.connected(1)
        await made.told(what)
        said = made.log.read_text()
        made.ip("link add br0 type bridge")
        made.ip("link set port0 master br0")
        made.ip("link set br0 up")
        made.ip("route replace default dev br0")
        await made.told(what, over=True)

    assert 1 == said.count(what)


@pytest.mark.parametrize("bridge", ["", "br0"])
async def test_devices_that_name_the_link_of_a_pod_are_told(tmp_path: Path, envoy: Path, bridge: str) -> None:
    """And not that the pod has none: whether its address is routed there, or to the bridge that it is a port of."""
    async with node(tmp_path, envoy, "up0", "a0") as made:
        made.ip("link add br0 type bridge")
        made.ip("link set br0 up")
        made.plug("a0", bridge, "10.1.0.5/24")
        made.ip(f"route add 10.1.0.5/32 dev {bridge or 'a0'}")
        made.start()
        await made.connected(1)
        await made.ads.say(pods(a="10.1.0.5"))
        await made.told("`devices` names a0, which is the link of pod 10.1.0.5")
        findings = [each["what"] for each in (await made.status())["findings"]]

    assert 1 == len([what for what in findings if "10.1.0.5" in what])


async def test_an_address_that_the_node_has_not_is_told_and_not_used(tmp_path: Path, envoy: Path) -> None:
    """All else goes on by the others, and it is used as soon as a link has it."""
    what = "no link of this node has 198.51.100.9"
    async with node(tmp_path, envoy) as made:
        made.configured(made.config, addresses=["198.51.100.9", "198.51.100.1"])
        made.start()
        await made.connected(1)
        await made.told(what)
        before = [each["what"] for each in (await made.status())["findings"]]
        made.ip("addr add 198.51.100.9/24 dev up0")
        await made.told(what, over=True)

    assert not any("Invalid argument" in each for each in before)


async def test_an_envoy_of_another_state_directory_is_told(daemon: Node, tmp_path: Path) -> None:
    """It is in the same cgroup, so connections come to it, and nobody tells it anything."""
    members = daemon.cgroup / "tidegate-envoy/cgroup.procs"
    await daemon.until(lambda: members.exists() and members.read_text().split())
    [stray] = members.read_text().split()
    daemon.end(signal.SIGKILL)
    other = daemon.configured(tmp_path / "other.yaml", state=str(tmp_path / "other"))
    other.start()
    try:
        what = f"Envoys of another state directory are in this node's cgroup for Envoy: {stray}"
        await other.told(what)
    finally:
        other.end()


async def test_what_cannot_be_read_of_envoys_is_told_and_looked_for(daemon: Node) -> None:
    """By their cgroup: the one that runs is adopted."""
    members = daemon.cgroup / "tidegate-envoy/cgroup.procs"
    await daemon.until(lambda: [*(daemon.state / "envoy").glob("*.sock")])
    before = members.read_text()
    daemon.end(signal.SIGKILL)
    (daemon.state / "envoys.json").write_text("nonsense")
    daemon.start()
    await daemon.connected(2)
    await daemon.until(lambda: "envoy adopted" in daemon.log.read_text())

    assert "which Envoys run cannot be read, and is looked for" in daemon.log.read_text()
    assert before == members.read_text()


async def test_settings_that_nobody_knows_any_more_are_told(tmp_path: Path, envoy: Path) -> None:
    """For as long as what could not be read is there, for who can."""
    async with node(tmp_path, envoy) as made:
        made.state.mkdir(mode=0o700)
        (made.state / "sysctls.json").write_text("{")
        made.start()
        await made.connected(1)
        before = [each["what"] for each in (await made.status())["findings"]]
        damaged = made.state / "sysctls.json.damaged"
        damaged.unlink()
        after = [each["what"] for each in (await made.status())["findings"]]

    [told] = set(before) - set(after)
    assert told.endswith(f"{damaged} has what could not be read")


async def test_a_restart_of_envoy_that_cannot_be_is_told_to_who_asks(tmp_path: Path, envoy: Path) -> None:
    """On a full disk: where, why, and whether another one serves; once there is room it can be."""
    async with node(tmp_path, envoy) as made:
        with small_disk(made.state):
            await begin(made)
            fill(made.state / "full")
            code, said = await made.ask("restart-envoy")
            (made.state / "full").unlink()
            done, _ = await made.ask("restart-envoy")
            await made.ask("cleanup", "--force")

    assert (1, 0) == (code, done)
    assert f"no new Envoy, and none serves: Envoy cannot be started: {made.state}/envoy" in said
    assert "No space left on device" in said


async def test_a_full_disk_keeps_nothing_from_being_taken_away(tmp_path: Path, envoy: Path) -> None:
    """A clean-up needs to write nothing, and takes what has become something else, too."""
    async with node(tmp_path, envoy) as made:
        with small_disk(made.state):
            await begin(made)
            made.end(signal.SIGKILL)
            for name in ("envoys.json", "accepted.json"):
                (made.state / name).unlink(missing_ok=True)
                (made.state / name).mkdir()
            fill(made.state / "full")
            code, said = await made.ask("cleanup", "--force")

        assert (0, True) == (code, "nothing of Tidegate is left" in said)
        assert set() == made.links()


async def begin(made: Node) -> None:
    """Until its Envoy runs, too."""
    made.start()
    await made.connected(1)
    await made.until(lambda: [*(made.state / "envoy").glob("*.sock")])


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    try:
        yield
    finally:
        run("umount", "--lazy", str(folder))


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as full:
        try:
            while True:
                full.write(bytes(4096))
        except OSError:
            pass
