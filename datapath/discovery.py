"""One delta-ADS stream for our own types: what the node is to do, by what the server said and was acknowledged.

What cannot be used is refused by name, and all else of the response is applied.
A response is answered when the kernel has what it says, or has refused it (`settle`).
What the kernel refuses is held, and tried again; whatever becomes of it later, it is asked for anew, and answered.
Nothing that is held is forgotten because a stream ends, or begins and says nothing.
Must not know tasks, clocks or sockets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from google.rpc.status_pb2 import Status

from datapath.resources import (
    ANNOUNCEMENTS,
    LONGEST_NAME,
    SERVICE,
    WORKLOADS,
    Announcement,
    Announcements,
    InvalidResource,
    Resource,
    Service,
    Workload,
    Workloads,
    decoded,
)

LARGEST: Final = 64 << 20
"""Octets of one response, and of all that is held: 50,000 services with ten backends each take 12 MiB."""
MOST_HELD: Final = 1 << 17
"""The kernel's map has room for so many addresses of services."""
MOST_REFUSED: Final = 1_000
"""So many are kept for people, all are told to the server."""
_INVALID_ARGUMENT: Final = 3
_NAMED_REFUSALS: Final = 20
"""So many are told in one answer; all are refused."""


@dataclass(frozen=True, slots=True)
class Held:
    """One accepted version of a resource, as it came and as it is used."""

    version: str
    body: bytes = field(repr=False)
    resource: Resource


Key = tuple[str, str]
"""Type URL and name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response makes: the request that answers it, and what was changed by it.

    `refused` are names and reasons; `waits` is for the kernel.
    """

    request: Any
    changed: frozenset[Key]
    refused: Mapping[str, str]
    taken: frozenset[Key] = frozenset()
    waits: bool = False


