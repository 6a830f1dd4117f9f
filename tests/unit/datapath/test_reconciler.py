"""Desired groups into maps: never less than whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.intercept import Group
from datapath.kernel.layout import (
    AddressKey,
    Backend,
    BackendKey,
    Service,
    ServiceFlag,
    ServiceKey,
    Workload,
)
from datapath.reconciler import Entries, ServiceMaps
from tests.unit.datapath.tables import Table

LEAVING_S = 100.0
FULL = "the map is full: serve fewer, or run a version with larger maps"
BACKENDS_FULL, FRONTENDS_FULL = f"backends (map backends): {FULL}", f"frontends (map svc): {FULL}"


def key(number: int) -> ServiceKey:
    return ServiceKey(ip_address(f"10.0.0.{number}"), 80, 6)


def backend(number: int) -> Backend:
    return Backend(ip_address(f"10.1.0.{number}"), 8080)


def group(frontends: Iterable[int], backends: Iterable[int], flags: int = 0) -> Group:
    return Group(
        {key(number): ServiceFlag(flags) for number in frontends}, tuple(backend(number) for number in backends)
    )


class Kernel:
    """Two maps; after each single write every service is whole."""

    def __init__(self, services: int = 1 << 20, backends: int = 1 << 20) -> None:
        self.services: Table[ServiceKey, Service] = Table("svc", services)
        self.backends: Table[BackendKey, Backend] = Table("backends", backends)
        self.services.written = self.backends.written = self.check
        self.stay: set[ServiceKey] = set()
        self.now = 0.0

    def check(self) -> None:
        for found in self.services.content.values():
            slots = [BackendKey(found.id, found.generation, slot) for slot in range(found.backends)]
            assert all(slot in self.backends.content for slot in slots)
        assert self.stay <= self.services.content.keys()

    def daemon(self) -> ServiceMaps:
        return ServiceMaps(self.services, self.backends, lambda: self.now, LEAVING_S)

    def served(self) -> dict[ServiceKey, tuple[int, tuple[Backend, ...]]]:
        """To who opens a connection."""
        return {
            each: (
                found.flags & ~ServiceFlag.LEAVING,
                tuple(self.backends.content[found.id, found.generation, slot] for slot in range(found.backends)),  # type: ignore[index]
            )
            for each, found in self.services.content.items()
            if not found.flags & ServiceFlag.GONE
        }

    def kept(self) -> set[ServiceKey]:
        """Where Envoy keeps the connections that it has."""
        known = ServiceFlag.PROXY | ServiceFlag.LEAVING
        return {each for each, found in self.services.content.items() if found.flags & known}

    def apply(self, maps: ServiceMaps, desired: Mapping[str, Group]) -> None:
        wanted = {each for found in desired.values() for each in found.frontends}
        self.stay = wanted & self.services.content.keys()
        maps.reconcile(desired)
        maps.retire()
        self.stay = set()


def expected(desired: Mapping[str, Group]) -> dict[ServiceKey, tuple[int, tuple[Backend, ...]]]:
    return {each: (int(flags), found.backends) for found in desired.values() for each, flags in found.frontends.items()}


def slots(desired: Mapping[str, Group]) -> int:
    return sum(len(found.backends) for found in desired.values())


def test_a_change_of_backends_is_a_new_generation() -> None:
    """It is written whole before the service is switched to it; then the old one goes."""
    kernel = Kernel()
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1, 2])})
    first = kernel.services.content[key(1)]

    kernel.apply(maps, {"a": group([1], [2, 3])})
    second = kernel.services.content[key(1)]

    assert (first.id, first.generation + 1) == (second.id, second.generation)
    assert {BackendKey(second.id, second.generation, 0), BackendKey(second.id, second.generation, 1)} == set(
        kernel.backends.content
    )


def test_the_old_backends_stay_until_nobody_looks_at_them() -> None:
    """A program that has read the service before it was switched finds its backend."""
    kernel = Kernel()
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1])})

    maps.reconcile({"a": group([1], [2])})

    assert 2 == len(kernel.backends.content)


def test_flags_alone_write_no_backend() -> None:
    """Envoy's coming and going costs one write a frontend."""
    kernel = Kernel()
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1, 2])})
    before = (kernel.services.writes, kernel.backends.writes)

    kernel.apply(maps, {"a": group([1], [1, 2], ServiceFlag.PROXY)})

    assert (before[0] + 1, before[1]) == (kernel.services.writes, kernel.backends.writes)


