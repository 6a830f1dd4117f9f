"""Where a client is with one type, for whoever looks: CSDS, pages, metrics. There is no content, so no secrets."""

from __future__ import annotations

from typing import NamedTuple

from xds_server.xds.subscription import Subscription


class Status(NamedTuple):
    """Of one resource, as the client has it."""

    name: str
    version: str
    state: str
    detail: str = ""


class Reading(NamedTuple):
    """Of one type: how many resources the client wants and refuses; and whether it has the newest of all others."""

    wanted: int
    refused: int
    settled: bool


def reading(sub: Subscription) -> Reading:
    return Reading(
        sub.count(),
        refused(sub),
        sub.in_flight is None and sub.idle(),
    )


def refused(sub: Subscription) -> int:
    return sub.refused.names if sub.refused and sub.withheld else len(sub.parked)


def status(sub: Subscription, name: str) -> Status:
    entry = sub.kind.get(name) if sub.permits(name) else None
    if entry is None:
        return Status(name, "", "DOES_NOT_EXIST")
    version = entry.resource.version
    if name in sub.parked:
        return Status(name, sub.parked[name].version, "NACKED", sub.parked[name].detail)
    if sub.refused and sub.withheld:
        return Status(name, version, "NACKED", sub.refused.detail)
    if sub.holds(name) and entry.changed <= sub.known(name):
        return Status(name, version, "ACKED")
    return Status(name, version, "REQUESTED")


def debug(sub: Subscription) -> dict[str, object]:
    return {
        "wildcard": sub.wildcard,
        "subscribed": len(sub.names),
        "table_revision": sub.kind.last,
        "sent_revision": sub.cursor,
        "accepted_revision": sub.in_flight.since if sub.in_flight else sub.cursor,
        "accepted_version": sub.accepted_version,
        "behind": len(sub.lagging),
        "waiting": sorted(sub.waiting)[:100],
        "withheld": sub.refused._asdict() if sub.refused and sub.withheld else None,
        "in_flight": sub.in_flight.response.nonce if sub.in_flight else None,
        "parked": {name: parked._asdict() for name, parked in sorted(sub.parked.items())[:100]},
    }
