"""The objects of a set of files, kept up to date file by file; knows no file system and no clock.

An object keeps its last good version while what should replace it is wrong, unreadable, or perhaps still being written.
So what a file *gives* counts at once, and what it *no longer gives* only once the file is settled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import msgspec

from xds_server.files import manifest
from xds_server.files.documents import Document, Unreadable, split, text_of
from xds_server.files.manifest import Reading
from xds_server.files.problems import NOWHERE, Notice, Problem
from xds_server.model.refs import ObjectRef
from xds_server.objects.meta import Model, ObjectMeta

K = TypeVar("K")
V = TypeVar("V")
Said = TypeVar("Said", Problem, Notice)

_WAITING = Reading(readable=False)


class Given(NamedTuple):
    """An object as a file has it: the document, by position, and the place in it."""

    object: Model
    document: int
    place: tuple[str | int, ...]


@dataclass(slots=True)
class File:
    """`claims` are objects that are there but wrong; `held` those that were there and may come back.

    `known` are the readings of texts that need not be parsed again, `kept` those of the file as it last was whole.
    """

    documents: list[Document] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    gives: dict[ObjectRef, Given] = field(default_factory=dict)
    again: list[tuple[ObjectRef, Given]] = field(default_factory=list)
    claims: set[ObjectRef] = field(default_factory=set)
    held: set[ObjectRef] = field(default_factory=set)
    settled: bool = True
    broken: Problem | None = None
    known: dict[str, Reading] = field(default_factory=dict)
    kept: dict[str, Reading] = field(default_factory=dict)


class Current(NamedTuple):
    """`read` is the object as its manifest has it, `served` the same with a generation."""

    read: Model
    served: Model
    path: str


class Folder:
    """Call `put` and `remove` for what has changed, then `commit` once.

    Of an object that is defined twice, the definition that is served already counts: a copy of a file changes nothing.
    Where none is served yet, the first one counts, by path and then by position.
    """

    def __init__(self) -> None:
        self.objects: dict[ObjectRef, Current] = {}
        self._files: dict[str, File] = {}
        self._definers: dict[ObjectRef, set[str]] = {}
        self._touched: set[ObjectRef] = set()
        self._problems: dict[str, list[Problem]] = {}
        self._notices: dict[str, list[Notice]] = {}
        self._repeated: dict[ObjectRef, list[Problem]] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        of_files = [problem for problems in self._problems.values() for problem in problems]
        repeated = [problem for problems in self._repeated.values() for problem in problems]
        return tuple(sorted(of_files + repeated, key=lambda problem: (problem.file, problem.line)))

    @property
    def notices(self) -> tuple[Notice, ...]:
        of_files = [notice for notices in self._notices.values() for notice in notices]
        return tuple(sorted(of_files, key=lambda notice: (notice.file, notice.line)))

    def place(self, ref: ObjectRef) -> tuple[str, int] | None:
        """File and line of the definition that is served; None while its file is not whole."""
        current = self.objects.get(ref)
        file = self._files.get(current.path) if current else None
        given = file.gives.get(ref) if file else None
        if current is None or file is None or given is None:
            return None
        return current.path, _line(file, given)

    def put(self, path: str, content: bytes, *, settled: bool) -> None:
        """A file's content; unless `settled`, it may be half of what is being written."""
        before = self._files.get(path)
        whole = _whole(before) if before else {}
        known = whole | before.known if before else {}
        try:
            text = text_of(content)
            documents = [Document(1, text)] if path.endswith(".json") and text.strip() else split(text)
        except Unreadable as error:
            broken = Problem(path, 1, NOWHERE, "", error.message, error.hint)
            self._replace(path, File(settled=settled, broken=broken))
            return
        read = _reader(path, known)
        is_open = not settled and bool(documents) and _is_tail_open(text, documents[-1], whole)
        readings = [read(document.text) for document in documents[: len(documents) - is_open]]
        file = File(documents, readings + [_WAITING] * is_open, settled=settled)
        file.known = {document.text: reading for document, reading in zip(documents, readings, strict=False)}
        _index(file)
        self._replace(path, file)

    def fail(self, path: str, message: str, hint: str) -> None:
        """A file that cannot be read; what it gave stays."""
        self._replace(path, File(broken=Problem(path, 1, NOWHERE, "", message, hint)))

    def remove(self, path: str, *, settled: bool) -> None:
        self._replace(path, File(settled=settled))
        if settled:
            del self._files[path]

    def commit(self) -> dict[ObjectRef, Model | None]:
        """What has changed since the last commit; None for what is gone."""
        changes: dict[ObjectRef, Model | None] = {}
        for ref in sorted(self._touched):
            self._resolve(ref, changes)
        self._touched.clear()
        return changes

    def _replace(self, path: str, file: File) -> None:
        before = self._files.get(path, File())
        if not file.settled or file.broken:
            file.kept = _whole(before)
        there = file.gives.keys() | file.claims
        gone = [ref for ref in (*before.gives, *before.claims, *before.held) if ref not in there]
        if not file.settled or file.broken or not all(reading.readable for reading in file.readings):
            file.held = {ref for ref in gone if ref in self.objects}
        for ref in gone:
            self._touched.add(ref)
            if ref not in file.held:
                self._undefine(ref, path)
        for ref in there:
            definers = self._definers.setdefault(ref, set())
            same = ref in file.gives and ref in before.gives and file.gives[ref].object is before.gives[ref].object
            if not same or len(definers) > 1 or path not in definers:
                self._touched.add(ref)
            definers.add(path)
        for ref in file.held:
            self._definers.setdefault(ref, set()).add(path)
        self._files[path] = file
        self._say(path, file)

    def _undefine(self, ref: ObjectRef, path: str) -> None:
        definers = self._definers.get(ref, set())
        definers.discard(path)
        if not definers:
            self._definers.pop(ref, None)

    def _say(self, path: str, file: File) -> None:
        """The problems and notices of one file, with their lines in it."""
        if not file.settled and not all(reading.readable for reading in file.readings):
            return  # half of what is being written is not complained about
        problems = [file.broken] if file.broken else []
        notices: list[Notice] = []
        for document, reading in zip(file.documents, file.readings, strict=True):
            problems += (_placed(problem, path, document) for problem in reading.problems)
            notices += (_placed(notice, path, document) for notice in reading.notices)
        for ref, given in file.again:
            problems.append(_repeated(ref, path, file, given, path, file, file.gives[ref]))
        _keep(self._problems, path, problems)
        _keep(self._notices, path, notices)

    def _resolve(self, ref: ObjectRef, changes: dict[ObjectRef, Model | None]) -> None:
        current = self.objects.get(ref)
        served = current.path if current else ""
        definers = sorted(self._definers.get(ref, ()), key=lambda path: (path != served, path))
        files = [(path, self._files[path]) for path in definers]
        givers = [(path, file) for path, file in files if ref in file.gives]
        _keep(
            self._repeated,
            ref,
            [
                _repeated(ref, path, file, file.gives[ref], givers[0][0], givers[0][1], givers[0][1].gives[ref])
                for path, file in givers[1:]
            ],
        )
        # A definition that comes first but is wrong is not overruled: the last good version stays.
        first = next((file for _, file in files if ref in file.gives or ref in file.claims or ref in file.held), None)
        if current is not None and files and (first is None or ref not in first.gives):
            return
        if givers:
            path, file = givers[0]
            read = file.gives[ref].object
            if current is not None and (read is current.read or read == current.read):
                self.objects[ref] = current._replace(path=path)
                return
            self.objects[ref] = Current(read, _generated(read, current), path)
            changes[ref] = self.objects[ref].served
        elif current is not None:
            del self.objects[ref]
            changes[ref] = None


