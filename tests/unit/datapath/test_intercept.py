"""Accepted resources, listeners and addresses -> what the kernel is to have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.intercept import MOST_SLOTS, Group, Intercept, Services, steered
from datapath.kernel.layout import Backend, ServiceFlag, ServiceKey
from datapath.resources import SERVICE, Service, decoded
from tests.unit.datapath.wire import packed, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

NODE = (ip_address("192.168.0.1"), ip_address("2001:db8::1"))
PROXY, EXTERNAL, FAIL_OPEN = ServiceFlag.PROXY, ServiceFlag.EXTERNAL, ServiceFlag.FAIL_OPEN
NONE = ServiceFlag(0)
A, B = ("10.1.0.1", 8080, 1), ("10.1.0.2", 8080, 1)
SIX = ("fd00::1", 8080, 1)


def taken(name: str, message: Any) -> Service:
    found = decoded(SERVICE, name, message.SerializeToString())
    assert isinstance(found, Service)
    return found


def services(active: Collection[str] = (), **messages: Any) -> Services:
    return Intercept().services([taken(name, message) for name, message in sorted(messages.items())], active, NODE)


def among(pods: Collection[str], **messages: Any) -> Services:
    """On a node with these pods."""
    found = [taken(name, message) for name, message in sorted(messages.items())]
    return Intercept().services(found, (), NODE, [ip_address(pod) for pod in pods])


def key(address: str, port: int = 80, protocol: int = 6) -> ServiceKey:
    return ServiceKey(ip_address(address) if address else None, port, protocol)


def backend(address: str) -> Backend:
    return Backend(ip_address(address), 8080)


def flags(found: Services) -> dict[ServiceKey, ServiceFlag]:
    return {each: value for group in found.groups.values() for each, value in group.frontends.items()}


def test_a_service_without_a_proxy_has_its_backends() -> None:
    """Nothing of it is Envoy's."""
    found = services(a=service(("10.0.0.1", 80, ""), backends=[A, B]))

    assert {"a/ipv4": Group({key("10.0.0.1"): NONE}, (backend("10.1.0.1"), backend("10.1.0.2")))} == found.groups


def test_a_frontend_is_envoys_while_envoy_has_its_listener() -> None:
    """Before, it has its backends, and the listener is awaited."""
    message = service(("10.0.0.1", 80, "web"), backends=[A], proxied=True, fail_open=True)

    before, after = services(a=message), services(["web"], a=message)

    assert ({key("10.0.0.1"): NONE}, frozenset({"web"})) == (flags(before), before.awaited)
    assert ({key("10.0.0.1"): PROXY | FAIL_OPEN}, frozenset()) == (flags(after), after.awaited)
    assert before.groups["a/ipv4"].backends == after.groups["a/ipv4"].backends


def test_one_that_fails_closed_has_nobody_before_envoy_has_its_listener() -> None:
    """It stays in the map, so that nobody else serves it around its rules."""
    found = services(a=service(("10.0.0.1", 80, "web"), proxied=True, external=True))

    assert {"a/ipv4": Group({key("10.0.0.1"): EXTERNAL}, ())} == found.groups


def test_one_that_fails_closed_has_no_backends_whatever_it_was_told() -> None:
    """They would be served without Envoy, around its rules: before it has the listener, and while it is away."""
    message = service(("10.0.0.1", 80, "web"), ("", 30080, "web"), backends=[A], proxied=True)

    for active in ((), ("web",)):
        assert [()] * 2 == [group.backends for group in services(active, a=message).groups.values()]


def test_each_frontend_waits_for_its_own_listener() -> None:
    """An Envoy that has one of two serves that one."""
    message = service(("10.0.0.1", 80, "one"), ("10.0.0.2", 80, "two"), proxied=True)

    found = services(["two"], a=message)

    assert {key("10.0.0.1"): NONE, key("10.0.0.2"): PROXY} == flags(found)


def test_both_families_are_groups_of_their_own() -> None:
    """A connection keeps its family."""
    found = services(a=service(("10.0.0.1", 80, ""), ("fd00:1::1", 80, ""), backends=[A, SIX]))

    assert {"a/ipv4": (backend("10.1.0.1"),), "a/ipv6": (backend("fd00::1"),)} == {
        name: group.backends for name, group in found.groups.items()
    }


