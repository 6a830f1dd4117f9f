"""Choice of a virtual host by the Host header, among those of a route configuration or those served by VHDS."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host)


def virtual_host(virtual_hosts: Iterable[Any], authority: str, *, ignores_port: bool) -> tuple[Any, str] | None:
    """The virtual host and the domain by which it was chosen: exact, longest suffix, longest prefix, then "*"."""
    host = (without_port(authority) if ignores_port else authority).lower()
    best: tuple[tuple[int, int], Any, str] | None = None
    for each in virtual_hosts:
        for domain in each.domains:
            rank = _rank(domain.lower(), host)
            if rank is not None and (best is None or rank > best[0]):
                best = (rank, each, domain)
    return (best[1], best[2]) if best else None


def _rank(domain: str, host: str) -> tuple[int, int] | None:
    """How specifically a domain takes a host. A wildcard stands for at least one character."""
    if domain == "*":
        return (0, 0)
    if domain.startswith("*"):
        takes = len(host) >= len(domain) and host.endswith(domain[1:])
        return (2, len(domain)) if takes else None
    if domain.endswith("*"):
        takes = len(host) >= len(domain) and host.startswith(domain[:-1])
        return (1, len(domain)) if takes else None
    return (3, 0) if domain == host else None
