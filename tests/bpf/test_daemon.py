"""The node daemon and a real kernel: what it makes, keeps, repairs and takes away."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from datapath.ageing import translated_by
from datapath.control import asked
from datapath.instances import start_of
from datapath.intercept import MOST_SLOTS
from datapath.kernel.layout import (
    CONNECTIONS,
    TRANSLATIONS,
    Backend,
    Connection,
    Flow,
    Progress,
    Reason,
    ServiceKey,
    Translation,
)
from datapath.kernel.libbpf import call
from datapath.kernel.maps import opened
from datapath.kernel.programs import cgroup_id, running
from datapath.resources import ANNOUNCEMENTS
from tests.bpf.daemon import Node, node, pods, web
from tests.unit.datapath.wire import packed, response, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

WEB = ServiceKey(ip_address("10.96.0.1"), 80, 6)


pytestmark = pytest.mark.asyncio(loop_scope="module")


def backend(address: str) -> Backend:
    return Backend(ip_address(address), 8080)


async def test_what_is_accepted_is_in_the_kernel_and_survives_the_daemon(daemon: Node) -> None:
    """B1, B2: killed again and again, also while nobody serves it: at no look is a service away or less than whole."""
    await daemon.ads.say(response(("web", web("10.1.0.1", "10.1.0.2"))))
    await daemon.until(lambda: WEB in daemon.services())
    seen, over = [], asyncio.Event()

    async def look() -> None:
        while not over.is_set():
            seen.append(daemon.services().get(WEB))
            await asyncio.sleep(0.01)

    looking = asyncio.ensure_future(look())
    for streams in (2, 3):
        daemon.end(signal.SIGKILL)
        daemon.start()
        await daemon.connected(streams)
        await daemon.ads.say(response(("web", web("10.1.0.1", f"10.1.0.{streams}"))))
        await daemon.until(lambda: [backend("10.1.0.1"), backend(f"10.1.0.{streams}")] == daemon.services()[WEB])  # noqa: B023  # awaited here
    over.set()
    await looking

    assert {2} == {len(found or ()) for found in seen}
    assert None not in {each for found in seen for each in found or ()}


async def test_what_is_acknowledged_is_in_the_kernel(daemon: Node) -> None:
    """At the moment at which a server hears that a service was accepted, connections to it are balanced."""
    await daemon.ads.say(response(("web", web("10.1.0.1"))))
    answer = (await daemon.ads.until(4))[-1]
    held = daemon.services()

    assert (False, {WEB: [backend("10.1.0.1")]}) == (answer.HasField("error_detail"), held)


async def test_a_full_map_is_a_refusal(daemon: Node) -> None:
    """Of what does not fit: by name, field and way out; what fits later is asked for again, to be acknowledged."""
    backends, most = [("10.1.0.1", 8080, 1), ("10.1.0.2", 8080, MOST_SLOTS - 1)], (1 << 19) // MOST_SLOTS
    names = [f"s{number}" for number in range(100, 100 + most + 10)]
    services = [service((f"10.97.{i >> 8}.{i & 255}", 80, ""), backends=backends) for i in range(len(names))]
    await daemon.ads.say(response(*zip(names, services, strict=True)))
    refusal = (await daemon.ads.until(4))[-1].error_detail.message
    await daemon.ads.say(response(removed=names[:10]))
    acceptance, again = (await daemon.ads.until(6))[-2:]

    why = "backends (map backends): the map is full: serve fewer, or run a version with larger maps"
    assert [f"{name}: {why}" for name in names[most:]] == refusal.split("; ")
    assert (False, names[most:]) == (acceptance.HasField("error_detail"), list(again.resource_names_subscribe))


async def test_addresses_that_are_too_many_to_announce_are_refused(tmp_path: Path, envoy: Path) -> None:
    """As services are: by name, field and way out; one that is announced less is acknowledged."""
    addresses = [pb.Announcement(address=packed(f"10.98.{i >> 8}.{i & 255}")) for i in range(4096)]
    async with node(tmp_path, envoy, "up0", "up1") as made:
        made.start()
        await made.connected(1)
        await made.ads.say(response(("n1", pb.Announcements(announcements=addresses)), type_url=ANNOUNCEMENTS))
        refusal = (await made.ads.until(4))[-1].error_detail.message
        few = response(("n1", pb.Announcements(announcements=addresses[:9])), type_url=ANNOUNCEMENTS, version="2")
        await made.ads.say(few)
        answer = (await made.ads.until(5))[-1]

    assert (True, True) == (refusal.startswith("n1: announcements: "), "announce fewer addresses" in refusal)
    assert ("n", False) == (answer.response_nonce, answer.HasField("error_detail"))


async def test_status_shows_no_half_of_a_change(daemon: Node) -> None:
    """Asked while thousands of services come and go, it tells of a moment in which all were there, or none."""
    number, control = 4000, daemon.state / "control.sock"
    names = {
        f"s{i}": service((f"10.97.{i >> 8}.{i & 255}", 80, ""), backends=[("10.1.0.1", 8080, 1)]) for i in range(number)
    }
    seen = set()
    for turn in range(4):
        await daemon.ads.say(response(*names.items()) if turn % 2 == 0 else response(removed=names))
        while len(daemon.ads.streams[-1]) < 4 + turn:
            [found] = await asyncio.to_thread(lambda: list(asked(control, {"ask": "status"})))
            seen.add((found["maps"]["svc"]["desired"], found["maps"]["svc"]["actual"]))

    assert {(0, 0), (number, number)} == seen


async def test_a_daemon_that_nobody_serves_does_what_it_did(daemon: Node) -> None:
    """From the file of what was accepted; and what it had is not taken from the kernel because a server has less."""
    await daemon.ads.say(response(("web", web("10.1.0.1"))))
    await daemon.until(lambda: WEB in daemon.services())
    daemon.end()
    held = daemon.services()
    daemon.start()
    await daemon.connected(2)
    await daemon.ads.say(response())
    found = await daemon.status()

    assert held == daemon.services()
    assert {"desired": 1, "actual": 1, "capacity": 131072} == found["maps"]["svc"]


async def test_programs_follow_the_links_of_pods(shared: Node) -> None:
    """B6: a link that comes later is found, and what is gone leaves no entry and no pin."""
    await shared.ads.say(pods(a="10.1.0.5", b="10.1.0.6"))
    shared.pod("a0", "10.1.0.5/32")
    await shared.until(lambda: f"from_workload@{shared.index('a0')}" in shared.links())
    index = shared.index("a0")
    there = shared.pods()
    shared.ip("link del a0")
    await shared.until(lambda: f"from_workload@{index}" not in shared.links())
    await shared.until(lambda: {} == shared.pods())

    assert {"10.1.0.5": index} == there


async def test_an_address_that_is_used_again_is_not_the_old_pods(shared: Node) -> None:
    """B6: at another link it is known as nobody's until another pod is named that has it."""
    shared.pod("r0", "10.1.3.5/32")
    await shared.ads.say(pods(old="10.1.3.5"))
    await shared.until(lambda: {"10.1.3.5": shared.index("r0")} == shared.pods())
    shared.ip("link del r0")
    shared.pod("r1", "10.1.3.5/32")
    await shared.until(lambda: "address at another link" in shared.log.read_text())
    await shared.until(lambda: {} == shared.pods())
    programs = [link for link in shared.links() if link.endswith(f"@{shared.index('r1')}")]
    await shared.ads.say(pods(new="10.1.3.5"))
    await shared.until(lambda: {"10.1.3.5": shared.index("r1")} == shared.pods())
    shared.ip("link del r1")

    assert [] == programs


