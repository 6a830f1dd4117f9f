"""Whether this user may bind what the manifests ask for: better told before Envoy starts than by its refusal."""

from __future__ import annotations

import errno
import socket

from xds_server.config import ConfigError
from xds_server.ingestion.collections import Ingested

_WAYS_OUT = {
    errno.EACCES: "give --port-offset N (say 10000) to use higher ports, or run as a user who may bind low ones",
    errno.EADDRINUSE: "stop what listens there, or give --port-offset N or another --pool",
    errno.EADDRNOTAVAIL: "this machine has no such address; give a --pool of addresses that it has",
}


def bindable(ingested: Ingested, port_offset: int) -> None:
    """Raise `ConfigError` for the first listener whose address and port cannot be bound."""
    ports = sorted({(listener.frontend, listener.port) for listener in ingested.listeners.values()})
    for frontend, port in ports:
        found = ingested.frontends.get(frontend)
        number = found.bound_port(port, port_offset) if found else port + port_offset
        if number > 65535:
            raise ConfigError(f"{frontend}: port {port} + --port-offset {port_offset} is more than 65535")
        for address in found.bound if found else ():
            _bind(str(frontend), address, number)


def _bind(owner: str, address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            way_out = _WAYS_OUT.get(error.errno or 0, "")
            raise ConfigError(f"{owner}: cannot bind {address}:{port}: {error.strerror}; {way_out}") from None
