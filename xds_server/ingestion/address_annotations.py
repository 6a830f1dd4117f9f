"""What an author says of addresses by annotation, under our names and those of Cilium.

It must not know which addresses there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xds_server.ingestion.addresses import Sharing

ADDRESSES: Final = ("tidegate.dev/load-balancer-ips", "lbipam.cilium.io/ips")
KEY: Final = ("tidegate.dev/sharing-key", "lbipam.cilium.io/sharing-key")
NAMESPACES: Final = ("tidegate.dev/sharing-cross-namespace", "lbipam.cilium.io/sharing-cross-namespace")

_MOST: Final = 16  # as a Gateway may have addresses


def requested(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses that are asked for, unchecked; more than a Gateway may have are one that is no address."""
    found = _listed(annotations, ADDRESSES)
    return found if len(found) <= _MOST else (f"more than {_MOST} addresses",)


def sharing(annotations: Mapping[str, str]) -> Sharing | None:
    key = next((text for name in KEY if (text := annotations.get(name, "").strip())), "")
    return Sharing(key, frozenset(_listed(annotations, NAMESPACES))) if key else None


def _listed(annotations: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    """A list, separated by commas; the first of the names that has one counts."""
    for name in names:
        if parts := tuple(part for each in annotations.get(name, "").split(",") if (part := each.strip())):
            return parts
    return ()
