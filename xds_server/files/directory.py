"""A directory of manifests as a source: reads it whole, then follows its edits. The shell around `folder`.

A file is looked at again when inotify says so; a file behind a symbolic link, which inotify may miss, at every tick.
Kubernetes mounts are covered by both: their files are links, and the link `..data` is swapped beside them.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress
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
_SMALL_FILE: Final = 1 << 16

Signature = tuple[int, int, int, int]
Identity = tuple[int, int]  # of a folder, however it is named


class Scan(NamedTuple):
    """What has changed since the last scan, and all that is wrong now."""

    changes: dict[ObjectRef, Model | None]
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]

    @property
    def found_nothing(self) -> bool:
        """Of a first scan: there was no manifest, which is more likely a wrong path than a wish."""
        return not self.changes and not self.problems and not self.notices


class Look(NamedTuple):
    """A file as it was seen last; `signature` is None once it is gone, `since` is when it was first seen so."""

    signature: Signature | None
    since: float
    settled: bool
    linked: bool


class Entry(NamedTuple):
    signature: Signature
    linked: bool


class Root(NamedTuple):
    """A folder by the name it was given, and by the one that inotify uses for it."""

    name: str
    real: str
    identity: Identity

    def inside(self, event: str) -> tuple[str, tuple[str, ...]] | None:
        """A path in this folder as the listing spells it, and its parts below the folder."""
        if event != self.real and not event.startswith(self.real.rstrip(os.sep) + os.sep):
            return None
        below = event[len(self.real) :].strip(os.sep)
        return (f"{self.name.rstrip(os.sep)}{os.sep}{below}" if below else self.name), tuple(Path(below).parts)


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

    def place(self, ref: ObjectRef) -> tuple[str, int] | None:
        """File and line where an object that is served is defined."""
        return self._folder.place(ref)

    async def watch(self) -> AsyncGenerator[Scan, None]:
        """A scan whenever an object, a problem or a notice has changed."""
        said = (self._problems(), self._folder.notices)
        async with aclosing(self._wakes()) as wakes:
            async for only in wakes:
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
            self._root(root, found)
        yield from found.items()
        lost = self._looks.keys() - found.keys()
        yield from ((path, None) for path in sorted(lost) if not self._is_unlisted(path))

    def _root(self, path: str, found: dict[str, Entry]) -> None:
        """A file that is named is read whatever its suffix."""
        try:
            state = Path(path).stat()
        except OSError as error:
            self._unlist(path, f"cannot be read: {error.strerror}", "create it, or correct its permissions")
            return
        if stat.S_ISDIR(state.st_mode):
            self._list(path, _identity(state), found, frozenset(), linked=False)
        else:
            found[path] = Entry(_signature(state), linked=True)

    def _list(
        self, path: str, identity: Identity, found: dict[str, Entry], above: frozenset[Identity], *, linked: bool
    ) -> None:
        """`above` are the folders that lead here: a link back to one of them is not followed."""
        self._folders.add(path)
        try:
            with os.scandir(path) as scanned:
                inside = [entry for entry in scanned if not entry.name.startswith(".")]
        except FileNotFoundError:
            return
        except OSError as error:
            self._unlist(path, f"cannot be read: {error.strerror}", "correct its permissions")
            return
        for entry in inside:
            try:
                state = entry.stat()
            except OSError as error:
                self._dangling(Path(entry.path), error)
                continue
            if stat.S_ISDIR(state.st_mode):
                if _identity(state) not in above and _identity(state) != identity:
                    beyond = linked or entry.is_symlink()
                    self._list(entry.path, _identity(state), found, above | {identity}, linked=beyond)
            elif stat.S_ISREG(state.st_mode) and entry.name.endswith(SUFFIXES):
                found[entry.path] = Entry(_signature(state), linked or entry.is_symlink())

    def _dangling(self, path: Path, error: OSError) -> bool:
        """Whether it is a link that leads nowhere, which is told; what is gone since it was listed is not."""
        try:
            target = path.readlink()
        except OSError:
            return False
        message = f"is a link to {target}, which cannot be read: {error.strerror}"
        self._unlist(str(path), message, "restore what it leads to, or remove the link")
        return True

    def _unlist(self, path: str, message: str, hint: str) -> None:
        self._unlisted[path] = Problem(path, 1, NOWHERE, "", message, f"{hint}; what it held stays")

    def _is_unlisted(self, path: str) -> bool:
        return any(path == above or path.startswith(above + os.sep) for above in self._unlisted)

    def _entries(self, paths: Iterable[str]) -> Iterator[tuple[str, Entry | None]]:
        for name in sorted(paths):
            path, look = Path(name), self._looks.get(name)
            try:
                state = path.stat()
                entry = Entry(_signature(state), look.linked if look else path.is_symlink())
            except OSError as error:
                if self._dangling(path, error):
                    continue
                entry = None
            if entry is not None and stat.S_ISREG(state.st_mode):
                yield name, entry
            elif look is not None:
                yield name, None

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
            # Read even when it only settles: a second write within a tick of the file system's clock looks the same.
            self._read(path, settled=settled)
        linked = entry.linked if entry else look is not None and look.linked
        self._looks[path] = Look(signature, since, settled, linked)
        (self._pending.discard if settled and not linked else self._pending.add)(path)

    def _read(self, path: str, *, settled: bool) -> None:
        try:
            with Path(path).open("rb") as file:
                content = file.read(_SMALL_FILE)
                if len(content) == _SMALL_FILE:  # a read makes room for all that it may return
                    content += file.read(FILE_BYTES + 1 - _SMALL_FILE)
        except OSError as error:
            self._folder.fail(path, f"cannot be read: {error.strerror}", "correct its permissions; what it held stays")
            return
        self._folder.put(path, content, settled=settled)

    def _problems(self) -> tuple[Problem, ...]:
        return (*self._unlisted.values(), *self._folder.problems)

    # --- the time to look ---

    async def _wakes(self) -> AsyncGenerator[set[str] | None, None]:
        """The files to look at, from event to event and from tick to tick; None for all."""
        while True:
            roots = self._roots()
            watched = False
            try:
                async with aclosing(self._events(roots)) as events:
                    async for paths in events:
                        if self._roots() != roots:
                            break
                        # What changed before inotify listened has no event: the first look is at everything.
                        concerned = self._concerned(paths, roots) if watched else None
                        watched = True
                        yield concerned
            except (OSError, RuntimeError):  # no inotify here, or no watches left: look at everything, at every tick
                pass
            yield None
            await asyncio.sleep(_TICK_MS / 1000)

    async def _events(self, roots: list[Root]) -> AsyncGenerator[set[str], None]:
        """The paths that inotify names, and none at every tick; ends at once when there is nothing to watch."""
        if not roots:
            return
        changes = watchfiles.awatch(
            *(root.real for root in roots),
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        async with aclosing(changes):
            async for events in changes:
                yield {path for _, path in events}

    def _roots(self) -> list[Root]:
        found = []
        for name in self.paths:
            path = Path(name)
            with suppress(OSError):
                if stat.S_ISDIR((state := path.stat()).st_mode):
                    found.append(Root(name, str(path.resolve()), _identity(state)))
        return found

    def _concerned(self, events: set[str], roots: list[Root]) -> set[str] | None:
        """Which files events are about, beside those that are looked at anyway."""
        if self._unlisted or time.monotonic() - self._swept > SWEEP_S:
            return None
        concerned = set(self._pending)
        for event in events:
            inside = next((inside for root in roots if (inside := root.inside(event)) is not None), None)
            if inside is None:
                return None
            path, parts = inside
            hidden = next((part for part in parts if part.startswith(".")), "")
            # Kubernetes swaps the link `..data`; what else is hidden belongs to editors.
            if hidden.startswith("..") or (not hidden and (path in self._folders or Path(event).is_dir())):
                return None
            if not hidden and path.endswith(SUFFIXES):
                concerned.add(path)
        return concerned


def _signature(state: os.stat_result) -> Signature:
    return state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev


def _identity(state: os.stat_result) -> Identity:
    return state.st_dev, state.st_ino
