"""Programs and links: adopted, replaced in one step, refused whole, and gone without a trace."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from datapath.attachments import Attachments
from datapath.kernel import clsact, layout, programs, routing
from datapath.kernel.layout import (
    Direction,
    Index,
    MapSpec,
    MapType,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
)
from datapath.kernel.libbpf import BpfError, call
from datapath.kernel.maps import NO_PREALLOC, WrongLayout, created, opened
from datapath.kernel.programs import NotShipped, Pins, attach_tc, detach, detach_all, load, running
from datapath.tables import Maps
from datapath.topology import Role
from tests.bpf.lab import ADDRESSES, FAMILIES, NODE, OUTSIDE, POD, Lab, inside, run
from tests.bpf.stand import BUILD, OBJECTS, bpffs

MESH, HTTP, TCP = "10.96.0.10", 80, 6
STARTS = 40


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "bpffs") as lab:
        lab.serve(MESH, HTTP, ServiceFlag.PROXY)
        yield lab


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Pins]:
    with bpffs(tmp_path / "bpffs") as folder:
        pins = Pins(folder)
        pins.create()
        yield pins


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def served(node: Lab) -> bool:
    """Whether a pod's connection reaches who listens at the capture port."""
    with node.capture(FAMILIES[0]) as listener, node.connect(POD, (MESH, HTTP)) as client:
        server, _ = listener.accept()
        with server:
            server.sendall(b"x")
            return client.recv(1) == b"x"


def test_pins_are_for_root_alone(pins: Pins) -> None:
    """B14: whoever else opened a map could write where connections go."""
    folders = (pins.bpffs / "tidegate", pins.folder, pins.maps, pins.links, pins.programs)

    assert {0o700} == {folder.stat().st_mode & 0o777 for folder in folders}


def test_links_and_maps_are_adopted(node: Lab) -> None:
    """Who starts anew finds every link and every entry: nothing is flushed, and every link has the new program."""
    entries, links = dict(node.services.items()), names(node.pins.links)
    with loaded_again(node):
        attached = node.attach()
        now = {name: running(node.pins.links / name, node.pins) for name in names(node.pins.links)}

    assert [True] * len(links) == [each.adopted for each in attached]
    assert {name: name.partition("@")[0] for name in links} == {
        name: program and program.name for name, program in now.items()
    }
    assert entries == dict(node.services.items())
    assert served(node)


@contextmanager
def loaded_again(node: Lab) -> Iterator[None]:
    """The programs of a second daemon, beside those of the first; they are equal, and other ones to the kernel."""
    before = node.stand.programs
    with ExitStack() as stack:
        loaded = [stack.enter_context(load(BUILD / f"{name}.bpf.o", node.pins)) for name in OBJECTS]
        node.stand.programs = {name: program for each in loaded for name, program in each.programs.items()}
        yield
        node.stand.programs = before


def test_programs_are_replaced_under_load(node: Lab) -> None:
    """B3: a hundred times in one step, while connections come and go: none is lost, and one link is at each hook."""
    done, over, outcomes = threading.Event(), threading.Event(), []

    def clients() -> None:
        while not done.is_set():
            with node.connect(POD, (MESH, HTTP)) as client:
                client.sendall(b"x")
                outcomes.append(client.recv(1))

    first = node.stand.programs
    with node.capture(FAMILIES[0]) as listener, loaded_again(node):
        serving = threading.Thread(target=echo, args=(listener, over))
        asking = threading.Thread(target=clients)
        serving.start()
        asking.start()
        own, others = first, node.stand.programs
        for _ in range(50):
            for node.stand.programs in (own, others):
                node.attach()
        done.set()
        asking.join()
        over.set()
        # One more, which the one that serves may be waiting for.
        with suppress(OSError):
            node.connect(POD, (MESH, HTTP)).close()
        serving.join()

    assert len(outcomes) > 0
    assert {b"x"} == set(outcomes)


