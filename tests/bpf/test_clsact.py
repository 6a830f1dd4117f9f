"""Where the kernel has no links for TC: programs are filters, beside those of others."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from datapath.attachments import Attachments
from datapath.kernel import clsact, programs
from datapath.kernel.libbpf import program_info
from datapath.kernel.programs import attach_tc, is_filter
from datapath.topology import Role
from tests.bpf.lab import inside, run
from tests.bpf.stand import Stand, bpffs

INGRESS = 0xFFFFFFF2


@pytest.fixture(autouse=True)
def _without_links_for_tc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says EINVAL to a link, as it says here of a hook that it does not know."""
    monkeypatch.setattr(programs, "_TCX", {"ingress": 250, "egress": 251})


@contextmanager
def link() -> Iterator[int]:
    """The number of one in a namespace of its own, in which this thread is."""
    name = f"clsact-{secrets.token_hex(3)}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "add", "br0", "type", "bridge")
        with inside(name):
            yield socket.if_nametoindex("br0")
    finally:
        run("ip", "netns", "del", name)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with Stand(tmp_path_factory.mktemp("bpffs")) as stand:
        yield stand


def foreign(stand: Stand, ifindex: int, priority: int, name: str = "from_workload") -> None:
    """Somebody else's filter, of a program that is called as ours is."""
    place = {"prio": priority, "protocol": 3, "parent": INGRESS}
    with IPRoute() as netlink:
        if not clsact.filters(ifindex, "ingress"):
            netlink.tc("add", "clsact", ifindex)
        fd = stand.programs["to_network"].fd
        netlink.tc("add-filter", "bpf", ifindex, 1, fd=fd, name=name, direct_action=True, **place)


def shown(ifindex: int) -> list[tuple[int, str]]:
    """Priority and name of every filter that is asked when something comes in."""
    return [(each.priority, each.name) for each in clsact.filters(ifindex, "ingress")]


def test_ours_is_the_first(stand: Stand) -> None:
    """Where nobody else is; who comes later takes another priority."""
    with link() as ifindex:
        first = attach_tc(stand.programs["from_workload"], ifindex, "ingress", stand.pins)
        foreign(stand, ifindex, 2)
        seen = shown(ifindex)

    assert ((None, False), [(1, "tidegate/from_workload"), (2, "from_workload")]) == (
        (first.link, first.adopted),
        seen,
    )


def test_another_s_filter_stays(stand: Stand) -> None:
    """At its priority, and with its program; ours takes the first that is free, and its own again after a restart."""
    with link() as ifindex:
        for priority in (1, 3):
            foreign(stand, ifindex, priority)
        twice = [attach_tc(stand.programs["from_workload"], ifindex, "ingress", stand.pins) for _ in range(2)]
        seen = shown(ifindex)
        theirs = {each.program for each in clsact.filters(ifindex, "ingress") if each.own is None}
        clsact.detach_all(ifindex)
        left = shown(ifindex)

    assert [False, True] == [each.adopted for each in twice]
    assert [(1, "from_workload"), (2, "tidegate/from_workload"), (3, "from_workload")] == seen
    assert {program_info(stand.programs["to_network"].fd, "to_network").id} == theirs
    assert [(1, "from_workload"), (3, "from_workload")] == left


def test_a_link_has_one_filter_of_ours_at_a_hook(stand: Stand) -> None:
    """Another program takes its place without a gap."""
    with link() as ifindex:
        for name in ("from_stranger", "from_workload"):
            attach_tc(stand.programs[name], ifindex, "ingress", stand.pins)
        seen = shown(ifindex), is_filter(stand.programs["from_stranger"], ifindex, "ingress")

    assert ([(1, "tidegate/from_workload")], False) == seen


def test_nothing_is_left_where_nobody_else_was(stand: Stand) -> None:
    """The qdisc goes with the last filter."""
    with link() as ifindex:
        for name, hook in (("from_workload", "ingress"), ("to_workload", "egress")):
            attach_tc(stand.programs[name], ifindex, hook, stand.pins)  # type: ignore[arg-type]
        clsact.detach_all(ifindex)
        with IPRoute() as netlink:
            kinds = [qdisc.get_attr("TCA_KIND") for qdisc in netlink.get_qdiscs(ifindex)]

    assert "clsact" not in kinds


@pytest.fixture
def attachments(tmp_path: Path) -> Iterator[Attachments]:
    with ExitStack() as stack:
        stack.enter_context(bpffs(tmp_path / "bpffs"))
        (tmp_path / "envoy").mkdir()
        made = Attachments(programs.Pins(tmp_path / "bpffs"), tmp_path, tmp_path / "envoy")
        made.load()
        stack.callback(made.close)
        yield made


def test_a_filter_that_was_taken_is_put_back(attachments: Attachments) -> None:
    """One that is there is left alone."""
    with link() as ifindex:
        attachments.reconcile({ifindex: Role.WORKLOAD})
        attachments.repair()
        untouched = attachments.repairs
        clsact.detach(ifindex, "ingress", "from_workload")
        attachments.repair()
        seen = shown(ifindex)

    assert (0, 1, [(1, "tidegate/from_workload")]) == (untouched, attachments.repairs, seen)


def test_who_is_asked_before_ours_is_told(attachments: Attachments, stand: Stand) -> None:
    """He may end the walk; who comes after ours is no matter."""
    with link() as ifindex:
        foreign(stand, ifindex, 1, "theirs")
        foreign(stand, ifindex, 3, "others")
        attachments.reconcile({ifindex: Role.WORKLOAD})
        behind = dict(attachments.behind)
        attachments.reconcile({})
        attachments.prune()

    assert ({("from_workload", str(ifindex)): "theirs"}, {}) == (behind, attachments.behind)


def test_filters_follow_the_role_of_a_link(attachments: Attachments) -> None:
    """What another role has besides goes, also of a daemon that ran before."""
    with link() as ifindex:
        attachments.reconcile({ifindex: Role.WORKLOAD})
        attachments.reconcile({ifindex: Role.STRANGER})
        attachments.prune()
        seen = clsact.own(ifindex)
        attachments.reconcile({})
        attachments.prune()
        left = clsact.own(ifindex)

    assert ([("ingress", "from_stranger")], []) == (seen, left)
