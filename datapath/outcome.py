"""What the last time came to that the kernel was brought up to date; others see it as a `View`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from datapath.envoy import CAPTURE
from datapath.intercept import Services
from datapath.kernel import routing
from datapath.resources import Address
from datapath.serving import Exposed
from datapath.topology import Topology


@dataclass(slots=True, eq=False)
class Outcome:
    """Or as far as it is: each part is set when it is known."""

    topology: Topology = field(default_factory=Topology)
    moved: Mapping[Address, float] = field(default_factory=dict)
    """Addresses of pods that are at another link than before, and for how many seconds they are nobody's still."""
    services: Services = field(default_factory=lambda: Services({}, {}, frozenset()))
    active: frozenset[str] = frozenset()
    """Listeners of Envoy, by which flags are set."""
    exposed: frozenset[Exposed] = frozenset()
    """What Envoy is to serve to clients outside."""
    overlaid: Mapping[int, str] = field(default_factory=dict)
    """The node's ports that a process has, too, with the service that takes them."""
    heard: frozenset[str] = frozenset()
    """The types of which a server, or the file, has said what is to be there."""
    runs: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    """By what they are about."""

    @property
    def uncaptured(self) -> frozenset[str]:
        """Capture listeners that Envoy has not although it has the other: somebody else is at their port."""
        wanted = {f"{CAPTURE}ipv4", *([f"{CAPTURE}ipv6"] if routing.IPV6.exists() else [])}
        return frozenset(wanted - self.active) if self.captures else frozenset()

    @property
    def captures(self) -> bool:
        """Envoy has a capture listener, by which programs are to find it."""
        return any(name.startswith(CAPTURE) for name in self.active)
