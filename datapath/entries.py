"""The entries of the pinned maps, a line each, for people: with or without a daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from datapath.ageing import idle_s, state, translated_by
from datapath.kernel.layout import (
    ANSWERS,
    BACKENDS,
    CONNECTIONS,
    NODE_ADDRESSES,
    SERVICES,
    TRANSLATIONS,
    WORKLOADS,
    Address,
    Backend,
    BackendKey,
    Flow,
    ServiceFlag,
)
from datapath.kernel.maps import opened

_PROTOCOLS = {6: "tcp", 17: "udp"}


def entries(folder: Path) -> Iterator[str]:
    """:raises OSError: the maps are not there, or not ours to read."""
    with opened(SERVICES, folder) as services, opened(BACKENDS, folder) as backends:
        slots = dict(backends.items())
        for key, entry in sorted(services.items(), key=lambda item: (str(item[0].address), item[0][1:])):
            words = [flag.name.lower() for flag in ServiceFlag if flag.name and entry.flags & flag]
            what = f"id {entry.id} generation {entry.generation} {' '.join(words)}".rstrip()
            protocol = _PROTOCOLS.get(key.protocol, str(key.protocol))
            yield f"service {endpoint(key.address, key.port)}/{protocol}: {what}"
            for slot in range(entry.backends):
                backend = slots.get(BackendKey(entry.id, entry.generation, slot))
                yield f"  {slot}: {_chosen(backend)}"
    with opened(WORKLOADS, folder) as workloads:
        for pod, workload in sorted(workloads.items(), key=str):
            yield f"workload {pod.address}: link {workload.ifindex}"
    with opened(ANSWERS, folder) as answers:
        for announced, answer in sorted(answers.items(), key=str):
            yield f"answer {announced.address}: link {announced.ifindex} {answer.mac.hex(':')}"
    yield from remembered(folder, int(time.monotonic()))
    with opened(NODE_ADDRESSES, folder) as addresses:
        for own, found in sorted(addresses.items(), key=str):
            yield f"node address {own.address}: link {found.ifindex}"


def remembered(folder: Path, now_s: int) -> Iterator[str]:
    """Connections whose packets are translated, and translations that have none."""
    with opened(CONNECTIONS, folder) as connections, opened(TRANSLATIONS, folder) as translations:
        found, known = dict(translations.items()), dict(connections.items())
    left = set(found)
    for flow, connection in sorted(known.items(), key=str):
        keys = translated_by(flow, connection)
        left.difference_update(keys)
        kept = found.get(keys[0])
        what = f"{state(kept.progress)}, {idle_s(kept.seen_s, now_s)} s idle" if kept else "its answers are not known"
        source = f" as {endpoint(connection.node, connection.node_port)}" if connection.node_port else ""
        yield f"connection {_between(flow)}: {endpoint(connection.address, connection.port)}{source}, {what}"
    for flow in sorted(left, key=str):
        yield f"translation {_between(flow)}: of no connection"


def _between(flow: Flow) -> str:
    ends = endpoint(flow.source, flow.source_port), endpoint(flow.destination, flow.destination_port)
    return f"{ends[0]} -> {ends[1]}/{_PROTOCOLS.get(flow.protocol, str(flow.protocol))}"


def _chosen(backend: Backend | None) -> str:
    if backend is None:
        return "missing"
    return "refused" if backend.address is None else endpoint(backend.address, backend.port)


def endpoint(address: Address | None, port: int) -> str:
    if address is None:
        return f"*:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