@pytest.mark.parametrize("after", [{}, {"a": group([1], [1])}])
def test_where_envoy_has_served_it_is_known_for_a_while(after: dict[str, Group]) -> None:
    """Whether the service is the kernel's now, or gone: Envoy ends what it has. To a new connection it is as it is."""
    kernel = Kernel()
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1], ServiceFlag.PROXY)})

    kernel.apply(maps, after)
    known = [kernel.kept()]
    for later_s in (LEAVING_S - 1, 1):
        kernel.now += later_s
        maps.expire()
        known.append(kernel.kept())

    assert [{key(1)}, {key(1)}, set()] == known
    assert expected(after) == kernel.served()
    assert expected(after).keys() == kernel.services.content.keys()


def test_a_service_that_comes_back_to_envoy_is_known_for_as_long_as_it_stays() -> None:
    """What it was before is over."""
    kernel, proxied = Kernel(), {"a": group([1], [1], ServiceFlag.PROXY)}
    maps = kernel.daemon()
    for desired in (proxied, {}, proxied):
        kernel.apply(maps, desired)

    kernel.now += LEAVING_S
    maps.expire()

    assert expected(proxied) == kernel.served()


def test_a_new_daemon_knows_what_was_envoys() -> None:
    """For as long from its own start on, since nobody has told it when that was."""
    kernel = Kernel()
    kernel.apply(kernel.daemon(), {"a": group([1], [1], ServiceFlag.PROXY)})
    kernel.apply(kernel.daemon(), {})
    kernel.now += LEAVING_S - 1
    maps = kernel.daemon()
    kernel.apply(maps, {})
    kernel.now += LEAVING_S - 1
    maps.expire()

    assert {key(1)} == kernel.kept()


def test_a_daemon_that_starts_writes_nothing_that_is_there() -> None:
    """Ids and generations are those of the pinned maps."""
    kernel, desired = Kernel(), {"a": group([1, 2], [1, 2]), "b": group([3], [])}
    kernel.apply(kernel.daemon(), desired)
    before = (kernel.services.writes, kernel.backends.writes)

    kernel.apply(kernel.daemon(), dict(desired))

    assert before == (kernel.services.writes, kernel.backends.writes)


def test_what_a_daemon_left_in_the_middle_is_put_in_order() -> None:
    """A generation that was written and not switched to goes, and so does a half of one."""
    kernel = Kernel()
    kernel.apply(kernel.daemon(), {"a": group([1], [1])})
    kernel.backends.content[BackendKey(1, 2, 0)] = backend(9)
    kernel.backends.content[BackendKey(7, 1, 5)] = backend(9)

    kernel.apply(kernel.daemon(), {"a": group([1], [1])})

    assert {BackendKey(1, 1, 0): backend(1)} == kernel.backends.content


def test_what_somebody_else_writes_is_seen_and_put_right() -> None:
    """An entry that was deleted, one that was changed, and one that came."""
    kernel, desired = Kernel(), {"a": group([1], [1]), "b": group([2], [2])}
    maps = kernel.daemon()
    kernel.apply(maps, desired)
    before = maps.is_foreign()
    kernel.backends.content[BackendKey(2, 1, 0)] = backend(9)
    del kernel.services.content[key(1)]
    kernel.services.content[key(5)] = Service(0, 9)

    seen = maps.is_foreign()
    maps.read()
    kernel.apply(maps, desired)

    assert (False, True, False) == (before, seen, maps.is_foreign())
    assert expected(desired) == kernel.served()


