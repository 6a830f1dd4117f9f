"""Objects that are not to go with their kind: pools, whose addresses are in use.

With a CustomResourceDefinition the API server deletes all its objects, one by one, and only then the kind.
So a deletion counts once discovery says that objects of the kind can still be created.
Where they cannot, what was there stays, as disabled: who has an address keeps it, and nobody is given a new one.
It goes a while after there are objects again: then somebody has said what pools there are to be.
A control plane that starts meanwhile knows of none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog

from xds_server.kube.client import ApiError
from xds_server.kube.discovery import creatable
from xds_server.kube.held import Models
from xds_server.kube.kinds import Kind
from xds_server.kube.reflector import Link, printable
from xds_server.model.refs import ObjectRef
from xds_server.objects.tidegate import LoadBalancerIPPool

log = structlog.get_logger(__name__)

OUTLIVE: Final = frozenset({"LoadBalancerIPPool", "CiliumLoadBalancerIPPool"})

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Outliving:
    """Of one kind. `kept` are the names of those that are there by us alone."""

    def __init__(self, kind: Kind, link: Link, apply: Callable[[Models], None], spawn: Spawn) -> None:
        self._kind, self._link, self._apply, self._spawn = kind, link, apply, spawn
        self._there: dict[ObjectRef, LoadBalancerIPPool] = {}
        self._gone: dict[ObjectRef, LoadBalancerIPPool] = {}
        self.kept: dict[ObjectRef, LoadBalancerIPPool] = {}
        self._leaving = False

    def passed(self, models: Models) -> Models:
        """What counts at once: all but deletions."""
        passed: Models = {}
        for ref, model in models.items():
            if isinstance(model, LoadBalancerIPPool):
                self._there[ref] = model
                self._gone.pop(ref, None)
                self.kept.pop(ref, None)
                passed[ref] = model
            elif (before := self._there.pop(ref, None)) is not None:
                self._gone[ref] = before
        if self._gone:
            self._spawn(self._judge())
        if self.kept and self._there and not self._leaving:
            self._leaving = True
            self._spawn(self._leave())
        return passed

    async def _judge(self) -> None:
        """Whether what is gone was deleted, or went with its kind."""
        await asyncio.sleep(self._link.timing.settle_s)  # discovery hears of the end of a kind later than we
        attempt = 0
        while self._gone:
            try:
                stays = await creatable(self._link.api, self._kind)
            except ApiError as error:
                await self._link.contact.pause(attempt, error)
                attempt += 1
                continue
            gone, self._gone = self._gone, {}
            if stays:
                self._apply(dict.fromkeys(gone))
                return
            self.kept |= gone
            names = sorted(ref.name for ref in gone)[:8]
            text = "kind is served no more: addresses of its objects stay with who has them"
            log.warning(text, kind=self._kind.kind, objects=[printable(name) for name in names])
            self._apply({ref: _disabled(pool) for ref, pool in gone.items()})

    async def _leave(self) -> None:
        """There are objects again: what is not among them after a while is not to be."""
        await asyncio.sleep(self._link.timing.return_s)
        gone, self.kept, self._leaving = self.kept, {}, False
        self._apply(dict.fromkeys(gone))


def _disabled(pool: LoadBalancerIPPool) -> LoadBalancerIPPool:
    return msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, disabled=True))