def test_nobody_has_a_share_beside_others_of_each_family() -> None:
    """Who is given one of his slots is refused; where there is nobody else, there are no slots."""
    nobody = ("", 0, 2)
    both = services(a=service(("10.0.0.1", 80, ""), ("fd00:1::1", 80, ""), backends=[A, SIX, nobody]))
    alone = services(a=service(("10.0.0.1", 80, ""), backends=[nobody]))
    terminating = pb.Backend(address=packed(A[0]), port=8080, weight=1, terminating=True)
    ending = service(("10.0.0.1", 80, ""), backends=[nobody])
    ending.backends.append(terminating)

    assert {
        "a/ipv4": Counter({Backend(None, 0): 2, backend("10.1.0.1"): 1}),
        "a/ipv6": Counter({Backend(None, 0): 2, backend("fd00::1"): 1}),
    } == {name: Counter(group.backends) for name, group in both.groups.items()}
    assert () == alone.groups["a/ipv4"].backends
    assert {Backend(None, 0), backend("10.1.0.1")} == set(services(a=ending).groups["a/ipv4"].backends)


def test_every_address_of_the_node_is_one_entry_for_the_proxy() -> None:
    """Envoy serves both families there."""
    found = services(["web"], a=service(("", 30080, "web"), proxied=True, external=True))

    assert {"a/any": Group({key("", 30080): PROXY | EXTERNAL}, ())} == found.groups


def test_every_address_of_the_node_is_an_entry_each_for_backends() -> None:
    """They are of one family each."""
    found = services(a=service(("", 30080, ""), backends=[A, SIX]))

    assert {"a/ipv4": key("192.168.0.1", 30080), "a/ipv6": key("2001:db8::1", 30080)} == {
        name: next(iter(group.frontends)) for name, group in found.groups.items()
    }


def test_two_services_at_one_address_are_a_problem_of_the_second() -> None:
    """The first by name has it, whichever came first."""
    one = service(("10.0.0.1", 80, ""), backends=[A])
    two = service(("10.0.0.1", 80, ""), ("10.0.0.2", 80, ""), backends=[B])

    found = services(a=one, b=two)

    assert {"b": "10.0.0.1, port 80 is already that of a: give one another port"} == found.problems
    assert {key("10.0.0.1"): "a/ipv4", key("10.0.0.2"): "b/ipv4"} == {
        each: name for name, group in found.groups.items() for each in group.frontends
    }


def test_one_port_of_two_protocols_is_two_services() -> None:
    """As DNS has it."""
    found = services(
        t=service(("10.0.0.1", 53, ""), backends=[A]), u=service(("10.0.0.1", 53, ""), backends=[B], protocol=pb.UDP)
    )

    assert {"t/ipv4", "u/ipv4"} == set(found.groups)
    assert {} == found.problems


def test_affinity_is_the_groups() -> None:
    """A client that comes back by another frontend of it has the same backend."""
    found = services(a=service(("10.0.0.1", 80, ""), backends=[A], affinity_s=60))

    assert (60, ServiceFlag.AFFINITY) == (found.groups["a/ipv4"].affinity_s, flags(found)[key("10.0.0.1")])