def test_a_service_that_does_not_fit_stays_as_it_was() -> None:
    """It is told; the others are served; and nothing of it is left."""
    kernel = Kernel(backends=4)
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1, 2]), "b": group([2], [3])})

    kernel.apply(maps, {"a": group([1], [1, 2, 3]), "b": group([2], [4])})

    assert {"a": BACKENDS_FULL} == maps.failed
    assert {key(1): (0, (backend(1), backend(2))), key(2): (0, (backend(4),))} == kernel.served()
    assert 3 == len(kernel.backends.content)


def test_a_new_service_is_there_with_all_frontends_or_none() -> None:
    """A half of one would be intercepted here and not there."""
    kernel = Kernel(services=2)
    maps = kernel.daemon()

    kernel.apply(maps, {"a": group([1], [1]), "b": group([2, 3], [2])})

    assert {"b": FRONTENDS_FULL} == maps.failed
    assert {key(1): (0, (backend(1),))} == kernel.served()
    assert 1 == len(kernel.backends.content)


def test_what_is_gone_makes_room_for_what_is_there() -> None:
    """The oldest goes, and no more than is needed; what comes back is none of it."""
    kernel = Kernel(services=3)
    maps = kernel.daemon()
    for number in (1, 2, 3):
        kernel.apply(maps, {"a": group([number], [1], ServiceFlag.PROXY)})
        kernel.now += 1
    desired = {"a": group([4], [1]), "b": group([2], [2], ServiceFlag.PROXY)}

    kernel.apply(maps, desired)

    assert ({}, expected(desired)) == (maps.failed, kernel.served())
    assert {key(2), key(3)} == kernel.kept()


def test_what_is_gone_stays_where_its_room_is_not_enough() -> None:
    """Envoy may have connections to it, and the new service does not fit all the same."""
    kernel = Kernel(services=3)
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1], ServiceFlag.PROXY), "b": group([2], [1])})
    kernel.apply(maps, {"b": group([2], [1]), "c": group([3, 4, 5], [1])})

    assert {"c": FRONTENDS_FULL} == maps.failed
    assert {key(1)} == kernel.kept()


def test_what_did_not_fit_comes_when_there_is_room() -> None:
    """A failure is tried again."""
    kernel, b = Kernel(services=1), group([2], [2])
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1]), "b": b})

    kernel.apply(maps, {"b": b})

    assert {} == maps.failed
    assert expected({"b": b}) == kernel.served()


def test_sizes_are_told() -> None:
    """Desired and actual, a map each."""
    kernel = Kernel(services=1)
    maps = kernel.daemon()
    kernel.apply(maps, {"a": group([1], [1, 2]), "b": group([2], [3])})

    assert {"svc": (2, 1), "backends": (3, 2)} == maps.sizes()


FLAGS = (ServiceFlag(0), ServiceFlag.PROXY, ServiceFlag.PROXY | ServiceFlag.EXTERNAL)
FRONTENDS = st.sets(st.integers(1, 6), min_size=1, max_size=3)
Drawn = dict[str, tuple[set[int], list[int], ServiceFlag]]
DESIRED = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(FRONTENDS, st.lists(st.integers(1, 4), max_size=3), st.sampled_from(FLAGS)),
    max_size=4,
)


def distinct(drawn: Drawn) -> dict[str, Group]:
    """Each frontend is of one group."""
    owners: dict[int, str] = {}
    for name, (frontends, *_) in sorted(drawn.items()):
        for number in frontends:
            owners.setdefault(number, name)
    groups = {
        name: group([number for number in sorted(frontends) if owners[number] == name], backends, flags)
        for name, (frontends, backends, flags) in drawn.items()
    }
    return {name: found for name, found in groups.items() if found.frontends}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(DESIRED, st.booleans()), min_size=1, max_size=8))
