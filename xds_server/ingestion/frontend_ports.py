"""Ports of Envoy for frontends that do not bind an address of their own: behind a Service, or at the nodes' ports.

It must not know what is served there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from xds_server.model.refs import ObjectRef

FIRST: Final = 20_000
COUNT: Final = 10_000
"""Below the node ports of Kubernetes, and below the ports that Linux gives to connections."""
OWN: Final = frozenset({15001, 15010, 15011, 15080, 15081, 15090, 15091})
"""Where the control plane, the proxies and the nodes' daemons listen themselves."""
USUAL: Final = (range(80, 81), range(443, 444), range(8080, 8081), range(8443, 8444))
"""The nodes' ports that may be used where it is the operator who exposes by them."""
ALL: Final = (range(1, 65536),)


@dataclass(frozen=True, slots=True)
class WantedPorts:
    """The ports of one frontend's listeners; `host` are the nodes' ports that they are to be, None behind a Service.

    Of the nodes' ports it may have those `allowed`.
    """

    ref: ObjectRef
    ports: frozenset[int]
    host: Mapping[int, int] | None = None
    allowed: Sequence[range] = ()


@dataclass(frozen=True, slots=True)
class GivenPorts:
    """By the listener's port, the one that Envoy binds; none, and why, where not all can be had."""

    bound: Mapping[int, int]
    unusable: str = ""


def given_ports(wanted: Iterable[WantedPorts]) -> dict[ObjectRef, GivenPorts]:
    """Ports for all frontends, which come in the order of their rights.

    Behind a Service each port has a place that a hash decides, and the next free one where an older frontend is there.
    """
    holders: dict[int, ObjectRef] = {}
    found: dict[ObjectRef, GivenPorts] = {}
    for each in wanted:
        given = _behind_service(holders, each) if each.host is None else _of_host(holders, each, each.host)
        found[each.ref] = given
        holders.update(dict.fromkeys(given.bound.values(), each.ref))
    return found


def _behind_service(holders: Mapping[int, ObjectRef], wanted: WantedPorts) -> GivenPorts:
    bound: dict[int, int] = {}
    own: set[int] = set()
    for port in sorted(wanted.ports):
        digest = blake2b("/".join((*wanted.ref, str(port))).encode(), digest_size=8).digest()
        start = int.from_bytes(digest, "big")
        places = (FIRST + (start + step) % COUNT for step in range(COUNT))
        number = next((place for place in places if place not in holders and place not in own), None)
        if number is None:
            last = FIRST + COUNT - 1
            return GivenPorts({}, f"all ports of Envoy from {FIRST} to {last} are in use: expose fewer by a Service")
        bound[port] = number
        own.add(number)
    return GivenPorts(bound)


def _of_host(holders: Mapping[int, ObjectRef], wanted: WantedPorts, host: Mapping[int, int]) -> GivenPorts:
    """All that are asked for, or none."""
    ref = wanted.ref
    for port, number in sorted(host.items()):
        if number in OWN:
            return GivenPorts({}, f"port {number} of the nodes is one of Tidegate's own: use another")
        if not any(number in allowed for allowed in wanted.allowed):
            return GivenPorts(
                {},
                f"port {number} of the nodes is not for everybody: use another exposure, "
                "or let the operator add it to --host-ports (exposure.hostPorts of the chart)",
            )
        if FIRST <= number < FIRST + COUNT:
            return GivenPorts(
                {}, f"port {number} of the nodes is one of those behind Services ({FIRST} and up): use another"
            )
        holder = holders.get(number)
        if holder is not None:
            who = str(holder) if holder.namespace == ref.namespace else f"the {holder.kind} of another namespace"
            return GivenPorts({}, f"port {number} of the nodes is in use by {who}, which comes first: use another")
        if list(host.values()).count(number) > 1:
            return GivenPorts({}, f"port {number} of the nodes is asked for twice, also for port {port}: use another")
    return GivenPorts(dict(host))