def types(node: str) -> dict[str, tuple[str, ...]]:
    """What is asked for of each type; nothing is everything."""
    return {SERVICE: (), WORKLOADS: (node,), ANNOUNCEMENTS: (node,)}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was held at a moment, and about which types a server had spoken."""

    held: Mapping[Key, Held] = field(default_factory=dict)
    heard: frozenset[str] = frozenset()
    told_announcements: bool = False
    """Whether the stream of that moment had said what this node announces, or that it is nothing."""
    responses: int = field(default=0, compare=False)
    """How many there had been."""

    def resources(self, type_url: str) -> list[Resource]:
        """In the order of their names, so that nothing depends on the order in which they came."""
        own = {name: found.resource for (url, name), found in self.held.items() if url == type_url}
        return [own[name] for name in sorted(own)]

    def services(self) -> list[Service]:
        return [found for found in self.resources(SERVICE) if isinstance(found, Service)]

    def pods(self) -> list[Workload]:
        """Of this node."""
        found = self.resources(WORKLOADS)
        return [pod for each in found if isinstance(each, Workloads) for pod in each.workloads]

    def announcements(self) -> list[Announcement]:
        found = self.resources(ANNOUNCEMENTS)
        return [
            announcement for each in found if isinstance(each, Announcements) for announcement in each.announcements
        ]


class Discovery:
    """What is held outlives streams; `hello` begins the next one.

    `heard` has the types about which a server has spoken, now or before what is held was stored.
    """

    def __init__(self, node: str, before: Accepted | None = None) -> None:
        self.node = node
        self.held: dict[Key, Held] = dict(before.held) if before else {}
        self.heard = set(before.heard) if before else set()
        self._octets = sum(len(found.body) for found in self.held.values())
        self._told_announcements = False
        self.refused: dict[Key, str] = {}
        """What the server serves and we cannot use, or some of it, with the reason; a version before it is kept."""
        self.unserved: tuple[str, ...] = ()
        """Addresses that this node should serve and does not: it would announce them in vain."""
        self.failed: Mapping[Key, str] = {}
        """What is held and the kernel refuses."""
        self._responses = 0
        self._unanswered: list[tuple[int, Answer]] = []

    def hello(self) -> list[Any]:
        """The first requests of a stream: what is wanted, and which versions of it are here.

        A server that is new knows by `announces` which addresses are this node's, and lets it keep them,
        unless it does not serve them.
        """
        self._told_announcements = False
        self._unanswered.clear()
        requests = []
        for number, (type_url, names) in enumerate(types(self.node).items()):
            request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names or ("*",))
            if number == 0:
                request.node.CopyFrom(self._described())
                request.node.metadata.update({"announces": self._announced()})
            request.initial_resource_versions.update(
                {
                    name: found.version
                    for (url, name), found in self.held.items()
                    if url == type_url and (url, name) not in self.failed
                }
            )
            requests.append(request)
        return requests

    def describe(self) -> Any:
        """A request that says what the node does not serve now, and asks for nothing."""
        return DeltaDiscoveryRequest(type_url=ANNOUNCEMENTS, node=self._described())

    def _described(self) -> Node:
        described = Node(id=self.node)
        described.metadata.update({"unserved": list(self.unserved)})
        return described

    def _announced(self) -> list[str]:
        return [str(each.address) for each in self.accepted().announcements()]

    def receive(self, response: Any) -> Answer:
        """Take a `DeltaDiscoveryResponse`."""
        type_url = response.type_url
        answer = DeltaDiscoveryRequest(type_url=type_url, response_nonce=response.nonce)
        wanted = types(self.node)
        if type_url not in wanted:
            _refuse(answer, {type_url: "it was not asked for"})
            return Answer(answer, frozenset(), {})
        changed, taken, refused = set(), set(), {}
        # First, so that at the bound one can be exchanged for another.
        for name in response.removed_resources:
            self.refused.pop((type_url, name[:LONGEST_NAME]), None)
            gone = self.held.pop((type_url, name), None)
            if gone is not None:
                self._octets -= len(gone.body)
                changed.add((type_url, name))
        for found in response.resources:
            key = (type_url, found.name)
            try:
                accepted = _accepted(type_url, wanted[type_url], found)
                before = self._hold(key, accepted)
            except InvalidResource as fault:
                name = found.name[:LONGEST_NAME]
                refused[name] = str(fault)
                if (type_url, name) in self.refused or len(self.refused) < MOST_REFUSED:
                    self.refused[type_url, name] = str(fault)
                continue
            self.refused.pop(key, None)
            taken.add(key)
            if before is None or before.resource != accepted.resource:
                changed.add(key)
        if refused:
            _refuse(answer, refused)
        waits = bool(changed) or type_url not in self.heard
        self.heard.add(type_url)
        self._told_announcements = self._told_announcements or type_url == ANNOUNCEMENTS
        found = Answer(answer, frozenset(changed), refused, frozenset(taken), waits)
        if not waits:
            return _judged(found, self.failed)
        self._responses += 1
        self._unanswered.append((self._responses, found))
        return found

    def _hold(self, key: Key, accepted: Held) -> Held | None:
        """Gives the one before.

        :raises InvalidResource: there is no room for it.
        """
        before = self.held.get(key)
        octets = self._octets + len(accepted.body) - (len(before.body) if before else 0)
        if octets > LARGEST or (before is None and len(self.held) >= MOST_HELD):
            raise InvalidResource(f"no more is held than {MOST_HELD} resources and {LARGEST >> 20} MiB: serve less")
        self.held[key], self._octets = accepted, octets
        return before

    def settle(self, responses: int, types: Collection[str], failed: Mapping[Key, str]) -> list[Answer]:
        """What is to be said now that the kernel has, of these types, all of so many responses but what it refused."""
        mine = {key: why for key, why in failed.items() if key[0] in types and key in self.held}
        others = {key: why for key, why in self.failed.items() if key[0] not in types}
        moved = {key for key in mine.keys() ^ self.failed.keys() if key[0] in types and key in self.held}
        self.failed = mine | others
        moved -= {key for _, found in self._unanswered for key in found.taken}
        due: list[tuple[int, Answer]] = []
        later: list[tuple[int, Answer]] = []
        for number, found in self._unanswered:
            (due if number <= responses and found.request.type_url in types else later).append((number, found))
        self._unanswered = later
        again = [_again(type_url, moved) for type_url in sorted({type_url for type_url, _ in moved})]
        return [*(_judged(found, self.failed) for _, found in due), *again]

    def accepted(self) -> Accepted:
        """As it is now."""
        return Accepted(dict(self.held), frozenset(self.heard), self._told_announcements, self._responses)


def _accepted(type_url: str, names: tuple[str, ...], found: Any) -> Held:
    if names and found.name not in names:
        raise InvalidResource("it is not of this node")
    if found.resource.type_url != type_url:
        raise InvalidResource("its content is of another type")
    if len(found.version) > LONGEST_NAME:
        raise InvalidResource(f"its version has more than {LONGEST_NAME} characters")
    body = found.resource.value
    return Held(found.version, body, decoded(type_url, found.name, body))


def _judged(found: Answer, failed: Mapping[Key, str]) -> Answer:
    """With what the kernel refuses of it."""
    refused = {**found.refused, **{key[1]: failed[key] for key in found.taken if key in failed}}
    if refused:
        _refuse(found.request, refused)
    return replace(found, refused=refused, waits=False)


def _again(type_url: str, keys: Collection[Key]) -> Answer:
    """No answer, but what makes a server say it again, so that it can be answered."""
    names = sorted(name for url, name in keys if url == type_url)
    return Answer(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names), frozenset(), {})


def _refuse(answer: Any, reasons: Mapping[str, str]) -> None:
    named = [f"{name[:256]}: {why}" for name, why in sorted(reasons.items())]
    more = [f"and {len(named) - _NAMED_REFUSALS} more"] if len(named) > _NAMED_REFUSALS else []
    text = "; ".join([*named[:_NAMED_REFUSALS], *more])
    answer.error_detail.CopyFrom(Status(code=_INVALID_ARGUMENT, message=text))
