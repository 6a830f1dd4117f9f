"""What status and metrics are told of the kernel: one moment, in which nothing was being changed.

The kernel is written by threads. Who asks is shown what was made when the last of them had done its part, and never
what one of them has in its hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from datapath.attachments import Attachments, Place
from datapath.intercept import Services
from datapath.outcome import Outcome
from datapath.reconciler import Size
from datapath.resources import Address
from datapath.tables import Maps
from datapath.topology import Topology


@dataclass(frozen=True, slots=True)
class View:
    """`faults` are by what they are about, `failed` by the name of what does not fit into a map."""

    topology: Topology
    moved: Mapping[Address, float]
    """Addresses of pods at another link than before, and for how many seconds they are nobody's still."""
    services: Services
    active: frozenset[str]
    """Listeners of Envoy, by which the flags are set."""
    uncaptured: frozenset[str]
    """Capture listeners that it has not although it has the other."""
    overlaid: Mapping[int, str]
    """The node's ports that a process has, too, with the service that takes them."""
    heard: frozenset[str]
    """The types of which it is known what is to be there."""
    runs: int
    sizes: Mapping[str, Size]
    attached: Mapping[Place, bool]
    """Whether a link was there before."""
    missing: Mapping[Place, str]
    behind: Mapping[Place, str]
    """The filters of others that are asked before ours."""
    faults: Mapping[str, str]
    failed: Mapping[str, str]
    failed_services: int
    reattached: int

    @classmethod
    def of(cls, outcome: Outcome, attachments: Attachments, maps: Maps) -> Self:
        """Copies of what is changed in place; nobody changes it meanwhile."""
        sizes, pods = maps.sizes(), maps.workloads.size()
        sizes["workloads"] = pods._replace(desired=pods.desired + len(outcome.moved))
        return cls(
            outcome.topology,
            outcome.moved,
            outcome.services,
            outcome.active,
            outcome.uncaptured,
            outcome.overlaid,
            outcome.heard,
            outcome.runs,
            sizes,
            {place: each.adopted for place, each in attachments.attached.items()},
            dict(attachments.missing),
            dict(attachments.behind),
            dict(outcome.faults),
            {**{f"service {name}": why for name, why in maps.services.failed.items()},
             **maps.unfit()},
            len(maps.services.failed),
            attachments.repairs,
        )  # fmt: skip
