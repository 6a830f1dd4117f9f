"""The entries of the pinned maps, a line each, for people: with or without a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datapath.kernel.layout import (
    ANSWERS,
    BACKENDS,
    NODE_ADDRESSES,
    SERVICES,
    WORKLOADS,
    Address,
    BackendKey,
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
                yield f"  {slot}: {endpoint(backend.address, backend.port) if backend else 'missing'}"
    with opened(WORKLOADS, folder) as workloads:
        for pod, workload in sorted(workloads.items(), key=str):
            yield f"workload {pod.address}: link {workload.ifindex}"
    with opened(ANSWERS, folder) as answers:
        for announced, answer in sorted(answers.items(), key=str):
            yield f"answer {announced.address}: link {announced.ifindex} {answer.mac.hex(':')}"
    with opened(NODE_ADDRESSES, folder) as addresses:
        for own, found in sorted(addresses.items(), key=str):
            yield f"node address {own.address}: link {found.ifindex}"


def endpoint(address: Address | None, port: int) -> str:
    if address is None:
        return f"*:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