def test_any_history_ends_as_a_rebuild(history: list[tuple[Drawn, bool]]) -> None:
    """Whatever came before, and whenever the daemon was replaced; and after each write all services are whole."""
    kernel = Kernel()
    maps = kernel.daemon()
    desired: dict[str, Group] = {}
    proxied: set[ServiceKey] = set()
    for drawn, restarted in history:
        if restarted:
            maps = kernel.daemon()
        desired = distinct(drawn)
        kernel.apply(maps, desired)
        proxied |= {each for each, (flags, _) in expected(desired).items() if flags & ServiceFlag.PROXY}

    assert expected(desired) == kernel.served()
    assert slots(desired) == len(kernel.backends.content)
    assert proxied == kernel.kept()
    assert len(expected(desired)) == maps.sizes()["svc"].actual

    kernel.now += LEAVING_S
    maps.expire()
    maps.retire()

    whole = {each: (found.flags, found.backends) for each, found in kernel.services.content.items()}
    assert kernel.kept() <= {each for each, (flags, _) in expected(desired).items() if flags & ServiceFlag.PROXY}
    assert {each: (flags, len(backends)) for each, (flags, backends) in expected(desired).items()} == whole
    assert not maps.is_foreign()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(DESIRED, st.sets(st.integers(0, 12), max_size=4)), min_size=1, max_size=8))
def test_a_write_that_fails_breaks_nobody(history: list[tuple[Drawn, set[int]]]) -> None:
    """Wherever it fails, also as what was done is undone: services are whole, and the next try puts all right."""
    kernel = Kernel()
    maps = kernel.daemon()
    desired: dict[str, Group] = {}
    for drawn, failing in history:
        desired = distinct(drawn)
        kernel.services.failing = {kernel.services.puts + each for each in failing}
        with suppress(OSError):
            maps.reconcile(desired)
        maps.retire()
        kernel.check()
        kernel.now += LEAVING_S / 2
        with suppress(OSError):
            maps.expire()
        maps.retire()
        kernel.check()
    kernel.services.failing = set()
    maps.reconcile(desired)
    maps.retire()

    assert ({}, expected(desired)) == (maps.failed, kernel.served())
    assert not maps.is_foreign()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(DESIRED, st.booleans()), min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 6))
def test_a_full_map_breaks_nobody(history: list[tuple[Drawn, bool]], services: int, backends: int) -> None:
    """Services that fit are served, those that do not are told, and nothing is left behind that nobody uses."""
    kernel = Kernel(services, backends)
    maps = kernel.daemon()
    desired: dict[str, Group] = {}
    for drawn, restarted in history:
        if restarted:
            maps = kernel.daemon()
        desired = distinct(drawn)
        maps.reconcile(desired)
        maps.retire()
    whole = {name: found for name, found in desired.items() if name not in maps.failed}

    assert expected(whole).items() <= kernel.served().items()
    used = {(found.id, found.generation) for found in kernel.services.content.values()}
    assert {each[:2] for each in kernel.backends.content} <= used


@pytest.mark.parametrize("capacity", [1, 8])
def test_entries_that_stand_for_themselves(capacity: int) -> None:
    """What is not desired goes before what is new comes; one that does not fit is told."""
    table: Table[AddressKey, Workload] = Table("workloads", capacity)
    table.content = {AddressKey(ip_address("10.1.0.9")): Workload(9)}
    entries = Entries(table)
    desired = {AddressKey(ip_address(f"10.1.0.{i}")): Workload(i) for i in range(1, 4)}

    entries.reconcile(desired)

    said = f"addresses (map workloads): {FULL}" if capacity == 1 else ""
    assert (said, (3, min(capacity, 3))) == (entries.failed, entries.size())
    assert table.content.items() <= desired.items()
