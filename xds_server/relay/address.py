"""Where a replica is dialled, as the Lease says it. Whoever may write the Lease wrote it: it is checked before use."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

_LONGEST: Final = 64


def advertised(ip: str, listening: str) -> str:
    """The address of a pod and the port that it listens on; "" if either is not known."""
    port = listening.rpartition(":")[2]
    return checked(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}")


def checked(text: str) -> str:
    """IP:PORT or [IP]:PORT, normalised; "" where it is nothing that a replica would advertise.

    A name is none: who is asked for it may answer differently later. Nor are addresses that are not one machine's, or
    whose scope only the writer knows.
    """
    host, _, port = text[: _LONGEST + 1].rpartition(":")
    if len(text) > _LONGEST or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        return ""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return ""
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    if bracketed != isinstance(address, IPv6Address) or scoped or address.is_unspecified or address.is_multicast:
        return ""
    return f"[{address}]:{int(port)}" if bracketed else f"{address}:{int(port)}"
