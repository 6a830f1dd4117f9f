"""The entries of the pinned maps, a record each: with or without a daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datapath.ageing import idle_s, state, translated_by
from datapath.kernel.layout import (
    ANSWERS,
    BACKENDS,
    CONNECTIONS,
    LINK_ADDRESSES,
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

Record = dict[str, Any]
"""For machines; `map` says which others it has."""

_PROTOCOLS = {6: "tcp", 17: "udp"}


def records(folder: Path) -> Iterator[Record]:
    """:raises OSError: the maps are not there, or not ours to read."""
    yield from _services(folder)
    with opened(WORKLOADS, folder) as workloads:
        for pod, workload in sorted(workloads.items(), key=str):
            yield {"map": "workload", "address": str(pod.address), "link": workload.ifindex}
    with opened(ANSWERS, folder) as answers:
        for announced, answer in sorted(answers.items(), key=str):
            address, link = str(announced.address), announced.ifindex
            yield {"map": "answer", "address": address, "link": link, "mac": answer.mac.hex(":")}
    yield from _remembered(folder, int(time.monotonic()))
    for kind, spec in (("node address", NODE_ADDRESSES), ("link address", LINK_ADDRESSES)):
        with opened(spec, folder) as addresses:
            for own, found in sorted(addresses.items(), key=str):
                yield {"map": kind, "address": str(own.address), "link": found.ifindex}


def _services(folder: Path) -> Iterator[Record]:
    with opened(SERVICES, folder) as services, opened(BACKENDS, folder) as backends:
        slots = dict(backends.items())
        for key, entry in sorted(services.items(), key=lambda item: (str(item[0].address), item[0][1:])):
            chosen = [slots.get(BackendKey(entry.id, entry.generation, slot)) for slot in range(entry.backends)]
            yield {
                "map": "service",
                "address": endpoint(key.address, key.port),
                "protocol": _protocol(key.protocol),
                "id": entry.id,
                "generation": entry.generation,
                "flags": [flag.name.lower() for flag in ServiceFlag if flag.name and entry.flags & flag],
                "backends": [_chosen(backend) for backend in chosen],
            }


def _remembered(folder: Path, now_s: int) -> Iterator[Record]:
    """Connections whose packets are translated, and translations that have none."""
    with opened(CONNECTIONS, folder) as connections, opened(TRANSLATIONS, folder) as translations:
        found, known = dict(translations.items()), dict(connections.items())
    left = set(found)
    for flow, connection in sorted(known.items(), key=str):
        keys = translated_by(flow, connection)
        left.difference_update(keys)
        kept = found.get(keys[0])
        yield {
            "map": "connection",
            **_ends(flow),
            "backend": endpoint(connection.address, connection.port),
            "masquerade": endpoint(connection.node, connection.node_port) if connection.node_port else None,
            "state": state(kept.progress) if kept else None,
            "idle_s": idle_s(kept.seen_s, now_s) if kept else None,
        }
    for flow in sorted(left, key=str):
        yield {"map": "translation", **_ends(flow)}


def text(found: Record) -> Iterator[str]:
    """For people."""
    kind = found["map"]
    if kind == "service":
        what = f"id {found['id']} generation {found['generation']} {' '.join(found['flags'])}".rstrip()
        yield f"service {found['address']}/{found['protocol']}: {what}"
        yield from (f"  {slot}: {backend}" for slot, backend in enumerate(found["backends"]))
    elif kind == "connection":
        what = f"{found['state']}, {found['idle_s']} s idle" if found["state"] else "its answers are not known"
        source = f" as {found['masquerade']}" if found["masquerade"] else ""
        yield f"connection {_between(found)}: {found['backend']}{source}, {what}"
    elif kind == "translation":
        yield f"translation {_between(found)}: of no connection"
    else:
        yield f"{kind} {found['address']}: link {found['link']} {found.get('mac', '')}".rstrip()


def _ends(flow: Flow) -> Record:
    return {
        "source": endpoint(flow.source, flow.source_port),
        "destination": endpoint(flow.destination, flow.destination_port),
        "protocol": _protocol(flow.protocol),
    }


def _between(found: Record) -> str:
    return f"{found['source']} -> {found['destination']}/{found['protocol']}"


def _protocol(number: int) -> str:
    return _PROTOCOLS.get(number, str(number))


def _chosen(backend: Backend | None) -> str:
    if backend is None:
        return "missing"
    return "refused" if backend.address is None else endpoint(backend.address, backend.port)


def endpoint(address: Address | None, port: int) -> str:
    if address is None:
        return f"*:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
