"""What an operator may choose about the translation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TranslationSettings:
    """`port_offset` shifts every listener's port; a table of more hosts than `vhds_threshold` is served by VHDS.

    `route_budget_bytes` is what the routes of one object may take in all virtual hosts together.
    `datapath`: a daemon on every node leads connections to Envoy, which binds none of their addresses.
    """

    port_offset: int = 0
    vhds_threshold: int = 500
    route_budget_bytes: int = 32 * 1024 * 1024
    datapath: bool = False