async def test_a_pod_of_another_node_has_no_link_here(shared: Node) -> None:
    """It is behind a gateway, or at an address of the node itself."""
    shared.ip("route add 10.2.0.0/24 via 198.51.100.2")
    shared.pod("near0", "10.1.7.5/32")
    await shared.ads.say(pods(far="10.2.0.5", host="198.51.100.1", near="10.1.7.5"))
    await shared.until(lambda: "10.1.7.5" in shared.pods())

    assert {"10.1.7.5"} == set(shared.pods())


async def test_a_detached_program_is_put_back(shared: Node) -> None:
    """B7: whoever detached it."""
    pin = shared.pins.links / f"from_network@{shared.index('up0')}"
    await shared.until(lambda: running(pin, shared.pins) if pin.exists() else None)
    link = call("bpf_obj_get", str(pin), os.fsencode(pin))
    call("bpf_link_detach", str(pin), link)
    os.close(link)

    gone = running(pin, shared.pins)
    await shared.until(lambda: running(pin, shared.pins))

    assert None is gone
    assert "detached by somebody else" in shared.log.read_text()


async def test_pins_and_control_are_closed_to_others(shared: Node) -> None:
    """B14: only root may look at or change what connections go by."""
    await shared.until((shared.state / "control.sock").exists)
    folders = (shared.pins.bpffs / "tidegate", shared.pins.maps, shared.pins.links, shared.state)

    assert {0o700} == {stat.S_IMODE(folder.stat().st_mode) for folder in folders}
    assert 0o600 == stat.S_IMODE((shared.state / "control.sock").stat().st_mode)