def echo(listener: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        server, _ = listener.accept()
        with server:
            server.sendall(server.recv(1))


def test_a_link_that_somebody_has_detached_is_seen_and_put_back(node: Lab) -> None:
    """B7: its pin is still there, and says that nothing runs."""
    pin = node.pins.links / f"from_workload@{node.links[POD]}"
    link = call("bpf_obj_get", str(pin), str(pin).encode())
    call("bpf_link_detach", str(pin), link)
    os.close(link)
    gone = running(pin, node.pins)
    node.attach()
    back = running(pin, node.pins)

    assert gone is None
    assert back is not None
    assert "from_workload" == back.name
    assert served(node)


def test_the_pin_of_a_link_that_has_gone_is_replaced(node: Lab) -> None:
    """A new link may have the number of an old one: what is pinned for that is not taken for its own."""
    with inside(node.name(NODE)):
        run("ip", "link", "add", "gone0", "type", "veth", "peer", "gone1")
        number = socket.if_nametoindex("gone0")
        first = attach_tc(node.stand.programs["from_network"], number, "ingress", node.pins)
        run("ip", "link", "del", "gone0")
        assert first.link is not None
        gone = running(first.link, node.pins)
        run("ip", "link", "add", "gone0", "index", str(number), "type", "veth", "peer", "gone1")
        second = attach_tc(node.stand.programs["from_network"], number, "ingress", node.pins)
        here = running(first.link, node.pins)

    assert gone is None
    assert (first.link, False) == (second.link, second.adopted)
    assert here is not None


def test_without_links_for_tc_there_is_clsact(node: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.6: the kernel says EINVAL, as it says here of a hook that it does not know."""
    for pin in node.pins.links.glob("*_workload@*"):
        detach(pin)
    monkeypatch.setattr(programs, "_TCX", {"ingress": 250, "egress": 251})
    twice = [node.attach() for _ in range(2)]
    with inside(node.name(NODE)):
        shown = subprocess.run(
            ["tc", "filter", "show", "dev", "pod0", "ingress"], check=True, capture_output=True, text=True
        ).stdout
    works = served(node)
    with inside(node.name(NODE)):
        for each in node.links.values():
            clsact.detach_all(each)
        left = subprocess.run(["tc", "qdisc", "show"], check=True, capture_output=True, text=True).stdout

    assert [None] * 2 == [each.link for attached in twice for each in attached if each.program == "from_workload"][:2]
    assert 1 == shown.count("from_workload direct-action")
    assert "clsact" not in left
    assert works


def test_an_object_that_was_not_shipped_is_refused(pins: Pins, tmp_path: Path) -> None:
    """A tampered, a truncated, an unlisted one, and one without a manifest: nothing of it is loaded."""
    good = (BUILD / "steer.bpf.o").read_bytes()
    manifest = (BUILD / "manifest.json").read_text()
    folder = tmp_path / "objects"
    folder.mkdir()
    object_ = folder / "steer.bpf.o"
    refused = []
    for octets, listed in (
        (good[:-1] + b"?", manifest),
        (good[:100], manifest),
        (good, "{}"),
        (good, "[]"),
        (good, "no JSON"),
        (good, None),
    ):
        object_.write_bytes(octets)
        (folder / "manifest.json").unlink(missing_ok=True)
        if listed is not None:
            (folder / "manifest.json").write_text(listed)
        with pytest.raises(NotShipped, match=r"steer\.bpf\.o.*make bpf"):
            load(object_, pins)
        refused.append(names(pins.maps))

    assert [[]] * 6 == refused


def compiled(folder: Path, name: str, code: str) -> Path:
    """An object with one program of TC, and a manifest that lists it."""
    source, built = folder / f"{name}.bpf.c", folder / f"{name}.bpf.o"
    source.write_text(
        f"""#include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        SEC("tc") int {name}(struct __sk_buff *skb) {{ {code} }}
        char LICENSE[] SEC("license") = "GPL";"""
    )
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", include, "-c", str(source), "-o", str(built)], check=True)
    digest = hashlib.sha256(built.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({built.name: digest}))
    return built


def test_ours_is_the_first_of_the_programs_at_a_hook(node: Lab, tmp_path: Path) -> None:
    """Another one, of a CNI, may end the walk with its verdict: it comes after ours, whoever came first."""
    for pin in node.pins.links.glob("from_workload@*"):
        detach(pin)
    other = compiled(tmp_path, "other", "return 0;  /* TC_ACT_OK */")
    with load(other, node.pins) as loaded, inside(node.name(NODE)):
        link = call("bpf_link_create", "other", loaded.programs["other"].fd, node.links[POD], 46, None)
        before = node.count(Reason.STEERED, Direction.FROM_WORKLOAD)
        try:
            node.attach()
            works = served(node)
        finally:
            os.close(link)

    assert works
    assert node.count(Reason.STEERED, Direction.FROM_WORKLOAD) > before


def test_what_the_verifier_refuses_is_told_in_its_words(pins: Pins, tmp_path: Path) -> None:
    """The error has the verifier's log; no program and no link is left."""
    built = compiled(tmp_path, "bad", "return *(int *)(long)skb->data;")

    with pytest.raises(BpfError, match=r"bpf_object__load .*bad\.bpf\.o: Permission denied \(EACCES\)\n(.|\n)*R1"):
        load(built, pins)
    assert [] == names(pins.programs)


def test_a_map_of_another_layout_is_refused(pins: Pins) -> None:
    """By name, with both sizes; what is pinned is left as it is."""
    other = MapSpec("svc", layout.NODE_ADDRESSES.key, layout.NODE_ADDRESSES.value)
    with created(other, MapType.HASH, 4, NO_PREALLOC) as wrong:
        call("bpf_obj_pin", "svc", wrong.fd, str(pins.maps / "svc").encode())
        with pytest.raises(WrongLayout, match=r"map .*/svc has keys and values of \(16, 4\) bytes instead of"):
            opened(layout.SERVICES, pins.maps)
        with pytest.raises(BpfError, match="parameter mismatch"):
            load(BUILD / "steer.bpf.o", pins)


def test_a_full_map_says_so(pins: Pins) -> None:
    """B5: of a thousand entries for a map of 64, what fits is written, and the refusal names the map."""
    with load(BUILD / "steer.bpf.o", pins, {"svc": 64}), opened(layout.SERVICES, pins.maps) as services:
        entries = [(ServiceKey(ip_address(0x0A000000 + at), HTTP, TCP), Service(1, at)) for at in range(1000)]
        with pytest.raises(BpfError, match=r"bpf_map_update_batch svc: .*E2BIG") as refused:
            services.put_all(entries)
        written = dict(services.items())

    assert errno.E2BIG == refused.value.errno
    assert dict(entries[:64]) == written


@pytest.mark.parametrize("batches", [True, False], ids=["batches", "one by one"])
def test_a_map_is_written_and_walked(batches: bool) -> None:
    """Both ways give the same: many at a time, and one by one where the kernel has no batches for a map."""
    with created(layout.SERVICES, MapType.HASH, 20_000, NO_PREALLOC) as services:
        services._batches = batches
        entries = {ServiceKey(ip_address(0x0A000000 + at), HTTP, TCP): Service(1, at) for at in range(10_000)}
        services.put_all(entries.items())
        all_of_them = dict(services.items())
        services.delete_all(list(entries)[::2])
        half = dict(services.items())

        assert entries == all_of_them
        assert dict(list(entries.items())[1::2]) == half
        assert not services.delete(next(iter(entries)))
        assert services.get(next(iter(entries))) is None


def test_a_kernel_without_batches_for_a_map_is_asked_once() -> None:
    """Arrays of this kernel have them, rings have not even entries: what is not supported is done one by one."""
    with created(layout.SETTINGS, MapType.ARRAY, 1) as settings:
        settings.put_all([(Index(0), layout.Settings(envoy_cgroup=1))])

        assert [(Index(0), layout.Settings(envoy_cgroup=1))] == list(settings.items())


def test_nothing_is_left(node: Lab) -> None:
    """B17: no link, map, rule, route or table; traffic goes its own way again."""
    with inside(node.name(NODE)):
        detach_all(node.pins)
        routing.remove()
        shown = [
            subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout
            for command in (
                "ip rule show pref 9",
                "ip -6 rule show pref 9",
                "nft list ruleset",
                "ip route show table all",
                "ip -6 route show table all",
            )
        ]
    node.pins.remove()

    assert ["", "", ""] == shown[:3]
    assert [] == [line for text in shown for line in text.splitlines() if "2004" in line]
    assert not (node.pins.bpffs / "tidegate").exists()


def test_another_layouts_pins_are_left(pins: Pins) -> None:
    """B4: who removes his own does not touch those that another version still uses."""
    other = pins.bpffs / "tidegate/999"
    other.mkdir()
    pins.remove()

    assert ["999"] == names(pins.bpffs / "tidegate")


def test_many_starts_leave_no_more_than_one(node: Lab) -> None:
    """B9: maps, links and programs that are pinned, and what the process has open: the same after each of them."""
    roles = {node.links[POD]: Role.WORKLOAD, node.links[OUTSIDE]: Role.NETWORK, 1: Role.HOST}
    envoy_cgroup, seen = node.cgroup / "envoy", set()
    with inside(node.name(NODE)):
        for _ in range(STARTS):
            started = Attachments(node.pins, node.cgroup, envoy_cgroup)
            started.load()
            with closing(Maps(node.pins.maps, leaving_s=1)):
                started.attach_listen()
                started.reconcile(roles)
                started.prune()
            started.close()
            pinned = frozenset(str(pin) for pin in node.pins.folder.rglob("*"))
            seen.add((pinned, len(list(Path("/proc/self/fd").iterdir())), frozenset(started.missing)))
    envoy_cgroup.rmdir()

    assert [(True, frozenset())] == [(len(pinned) > len(roles), missing) for pinned, _, missing in seen]


def test_routes_are_installed_once(node: Lab) -> None:
    """Again and again, with another address of the node, there is one rule and one route of each family."""
    with inside(node.name(NODE)):
        for _ in range(3):
            routing.install(*(ip_address(address) for address in ADDRESSES[NODE]))  # type: ignore[arg-type]
        rules = [
            subprocess.run(["ip", *family, "rule", "show", "pref", "9"], check=True, capture_output=True).stdout
            for family in ([], ["-6"])
        ]
        routes = [
            subprocess.run(["ip", *family, "route", "show", "table", "2004"], check=True, capture_output=True).stdout
            for family in ([], ["-6"])
        ]

    assert [1, 1] == [text.count(b"fwmark 0x200/0xf00 lookup 2004") for text in rules]
    assert [1, 1] == [text.count(b"\n") for text in routes]
    assert [True, True] == [
        f"src {address}".encode() in text for address, text in zip(ADDRESSES[NODE], routes, strict=True)
    ]


def test_a_strict_check_of_paths_is_loosened(node: Lab) -> None:
    """Only where it is strict: replies to Envoy come by links that do not lead to who they are for."""
    own = Path("/proc/sys/net/ipv4/conf/pod0/rp_filter")
    seen = []
    with inside(node.name(NODE)):
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")
        for before in ("0", "1", "2"):
            own.write_text(before)
            routing.loosen("pod0")
            seen.append(own.read_text().strip())

    assert ["0", "2", "2"] == seen


@pytest.mark.parametrize("layout_of_next", [layout.LAYOUT + 1, 0], ids=["up", "down"])
def test_another_layout_takes_over_without_a_gap(node: Lab, layout_of_next: int) -> None:
    """B4: Envoy's listeners are found by both, what the daemon writes is each one's own; a hook has one program."""
    old, new = node.pins, Pins(node.pins.bpffs, layout_of_next)
    links = names(old.links)
    new.create()
    with node.capture(FAMILIES[0]) as listener, ExitStack() as stack:
        open_since_before = stack.enter_context(node.connect(POD, (MESH, HTTP)))
        before = stack.enter_context(listener.accept()[0])
        loaded = [stack.enter_context(load(BUILD / f"{name}.bpf.o", new)) for name in OBJECTS]
        empty = copied(old, new)
        node.pins = new
        node.stand.programs = {name: program for each in loaded for name, program in each.programs.items()}
        attached = node.attach()
        removed = new.remove_others()
        with node.connect(POD, (MESH, HTTP)) as client:
            server, _ = listener.accept()
            with server:
                server.sendall(b"new")
                said_new = client.recv(3)
        before.sendall(b"old")
        said_old = open_since_before.recv(3)
        detach_all(new)

    assert [True] * len(links) == [each.adopted for each in attached]
    assert layout.FILLED == empty
    assert ([], links) == (removed, sorted(each.link.name for each in attached if each.link))
    assert (b"new", b"old") == (said_new, said_old)
    assert not old.folder.exists()


def copied(old: Pins, new: Pins) -> set[str]:
    """Fill the new maps as the daemon does; which they are, all empty before."""
    filled = set()
    for spec in (each for each in vars(layout).values() if isinstance(each, MapSpec) and each.name in layout.FILLED):
        with opened(spec, old.maps) as theirs, opened(spec, new.maps) as ours:
            if not any(any(bytes(spec.value.pack(entry))) for _, entry in ours.items()):
                filled.add(spec.name)
            ours.put_all(theirs.items())
    return filled


def test_what_another_layout_has_besides_is_detached(node: Lab) -> None:
    """A hook that the new layout does not use any more has no program afterwards."""
    new = Pins(node.pins.bpffs, layout.LAYOUT + 1)
    new.create()
    removed = new.remove_others()

    assert len(removed) == 9
    assert [str(new.layout)] == names(node.pins.bpffs / "tidegate")
    new.remove()


@pytest.mark.parametrize(
    ("command", "lacking"),
    [
        ("ip rule del pref 9", "IPv4 rule 9"),
        ("ip -6 rule del pref 9", "IPv6 rule 9"),
        ("ip rule add pref 9 fwmark 0x400/0xf00 lookup 2004", "IPv4 rule 9"),
        ("ip rule del pref 9; ip rule add pref 9 fwmark 0x200/0xf00 iif lo lookup 2004", "IPv4 rule 9"),
        ("ip -6 rule del pref 9; ip -6 rule add pref 9 lookup 2004", "IPv6 rule 9"),
        ("ip route flush table 2004", "IPv4 route of table 2004"),
        ("ip -6 route flush table 2004", "IPv6 route of table 2004"),
        ("ip route replace local default dev lo table 2004", "IPv4 route of table 2004"),
        ("ip route replace unreachable default table 2004", "IPv4 route of table 2004"),
        ("echo 0 > /proc/sys/net/ipv4/conf/lo/accept_local", "accept_local of lo"),
        ("nft flush ruleset", "nftables inet tidegate"),
        ("nft flush chain inet tidegate output", "nftables inet tidegate"),
        ("nft add rule inet tidegate output accept", "nftables inet tidegate"),
        ("nft 'add table inet tidegate { flags dormant; }'", "nftables inet tidegate"),
    ],
)
def test_what_others_have_removed_or_changed_is_seen_and_put_back(node: Lab, command: str, lacking: str) -> None:
    """B7: of rules, routes, settings and the table of nftables, any, by its name."""
    sources = IPv4Address(ADDRESSES[NODE][0]), IPv6Address(ADDRESSES[NODE][1])
    with inside(node.name(NODE)):
        made = routing.install(*sources)
        before = routing.lacks(made)
        run("sh", "-ec", command)
        without = routing.lacks(made)
        again = routing.lacks(routing.install(*sources))

    assert ([], [lacking], []) == (before, without, again)


def test_a_table_of_others_is_not_ours(node: Lab) -> None:
    """What they change in theirs is nothing to us."""
    with inside(node.name(NODE)):
        made = routing.install()
        run("nft", "add table inet other; add chain inet other output; add rule inet other output accept")
        seen = routing.lacks(made)

    assert [] == seen
