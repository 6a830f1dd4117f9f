"""What `check` and `up` say of a world, as the JSON form that docs/cli.md promises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xds_server.files.problems import Notice, Problem
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.pipeline import Pipeline
from xds_server.status.conditions import ConditionRow, rows


def conditions(pipeline: Pipeline) -> list[ConditionRow]:
    return list(rows(pipeline.statuses.values()))


def addresses(pipeline: Pipeline, port_offset: int) -> list[dict[str, Any]]:
    """Each frontend with its addresses and ports, as clients use them."""
    ports: dict[ObjectRef, set[int]] = {}
    frontends = pipeline.ingested.frontends
    for listener in pipeline.ingested.listeners.values():
        if (frontend := frontends.get(listener.frontend)) is not None:
            port = frontend.client_port(listener.port, port_offset)
            ports.setdefault(listener.frontend, set()).add(port)
    datagrams: dict[ObjectRef, set[int]] = {}
    for each in pipeline.ingested.kernel_services:
        if each.object in frontends:
            (ports if each.protocol == "TCP" else datagrams).setdefault(each.object, set()).add(each.port)
    return [
        {
            **ref._asdict(),
            "addresses": list(frontend.addresses),
            "ports": sorted(ports.get(ref, ())),
            "udp_ports": sorted(datagrams.get(ref, ())),
            "message": frontend.unusable,
        }
        for ref, frontend in sorted(frontends.items())
    ]


def served_at(pipeline: Pipeline) -> dict[str, ObjectRef]:
    """The frontend of each Gateway and each Ingress, by KIND/NAMESPACE/NAME."""
    frontends = pipeline.ingested.frontends
    ingresses = {verdict.object for verdict in pipeline.ingested.verdicts if verdict.object.kind == "Ingress"}
    shared = {str(ref): SHARED_INGRESS for ref in ingresses if ref not in frontends}
    return shared | {str(ref): ref for ref in frontends if ref != SHARED_INGRESS}


def warnings(pipeline: Pipeline, notices: Iterable[Notice]) -> list[dict[str, Any]]:
    """What changes nothing but should be known: warnings of ingestion, and documents that are not read."""
    of_objects = [
        {**warning.object._asdict(), "field": warning.field, "message": warning.message}
        for _, warning in sorted(pipeline.ingested.warnings.items())
    ]
    return of_objects + [notice.as_json() for notice in notices]


def report(
    pipeline: Pipeline,
    found: Iterable[ConditionRow],
    problems: Iterable[Problem],
    notices: Iterable[Notice],
    port_offset: int,
) -> dict[str, Any]:
    return {
        "conditions": [row._asdict() for row in found],
        "warnings": warnings(pipeline, notices),
        "problems": [problem.as_json() for problem in problems],
        "addresses": addresses(pipeline, port_offset),
    }
