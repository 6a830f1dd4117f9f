"""A directory of manifests as a source: reads it whole, then follows its edits. The shell around `folder`.

A file is looked at again when inotify says so; a file behind a symbolic link, which inotify may miss, at every tick.
Kubernetes mounts are covered by both: their files are links, and the link `..data` is swapped beside them.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import watchfiles

from xds_server.files.documents import FILE_BYTES
from xds_server.files.folder import Folder
from xds_server.files.problems import NOWHERE, Notice, Problem
from xds_server.model.refs import ObjectRef
from xds_server.objects.meta import Model

SUFFIXES: Final = (".yaml", ".yml", ".json")
SETTLE_S: Final = 0.2  # a file that stays the same for so long is no longer being written
SWEEP_S: Final = 30.0  # for events that the kernel dropped
_TICK_MS: Final = 200
_STEP_MS: Final = 10  # an edit is seen within two steps
_DEBOUNCE_MS: Final = 50

Signature = tuple[int, int, int, int]


class Scan(NamedTuple):
    """What has changed since the last scan, and all that is wrong now."""

    changes: dict[ObjectRef, Model | None]
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


class Look(NamedTuple):
    """A file as it was seen last; `signature` is None once it is gone, `since` is when it was first seen so."""

    signature: Signature | None
    since: float
    settled: bool
    linked: bool


class Entry(NamedTuple):
    signature: Signature
    linked: bool


class Directory:
    """Folders and files of manifests; hidden ones, and those of other suffixes, are not read.

    `load` once, then either `watch`, or `scan` at will.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = tuple(dict.fromkeys(str(path) for path in paths))
        self._folder = Folder()
        self._looks: dict[str, Look] = {}
        self._pending: set[str] = set()  # what to look at without an event: links, and what has not settled
        self._folders: set[str] = set()
        self._unlisted: dict[str, Problem] = {}
        self._swept = 0.0

    def load(self) -> Scan:
        """Everything; a file counts as it is, even when it is being written."""
        return self.scan(now=float("-inf"), loading=True)

    def scan(self, only: Iterable[str] | None = None, *, now: float | None = None, loading: bool = False) -> Scan:
        """Look at the files named, or at all, and take what has changed."""
        now = time.monotonic() if now is None else now
        for path, entry in self._listing() if only is None else self._entries(only):
            self._look(path, entry, now, loading=loading)
        return Scan(self._folder.commit(), self._problems(), self._folder.notices)

    async def watch(self) -> AsyncIterator[Scan]:
        """A scan whenever an object, a problem or a notice has changed."""
        said = (self._problems(), self._folder.notices)
        async for only in self._wakes():
            if only is not None and not only:
                continue
            scan = await asyncio.to_thread(self.scan, only)
            if scan.changes or (scan.problems, scan.notices) != said:
                said = (scan.problems, scan.notices)
                yield scan

    # --- the file system ---

    def _listing(self) -> Iterator[tuple[str, Entry | None]]:
        """All manifests, then those that were there and are not; what a folder that cannot be listed held, is there."""
        self._swept = time.monotonic()
        self._folders.clear()
        self._unlisted.clear()
        found: dict[str, Entry] = {}
        for root in self.paths:
            self._list(root, found, frozenset(), linked=False, named=True)
        yield from found.items()
        lost = self._looks.keys() - found.keys()
        yield from ((path, None) for path in sorted(lost) if not self._is_unlisted(path))

    def _list(
        self,
        path: str,
        found: dict[str, Entry],
        above: frozenset[tuple[int, int]],
        *,
        linked: bool,
        named: bool = False,
    ) -> None:
        """`above` are the folders that lead here: a link back to one of them is not followed."""
        try:
            state = os.stat(path)
            if stat.S_ISREG(state.st_mode):
                if named or path.endswith(SUFFIXES):
                    found[path] = Entry(_signature(state), linked or named)
                return
            identity = (state.st_dev, state.st_ino)
            if not stat.S_ISDIR(state.st_mode) or identity in above:
                return
            self._folders.add(path)
            with os.scandir(path) as entries:
                inside = sorted((entry.name, entry.is_symlink()) for entry in entries)
        except FileNotFoundError:
            if named:
                self._unlist(path, "there is no such file or folder", "create it; what it held stays")
            return
        except OSError as error:
            self._unlist(path, f"cannot be read: {error.strerror}", "correct its permissions; what it held stays")
            return
        for name, link in inside:
            if not name.startswith("."):
                self._list(os.path.join(path, name), found, above | {identity}, linked=linked or link)

    def _unlist(self, path: str, message: str, hint: str) -> None:
        self._unlisted[path] = Problem(path, 1, NOWHERE, "", message, hint)

    def _is_unlisted(self, path: str) -> bool:
        return any(path == above or path.startswith(os.path.join(above, "")) for above in self._unlisted)

    def _entries(self, paths: Iterable[str]) -> Iterator[tuple[str, Entry | None]]:
        for path in sorted(paths):
            look = self._looks.get(path)
            try:
                state = os.stat(path)
                regular = stat.S_ISREG(state.st_mode)
            except OSError:
                regular = False
            if regular:
                yield path, Entry(_signature(state), look.linked if look else os.path.islink(path))
            elif look is not None:
                yield path, None

    def _look(self, path: str, entry: Entry | None, now: float, *, loading: bool) -> None:
        look = self._looks.get(path)
        signature = entry.signature if entry else None
        if look is not None and look.signature == signature:
            if look.settled or now - look.since < SETTLE_S:
                return
            settled, since = True, look.since
        else:
            settled, since = loading, now
        if entry is None:
            self._folder.remove(path, settled=settled)
            if settled:
                del self._looks[path]
                self._pending.discard(path)
                return
        else:
            # Read again even when it only settles: a second write within a tick of the file system's clock looks the same.
            self._read(path, settled=settled)
        linked = entry.linked if entry else look is not None and look.linked
        self._looks[path] = Look(signature, since, settled, linked)
        (self._pending.discard if settled and not linked else self._pending.add)(path)

    def _read(self, path: str, *, settled: bool) -> None:
        try:
            with open(path, "rb") as file:
                content = file.read(FILE_BYTES + 1)
        except OSError as error:
            self._folder.fail(path, f"cannot be read: {error.strerror}", "correct its permissions; what it held stays")
            return
        self._folder.put(path, content, settled=settled)

    def _problems(self) -> tuple[Problem, ...]:
        return (*self._unlisted.values(), *self._folder.problems)

    # --- the time to look ---

    async def _wakes(self) -> AsyncIterator[set[str] | None]:
        """The files to look at, from event to event and from tick to tick; None for all."""
        while True:
            roots = {os.path.abspath(path): path for path in self.paths if os.path.isdir(path)}
            identities = _identities(roots)
            yield None
            if not roots:
                await asyncio.sleep(_TICK_MS / 1000)
                continue
            try:
                async for events in watchfiles.awatch(
                    *roots,
                    watch_filter=None,
                    debounce=_DEBOUNCE_MS,
                    step=_STEP_MS,
                    rust_timeout=_TICK_MS,
                    yield_on_timeout=True,
                    ignore_permission_denied=True,
                ):
                    if _identities(roots) != identities or self._unlisted:
                        break
                    yield self._concerned({path for _, path in events}, roots)
            except (OSError, RuntimeError):
                # No inotify here, or no watches left: look at everything, at every tick.
                pass
            await asyncio.sleep(_TICK_MS / 1000)

    def _concerned(self, events: set[str], roots: dict[str, str]) -> set[str] | None:
        if time.monotonic() - self._swept > SWEEP_S:
            return None
        concerned = set(self._pending)
        for event in events:
            root = next((each for each in roots if event == each or event.startswith(os.path.join(each, ""))), None)
            if root is None:
                return None
            parts = os.path.relpath(event, root).split(os.sep)
            hidden = [part for part in parts if part.startswith(".") and part != "."]
            if hidden:
                if hidden[0].startswith(".."):
                    return None
                continue
            path = os.path.normpath(os.path.join(roots[root], *parts))
            if path in self._folders or os.path.isdir(event):
                return None
            if path.endswith(SUFFIXES):
                concerned.add(path)
        return concerned


def _signature(state: os.stat_result) -> Signature:
    return state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev


def _identities(paths: Iterable[str]) -> list[tuple[int, int] | None]:
    return [_identity(path) for path in paths]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino
