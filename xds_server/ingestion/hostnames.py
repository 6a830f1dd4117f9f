"""Hostnames of listeners and routes: which covers which, and which is the more specific. "*" is the universal one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

UNIVERSAL: Final = "*"

_LABEL: Final = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_HOSTNAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")
_IPV4: Final = re.compile(r"[0-9]+(?:\.[0-9]+){3}\Z")


def valid(hostname: str) -> bool:
    """Whether it is a lower-case DNS name, perhaps with a wildcard as first label: no address, port or final dot."""
    return len(hostname) <= 253 and bool(_HOSTNAME.match(hostname)) and not _IPV4.match(hostname)


def covers(pattern: str, hostname: str) -> bool:
    """Whether every name that `hostname` stands for matches `pattern`; a wildcard takes one label or more."""
    if pattern in (UNIVERSAL, hostname):
        return True
    return pattern.startswith("*.") and hostname.endswith(pattern[1:])


def intersection(one: str, other: str) -> str | None:
    """The names that both stand for: the more specific of the two, or nothing."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def wildcards(hostname: str) -> Iterator[str]:
    """What else covers a hostname, the most specific first: "a.b.c" gives "*.b.c", "*.c", "*"."""
    if hostname == UNIVERSAL:
        return
    labels = hostname.removeprefix("*.").split(".")
    for depth in range(1, len(labels)):
        yield "*." + ".".join(labels[depth:])
    yield UNIVERSAL


def specificity(hostname: str) -> tuple[int, int]:
    """Sort key, the most specific first: exact, then wildcards by length, then the universal one."""
    if hostname == UNIVERSAL:
        return (2, 0)
    return (1 if hostname.startswith("*.") else 0, -len(hostname))


def most_specific(hostnames: Iterable[str], hostname: str) -> str:
    """The best of those that cover a hostname."""
    return min((h for h in hostnames if covers(h, hostname)), key=specificity, default=UNIVERSAL)
