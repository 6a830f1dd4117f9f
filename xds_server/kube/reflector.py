"""Follows one kind, or one object, at the API server: a list, then what changes, for as long as it is asked to.

A watch that ends goes on where it was.
A list is read again when the server no longer knows that place (410), and when it could not be reached: then all kinds
are, so that the world of before the outage is replaced by that of after it, and not by a mixture.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from xds_server.kube.client import Api, ApiError
from xds_server.kube.contact import Contact, ContentError, is_unreachable
from xds_server.kube.held import Changes, Event, Held, Page, UnreadableError, event, page
from xds_server.kube.kinds import Kind
from xds_server.kube.stats import SILENT, SourceStats, reason

log = structlog.get_logger(__name__)

PAGE: Final = 500
STALE_LISTS: Final = 3
"""So many lists in a row that are older than what was seen are taken for stale; one more, for a store set back."""


GONE: Final = 410

T = TypeVar("T")
R = TypeVar("R")


class Timing(NamedTuple):
    """A watch that is silent for longer than the minute between bookmarks is cut, and goes on where it was.

    That is no failure, for nobody promises bookmarks; if the server is dead, the next attempt tells within `open_s`.
    A watch that lasted for `steady_s`, or brought anything, is no failure when it ends.
    What is polled and not watched is read again one by one, each `poll_s` an object.
    Whether a kind stays is asked `settle_s` after an object went; what outlived it goes `return_s` after its return.
    """

    watch_s: float = 300.0
    silence_s: float = 75.0
    open_s: float = 15.0
    steady_s: float = 5.0
    poll_s: float = 0.02
    settle_s: float = 1.0
    return_s: float = 60.0


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


class Follower(Protocol):
    """Who is told."""

    def listed(self, changes: Changes) -> None: ...
    def changed(self, changes: Changes) -> None: ...
    def lost(self) -> None:
        """The server cannot be reached; a list will follow when it can."""

    def refused(self, error: ApiError) -> None:
        """An attempt failed, for whatever reason; another will follow."""


class Link(NamedTuple):
    """What all that is followed at one API server share."""

    api: Api
    contact: Contact
    stats: SourceStats
    timing: Timing = Timing()
    clock: Callable[[], float] = time.monotonic


class Reflector:
    """`name` limits it to one object of a namespace."""

    def __init__(self, link: Link, held: Held, follower: Follower, namespace: str = "", name: str = "") -> None:
        self._api, self._contact, self._stats, self._timing, self._clock = link
        self._held, self._follower, self._namespace = held, follower, namespace
        self._selector = {"fieldSelector": f"metadata.name={name}"} if name else {}
        self._stale = 0
        self._paged, self._steady = True, False
        self.heard = self._clock()

    @property
    def kind(self) -> Kind:
        return self._held.kind

    @property
    def age_s(self) -> float:
        """Since the server last said something of this kind."""
        return self._clock() - self.heard

    async def run(self, version: str) -> None:
        """Follow by a version of the API, until cancelled."""
        if self._held.api_version != version:
            self._held.resume = ""
        attempt = 0
        while True:
            error, self._steady = None, False
            try:
                if not self._held.resume:
                    await self._list(version)
                await self._watch(version)
            except ApiError as found:
                error = found
            if self._steady:
                attempt = 0
                if error is None or reason(error) == SILENT:
                    continue
            error = error or ContentError("Ended", "a watch ended at once")
            self._fail(error, attempt)
            if error.status != GONE or attempt:
                await self._contact.pause(attempt, error)
            attempt += 1

    async def read(self, version: str, attempt: int) -> ApiError | None:
        """List once; gives what went wrong, of which the follower knows."""
        try:
            await self._list(version)
        except ApiError as error:
            self._fail(error, attempt)
            return error
        return None

    async def _list(self, version: str) -> None:
        listing, first = self._held.listing(version), True
        self._stats.lists[self.kind.kind] += 1
        limit = PAGE if self._paged else 0
        async for found in pages(self._api, self._path(version), self._selector, limit):
            if first and self._held.is_set_back(found.version) and self._stale < STALE_LISTS:
                self._stale += 1
                raise ContentError("Stale", f"a list of version {found.version} is older than what is known")
            first = False
            listing.add(found.items)
        self._stale, self._paged = 0, True
        changes = self._held.listed(found.version, listing)
        self._hear()
        self._follower.listed(changes)

    async def _watch(self, version: str) -> None:
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._held.resume,
            "timeoutSeconds": str(max(1, int(self._timing.watch_s * (0.5 + self._contact.chance() / 2)))),
        }
        self._stats.watches[self.kind.kind] += 1
        asked = self._api.stream(self._path(version), params=params | self._selector, silence_s=self._timing.silence_s)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timing.open_s):
                    lines = await stack.enter_async_context(asked)
            except TimeoutError:
                raise ApiError(0, "NoAnswer", "a watch was not answered in time") from None
            self._hear()
            opened = self._clock()
            try:
                await self._take(lines)
            finally:
                self._steady = self._steady or self._clock() - opened >= self._timing.steady_s

    async def _take(self, lines: AsyncIterator[bytes]) -> None:
        async for line in lines:
            found = _readable(event, line)
            if found.type == "ERROR":
                raise _error(found)
            changes = _readable(self._held.take, found)
            self._hear()
            self._steady = True
            self._stats.events[self.kind.kind] += 1
            if changes is None:
                self._stats.stale_events[self.kind.kind] += 1
            elif any(changes):
                self._follower.changed(changes)

    def _fail(self, error: ApiError, attempt: int) -> None:
        """Decide where to go on; at the first failure after a time of peace, where it was."""
        self._stats.errors[self.kind.kind, reason(error)] += 1
        if error.status == GONE:
            self._paged = bool(self._held.resume)  # a list that expires between its pages is read in one
            self._held.resume = ""
        elif is_unreachable(error) and attempt:
            self._held.resume = ""
            self._follower.lost()
        if not attempt & (attempt - 1):  # 0, 1, 2, 4, 8: an outage fills no log
            say = log.info if error.status == GONE or not attempt else log.warning
            say("source interrupted", kind=self.kind.kind, error=printable(str(error)), attempt=attempt)
        self._follower.refused(error)

    def _path(self, version: str) -> str:
        return self.kind.collection_path(version, self._namespace)

    def _hear(self) -> None:
        self.heard = self._clock()
        self._contact.answered()


async def pages(api: Api, path: str, selector: Mapping[str, str], limit: int) -> AsyncIterator[Page]:
    """A whole list as of one version; a limit of 0 is none.

    :raises ApiError: it cannot be read.
    """
    proceed = ""
    while True:
        params = dict(selector)
        params |= {"limit": str(limit)} if limit else {}
        params |= {"continue": proceed} if proceed else {}
        found = _readable(page, await api.request("GET", path, params=params))
        yield found
        proceed = found.proceed
        if not proceed:
            return


def printable(text: str) -> str:
    """What a server said, as it may stand in a log line."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[:300]


def _readable(read: Callable[[T], R], found: T) -> R:
    try:
        return read(found)
    except UnreadableError as error:
        raise ContentError("Unreadable", str(error)) from None


def _error(found: Event) -> ApiError:
    """The Status object of an ERROR event."""
    try:
        status = msgspec.json.decode(found.object, type=_Status)
    except msgspec.DecodeError:
        return ContentError("Unreadable", "an ERROR event without a Status")
    if status.code == GONE or status.reason in {"Expired", "Gone"}:
        return ApiError(GONE, "Expired", status.message[:300])
    return ApiError(status.code or 500, status.reason[:64], status.message[:300])