async def test_cleanup_leaves_nothing(daemon: Node) -> None:
    """B17: refused while a daemon runs; then no program, map, rule, route, table, cgroup, Envoy or file is left."""
    await daemon.ads.say(response(("web", web("10.1.0.1"))))
    await daemon.until(lambda: WEB in daemon.services() and _rules(daemon))
    envoys = (daemon.cgroup / "tidegate-envoy/cgroup.procs").read_text().split()

    refused, _ = await daemon.ask("cleanup")
    done, said = await daemon.ask("cleanup", "--force")

    assert (1, 0, True) == (refused, done, "nothing of Tidegate is left" in said)
    assert 1 == len(envoys)
    assert None is start_of(int(envoys[0]))
    assert [] == [each.name for each in (daemon.pins.bpffs / "tidegate").glob("*")]
    assert ("", "", False) == (_rules(daemon), _tables(daemon), (daemon.cgroup / "tidegate-envoy").exists())
    assert [] == [each.name for each in daemon.state.iterdir()]


async def test_cleanup_works_without_a_daemon(daemon: Node) -> None:
    """After it was killed, too."""
    await daemon.until(lambda: _rules(daemon))
    daemon.end(signal.SIGKILL)

    code, _ = await daemon.ask("cleanup")

    assert (0, "", set()) == (code, _rules(daemon), daemon.links())


async def test_a_daemon_that_does_not_answer_is_named_and_ended(daemon: Node) -> None:
    """It is stopped, as by a debugger: who asks is told its process in the end, and --force takes it away."""
    await daemon.until(lambda: _rules(daemon))
    pid = int((daemon.state / "node.lock").read_text())
    os.kill(pid, signal.SIGSTOP)

    code, said = await daemon.ask("status")
    cleaned, _ = await daemon.ask("cleanup", "--force")

    assert (1, True) == (code, f"process {pid} listens, and does not answer" in said)
    assert (0, -signal.SIGKILL, set()) == (cleaned, daemon.end(), daemon.links())


async def test_cleanup_works_without_the_state_directory(daemon: Node) -> None:
    """What is pinned is found all the same, and so is Envoy by its cgroup; nothing is made for it."""
    procs = daemon.cgroup / "tidegate-envoy/cgroup.procs"
    await daemon.until(lambda: _rules(daemon) and [*(daemon.state / "envoy").glob("*.sock")])  # it has read its files
    [envoy] = procs.read_text().split()
    daemon.end(signal.SIGKILL)
    shutil.rmtree(daemon.state)

    code, said = await daemon.ask("cleanup")

    assert (0, True, None) == (code, f"removed Envoy, process {envoy}" in said, start_of(int(envoy)))
    assert (set(), "", False) == (daemon.links(), _rules(daemon), daemon.state.exists())


async def test_what_was_attached_to_another_cgroup_is_detached(daemon: Node) -> None:
    """Its configuration names another one now: links of the one before go, and Envoy runs in the new one."""
    await daemon.until(lambda: f"connect4@{cgroup_id(daemon.cgroup)}" in daemon.links())
    await daemon.ads.say(pods())
    before, inner = cgroup_id(daemon.cgroup), daemon.cgroup / "inner"
    daemon.end()
    inner.mkdir()
    daemon.config.write_text(daemon.config.read_text().replace(f"cgroup: {daemon.cgroup}", f"cgroup: {inner}"))
    daemon.start()
    await daemon.connected(2)
    await daemon.ads.say(pods())
    await daemon.until(lambda: f"connect4@{cgroup_id(inner)}" in daemon.links())
    await daemon.until(lambda: not [link for link in daemon.links() if link.endswith(f"@{before}")])
    await daemon.until((inner / "tidegate-envoy/cgroup.procs").read_text)
    listening = {link for link in daemon.links() if link.startswith("listen@")}
    await daemon.ask("cleanup", "--force")
    inner.rmdir()
    (daemon.cgroup / "tidegate-envoy").rmdir()

    assert 1 == len(listening)


