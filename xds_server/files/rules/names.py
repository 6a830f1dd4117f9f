"""What names, addresses and durations look like, and that some must not come twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from xds_server.files.problems import Finding, Path

Findings = Iterator[Finding]
LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY: Final = re.compile(r"(?:(?P<prefix>[^/]+)/)?(?P<name>[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_DURATION: Final = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_MILLISECONDS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_hostname(host: str) -> bool:
    bare = host.removeprefix("*.")
    return len(host) <= 253 and SUBDOMAIN.fullmatch(bare) is not None


def is_qualified(key: str) -> bool:
    match = _LABEL_KEY.fullmatch(key)
    if match is None:
        return False
    prefix = match["prefix"]
    return prefix is None or (len(prefix) <= 253 and SUBDOMAIN.fullmatch(prefix) is not None)


def duration_ms(text: str) -> int:
    """Milliseconds of a Gateway API duration such as "1h30m"."""
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _DURATION.findall(text))


def unique(parts: Iterable[tuple[Path, Any]], what: str) -> Findings:
    """`parts` are paths with what must differ between them."""
    seen: dict[Any, Path] = {}
    for path, identity in parts:
        if identity in seen:
            yield Finding(path, f"{what} must be unique, and this one is there twice", "remove one, or tell them apart")
        seen.setdefault(identity, path)
