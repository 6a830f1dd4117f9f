"""Whether the node's Envoy serves an address, by what is seen of it over time."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from datapath.resources import SERVICE, Service, decoded
from datapath.serving import FAILS_AFTER_S, SERVES_AFTER_S, Exposed, Judgement, exposed, overlaid, unserved
from tests.unit.datapath.wire import service

WEB, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def taken(message: Any) -> Service:
    found = decoded(SERVICE, "a", message.SerializeToString())
    assert isinstance(found, Service)
    return found


def test_what_clients_outside_use_is_exposed() -> None:
    """By its listener; what is the node's own, or served without Envoy, is not."""
    found = exposed(
        [
            taken(service(("192.0.2.1", 80, "web"), ("", 80, "web"), proxied=True, external=True)),
            taken(service(("192.0.2.2", 80, ""), external=True)),
            taken(service(("192.0.2.3", 80, "open"), proxied=True, fail_open=True, external=True)),
            taken(service(("10.96.0.1", 80, "mesh"), proxied=True)),
        ]
    )

    assert {Exposed(WEB, "web")} == found


def test_an_address_is_served_by_all_its_listeners_or_not() -> None:
    """One that is missing is enough; and without Envoy none is served."""
    wanted = [Exposed(WEB, "a"), Exposed(WEB, "b"), Exposed(OTHER, "a")]

    assert [frozenset(), {WEB}, {WEB, OTHER}] == [unserved(wanted, active) for active in ({"a", "b"}, {"a"}, None)]


def test_a_restart_of_envoy_changes_nothing() -> None:
    """It is away for less than counts; and each absence counts anew."""
    judgement = Judgement()
    changed = [
        judgement.look(frozenset({WEB}) if now % FAILS_AFTER_S else frozenset(), now)
        for now in range(4 * int(FAILS_AFTER_S))
    ]

    assert ({False}, frozenset()) == (set(changed), judgement.unserved)


def test_what_stays_away_is_told_once_and_what_is_back_later() -> None:
    """An address that is served for a moment now and then is not served."""
    judgement, seen = Judgement(), frozenset({WEB})
    judgement.look(seen, 0.0)
    fails = judgement.look(seen, FAILS_AFTER_S)
    now = FAILS_AFTER_S
    flaps = []
    for _ in range(5):
        for each in (frozenset(), seen):
            now += SERVES_AFTER_S - 1
            flaps.append(judgement.look(each, now))
    judgement.look(frozenset(), now)
    back = judgement.look(frozenset(), now + SERVES_AFTER_S)

    assert (True, {False}, True, frozenset()) == (fails, set(flaps), back, judgement.unserved)


def test_a_process_at_a_port_of_the_node_that_a_service_has_is_found() -> None:
    """At every address, or at the same; what listens for the node alone, or a service of the cluster's, is none."""
    own, any4, any6, loopback = map(ip_address, ("192.0.2.1", "0.0.0.0", "::", "127.0.0.1"))
    host = taken(service(("", 80, "web"), ("192.0.2.1", 81, "web"), ("", 82, "web"), proxied=True, external=True))
    inside = taken(service(("10.96.0.1", 83, "")))
    elsewhere = taken(service(("203.0.113.1", 84, ""), external=True))
    found = [(any6, 80), (own, 81), (loopback, 82), (any4, 83), (any4, 84)]

    assert {80: "a", 81: "a"} == overlaid([host, inside, elsewhere], [own], found)