def _rules(daemon: Node) -> str:
    command = ["ip", "-n", daemon.namespace, "rule", "show", "pref", "9"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _tables(daemon: Node) -> str:
    command = ["nsenter", f"--net=/run/netns/{daemon.namespace}", "nft", "list", "tables"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_connections_that_are_over_are_forgotten(daemon: Node) -> None:
    """With all that is translated for them; who asks is told what there is, and what there was."""
    client, gateway, backend, own = map(ip_address, ("198.51.100.7", "203.0.113.1", "10.2.0.8", "198.51.100.1"))
    over, kept = (Flow(client, gateway, port, 80, 6) for port in (4000, 4001))
    now_s, progress = int(time.monotonic()), Progress.REPLIED | Progress.ESTABLISHED
    daemon.end()
    with opened(CONNECTIONS, daemon.pins.maps) as connections, opened(TRANSLATIONS, daemon.pins.maps) as translations:
        for flow, port, idle_s in ((over, 61000, 8000), (kept, 61001, 5)):
            entry = Connection(backend, 8080, 1, 1, 0, own, port)
            connections.put(flow, entry)
            value = Translation(client, flow.source_port, Reason.RETURNED, progress, (now_s - idle_s) % 2**32)
            translations.put_all((key, value) for key in translated_by(flow, entry))
        daemon.start()
        await daemon.connected(2)
        await daemon.until(lambda: [kept] == [flow for flow, _ in connections.items()])
        left = {key for key, _ in translations.items()}
    _, maps = await daemon.ask("maps")
    _, records = await daemon.ask("maps", "-o", "json")
    found = (await daemon.status())["connections"]

    assert 3 == len(left)
    assert (
        "connection 198.51.100.7:4001 -> 203.0.113.1:80/tcp: 10.2.0.8:8080 as 198.51.100.1:61001, established" in maps
    )
    [kept_record] = [each for each in map(json.loads, records.splitlines()) if each["map"] == "connection"]
    assert ("10.2.0.8:8080", "established") == (kept_record["backend"], kept_record["state"])
    assert ({"established": 1}, {"established": 1}, 3) == (
        found["states"],
        found["aged"],
        found["translations"]["actual"],
    )


async def test_cleanup_ends_the_envoy_of_another_state_too(daemon: Node, tmp_path: Path) -> None:
    """What is in Envoy's cgroup is Tidegate's, whoever remembers it; a setting that nobody remembers is told of."""
    members = daemon.cgroup / "tidegate-envoy/cgroup.procs"
    await daemon.until(lambda: members.exists() and members.read_text().split())
    daemon.end(signal.SIGKILL)
    other = daemon.configured(tmp_path / "other.yaml", state=str(tmp_path / "other"))

    code, said = await other.ask("cleanup")

    assert (0, True) == (code, "Envoy of another state directory" in said)
    assert "settings of the kernel may be Tidegate's, and what they were is not known" in said
    assert not members.exists()


async def test_a_node_that_is_named_otherwise_keeps_its_programs(daemon: Node) -> None:
    """A daemon under another name does not start, and detaches nothing."""
    daemon.pod("pod0", "10.1.0.1/32")
    await daemon.ads.say(pods(a="10.1.0.1"))
    await daemon.until(lambda: f"from_workload@{daemon.index('pod0')}" in daemon.links())
    daemon.end()
    before = daemon.links()
    daemon.config.write_text(daemon.config.read_text().replace("node: n1", "node: n7"))

    code, said = await daemon.ask("run")

    assert 2 == code
    assert "is of node 'n1'" in said
    assert before == daemon.links()


async def test_the_links_that_led_off_stay_so_without_a_default_route(tmp_path: Path, envoy: Path) -> None:
    """Neighbours are still served by them, also by the next daemon; and it is said that no link leads off the node."""
    async with node(tmp_path, envoy) as made:
        made.config.write_text(made.config.read_text().replace("devices:\n- up0\n", ""))
        made.ip("route add default via 198.51.100.254 dev up0")
        made.start()
        await made.connected(1)
        await made.ads.say(pods(a="10.1.0.1"))
        uplink = {f"{name}@{made.index('up0')}" for name in ("from_network", "to_network")}
        await made.until(lambda: uplink <= made.links())
        made.ip("route del default")
        await made.told("no link leads off this node: it has no default route")
        kept = made.links()
        made.end()
        made.start()
        await made.connected(2)
        await made.told("no link leads off this node: it has no default route")

        assert uplink <= kept
        assert uplink <= made.links()