@pytest.mark.parametrize(
    ("weights", "slots"),
    [
        ([], []),
        ([0], []),
        ([1, 1], [0, 1]),
        ([3, 1], [0, 1, 0, 0]),
        ([100, 300], [0, 1, 1, 1]),
        ([2, 3], [0, 1, 0, 1, 1]),
        ([0, 5], [1]),
    ],
)
def test_a_backend_of_weight_n_has_n_slots_in_turns(weights: list[int], slots: list[int]) -> None:
    """By the smallest numbers that have the same shares."""
    addresses = [f"10.1.0.{i}" for i in range(len(weights))]
    backends = [(address, 8080, weight) for address, weight in zip(addresses, weights, strict=True)]

    found = services(a=service(("10.0.0.1", 80, ""), backends=backends))

    assert [backend(addresses[slot]) for slot in slots] == list(found.groups["a/ipv4"].backends)


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8))
def test_shares_are_kept_within_the_slots(weights: list[int]) -> None:
    """Weights of any size make at most so many slots, and nobody who has a weight is left out."""
    backends = [(f"10.1.0.{i}", 8080, weight) for i, weight in enumerate(weights)]
    found = services(a=service(("10.0.0.1", 80, ""), backends=backends)).groups["a/ipv4"].backends
    shares = Counter(str(each.address) for each in found)

    assert len(weights) <= len(found) <= MOST_SLOTS + len(weights)
    assert all(abs(shares[address] / len(found) - weight / sum(weights)) < 0.01 for address, _, weight in backends)


def test_who_terminates_gets_nothing_while_there_are_others() -> None:
    """And everything when there are none."""
    message = service(("10.0.0.1", 80, ""), backends=[A, B])
    message.backends[0].terminating = True
    some = services(a=message).groups["a/ipv4"].backends
    message.backends[1].terminating = True

    assert (backend("10.1.0.2"),) == some
    assert (backend("10.1.0.1"), backend("10.1.0.2")) == services(a=message).groups["a/ipv4"].backends


def test_the_order_of_backends_changes_nothing() -> None:
    """What comes in another order rewrites no map."""
    one, two = (service(("10.0.0.1", 80, ""), backends=order) for order in ([A, B], [B, A]))

    assert services(a=one) == services(a=two)


def test_what_has_not_changed_is_not_made_again() -> None:
    """Of many services, few change at a time."""
    intercept = Intercept()
    a, b = (taken(name, service((f"10.0.0.{i}", 80, ""), backends=[A])) for i, name in enumerate("ab", 1))
    first = intercept.services([a, b], (), NODE)
    changed = taken("b", service(("10.0.0.2", 80, ""), backends=[B]))

    second = intercept.services([a, changed], (), NODE)

    assert first.groups["a/ipv4"] is second.groups["a/ipv4"]
    assert first.groups["b/ipv4"] != second.groups["b/ipv4"]


def test_a_daemon_that_starts_believes_what_is_pinned() -> None:
    """Until Envoy can be asked, it has the listeners that it had."""
    message = service(("10.0.0.1", 80, "one"), ("10.0.0.2", 80, "two"), ("", 30080, "three"), proxied=True)
    pinned = {key("10.0.0.1"): int(PROXY), key("10.0.0.2"): 0, key("", 30080): int(PROXY | EXTERNAL)}

    assert {"one", "three"} == steered([taken("a", message)], pinned)


@pytest.mark.parametrize("external", [False, True])
def test_no_service_is_at_the_address_of_a_pod(external: bool) -> None:
    """Its frontends elsewhere are there, and other services."""
    usurper = service(("10.1.0.1", 80, ""), ("10.0.0.1", 80, ""), backends=[B], external=external)
    found = among(["10.1.0.1"], a=usurper, b=service(("10.0.0.2", 80, ""), backends=[A]))

    assert {key("10.0.0.1"), key("10.0.0.2")} == flags(found).keys()
    assert {"a": "10.1.0.1 is a pod's own address"} == found.refused


def test_no_service_of_the_cluster_is_at_an_address_of_the_node() -> None:
    """It would take what is sent to the node."""
    found = among([], a=service(("192.168.0.1", 22, ""), ("2001:db8::1", 22, ""), backends=[A, SIX]))

    assert {} == flags(found)
    assert {"a": "192.168.0.1 is this node's own address; 2001:db8::1 is this node's own address"} == found.refused


def test_what_is_exposed_by_the_node_may_be_at_its_addresses() -> None:
    """By a port of all of them, or as a Gateway that was given one."""
    gateways = service(("", 80, ""), ("192.168.0.1", 81, ""), backends=[A], external=True)
    found = among(["10.1.0.1"], a=gateways)

    assert {key("192.168.0.1"), key("2001:db8::1"), key("192.168.0.1", 81)} == flags(found).keys()
    assert {} == found.refused
