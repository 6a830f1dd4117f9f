"""Which pod is at which port of a bridge, also where somebody says that he is another."""

from __future__ import annotations

from ipaddress import ip_address

from datapath.ports import Lost, Pod, Port, seated, worded

BRIDGE, OTHER_BRIDGE = 5, 6
A4, A6, B4, B6 = map(ip_address, ("10.1.0.5", "fd00:1::5", "10.1.0.6", "fd00:1::6"))
A: Pod = (A4, A6)
B: Pod = (B4, B6)


def test_each_pod_is_at_the_port_that_has_its_addresses() -> None:
    """Of both families; a port without anybody known is a stranger's."""
    seats = seated({BRIDGE: [A, B]}, {11: Port(BRIDGE, A), 12: Port(BRIDGE, B), 13: Port(BRIDGE, ())}, {}, ())

    assert {A4: 11, A6: 11, B4: 12, B6: 12} == seats.pods
    assert ({13}, ()) == (set(seats.strangers), seats.lost)
    assert {11: BRIDGE, 12: BRIDGE, 13: BRIDGE} == seats.bridges


def test_one_address_is_enough() -> None:
    """The other one may not be there yet, and is nobody else's."""
    assert {A4: 11, A6: 11} == seated({BRIDGE: [A]}, {11: Port(BRIDGE, [A6])}, {}, ()).pods


def test_a_pod_that_takes_the_addresses_of_another_gets_nothing() -> None:
    """It is one pod, and the other port has nobody else."""
    ports = {11: Port(BRIDGE, (*A, *B)), 12: Port(BRIDGE, B)}

    assert {A4: 11, A6: 11, B4: 12, B6: 12} == seated({BRIDGE: [A, B]}, ports, {}, ()).pods


def test_who_was_known_first_stays() -> None:
    """Also where the other one has only the address that he takes."""
    ports = {11: Port(BRIDGE, A), 12: Port(BRIDGE, A)}

    assert {A4: 12, A6: 12} == seated({BRIDGE: [A]}, ports, {A4: 12}, ()).pods
    assert {A4: 11, A6: 11} == seated({BRIDGE: [A]}, ports, {A4: 11}, ()).pods


def test_of_two_who_could_be_a_pod_neither_is() -> None:
    """It is said which they are."""
    seats = seated({BRIDGE: [A]}, {11: Port(BRIDGE, A), 12: Port(BRIDGE, A)}, {}, ())
    [(what, advice)] = worded(seats.lost, {BRIDGE: "cni0", 11: "veth1", 12: "veth2"})

    assert {} == seats.pods
    assert ((Lost(A4, BRIDGE, (11, 12)),), {11, 12}) == (seats.lost, set(seats.strangers))
    assert "pod 10.1.0.5 is nobody's: veth1, veth2 of cni0 have its address at the other end" == what
    assert advice.startswith("take it from the one that is not this pod")


def test_an_address_that_is_given_to_another_pod_is_at_its_port() -> None:
    """Where it was before there is nobody any more, or who is there has another one."""
    assert {A4: 12, A6: 12} == seated({BRIDGE: [A]}, {12: Port(BRIDGE, A)}, {A4: 11}, ()).pods
    assert {A4: 12, A6: 12} == seated({BRIDGE: [A]}, {11: Port(BRIDGE, ()), 12: Port(BRIDGE, A)}, {A4: 11}, ()).pods


def test_a_pod_is_not_looked_for_at_another_bridge() -> None:
    """Whoever is there may have the same addresses."""
    ports = {11: Port(OTHER_BRIDGE, A), 12: Port(BRIDGE, A)}

    assert {A4: 12, A6: 12} == seated({BRIDGE: [A]}, ports, {}, ()).pods


def test_a_pod_without_a_port_is_told() -> None:
    """By its first address, and by its bridge if there is one."""
    words = worded(seated({BRIDGE: [A], 0: [B]}, {}, {}, ()).lost, {BRIDGE: "cni0"})

    assert [
        "pod 10.1.0.5 has no link that is its own: no veth of cni0 has this address at the other end",
        "pod 10.1.0.6 has no link that is its own: no veth has this address at the other end",
    ] == sorted(what for what, _ in words)


def test_a_bridge_that_leads_off_the_node_has_no_strangers() -> None:
    """Who is at its other ports is not of this node."""
    seats = seated({BRIDGE: [A]}, {11: Port(BRIDGE, A), 12: Port(BRIDGE, ())}, {}, {BRIDGE})

    assert {A4: 11, A6: 11} == seats.pods
    assert frozenset() == seats.strangers


def test_links_at_no_bridge_have_no_strangers() -> None:
    """There are many that are not pods'."""
    seats = seated({0: [A]}, {11: Port(0, A), 12: Port(0, ())}, {}, ())

    assert {A4: 11, A6: 11} == seats.pods
    assert {} == seats.bridges
    assert frozenset() == seats.strangers