def _keep(kept: dict[K, list[V]], key: K, values: list[V]) -> None:
    if values:
        kept[key] = values
    else:
        kept.pop(key, None)


def _reader(path: str, known: dict[str, Reading]) -> Callable[[str], Reading]:
    """Reads a document's text, unless it was in the file before."""
    json = path.endswith(".json")

    def read(text: str) -> Reading:
        found = known.get(text)
        if found is not None:
            return found
        try:
            return manifest.read(text, json=json)
        except Exception as fault:  # noqa: BLE001  # a defect of ours in one document must not stop the others (S14)
            message = f"internal error: {type(fault).__name__}"
            hint = "this is a defect of tidegate; the objects that were there stay"
            return Reading(problems=(Problem("", 1, NOWHERE, "", message, hint),), readable=False)

    return read


def _whole(file: File) -> dict[str, Reading]:
    """The documents of a file as it last was known to be whole."""
    return file.known if file.settled and not file.broken else file.kept


def _is_tail_open(text: str, last: Document, whole: dict[str, Reading]) -> bool:
    """Whether the last document looks cut: it does not end its line, or is the beginning of one that was there."""
    if last.text in whole:
        return False
    return not text.endswith("\n") or any(known.startswith(last.text) for known in whole)


def _index(file: File) -> None:
    """Fill in what the documents give and claim."""
    for at, reading in enumerate(file.readings):
        file.claims.update(reading.claims)
        for ref, obj, place in reading.objects:
            given = Given(obj, at, place)
            if ref in file.gives:
                file.again.append((ref, given))
            else:
                file.gives[ref] = given
    file.claims.difference_update(file.gives)


def _line(file: File, given: Given) -> int:
    document = file.documents[given.document]
    return document.line - 1 + manifest.line(document.text, given.place)


def _repeated(ref: ObjectRef, path: str, file: File, given: Given, first: str, winner: File, won: Given) -> Problem:
    message = f"is also defined at {first}:{_line(winner, won)}, which counts"
    return Problem(path, _line(file, given), ref, "", message, "remove one of them")


def _placed(said: Said, path: str, document: Document) -> Said:
    return replace(said, file=path, line=document.line - 1 + said.line)


def _generated(read: Model, before: Current | None) -> Model:
    """The object with the generation that the API server would set: 1, and one more with each change beside metadata.

    It counts from the start of this process, and again from 1 for an object that was gone.
    """
    metadata = read.metadata  # type: ignore[attr-defined]
    if not isinstance(metadata, ObjectMeta):
        return read
    if before is None:
        generation = 1
    else:
        was = before.read.metadata  # type: ignore[attr-defined]
        generation = before.served.metadata.generation  # type: ignore[attr-defined]
        generation += msgspec.structs.replace(read, metadata=was) != before.read
    return msgspec.structs.replace(read, metadata=msgspec.structs.replace(metadata, generation=generation))
