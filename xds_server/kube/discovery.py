"""Which versions of which kinds the server has, now and whenever that changes.

By discovery, which every service account may ask, and not by watching CustomResourceDefinitions, which takes a right on
all of them.
It is asked again when a kind answers 404, and from time to time while there is a kind that is missing or that is read
by a version other than the preferred one; where everything is there, nothing is asked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, TypeVar

import msgspec
import structlog

from xds_server.kube.client import Api, ApiError
from xds_server.kube.contact import ContentError
from xds_server.kube.kinds import Kind
from xds_server.kube.reflector import Link, printable
from xds_server.kube.stats import reason

log = structlog.get_logger(__name__)

CONFIRMATIONS: Final = 3
"""A kind is gone when so many answers in a row say so: its objects go with it."""

Served = Mapping[str, frozenset[str]]
"""By version of one group, the plurals of its kinds."""


_T = TypeVar("_T")


class _Version(msgspec.Struct):
    version: str


class _Versions(msgspec.Struct):
    """APIGroup and APIVersions in one: the versions of the former are objects, those of the latter text."""

    versions: list[_Version | str]


class _Resource(msgspec.Struct):
    name: str
    verbs: list[str] = []


class _Resources(msgspec.Struct):
    resources: list[_Resource]


async def served(api: Api, group: str, versions: Iterable[str]) -> Served:
    """Which of the versions a group has, and with which kinds; a group that is not installed has none.

    :raises ApiError: the server does not say.
    """
    root = f"/apis/{group}" if group else "/api"
    found = await _asked(api, root, _Versions)
    named = [each if isinstance(each, str) else each.version for each in found.versions] if found else []
    has = {}
    for version in versions:
        listed = await _asked(api, f"{root}/{version}", _Resources) if version in named else None
        if listed is not None:
            has[version] = frozenset(resource.name for resource in listed.resources)
    return has


async def creatable(api: Api, kind: Kind) -> bool:
    """Whether the kind is there to stay: one that is being removed is served until its objects are gone.

    :raises ApiError: the server does not say.
    """
    for version in kind.versions:
        listed = await _asked(api, f"/apis/{kind.group}/{version}", _Resources)
        if listed and any(each.name == kind.plural and "create" in each.verbs for each in listed.resources):
            return True
    return False


def chosen(kind: Kind, has: Served) -> str:
    """The version that a kind is read by; "" where there is none."""
    return next((version for version in kind.versions if kind.plural in has.get(version, ())), "")


async def _asked(api: Api, path: str, type_: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(await api.request("GET", path), type=type_)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    except msgspec.DecodeError as error:
        raise ContentError("Unreadable", f"{path}: {str(error)[:200]}") from None


class Discovery:
    """Tells by which version each kind is to be read, "" being none, once at first and then when it changes."""

    def __init__(
        self, link: Link, kinds: Iterable[Kind], tell: Callable[[Kind, str], None], every_s: float = 10.0
    ) -> None:
        self._link, self._tell, self._every_s = link, tell, every_s
        self._groups: dict[str, list[Kind]] = {}
        for kind in kinds:
            self._groups.setdefault(kind.group, []).append(kind)
        self._told: dict[str, str] = {}
        self._missed: Counter[str] = Counter()
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Ask again now."""
        self._poked.set()

    async def run(self) -> None:
        attempt = 0
        while True:
            self._poked.clear()
            try:
                for group in list(self._groups):
                    await self._look(group)
            except ApiError as error:
                self._link.stats.errors["discovery", reason(error)] += 1
                log.warning("discovery failed", error=printable(str(error)), attempt=attempt)
                await self._link.contact.pause(attempt, error)
                attempt += 1
                continue
            attempt = 0
            self._link.contact.answered()
            await self._rest()

    async def _look(self, group: str) -> None:
        kinds = self._groups[group]
        versions = dict.fromkeys(version for kind in kinds for version in kind.versions)
        has = await served(self._link.api, group, versions)
        for kind in kinds:
            version, told = chosen(kind, has), self._told.get(kind.kind)
            self._missed[kind.kind] = 0 if version else self._missed[kind.kind] + 1
            if version == told or (told and not version and self._missed[kind.kind] < CONFIRMATIONS):
                continue
            self._told[kind.kind] = version
            log.info("kind is read", kind=kind.kind, group=group, version=version or "none: it is not installed")
            self._tell(kind, version)

    async def _rest(self) -> None:
        kinds = [kind for each in self._groups.values() for kind in each]
        jitter = 0.75 + self._link.contact.chance() / 2
        if any(self._told[kind.kind] and self._missed[kind.kind] for kind in kinds):
            await asyncio.sleep(self._every_s / 10 * jitter)  # a poke does not make it more certain
            return
        wanting = any(self._told[kind.kind] != kind.versions[0] for kind in kinds)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every_s * jitter if wanting else None):
                await self._poked.wait()
