"""What is held of one kind: which version of each object was taken last, and what a list or an event changes.

The models themselves go on to who asked for them.
It must not know connections, time or chance.

Resource versions of one kind come from one store and grow with every write, so that they are compared as numbers where
both are numbers, and taken in the order of their arrival where they are not.
An event is old, and changes nothing, when its version is not above

- that of the last list, or of the last bookmark: both include all that came before them;
- that of the same object as it was taken last, or of its deletion.

Uids are not compared: an object that was deleted and made anew has a higher version in any case.
Only a list may go back, for that is what a store that was restored from a backup does; see `is_set_back`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from xds_server.kube.kinds import Kind
from xds_server.kube.observed import Observed
from xds_server.model.refs import ObjectRef
from xds_server.objects.meta import Model

Models = dict[ObjectRef, Model | None]
"""Read-models by reference; None is an object that is no more."""

_LONGEST_ERROR: Final = 300


class UnreadableError(ValueError):
    """The server sent something that is no list, no event, or no object with a name."""


class Changes(NamedTuple):
    """`observed` are the objects whose status, version or existence is to be looked at by who writes them.

    `undecodable` tells why an object has no model by its newest version, once for each such version.
    """

    models: Models
    observed: list[ObjectRef]
    undecodable: dict[ObjectRef, str]

    @classmethod
    def none(cls) -> Changes:
        return cls({}, [], {})


class Metadata(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Envelope(msgspec.Struct, gc=False):
    """What is read of an object beside its model."""

    metadata: Metadata
    status: msgspec.Raw = msgspec.Raw(b"")


class _ListMetadata(msgspec.Struct, gc=False):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    proceed: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class Event(msgspec.Struct, gc=False):
    """A line of a watch; `object` is its bytes as they came."""

    type: str
    object: msgspec.Raw


class Page(NamedTuple):
    version: str
    proceed: str
    items: list[msgspec.Raw]


class Known(NamedTuple):
    uid: str
    version: str


_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_LIST: Final = msgspec.json.Decoder(_List)
_EVENT: Final = msgspec.json.Decoder(Event)


def page(body: bytes) -> Page:
    """:raises UnreadableError: it is no list."""
    try:
        found = _LIST.decode(body)
    except msgspec.DecodeError as error:
        raise UnreadableError(f"a list cannot be read: {str(error)[:_LONGEST_ERROR]}") from None
    return Page(found.metadata.resource_version, found.metadata.proceed, found.items or [])


def event(line: bytes) -> Event:
    """:raises UnreadableError: it is no event."""
    try:
        return _EVENT.decode(line)
    except msgspec.DecodeError as error:
        raise UnreadableError(f"an event cannot be read: {str(error)[:_LONGEST_ERROR]}") from None


class Read(NamedTuple):
    """An object of a list or event; `model` is the error where there is none."""

    ref: ObjectRef
    known: Known
    model: Model | str
    status: bytes


class Listing:
    """The pages of a list; nothing is taken before the last of them is there."""

    def __init__(self, held: Held, api_version: str) -> None:
        self.api_version = api_version
        self.found: set[ObjectRef] = set()
        self.read: list[Read] = []
        self._held, self._again = held, api_version != held.api_version

    def add(self, items: Iterable[msgspec.Raw]) -> None:
        """Read the objects whose version is not held already."""
        for item in items:
            try:
                envelope = _envelope(item)
            except UnreadableError:
                continue
            ref, metadata = self._held.ref(envelope.metadata), envelope.metadata
            self.found.add(ref)
            known = Known(metadata.uid, metadata.resource_version)
            if self._again or not known.version or self._held.known.get(ref) != known:
                self.read.append(self._held.read(envelope, item))


class Held:
    """The objects of a kind, or one of them, by any version of the API; `resume` is where a watch goes on, or ""."""

    def __init__(self, kind: Kind, observed: dict[ObjectRef, Observed] | None = None) -> None:
        self.kind, self.resume = kind, ""
        self.known: dict[ObjectRef, Known] = {}
        self.undecodable: dict[ObjectRef, str] = {}
        self._observed = observed if kind.writes_status else None
        self._decoder = msgspec.json.Decoder(kind.struct)
        self._floor = ""  # of a list or bookmark: what is not above it is in what is held
        self._newest = ""
        self._deleted: dict[ObjectRef, str] = {}  # since the floor
        self.api_version = ""

    def is_set_back(self, version: str) -> bool:
        """Whether a list is older than what was seen: it is stale, or the store was set back."""
        return _is_below(version, self._newest)

    def listing(self, api_version: str) -> Listing:
        """A list that is about to be read, page by page."""
        return Listing(self, api_version)

    def listed(self, version: str, listing: Listing) -> Changes:
        """Take a whole list; what is not in it was deleted meanwhile."""
        changes = Changes.none()
        self.api_version = listing.api_version
        for read in listing.read:
            self._put(read, changes)
        for ref in self.known.keys() - listing.found:
            self._drop(ref, changes)
        self._deleted.clear()
        self.resume = self._floor = self._newest = version
        return changes

    def take(self, event: Event) -> Changes | None:
        """Take an event of a watch, errors excepted; None is an event that changes nothing, being old.

        :raises UnreadableError: its object has no name.
        """
        envelope = _envelope(event.object)
        version = envelope.metadata.resource_version
        if version and not _is_below(version, self._floor):
            self.resume = version
        if _is_below(self._newest, version):
            self._newest = version
        if event.type == "BOOKMARK":
            if not _is_below(version, self._floor):
                self._floor = version
                self._deleted.clear()
            return Changes.none()
        ref = self.ref(envelope.metadata)
        if self._is_old(ref, version):
            return None
        changes = Changes.none()
        if event.type == "DELETED":
            self._deleted[ref] = version
            if ref in self.known:
                self._drop(ref, changes)
        elif event.type in {"ADDED", "MODIFIED"}:
            self._deleted.pop(ref, None)
            self._put(self.read(envelope, event.object), changes)
        return changes

    def clear(self) -> Changes:
        """Forget everything, as the kind is no more."""
        changes = Changes.none()
        for ref in list(self.known):
            self._drop(ref, changes)
        self._deleted.clear()
        self.resume = self._floor = self._newest = self.api_version = ""
        return changes

    def _is_old(self, ref: ObjectRef, version: str) -> bool:
        known = self.known.get(ref)
        before = known.version if known else self._deleted.get(ref, "")
        return _is_not_above(version, before) or _is_not_above(version, self._floor)

    def ref(self, metadata: Metadata) -> ObjectRef:
        return ObjectRef(self.kind.kind, metadata.namespace if self.kind.namespaced else "", metadata.name)

    def read(self, envelope: Envelope, raw: msgspec.Raw) -> Read:
        metadata = envelope.metadata
        # A copy: the raw bytes are a view that keeps the whole page.
        status = bytes(envelope.status) if self.kind.writes_status else b""
        try:
            model: Model | str = self._model(raw)
        except msgspec.DecodeError as error:
            model = str(error)[:_LONGEST_ERROR]
        return Read(self.ref(metadata), Known(metadata.uid, metadata.resource_version), model, status)

    def _model(self, raw: msgspec.Raw) -> Model:
        try:
            return self._decoder.decode(raw)
        except msgspec.ValidationError:
            # Lists that are null where they are empty, as EndpointSlices have them, are not there.
            return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), self.kind.struct)

    def _put(self, read: Read, changes: Changes) -> None:
        self.known[read.ref] = read.known
        if isinstance(read.model, str):
            self.undecodable[read.ref] = changes.undecodable[read.ref] = read.model
        else:
            changes.models[read.ref] = read.model
            self.undecodable.pop(read.ref, None)
        if self._observed is not None:
            status = b"" if read.status == b"null" else read.status
            self._observed[read.ref] = Observed(self.api_version, read.known.version, read.known.uid, status)
        if self.kind.writes_status or self.kind.generated:
            changes.observed.append(read.ref)

    def _drop(self, ref: ObjectRef, changes: Changes) -> None:
        del self.known[ref]
        self.undecodable.pop(ref, None)
        changes.models[ref] = None
        if self._observed is not None:
            self._observed.pop(ref, None)
        if self.kind.writes_status or self.kind.generated:
            changes.observed.append(ref)


def _envelope(raw: msgspec.Raw) -> Envelope:
    try:
        return _ENVELOPE.decode(raw)
    except msgspec.DecodeError as error:
        raise UnreadableError(f"an object cannot be read: {str(error)[:_LONGEST_ERROR]}") from None


def _is_below(version: str, other: str) -> bool:
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)


def _is_not_above(version: str, other: str) -> bool:
    return version.isdecimal() and other.isdecimal() and int(version) <= int(other)


def _without_nulls(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _without_nulls(value) for name, value in found.items() if value is not None}
    if isinstance(found, list):
        return [_without_nulls(value) for value in found]
    return found
