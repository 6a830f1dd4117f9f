"""Requests without end through all that the mesh does, each counted, none repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.netns.mesh import address_of, until
from tests.netns.stand import FAMILIES, Family, Place
from tests.netns.table import World

SERVICES: Final[tuple[tuple[str, Family], ...]] = (("near", "ipv4"), ("far", "ipv6"), ("plain", "ipv4"))


@dataclass(frozen=True)
class Load:
    places: tuple[Place, ...]

    @property
    def total(self) -> int:
        return sum(place.ask("tally")["total"] for place in self.places)

    @property
    def failed(self) -> dict[str, int]:
        """By what came in the place of a 200."""
        failed: Counter[str] = Counter()
        for place in self.places:
            failed.update(place.ask("tally")["failed"])
        return dict(failed)

    def go_on(self, more: int, *, whatever: bool = False) -> None:
        """Return after so many more requests, or when one has failed, unless that may be."""
        enough = self.total + more
        until(lambda: self.total >= enough or (self.failed and not whatever), f"{more} more requests", timeout_s=600)


@contextmanager
def load(world: World, *, keep_alive: bool = True) -> Iterator[Load]:
    """A pod asks Services with and without a route, a client outside asks a Gateway.

    With `keep_alive` each target has two clients that keep their connections, besides one that makes new ones, and
    some requests take their time.
    """
    clients = 2 if keep_alive else 0
    for service, family in SERVICES:
        world.client.ask("load", address=address_of(service, family), port=80, clients=clients)
    world.outside.ask("load", address=address_of("edge", "ipv4"), port=80, host="one.example.com", clients=clients)
    if keep_alive:
        for family in FAMILIES:
            world.client.ask("load", address=address_of("near", family), port=80, path="/slow", clients=clients)
    going = Load((world.client, world.outside))
    try:
        yield going
    finally:
        for place in going.places:
            place.ask("stop")
